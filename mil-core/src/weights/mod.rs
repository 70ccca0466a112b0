//! Constant data: immutable bytes that are shared and never copied, and the files that hold them.
//!
//! - [`Bytes`]: a cheaply cloned slice of memory or of a memory-mapped file.
//! - [`blob`]: `weight.bin`, the file of constants inside a Core ML package.
//! - [`safetensors`]: the file format in which trained weights are usually published.

pub mod blob;
mod bytes;
pub mod safetensors;

pub use blob::{BlobDType, BlobEntry, BlobError, BlobFile, BlobWriter};
pub use bytes::Bytes;
pub use safetensors::{
    SafeDType, SafeTensors, SafeTensorsHeader, TensorEntry, TensorInfo, TensorView, write_safetensors,
};
