//! The `mil` command, as a user calls it.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use half::f16;
use mil_core::{
    graph::Graph,
    ir::{Constant, Program},
    mb,
    spec::Message,
    types::{DType, Opset, TensorType, Type},
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

/// What it says on stderr, which is one line, when it exits with 1.
#[track_caller]
fn fails(args: &[&str]) -> String {
    let output = mil(args);
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{args:?}: {stderr}");
    assert!(stderr.starts_with("error: ") && stderr.lines().count() == 1, "{stderr}");
    assert_eq!(output.stdout, b"");
    stderr.trim_end().to_string()
}

fn testdata(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../mil-core/testdata/coremltools").join(name);
    path.to_str().unwrap().to_string()
}

/// `y = conv(x, w) + k`, with a weight in the file, of flexible size.
fn package(dir: &Path) -> String {
    let mut g = Graph::new("main", Opset::iOS17);
    let x = g.input("x", "Tensor<f16, 1, 1, H, W>".parse::<TensorType>().unwrap());
    let k = g.input("k", TensorType::scalar(DType::F16));
    let w = Constant::new([4, 1, 2, 2], &[half(1.0); 16]).unwrap();
    let sum = g.push(mb::conv(&x, w)).unwrap();
    let y = g.push(mb::add(&sum, &k)).unwrap();
    let path = dir.join("model.mlpackage");
    g.finish([("y", y)]).unwrap().save(&path).unwrap();
    text(&path)
}

/// `z = x + k`.
fn adder(dir: &Path) -> String {
    let mut g = Graph::new("main", Opset::iOS17);
    let x = g.input("x", TensorType::new(DType::F16, [2]));
    let k = g.input("k", TensorType::scalar(DType::F16));
    let z = g.push(mb::add(&x, &k)).unwrap();
    let path = dir.join("adder.mlpackage");
    g.finish([("z", z)]).unwrap().save(&path).unwrap();
    text(&path)
}

fn half(v: f32) -> f16 {
    f16::from_f32(v)
}

fn text(path: &Path) -> String {
    path.to_str().unwrap().to_string()
}

fn f32s(v: &[f32]) -> Vec<u8> {
    v.iter().flat_map(|x| x.to_le_bytes()).collect()
}

fn write(path: &Path, tensors: &[(&str, &[usize], &[f32])]) -> String {
    let bytes: Vec<_> = tensors.iter().map(|(_, _, v)| f32s(v)).collect();
    let views = tensors.iter().zip(&bytes).map(|((name, shape, _), bytes)| TensorView {
        name,
        dtype: SafeDType::F32,
        shape,
        bytes,
    });
    write_safetensors(path, views).unwrap();
    text(path)
}

/// All files below, by their paths.
fn files(dir: &Path) -> Vec<PathBuf> {
    let mut all = vec![];
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { all.extend(files(&path)) } else { all.push(path) }
    }
    all.sort();
    all
}

#[test]
fn inspect_describes_a_model() {
    let dir = tempfile::tempdir().unwrap();
    let model = package(dir.path());
    let shown = succeeds(&["inspect", &model]);
    let size = fs::metadata(Path::new(&model).join("Data/com.apple.CoreML/weights/weight.bin")).unwrap().len();
    let expected = format!(
        "ML Program, specification version 8 (iOS17)\n\
         weights: {size} bytes (0.0 MB)\n\
         function main (default)\n  \
         inputs\n    \
         x: Tensor<f16, 1, 1, x_2, x_3>, sizes [1, 1, 1.., 1..], default [1, 1, 1, 1]\n    \
         k: Tensor<f16>\n  \
         outputs\n    \
         y: Tensor<f16, 1, 4, x_2 - 1, x_3 - 1>\n  \
         2 ops, 6 constants\n         \
         1 add\n         \
         1 conv\n"
    );
    assert_eq!(shown, expected);

    let json: serde_json::Value = serde_json::from_str(&succeeds(&["inspect", &model, "--json"])).unwrap();
    assert_eq!(json["opset"], "iOS17");
    assert_eq!(json["weight_bytes"], size);
    let main = &json["functions"][0];
    assert_eq!((&main["inputs"][0]["name"], &main["ops"]["conv"]), (&"x".into(), &1.into()));
    assert_eq!(main["inputs"][0]["ranges"][2], serde_json::json!([1, null]));
    assert_eq!(main["outputs"][0]["type"], "Tensor<f16, 1, 4, x_2 - 1, x_3 - 1>");
}

