//! Core ML's model language, MIL, as Rust data: types, ops, programs, and the formats they are written in.
//!
//! (The essay follows.)

extern crate self as mil_core;

mod atomic;
pub mod error;
pub mod graph;
pub mod ir;
pub mod op;
pub mod ops;
pub mod package;
pub mod spec;
pub mod text;
pub mod types;
pub mod validate;
pub mod weights;

/// The ops as functions, by their MIL names: `mb::conv(x, weight).strides([2, 2])`.
pub mod mb {
    pub use crate::ops::{
        activation::*, attention::*, cast::*, compare::*, control::*, conv::*, einsum::*, elementwise_binary::*,
        elementwise_unary::*, matmul::*, norm::*, pool::*, reduce::*, resize::*, select::*,
    };
}
