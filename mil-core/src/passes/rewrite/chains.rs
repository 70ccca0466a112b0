//! What fusions ask: ops that are there for one another alone.

use crate::{
    ir::{Constant, OpId, ValueId},
    op::Op as OpStruct,
};

use super::Rewriter;

impl Rewriter {
    /// The op that makes a value for `user` alone: nothing else uses the value, once, and both stand in one block, so that
    /// what replaces them runs as often as they did.
    pub fn made_for(&self, value: ValueId, user: OpId) -> Option<OpId> {
        let op = self.producer(value)?;
        (self.only_user(value) == Some(user) && self.block_of(op) == self.block_of(user)).then_some(op)
    }

    /// [`made_for`](Rewriter::made_for), if the op is of this name.
    pub fn made_for_by(&self, value: ValueId, user: OpId, name: &str) -> Option<OpId> {
        self.made_for(value, user).filter(|op| self.op(*op).def.name == name)
    }

    /// [`made_for`](Rewriter::made_for), bound as the op's struct, if it is that op.
    pub fn made_for_op<O: OpStruct>(&self, value: ValueId, user: OpId) -> Option<(OpId, O)> {
        let op = self.made_for(value, user)?;
        Some((op, self.bind(op)?))
    }

    /// The operands of an op on `x` and `y`, both ways round; none if one is no value.
    pub fn both_ways(&self, op: OpId) -> Vec<(ValueId, ValueId)> {
        match (self.arg(op, "x"), self.arg(op, "y")) {
            (Some(x), Some(y)) => vec![(x, y), (y, x)],
            _ => vec![],
        }
    }

    /// The operands of an op on `x` and `y`, one of which is a constant: the other, the constant, and whether the constant is
    /// `x`.
    pub fn with_constant(&self, op: OpId) -> Option<(ValueId, Constant, bool)> {
        let side = |value, constant| Some((self.arg(op, value)?, self.constant(op, constant)?.clone()));
        let found = side("x", "y").map(|(v, c)| (v, c, false));
        found.or_else(|| side("y", "x").map(|(v, c)| (v, c, true))).filter(|(v, ..)| self.known(*v).is_none())
    }

    /// The constant that a value is, if it is as it stands in the program and not computed: weights that are compressed, say,
    /// are known by what they are computed from, and stay small.
    pub fn stored(&self, value: Option<ValueId>, known: Option<&Constant>) -> Option<Constant> {
        let is_const = value.is_none_or(|v| self.producer(v).is_some_and(|op| self.op(op).def.is_const()));
        known.filter(|c| is_const && c.bytes().is_some()).cloned()
    }
}
