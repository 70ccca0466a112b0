//! Every op in every opset that has it, in f32 and in f16: built, validated, written and read, and run.
//!
//! One small program for each row. With `MIL_EVERY_OP_OUT=DIR` the packages stay in DIR, where `tests/oracle/every_op.py` asks
//! coremltools whether it accepts them; and whether none is missing.

mod blocks;
mod elementwise;
mod engine;
mod images;
mod layers;
mod scene;
mod shapes;
mod weights;

use std::{
    collections::{BTreeMap, BTreeSet},
    error::Error,
    fs,
    path::{Path, PathBuf},
};

use mil::{
    AnyTensor, Backend, DType, Graph, Model, Opset,
    ir::Program,
    op::OpDef,
    ops,
    types::{Dim, TensorType},
    validate::validate,
};
use scene::{Row, Scene};

fn rows() -> impl Iterator<Item = &'static Row> {
    [blocks::ROWS, elementwise::ROWS, images::ROWS, layers::ROWS, shapes::ROWS, weights::ROWS].into_iter().flatten()
}

/// The program of a row: one op, with casts around it where the opset's inputs and outputs are of other dtypes.
fn program(row: &Row, opset: Opset, float: DType) -> Result<Program, String> {
    let mut scene = Scene { graph: Graph::new("main", opset), float };
    let values = (row.build)(&mut scene).map_err(|e| e.to_string())?;
    let outputs = values.into_iter().enumerate().map(|(i, v)| (format!("y{i}"), scene.given(v)));
    let outputs: Vec<_> = outputs.collect();
    scene.graph.finish(outputs).map_err(|e| e.to_string())
}

/// Whether the op computes with f16 in this opset: each of its parameters that may be f32 may be f16.
fn has_f16(def: &OpDef, opset: Opset) -> bool {
    let allowed =
        |dtype| def.params.iter().filter(move |p| p.allowed(opset).is_some_and(|a| a.dtypes.contains(&dtype)));
    let names = |dtype| allowed(dtype).map(|p| p.name).collect::<BTreeSet<_>>();
    names(DType::F16).is_superset(&names(DType::F32))
}

/// Something to compute with: small numbers, which indices and probabilities may be too.
fn tensor(ty: &TensorType) -> AnyTensor {
    let shape: Vec<usize> = ty.shape.iter().map(|d: &Dim| d.value().unwrap().try_into().unwrap()).collect();
    let count = shape.iter().product();
    match ty.dtype {
        DType::I32 => AnyTensor::from_i64(DType::I32, shape, (0..count).map(|i| (i % 2) as i64).collect()),
        dtype => AnyTensor::from_f32(dtype, shape, (0..count).map(|i| (i % 7 + 1) as f32 / 8.0).collect()),
    }
    .unwrap()
}

type Outcome<T> = Result<T, Box<dyn Error>>;

/// An output's name, type and bytes: a NaN is not equal to itself, its bytes are.
type Output = (String, String, Option<Vec<u8>>);

fn run(program: &Program) -> Outcome<Vec<Output>> {
    let model = Model::options().backend(Backend::Cpu).from_program(program)?;
    let inputs: BTreeMap<String, AnyTensor> = model.inputs().iter().map(|i| (i.name.clone(), tensor(&i.ty))).collect();
    let outputs = match model.states() {
        [] => model.predict(inputs)?,
        _ => model.predict_with_state(inputs, &mut model.new_state()?)?,
    };
    Ok(outputs.iter().map(|(name, t)| (name.to_string(), t.ty().to_string(), t.bytes().map(<[u8]>::to_vec))).collect())
}

/// Builds and checks the program of a row; its package goes to `path`.
fn check(row: &Row, opset: Opset, float: DType, path: &Path) -> Outcome<()> {
    let program = program(row, opset, float)?;
    let main = program.main().ok_or("no function")?;
    if main.walk().into_iter().all(|o| main.op(o).def.name != row.op) {
        return Err("the program does not use the op".into());
    }
    validate(&program)?;
    program.save(path)?;
    let read = Program::load(path)?;
    validate(&read)?;
    if read.to_text() != program.to_text() {
        return Err(format!("written:\n{program}read:\n{read}").into());
    }
    match run(&read)? == run(&program)? {
        true => Ok(()),
        false => Err("what was read gives other numbers".into()),
    }
}

/// Where the packages go, and whether they stay there.
fn directory() -> (PathBuf, Option<tempfile::TempDir>) {
    match std::env::var_os("MIL_EVERY_OP_OUT") {
        Some(dir) => {
            fs::create_dir_all(&dir).unwrap();
            (dir.into(), None)
        }
        None => {
            let dir = tempfile::tempdir().unwrap();
            (dir.path().to_path_buf(), Some(dir))
        }
    }
}

#[test]
fn every_op_in_every_opset() {
    let (dir, _guard) = directory();
    let mut failed = vec![];
    for row in rows() {
        let def = ops::find(row.op).unwrap_or_else(|| panic!("there is no op `{}`", row.op));
        for opset in Opset::ALL.into_iter().filter(|o| *o >= def.since) {
            for float in [DType::F32, DType::F16] {
                if float == DType::F16 && !has_f16(def, opset) {
                    continue;
                }
                let what = format!("{}.{}.{float}", row.op, opset.name());
                let path = dir.join(format!("{what}.mlpackage"));
                if let Err(e) = check(row, opset, float, &path) {
                    failed.push(format!("{what}: {e}"));
                }
            }
        }
    }
    assert!(failed.is_empty(), "{} failed:\n{}", failed.len(), failed.join("\n"));
}

#[test]
fn no_op_is_left_out() {
    let ours: BTreeSet<&str> = rows().map(|r| r.op).collect();
    assert_eq!(ours.len(), rows().count(), "an op has two rows");
    let all: BTreeSet<&str> = ops::all().map(|d| d.name).collect();
    assert_eq!(ours, all);
}
