//! A state dict of PyTorch: a zip file, or the format before it.

#![no_main]

use libfuzzer_sys::fuzz_target;
use mil_core::weights::Bytes;
use mil_tools::torch::StateDict;

fuzz_target!(|bytes: &[u8]| {
    let Ok(weights) = StateDict::from_bytes(Bytes::from(bytes.to_vec()), "fuzzed") else { return };
    for (name, tensor) in weights.iter() {
        assert!(tensor.bytes().is_some(), "{name}");
    }
});
