//! safetensors, the file format in which trained weights are usually published.
//!
//! A file is the length of its header (8 bytes, little-endian), the header (JSON: name to dtype, shape and
//! range of bytes), and the data of all tensors without gaps. Headers can be read without the data
//! ([`SafeTensorsHeader::open`]), files are memory-mapped and tensors share that memory ([`SafeTensors::open`]),
//! and [`write_safetensors`] writes a file whole or not at all, the same bytes for the same tensors.
//!
//! The format: <https://huggingface.co/docs/safetensors>.

mod dtype;
mod header;
mod read;
mod write;

pub use dtype::SafeDType;
pub use header::{SafeTensorsHeader, TensorInfo};
pub use read::{SafeTensors, TensorEntry};
pub use write::{TensorView, write_safetensors};

/// Bytes of the header's length at the start of a file.
const LENGTH_BYTES: usize = 8;
/// Longest header that is read or written, the format's own limit.
const MAX_HEADER: u64 = 100_000_000;
/// The name in the header that is not a tensor but free text by key.
const METADATA: &str = "__metadata__";

/// Bytes of a tensor, or `None` if they are not a whole number or overflow.
fn byte_size(dtype: SafeDType, shape: &[usize]) -> Option<usize> {
    // A zero anywhere makes the size zero, whatever the other dimensions.
    if shape.contains(&0) {
        return Some(0);
    }
    let elements = shape.iter().try_fold(1usize, |product, &dim| product.checked_mul(dim))?;
    let bits = elements.checked_mul(dtype.bits() as usize)?;
    bits.is_multiple_of(8).then_some(bits / 8)
}
