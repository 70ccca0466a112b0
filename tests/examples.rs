//! Every example runs, as a part of the tests, and the packages that it writes read as the snapshots say.
//!
//! The unit tests of the examples' modules run here too.
#![allow(clippy::duplicate_mod)]

use std::{collections::BTreeMap, error::Error};

use mil::ir::Program;

#[path = "../examples/add.rs"]
mod add;
#[path = "../examples/atan2.rs"]
mod atan2;
#[path = "../examples/builder.rs"]
mod builder;
#[path = "../examples/common/mod.rs"]
mod common;
#[path = "../examples/convnet.rs"]
mod convnet;
#[allow(dead_code)] // its `main` reads the command line, which is the tests' here
#[path = "../examples/detect_faces/main.rs"]
mod detect_faces;
#[path = "../examples/fastvit_t8.rs"]
mod fastvit_t8;
#[path = "../examples/log10.rs"]
mod log10;
#[path = "../examples/matmul.rs"]
mod matmul;
#[path = "../examples/newton.rs"]
mod newton;
#[path = "../examples/resnet50.rs"]
mod resnet50;
#[path = "../examples/sqrt.rs"]
mod sqrt;

/// Runs an example, and compares the packages that it wrote, in both dtypes, with their snapshots.
#[track_caller]
fn example(run: impl FnOnce() -> Result<(), Box<dyn Error>>, packages: &[&str]) {
    run().unwrap();
    let out = common::output_dir().unwrap();
    for name in packages.iter().flat_map(|name| [name.to_string(), format!("{name}_fp16")]) {
        let program = Program::load(out.join(&name).with_extension("mlpackage")).unwrap();
        insta::assert_snapshot!(name, program.to_text());
    }
}

/// Runs an example of a large network, and compares how many ops of each kind there are in its packages with the snapshot.
#[track_caller]
fn network(run: impl FnOnce() -> Result<(), Box<dyn Error>>, name: &str) {
    run().unwrap();
    let out = common::output_dir().unwrap();
    let kinds = [name.to_string(), format!("{name}_fp16")].map(|name| {
        let program = Program::load(out.join(&name).with_extension("mlpackage")).unwrap();
        let main = program.main().unwrap();
        let mut kinds = BTreeMap::<_, usize>::new();
        main.walk().into_iter().for_each(|op| *kinds.entry(main.op(op).def.name).or_default() += 1);
        kinds
    });
    assert_eq!(kinds[0], kinds[1], "f16 has the same ops");
    insta::assert_debug_snapshot!(name, kinds[0]);
}

#[test]
fn add_example() {
    example(add::main, &["add"]);
}

#[test]
fn atan2_example() {
    example(atan2::main, &["atan2"]);
}

#[test]
fn builder_example() {
    example(builder::main, &["builder"]);
}

#[test]
fn convnet_example() {
    example(convnet::main, &["convnet"]);
}

#[test]
fn detect_faces_example() {
    example(|| detect_faces::run(None), &["pnet", "rnet", "onet"]);
}

#[test]
fn fastvit_t8_example() {
    network(fastvit_t8::run, "fastvit_t8");
}

#[test]
fn log10_example() {
    example(log10::main, &["log10"]);
}

#[test]
fn matmul_example() {
    example(matmul::main, &["matmul"]);
}

#[test]
fn newton_example() {
    example(newton::main, &["newton"]);
}

#[test]
fn resnet50_example() {
    network(resnet50::run, "resnet50");
}

#[test]
fn sqrt_example() {
    example(sqrt::main, &["sqrt"]);
}
