//! Types that know shapes: what `#[mil_program]` gives, and what is handed to a model and comes back from it.
//!
//! - [`Tensor`]: a host tensor, its dimensions in its type.
//! - [`Program`]: a program with its signature.
//! - [`Signature`]: from a signature to the tensors that go in and come out.
//! - [`Weight`], [`Weights`], [`State`]: parameters of programs that are no inputs.

mod array;
mod convert;
mod parameter;
mod program;
#[doc(hidden)]
pub mod shadow;
mod signature;
mod tensor;

pub use parameter::{State, Weight, Weights};
pub use program::{Embedded, Program};
pub use signature::{HostTensor, Inputs, Outputs, Signature};
pub use tensor::{DYN, NONE, Tensor};
