//! `mil optimize`, as a user calls it.

use std::{
    fs,
    path::Path,
    process::{Command, Output},
};

use mil_core::{
    graph::Graph,
    ir::{Constant, Program},
    mb,
    types::{DType, Opset, TensorType},
    weights::{SafeDType, SafeTensors, TensorView, write_safetensors},
};

fn mil(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_mil")).args(args).env_remove("MIL_BACKEND").output().unwrap()
}

#[track_caller]
fn succeeds(args: &[&str]) -> String {
    let output = mil(args);
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!((output.status.code(), &stderr[..]), (Some(0), ""), "{args:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[track_caller]
fn fails(args: &[&str]) -> String {
    let output = mil(args);
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{args:?}: {stderr}");
    assert!(stderr.starts_with("error: ") && stderr.lines().count() == 1, "{stderr}");
    stderr
}

/// Everything that the default passes take away: folding, copies, noops, equal weights, what is computed twice, dead code.
fn naive(path: &Path) {
    let mut g = Graph::new("main", Opset::iOS17);
    let x = g.input("x", TensorType::new(DType::F32, [4, 32]));
    let elements: Vec<f32> = (0..32 * 32).map(|i| (i as f32 * 0.37).sin()).collect();
    let transposed = g.constant("w", Constant::new([32, 32], &elements).unwrap());
    let w = g.push(mb::transpose(&transposed, [1, 0])).unwrap();
    let again = g.constant("again", Constant::new([32, 32], &elements).unwrap());
    let a = g.push(mb::matmul(&x, &w)).unwrap();
    let b = g.push(mb::matmul(&x, &again)).unwrap();
    let c = g.push(mb::matmul(&x, &transposed)).unwrap();
    let d = g.push(mb::add(&a, 0.0)).unwrap();
    let e = g.push(mb::add(&b, &c)).unwrap();
    let f = g.push(mb::mul(&d, &e)).unwrap();
    let g1 = g.push(mb::reshape(&f, [2, 2, 32])).unwrap();
    let g2 = g.push(mb::reshape(&g1, [128])).unwrap();
    g.push(mb::exp(&g2)).unwrap();
    let copy = g.push(mb::identity(&g2)).unwrap();
    g.finish([("y", g2), ("copy", copy)]).unwrap().save(path).unwrap();
}

fn run(model: &str, dir: &Path) -> Vec<(String, Vec<f32>)> {
    let (inputs, outputs) = (dir.join("inputs.safetensors"), dir.join("outputs.safetensors"));
    let x: Vec<u8> = (0..128).flat_map(|i| ((i as f32 * 0.71).cos()).to_le_bytes()).collect();
    write_safetensors(&inputs, [TensorView { name: "x", dtype: SafeDType::F32, shape: &[4, 32], bytes: &x }]).unwrap();
    let text = |p: &Path| p.to_str().unwrap().to_string();
    succeeds(&["run", model, "--inputs", &text(&inputs), "--outputs", &text(&outputs), "--backend", "cpu"]);
    let file = SafeTensors::open(&outputs).unwrap();
    let floats = |b: &[u8]| b.chunks_exact(4).map(|c| f32::from_le_bytes(c.try_into().unwrap())).collect();
    file.names().map(|n| (n.to_string(), floats(&file.get(n).unwrap().bytes))).collect()
}

#[test]
fn a_naive_model_is_made_small_and_computes_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let (from, to) = (dir.path().join("naive.mlpackage"), dir.path().join("good.mlpackage"));
    naive(&from);
    let (from, to) = (from.to_str().unwrap(), to.to_str().unwrap());
    let said = succeeds(&["optimize", from, "-o", to, "--report"]);
    for line in ["const_elimination: folded transpose 1", "noop_elimination: removed add 1", "remove_redundant_ops: "] {
        assert!(said.contains(line), "{line} in\n{said}");
    }
    assert!(said.contains("11 ops before, 6 after; 8.0 KiB of constants before, 8.0 KiB after"), "{said}");
    assert_eq!(run(from, dir.path()), run(to, dir.path()));
    let program = Program::load(to).unwrap();
    let f = program.main().unwrap();
    let left: Vec<_> = f.walk().into_iter().map(|op| f.op(op).def.name).filter(|n| *n != "const").collect();
    assert_eq!(left, ["matmul", "matmul", "add", "mul", "reshape", "identity"]);
    // Again there is nothing to do.
    let twice = dir.path().join("twice.mlpackage");
    let said = succeeds(&["optimize", to, "-o", twice.to_str().unwrap()]);
    assert!(said.contains(" made 0 changes "), "{said}");
}

#[test]
fn passes_are_chosen_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let (from, to) = (dir.path().join("naive.mlpackage"), dir.path().join("good.mlpackage"));
    naive(&from);
    let (from, to) = (from.to_str().unwrap(), to.to_str().unwrap());
    let said = succeeds(&["optimize", from, "-o", to, "--passes", "dead_code_elimination, noop_elimination"]);
    assert!(said.starts_with("2 passes made 2 changes"), "{said}");
    let said = succeeds(&["optimize", from, "-o", to, "--report", "--skip", "const_elimination,noop_elimination"]);
    assert!(!said.contains("const_elimination") && said.contains("remove_redundant_ops"), "{said}");
    assert!(fails(&["optimize", from, "-o", to, "--passes", "magic"]).contains("there is no pass `magic`; there are "));
    assert!(fails(&["optimize", from, "-o", to, "--skip", "magic"]).contains("there is no pass `magic`"));
    assert!(fails(&["optimize", from, "-o", from]).contains("is the model itself"));
    let listed = succeeds(&["passes"]);
    assert_eq!(listed.lines().count(), mil_core::passes::all().count());
    assert!(fs::exists(to).unwrap());
}
