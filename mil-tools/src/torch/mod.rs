//! PyTorch's files: exported programs, traced modules, state dicts.
//!
//! - `archive.rs` reads the zip file that all of them are, `pickle.rs` pickles (nothing in them is executed).
//! - `exported.rs` reads `.pt2`, `script/` TorchScript, both into `graph.rs`; `state_dict.rs` reads weights.
//! - `importer.rs` goes through a graph, `aliases.rs` finds what matters in it, `val.rs` is what names stand for, and
//!   `node.rs` what a lowering sees of a node; `ops/` has the lowerings of ATen ops, a file per concept.

mod aliases;
mod graph;
#[allow(dead_code, reason = "the readers give it graphs")]
mod importer;
mod node;
mod ops;
mod val;

/// The ops that are lowered, as a page of Markdown: `docs/ATEN.md`.
pub fn ops() -> String {
    ops::page()
}