#[test]
fn inspect_prints_mil_text() {
    let dir = tempfile::tempdir().unwrap();
    let shown = succeeds(&["inspect", "--text", &adder(dir.path())]);
    assert!(shown.contains("func main<ios17>") && shown.contains("add("), "{shown}");
}

#[test]
fn inspect_describes_other_kinds() {
    let shown = succeeds(&["inspect", &testdata("neural_network.mlmodel")]);
    assert!(shown.starts_with("NeuralNetwork, specification version ") && shown.contains("inputs"), "{shown}");
    assert!(fails(&["inspect", "--text", &testdata("neural_network.mlmodel")]).contains("no ML Program"));
}

#[test]
fn check_says_what_is_wrong() {
    let dir = tempfile::tempdir().unwrap();
    let model = package(dir.path());
    assert_eq!(succeeds(&["check", &model]), "");
    let weights = Path::new(&model).join("Data/com.apple.CoreML/weights/weight.bin");
    fs::remove_file(&weights).unwrap();
    let e = fails(&["check", &model]);
    assert!(e.contains("weight.bin"), "{e}");
    assert!(fails(&["check", &text(&dir.path().join("none.mlpackage"))]).contains("cannot be read"));
}

#[test]
fn copy_writes_the_same_bytes() {
    let dir = tempfile::tempdir().unwrap();
    let model = package(dir.path());
    let copy = text(&dir.path().join("copy.mlpackage"));
    assert_eq!(succeeds(&["copy", &model, &copy]), "");
    let (a, b) = (files(Path::new(&model)), files(Path::new(&copy)));
    assert_eq!(a.len(), 3);
    for (a, b) in a.iter().zip(&b) {
        assert_eq!(a.strip_prefix(&model).unwrap(), b.strip_prefix(&copy).unwrap());
        assert_eq!(fs::read(a).unwrap(), fs::read(b).unwrap(), "{}", a.display());
    }
    let network = text(&dir.path().join("network.mlmodel"));
    succeeds(&["copy", &testdata("neural_network.mlmodel"), &network]);
    let original = fs::read(testdata("neural_network.mlmodel")).unwrap();
    assert_eq!(fs::read(network).unwrap(), original);
}

/// A compiled model and its text do what a package does.
#[test]
fn compiled_models_are_read() {
    let dir = tempfile::tempdir().unwrap();
    let compiled = testdata("../compiled/test_linear.mlmodelc");
    let copy = text(&dir.path().join("copy.mlpackage"));
    assert_eq!(succeeds(&["check", &compiled]), "");
    let shown = succeeds(&["inspect", &compiled]);
    assert!(shown.starts_with("ML Program, specification version 7 (iOS16)\n"), "{shown}");
    assert_eq!(succeeds(&["copy", &compiled, &copy]), "");
    assert_eq!(succeeds(&["inspect", &copy]), shown);
    let alone = format!("{compiled}/model.mil");
    assert_eq!(succeeds(&["inspect", "--text", &alone]), succeeds(&["inspect", "--text", &copy]));
    let inputs = write(&dir.path().join("in.safetensors"), &[("input", &[1, 4], &[0.0, 1.0, -3.5, 100.0])]);
    for model in [&compiled, &alone, &copy] {
        let outputs = text(&dir.path().join("out.safetensors"));
        succeeds(&["run", model, "--inputs", &inputs, "--outputs", &outputs]);
        let expected: Vec<u8> = [1.0, 3.0, -6.0, 201.0].into_iter().flat_map(|v| half(v).to_le_bytes()).collect();
        assert_eq!(SafeTensors::open(&outputs).unwrap().get("output").unwrap().bytes[..], expected);
    }
    assert!(fails(&["copy", &compiled, &text(&dir.path().join("copy.mlmodel"))]).contains("no place for weights"));
    let broken = text(&dir.path().join("broken.mil"));
    fs::write(&broken, "program(1.0)\n{ func main }").unwrap();
    assert!(fails(&["check", &broken]).ends_with("broken.mil`: line 2, column 13: expected `<`, found `}`"));
}

