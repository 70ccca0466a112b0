//! Goes through a model's graphs and has its nodes lowered.

use std::collections::{BTreeMap, HashMap};

use mil_core::{ir::Constant, types::Opset};

use super::{
    model::{self, Model},
    node::{Lowered, Node},
    ops, order,
    proto::{
        AttributeProto, FunctionProto, GraphProto, NodeProto, TensorProto, ValueInfoProto,
        tensor_shape_proto::dimension::Value as Size, type_proto::Value as Kind,
    },
};
use crate::{
    ToolError,
    import::{Declared, ImportOptions, Imported, Interface, Lowering, Refusal, Tensor, unsaid},
};

/// Functions that call functions, and bodies inside of bodies, go no deeper.
const DEEPEST: usize = 64;

/// Bodies and functions that are written out at each of their uses, and these in others, have no more nodes than this.
const MOST_NODES: usize = 1 << 15;

/// Imports a model for the target that the user wants, or for the oldest that can say it.
pub(super) fn import(model: &Model, options: &ImportOptions) -> Result<Imported, ToolError> {
    let opset = model.opset()?;
    let functions = functions(model);
    let fail = |lines: Vec<String>| unsaid(model.path.display(), &lines);
    let Some(graph) = &model.message.graph else { return Err(fail(vec!["it has no graph".into()])) };
    let unknown = unknown_ops(model, graph, &functions);
    if !unknown.is_empty() {
        return Err(fail(unknown));
    }
    let imported = options.first_target(|target| {
        let importer = Importer {
            model,
            l: Lowering::new(target),
            functions: &functions,
            opset,
            frames: vec![],
            refusals: vec![],
            depth: 0,
            given: vec![],
            lowered: 0,
        };
        importer.whole(graph, options)
    });
    imported.map_err(fail)
}

type Functions<'m> = HashMap<(&'m str, &'m str, &'m str), &'m FunctionProto>;

fn functions(model: &Model) -> Functions<'_> {
    model.message.functions.iter().map(|f| ((domain(&f.domain), &f.name[..], &f.overload[..]), f)).collect()
}

/// `ai.onnx` has two names.
fn domain(name: &str) -> &str {
    if name == "ai.onnx" { "" } else { name }
}

/// All ops that have no lowering, a line for each kind.
fn unknown_ops(model: &Model, graph: &GraphProto, functions: &Functions<'_>) -> Vec<String> {
    let mut found: BTreeMap<(&str, &str), (usize, &str)> = BTreeMap::new();
    let mut open: Vec<&[NodeProto]> = vec![&graph.node];
    open.extend(model.message.functions.iter().map(|f| &f.node[..]));
    while let Some(nodes) = open.pop() {
        for node in nodes {
            let domain = domain(&node.domain);
            let function = functions.contains_key(&(domain, &node.op_type, &node.overload));
            let known = function || (domain.is_empty() && ops::find(&node.op_type).is_some());
            if !known {
                let first = if node.name.is_empty() { node.output.first() } else { Some(&node.name) };
                found.entry((domain, &node.op_type)).or_insert((0, first.map_or("", |n| n))).0 += 1;
            }
            open.extend(node.attribute.iter().flat_map(|a| a.g.iter().chain(&a.graphs)).map(|g| &g.node[..]));
        }
    }
    let lines = found.into_iter().map(|((domain, op), (count, first))| {
        let times = if count == 1 { String::new() } else { format!(", the first of {count}") };
        let first = first.escape_debug();
        let op = op.escape_debug();
        let domain = domain.escape_debug();
        match ops::way_out(op.to_string().as_str()).filter(|_| domain.to_string().is_empty()) {
            Some(way) => format!("the op `{op}` (node `{first}`{times}): {way}"),
            None if domain.to_string().is_empty() => {
                format!("the op `{op}` (node `{first}`{times}): is not known; see docs/ONNX.md for those that are")
            }
            None => format!(
                "the op `{op}` of domain `{domain}` (node `{first}`{times}): only ops of ai.onnx are known; export the model without {domain}'s ops"
            ),
        }
    });
    lines.collect()
}

