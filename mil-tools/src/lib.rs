//! What one does around a model: look into it, check it, copy it, optimize it, run it. The `mil` command is a thin layer over this.

pub mod check;
pub mod copy;
mod error;
pub mod inspect;
pub mod neural_engine;
pub mod ops;
pub mod optimize;
pub mod run;

pub use error::ToolError;
