//! What one does around a model: look into it, check it, copy it, optimize it, run it, measure it. The `mil` command is a thin layer over this.

pub mod bench;
pub mod check;
pub mod convert;
pub mod copy;
mod error;
pub mod import;
mod inputs;
pub mod inspect;
mod load;
mod memory;
pub mod neural_engine;
pub mod onnx;
pub mod ops;
pub mod optimize;
pub mod run;
pub mod torch;
pub mod weights;

pub use error::ToolError;
pub use load::LoadOptions;
