//! The bytes of an ONNX file: imported, validated, and written.

#![no_main]

use std::fs;

use libfuzzer_sys::fuzz_target;
use mil_core::{ir::Program, validate::validate};
use mil_tools::{import::ImportOptions, onnx};

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
