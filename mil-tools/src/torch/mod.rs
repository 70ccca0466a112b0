//! PyTorch's files: exported programs, traced modules, state dicts.
//!
//! - `archive.rs` reads the zip file that all of them are, `pickle.rs` pickles (nothing in them is executed), `storage.rs` tensors;
//!   `legacy.rs` reads what was written before there was a zip file. `reader.rs` tells which kind a file is.
//! - `exported.rs` reads `.pt2`, `script/` TorchScript, both into `graph.rs`, and `mutation.rs` makes in-place ops functional; `state_dict.rs` reads weights.
//! - `importer.rs` goes through a graph; `ops/` has the lowerings of ATen ops, a file per concept.

mod archive;
mod dtype;
mod exported;
mod graph;
mod legacy;
mod mutation;
mod pickle;
mod reader;
mod state_dict;
mod storage;

pub use state_dict::StateDict;
