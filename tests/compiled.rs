//! A model that Core ML's compiler wrote, through the facade: read, checked, run, and written as a package.

use mil::{AnyTensor, Backend, Model, f16, ir::Program, text, validate};

const COMPILED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/mil-core/testdata/compiled/test_linear.mlmodelc");

/// y = 2x + 1, in fp16.
#[track_caller]
fn computes(model: &Model) {
    let x: Vec<f16> = [0.0, 1.0, -3.5, 100.0].map(f16::from_f32).into();
    let y = model.predict([("input", AnyTensor::new([1, 4], x).unwrap())]).unwrap().single().unwrap();
    let expected = [1.0, 3.0, -6.0, 201.0].map(f16::from_f32);
    assert_eq!((y.shape(), y.as_slice::<f16>()), (&[1, 4][..], Some(&expected[..])));
}

#[test]
fn a_compiled_model_runs() {
    computes(&Model::options().backend(Backend::Cpu).load(COMPILED).unwrap());
    let program = Program::load(COMPILED).unwrap();
    validate(&program).unwrap();
    let package = tempfile::tempdir().unwrap();
    let package = package.path().join("linear.mlpackage");
    program.save(&package).unwrap();
    assert_eq!(Program::load(&package).unwrap(), program);
    computes(&Model::options().backend(Backend::Cpu).load(&package).unwrap());
}

#[test]
fn its_text_runs() {
    let file = format!("{COMPILED}/model.mil");
    computes(&Model::options().backend(Backend::Cpu).load(&file).unwrap());
    let program = text::parse(&std::fs::read_to_string(file).unwrap()).unwrap();
    computes(&Model::options().backend(Backend::Cpu).from_program(&program).unwrap());
}
