//! A whole package: model and weights, in one input. The first four bytes are the length of the weights.

#![no_main]

use std::{fs, path::Path};

use libfuzzer_sys::fuzz_target;
use mil_core::ir::Program;

#[path = "../../mil-core/tests/hostile/mod.rs"]
mod hostile;

fuzz_target!(|bytes: &[u8]| {
    let Some((length, rest)) = bytes.split_first_chunk::<4>() else { return };
    let (weights, model) = rest.split_at((u32::from_le_bytes(*length) as usize).min(rest.len()));
    let dir = tempfile::tempdir().expect("a directory for the package");
    let package = dir.path().join("x.mlpackage");
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../mil-core/testdata/coremltools/two_blobs.mlpackage");
    let data = package.join("Data/com.apple.CoreML");
    fs::create_dir_all(data.join("weights")).expect("a directory for the weights");
    fs::copy(source.join("Manifest.json"), package.join("Manifest.json")).expect("a manifest");
    fs::write(data.join("weights/weight.bin"), weights).expect("weights");
    fs::write(data.join("model.mlmodel"), model).expect("a model");
    match Program::load(&package) {
        Err(e) => assert!(e.to_string().contains("x.mlpackage"), "{e}"),
        Ok(program) => {
            let copy = dir.path().join("y.mlpackage");
            if program.save(&copy).is_ok() {
                Program::load(&copy).expect("what was written is read");
            }
            program.functions.values().for_each(|f| drop(hostile::run::run_on_zeros(f)));
        }
    }
});
