//! Functions: arenas of ops, values and blocks.

use std::{borrow::Cow, collections::BTreeMap};

use crate::{
    op::{AnyArg, Args, Form, OpDef},
    types::{Opset, Type},
};

use super::{constant::Constant, feature::Feature, known::Known, loc::Loc, program::Attribute};

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
        pub struct $name(pub(crate) u32);

        impl $name {
            /// The place in the function's arena.
            pub fn index(self) -> usize {
                self.0 as usize
            }

            pub(crate) fn new(index: usize) -> $name {
                $name(u32::try_from(index).expect("fewer than 2^32 items in a function"))
            }
        }
    )*};
}
ids! {
    /// A value of a function.
    ValueId
    /// An op of a function.
    OpId
    /// A block of a function.
    BlockId
}

/// What a parameter of an op is bound to.
#[derive(Clone, PartialEq, Debug)]
pub enum Binding {
    /// A value defined earlier, in this block or one around it.
    Value(ValueId),
    /// A constant written in place, where the format allows it.
    Inline(Attribute),
}

/// One bound parameter. A variadic parameter (`concat.values`) has any number of bindings, the others one.
#[derive(Clone, PartialEq, Debug)]
pub struct Argument {
    /// Index into [`OpDef::params`].
    pub param: usize,
    /// The bindings.
    pub bindings: Vec<Binding>,
}

/// An operation.
#[derive(Clone, PartialEq, Debug)]
pub struct Op {
    /// What it is.
    pub def: &'static OpDef,
    /// Its name (the attribute `name`), which may differ from its outputs' names; empty if a file gives none.
    pub name: String,
    /// Bound parameters, in the order of the definition.
    pub args: Vec<Argument>,
    /// Nested blocks: `cond` has two (true, false), `while_loop` two (condition, body).
    pub blocks: Vec<BlockId>,
    /// The values it defines.
    pub outputs: Vec<ValueId>,
    /// Attributes other than `name`: the `val` of a `const`.
    pub attributes: BTreeMap<String, Attribute>,
}

impl Op {
    /// The bindings of a parameter; empty if it is not bound.
    pub fn bindings(&self, param: &str) -> &[Binding] {
        let found = self.args.iter().find(|a| self.def.params[a.param].name == param);
        found.map_or(&[], |a| &a.bindings)
    }

    /// All values it uses, in the order of its parameters (nested blocks not included).
    pub fn uses(&self) -> impl Iterator<Item = ValueId> + '_ {
        self.args.iter().flat_map(|a| &a.bindings).filter_map(|b| match b {
            Binding::Value(v) => Some(*v),
            Binding::Inline(_) => None,
        })
    }

    /// The arguments that a file of this opset holds as inputs.
    pub fn file_inputs(&self, opset: Opset) -> &[Argument] {
        if self.def.form(opset) == Form::Attributes { &[] } else { &self.args }
    }

    /// The attributes that a file of this opset holds, `name` aside: the op's own, and those arguments that are written as
    /// attributes ([`Form::Attributes`]).
    pub fn file_attributes(&self, opset: Opset) -> Cow<'_, BTreeMap<String, Attribute>> {
        if self.def.form(opset) != Form::Attributes {
            return Cow::Borrowed(&self.attributes);
        }
        let mut all = self.attributes.clone();
        for argument in &self.args {
            if let [Binding::Inline(value)] = &argument.bindings[..] {
                all.insert(self.def.params[argument.param].name.to_string(), value.clone());
            }
        }
        Cow::Owned(all)
    }

    /// Takes the parameters out of the attributes that a file of this opset holds: the reverse of
    /// [`Op::file_attributes`].
    pub fn take_arguments(
        def: &'static OpDef,
        opset: Opset,
        attributes: &mut BTreeMap<String, Attribute>,
    ) -> Vec<Argument> {
        if def.form(opset) != Form::Attributes {
            return vec![];
        }
        let params = def.params.iter().enumerate();
        params
            .filter_map(|(param, p)| {
                let value = attributes.remove(p.name)?;
                Some(Argument { param, bindings: vec![Binding::Inline(value)] })
            })
            .collect()
    }

    /// The tensors that the op itself holds: the value of a `const`, and arguments written in place.
    pub fn constants(&self) -> impl Iterator<Item = &Constant> {
        let bound = self.args.iter().flat_map(|a| &a.bindings);
        let in_place = bound.filter_map(|b| match b {
            Binding::Inline(value) => Some(value),
            Binding::Value(_) => None,
        });
        self.attributes.values().chain(in_place).filter_map(|a| match a {
            Attribute::Tensor(c) => Some(c),
            _ => None,
        })
    }

    fn constants_mut(&mut self) -> impl Iterator<Item = &mut Constant> {
        let bound = self.args.iter_mut().flat_map(|a| &mut a.bindings);
        let in_place = bound.filter_map(|b| match b {
            Binding::Inline(value) => Some(value),
            Binding::Value(_) => None,
        });
        self.attributes.values_mut().chain(in_place).filter_map(|a| match a {
            Attribute::Tensor(c) => Some(c),
            _ => None,
        })
    }

    /// The constant of a `const` op.
    pub fn constant(&self) -> Option<&Constant> {
        match self.attributes.get("val") {
            Some(Attribute::Tensor(c)) if self.def.is_const() => Some(c),
            _ => None,
        }
    }
}

