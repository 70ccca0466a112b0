//! The fast kernels, and all unsafe code of the CPU engine. Public functions are safe: they check what they are given, once, and take the
//! instruction set to use.
#![allow(dead_code)]

pub(crate) mod math;
pub(crate) mod norm;
pub(crate) mod pool;
pub(crate) mod recurrent;
pub(crate) mod reduce;
pub(crate) mod simd;
pub(crate) mod softmax;
pub(crate) mod threads;
pub(crate) mod unary;
pub(crate) mod view;
