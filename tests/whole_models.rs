//! What a model is beside its ops: states, classifiers, several functions, defaults, images, flexible shapes, metadata. Each is
//! said in the DSL or to the builder, saved, read again, and run.

use std::path::PathBuf;

use mil::{
    Dictionary, Label,
    ir::{Program as IrProgram, feature::FeatureKind},
    prelude::*,
    types::Type,
};

/// Where the packages stay, for `tests/oracle/run_oracle.py`.
fn saved(program: &IrProgram, name: &str) -> IrProgram {
    mil::validate::validate(program).unwrap();
    let dir = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("whole_models");
    std::fs::create_dir_all(&dir).unwrap();
    let path = dir.join(name).with_extension("mlpackage");
    program.save(&path).unwrap();
    IrProgram::load(&path).unwrap()
}

fn cpu(program: &IrProgram) -> Model {
    Model::options().backend(Backend::Cpu).from_program(program).unwrap()
}

fn f16s(v: &[f32]) -> AnyTensor {
    AnyTensor::from_f32(DType::F16, [1, v.len()], v.to_vec()).unwrap()
}

#[mil_program(opset = iOS18)]
fn running_sum(x: Tensor<f16, 1, 2>, sum: &mut State<f16, 1, 2>) -> _ {
    let before = *sum;
    *sum += x;
    let after = *sum;
    (before, after)
}

#[test]
fn states_live_between_predictions() {
    type Signature = fn(Tensor<f16, 1, 2>, &mut State<f16, 1, 2>) -> (Tensor<f16, 1, 2>, Tensor<f16, 1, 2>);
    let program: Program<Signature> = running_sum();
    let model = cpu(&saved(&program, "running_sum"));
    assert_eq!(
        model.states().iter().map(|s| format!("{}: {}", s.name, s.ty)).collect::<Vec<_>>(),
        ["sum: Tensor<f16, 1, 2>"]
    );
    let e = model.predict([("x", f16s(&[1.0, 2.0]))]).unwrap_err().to_string();
    assert!(e.contains("has states (`sum`)") && e.contains("new_state"), "{e}");

    let (mut a, mut b) = (model.new_state().unwrap(), model.new_state().unwrap());
    for n in 0..3 {
        let outputs = model.predict_with_state([("x", f16s(&[1.0, 2.0]))], &mut a).unwrap();
        let n = n as f32;
        assert_eq!((&outputs["before"], &outputs["after"]), (&f16s(&[n, 2.0 * n]), &f16s(&[n + 1.0, 2.0 * n + 2.0])));
    }
    // Each state is its own; a prediction that fails leaves it as it was; it can be set.
    assert_eq!(a.get("sum").unwrap(), f16s(&[3.0, 6.0]));
    assert!(model.predict_with_state([("y", f16s(&[1.0, 2.0]))], &mut a).is_err());
    assert_eq!((a.get("sum").unwrap(), b.get("sum").unwrap()), (f16s(&[3.0, 6.0]), f16s(&[0.0, 0.0])));
    b.set("sum", f16s(&[0.5, 0.5])).unwrap();
    let outputs = model.predict_with_state([("x", f16s(&[1.0, 1.0]))], &mut b).unwrap();
    assert_eq!(outputs["after"], f16s(&[1.5, 1.5]));
    assert!(b.set("sum", f16s(&[1.0])).unwrap_err().to_string().contains("must be Tensor<f16, 1, 2>"));
    assert!(b.get("cache").unwrap_err().to_string().contains("there is no state `cache`; the states are [`sum`]"));
    let other = cpu(&mil!(|x: Tensor<f32, 2>| x * 2.0).into_untyped());
    let e = other.predict_with_state([("x", AnyTensor::new([2], vec![1f32; 2]).unwrap())], &mut a).unwrap_err();
    assert!(e.to_string().contains("of another model"), "{e}");
}

#[mil_program(opset = iOS18)]
fn counts_in_a_loop(n: Tensor<i32, 1>, total: &mut State<f16, 1>) -> _ {
    fn add(by: Tensor<f16, 1>, to: &mut State<f16, 1>) -> _ {
        *to + by
    }
    let n = mb::squeeze(n);
    let mut i = 0;
    while i < n {
        *total = add([1.0], total);
        i += 1;
    }
    *total
}

