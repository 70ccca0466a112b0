//! `mil convert`, as a user calls it.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use mil_core::{
    ir::{
        Program,
        feature::{ColorSpace, FeatureKind, ImageFlexibility},
    },
    types::{DType, Opset},
    weights::{SafeDType, TensorView, write_safetensors},
};
use mil_runtime::{AnyTensor, Backend, Label, Model, Outputs};

const IMAGENET: ([f64; 3], [f64; 3]) = ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]);

fn testdata(name: &str) -> String {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/onnx").join(name).to_str().unwrap().into()
}

struct Case {
    dir: tempfile::TempDir,
    out: PathBuf,
}

impl Case {
    fn new() -> Case {
        let dir = tempfile::tempdir().unwrap();
        let out = dir.path().join("out.mlpackage");
        Case { dir, out }
    }

    fn run(&self, model: &str, args: &[&str], log: Option<&str>) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_mil"));
        command.args(["convert", model, "-o", self.out.to_str().unwrap()]).args(args);
        command.env_remove("MIL_BACKEND").env_remove("MIL_LOG");
        log.map(|log| command.env("MIL_LOG", log));
        command.output().unwrap()
    }

    /// What it says on stdout, and on stderr.
    #[track_caller]
    fn converts(&self, model: &str, args: &[&str]) -> (String, String) {
        let output = self.run(&testdata(model), args, None);
        let [out, err] = [output.stdout, output.stderr].map(|s| String::from_utf8(s).unwrap());
        assert_eq!(output.status.code(), Some(0), "{args:?}: {err}");
        (out, err)
    }

    /// What it says when it refuses, which leaves everything as it was.
    #[track_caller]
    fn fails(&self, model: &str, args: &[&str]) -> String {
        let before = self.files();
        let output = self.run(model, args, None);
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_ne!(output.status.code(), Some(0), "{args:?}: {stderr}");
        assert!(stderr.starts_with("error: ") && output.stdout.is_empty(), "{stderr}");
        assert_eq!(self.files(), before, "{args:?}");
        stderr.trim_end().to_string()
    }

    /// All files with what is in them.
    fn files(&self) -> Vec<(PathBuf, Vec<u8>)> {
        fn below(dir: &Path, all: &mut Vec<(PathBuf, Vec<u8>)>) {
            for entry in fs::read_dir(dir).unwrap() {
                let path = entry.unwrap().path();
                match path.is_dir() {
                    true => below(&path, all),
                    false => all.push((path.clone(), fs::read(&path).unwrap())),
                }
            }
        }
        let mut all = vec![];
        below(self.dir.path(), &mut all);
        all.sort();
        all
    }

    fn program(&self) -> Program {
        Program::load(&self.out).unwrap()
    }

    /// The kinds of ops, constants left out.
    fn ops(&self) -> Vec<&'static str> {
        let p = self.program();
        let f = p.main().unwrap();
        f.walk().into_iter().map(|op| f.op(op).def).filter(|d| !d.is_const()).map(|d| d.name).collect()
    }

    fn predict(&self, input: &str, shape: &[usize], numbers: &[f32]) -> Outputs {
        let model = Model::options().backend(Backend::Cpu).load(&self.out).unwrap();
        model.predict([(input, AnyTensor::new(shape, numbers.to_vec()).unwrap())]).unwrap()
    }

    fn file(&self, name: &str, text: &str) -> String {
        let path = self.dir.path().join(name);
        fs::write(&path, text).unwrap();
        path.to_str().unwrap().into()
    }
}

/// What the model makes of a pixel, each number normalized.
fn logits(pixel: [f64; 3], (mean, std): ([f64; 3], [f64; 3])) -> Vec<f64> {
    let normalized = (0..3).map(|c| (pixel[c] / 255.0 - mean[c]) / std[c]);
    normalized.map(|v| if v < 0.0 { 0.1 * v } else { v }).collect()
}

fn softmax(logits: &[f64]) -> Vec<f64> {
    let all: Vec<f64> = logits.iter().map(|v| v.exp()).collect();
    let sum: f64 = all.iter().sum();
    all.iter().map(|v| v / sum).collect()
}

