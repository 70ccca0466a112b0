//! Goes through a graph and has its nodes lowered.

use std::collections::{BTreeMap, HashMap, HashSet};

use mil_core::{
    ir::{Constant, ValueId},
    types::{DType, Domain},
};

use super::{
    aliases::{self, Write},
    graph::{Arg, Graph, InputSize, Node as GraphNode, Output},
    node::Node,
    ops,
    val::Val,
};
use crate::{
    ToolError,
    import::{Declared, ImportOptions, Imported, Interface, Lowering, Refusal, Size, Tensor, unsaid},
};

/// Imports a graph for the target that the user wants, or for the oldest that can say it. `file` is for errors.
///
/// # Errors
/// If there are ops that are not known (all are told), MIL cannot say what ops do (all refusals are told), or the options
/// do not fit the model.
pub(super) fn import(graph: &Graph, file: &str, options: &ImportOptions) -> Result<Imported, ToolError> {
    let plan = aliases::plan(graph);
    let unknown = unknown_ops(graph, &plan.live);
    if !unknown.is_empty() {
        return Err(unsaid(file, &unknown));
    }
    let imported = options.first_target(|target| {
        let importer = Importer {
            l: Lowering::new(target),
            slots: HashMap::new(),
            rows: HashMap::new(),
            used: &plan.used,
            refusals: vec![],
        };
        importer.whole(graph, &plan, options)
    });
    imported.map_err(|refused| unsaid(file, &refused))
}

/// All ops that have no lowering, a line for each kind.
fn unknown_ops(graph: &Graph, live: &[bool]) -> Vec<String> {
    let mut found: BTreeMap<&str, (usize, &str)> = BTreeMap::new();
    for (node, _) in graph.nodes.iter().zip(live).filter(|(_, live)| **live) {
        if ops::find(&node.op).is_none() {
            found.entry(&node.op).or_insert((0, &node.place)).0 += 1;
        }
    }
    let lines = found.into_iter().map(|(op, (count, place))| {
        let times = if count == 1 { String::new() } else { format!(", the first of {count}") };
        let (place, known) = (place.escape_debug(), op.escape_debug());
        match ops::way_out(op) {
            Some(way) => format!("the op `{known}` ({place}{times}): {way}"),
            None => format!("the op `{known}` ({place}{times}): is not known; see docs/ATEN.md for those that are"),
        }
    });
    lines.collect()
}

/// What a name stands for.
#[derive(Clone, Debug)]
enum Slot<'g> {
    /// A constant that no lowering has asked for.
    Stored(&'g Constant),
    /// What it is.
    Val(Val),
    /// What a refused node would have given.
    Refused,
}

pub(super) struct Importer<'g> {
    pub(super) l: Lowering,
    slots: HashMap<&'g str, Slot<'g>>,
    /// Matrices whose rows are those of a tensor of higher rank, by the matrix: exported programs have linear layers of
    /// matrices, with a `view` before and behind.
    pub(super) rows: HashMap<ValueId, Tensor>,
    /// Names that somebody reads.
    used: &'g HashSet<&'g str>,
    refusals: Vec<String>,
}

impl<'g> Importer<'g> {
    fn whole(
        mut self,
        graph: &'g Graph,
        plan: &aliases::Plan<'g>,
        options: &ImportOptions,
    ) -> Result<Imported, Vec<String>> {
        let mut interface = Interface::new(options);
        for (name, constant) in &graph.constants {
            self.slots.insert(name, Slot::Stored(constant));
        }
        for input in &graph.inputs {
            let sizes = input.sizes.as_ref().map(|s| s.iter().map(declared).collect::<Vec<_>>());
            let dtype = input.dtype.unwrap_or(DType::F32);
            let slot = match interface.input(&mut self.l, &input.name, dtype, sizes.as_deref()) {
                Ok(t) => Slot::Val(t.into()),
                Err(r) => {
                    self.refusals.push(r.to_string());
                    Slot::Refused
                }
            };
            self.slots.insert(&input.name, slot);
        }
        for (i, node) in graph.nodes.iter().enumerate().filter(|(i, _)| plan.live[*i]) {
            self.node(node, plan.writes.get(&i));
        }
        for (name, arg) in &graph.outputs {
            self.output(&mut interface, name, arg);
        }
        if !self.refusals.is_empty() {
            return Err(self.refusals);
        }
        interface.finish(self.l).map_err(|r| vec![r.to_string()])
    }