#[test]
fn states_are_written_in_loops() {
    let model = cpu(&saved(&counts_in_a_loop(), "counts_in_a_loop"));
    let mut state = model.new_state().unwrap();
    for (n, total) in [(3, 3.0), (0, 3.0), (4, 7.0)] {
        let n = AnyTensor::new([1], vec![n]).unwrap();
        let y = model.predict_with_state([("n", n)], &mut state).unwrap().single().unwrap();
        assert_eq!(y.to_f32().unwrap()[..], [total]);
    }
}

#[mil_program(opset = iOS15)]
fn pets(x: Tensor<f32, 1, 3>) -> _ {
    let (label, probabilities) = mb::classify(mb::softmax(x, axis = -1), ["cat", "dog", "fish"]);
    (label, probabilities)
}

#[test]
fn classifiers_give_a_label_and_probabilities() {
    type Pets = fn(Tensor<f32, 1, 3>) -> (Label, Dictionary);
    let program: Program<Pets> = pets();
    let program = saved(&program, "pets");
    let main = program.main().unwrap();
    assert_eq!((&main.predicted_feature[..], &main.predicted_probabilities[..]), ("label", "probabilities"));
    assert!(matches!(main.output_features[1].kind, FeatureKind::Dictionary { int_keys: false }));
    let model = cpu(&program);
    assert!(matches!(model.outputs()[1].ty, Type::Dictionary(..)));
    let outputs = model.predict([("x", AnyTensor::new([1, 3], vec![0.0, 2f32.ln(), 0.0]).unwrap())]).unwrap();
    assert_eq!(outputs.label(), Some(Label::from("dog")));
    let probabilities = outputs.probabilities().unwrap();
    assert!((probabilities.get("dog").unwrap() - 0.5).abs() < 1e-6);
    assert_eq!(probabilities.iter().map(|(l, _)| l.to_string()).collect::<Vec<_>>(), ["cat", "dog", "fish"]);
}

#[test]
fn labels_may_be_numbers() {
    let mut g = Graph::new("main", Opset::iOS15);
    let x = g.input("x", TensorType::new(DType::F32, [2]));
    let (label, all) = g.push(mb::classify(&x, [10, 20])).unwrap();
    let program = saved(&g.finish([("classLabel", label), ("classLabel_probs", all)]).unwrap(), "numbers");
    let outputs = cpu(&program).predict([("x", AnyTensor::new([2], vec![0.25f32, 0.75]).unwrap())]).unwrap();
    assert_eq!(outputs.label(), Some(Label::Int(20)));
    assert_eq!(outputs.probabilities().unwrap().get(10), Some(0.25));
}

#[mil_program(opset = iOS18, default = main, author = "somebody", version = "1.2")]
mod calculator {
    /// Both use it.
    fn scaled(x: Tensor, w: Tensor) -> _ {
        x * w
    }

    pub fn main(x: Tensor<f32, 16>, w: Weight<f32, 16>) -> _ {
        let y = scaled(x, w);
        y
    }

    pub fn more(x: Tensor<f32, 16>, w: Weight<f32, 16>) -> _ {
        let y = scaled(x, w) + 1.0;
        y
    }
}

#[test]
fn functions_share_a_package() {
    let mut program = calculator::program();
    program.attach_weights(&|name| (name == "w").then(|| mil::ir::Constant::vector(&[2f32; 16]))).unwrap();
    let program = saved(&program, "calculator");
    assert_eq!(program.functions.keys().collect::<Vec<_>>(), ["main", "more"]);
    assert_eq!((&program.metadata.author[..], &program.metadata.version[..]), ("somebody", "1.2"));
    let x = || AnyTensor::new([16], vec![3f32; 16]).unwrap();
    let y = cpu(&program).predict([("x", x())]).unwrap();
    assert_eq!(y["y"].to_f32().unwrap()[0], 6.0);
    let more = Model::options().backend(Backend::Cpu).function("more").from_program(&program).unwrap();
    assert_eq!(more.predict([("x", x())]).unwrap()["y"].to_f32().unwrap()[0], 7.0);
    // Each is a program of its own too.
    assert_eq!(calculator::more().functions.len(), 1);
}

#[mil_program(opset = iOS16)]
fn optional(x: Tensor<f32, 2>, #[default(10)] scale: Tensor<f32, 1>) -> _ {
    let y = x * scale;
    y
}