#[test]
fn copy_refuses_paths_that_would_lose_something() {
    let dir = tempfile::tempdir().unwrap();
    let model = package(dir.path());
    let before = files(dir.path());
    let to = |name: &str| fails(&["copy", &model, &text(&dir.path().join(name))]);
    assert!(to("model.mlpackage").ends_with("is the model itself; give the copy another name"));
    assert!(to("../x/../none/copy.mlpackage").contains("does not exist"));
    assert!(to("model.mlpackage/copy.mlpackage").contains("is inside"));
    assert!(to("copy.zip").contains("end the name in `.mlpackage`"));
    assert!(to("copy.mlmodel").contains("no place for weights"));
    let sub = dir.path().join("outer.mlpackage");
    fs::create_dir(&sub).unwrap();
    let inner = package(&sub);
    assert!(fails(&["copy", &inner, &text(&sub)]).contains("which would be replaced"));
    fs::remove_dir_all(&sub).unwrap();
    assert_eq!(files(dir.path()), before);
}

#[cfg(unix)]
#[test]
fn copy_sees_through_links() {
    let dir = tempfile::tempdir().unwrap();
    let model = package(dir.path());
    let link = dir.path().join("link.mlpackage");
    std::os::unix::fs::symlink(&model, &link).unwrap();
    assert!(fails(&["copy", &model, &text(&link)]).contains("is the model itself"));
}

#[test]
fn run_converts_and_writes() {
    let dir = tempfile::tempdir().unwrap();
    let model = adder(dir.path());
    // f32 where f16 is declared, and [1] where a scalar is.
    let inputs = write(&dir.path().join("in.safetensors"), &[("x", &[2], &[1.0, 2.0]), ("k", &[1], &[0.5])]);
    let out = text(&dir.path().join("out.safetensors"));
    let said = succeeds(&["run", &model, "--inputs", &inputs, "--outputs", &out, "--backend", "cpu", "--repeat", "3"]);
    assert!(
        said.starts_with("ran `main` on CPU (asked for): loaded in ") && said.contains("predicted 3 times"),
        "{said}"
    );
    let outputs = SafeTensors::open(&out).unwrap();
    assert_eq!(outputs.names().collect::<Vec<_>>(), ["z"]);
    let z = outputs.get("z").unwrap();
    let expected: Vec<u8> = [1.5, 2.5].iter().flat_map(|v| half(*v).to_le_bytes()).collect();
    assert_eq!((z.dtype, &z.shape[..], &z.bytes[..]), (SafeDType::F16, &[2][..], &expected[..]));
}

#[test]
fn run_says_what_does_not_fit() {
    let dir = tempfile::tempdir().unwrap();
    let model = adder(dir.path());
    let out = text(&dir.path().join("out.safetensors"));
    let run = |tensors: &[(&str, &[usize], &[f32])], more: &[&str]| {
        let inputs = write(&dir.path().join("in.safetensors"), tensors);
        let e = fails(&[&["run", &model, "--inputs", &inputs, "--outputs", &out], more].concat());
        assert!(!Path::new(&out).exists());
        e
    };
    assert_eq!(run(&[("x", &[2], &[0.0; 2])], &[]), "error: input `k` (Tensor<f16>) is missing");
    let e = run(&[("x", &[2], &[0.0; 2]), ("q", &[], &[0.0])], &[]);
    assert_eq!(e, "error: function `main` has no input `q`; its inputs are `x`, `k`");
    let e = run(&[("x", &[3], &[0.0; 3]), ("k", &[], &[0.0])], &[]);
    assert_eq!(e, "error: input `x` must be Tensor<f16, 2>, found Tensor<f16, 3>");
    let e = run(&[], &["--function", "train"]);
    assert_eq!(e, "error: there is no function `train`; the program has `main`");
    if !cfg!(target_vendor = "apple") {
        let e = run(&[], &["--backend", "coreml"]);
        assert!(e.starts_with("error: Core ML cannot run this: not an Apple system"), "{e}");
    }
}