    /// Declares an output; of a list, each of its elements.
    fn output(&mut self, interface: &mut Interface<'_>, name: &str, arg: &'g Arg) {
        if self.poisoned(arg) {
            return;
        }
        self.l.set_name(name);
        let val = match self.arg(arg) {
            Ok(val) => val,
            Err(r) => return self.refusals.push(format!("the output `{}`: {r}", name.escape_debug())),
        };
        let mut open = vec![(name.to_string(), val)];
        while let Some((name, val)) = open.pop() {
            match val {
                Val::List(items) => {
                    let named = items.into_iter().enumerate().rev().map(|(i, v)| (format!("{name}_{i}"), v));
                    open.extend(named);
                }
                Val::None => {}
                val => match self.as_tensor(&val) {
                    Ok(t) => interface.output(&name, t.value),
                    Err(r) => self.refusals.push(format!("the output `{}`: {r}", name.escape_debug())),
                },
            }
        }
    }

    /// Whether an argument is, or holds, what a refused node would have given.
    fn poisoned(&self, arg: &Arg) -> bool {
        aliases::names(arg).iter().any(|name| matches!(self.slots.get(name), Some(Slot::Refused)))
    }

    /// Lowers a node. What a refused node would have given is known to be refused, so that each cause is told once.
    fn node(&mut self, node: &'g GraphNode, write: Option<&Write<'g>>) {
        let names: Vec<&'g str> = aliases::outputs(node);
        let poisoned = node.args.iter().any(|(_, arg)| self.poisoned(arg));
        let done = if poisoned { None } else { Some(self.lower(node, write)) };
        match done {
            Some(Ok(())) => {}
            Some(Err(r)) => {
                let op = node.op.escape_debug();
                let place = if node.place.is_empty() { names.first().copied().unwrap_or("") } else { &node.place };
                self.refusals.push(format!("`{op}` ({}): {r}", place.escape_debug()));
                self.refuse(&names);
            }
            None => self.refuse(&names),
        }
    }

