//! The builder: a program, written op by op in plain Rust.
//!
//! ```
//! use mil_core::{graph::Graph, mb, types::{DType, Opset, TensorType}};
//!
//! let mut g = Graph::new("main", Opset::iOS17);
//! let x = g.input("x", TensorType::new(DType::F32, [2, 3]));
//! let y = g.push(mb::add(&x, 1.0))?;
//! let program = g.finish([("y", y)])?;
//! assert_eq!(program.main().unwrap().outputs().len(), 1);
//! # Ok::<(), mil_core::graph::BuildError>(())
//! ```
//!
//! An op is plain data until it is pushed; [`Graph::push`] infers, checks, and gives values that know their types.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    fmt,
    sync::atomic::{AtomicU32, Ordering},
};

use crate::{
    ir::{Attribute, BlockId, Constant, Def, Function, Known, Loc, Op as IrOp, OpId, Program, ValueId},
    op::{AnyArg, BlockTypes, Call, FromOutputs, Op, OpDef, OpError, Operand},
    types::{DType, Opset, Shape, TensorType, Type},
};

mod control;
mod edit;
mod fold;
mod interface;
mod operands;

/// A value of a graph: what an op gave, or an input. Cheap to clone.
#[derive(Clone, PartialEq, Debug)]
pub struct Value {
    graph: u32,
    id: ValueId,
    ty: Type,
    known: Option<Known>,
    is_const: bool,
}

impl Value {
    /// Its place in the function.
    pub fn id(&self) -> ValueId {
        self.id
    }

    /// Its type.
    pub fn ty(&self) -> &Type {
        &self.ty
    }

    /// Its tensor type; `None` for states and lists.
    pub fn tensor_type(&self) -> Option<&TensorType> {
        self.ty.tensor()
    }

    /// Its dimensions, if it is a tensor.
    pub fn shape(&self) -> Option<&Shape> {
        self.tensor_type().map(|t| &t.shape)
    }

    /// Its element type, if it is a tensor.
    pub fn dtype(&self) -> Option<DType> {
        self.tensor_type().map(|t| t.dtype)
    }

    /// What is known of it before the program runs.
    pub fn known(&self) -> Option<&Known> {
        self.known.as_ref()
    }

    fn arg(&self) -> AnyArg {
        AnyArg { id: Some(self.id), ty: self.ty.clone(), known: self.known.clone(), is_const: self.is_const }
    }
}

/// An op that could not be pushed, and where that was.
#[derive(Clone, PartialEq, Debug)]
pub struct BuildError {
    /// What is wrong.
    pub error: Box<OpError>,
    /// The line that pushed it.
    pub loc: Loc,
}

impl fmt::Display for BuildError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.loc, self.error)
    }
}

impl BuildError {
    fn new(error: OpError, loc: Loc) -> BuildError {
        BuildError { error: Box::new(error), loc }
    }
}

impl std::error::Error for BuildError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&*self.error)
    }
}

/// A function under construction.
#[derive(Debug)]
pub struct Graph {
    id: u32,
    function: Function,
    /// Open blocks, the innermost last.
    open: Vec<BlockId>,
    /// The block in which each value is defined.
    home: HashMap<ValueId, BlockId>,
    names: HashSet<String>,
    /// For names that are taken, a number below which all are taken too.
    numbered: HashMap<String, usize>,
    counters: BTreeMap<&'static str, usize>,
    /// Whether the function was finished before and is being changed.
    reopened: bool,
    /// Values that a `constexpr_` op has in place; the `const` is not needed unless another op reads it.
    in_place: HashSet<ValueId>,
    /// Who computes ops on constants as they are pushed.
    folding: fold::Folding,
    /// What was said of inputs and outputs beyond their types.
    described: BTreeMap<ValueId, interface::Described>,
}

static NEXT_GRAPH: AtomicU32 = AtomicU32::new(0);

