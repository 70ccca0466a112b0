//! What all importers share: tensors with the dtypes that they have in the model which is imported, the builder with the
//! turns of phrase that lowerings need, options, and what is said of inputs and outputs.
//!
//! An importer goes through its model's ops and has each *lowered*: said in MIL. What a lowering cannot say is a
//! [`Refusal`]; an importer collects all of them before it gives up.

mod choose;
mod ending;
mod entry;
mod fill;
mod interface;
mod lowering;
mod options;
mod parts;
mod per_axis;
mod pixels;
mod refusal;
pub(crate) mod resize;
mod sizes;
mod table;
mod tensor;
mod values;

pub(crate) use entry::Entry;
pub(crate) use fill::literal;
pub(crate) use interface::{Declared, Interface};
pub(crate) use lowering::Lowering;
pub use options::{ImageInput, ImportOptions, InputShape, Normalization, Rename};
pub(crate) use parts::Cut;
pub use refusal::Refusal;
pub(crate) use refusal::unsaid;
pub(crate) use sizes::Size;
pub(crate) use table::table;
pub(crate) use tensor::{Tensor, axis_of, carrier};

use mil_core::ir::Program;

/// A model as a program.
#[derive(Clone, Debug)]
pub struct Imported {
    /// The program, valid but not optimized.
    pub program: Program,
    /// What its user should know: numbers that were changed, assumptions that were made. A line each.
    pub warnings: Vec<String>,
}
