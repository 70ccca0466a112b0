//! How the rules' tests speak: a sound program, broken in one place.

use super::{Diagnostic, validate};
use crate::{
    graph::Graph,
    ir::{Constant, Function, OpId, Program, ValueId},
    mb,
    types::{DType, Dim, Domain, Opset, Symbol, TensorType},
};

/// `y = (x + c) * 2`, with `c` an input of the same type; and an inner `cond`.
pub(super) fn sound() -> Program {
    let mut g = Graph::new("main", Opset::iOS17);
    let h = Symbol::new("H", Domain::Range { min: 8, max: Some(64) });
    let ty = TensorType::new(DType::F32, [Dim::from(2), h.into()]);
    let (x, c) = (g.input("x", ty.clone()), g.input("c", ty));
    let go = g.constant("go", Constant::scalar(true));
    let sum = g.push(mb::add(&x, &c).name("sum")).unwrap();
    let chosen = g.cond(&go, |g| Ok(vec![g.push(mb::mul(&sum, 2.0).name("twice"))?]), |_| Ok(vec![x.clone()])).unwrap();
    let y = g.push(mb::identity(&chosen[0])).unwrap();
    let program = g.finish([("y", y)]).unwrap();
    validate(&program).unwrap_or_else(|e| panic!("{e}"));
    program
}

/// Breaks the sound program; exactly these lines are found.
#[track_caller]
pub(super) fn finds(breaking: impl FnOnce(&mut Function), expected: &[&str]) {
    let mut program = sound();
    breaking(program.functions.get_mut("main").unwrap());
    program_finds(&program, expected);
}

#[track_caller]
pub(super) fn program_finds(program: &Program, expected: &[&str]) {
    let found: Vec<Diagnostic> = validate(program).err().map_or(vec![], |e| e.into_iter().collect());
    let lines: Vec<String> = found
        .into_iter()
        .map(|d| Diagnostic { loc: None, ..d }.to_string())
        .map(|line| line.strip_prefix("function `main`").map(str::to_string).unwrap_or(line))
        .collect();
    assert!(lines.len() == expected.len(), "expected {expected:#?}, found {lines:#?}");
    for (line, expected) in lines.iter().zip(expected) {
        assert!(line.contains(expected), "expected {expected:?}, found {line:?}");
    }
}

/// The op of this name.
#[track_caller]
pub(super) fn op(f: &Function, name: &str) -> OpId {
    f.walk().into_iter().find(|id| f.op(*id).name == name).unwrap()
}

/// The value of this name.
#[track_caller]
pub(super) fn value(f: &Function, name: &str) -> ValueId {
    super::scope::defined(f).into_iter().find(|id| f.value(*id).name == name).unwrap()
}
