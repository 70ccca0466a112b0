//! The machinery of ops: how one is defined, bound, checked and inferred.
//!
//! An op is a struct with `#[derive(Op)]` and an `impl Infer` in [`crate::ops`]. The struct is the op *bound*: its fields
//! are the parameters, with types and known values, defaults filled in. Everything else follows from it:
//! the [`OpDef`] that readers, printers and docs use, the constructor and setters that build a [`Call`], and
//! binding by name.

pub mod args;
pub mod call;
pub mod def;
pub mod error;
pub mod infer;
pub mod param;

pub use args::{AnyArg, Arg, Args};
pub use call::{Call, FromOutputs, Operand};
pub use def::{Allowed, Form, OpDef, Outputs, ParamDef};
pub use error::OpError;
pub use infer::{BlockTypes, Cx, Infer, Inferred, Materialize};
pub use param::{Param, ParamKind};

/// A bound op. `#[derive(Op)]` implements it; see the module documentation.
pub trait Op: Infer + Sized + 'static {
    /// The definition.
    const DEF: &'static OpDef;

    /// What pushing it gives: [`Value`](crate::graph::Value), a tuple of values, or a list.
    type Outputs: FromOutputs;

    /// Binds arguments to fields and fills in defaults.
    ///
    /// # Errors
    /// If a required parameter is missing, or an argument is not of the field's kind.
    fn bind(args: &Args) -> Result<Self, OpError>;

    /// The defaults of the parameters that have one, as filled in.
    fn defaults(&self) -> Vec<(&'static str, crate::ir::Literal)>;
}
