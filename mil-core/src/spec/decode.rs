//! Messages -> program.
//!
//! Every op is inferred again; what a file declares must agree with it. Declared types are kept where both could be
//! right, so that writing the program again says what the file said.

use std::collections::{BTreeMap, HashMap};

use super::{
    self as spec, SpecError, WeightSource,
    encode::NAME,
    features, mil,
    types::{Unknowns, read_type},
    values,
};
use crate::{
    ir::{
        Argument, Attribute, Binding, Block, BlockId, Constant, Def, Feature, Function, Known, Metadata, Op, OpId,
        Program, ValueId,
    },
    op::{BlockTypes, Cx, Form, Inferred, OpDef},
    ops,
    types::{Dim, Domain, Opset, Symbol, TensorType, Type},
};

/// The program of a model.
///
/// # Errors
/// If the model is of another kind, uses ops that are not known, or is not consistent; the error names function and op.
pub fn decode(model: &spec::Model, source: &dyn WeightSource) -> Result<Program, SpecError> {
    decode_with(model, source, &|_, _| None)
}

/// The symbol of a function's input size: the function's name, and the position among all dimensions of all inputs.
pub(super) type NamedSizes<'a> = &'a dyn Fn(&str, usize) -> Option<Symbol>;

/// [`decode`], with names for the sizes of inputs.
pub(super) fn decode_with(
    model: &spec::Model,
    source: &dyn WeightSource,
    sizes: NamedSizes<'_>,
) -> Result<Program, SpecError> {
    let program = match &model.r#type {
        Some(spec::model::Type::MlProgram(p)) => p,
        Some(_) => {
            return Err(SpecError::new("this is no ML Program but another kind of model, which is not supported yet"));
        }
        None => return Err(SpecError::new("the model has no type; the file is truncated or not a Core ML model")),
    };
    let opset = Opset::from_spec_version(model.specification_version).ok_or_else(|| {
        let version = model.specification_version;
        SpecError::new(format!("specification version {version} is not supported; ML Programs have 6 to 10"))
    })?;
    known_ops(program)?;
    let description = model.description.clone().unwrap_or_default();
    let multifunction = !description.functions.is_empty();
    // One description for many functions would say nothing of any.
    if !multifunction && program.functions.len() > 1 {
        let message = format!("the program has {} functions but the description lists none", program.functions.len());
        return Err(SpecError::new(message));
    }
    let described: BTreeMap<&str, &spec::FunctionDescription> =
        description.functions.iter().map(|d| (&d.name[..], d)).collect();
    let mut functions = BTreeMap::new();
    for (name, f) in &program.functions {
        let inside = |e: SpecError| e.in_function(name);
        // The model's version says what its functions may be of at most: those of a model that was put together of
        // older ones keep their opsets.
        let opset = Opset::parse(&f.opset).ok_or_else(|| {
            inside(SpecError::new(format!("opset `{}` is not supported; ML Programs have CoreML5 to CoreML9", f.opset)))
        })?;
        let mut function = Function::new(name, opset);
        describe(&mut function, &description, multifunction.then(|| described.get(&name[..]).copied()))
            .map_err(inside)?;
        let decoder = Decoder { function, source, scopes: vec![HashMap::new()], opset, sizes, ops: 0 };
        functions.insert(name.clone(), decoder.function(f).map_err(inside)?);
    }
    if functions.is_empty() {
        return Err(SpecError::new("the program has no function"));
    }
    let default_function = match (&description.default_function_name[..], functions.contains_key("main")) {
        ("", true) => "main".to_string(),
        ("", false) => functions.keys().next().cloned().unwrap_or_default(),
        (named, _) => named.to_string(),
    };
    if !functions.contains_key(&default_function) {
        return Err(SpecError::new(format!("the default function `{default_function}` does not exist")));
    }
    let m = description.metadata.unwrap_or_default();
    Ok(Program {
        opset,
        version: program.version,
        functions,
        default_function,
        multifunction,
        attributes: read_attributes(&program.attributes, source)?,
        metadata: Metadata {
            description: m.short_description,
            version: m.version_string,
            author: m.author,
            license: m.license,
            user_defined: m.user_defined,
        },
    })
}

