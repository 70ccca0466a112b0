//! How the ops' tests speak: `infers` and `fails`.

use crate::{
    graph::{Graph, Value},
    op::{Call, Op, OpDef, OpError, Operand},
    types::{Opset, TensorType},
};

/// A graph under test; `t("Tensor<f32, 2, H>")` makes an input.
pub(crate) struct Test(pub(crate) Graph);

impl Test {
    pub(crate) fn t(&mut self, ty: &str) -> Value {
        let ty: TensorType = ty.parse().unwrap();
        self.0.input("x", ty)
    }

    /// A value that the program knows: a constant.
    pub(crate) fn c(&mut self, constant: crate::ir::Constant) -> Value {
        self.0.constant("c", constant)
    }

    pub(crate) fn push<O: Op>(&mut self, call: Call<O>) -> Result<Vec<Value>, OpError> {
        self.0.push_op(O::DEF, call.operands, None, None)
    }
}

// What is generic is small: a test is a closure, each its own type, and there are thousands.

/// Infers an op in an opset.
pub(crate) fn infer_in<O: Op>(opset: Opset, call: impl FnOnce(&mut Test) -> Call<O>) -> Result<Vec<Value>, OpError> {
    let mut test = Test(Graph::new("main", opset));
    let operands = call(&mut test).operands;
    push(test, O::DEF, operands)
}

fn push(mut test: Test, def: &'static OpDef, operands: Vec<(&'static str, Operand)>) -> Result<Vec<Value>, OpError> {
    test.0.push_op(def, operands, None, None)
}

/// In the newest opset the op's outputs have these types (several: separated by `; `).
#[track_caller]
pub(crate) fn infers<O: Op>(call: impl FnOnce(&mut Test) -> Call<O>, expected: &str) {
    has_types(infer_in(Opset::iOS18, call), expected);
}

#[track_caller]
fn has_types(inferred: Result<Vec<Value>, OpError>, expected: &str) {
    let outputs = inferred.unwrap_or_else(|e| panic!("{e}"));
    let types: Vec<_> = outputs.iter().map(|v| v.ty().to_string()).collect();
    assert_eq!(types.join("; "), expected);
}

/// In this opset the op is refused, at this parameter, with a message that contains the text.
#[track_caller]
pub(crate) fn fails_in<O: Op>(opset: Opset, call: impl FnOnce(&mut Test) -> Call<O>, param: &str, text: &str) {
    is_refused(infer_in(opset, call), param, text);
}

#[track_caller]
fn is_refused(inferred: Result<Vec<Value>, OpError>, param: &str, text: &str) {
    let error = match inferred {
        Ok(outputs) => panic!("accepted: {:?}", outputs.iter().map(|v| v.ty().clone()).collect::<Vec<_>>()),
        Err(e) => e,
    };
    assert_eq!(error.param.as_deref().unwrap_or(""), param, "{error}");
    assert!(error.to_string().contains(text), "{error}");
}

/// In the newest opset the op is refused; see [`fails_in`].
#[track_caller]
pub(crate) fn fails<O: Op>(call: impl FnOnce(&mut Test) -> Call<O>, param: &str, text: &str) {
    is_refused(infer_in(Opset::iOS18, call), param, text);
}

/// The integers (or symbols) that the op's first output is known to hold, as text.
#[track_caller]
pub(crate) fn knows<O: Op>(call: impl FnOnce(&mut Test) -> Call<O>, expected: &str) {
    holds(infer_in(Opset::iOS18, call), expected);
}

#[track_caller]
fn holds(inferred: Result<Vec<Value>, OpError>, expected: &str) {
    let outputs = inferred.unwrap_or_else(|e| panic!("{e}"));
    let dims = outputs[0].known().and_then(|k| k.dims());
    assert_eq!(format!("{dims:?}"), format!("Some({expected})"));
}

/// For tests of required operands that are given as anything.
#[allow(dead_code)] // not every group of ops needs it
pub(crate) fn operand(v: impl Into<Operand>) -> Operand {
    v.into()
}
