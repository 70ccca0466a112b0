//! How the passes' tests speak: a program in, its ops out.

use super::{Context, Pass, Report};
use crate::{
    graph::{Graph, Value},
    ir::Program,
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