/// Where a value comes from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Def {
    /// An input of the function, by position.
    Input(usize),
    /// An input of a nested block, by position.
    BlockInput(BlockId, usize),
    /// An output of an op, by position.
    Op(OpId, usize),
}

/// A value: defined once, used anywhere after.
#[derive(Clone, PartialEq, Debug)]
pub struct ValueData {
    /// Once validated, no other value that is visible where this one is has the same.
    pub name: String,
    /// Its type.
    pub ty: Type,
    /// What is known of it before the program runs.
    pub known: Option<Known>,
    /// Whether it depends on constants alone.
    pub is_const: bool,
    /// Where it comes from.
    pub def: Def,
}

/// A list of ops with inputs and outputs.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Block {
    /// Inputs: only the blocks of `while_loop` have any (the function's own inputs are on the function).
    pub inputs: Vec<ValueId>,
    /// Ops in order of execution.
    pub ops: Vec<OpId>,
    /// The values it gives.
    pub outputs: Vec<ValueId>,
    /// Attributes of the block.
    pub attributes: BTreeMap<String, Attribute>,
}

/// A function: inputs, one body, and everything in it.
#[derive(Clone, PartialEq, Debug)]
pub struct Function {
    /// Its name; `main` unless said otherwise.
    pub name: String,
    /// The opset it speaks.
    pub opset: Opset,
    /// Its inputs, in order.
    pub inputs: Vec<ValueId>,
    /// Its body.
    pub body: BlockId,
    /// Descriptions of inputs, if they say more than the types do; else they are derived from the types.
    pub input_features: Vec<Feature>,
    /// Descriptions of outputs, likewise.
    pub output_features: Vec<Feature>,
    /// Descriptions of states, likewise.
    pub state_features: Vec<Feature>,
    /// For classifiers: the feature that holds the predicted label; empty otherwise.
    pub predicted_feature: String,
    /// For classifiers: the feature that holds the probabilities; empty otherwise.
    pub predicted_probabilities: String,
    /// Attributes of the function.
    pub attributes: BTreeMap<String, Attribute>,
    pub(crate) values: Vec<ValueData>,
    pub(crate) ops: Vec<Op>,
    pub(crate) blocks: Vec<Block>,
    pub(crate) locs: BTreeMap<OpId, Loc>,
}

impl Function {
    /// A function with nothing in it.
    pub fn new(name: impl Into<String>, opset: Opset) -> Function {
        Function {
            name: name.into(),
            opset,
            inputs: vec![],
            body: BlockId(0),
            input_features: vec![],
            output_features: vec![],
            state_features: vec![],
            predicted_feature: String::new(),
            predicted_probabilities: String::new(),
            attributes: BTreeMap::new(),
            values: vec![],
            ops: vec![],
            blocks: vec![Block::default()],
            locs: BTreeMap::new(),
        }
    }

    /// A value.
    pub fn value(&self, id: ValueId) -> &ValueData {
        &self.values[id.index()]
    }

    /// An op.
    pub fn op(&self, id: OpId) -> &Op {
        &self.ops[id.index()]
    }

    /// A block.
    pub fn block(&self, id: BlockId) -> &Block {
        &self.blocks[id.index()]
    }

    /// The values that the function gives.
    pub fn outputs(&self) -> &[ValueId] {
        &self.block(self.body).outputs
    }

    /// Where an op was written, if it was written in Rust.
    pub fn loc(&self, op: OpId) -> Option<&Loc> {
        self.locs.get(&op)
    }

