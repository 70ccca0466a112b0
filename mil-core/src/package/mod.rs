//! Core ML packages (`.mlpackage`), bare models (`.mlmodel`), compiled models (`.mlmodelc`) and MIL text (`.mil`).
//!
//! ```text
//! X.mlpackage/Manifest.json
//! X.mlpackage/Data/com.apple.CoreML/model.mlmodel         the model: `spec::Model`
//! X.mlpackage/Data/com.apple.CoreML/weights/weight.bin    its blobs, if there are any
//! ```
//!
//! [`PackageReader`] finds the model where the manifest says it is, and refuses paths that lead out of the
//! package. [`PackageWriter`] writes to a hidden sibling and renames it, so that the destination has the whole package
//! or what it had before; the same model and weights give the same bytes. [`write_mlmodel`] writes a bare model.
//! Compiled models and text are read, as the model of a package that says the same; Core ML's compiler alone writes them.

mod compiled;
mod copy;
mod manifest;
mod program;
mod read;
mod write;

pub use crate::error::FileError as PackageError;
pub use read::{PackageKind, PackageReader};
pub use write::{PackageWriter, write_mlmodel};

/// The manifest's name in a package.
const MANIFEST: &str = "Manifest.json";
/// The directory in a package that item paths start from.
const DATA: &str = "Data";
/// Author of the items, and the directory below [`DATA`] that holds them.
const AUTHOR: &str = "com.apple.CoreML";
/// Name of the root item.
const MODEL_NAME: &str = "model.mlmodel";
/// Name of the item with the blob files.
const WEIGHTS_NAME: &str = "weights";
/// Name of the blob file.
const WEIGHT_FILE: &str = "weight.bin";