impl Graph {
    /// An empty function of this name and opset.
    pub fn new(name: impl Into<String>, opset: Opset) -> Graph {
        let function = Function::new(name, opset);
        Graph {
            id: NEXT_GRAPH.fetch_add(1, Ordering::Relaxed),
            open: vec![function.body],
            function,
            home: HashMap::new(),
            names: HashSet::new(),
            numbered: HashMap::new(),
            counters: BTreeMap::new(),
            reopened: false,
            in_place: HashSet::new(),
            folding: fold::Folding::default(),
            described: BTreeMap::new(),
        }
    }

    /// The opset.
    pub fn opset(&self) -> Opset {
        self.function.opset
    }

    /// The function so far.
    pub fn function(&self) -> &Function {
        &self.function
    }

    /// Adds an input. If the name is taken it gets a number.
    pub fn input(&mut self, name: &str, ty: impl Into<Type>) -> Value {
        let position = self.function.inputs.len();
        let value = self.define(name, ty.into(), Def::Input(position), self.function.body);
        self.function.inputs.push(value.id);
        value
    }

    /// Adds a constant.
    pub fn constant(&mut self, name: &str, constant: impl Into<Constant>) -> Value {
        let def = crate::ops::const_def();
        let constant = constant.into();
        let ty = constant.ty();
        let known = Some(Known::Constant(constant.clone()));
        let attributes = BTreeMap::from([("val".to_string(), Attribute::Tensor(constant))]);
        let op = IrOp { def, name: String::new(), args: vec![], blocks: vec![], outputs: vec![], attributes };
        let inferred = vec![crate::op::Inferred { ty: ty.into(), known }];
        let mut outputs = self.add(op, name, inferred, true, None);
        outputs.remove(0)
    }

    /// Pushes an op: infers its types, checks it, adds it.
    ///
    /// # Errors
    /// If the op cannot be; the error has the line that called this.
    #[track_caller]
    pub fn push<O: Op>(&mut self, call: Call<O>) -> Result<O::Outputs, BuildError> {
        let loc = Loc::caller();
        let outputs = self.push_op(O::DEF, call.operands, call.name.as_deref(), Some(loc.clone()));
        let outputs = outputs.map_err(|e| BuildError::new(e, loc.clone()))?;
        let count = outputs.len();
        O::Outputs::from_outputs(outputs).ok_or_else(|| {
            let error = OpError::new(format!("gives {count} values here; use `push_op`"));
            BuildError::new(error.of(O::DEF.name), loc)
        })
    }

