//! Core ML's model language in Rust.
//!
//! (The essay is written with the rest of the facade; see the README.)

extern crate self as mil;

pub use mil_core::{
    graph::{self, Graph, Value},
    ir, mb, op, ops, package, spec, text,
    types::{self, DType, Dim, Domain, Opset, Shape, Symbol, TensorType},
    validate::{self, validate},
    weights,
};
#[doc = include_str!("docs/mil.md")]
pub use mil_macros::mil;
#[doc = include_str!("docs/mil_program.md")]
pub use mil_macros::mil_program;
pub use mil_runtime::{
    self as runtime, AnyTensor, Backend, ComputeUnits, Dictionary, Label, Model, ModelOptions, ModelState, Outputs,
    Profile, ProfileEntry, RunError,
    typed::{DYN, NONE, Program, State, Tensor, Weight, Weights},
};

/// Half-precision float, the element type `f16` of tensors.
pub use half::f16;

/// What a file with programs imports: `use mil::prelude::*;`.
pub mod prelude {
    pub use crate::{
        AnyTensor, Backend, ComputeUnits, DType, DYN, Graph, Model, Opset, Program, State, Tensor, TensorType, Weight,
        Weights, f16, mb, mil, mil_program,
    };
}

/// What the macros' expansions refer to. No API.
#[doc(hidden)]
pub mod __private {
    pub use mil_runtime::typed::{
        Embedded,
        shadow::{List, Unknown, any, failed, of, own},
    };

    /// The program that a macro has encoded.
    pub fn program<S>(bytes: &'static [u8], weights: Embedded) -> crate::Program<S> {
        crate::Program::embedded(bytes, weights)
    }
}

#[doc(hidden)]
pub use mil_runtime::typed::shadow::shape as __shape;

/// The README's program compiles; it would leave its package here if it ran. The example `matmul` runs the same.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
