//! A weight file: all its blobs, and blobs at made-up offsets.

#![no_main]

use libfuzzer_sys::fuzz_target;
use mil_core::weights::BlobFile;

fuzz_target!(|bytes: &[u8]| {
    let Ok(file) = BlobFile::from_bytes(bytes.to_vec().into()) else { return };
    for blob in file.entries().flatten() {
        assert!(blob.bytes.len() <= bytes.len() && blob.element_count() <= blob.bytes.len() as u64 * 8);
    }
    for offset in bytes.chunks_exact(8).take(16) {
        let offset = u64::from_le_bytes(offset.try_into().expect("eight bytes"));
        let _ = (file.get(offset), file.get(offset & !63), file.get(offset % 1024 & !63));
    }
});