#[track_caller]
fn close(found: &AnyTensor, expected: &[f64], tolerance: f64) {
    let found = found.to_f32().unwrap();
    assert_eq!(found.len(), expected.len());
    for (f, e) in found.iter().zip(expected) {
        assert!((f64::from(*f) - e).abs() < tolerance, "{found:?}, expected {expected:?}");
    }
}

/// A classifier that takes a picture, normalizes inside, and gives `probs`.
#[test]
fn an_image_classifier_in_one_command() {
    for (precision, tolerance) in [("fp32", 1e-6), ("fp16", 2e-3)] {
        let case = Case::new();
        let args = ["--image", "rgb", "--normalize", "imagenet", "--softmax", "--rename-output", "probs"];
        let (out, err) = case.converts("color.onnx", &[&args[..], &["--precision", precision]].concat());
        assert!(
            out.starts_with("converted in ") && out.contains("\nvalidated in ") && out.contains("`probs`"),
            "{out}"
        );
        assert_eq!(err, "");
        let program = case.program();
        let f = program.main().unwrap();
        let FeatureKind::Image(image) = &f.input_features[0].kind else { panic!("{:?}", f.input_features) };
        assert_eq!((image.width, image.height, image.color), (1, 1, ColorSpace::Rgb));
        let pixel = [250.0, 17.0, 130.0];
        let found = case.predict("pixels", &[1, 3, 1, 1], &pixel.map(|p| p as f32));
        close(&found["probs"], &softmax(&logits(pixel, IMAGENET)), tolerance);
        assert_eq!(program.metadata.user_defined["mil.source"], "onnx, opset 17, by make.py 1");
        assert_eq!(program.metadata.description, "color, for tests");
    }
}

#[test]
fn labels_make_a_classifier() {
    let case = Case::new();
    let labels = case.file("labels.txt", "red\ngreen\n blue\r\n\n");
    let args = ["--image", "pixels:rgb", "--normalize", "imagenet", "--softmax", "--classes", &labels];
    let (out, _) = case.converts("color.onnx", &args);
    assert!(out.contains("the label is the same for 1 of 1"), "{out}");
    let found = case.predict("pixels", &[1, 3, 1, 1], &[10.0, 20.0, 200.0]);
    assert_eq!(found.label(), Some(Label::from("blue")));
    let expected = softmax(&logits([10.0, 20.0, 200.0], IMAGENET));
    let probabilities = found.probabilities().unwrap();
    for (label, e) in ["red", "green", "blue"].into_iter().zip(expected) {
        assert!((probabilities.get(label).unwrap() - e).abs() < 2e-3);
    }
    let names: Vec<String> = case.program().main().unwrap().output_features.iter().map(|f| f.name.clone()).collect();
    assert_eq!(names, ["classLabel", "classLabel_probs"]);
}