#[test]
fn repeated_predictions_share_a_state() {
    let dir = tempfile::tempdir().unwrap();
    let mut g = Graph::new("main", Opset::iOS18);
    let sum = g.input("sum", Type::State(TensorType::new(DType::F16, [2])));
    let x = g.input("x", TensorType::new(DType::F16, [2]));
    let old = g.push(mb::read_state(&sum)).unwrap();
    let new = g.push(mb::add(&old, &x)).unwrap();
    let y = g.coreml_update_state(&sum, &new).unwrap();
    let model = text(&dir.path().join("sum.mlpackage"));
    g.finish([("y", y)]).unwrap().save(&model).unwrap();
    assert!(succeeds(&["inspect", &model]).contains("states\n    sum: State<f16, 2>"));
    let inputs = write(&dir.path().join("in.safetensors"), &[("x", &[2], &[1.0, 0.5])]);
    let out = text(&dir.path().join("out.safetensors"));
    succeeds(&["run", &model, "--inputs", &inputs, "--outputs", &out, "--backend", "cpu", "--repeat", "4"]);
    let expected: Vec<u8> = [4.0, 2.0].iter().flat_map(|v| half(*v).to_le_bytes()).collect();
    assert_eq!(&SafeTensors::open(&out).unwrap().get("y").unwrap().bytes[..], &expected[..]);
}

#[test]
fn classifiers_say_the_label() {
    let dir = tempfile::tempdir().unwrap();
    let mut g = Graph::new("main", Opset::iOS16);
    let x = g.input("x", TensorType::new(DType::F32, [2]));
    let (label, all) = g.push(mb::classify(&x, ["cat", "dog"])).unwrap();
    let model = text(&dir.path().join("pets.mlpackage"));
    g.finish([("label", label), ("all", all)]).unwrap().save(&model).unwrap();
    let inputs = write(&dir.path().join("in.safetensors"), &[("x", &[2], &[0.25, 0.75])]);
    let out = text(&dir.path().join("out.safetensors"));
    let said = succeeds(&["run", &model, "--inputs", &inputs, "--outputs", &out, "--backend", "cpu"]);
    assert!(said.ends_with("label: dog\n"), "{said}");
    let outputs = SafeTensors::open(&out).unwrap();
    assert_eq!(outputs.names().collect::<Vec<_>>(), ["all"]);
    let all = outputs.get("all").unwrap();
    let expected: Vec<u8> = [0.25f64, 0.75].iter().flat_map(|v| v.to_le_bytes()).collect();
    assert_eq!((all.dtype, &all.bytes[..]), (SafeDType::F64, &expected[..]));
}

#[test]
fn functions_are_chosen_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let function = |name: &str, by: f32| {
        let mut g = Graph::new(name, Opset::iOS18);
        let x = g.input("x", TensorType::new(DType::F32, [1]));
        let y = g.push(mb::mul(&x, by)).unwrap();
        g.finish_function(vec![("y", y).into()]).unwrap()
    };
    let model = text(&dir.path().join("both.mlpackage"));
    Program::of_functions([function("double", 2.0), function("triple", 3.0)], "double").unwrap().save(&model).unwrap();
    let shown = succeeds(&["inspect", &model]);
    assert!(shown.contains("function double (default)") && shown.contains("function triple\n"), "{shown}");
    let inputs = write(&dir.path().join("in.safetensors"), &[("x", &[1], &[1.0])]);
    let out = text(&dir.path().join("out.safetensors"));
    for (more, expected) in [(&[][..], 2.0f32), (&["--function", "triple"], 3.0)] {
        let run = ["run", &model, "--inputs", &inputs, "--outputs", &out, "--backend", "cpu"];
        succeeds(&[&run[..], more].concat());
        assert_eq!(SafeTensors::open(&out).unwrap().get("y").unwrap().bytes[..], expected.to_le_bytes());
    }
}

