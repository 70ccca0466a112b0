//! PyTorch's files: exported programs, traced modules, state dicts.
//!
//! - `archive.rs` reads the zip file that all of them are, `pickle.rs` pickles (nothing in them is executed), `storage.rs` tensors;
//!   `legacy.rs` reads what was written before there was a zip file. `reader.rs` tells which kind a file is.
//! - `exported/` reads `.pt2`, `script/` TorchScript, both into `graph.rs`; `state_dict.rs` reads weights.
//! - `importer.rs` goes through a graph, `aliases.rs` finds what matters in it, `val.rs` is what names stand for, and
//!   `node.rs` what a lowering sees of a node; `ops/` has the lowerings of ATen ops, a file per concept.

mod aliases;
mod archive;
mod dtype;
mod exported;
mod graph;
mod importer;
mod legacy;
mod node;
mod ops;
mod pickle;
mod reader;
mod script;
mod state_dict;
mod storage;
#[cfg(test)]
mod testing;
mod val;

use std::path::Path;

pub(crate) use reader::is_torch;
pub use state_dict::StateDict;

use crate::{
    ToolError,
    import::{ImportOptions, Imported},
};

/// Reads a model of PyTorch, exported or traced, and says it in MIL.
///
/// # Errors
/// If the file cannot be read, is neither, or has what MIL cannot say: then the error lists all ops concerned.
pub fn import(path: &Path, options: &ImportOptions) -> Result<Imported, ToolError> {
    let graph = reader::open(path)?;
    let mut imported = importer::import(&graph, &path.display().to_string(), options)?;
    imported.program.metadata.user_defined.insert("mil.source".into(), "PyTorch".into());
    Ok(imported)
}

/// The ops that are lowered, as a page of Markdown: `docs/ATEN.md`.
pub fn ops() -> String {
    ops::page()
}