/// What a name stands for.
#[derive(Clone, Debug)]
pub(super) enum Slot {
    /// A constant that no lowering has asked for.
    Stored(Constant),
    /// A value; with the constant that it was made from.
    Tensor(Tensor, Option<Constant>),
    /// Several tensors: a sequence, which is no value of the program.
    List(Vec<Tensor>),
    /// An optional tensor that is not there.
    Nothing,
    /// What a refused node would have given.
    Refused,
}

pub(super) struct Importer<'m> {
    pub(super) model: &'m Model,
    pub(super) l: Lowering,
    functions: &'m Functions<'m>,
    /// Of the nodes that are being lowered.
    opset: i64,
    /// Names, those of the innermost body last. A function's body sees its own alone.
    frames: Vec<HashMap<&'m str, Slot>>,
    refusals: Vec<String>,
    depth: usize,
    /// Outputs, by their position, of the node that is being lowered, that are no tensors.
    given: Vec<(usize, Slot)>,
    /// How many nodes of bodies were lowered so far.
    lowered: usize,
}

impl<'m> Importer<'m> {
    fn whole(mut self, graph: &'m GraphProto, options: &ImportOptions) -> Result<Imported, Vec<String>> {
        let mut interface = Interface::new(options);
        self.frames.push(HashMap::new());
        self.initializers(graph);
        for input in &graph.input {
            // Old files list weights among the inputs.
            if self.frames[0].contains_key(&input.name[..]) {
                continue;
            }
            match self.declare(&mut interface, input) {
                Ok(t) => self.bind(&input.name, Slot::Tensor(t, None)),
                Err(r) => {
                    self.refusals.push(r.to_string());
                    self.bind(&input.name, Slot::Refused);
                }
            }
        }
        self.nodes(&graph.node, &[]);
        for output in &graph.output {
            match self.tensor(&output.name) {
                Ok(t) => interface.output(&output.name, t.value),
                Err(r) => {
                    if !matches!(self.slot(&output.name), Some(Slot::Refused)) {
                        self.refusals.push(format!("the output `{}`: {r}", output.name.escape_debug()));
                    }
                }
            }
        }
        if self.l.graph().function().inputs.is_empty()
            && let Err(r) = self.l.needs(Opset::iOS18, "a model without inputs")
        {
            self.refusals.push(r.to_string());
        }
        if !self.refusals.is_empty() {
            return Err(self.refusals);
        }
        interface.finish(self.l).map_err(|r| vec![r.to_string()])
    }

