//! `mil bench`, as a user calls it.

use std::{
    path::Path,
    process::{Command, Output},
};

use mil_core::{
    graph::Graph,
    ir::{
        Feature, Program,
        feature::{ArrayFeature, FeatureKind},
    },
    mb,
    types::{DType, Opset, TensorType, Type},
    weights::{SafeDType, TensorView, write_safetensors},
};
use serde_json::Value;

fn bench(model: &str, more: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mil"));
    command.args(["bench", model, "--backend", "cpu"]).args(more).env_remove("MIL_BACKEND").output().unwrap()
}

#[track_caller]
fn succeeds(model: &str, more: &[&str]) -> String {
    let output = bench(model, more);
    let stderr = String::from_utf8(output.stderr).unwrap();
    // Nothing of a progress bar, for stderr is no terminal.
    assert_eq!((output.status.code(), &stderr[..]), (Some(0), ""), "{more:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[track_caller]
fn json(model: &str, more: &[&str]) -> Value {
    serde_json::from_str(&succeeds(model, &[&["--json", "--iterations", "3"], more].concat())).unwrap()
}

/// What it says on stderr, which is one line, when it exits with 1.
#[track_caller]
fn fails(model: &str, more: &[&str]) -> String {
    let output = bench(model, more);
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!((output.status.code(), output.stdout), (Some(1), vec![]), "{more:?}: {stderr}");
    assert!(stderr.starts_with("error: ") && stderr.lines().count() == 1, "{stderr}");
    stderr.trim_end().to_string()
}

fn saved(dir: &Path, program: &Program) -> String {
    let path = dir.join("model.mlpackage");
    program.save(&path).unwrap();
    path.to_str().unwrap().to_string()
}

/// `y = relu(x) * k` of flexible length, of which the default is 5 for `x`; `m = n + 1` of integers.
fn flexible(dir: &Path) -> String {
    let mut g = Graph::new("main", Opset::iOS17);
    let x = g.input("x", "Tensor<f16, 1, N>".parse::<TensorType>().unwrap());
    let k = g.input("k", "Tensor<f32, N>".parse::<TensorType>().unwrap());
    let n = g.input("n", TensorType::new(DType::I32, [2]));
    let y = g.push(mb::relu(&x)).unwrap();
    let y = g.push(mb::cast(&y, "fp32")).unwrap();
    let y = g.push(mb::mul(&y, &k)).unwrap();
    let m = g.push(mb::add(&n, 1)).unwrap();
    let mut program = g.finish([("y", y), ("m", m)]).unwrap();
    let array = ArrayFeature { shape: vec![1, 5], ..ArrayFeature::default() };
    let kind = FeatureKind::Array(array);
    let x = Feature { name: "x".into(), description: String::new(), optional: false, kind };
    program.functions.values_mut().for_each(|f| f.input_features = vec![x.clone()]);
    saved(dir, &program)
}

fn types(report: &Value) -> Vec<(String, bool)> {
    let inputs = report["inputs"].as_array().unwrap().iter();
    inputs.map(|i| (i["type"].as_str().unwrap().to_string(), i["made_up"].as_bool().unwrap())).collect()
}

#[test]
fn json_says_it_all() {
    let dir = tempfile::tempdir().unwrap();
    let model = flexible(dir.path());
    let report = json(&model, &["--threads", "2", "--numerics", "strict"]);
    let text = |key: &str| report[key].as_str().unwrap();
    assert_eq!((text("model"), text("function"), text("backend")), (&model[..], "main", "CPU"));
    assert_eq!((text("backend_reason"), text("numerics")), ("asked for", "strict"));
    assert_eq!((&report["threads"], &report["iterations"], &report["warmup"]), (&2.into(), &3.into(), &1.into()));
    let latency = |key: &str| report["latency_ms"][key].as_f64().unwrap();
    assert!(report["load_ms"].as_f64().unwrap() > 0.0 && latency("first") > 0.0);
    assert!(0.0 < latency("min") && latency("min") <= latency("median") && latency("median") <= latency("p95"));
    assert!(latency("min") <= latency("mean") && latency("mean") <= latency("p95"));
    let per_second = report["throughput_per_s"].as_f64().unwrap();
    assert!((per_second * latency("mean") - 1e3).abs() < 1e-6, "{per_second}");
    if cfg!(target_os = "linux") {
        assert!(report["peak_memory_bytes"].as_u64().unwrap() > 1 << 20);
    }
    assert!(report.get("profile").is_none());
}

#[test]
fn people_get_a_table() {
    let dir = tempfile::tempdir().unwrap();
    let model = flexible(dir.path());
    let said = succeeds(&model, &["--seconds", "0", "--warmup", "0", "--threads", "1", "--profile"]);
    assert!(said.starts_with(&format!("{model}: `main` on CPU (asked for), 1 thread, fast numerics\n")), "{said}");
    for line in
        ["  input x: Tensor<f16, 1, 5> (made up)\n", "\np95   ", " per second, of 3 predictions\n", "\npeak memory  "]
    {
        assert!(said.contains(line), "{said}");
    }
    assert!(said.contains("the mean of 3 predictions\n") && said.contains("  between ops\n"), "{said}");
    assert!(said.lines().any(|l| l.contains("relu") && l.contains("  elementwise  ")), "{said}");
}

#[test]
fn shapes_are_default_or_given() {
    let dir = tempfile::tempdir().unwrap();
    let model = flexible(dir.path());
    let made_up = |x: &str, k: &str| [x, k, "Tensor<i32, 2>"].map(|t| (t.to_string(), true)).to_vec();
    assert_eq!(types(&json(&model, &[])), made_up("Tensor<f16, 1, 5>", "Tensor<f32, 1>"));
    let both = ["--shape", "k=7", "--shape", "x=1,7"];
    assert_eq!(types(&json(&model, &both)), made_up("Tensor<f16, 1, 7>", "Tensor<f32, 7>"));
    // A package does not say that two sizes are equal; the op does.
    let e = fails(&model, &["--shape", "k=7"]);
    assert!(e.contains("(mul)") && e.contains("made up were `x`: Tensor<f16, 1, 5>, `k`: Tensor<f32, 7>, "), "{e}");
    assert!(e.ends_with(": if the model needs others, say `--shape` or `--inputs`"), "{e}");
}

#[test]
fn inputs_are_read_and_the_rest_is_made_up() {
    let dir = tempfile::tempdir().unwrap();
    let model = flexible(dir.path());
    let write = |name: &str, values: &[f32]| {
        let path = dir.path().join("in.safetensors");
        let bytes: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        let view = TensorView { name, dtype: SafeDType::F32, shape: &[1, values.len()], bytes: &bytes };
        write_safetensors(&path, [view]).unwrap();
        path.to_str().unwrap().to_string()
    };
    // f32 where f16 is declared.
    let inputs = write("x", &[1.0, 2.0, 3.0]);
    let expected = [("Tensor<f16, 1, 3>", false), ("Tensor<f32, 1>", true), ("Tensor<i32, 2>", true)];
    assert_eq!(types(&json(&model, &["--inputs", &inputs])), expected.map(|(t, m)| (t.to_string(), m)));
    let e = fails(&model, &["--inputs", &inputs, "--shape", "x=1,3"]);
    assert_eq!(e, format!("error: `{inputs}` has the input `x`; give it no shape, or take it out there"));
    let unknown = write("q", &[1.0]);
    let e = fails(&model, &["--inputs", &unknown]);
    assert_eq!(e, "error: function `main` has no input `q`; its inputs are `x`, `k`, `n`");
}

#[test]
fn profiles_count_loops() {
    let dir = tempfile::tempdir().unwrap();
    let mut g = Graph::new("main", Opset::iOS17);
    let x = g.input("x", TensorType::new(DType::F32, [2]));
    let zero = g.constant("zero", mil_core::ir::Constant::scalar(0i32));
    let body =
        |g: &mut Graph, v: &[mil_core::graph::Value]| Ok(vec![g.push(mb::add(&v[0], 1))?, g.push(mb::exp(&v[1]))?]);
    let out = g.while_loop(vec![zero, x], |g, v| g.push(mb::less(&v[0], 4)), body).unwrap();
    let model = saved(dir.path(), &g.finish([("y", out[1].clone())]).unwrap());
    let report = json(&model, &["--profile"]);
    let profile = &report["profile"];
    assert_eq!(profile["predictions"], 3);
    let calls = |list: &str, op: &str| {
        let found = profile[list].as_array().unwrap().iter().find(|o| o["op"] == op).unwrap();
        assert!(found["ms"].as_f64().unwrap() > 0.0 && (0.0..=1.0).contains(&found["share"].as_f64().unwrap()));
        // Integers are for the reference.
        let kernel = if op == "exp" { "elementwise" } else { "reference" };
        assert_eq!(list == "ops", found["name"].is_string() && found["kernel"] == kernel);
        found["calls"].as_f64().unwrap()
    };
    for (op, times) in [("exp", 4.0), ("add", 4.0), ("less", 5.0)] {
        assert_eq!((calls("ops", op), calls("by_op", op)), (times, times), "{op}");
    }
    let sum: f64 = profile["ops"].as_array().unwrap().iter().map(|o| o["ms"].as_f64().unwrap()).sum();
    assert!((sum + profile["other_ms"].as_f64().unwrap() - profile["ms"].as_f64().unwrap()).abs() < 1e-6, "{profile}");
}

#[test]
fn states_and_functions_are_measured() {
    let dir = tempfile::tempdir().unwrap();
    let mut g = Graph::new("step", Opset::iOS18);
    let sum = g.input("sum", Type::State(TensorType::new(DType::F16, [2])));
    let x = g.input("x", TensorType::new(DType::F16, [2]));
    let old = g.push(mb::read_state(&sum)).unwrap();
    let new = g.push(mb::add(&old, &x)).unwrap();
    let y = g.coreml_update_state(&sum, &new).unwrap();
    let step = g.finish_function(vec![("y", y).into()]).unwrap();
    let mut g = Graph::new("plain", Opset::iOS18);
    let x = g.input("x", TensorType::new(DType::F16, [2]));
    let y = g.push(mb::exp(&x)).unwrap();
    let plain = g.finish_function(vec![("y", y).into()]).unwrap();
    let model = saved(dir.path(), &Program::of_functions([step, plain], "plain").unwrap());
    assert_eq!(json(&model, &[])["function"], "plain");
    let report = json(&model, &["--function", "step", "--profile"]);
    assert_eq!(report["function"], "step");
    assert!(report["profile"]["by_op"].as_array().unwrap().iter().any(|o| o["op"] == "write_state"));
    let e = fails(&model, &["--function", "train"]);
    assert_eq!(e, "error: there is no function `train`; the program has `plain`, `step`");
}

#[test]
fn what_cannot_be_measured_is_said() {
    let dir = tempfile::tempdir().unwrap();
    let model = flexible(dir.path());
    let e = fails(&model, &["--shape", "q=1"]);
    assert_eq!(e, "error: function `main` has no input `q`; its inputs are `x`, `k`, `n`");
    let e = fails(&model, &["--shape", "n=3"]);
    assert_eq!(e, "error: input `n` must be Tensor<i32, 2>, found Tensor<i32, 3>");
    let e = fails(&model, &["--shape", "k=1000000000000"]);
    assert_eq!(e, "error: input `k` cannot be made up: a tensor of f32 of shape [1000000000000] is too large");
    let missing = dir.path().join("missing.mlpackage");
    let e = fails(missing.to_str().unwrap(), &[]);
    assert!(e.contains("missing.mlpackage`: cannot be read"), "{e}");
    for wrong in [
        &["--iterations", "0"][..],
        &["--iterations", "1", "--seconds", "1"],
        &["--seconds", "-1"],
        &["--threads", "0"],
        &["--numerics", "exact"],
        &["--shape", "x"],
    ] {
        assert_eq!(bench(&model, wrong).status.code(), Some(2), "{wrong:?}");
    }
}