#[test]
fn pipelines_are_kept_and_described() {
    use mil_core::spec::{Model, ModelDescription, Pipeline, model::Type};
    let dir = tempfile::tempdir().unwrap();
    let bytes = fs::read(testdata("neural_network.mlmodel")).unwrap();
    let network = Model::decode(&bytes[..]).unwrap();
    let pipeline = Pipeline { models: vec![network.clone(), network], names: vec!["first".into(), "second".into()] };
    let model = Model {
        specification_version: 6,
        description: Some(ModelDescription::default()),
        is_updatable: false,
        r#type: Some(Type::Pipeline(pipeline)),
    };
    // With a field that nobody knows.
    let bytes = [model.encode_to_vec(), vec![0x98, 0x06, 7]].concat();
    let from = text(&dir.path().join("pipeline.mlmodel"));
    fs::write(&from, &bytes).unwrap();
    let shown = succeeds(&["inspect", &from]);
    assert!(shown.contains("Pipeline, ") && shown.contains("stage 2 second: NeuralNetwork\n"), "{shown}");
    let copy = text(&dir.path().join("copy.mlmodel"));
    succeeds(&["copy", &from, &copy]);
    assert_eq!(fs::read(&copy).unwrap(), bytes);
    let packed = text(&dir.path().join("packed.mlpackage"));
    succeeds(&["copy", &from, &packed]);
    let again = text(&dir.path().join("again.mlpackage"));
    succeeds(&["copy", &packed, &again]);
    for (a, b) in files(Path::new(&packed)).iter().zip(files(Path::new(&again))) {
        assert_eq!(fs::read(a).unwrap(), fs::read(b).unwrap());
    }
}

#[test]
fn wrong_usage_exits_with_2() {
    let run = ["run", "m", "--inputs", "a", "--outputs", "b"];
    for args in [&["inspect"][..], &["frobnicate"], &[], &[&run[..], &["--repeat", "0"]].concat()] {
        let output = mil(args);
        assert_eq!(output.status.code(), Some(2), "{args:?}");
    }
    assert!(succeeds(&["--version"]).starts_with("mil "));
    assert!(succeeds(&["run", "--help"]).contains("--repeat"));
}

#[test]
fn ops_are_explained() {
    let all = succeeds(&["ops"]);
    assert!(all.lines().any(|l| l.starts_with("conv ") && l.contains("Convolution over")), "{all}");
    assert!(succeeds(&["ops", "conv"]).contains("- C1 `x` has rank 3 to 5"));
    assert!(succeeds(&["ops", "--markdown"]).starts_with("# Ops\n"));
    assert_eq!(fails(&["ops", "convolution"]), "error: there is no op `convolution`; `mil ops` lists them");
}

#[test]
fn check_warns_and_knows_older_systems() {
    let dir = tempfile::tempdir().unwrap();
    let mut g = Graph::new("main", Opset::iOS17);
    let x = g.input("x", TensorType::new(DType::I32, [2, 2]));
    let y = g.push(mb::matmul(&x, &x)).unwrap();
    let path = dir.path().join("ints.mlpackage");
    g.finish([("y", y)]).unwrap().save(&path).unwrap();
    let output = mil(&["check", &text(&path), "--target", "macOS14"]);
    let warned = String::from_utf8(output.stderr).unwrap();
    assert!(
        output.status.success() && warned.starts_with("warning: ") && warned.contains("multiplies i32"),
        "{warned}"
    );
    let older = fails(&["check", &text(&path), "--target", "iOS15"]);
    assert!(older.contains("iOS15 reads up to version 6"), "{older}");
}

#[test]
fn run_takes_threads_and_numerics() {
    let dir = tempfile::tempdir().unwrap();
    let model = adder(dir.path());
    let inputs = write(&dir.path().join("in.safetensors"), &[("x", &[2], &[1.0, 2.0]), ("k", &[], &[0.5])]);
    let out = text(&dir.path().join("out.safetensors"));
    let run = ["run", &model, "--inputs", &inputs, "--outputs", &out, "--backend", "cpu"];
    succeeds(&[&run[..], &["--threads", "1", "--numerics", "strict"]].concat());
    assert_eq!(SafeTensors::open(&out).unwrap().names().collect::<Vec<_>>(), ["z"]);
    for wrong in [["--threads", "0"], ["--numerics", "exact"]] {
        assert_eq!(mil(&[&run[..], &wrong].concat()).status.code(), Some(2), "{wrong:?}");
    }
}
