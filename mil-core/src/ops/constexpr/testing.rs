//! How the tests of `constexpr_` ops speak.

use crate::{
    graph::Graph,
    ir::Constant,
    op::{Call, Op},
    types::{DType, Opset},
};

/// Integers of a dtype.
pub(super) fn ints(dtype: DType, shape: &[usize], values: &[i64]) -> Constant {
    Constant::integers(dtype, shape, values).unwrap()
}

/// The outputs of an op on constants.
#[track_caller]
pub(super) fn unpack<O: Op>(opset: Opset, call: Call<O>) -> Vec<Constant> {
    let mut g = Graph::new("main", opset);
    let outputs = g.push_op(O::DEF, call.operands, None, None).unwrap_or_else(|e| panic!("{e}"));
    let f = g.function();
    let op = f.walk().into_iter().map(|o| f.op(o)).find(|o| o.def.is_constexpr()).unwrap();
    let constants = f.materialize(op, &|_| None).unwrap_or_else(|e| panic!("{e}"));
    for (constant, value) in constants.iter().zip(&outputs) {
        assert_eq!(&crate::types::Type::from(constant.ty()), value.ty());
        assert!(value.known().is_none() && f.value(value.id()).is_const);
    }
    assert_eq!(constants.len(), outputs.len());
    constants
}
