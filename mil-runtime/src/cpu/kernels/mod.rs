//! The fast kernels, and all unsafe code of the CPU engine. Public functions are safe: they check what they are given, once, and take the
//! instruction set to use.
#![allow(dead_code)]

pub(crate) mod depthwise;
pub(crate) mod epilogue;
pub(crate) mod simd;
pub(crate) mod threads;
pub(crate) mod winograd;