/// All unknown ops at once, with their numbers.
fn known_ops(program: &mil::Program) -> Result<(), SpecError> {
    let mut unknown: BTreeMap<&str, usize> = BTreeMap::new();
    let functions = program.functions.values().flat_map(|f| f.block_specializations.values());
    let mut blocks: Vec<&mil::Block> = functions.collect();
    while let Some(block) = blocks.pop() {
        for op in &block.operations {
            if ops::find(&op.r#type).is_none() {
                *unknown.entry(&op.r#type).or_default() += 1;
            }
            blocks.extend(&op.blocks);
        }
    }
    if unknown.is_empty() {
        return Ok(());
    }
    // Core ML: "missingMetadataField".
    if unknown.contains_key("custom_layer") {
        let message = "the program has custom layers (`custom_layer`), which no ML Program can run: convert the model without them";
        return Err(SpecError::new(message));
    }
    let list: Vec<_> = unknown.iter().map(|(op, n)| format!("{op} ({n})")).collect();
    Err(SpecError::new(format!("the program uses ops that are not supported yet: {}", list.join(", "))))
}

/// `own` is the function's own description, in a model that has such.
fn describe(
    f: &mut Function,
    d: &spec::ModelDescription,
    own: Option<Option<&spec::FunctionDescription>>,
) -> Result<(), SpecError> {
    let read = |all: &[spec::FeatureDescription]| all.iter().map(features::read).collect::<Result<Vec<_>, _>>();
    let (input, output, state, predicted, probabilities) = match own {
        Some(None) => return Ok(()),
        Some(Some(d)) => (&d.input, &d.output, &d.state, &d.predicted_feature_name, &d.predicted_probabilities_name),
        None => (&d.input, &d.output, &d.state, &d.predicted_feature_name, &d.predicted_probabilities_name),
    };
    (f.input_features, f.output_features, f.state_features) = (read(input)?, read(output)?, read(state)?);
    f.predicted_feature = predicted.clone();
    f.predicted_probabilities = probabilities.clone();
    Ok(())
}

fn read_attributes(
    attributes: &BTreeMap<String, mil::Value>,
    source: &dyn WeightSource,
) -> Result<BTreeMap<String, Attribute>, SpecError> {
    let read = |(k, v): (&String, &mil::Value)| {
        let inside = |e: SpecError| e.inside(format!("attribute `{k}`"));
        Ok((k.clone(), values::read_attribute(v, source).map_err(inside)?))
    };
    attributes.iter().map(read).collect()
}

struct Decoder<'a> {
    function: Function,
    source: &'a dyn WeightSource,
    /// Names that are visible, the innermost block last.
    scopes: Vec<HashMap<String, ValueId>>,
    opset: Opset,
    sizes: NamedSizes<'a>,
    /// How many ops were met.
    ops: usize,
}