    /// How many values there are; ids are below this.
    pub fn value_count(&self) -> usize {
        self.values.len()
    }

    /// All ops that run, blocks inside their op's place: depth first, in order of execution.
    pub fn walk(&self) -> Vec<OpId> {
        let mut order = vec![];
        let mut stack: Vec<OpId> = self.block(self.body).ops.iter().rev().copied().collect();
        while let Some(id) = stack.pop() {
            order.push(id);
            let inner = self.op(id).blocks.iter().rev();
            stack.extend(inner.flat_map(|b| self.block(*b).ops.iter().rev()));
        }
        order
    }

    /// What an op's parameters are bound to, with types and known values: what its definition binds and infers from.
    pub fn args(&self, op: &Op) -> Args {
        let mut args = Args::new(op.def);
        for argument in &op.args {
            let bound = argument.bindings.iter().map(|b| match b {
                Binding::Value(v) => self.arg(*v),
                Binding::Inline(a) => AnyArg::inline(a),
            });
            args.set(argument.param, bound.collect());
        }
        args
    }

    /// Whether a `constexpr_` op whose parameters stand in this form may name a value: what another one gives, or a
    /// constant.
    pub(crate) fn is_named_by_constexpr(&self, form: Form, id: ValueId) -> bool {
        match self.value(id).def {
            Def::Op(op, _) => {
                let def = self.op(op).def;
                form == Form::InPlace && (def.is_constexpr() || def.is_const())
            }
            Def::Input(_) | Def::BlockInput(..) => false,
        }
    }

    /// The outputs of a `constexpr_` op, unpacked. `find` has those of other `constexpr_` ops that it reads.
    ///
    /// # Errors
    /// As [`OpDef::materialize`].
    pub fn materialize(
        &self,
        op: &Op,
        find: &dyn Fn(ValueId) -> Option<Constant>,
    ) -> Result<Vec<Constant>, crate::op::OpError> {
        let mut args = self.args(op);
        for argument in &op.args {
            let [Binding::Value(id)] = argument.bindings[..] else { continue };
            if let Some(constant) = find(id) {
                args.set(argument.param, vec![AnyArg::constant(constant)]);
            }
        }
        op.def.materialize(&args, self.opset)
    }

    /// A value as an argument.
    pub fn arg(&self, id: ValueId) -> AnyArg {
        let v = self.value(id);
        AnyArg { id: Some(id), ty: v.ty.clone(), known: v.known.clone(), is_const: v.is_const }
    }

    pub(crate) fn add_value(&mut self, name: String, ty: Type, def: Def) -> ValueId {
        let id = ValueId::new(self.values.len());
        self.values.push(ValueData { name, ty, known: None, is_const: false, def });
        id
    }

    pub(crate) fn add_block(&mut self) -> BlockId {
        self.blocks.push(Block::default());
        BlockId::new(self.blocks.len() - 1)
    }

    /// Adds an op at the end of a block. Its outputs are there already, defined by it.
    pub(crate) fn add_op(&mut self, block: BlockId, op: Op) -> OpId {
        let id = OpId::new(self.ops.len());
        self.ops.push(op);
        self.blocks[block.index()].ops.push(id);
        id
    }

    /// Gives a `const` op another value of the same type.
    pub(crate) fn set_constant(&mut self, op: OpId, constant: Constant) {
        let op = &mut self.ops[op.index()];
        for out in &op.outputs {
            self.values[out.index()].known = Some(Known::Constant(constant.clone()));
        }
        op.attributes.insert("val".to_string(), Attribute::Tensor(constant));
    }

    /// See [`Program::attach_weights`](super::Program::attach_weights).
    pub(crate) fn attach_weights(&mut self, find: &dyn Fn(&str) -> Option<Constant>) -> Result<(), String> {
        for op in &mut self.ops {
            for c in op.constants_mut() {
                let Some(name) = c.weight_name() else { continue };
                let found = find(name).ok_or_else(|| format!("there is no weight named `{name}`"))?;
                if (found.dtype(), found.shape()) != (c.dtype(), c.shape()) {
                    return Err(format!("weight `{name}` is {}, but the program was built for {}", found.ty(), c.ty()));
                }
                *c = found;
            }
            let Some(value) = op.constant().cloned() else { continue };
            for &out in &op.outputs {
                self.values[out.index()].known = Some(Known::Constant(value.clone()));
            }
        }
        Ok(())
    }
}
