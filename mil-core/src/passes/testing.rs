//! How the passes' tests speak: a program in, its ops out.

use super::{Context, Pass, Report};
use crate::{
    graph::{Graph, Value},
    ir::{Binding, Constant, Program},
    mb,
    types::{DType, Opset, TensorType},
    validate::validate,
};

/// A graph of the newest opset.
pub(crate) fn graph() -> Graph {
    Graph::new("main", Opset::iOS18)
}

/// A condition: an input `go`, cast to bool, since models take none.
pub(crate) fn condition(g: &mut Graph) -> Value {
    let go = g.input("go", TensorType::scalar(DType::I32));
    g.push(mb::cast(&go, "bool").name("going")).unwrap()
}

/// Runs a pass on a valid program, which it leaves valid.
#[track_caller]
pub(crate) fn run(pass: &dyn Pass, program: &mut Program) -> Report {
    validate(program).unwrap_or_else(|e| panic!("before: {e}"));
    let mut report = Report::new(pass.name());
    pass.program(program, &Context::default(), &mut report).unwrap_or_else(|e| panic!("{e}"));
    validate(program).unwrap_or_else(|e| panic!("after: {e}\n{program}"));
    report
}

/// The ops of the default function without constants, and without the cast of [`condition`], in order of execution.
pub(crate) fn ops(program: &Program) -> Vec<&'static str> {
    let f = program.main().unwrap();
    let shown = |op: &&crate::ir::Op| !op.def.is_const() && op.name != "going";
    f.walk().into_iter().map(|op| f.op(op)).filter(shown).map(|op| op.def.name).collect()
}

/// The names of the default function's outputs.
pub(crate) fn outputs(program: &Program) -> Vec<&str> {
    let f = program.main().unwrap();
    f.outputs().iter().map(|v| &f.value(*v).name[..]).collect()
}

/// A type of f32.
pub(crate) fn f32s(shape: &[usize]) -> TensorType {
    TensorType::new(DType::F32, shape)
}

/// What parameters of the first op of this name are bound to, all of them constants.
#[track_caller]
pub(crate) fn constants(program: &Program, op: &str, params: &[&str]) -> Vec<Constant> {
    let f = program.main().unwrap();
    let op = f.walk().into_iter().map(|id| f.op(id)).find(|o| o.def.name == op).unwrap();
    let known = |param: &&str| {
        let [Binding::Value(v)] = op.bindings(param) else { panic!("`{param}` is not bound to one value") };
        f.value(*v).known.as_ref().unwrap().constant().unwrap().clone()
    };
    params.iter().map(known).collect()
}
