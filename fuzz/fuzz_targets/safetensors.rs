//! A safetensors file.

#![no_main]

use libfuzzer_sys::fuzz_target;
use mil_core::weights::{Bytes, SafeTensors};

fuzz_target!(|bytes: &[u8]| {
    let Ok(tensors) = SafeTensors::from_bytes(Bytes::from(bytes.to_vec()), "fuzzed") else { return };
    let total: usize = tensors.names().map(|n| tensors.get(n).expect("a listed tensor is there").bytes.len()).sum();
    assert!(total <= bytes.len());
});