    fn declare(&mut self, interface: &mut Interface<'_>, input: &'m ValueInfoProto) -> Result<Tensor, Refusal> {
        let name = &input.name;
        let Some(Kind::TensorType(t)) = input.r#type.as_ref().and_then(|t| t.value.as_ref()) else {
            return Err(Refusal::new(format!("the input `{}` is no tensor", name.escape_debug())));
        };
        let dtype = model::dtype(t.elem_type);
        let dtype = dtype.map_err(|r| Refusal { message: format!("the input `{name}` {}", r.message), ..r })?;
        let sizes = t.shape.as_ref().map(|s| {
            let size = |v: &Option<Size>| match v {
                Some(Size::DimValue(n)) if *n >= 0 => Declared::Fixed(*n),
                Some(Size::DimParam(p)) if !p.is_empty() && p != "?" => Declared::Named(p.clone()),
                _ => Declared::Open,
            };
            s.dim.iter().map(|d| size(&d.value)).collect::<Vec<_>>()
        });
        interface.input(&mut self.l, name, dtype, sizes.as_deref())
    }

    fn initializers(&mut self, graph: &'m GraphProto) {
        for t in &graph.initializer {
            self.initializer(t);
        }
        for t in &graph.sparse_initializer {
            let name = t.values.as_ref().map_or("", |v| &v.name);
            self.refusals.push(format!("the sparse tensor `{}`: store it densely", name.escape_debug()));
            self.bind(name, Slot::Refused);
        }
    }

    fn initializer(&mut self, t: &'m TensorProto) {
        if self.frames.last().is_some_and(|f| f.contains_key(&t.name[..])) {
            self.refusals.push(format!("the name `{}` is given to two tensors", t.name.escape_debug()));
        }
        match self.model.constant(t) {
            Ok(c) => self.bind(&t.name, Slot::Stored(c)),
            Err(r) => {
                self.refusals.push(format!("the tensor `{}` {r}", t.name.escape_debug()));
                self.bind(&t.name, Slot::Refused);
            }
        }
    }

    fn bind(&mut self, name: &'m str, slot: Slot) {
        if let Some(frame) = self.frames.last_mut() {
            frame.insert(name, slot);
        }
    }

    pub(super) fn slot(&self, name: &str) -> Option<&Slot> {
        self.frames.iter().rev().find_map(|f| f.get(name))
    }

    /// The constant of the model that a name stands for, in the model's dtype.
    pub(super) fn stored(&self, name: &str) -> Option<Constant> {
        match self.slot(name)? {
            Slot::Stored(c) => Some(c.clone()),
            Slot::Tensor(t, stored) => stored.clone().or_else(|| t.constant().cloned()),
            Slot::List(_) | Slot::Nothing | Slot::Refused => None,
        }
    }

    /// The node that is being lowered gives something that is no tensor at this position.
    pub(super) fn give(&mut self, output: usize, slot: Slot) {
        self.given.push((output, slot));
    }

    /// What a name stands for.
    pub(super) fn tensor(&mut self, name: &'m str) -> Result<Tensor, Refusal> {
        match self.slot(name).cloned() {
            Some(Slot::Tensor(t, _)) => Ok(t),
            Some(Slot::Stored(c)) => {
                let t = self.materialize(&c);
                let named = |r: Refusal| Refusal { message: format!("the tensor `{name}`: {}", r.message), ..r };
                let t = t.map_err(named)?;
                // The constant stands in the block that is open now: others do not see it.
                self.bind(name, Slot::Tensor(t.clone(), Some(c)));
                Ok(t)
            }
            Some(Slot::List(_)) => Err(Refusal::new(format!("`{}` is a list, not a tensor", name.escape_debug()))
                .remedy("lists of tensors are known while a model is converted alone; join them in the model")),
            Some(Slot::Nothing) => {
                Err(Refusal::new(format!("`{}` is an optional without a tensor", name.escape_debug())))
            }
            Some(Slot::Refused) => Err(Refusal::new(format!("`{name}` was refused"))),
            None => Err(Refusal::new(format!("`{}` is used, but nothing before gives it", name.escape_debug()))
                .remedy("the nodes of an ONNX graph stand in the order of their execution, without cycles")),
        }
    }

    /// A constant of the model as a tensor.
    pub(super) fn materialize(&mut self, constant: &Constant) -> Result<Tensor, Refusal> {
        self.l.materialize(constant)
    }

    /// Lowers nodes in their order. What a refused node would have given is known to be refused, so that each cause is told once.
    fn nodes(&mut self, nodes: &'m [NodeProto], outer: &[AttributeProto]) {
        let order = match order::order(nodes) {
            Ok(order) => order,
            Err(refusal) => {
                self.refusals.push(refusal.to_string());
                for name in nodes.iter().flat_map(|n| &n.output).filter(|name| !name.is_empty()) {
                    self.bind(name, Slot::Refused);
                }
                return;
            }
        };
        for node in order.into_iter().map(|i| &nodes[i]) {
            let poisoned = node.input.iter().any(|name| matches!(self.slot(name), Some(Slot::Refused)));
            let lowered = if poisoned { None } else { Some(self.node(node, outer)) };
            let others = std::mem::take(&mut self.given);
            let mut given: Vec<Slot> = match lowered {
                Some(Ok(given)) => {
                    let mut given: Vec<Slot> = given.into_iter().map(|t| Slot::Tensor(t, None)).collect();
                    for (i, slot) in others {
                        given.resize(given.len().max(i + 1), Slot::Refused);
                        given[i] = slot;
                    }
                    given
                }
                Some(Err(r)) if r.message.is_empty() => vec![],
                Some(Err(r)) => {
                    self.refusals.push(format!("{}: {r}", place(node)));
                    vec![]
                }
                None => vec![],
            };
            let wanted = node.output.iter().rposition(|name| !name.is_empty()).map_or(0, |last| last + 1);
            if !poisoned && !given.is_empty() && given.len() < wanted {
                self.refusals.push(format!("{}: its output {} cannot be given", place(node), given.len()));
            }
            given.resize(node.output.len(), Slot::Refused);
            for (name, slot) in node.output.iter().zip(given).filter(|(name, _)| !name.is_empty()) {
                self.bind(name, slot);
            }
        }
    }

    fn node(&mut self, node: &'m NodeProto, outer: &[AttributeProto]) -> Lowered {
        let name = node.output.iter().find(|n| !n.is_empty()).unwrap_or(&node.name);
        self.l.set_name(name);
        let domain = domain(&node.domain);
        if let Some(f) = self.functions.get(&(domain, &node.op_type, &node.overload)).copied() {
            return self.call(f, node, outer);
        }
        let Some(entry) = ops::find(&node.op_type).filter(|_| domain.is_empty()) else {
            return Err(Refusal::new("is no op that is known"));
        };
        let opset = self.opset;
        (entry.lower)(&mut Node { importer: self, proto: node, outer, opset })
    }

    /// Inlines a function of the model.
    fn call(&mut self, f: &'m FunctionProto, node: &'m NodeProto, outer: &[AttributeProto]) -> Lowered {
        self.deeper(f.node.len())?;
        let mut attributes: Vec<AttributeProto> = f.attribute_proto.clone();
        for given in &node.attribute {
            attributes.retain(|a| a.name != given.name);
            if given.ref_attr_name.is_empty() {
                attributes.push(given.clone());
            } else if let Some(passed) = outer.iter().find(|a| a.name == given.ref_attr_name) {
                attributes.push(AttributeProto { name: given.name.clone(), ..passed.clone() });
            }
        }
        let mut frame = HashMap::new();
        for (formal, actual) in f.input.iter().zip(&node.input).filter(|(_, actual)| !actual.is_empty()) {
            let slot = self.slot(actual).cloned();
            let missing = || Refusal::new(format!("`{actual}` is used, but nothing before gives it"));
            frame.insert(&formal[..], slot.ok_or_else(missing)?);
        }
        let version = f.opset_import.iter().find(|o| self::domain(&o.domain).is_empty()).map(|o| o.version);
        let caller = std::mem::replace(&mut self.frames, vec![frame]);
        let opset = self.opset;
        self.opset = version.unwrap_or(opset);
        self.nodes(&f.node, &attributes);
        let told = f.output.iter().any(|name| matches!(self.slot(name), Some(Slot::Refused)));
        let outputs = match told {
            true => Err(Refusal::new("")),
            false => f.output.iter().map(|name| self.tensor(name)).collect(),
        };
        (self.frames, self.opset) = (caller, opset);
        self.depth -= 1;
        outputs
    }

    /// Goes into a body or function of this many nodes.
    fn deeper(&mut self, nodes: usize) -> Result<(), Refusal> {
        self.lowered = self.lowered.saturating_add(nodes);
        if self.lowered > MOST_NODES {
            return Err(Refusal::new(format!(
                "bodies and functions have more than {MOST_NODES} nodes when written out"
            )));
        }
        if self.depth == DEEPEST {
            return Err(Refusal::new(format!("bodies and functions are nested more than {DEEPEST} deep")));
        }
        self.depth += 1;
        Ok(())
    }

    /// Lowers a body into the block that is open now.
    ///
    /// # Errors
    /// If an output was refused: without a message, since why is told with the node concerned.
    pub(super) fn body(&mut self, graph: &'m GraphProto, inputs: Vec<Tensor>, outer: &[AttributeProto]) -> Lowered {
        self.deeper(graph.node.len())?;
        self.frames.push(HashMap::new());
        self.initializers(graph);
        for (input, t) in graph.input.iter().zip(inputs) {
            self.bind(&input.name, Slot::Tensor(t, None));
        }
        self.nodes(&graph.node, outer);
        let told = graph.output.iter().any(|o| matches!(self.slot(&o.name), Some(Slot::Refused)));
        let outputs = match told {
            true => Err(Refusal::new("")),
            false => graph.output.iter().map(|o| self.tensor(&o.name)).collect(),
        };
        self.frames.pop();
        self.depth -= 1;
        outputs
    }
}

/// Which node it is.
fn place(node: &NodeProto) -> String {
    let name = if node.name.is_empty() { node.output.first() } else { Some(&node.name) };
    format!("node `{}` ({})", name.map_or("", |n| n).escape_debug(), node.op_type.escape_debug())
}
