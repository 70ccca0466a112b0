//! `constexpr_` ops: packed constants, and how to unpack them.
//!
//! Weights in a file may be quantized, palettized (indices into a look-up table), sparse, or several of these. Such a weight
//! is a `constexpr_` op: its arguments are constants, its result depends on constants alone, and Core ML unpacks it when the
//! model is loaded, or while it runs. Nothing unpacks it on reading, checking or copying; what it unpacks to is
//! [`OpDef::materialize`], which the engines and passes call.
//!
//! In the IR the arguments of every `constexpr_` op are bound alike, to constants in place. In a file they are attributes
//! where the op's version is of iOS16, and inputs from iOS18 on, where an op may also read what another `constexpr_` op
//! gives ([`crate::op::Form`]).

mod dequantize;
mod elements;
mod lut;
mod sparse;

pub use dequantize::{
    ConstexprAffineDequantize, ConstexprBlockwiseShiftScale, ConstexprCast, ConstexprSparseBlockwiseShiftScale,
    constexpr_affine_dequantize, constexpr_blockwise_shift_scale, constexpr_cast,
    constexpr_sparse_blockwise_shift_scale,
};
pub use lut::{ConstexprLutToDense, ConstexprLutToSparse, constexpr_lut_to_dense, constexpr_lut_to_sparse};
pub use sparse::{ConstexprSparseToDense, constexpr_sparse_to_dense};

use crate::op::{Op, OpDef};

pub(crate) const OPS: &[&OpDef] = &[
    ConstexprAffineDequantize::DEF,
    ConstexprBlockwiseShiftScale::DEF,
    ConstexprCast::DEF,
    ConstexprLutToDense::DEF,
    ConstexprLutToSparse::DEF,
    ConstexprSparseBlockwiseShiftScale::DEF,
    ConstexprSparseToDense::DEF,
];

#[cfg(test)]
mod form_tests;
#[cfg(test)]
mod testing;
