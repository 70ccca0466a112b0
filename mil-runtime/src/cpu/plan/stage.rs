//! What happens to each element of a tensor after it was computed.

use std::sync::Arc;

use mil_core::ir::ValueId;

use super::tensor::Tensor;
use crate::cpu::kernels::{binary::Binary, unary::Unary};

/// One thing that happens to each element.
#[derive(Clone, Debug)]
pub(crate) enum Stage {
    /// A function of the element.
    Unary(Unary),
    /// A function of the element and one of another tensor, which is repeated to the shape where it has 1.
    Binary { op: Binary, operand: Operand, swapped: bool },
    /// Rounding to f16.
    Half,
}

/// The other tensor.
#[derive(Clone, Debug)]
pub(crate) enum Operand {
    /// A constant: its numbers in row-major order, and its shape.
    Constant(Arc<[f32]>, Vec<usize>),
    /// A value of the function.
    Value(ValueId),
    /// A tensor of the plan that is no value of the function.
    Tensor(Tensor),
}

impl Operand {
    /// One number per element of dimension `axis` of a tensor, if it is a constant that differs along no other.
    pub(crate) fn per_channel(&self, shape: &[usize], axis: usize) -> Option<Vec<f32>> {
        let Operand::Constant(v, own) = self else { return None };
        if v.len() == 1 {
            return Some(vec![v[0]; shape[axis]]);
        }
        let skip = shape.len().checked_sub(own.len())?;
        let along = |d: usize| d + skip == axis && own[d] == shape[axis];
        ((0..own.len()).all(|d| own[d] == 1 || along(d)) && v.len() == shape[axis]).then(|| v.to_vec())
    }
}
