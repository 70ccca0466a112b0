//! Core ML's model language, MIL, as Rust data: types, ops, programs, and the formats they are written in.
//!
//! # The words
//!
//! A **program** ([`ir::Program`]) is a model: one or more functions, the opset they speak, and what the model says of
//! itself. A **function** ([`ir::Function`]) is what a prediction runs: inputs, a body, outputs. A **block**
//! ([`ir::Block`]) is a list of ops in order of execution; a function's body is one, and `cond` and `while_loop` have blocks
//! of their own inside, which see the values around them. An **op** ([`ir::Op`]) is one operation, `conv` or `add`: values
//! are bound to its parameters, and it defines values. A **value** ([`ir::ValueData`]) is defined once and never changes;
//! it has a type, and sometimes it is known before the program runs. A **constant** ([`ir::Constant`]) is a value that is
//! a part of the program, such as a weight: bytes that are shared or mapped from a file, and never copied to be read.
//!
//! A value's **type** ([`types::Type`]) is nearly always a tensor: an element type and dimensions. A dimension
//! ([`types::Dim`]) is a number, or an expression over symbols (`(H + 1) / 2`) where the size is known only when the
//! program runs.
//!
//! ```
//! use mil_core::{graph::Graph, ir::Constant, mb, types::*, validate::validate};
//!
//! let mut g = Graph::new("main", Opset::iOS17);
//! let height = Symbol::new("H", Domain::Range { min: 8, max: Some(512) });
//! let x = g.input("x", TensorType::new(DType::F32, [1.into(), 3.into(), height.into(), Dim::from(64)]));
//! let weight = Constant::new([8, 3, 3, 3], &[0.5f32; 216])?;
//!
//! let features = g.push(mb::conv(&x, weight).strides([2, 2]).pad_type("same"))?;
//! assert_eq!(features.ty().to_string(), "Tensor<f32, 1, 8, (H + 1) / 2, 32>");
//!
//! let y = g.push(mb::add(&features, 1.0))?; // `1.0` becomes a constant of f32
//! let program = g.finish([("y", y)])?;
//! validate(&program)?;
//! println!("{program}"); // MIL text, as a compiled model's `model.mil`
//!
//! // What cannot be is refused where it is written, with the line and the reason.
//! let mut g = Graph::new("main", Opset::iOS17);
//! let (a, b) = (g.input("a", TensorType::new(DType::F32, [2])), g.input("b", TensorType::new(DType::F32, [3])));
//! let error = g.push(mb::add(&a, &b)).unwrap_err();
//! assert!(error.to_string().contains("cannot broadcast [2] with [3]"));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # One definition per op
//!
//! An op is defined once, as a struct in [`ops`]: its fields are the parameters, their types say what may be bound to them,
//! and attributes say dtypes, defaults, and the opset that brought what. `#[derive(Op)]` makes of it everything that can be
//! told from these facts: the constructor `mb::conv(x, weight)` and its setters, the definition as data ([`op::OpDef`]) by
//! which readers, printers and the macros know the op, and `bind`, which turns arguments into the struct again, as the typed
//! view that inference and kernels read.
//!
//! # One inference
//!
//! [`op::Infer`] is the op's rule: a pure function from argument types, known values and the opset to the types (and where
//! they follow, the values) of the outputs. The builder calls it when an op is pushed, the macros while the user's crate
//! compiles, the decoder when a file is read, [`mod@validate`] at the end. It sees no files, tokens or source lines; its error
//! names the parameter, and the caller adds the place. Shape arithmetic is inferred with the types: what `shape(x)` gives is
//! known, symbols and all, and a `reshape` by it has a type.
//!
//! # From and to files
//!
//! [`spec`] turns programs into the format's messages and back; [`package`] reads and writes `.mlpackage` directories, a
//! written one appearing whole or not at all; [`weights`] has the formats of weights. [`text`] prints programs as MIL text, which
//! is what compiled models hold, and reads it.
//!
//! ARCHITECTURE.md at the root of the repository is the map of the whole.

extern crate self as mil_core;

mod atomic;
pub mod error;
pub mod graph;
pub mod ir;
pub mod op;
pub mod ops;
pub mod package;
pub mod passes;
pub mod spec;
pub mod text;
pub mod types;
pub mod validate;
pub mod weights;

/// The ops as functions, by their MIL names: `mb::conv(x, weight).strides([2, 2])`.
pub mod mb {
    pub use crate::ops::{
        activation::*, attention::*, band_part::*, cast::*, classify::*, compare::*, concat::*, constexpr::*,
        control::*, conv::*, conv_quantized::*, crop_resize::*, cumsum::*, einsum::*, elementwise_binary::*,
        elementwise_unary::*, gather::*, generate::*, list::*, matmul::*, non_maximum_suppression::*, non_zero::*,
        norm::*, pad::*, pool::*, quantize::*, random::*, rearrange::*, recurrent::*, reduce::*, resample::*,
        reshape_like::*, resize::*, reverse::*, scatter::*, select::*, shape::*, slice::*, slice_update::*, split::*,
        state::*, topk::*, upsample::*,
    };
}