    /// Pushes an op by its definition. This is [`Graph::push`] for those who work by name.
    ///
    /// # Errors
    /// If the op cannot be. The error names the parameter; the caller knows the place.
    pub fn push_op(
        &mut self,
        def: &'static OpDef,
        operands: Vec<(&'static str, Operand)>,
        name: Option<&str>,
        loc: Option<Loc>,
    ) -> Result<Vec<Value>, OpError> {
        self.push_with_blocks(def, operands, vec![], name, loc)
    }

    fn push_with_blocks(
        &mut self,
        def: &'static OpDef,
        operands: Vec<(&'static str, Operand)>,
        blocks: Vec<BlockId>,
        name: Option<&str>,
        loc: Option<Loc>,
    ) -> Result<Vec<Value>, OpError> {
        let name = self.op_name(def, name);
        let mut args = self.resolve(def, operands).map_err(|e| e.of(def.name))?;
        let types: Vec<BlockTypes> = blocks.iter().map(|b| self.block_types(*b)).collect();
        let mut cx = crate::op::Cx::new(self.opset(), &name, &types);
        let inferred = def.infer(&args, &mut cx)?;
        self.check_constexpr(def, &args)?;
        self.fill_defaults(def, &mut args)?;
        if let Some(constants) = self.folded(def, &args, &inferred, &name) {
            return Ok(constants);
        }
        let is_const = blocks.is_empty() && !def.params.is_empty() && args.all_const();
        let args = self.materialize(def, args, &name);
        let op = IrOp { def, name: String::new(), args, blocks, outputs: vec![], attributes: BTreeMap::new() };
        Ok(self.add(op, &name, inferred, is_const, loc))
    }

    /// Makes a state hold a tensor, and gives what it holds then: `write_state` and `read_state`, which is what
    /// coremltools' `coreml_update_state` becomes in a file.
    ///
    /// # Errors
    /// If it is no state, or holds tensors of another type.
    #[track_caller]
    pub fn coreml_update_state(
        &mut self,
        state: impl Into<Operand>,
        value: impl Into<Operand>,
    ) -> Result<Value, BuildError> {
        let loc = Loc::caller();
        let state = state.into();
        let n = self.counters.entry("coreml_update_state").or_default();
        let name = format!("coreml_update_state_{n}");
        *n += 1;
        let fail = |e| BuildError::new(e, loc.clone());
        let (write, read) = (crate::ops::state::WriteState::DEF, crate::ops::state::ReadState::DEF);
        let operands = vec![("input", state.clone()), ("data", value.into())];
        self.push_op(write, operands, Some(&format!("{name}_write_state")), Some(loc.clone())).map_err(fail)?;
        let mut values = self.push_op(read, vec![("input", state)], Some(&name), Some(loc.clone())).map_err(fail)?;
        Ok(values.remove(0))
    }

    /// Ends the function: these are its outputs. A name may be given for each: `[("y", y)]`, or not: `[y]`.
    ///
    /// # Errors
    /// If a value is of another graph, two outputs have one name, or there is none.
    #[track_caller]
    pub fn finish<T: Into<NamedOutput>>(self, outputs: impl IntoIterator<Item = T>) -> Result<Program, BuildError> {
        let loc = Loc::caller();
        self.finish_function(outputs.into_iter().map(Into::into).collect())
            .map(Program::single)
            .map_err(|e| BuildError::new(e, loc))
    }

    /// [`Graph::finish`] for those who want the function, to put it beside others.
    ///
    /// # Errors
    /// As [`Graph::finish`]. The error names the position of the output concerned.
    pub fn finish_function(mut self, outputs: Vec<NamedOutput>) -> Result<Function, OpError> {
        let fail = |i: usize, message: String| Err(OpError::new(message).index(i).of("output"));
        if outputs.is_empty() {
            return fail(0, "a function has at least one output".into());
        }
        let mut taken: HashSet<String> = HashSet::new();
        let mut became = vec![];
        for (i, output) in outputs.into_iter().enumerate() {
            if let Err(e) = self.check_scope(&output.value) {
                return fail(i, e);
            }
            let classified = self.classified(&output.value);
            if output.value.ty.tensor().is_none() && classified.is_none() {
                return fail(i, format!("an output is a tensor, found {}", output.value.ty));
            }
            let current = self.function.value(output.value.id).name.clone();
            let name = output.name.unwrap_or_else(|| current.clone());
            if !is_identifier(&name) {
                return fail(i, format!("`{name}` is no name: letters, digits and `_`, not starting with a digit"));
            }
            if !taken.insert(name.clone()) {
                return fail(i, format!("two outputs are named `{name}`"));
            }
            match classified {
                Some(0) => self.function.predicted_feature = name.clone(),
                Some(_) => self.function.predicted_probabilities = name.clone(),
                None => {}
            }
            let id = self.output_value(&output.value, &current, &name, i)?;
            self.function.blocks[self.function.body.index()].outputs.push(id);
            became.push((output.value.id, id));
        }
        self.drop_constants_in_place();
        self.describe(&became)?;
        Ok(self.function)
    }

    /// Takes out the `const` ops that only `constexpr_` ops read, which have them in place.
    fn drop_constants_in_place(&mut self) {
        if self.in_place.is_empty() {
            return;
        }
        let f = &mut self.function;
        let read = f.ops.iter().flat_map(IrOp::uses).chain(f.blocks.iter().flat_map(|b| b.outputs.iter().copied()));
        for value in read {
            self.in_place.remove(&value);
        }
        let Function { ops, blocks, .. } = f;
        let dropped = |op: &OpId| {
            let op = &ops[op.index()];
            op.def.is_const() && op.outputs.iter().all(|v| self.in_place.contains(v))
        };
        blocks.iter_mut().for_each(|b| b.ops.retain(|op| !dropped(op)));
    }

    /// Which output of `classify` a value is: a function that gives the label is a classifier.
    fn classified(&self, value: &Value) -> Option<usize> {
        match self.function.value(value.id).def {
            Def::Op(op, i) if self.function.op(op).def == crate::ops::classify::Classify::DEF => Some(i),
            _ => None,
        }
    }

    /// The value itself under its output name; a copy of it where it cannot be renamed (an input, a constant, or a value
    /// that is an output already: Core ML wants outputs to be distinct results of ops).
    fn output_value(&mut self, value: &Value, current: &str, name: &str, i: usize) -> Result<ValueId, OpError> {
        let body = self.function.body;
        let used = self.function.block(body).outputs.contains(&value.id);
        let from_op = match self.function.value(value.id).def {
            Def::Op(op, _) => !self.function.op(op).def.is_const(),
            Def::Input(_) | Def::BlockInput(..) => false,
        };
        if current != name {
            self.free_name(name);
        }
        if from_op && !used && (current == name || !self.names.contains(name)) {
            self.rename(value.id, name);
            return Ok(value.id);
        }
        if self.names.contains(name) && current != name {
            return Err(OpError::new(format!("`{name}` is the name of another value")).index(i).of("output"));
        }
        if from_op && current == name {
            return Ok(value.id);
        }
        let copy_name = if current == name { format!("{name}_out") } else { name.to_string() };
        let operands = vec![("x", Operand::Value(value.clone()))];
        let copies = self.push_op(crate::ops::identity_def(), operands, Some(&copy_name), None)?;
        Ok(copies[0].id)
    }

    /// Takes a name away from an intermediate value: `let y = relu(x); let y = exp(y)` has two values called `y`, and the
    /// output is the last.
    fn free_name(&mut self, name: &str) {
        let outputs = &self.function.block(self.function.body).outputs;
        let values = self.function.values.iter().enumerate().map(|(i, v)| (ValueId::new(i), v));
        let holder = values.into_iter().find(|(_, v)| v.name == name);
        if let Some((id, v)) = holder
            && !matches!(v.def, Def::Input(_))
            && !outputs.contains(&id)
        {
            let fresh = self.fresh(name);
            self.rename(id, &fresh);
        }
    }

    fn rename(&mut self, id: ValueId, name: &str) {
        let data = &mut self.function.values[id.index()];
        self.names.remove(&data.name);
        self.numbered.clear();
        self.names.insert(name.to_string());
        let old = std::mem::replace(&mut data.name, name.to_string());
        if let Def::Op(op, _) = data.def {
            let op = &mut self.function.ops[op.index()];
            if op.name == old {
                op.name = name.to_string();
            }
        }
    }

    fn add(
        &mut self,
        op: IrOp,
        name: &str,
        inferred: Vec<crate::op::Inferred>,
        is_const: bool,
        loc: Option<Loc>,
    ) -> Vec<Value> {
        let block = self.current();
        let op_id: OpId = self.function.add_op(block, op);
        let many = inferred.len() > 1;
        let mut outputs = Vec::with_capacity(inferred.len());
        for (i, one) in inferred.into_iter().enumerate() {
            let value_name = if many { format!("{name}_{i}") } else { name.to_string() };
            let mut value = self.define(&value_name, one.ty, Def::Op(op_id, i), block);
            (value.known, value.is_const) = (one.known.clone(), is_const);
            let data = &mut self.function.values[value.id.index()];
            (data.known, data.is_const) = (one.known, is_const);
            outputs.push(value);
        }
        let op = &mut self.function.ops[op_id.index()];
        op.outputs = outputs.iter().map(|v| v.id).collect();
        // One output: op and output share the name, which `define` made unique.
        op.name = match &outputs[..] {
            [one] => self.function.values[one.id.index()].name.clone(),
            _ => name.to_string(),
        };
        if let Some(loc) = loc {
            self.function.locs.insert(op_id, loc);
        }
        outputs
    }

    fn define(&mut self, name: &str, ty: Type, def: Def, block: BlockId) -> Value {
        let name = self.fresh(&identifier(name));
        let id = self.function.add_value(name, ty.clone(), def);
        self.home.insert(id, block);
        Value { graph: self.id, id, ty, known: None, is_const: false }
    }

    /// The name, or with a number if it is taken.
    fn fresh(&mut self, name: &str) -> String {
        let fresh = self.free(name.to_string());
        self.names.insert(fresh.clone());
        fresh
    }

    /// The name, or with the first number that makes it another one if it is taken.
    fn free(&mut self, name: String) -> String {
        if !self.names.contains(&name) {
            return name;
        }
        let mut n = self.numbered.get(&name).copied().unwrap_or(0);
        let mut free = format!("{name}_{n}");
        while self.names.contains(&free) {
            n += 1;
            free = format!("{name}_{n}");
        }
        self.numbered.insert(name, n);
        free
    }

    fn op_name(&mut self, def: &'static OpDef, name: Option<&str>) -> String {
        let wanted = match name {
            Some(name) => identifier(name),
            None => {
                let n = self.counters.entry(def.name).or_default();
                *n += 1;
                format!("{}_{}", def.name, *n - 1)
            }
        };
        self.free(wanted)
    }

    fn current(&self) -> BlockId {
        self.open.last().copied().unwrap_or(self.function.body)
    }

    /// Whether a value can be used here.
    fn check_scope(&self, value: &Value) -> Result<(), String> {
        if value.graph != self.id {
            return Err("this value belongs to another graph".into());
        }
        match self.home.get(&value.id) {
            Some(home) if self.open.contains(home) => Ok(()),
            _ => Err("this value is defined in a nested block and cannot be used outside it".into()),
        }
    }
}

/// An output with or without a name.
#[derive(Clone, Debug)]
pub struct NamedOutput {
    /// The value.
    pub value: Value,
    /// Its name; else the value's own.
    pub name: Option<String>,
}

impl From<Value> for NamedOutput {
    fn from(value: Value) -> NamedOutput {
        NamedOutput { value, name: None }
    }
}

impl From<&Value> for NamedOutput {
    fn from(value: &Value) -> NamedOutput {
        NamedOutput { value: value.clone(), name: None }
    }
}

impl<S: Into<String>, V: Into<NamedOutput>> From<(S, V)> for NamedOutput {
    fn from((name, value): (S, V)) -> NamedOutput {
        NamedOutput { name: Some(name.into()), ..value.into() }
    }
}

/// Words of MIL text; a value of such a name cannot be read by Core ML. Source: coremltools' name sanitizer.
const RESERVED: [&str; 24] = [
    "any", "bf16", "bool", "dict", "false", "fp16", "fp32", "fp64", "func", "int16", "int32", "int64", "int8", "list",
    "program", "state", "string", "tensor", "true", "tuple", "uint16", "uint32", "uint64", "uint8",
];

/// Whether MIL takes this as a name (the grammar in MIL.proto's comments: `[A-Za-z_][A-Za-z0-9_@]*`, no word of MIL).
pub fn is_identifier(name: &str) -> bool {
    let body = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '@';
    name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.chars().all(body)
        && !RESERVED.contains(&name)
}

/// The name, with what MIL does not take in a name replaced by `_`.
pub fn identifier(name: &str) -> String {
    let body = |c: char| if c.is_ascii_alphanumeric() || c == '_' || c == '@' { c } else { '_' };
    let clean: String = name.chars().map(body).collect();
    if is_identifier(&clean) { clean } else { format!("var_{clean}") }
}

#[cfg(test)]
mod tests;
