//! `weight.bin`, the file of constants inside a Core ML package: blob storage version 2.
//!
//! All numbers are little-endian.
//!
//! | offset | bytes | field |
//! |---|---|---|
//! | 0 | 4 | number of blobs |
//! | 4 | 4 | version, 2 |
//! | 8 | 56 | zero |
//!
//! Then, each at the next multiple of 64, one metadata record per blob, directly followed by its data:
//!
//! | offset | bytes | field |
//! |---|---|---|
//! | 0 | 4 | sentinel `0xDEADBEEF` |
//! | 4 | 4 | element type, [`BlobDType::code`] |
//! | 8 | 8 | size of the data in bytes |
//! | 16 | 8 | offset of the data in the file |
//! | 24 | 8 | bits at the end of the data that belong to no element |
//! | 32 | 32 | zero |
//!
//! A program refers to a blob by the offset of its metadata record. Elements below 8 bits are one stream of
//! bits, lowest bit first, so that those of 3 and 6 bits straddle bytes.

mod dtype;
mod read;
mod write;

pub use dtype::BlobDType;
pub use read::{BlobEntries, BlobEntry, BlobError, BlobFile};
pub use write::BlobWriter;

/// Version of the storage.
const VERSION: u32 = 2;
/// Marks a metadata record.
const SENTINEL: u32 = 0xDEAD_BEEF;
/// Records and data begin at multiples of this; header and records are as long.
const ALIGNMENT: u64 = 64;

/// Bytes and bits of padding that `element_count` elements take, or `None` on overflow.
fn packed_size(dtype: BlobDType, element_count: u64) -> Option<(u64, u32)> {
    let bits = u128::from(element_count) * u128::from(dtype.bits());
    let bytes = bits.div_ceil(8);
    Some((u64::try_from(bytes).ok()?, (bytes * 8 - bits) as u32))
}
