//! ONNX models become programs.
//!
//! [`import`] reads a file and gives a program that computes the same. The file is mapped, and weights stay in it. All ops
//! that have no lowering are found before anything is lowered, and all refusals of lowerings are told together.
//!
//! - `model.rs` reads files and tensors; `proto.rs` has the messages, generated from `proto/onnx.proto`.
//! - `importer.rs` goes through the graphs; `node.rs` is what a lowering sees of a node.
//! - `order.rs` puts nodes into an order in which they can run.
//! - `ops/` has the lowerings, a file per concept; [`ops`](ops()) lists what there is.

mod importer;
mod list;
mod model;
mod node;
mod ops;
mod order;
mod values;

/// The messages, as `proto/onnx.proto` says.
#[allow(missing_docs, unreachable_pub, clippy::all, clippy::large_enum_variant)]
mod proto {
    include!("proto.rs");
}

use std::path::Path;

pub use list::markdown;

use crate::{
    ToolError,
    import::{ImportOptions, Imported},
};

/// Reads an ONNX model (opsets 7 to 23) and says it in MIL.
///
/// # Errors
/// If the file or one with its weights cannot be read, is no ONNX model, or has what MIL cannot say: then the error lists all ops
/// concerned.
pub fn import(path: &Path, options: &ImportOptions) -> Result<Imported, ToolError> {
    let model = model::Model::open(path)?;
    let mut imported = importer::import(&model, options)?;
    let metadata = &mut imported.program.metadata;
    metadata.description = model.message.doc_string.trim().to_string();
    metadata.user_defined.insert("mil.source".into(), source(&model));
    Ok(imported)
}

/// What the model says of its origin: `onnx, opset 17, by pytorch 2.7.0`.
fn source(model: &model::Model) -> String {
    let opset = model.opset().map_or(String::new(), |n| format!(", opset {n}"));
    let by = [&model.message.producer_name, &model.message.producer_version].map(|s| s.trim());
    match by.join(" ").trim() {
        "" => format!("onnx{opset}"),
        by => format!("onnx{opset}, by {by}"),
    }
}

/// The ops that can be lowered, by name, with what is to be known of each.
pub fn ops() -> Vec<(&'static str, &'static str)> {
    ops::all().map(|entry| (entry.name, entry.limits)).collect()
}

/// The ops of `ai.onnx` that MIL cannot say, with the nearest way out.
pub fn refused_ops() -> &'static [(&'static str, &'static str)] {
    ops::refused()
}