#[test]
fn inputs_may_be_left_out() {
    let model = cpu(&saved(&optional(), "optional"));
    let x = || ("x", AnyTensor::new([2], vec![1f32, 2.0]).unwrap());
    assert_eq!(model.predict([x()]).unwrap()["y"].to_f32().unwrap()[..], [10.0, 20.0]);
    let scale = ("scale", AnyTensor::new([1], vec![0.5f32]).unwrap());
    assert_eq!(model.predict([x(), scale]).unwrap()["y"].to_f32().unwrap()[..], [0.5, 1.0]);
}

#[mil_program(opset = iOS17, H in 2..=8, W in [4, 6])]
fn negative(#[image(RGB, scale = 0.5, bias = [1.0, 2.0, 3.0])] photo: Tensor<f32, 1, 3, H, W>) -> _ {
    #[image(BGR)]
    let inverted = 255.0 - photo;
    inverted
}

#[mil_program(opset = iOS16)]
fn gray(#[image(GrayscaleF16)] photo: Tensor<f16, 1, 1, 2, 2>) -> _ {
    #[image(GrayscaleF16)]
    let darker = photo * 0.5;
    darker
}

#[test]
fn images_go_in_and_come_out() {
    let program = saved(&negative(), "negative");
    let FeatureKind::Image(image) = &program.main().unwrap().output_features[0].kind else { panic!() };
    assert_eq!(image.color, mil::ir::feature::ColorSpace::Bgr);
    let model = cpu(&program);
    assert!(model.inputs()[0].image.is_some() && model.outputs()[0].image.is_some());
    let photo = |w: usize| AnyTensor::new([1, 3, 2, w], vec![10f32; 6 * w]).unwrap();
    let y = model.predict([("photo", photo(4))]).unwrap().single().unwrap();
    assert_eq!((y.to_f32().unwrap()[0], y.to_f32().unwrap()[23]), (249.0, 247.0));
    assert!(model.predict([("photo", photo(6))]).is_ok());
    // A list beside a range is said as a range, which is all that a description can say of both.
    assert!(model.predict([("photo", photo(5))]).is_ok());
    assert!(model.predict([("photo", photo(7))]).is_err());

    let model = cpu(&saved(&gray(), "gray"));
    let photo = AnyTensor::from_f32(DType::F16, [1, 1, 2, 2], vec![1.0; 4]).unwrap();
    assert_eq!(model.predict([("photo", photo)]).unwrap()["darker"].to_f32().unwrap()[..], [0.5; 4]);
}

#[mil_program(opset = iOS18, L in [1, 4, 8], N in 1..=3)]
fn flexible(x: Tensor<f32, 1, L>, y: Tensor<f32, 1, L>, z: Tensor<f32, N, 1>) -> _ {
    let sum = (x + y) * z;
    sum
}

#[test]
fn shapes_are_flexible() {
    let model = cpu(&saved(&flexible(), "flexible"));
    let run = |l: usize, n: usize| {
        let ones = |shape: [usize; 2]| AnyTensor::new(shape, vec![1f32; shape[0] * shape[1]]).unwrap();
        model.predict([("x", ones([1, l])), ("y", ones([1, l])), ("z", ones([n, 1]))])
    };
    assert_eq!(run(4, 3).unwrap()["sum"].shape(), [3, 4]);
    assert!(run(5, 3).is_err() && run(4, 4).is_err());
}

#[mil_program(opset = iOS26)]
fn bytes(x: Tensor<i8, 4>) -> _ {
    let y = mb::cast(x, dtype = "fp32");
    let z = mb::cast(y * 2.0, dtype = "int8");
    z
}

#[test]
fn arrays_of_bytes_need_ios26() {
    let program = saved(&bytes(), "bytes");
    assert_eq!(program.opset, Opset::iOS26);
    let x = AnyTensor::new([4], vec![1i8, -2, 3, 4]).unwrap();
    let z = cpu(&program).predict([("x", x)]).unwrap().single().unwrap();
    assert_eq!(z, AnyTensor::new([4], vec![2i8, -4, 6, 8]).unwrap());
}

#[test]
fn metadata_is_kept() {
    let mut program = mil!(|x: Tensor<f32, 2>| x * 2.0).into_untyped();
    program.metadata.description = "doubles".into();
    program.metadata.user_defined.insert("com.example.units".into(), "metres".into());
    assert_eq!(saved(&program, "metadata").metadata, program.metadata);
}
