//! A model of PyTorch, exported or traced: imported, validated, and written. Inputs are archives; what is changed are the texts in them.
//! Where an input is no archive, changes begin with the files of the tests.

#![no_main]

use std::{fs, path::Path, sync::LazyLock};

use libfuzzer_sys::{fuzz_mutator, fuzz_target};
use mil_core::{ir::Program, validate::validate};
use mil_tools::{import::ImportOptions, torch};

#[path = "../mutators/mod.rs"]
mod mutators;

static SEEDS: LazyLock<Vec<Vec<u8>>> = LazyLock::new(|| {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../mil-tools/testdata/torch");
    let names = ["net.pt2", "net.torch27.pt2", "net.traced.pt", "mutated.pt2", "branch.scripted.pt"];
    names.map(|name| fs::read(folder.join(name)).expect("a file of the tests")).into()
});

/// Names of the ops that are lowered, as the page of them has them.
static OPS: LazyLock<Vec<String>> = LazyLock::new(|| {
    let page = torch::ops();
    page.lines().filter_map(|line| Some(line.strip_prefix("- `")?.split_once('`')?.0.to_string())).collect()
});

fuzz_target!(|bytes: &[u8]| {
    let dir = tempfile::tempdir().expect("a directory for the model");
    let path = dir.path().join("x.pt2");
    fs::write(&path, bytes).expect("a model");
    match torch::import(&path, &ImportOptions::default()) {
        Err(e) => assert!(e.to_string().contains("x.pt2"), "{e}"),
        Ok(imported) => {
            let package = dir.path().join("y.mlpackage");
            if validate(&imported.program).is_ok() && imported.program.save(&package).is_ok() {
                Program::load(&package).expect("what was written is read");
            }
        }
    }
});

fuzz_mutator!(|data: &mut [u8], size: usize, max_size: usize, seed: u32| {
    let mutant = mutators::archive::mutate(&data[..size], seed, &OPS)
        .or_else(|| mutators::archive::mutate(&SEEDS[seed as usize % SEEDS.len()], seed.rotate_left(9), &OPS));
    mutant.map_or(size, |m| mutators::put(data, size, max_size, &m))
});
