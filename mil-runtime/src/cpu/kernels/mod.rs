//! The fast kernels, and all unsafe code of the CPU engine. Public functions are safe: they check what they are given, once, and take the
//! instruction set to use.

pub(crate) mod aligned;
pub(crate) mod binary;
pub(crate) mod chain;
pub(crate) mod copy;
pub(crate) mod depthwise;
pub(crate) mod epilogue;
pub(crate) mod gemm;
pub(crate) mod interpolate;
pub(crate) mod math;
pub(crate) mod matmul;
pub(crate) mod norm;
pub(crate) mod offsets;
pub(crate) mod pages;
pub(crate) mod panels;
pub(crate) mod pick;
pub(crate) mod pool;
pub(crate) mod recurrent;
pub(crate) mod reduce;
pub(crate) mod scaled;
pub(crate) mod select;
pub(crate) mod simd;
pub(crate) mod softmax;
pub(crate) mod threads;
pub(crate) mod unary;
pub(crate) mod view;
pub(crate) mod winograd;
