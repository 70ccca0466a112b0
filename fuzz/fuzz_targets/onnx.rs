//! An ONNX file: imported, validated, and written. Changes are of fields, so that lengths fit; now and then, of bytes.

#![no_main]

use std::{fs, sync::LazyLock};

use libfuzzer_sys::{fuzz_mutator, fuzz_target, fuzzer_mutate};
use mil_core::{ir::Program, validate::validate};
use mil_tools::{import::ImportOptions, onnx};

#[path = "../mutators/mod.rs"]
mod mutators;

static OPS: LazyLock<Vec<&str>> = LazyLock::new(|| onnx::ops().into_iter().map(|(name, _)| name).collect());

fuzz_target!(|bytes: &[u8]| {
    let dir = tempfile::tempdir().expect("a directory for the model");
    let path = dir.path().join("x.onnx");
    fs::write(&path, bytes).expect("a model");
    match onnx::import(&path, &ImportOptions::default()) {
        Err(e) => assert!(e.to_string().contains("x.onnx"), "{e}"),
        Ok(imported) => {
            let package = dir.path().join("y.mlpackage");
            if validate(&imported.program).is_ok() && imported.program.save(&package).is_ok() {
                Program::load(&package).expect("what was written is read");
            }
        }
    }
});

fuzz_mutator!(|data: &mut [u8], size: usize, max_size: usize, seed: u32| {
    if seed.is_multiple_of(16) {
        return fuzzer_mutate(data, size, max_size);
    }
    match mutators::wire::mutate(&data[..size], seed, &OPS) {
        Some(mutant) => mutators::put(data, size, max_size, &mutant),
        None => fuzzer_mutate(data, size, max_size),
    }
});
