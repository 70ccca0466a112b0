//! What patterns ask: who made a value, who alone uses it, which constant is bound.

use crate::{
    ir::{Binding, Constant, Def, OpId, ValueId},
    op::{Op as OpStruct, Operand},
};

use super::{Rewriter, Use};

impl Rewriter {
    /// The op that makes a value; `None` for inputs.
    pub fn producer(&self, value: ValueId) -> Option<OpId> {
        match self.data(value).def {
            Def::Op(op, _) => Some(op),
            Def::Input(_) | Def::BlockInput(..) => None,
        }
    }

    /// The op that makes a value, if it is of this name.
    pub fn made_by(&self, value: ValueId, name: &str) -> Option<OpId> {
        self.producer(value).filter(|op| self.op(*op).def.name == name)
    }

    /// The op that makes a value, bound as its struct, if it is that op: `rw.made_by_op::<mb::Conv>(x)`.
    pub fn made_by_op<O: OpStruct>(&self, value: ValueId) -> Option<(OpId, O)> {
        let op = self.producer(value)?;
        Some((op, self.bind(op)?))
    }

    /// An op bound as its struct, with typed fields, if it is that op.
    pub fn bind<O: OpStruct>(&self, op: OpId) -> Option<O> {
        let data = self.op(op);
        if data.def != O::DEF || !self.is_live(op) {
            return None;
        }
        O::bind(&self.function().args(data)).ok()
    }

    /// The only op that uses a value, if there is one and it uses it once; `None` if a block gives the value as well.
    pub fn only_user(&self, value: ValueId) -> Option<OpId> {
        let mut uses = self.uses(value);
        match (uses.next(), uses.next()) {
            (Some((Use::Op(op), 1)), None) => Some(op),
            _ => None,
        }
    }

    /// Whether `value` may be used wherever `old` is, which is seen where `value` is: nested blocks give only what an op in them
    /// makes, so that a value from outside does not stand for what they give.
    pub fn may_stand_for(&self, value: ValueId, old: ValueId) -> bool {
        self.uses(old).all(|(by, _)| match by {
            Use::Block(block) if block != self.body() => self.home(value) == block && self.producer(value).is_some(),
            Use::Op(_) | Use::Block(_) => true,
        })
    }

    /// The only output of an op.
    pub fn output(&self, op: OpId) -> Option<ValueId> {
        match self.op(op).outputs[..] {
            [one] => Some(one),
            _ => None,
        }
    }

    /// The value that a parameter is bound to, if it is one value.
    pub fn arg(&self, op: OpId, param: &str) -> Option<ValueId> {
        match self.op(op).bindings(param) {
            [Binding::Value(v)] => Some(*v),
            _ => None,
        }
    }

    /// The constant that a value is known to be.
    pub fn known(&self, value: ValueId) -> Option<&Constant> {
        self.data(value).known.as_ref()?.constant()
    }

    /// The constant that a parameter is bound to or known to be.
    pub fn constant(&self, op: OpId, param: &str) -> Option<&Constant> {
        match self.op(op).bindings(param) {
            [Binding::Value(v)] => self.known(*v),
            [Binding::Inline(crate::ir::Attribute::Tensor(c))] => Some(c),
            _ => None,
        }
    }

    /// The number that a parameter is known to be: a constant of one element, of any rank.
    pub fn number(&self, op: OpId, param: &str) -> Option<f64> {
        self.constant(op, param)?.number()
    }

    /// The number that all elements of a parameter's constant are, if they are all the same.
    pub fn splat(&self, op: OpId, param: &str) -> Option<f64> {
        let c = self.constant(op, param)?;
        let size = c.dtype().bits() / 8;
        let bytes = c.bytes().filter(|_| !c.dtype().is_sub_byte())?;
        let first = bytes.get(..size)?;
        // The first that differs ends it: weights are not read to their end.
        let same = bytes.chunks_exact(size).all(|e| e == &first[..]);
        same.then(|| Constant::from_bytes(c.dtype(), [], first).ok()?.number())?
    }

    /// Whether a parameter is a constant of one element that is `x`, within a relative tolerance.
    pub fn is_number(&self, op: OpId, param: &str, x: f64, tolerance: f64) -> bool {
        self.number(op, param).is_some_and(|n| n == x || (n - x).abs() <= tolerance * x.abs())
    }

    /// The operands of an op on `x` and `y`, one of which is a constant of one element: the other one, and the number. For ops
    /// that commute (`add`, `mul`, `maximum`).
    pub fn with_number(&self, op: OpId) -> Option<(ValueId, f64)> {
        let side = |value, number| Some((self.arg(op, value)?, self.number(op, number)?));
        side("x", "y").or_else(|| side("y", "x"))
    }

    /// The other operand of an op on `x` and `y`.
    pub fn other(&self, op: OpId, value: ValueId) -> Option<ValueId> {
        match (self.arg(op, "x")?, self.arg(op, "y")?) {
            (x, y) if x == value => Some(y),
            (x, y) if y == value => Some(x),
            _ => None,
        }
    }

    /// What an op is bound to, as it would be pushed: change a parameter, and push it again with `push_op`.
    pub fn operands(&self, op: OpId) -> Vec<(&'static str, Operand)> {
        let op = self.op(op);
        let mut operands = vec![];
        for argument in &op.args {
            let param = &op.def.params[argument.param];
            let one = |b: &Binding| match b {
                Binding::Value(v) => Some(Operand::Value(self.value(*v))),
                Binding::Inline(crate::ir::Attribute::Tensor(c)) => Some(Operand::Constant(c.clone())),
                Binding::Inline(_) => None,
            };
            let mut bound: Vec<Operand> = argument.bindings.iter().filter_map(one).collect();
            match (param.kind.is_variadic(), bound.len()) {
                (true, _) => operands.push((param.name, Operand::List(bound))),
                (false, 1) => operands.push((param.name, bound.remove(0))),
                (false, _) => {}
            }
        }
        operands
    }
}