    fn refuse(&mut self, names: &[&'g str]) {
        for name in names {
            self.slots.insert(name, Slot::Refused);
        }
    }

    fn lower(&mut self, node: &'g GraphNode, write: Option<&Write<'g>>) -> Result<(), Refusal> {
        if let Some(Write::Refused(why)) = write {
            return Err(why.clone());
        }
        let Some(entry) = ops::find(&node.op) else { return Err(Refusal::new("is no op that is known")) };
        let names = aliases::outputs(node);
        self.l.set_name(names.first().copied().unwrap_or(""));
        let mut n = Node { importer: self, node };
        let mut given = (entry.lower)(&mut n)?;
        if aliases::in_place(&node.op) {
            self.written(node, write, &mut given)?;
        }
        self.bind(node, given)
    }

    /// What is written to a tensor has its dtype and shape, and all names of the tensor see it.
    fn written(&mut self, node: &'g GraphNode, write: Option<&Write<'g>>, given: &mut [Val]) -> Result<(), Refusal> {
        let Some((_, Arg::Value(target))) = node.args.first() else { return Ok(()) };
        let (Some(first), Some(Slot::Val(before))) = (given.first_mut(), self.slots.get(&target[..]).cloned()) else {
            return Ok(());
        };
        let (before, after) = (self.as_tensor(&before)?, self.as_tensor(first)?);
        let after = self.l.convert(&after, before.dtype)?;
        let sizes = self.l.sizes(&before.value)?;
        let after = Tensor::new(self.l.broadcast_to(&after.value, &sizes)?, before.dtype);
        *first = Val::Tensor(after.clone());
        self.slots.insert(target, Slot::Val(after.clone().into()));
        if let Some(Write::Through(steps)) = write {
            let mut part = after;
            for step in steps {
                let whole = self.value(step.base)?;
                let whole = self.as_tensor(&whole)?;
                let mut n = Node { importer: self, node: step.view };
                let whole = ops::put_back(&mut n, &whole, &part)?;
                self.slots.insert(step.base, Slot::Val(whole.clone().into()));
                part = whole;
            }
        }
        Ok(())
    }

    fn bind(&mut self, node: &'g GraphNode, mut given: Vec<Val>) -> Result<(), Refusal> {
        // A tuple that is taken apart.
        if let ([Val::List(items)], [Output::One(_), Output::One(_), ..]) = (&given[..], &node.outputs[..]) {
            given = items.clone();
        }
        for (i, output) in node.outputs.iter().enumerate() {
            let val = given.get(i).cloned();
            match (output, val) {
                (Output::One(name), Some(val)) => {
                    self.slots.insert(name, Slot::Val(val));
                }
                (Output::List(names), Some(Val::List(items))) if names.len() == items.len() => {
                    for (name, val) in names.iter().zip(items) {
                        self.slots.insert(name, Slot::Val(val));
                    }
                }
                (Output::List(names), Some(val)) if names.len() == 1 => {
                    self.slots.insert(&names[0], Slot::Val(val));
                }
                (Output::One(name), None) if !self.used.contains(&name[..]) => {}
                (Output::List(names), _) if !names.iter().any(|n| self.used.contains(&n[..])) => {}
                _ => return Err(Refusal::new(format!("its output {i} cannot be given"))),
            }
        }
        Ok(())
    }

    /// Whether somebody reads this name.
    pub(super) fn is_used(&self, name: &str) -> bool {
        self.used.contains(name)
    }

    /// What a name stands for.
    fn value(&mut self, name: &'g str) -> Result<Val, Refusal> {
        match self.slots.get(name).cloned() {
            Some(Slot::Val(val)) => Ok(val),
            Some(Slot::Stored(constant)) => {
                self.l.set_name(name);
                let t = self.l.materialize(constant);
                let t = t.map_err(|r| Refusal { message: format!("the tensor `{name}`: {}", r.message), ..r })?;
                self.slots.insert(name, Slot::Val(t.clone().into()));
                Ok(t.into())
            }
            Some(Slot::Refused) => Err(Refusal::new(format!("`{name}` was refused"))),
            None => Err(Refusal::new(format!("`{}` is used, but nothing before gives it", name.escape_debug()))),
        }
    }

    /// What an argument is.
    pub(super) fn arg(&mut self, arg: &'g Arg) -> Result<Val, Refusal> {
        Ok(match arg {
            Arg::None => Val::None,
            Arg::Int(n) => Val::Int(Size::Fixed(*n)),
            Arg::Float(x) => Val::Float(*x),
            Arg::Bool(b) => Val::Bool(*b),
            Arg::Str(s) => Val::Str(s.clone()),
            Arg::DType(d) => Val::DType(*d),
            Arg::Value(name) => {
                let val = self.value(name);
                // Materializing names what it pushes.
                return val;
            }
            Arg::List(items) => Val::List(items.iter().map(|a| self.arg(a)).collect::<Result<_, _>>()?),
        })
    }

    /// A tensor, or a number as a tensor of rank 0.
    pub(super) fn as_tensor(&mut self, val: &Val) -> Result<Tensor, Refusal> {
        Ok(match val {
            Val::Tensor(t) => t.clone(),
            Val::Transposed(t) => Tensor::new(self.l.transpose(&t.value, &[1, 0])?, t.dtype),
            Val::High { value, sizes } => Tensor::new(self.l.reshape(&value.value, sizes)?, value.dtype),
            Val::Bool(b) => Tensor::new(self.l.number(DType::Bool, f64::from(u8::from(*b)))?, DType::Bool),
            Val::Int(Size::Fixed(n)) => self.l.materialize(&Constant::scalar(*n))?,
            Val::Int(Size::Value(v)) => Tensor::new(self.l.squeeze(v, &[0])?, DType::I64),
            Val::Float(x) => Tensor::new(self.l.number(DType::F32, *x)?, DType::F32),
            // A list that has one name and one element.
            Val::List(items) if items.len() == 1 => {
                let one = items[0].clone();
                return match one {
                    Val::List(_) => Err(Refusal::new("a list of lists stands where a tensor is expected")),
                    one => self.as_tensor(&one),
                };
            }
            other => return Err(Refusal::new(format!("{} stands where a tensor is expected", other.kind()))),
        })
    }
}

fn declared(size: &InputSize) -> Declared {
    match size {
        InputSize::Fixed(n) => Declared::Fixed(*n),
        InputSize::Symbol(name, None, None) => Declared::Named(name.clone()),
        InputSize::Symbol(name, min, max) => {
            let min = min.unwrap_or(1).max(1);
            Declared::Within(name.clone(), Domain::Range { min, max: max.filter(|max| *max >= min) })
        }
    }
}

#[cfg(test)]
mod tests;
