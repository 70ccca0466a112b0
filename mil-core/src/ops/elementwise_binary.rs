//! Elementwise ops of two operands, with broadcasting.

use crate::op::{Arg, Cx, Infer, Inferred, Op, OpDef, OpError};
use mil_derive::Op;

use super::rules;

pub(crate) const OPS: &[&OpDef] = &[Add::DEF];

/// `x + y`, with broadcasting. Also written `x + y`.
///
/// # Constraints
/// - C1 the shapes broadcast.
#[derive(Op, Clone, Debug)]
#[op(name = "add", since = iOS15)]
#[domain(T = F16 | F32 | I32)]
pub struct Add {
    /// The left operand.
    #[dtype(T)]
    pub x: Arg,
    /// The right operand.
    #[dtype(T)]
    pub y: Arg,
}

impl Infer for Add {
    fn infer(&self, _: &mut Cx<'_>) -> Result<Vec<Inferred>, OpError> {
        let shape = rules::broadcast(self.x.shape(), self.y.shape(), "y")?;
        Ok(vec![self.x.ty.with_shape(shape).into()])
    }
}
