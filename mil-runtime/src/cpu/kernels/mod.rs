//! The fast kernels, and all unsafe code of the CPU engine. Public functions are safe: they check what they are given, once, and take the
//! instruction set to use.
#![allow(dead_code)]

pub(crate) mod binary;
pub(crate) mod chain;
pub(crate) mod copy;
pub(crate) mod gather;
pub(crate) mod math;
pub(crate) mod simd;
pub(crate) mod threads;
pub(crate) mod unary;
pub(crate) mod view;