impl Decoder<'_> {
    fn function(mut self, f: &mil::Function) -> Result<Function, SpecError> {
        let block = match f.block_specializations.get(&f.opset) {
            Some(block) => block,
            None => {
                let have: Vec<_> = f.block_specializations.keys().map(String::as_str).collect();
                let message = format!("there is no block for opset `{}`, only for [{}]", f.opset, have.join(", "));
                return Err(SpecError::new(message));
            }
        };
        self.function.attributes = read_attributes(&f.attributes, self.source)?;
        let mut position = 0;
        let mut features: HashMap<String, Feature> = HashMap::new();
        for f in self.function.input_features.iter().chain(&self.function.state_features) {
            features.entry(f.name.clone()).or_insert_with(|| f.clone());
        }
        for (i, input) in f.inputs.iter().enumerate() {
            let ty = self.declared(input)?;
            let ty = self.with_domains(&input.name, ty, features.get(&input.name), &mut position);
            let id = self.define(&input.name, ty, Def::Input(i));
            self.function.inputs.push(id);
        }
        if !block.inputs.is_empty() {
            return Err(SpecError::new("the body of a function has no inputs of its own"));
        }
        let body = self.function.body;
        self.block(block, body)?;
        Ok(self.function)
    }

    /// A function input's unknown sizes, with the domains that the description gives them.
    fn with_domains(&self, name: &str, ty: Type, feature: Option<&Feature>, position: &mut usize) -> Type {
        let f = &self.function;
        let mut named = |t: TensorType| {
            let domains = feature.map_or(vec![None; t.rank()], |d| features::domains(d, t.rank()));
            let start = *position;
            *position += t.rank();
            let dim = |(i, (d, domain)): (usize, (&Dim, Option<Domain>))| match d.value() {
                Some(_) => d.clone(),
                None => {
                    // What has no description is of size 1 or more, as descriptions have it that say nothing else.
                    let described = domain.unwrap_or(Domain::Range { min: 1, max: None });
                    let unnamed = || Symbol::new(format!("{name}_{i}"), described);
                    Dim::symbol((self.sizes)(&f.name, start + i).unwrap_or_else(unnamed))
                }
            };
            let dims: Vec<Dim> = t.shape.iter().zip(domains).enumerate().map(dim).collect();
            t.with_shape(dims)
        };
        match ty {
            Type::Tensor(t) => Type::Tensor(named(t)),
            Type::State(t) => Type::State(named(t)),
            other => other,
        }
    }

    fn declared(&self, v: &mil::NamedValueType) -> Result<Type, SpecError> {
        let inside = |e: SpecError| e.inside(format!("value `{}`", v.name));
        let ty = v.r#type.as_ref().ok_or_else(|| inside(SpecError::new("it has no type")))?;
        read_type(ty, &mut Unknowns::of(&v.name)).map_err(inside)
    }

    fn define(&mut self, name: &str, ty: Type, def: Def) -> ValueId {
        let id = self.function.add_value(name.to_string(), ty, def);
        if let Some(scope) = self.scopes.last_mut() {
            scope.insert(name.to_string(), id);
        }
        id
    }

    fn find(&self, name: &str) -> Result<ValueId, SpecError> {
        let found = self.scopes.iter().rev().find_map(|s| s.get(name));
        found.copied().ok_or_else(|| SpecError::new(format!("`{name}` is used but not defined before")))
    }

    /// Reads the ops of a block into one that exists.
    fn block(&mut self, block: &mil::Block, id: BlockId) -> Result<(), SpecError> {
        for op in &block.operations {
            let name = op_name(op);
            let index = self.ops;
            self.ops += 1;
            self.op(op, name, id).map_err(|e| e.in_op(index, format!("op `{name}` ({})", op.r#type)))?;
        }
        let mut outputs = Vec::with_capacity(block.outputs.len());
        for name in &block.outputs {
            outputs.push(self.find(name).map_err(|e| e.inside("block outputs"))?);
        }
        let attributes = read_attributes(&block.attributes, self.source)?;
        let data: &mut Block = &mut self.function.blocks[id.index()];
        (data.outputs, data.attributes) = (outputs, attributes);
        Ok(())
    }

    fn nested(&mut self, block: &mil::Block) -> Result<BlockId, SpecError> {
        let id = self.function.add_block();
        self.scopes.push(HashMap::new());
        for (i, input) in block.inputs.iter().enumerate() {
            let ty = self.declared(input)?;
            let value = self.define(&input.name, ty, Def::BlockInput(id, i));
            self.function.blocks[id.index()].inputs.push(value);
        }
        let read = self.block(block, id);
        self.scopes.pop();
        read.map(|()| id)
    }

    fn op(&mut self, op: &mil::Operation, name: &str, block: BlockId) -> Result<(), SpecError> {
        let def = ops::find(&op.r#type).ok_or_else(|| SpecError::new("this op is not supported yet"))?;
        let mut args: Vec<Argument> = vec![];
        for (param, argument) in &op.inputs {
            let index = def.param(param).ok_or_else(|| {
                let all: Vec<_> = def.params.iter().map(|p| p.name).collect();
                SpecError::new(format!("there is no parameter `{param}`; it takes {}", all.join(", ")))
            })?;
            let one = argument.arguments.len() == 1 || def.params[index].kind.is_variadic();
            if !one {
                let count = argument.arguments.len();
                return Err(SpecError::new(format!("`{param}` takes one argument, found {count}")));
            }
            let bindings = argument.arguments.iter().map(|b| self.binding(b, param));
            args.push(Argument { param: index, bindings: bindings.collect::<Result<_, _>>()? });
        }
        let mut attributes = read_attributes(&op.attributes, self.source)?;
        attributes.remove(NAME);
        self.check_form(def, op)?;
        args.extend(Op::take_arguments(def, self.opset, &mut attributes));
        args.sort_by_key(|a| a.param);
        if op.blocks.len() != def.blocks {
            return Err(SpecError::new(format!("it has {} blocks, found {}", def.blocks, op.blocks.len())));
        }
        let blocks = op.blocks.iter().map(|b| self.nested(b)).collect::<Result<Vec<_>, _>>()?;
        let declared = op.outputs.iter().map(|o| self.declared(o)).collect::<Result<Vec<_>, _>>()?;
        let new = Op { def, name: name.to_string(), args, blocks, outputs: vec![], attributes };
        let (inferred, is_const) = self.infer(&new, &op.outputs)?;
        if inferred.len() != declared.len() {
            return Err(SpecError::new(format!("it gives {} values, found {}", inferred.len(), declared.len())));
        }
        let id: OpId = self.function.add_op(block, new);
        for (i, ((output, declared), inferred)) in op.outputs.iter().zip(declared).zip(inferred).enumerate() {
            let ty = merge(&declared, &inferred.ty).ok_or_else(|| {
                SpecError::new(format!("output `{}` is declared as {declared} but is {}", output.name, inferred.ty))
            })?;
            let value = self.define(&output.name, ty, Def::Op(id, i));
            let data = &mut self.function.values[value.index()];
            (data.known, data.is_const) = (inferred.known, is_const);
            self.function.ops[id.index()].outputs.push(value);
        }
        Ok(())
    }

    /// A `constexpr_` op has its parameters where the opset has them: as attributes, or as inputs.
    fn check_form(&self, def: &OpDef, op: &mil::Operation) -> Result<(), SpecError> {
        let (misplaced, found, expected) = match def.form(self.opset) {
            Form::Inputs => return Ok(()),
            Form::Attributes => (op.inputs.keys().next(), "input", "attribute"),
            Form::InPlace => (op.attributes.keys().find(|k| def.param(k).is_some()), "attribute", "input"),
        };
        match misplaced {
            None => Ok(()),
            Some(param) => {
                let message = format!("`{param}` is an {expected} in opset {}, but written as an {found}", self.opset);
                Err(SpecError::new(message))
            }
        }
    }

    fn infer(&self, op: &Op, outputs: &[mil::NamedValueType]) -> Result<(Vec<Inferred>, bool), SpecError> {
        if op.def.is_const() {
            let value = op.attributes.get("val").ok_or_else(|| SpecError::new("a `const` has the attribute `val`"))?;
            let known = value.known().map(Known::Constant);
            return Ok((vec![Inferred { ty: value.ty(), known }], true));
        }
        let args = self.function.args(op);
        let types = |ids: &[ValueId]| ids.iter().map(|v| self.function.value(*v).ty.clone()).collect();
        let block_types = |b: &BlockId| {
            let block = self.function.block(*b);
            BlockTypes { inputs: types(&block.inputs), outputs: types(&block.outputs) }
        };
        let blocks: Vec<BlockTypes> = op.blocks.iter().map(block_types).collect();
        let scope = outputs.first().map_or(&op.name[..], |o| &o.name);
        let inferred = op.def.infer(&args, &mut Cx::new(self.opset, scope, &blocks).reading())?;
        let is_const = op.blocks.is_empty() && !op.def.params.is_empty() && args.all_const();
        Ok((inferred, is_const))
    }

    fn binding(&self, b: &mil::argument::Binding, param: &str) -> Result<Binding, SpecError> {
        use mil::argument::binding::Binding as B;
        let inside = |e: SpecError| e.inside(format!("`{param}`"));
        match &b.binding {
            Some(B::Name(name)) => Ok(Binding::Value(self.find(name).map_err(inside)?)),
            Some(B::Value(v)) => Ok(Binding::Inline(values::read_attribute(v, self.source).map_err(inside)?)),
            None => Err(inside(SpecError::new("it is bound to nothing"))),
        }
    }
}

/// The attribute `name`; empty if there is none.
fn op_name(op: &mil::Operation) -> &str {
    use mil::{tensor_value::Value as V, value::Value, value::immediate_value::Value as I};
    let value = op.attributes.get(NAME).and_then(|v| v.value.as_ref());
    let Some(Value::ImmediateValue(immediate)) = value else { return "" };
    match immediate.value.as_ref() {
        Some(I::Tensor(mil::TensorValue { value: Some(V::Strings(s)) })) => s.values.first().map_or("", |s| s),
        _ => "",
    }
}

/// What a file declares, and inference finds, as one type: a size that inference can say in symbols keeps them, one
/// that the file leaves open stays open. `None` if the two contradict each other.
fn merge(declared: &Type, inferred: &Type) -> Option<Type> {
    if !declared.compatible(inferred) {
        return None;
    }
    let dims = |d: &TensorType, i: &TensorType| {
        let one = |(d, i): (&Dim, &Dim)| if d.value().is_none() && i.value().is_none() { i } else { d }.clone();
        d.with_shape(d.shape.iter().zip(i.shape.iter()).map(one).collect::<Vec<_>>())
    };
    Some(match (declared, inferred) {
        (Type::Tensor(d), Type::Tensor(i)) => Type::Tensor(dims(d, i)),
        _ => declared.clone(),
    })
}

/// Source and sink for programs that have no weight file: all constants stand in the message.
#[derive(Clone, Copy, Debug)]
pub struct NoWeights;

impl WeightSource for NoWeights {
    fn get(&self, file: &str, _: u64, _: &TensorType) -> Result<Constant, SpecError> {
        Err(SpecError::new(format!("there is no weight file `{file}`")))
    }
}

impl values::WeightSink for NoWeights {
    fn put(&mut self, _: &Constant) -> Result<Option<(String, u64)>, SpecError> {
        Ok(None)
    }
}