#[test]
fn a_model_with_channels_last_takes_a_picture_as_well() {
    let case = Case::new();
    let args = ["--precision", "fp32", "--image", "pixels:0:bgr,scale=1/2,bias=-1/-2/3", "--input", "pixels:0=1,2,1,3"];
    case.converts("color_last.onnx", &args);
    assert_eq!(case.ops(), ["mul", "add", "transpose", "leaky_relu"]);
    let found = case.predict("pixels_0", &[1, 3, 2, 1], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
    // Height, then channels.
    close(&found["logits_0"], &[-0.05, -0.05, 5.5, 0.0, 0.0, 6.0], 1e-6);
}

/// ImageNet's numbers are of red, green and blue.
#[test]
fn normalization_follows_the_colors() {
    let case = Case::new();
    let pixel = [30.0, 60.0, 250.0];
    case.converts("color.onnx", &["--image", "bgr", "--normalize", "imagenet", "--precision", "fp32"]);
    let found = case.predict("pixels", &[1, 3, 1, 1], &pixel.map(|p| p as f32));
    let reversed = |mut v: [f64; 3]| {
        v.reverse();
        v
    };
    let expected = logits(pixel, (reversed(IMAGENET.0), reversed(IMAGENET.1)));
    close(&found["logits"], &expected, 1e-5);
    // Numbers of one's own are of the channels as they come; without a picture the batch may be of any size.
    case.converts("color.onnx", &["--normalize", "pixels:mean=0.5,std=0.25/0.5/1", "--precision", "fp32"]);
    let found = case.predict("pixels", &[2, 3, 1, 1], &[255.0, 255.0, 255.0, 0.0, 0.0, 0.0]);
    close(&found["logits"], &[2.0, 1.0, 0.5, -0.2, -0.1, -0.05], 1e-6);
    assert!(!matches!(case.program().main().unwrap().input_features[0].kind, FeatureKind::Image(_)));
}

#[test]
fn names_shapes_and_targets_are_the_users() {
    let case = Case::new();
    let args = [
        "--input",
        "pixels:0=1,[224|384],[224|384],3",
        "--image",
        "rgb",
        "--target",
        "iOS17",
        "--rename-input",
        "picture",
        "--rename-output",
        "logits:0=scores",
        "--no-validate",
    ]; // fmt: skip
    let (out, _) = case.converts("color_last.onnx", &args);
    assert!(!out.contains("validated"), "{out}");
    let p = case.program();
    let f = p.main().unwrap();
    assert_eq!(
        (p.opset, &f.input_features[0].name[..], &f.output_features[0].name[..]),
        (Opset::iOS17, "picture", "scores")
    );
    let FeatureKind::Image(image) = &f.input_features[0].kind else { panic!("{:?}", f.input_features) };
    let ImageFlexibility::Enumerated(sizes) = &image.flexibility else { panic!("{image:?}") };
    assert_eq!(sizes[..], [(224, 224), (384, 224), (224, 384), (384, 384)]);

    let args = ["--rename-input", "a=first", "--rename-output", "y=second", "--image", "b:gray"];
    case.converts("two.onnx", &args);
    let p = case.program();
    let f = p.main().unwrap();
    let names: Vec<&str> = f.input_features.iter().chain(&f.output_features).map(|f| &f.name[..]).collect();
    assert_eq!(names, ["first", "b", "x", "second"]);
}

#[test]
fn what_was_done_is_told_if_asked() {
    let case = Case::new();
    let (_, err) = case.converts("color.onnx", &["-v", "--input", "pixels=1,3,1,1"]);
    for text in ["reading", "passes", "add_fp16_cast: op in f16 1", "writing", "validating"] {
        assert!(err.contains(text), "{text}\n{err}");
    }
    let color = testdata("color.onnx");
    let logged = |log| String::from_utf8(case.run(&color, &["--input", "pixels=1,3,1,1"], Some(log)).stderr).unwrap();
    assert!(logged("1").contains("add_fp16_cast"));
    assert_eq!((logged("off"), logged("")), (String::new(), String::new()));
    let (_, err) = case.converts("color.onnx", &["-v", "--skip-passes", "add_fp16_cast,noop_elimination"]);
    assert!(
        !err.contains("add_fp16_cast") && !err.contains("noop_elimination") && err.contains("may be anything"),
        "{err}"
    );
}

/// Pixels far outside of f16 are infinite there.
#[test]
fn what_computes_other_things_is_not_written() {
    let case = Case::new();
    let samples = case.dir.path().join("samples.safetensors");
    let numbers: Vec<u8> = [1e5f32, 2.0, 3.0].iter().flat_map(|v| v.to_le_bytes()).collect();
    let view = TensorView { name: "pixels", dtype: SafeDType::F32, shape: &[1, 3, 1, 1], bytes: &numbers };
    write_safetensors(&samples, [view]).unwrap();
    let samples = samples.to_str().unwrap();
    let color = testdata("color.onnx");
    let e = case.fails(&color, &["--samples", samples]);
    assert!(e.contains("the package computes other things than the model: `logits` differs by inf"), "{e}");
    assert!(e.contains("`--precision mixed` keeps those ops in f32 that need it"), "{e}");
    let (out, _) = case.converts("color.onnx", &["--samples", samples, "--samples", samples, "--precision", "fp32"]);
    assert!(out.contains(" on 2 samples: `logits` differs by 0.0e0 of its scale"), "{out}");
    // What is there stays.
    case.fails(&color, &["--samples", samples]);
    assert!(case.program().main().is_some());
    let (out, _) = case.converts("color.onnx", &["--no-validate"]);
    assert!(!out.contains("validated"), "{out}");
    let e = case.fails(&color, &["--samples", samples, "--no-validate"]);
    assert!(e.contains("cannot be used with"), "{e}");
}

/// `cancels` adds 50 and takes it away again, which in f16 leaves five binary digits behind the point.
#[test]
fn mixed_precision_keeps_in_f32_what_needs_it() {
    let case = Case::new();
    let cancels = testdata("cancels.onnx");
    let (_, err) = case.converts("cancels.onnx", &[]);
    assert!(err.starts_with("warning: in f16 `y` differs by ") && err.contains("`--precision mixed` keeps"), "{err}");
    let (out, err) = case.converts("cancels.onnx", &["--precision", "mixed"]);
    assert!(out.contains("ops stay f32; all in f16 would differ by ") && out.contains("validated in "), "{out}");
    assert!(err.contains("found on made-up inputs"), "{err}");
    let program = case.program();
    let f = program.main().unwrap();
    let of = |dtype| {
        let ops = f.walk().into_iter().map(|op| f.op(op)).filter(|op| !op.def.is_const() && op.def.name != "cast");
        let is = |op: &&mil_core::ir::Op| f.value(op.outputs[0]).ty.tensor().unwrap().dtype == dtype;
        ops.filter(is).map(|op| op.def.name).collect::<Vec<_>>()
    };
    assert_eq!((of(DType::F32), of(DType::F16)), (vec!["add", "abs", "sub"], vec!["tanh", "atan", "sin"]));
    let x: Vec<f32> = (0..64).map(|i| i as f32 / 20.0 - 1.6).collect();
    let expected: Vec<f64> = x.iter().map(|x| f64::from(*x).tanh().atan().sin()).collect();
    close(&case.predict("x", &[1, 64], &x)["y"], &expected, 5e-3);
    // Where f16 will do there is nothing to find.
    let samples = case.dir.path().join("samples.safetensors");
    let numbers: Vec<u8> = [1f32, -2.0, 3.0].iter().flat_map(|v| v.to_le_bytes()).collect();
    let view = TensorView { name: "pixels", dtype: SafeDType::F32, shape: &[1, 3, 1, 1], bytes: &numbers };
    write_safetensors(&samples, [view]).unwrap();
    let args = ["--precision", "mixed", "--tolerance", "0.002", "--samples", samples.to_str().unwrap()];
    let (out, err) = case.converts("color.onnx", &args);
    assert!(out.contains("all ops may be of f16 (conversions tried: 1, in ") && !err.contains("made-up"), "{out}{err}");
    for (args, expected) in [
        (&["--precision", "mixed", "--no-validate"][..], "leave `--no-validate` out"),
        (&["--tolerance", "0.1"], "`--tolerance` is for `--precision mixed`"),
        (&["--precision", "mixed", "--tolerance", "1e-9"], "expected a number from 0.0001 to 1"),
        (&["--precision", "mixed", "--skip-passes", "add_fp16_cast"], "`add_fp16_cast` does, which is left out"),
    ] {
        let e = case.fails(&cancels, args);
        assert!(e.contains(expected), "{e}");
    }
}

#[test]
fn wrong_options_say_what_there_is() {
    let case = Case::new();
    case.converts("color.onnx", &["--no-validate"]);
    let two_labels = case.file("two.txt", "a\nb\n");
    let gap = case.file("gap.txt", "a\n\nb\n");
    let empty = case.file("empty.txt", "\n");
    let cases: [(&str, &[&str], &str); 26] = [
        ("color.onnx", &["--input", "pixel=1,3,1,1"], "the model has no input `pixel`; it has `pixels`"),
        ("color.onnx", &["--input", "pixels=1,3,1"], "has 3 sizes, the model's input has 4"),
        ("color.onnx", &["--input", "pixels=1,4,1,1"], "the model says 3"),
        ("color.onnx", &["--constant", "x=1"], "the model has no input `x`; it has `pixels`"),
        ("color.onnx", &["--image", "x:rgb"], "the model has no input `x`; it has `pixels`"),
        ("color.onnx", &["--normalize", "x:imagenet"], "the model has no input `x`; it has `pixels`"),
        ("color.onnx", &["--rename-input", "x=y"], "the model has no input `x`; it has `pixels`"),
        ("color.onnx", &["--rename-input", "pixels=1y"], "`1y` is no name"),
        ("color.onnx", &["--rename-output", "x=y"], "the model has no output `x`; it has `logits`"),
        ("color.onnx", &["--rename-output", "a b"], "`a b` is no name"),
        ("two.onnx", &["--image", "a:gray"], "is no picture of 1 channels"),
        ("color_last.onnx", &["--image", "gray"], "`--image` is for an input [1, channels, height, width]"),
        ("color.onnx", &["--image", "rgb,bias=1/2"], "there are 2 numbers for the bias of 3 channels"),
        ("color.onnx", &["--normalize", "pixels:mean=1/2/3/4"], "is no picture of 4 channels"),
        ("color.onnx", &["--classes", &two_labels, "--input", "pixels=1,3,1,1"], "there are 2 classes for 3 numbers"),
        ("color.onnx", &["--classes", &gap], "the line 2 is empty"),
        ("color.onnx", &["--classes", &empty], "has no labels"),
        ("color.onnx", &["--classes", "nowhere.txt"], "`nowhere.txt`: cannot be read"),
        ("color.onnx", &["--skip-passes", "nothing"], "there is no pass `nothing`"),
        ("color.onnx", &["--backend", "neuralnetwork"], "the older format is not written yet"),
        ("color.onnx", &["--samples", "nowhere.safetensors"], "nowhere.safetensors"),
        ("two.onnx", &["--softmax"], "`--softmax` must say which is meant, of `x`, `y`"),
        ("two.onnx", &["--rename-input", "y"], "`--rename-input` must say which is meant, of `a`, `b`"),
        ("two.onnx", &["--rename-input", "a=b"], "two inputs would be called `b`"),
        ("two.onnx", &["--rename-output", "x=y"], "two outputs would be called `y`"),
        ("two.onnx", &["--normalize", "mean=0"], "`--normalize` may be for the input `a` or `b`"),
    ];
    for (model, args, expected) in cases {
        let e = case.fails(&testdata(model), args);
        assert!(e.contains(expected), "{args:?}: {e}");
    }
    for wrong in
        [["--target", "iOS14"], ["--precision", "int8"], ["--image", "cmyk"], ["--input", "x"], ["--backend", "onnx"]]
    {
        let e = case.fails(&testdata("color.onnx"), &wrong);
        assert!(e.contains("invalid value"), "{wrong:?}: {e}");
    }
}

#[test]
fn bad_files_are_refused_and_leave_nothing() {
    let case = Case::new();
    let whole = fs::read(testdata("color.onnx")).unwrap();
    let broken = case.dir.path().join("broken.onnx");
    for cut in [0, 1, 7, whole.len() / 2, whole.len() - 1] {
        fs::write(&broken, &whole[..cut]).unwrap();
        let e = case.fails(broken.to_str().unwrap(), &[]);
        assert!(e.contains("broken.onnx"), "{e}");
    }
    let e = case.fails("nowhere.onnx", &[]);
    assert!(e.contains("`nowhere.onnx`: cannot be read"), "{e}");
    let e = case.fails(case.dir.path().to_str().unwrap(), &[]);
    assert!(e.contains("would be replaced") || e.contains("is not a regular file") || e.contains("is inside"), "{e}");
}

#[test]
fn only_packages_are_replaced() {
    let mut case = Case::new();
    let color = testdata("color.onnx");
    for (name, expected) in [("out", "end the name in `.mlpackage`"), ("no/out.mlpackage", "does not exist")] {
        case.out = case.dir.path().join(name);
        let e = case.fails(&color, &[]);
        assert!(e.contains(expected), "{e}");
    }
    case.out = case.dir.path().join("folder.mlpackage");
    fs::create_dir(&case.out).unwrap();
    fs::write(case.out.join("diary.txt"), "mine").unwrap();
    let e = case.fails(&color, &[]);
    assert!(e.contains("exists and is not a Core ML package"), "{e}");
}
