//! Elementwise comparisons and logic of two operands, with broadcasting. The result is of bools.

use crate::{
    op::{Arg, Cx, Infer, Inferred, Op, OpDef, OpError},
    types::{DType, Dim, TensorType},
};
use mil_derive::Op;

use super::{fold, rules, scalar::Compare};

pub(crate) const OPS: &[&OpDef] = &[
    Equal::DEF,
    Greater::DEF,
    GreaterEqual::DEF,
    Less::DEF,
    LessEqual::DEF,
    LogicalAnd::DEF,
    LogicalOr::DEF,
    LogicalXor::DEF,
    NotEqual::DEF,
];

/// Whether `x` is `y`. False if either is NaN.
/// Also written `x == y`.
///
/// # Constraints
/// - C1 the shapes broadcast (NumPy's rule).
#[derive(Op, Clone, Debug)]
#[op(name = "equal", since = iOS15)]
#[domain(T = F16 | F32 | I32)]
pub struct Equal {
    /// The left operand.
    #[dtype(T)]
    pub x: Arg,
    /// The right operand.
    #[dtype(T)]
    pub y: Arg,
}

/// Whether `x` is greater than `y`. False if either is NaN.
/// Also written `x > y`.
///
/// # Constraints
/// - C1 the shapes broadcast (NumPy's rule).
#[derive(Op, Clone, Debug)]
#[op(name = "greater", since = iOS15)]
#[domain(T = F16 | F32 | I32)]
pub struct Greater {
    /// The left operand.
    #[dtype(T)]
    pub x: Arg,
    /// The right operand.
    #[dtype(T)]
    pub y: Arg,
}

/// Whether `x` is `y` or greater. False if either is NaN.
/// Also written `x >= y`.
///
/// # Constraints
/// - C1 the shapes broadcast (NumPy's rule).
#[derive(Op, Clone, Debug)]
#[op(name = "greater_equal", since = iOS15)]
#[domain(T = F16 | F32 | I32)]
pub struct GreaterEqual {
    /// The left operand.
    #[dtype(T)]
    pub x: Arg,
    /// The right operand.
    #[dtype(T)]
    pub y: Arg,
}

/// Whether `x` is less than `y`. False if either is NaN.
/// Also written `x < y`.
///
/// # Constraints
/// - C1 the shapes broadcast (NumPy's rule).
#[derive(Op, Clone, Debug)]
#[op(name = "less", since = iOS15)]
#[domain(T = F16 | F32 | I32)]
pub struct Less {
    /// The left operand.
    #[dtype(T)]
    pub x: Arg,
    /// The right operand.
    #[dtype(T)]
    pub y: Arg,
}

/// Whether `x` is `y` or less. False if either is NaN.
/// Also written `x <= y`.
///
/// # Constraints
/// - C1 the shapes broadcast (NumPy's rule).
#[derive(Op, Clone, Debug)]
#[op(name = "less_equal", since = iOS15)]
#[domain(T = F16 | F32 | I32)]
pub struct LessEqual {
    /// The left operand.
    #[dtype(T)]
    pub x: Arg,
    /// The right operand.
    #[dtype(T)]
    pub y: Arg,
}

/// Whether both `x` and `y` are true.
/// Also written `x && y`.
///
/// # Constraints
/// - C1 the shapes broadcast (NumPy's rule).
#[derive(Op, Clone, Debug)]
#[op(name = "logical_and", since = iOS15)]
#[domain(T = Bool)]
pub struct LogicalAnd {
    /// The left operand.
    #[dtype(T)]
    pub x: Arg,
    /// The right operand.
    #[dtype(T)]
    pub y: Arg,
}

/// Whether `x` or `y` is true.
/// Also written `x || y`.
///
/// # Constraints
/// - C1 the shapes broadcast (NumPy's rule).
#[derive(Op, Clone, Debug)]
#[op(name = "logical_or", since = iOS15)]
#[domain(T = Bool)]
pub struct LogicalOr {
    /// The left operand.
    #[dtype(T)]
    pub x: Arg,
    /// The right operand.
    #[dtype(T)]
    pub y: Arg,
}

/// Whether one of `x` and `y` is true and the other is not.
/// Also written `x ^ y`.
///
/// # Constraints
/// - C1 the shapes broadcast (NumPy's rule).
#[derive(Op, Clone, Debug)]
#[op(name = "logical_xor", since = iOS15)]
#[domain(T = Bool)]
pub struct LogicalXor {
    /// The left operand.
    #[dtype(T)]
    pub x: Arg,
    /// The right operand.
    #[dtype(T)]
    pub y: Arg,
}

/// Whether `x` is not `y`. True if either is NaN.
/// Also written `x != y`.
///
/// # Constraints
/// - C1 the shapes broadcast (NumPy's rule).
#[derive(Op, Clone, Debug)]
#[op(name = "not_equal", since = iOS15)]
#[domain(T = F16 | F32 | I32)]
pub struct NotEqual {
    /// The left operand.
    #[dtype(T)]
    pub x: Arg,
    /// The right operand.
    #[dtype(T)]
    pub y: Arg,
}

macro_rules! meaning {
    ($($op:ident = $f:expr, $d:expr;)*) => {$(
        impl Compare for $op {
            fn holds(&self, x: f64, y: f64) -> bool {
                let f: fn(f64, f64) -> bool = $f;
                f(x, y)
            }
            fn dim(&self, x: &Dim, y: &Dim) -> Option<bool> {
                let f: fn(&Dim, &Dim) -> Option<bool> = $d;
                f(x, y)
            }
        }

        impl Infer for $op {
            fn infer(&self, _: &mut Cx<'_>) -> Result<Vec<Inferred>, OpError> {
                let shape = rules::broadcast(self.x.shape(), self.y.shape(), "y")?; // C1
                let ty = TensorType::new(DType::Bool, shape);
                Ok(vec![Inferred::known(ty, fold::compare(self, &self.x, &self.y))])
            }
        }
    )*};
}

meaning! {
    Equal = |x, y| x == y, same;
    Greater = |x, y| x > y, exceeds;
    GreaterEqual = |x, y| x >= y, |x, y| exceeds(y, x).map(|g| !g);
    Less = |x, y| x < y, |x, y| exceeds(y, x);
    LessEqual = |x, y| x <= y, |x, y| exceeds(x, y).map(|g| !g);
    LogicalAnd = |x, y| x != 0.0 && y != 0.0, |x, y| Some(x.value()? != 0 && y.value()? != 0);
    LogicalOr = |x, y| x != 0.0 || y != 0.0, |x, y| Some(x.value()? != 0 || y.value()? != 0);
    LogicalXor = |x, y| (x != 0.0) != (y != 0.0), |x, y| Some((x.value()? != 0) != (y.value()? != 0));
    NotEqual = |x, y| x != y, |x, y| same(x, y).map(|e| !e);
}

fn same(x: &Dim, y: &Dim) -> Option<bool> {
    if x == y { Some(true) } else { (!x.may_equal(y)).then_some(false) }
}

fn exceeds(x: &Dim, y: &Dim) -> Option<bool> {
    match (x.clone() - y.clone()).bounds() {
        (Some(1..), _) => Some(true),
        (_, Some(..=0)) => Some(false),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        graph::Value,
        ir::Constant,
        mb,
        op::Call,
        ops::testing::{fails, infer_in, infers},
        types::Opset,
    };

    #[test]
    fn shapes() {
        infers(|g| mb::less(g.t("Tensor<f16, 2, 1>"), g.t("Tensor<f16, N>")), "Tensor<bool, 2, N>");
        infers(|g| mb::equal(g.t("Tensor<i32>"), 3), "Tensor<bool>");
        infers(|g| mb::logical_xor(g.t("Tensor<bool, 4>"), true), "Tensor<bool, 4>");
    }

    #[test]
    fn c1_broadcast() {
        fails(|g| mb::greater(g.t("Tensor<f32, 2>"), g.t("Tensor<f32, 3>")), "y", "dimension 0 is 2 against 3");
        fails(|g| mb::logical_or(g.t("Tensor<bool, 2>"), g.t("Tensor<bool, 3>")), "y", "cannot broadcast");
    }

    #[test]
    fn dtypes() {
        fails(|g| mb::less(g.t("Tensor<bool, 2>"), g.t("Tensor<bool, 2>")), "x", "found Tensor<bool, 2>");
        fails(|g| mb::logical_and(g.t("Tensor<i32, 2>"), g.t("Tensor<i32, 2>")), "x", "must be of bool");
        fails(|g| mb::less(g.t("Tensor<f32, 2>"), g.t("Tensor<f16, 2>")), "y", "same dtype");
    }

    #[track_caller]
    fn gives<O: Op>(x: Constant, y: Constant, call: fn(Value, Value) -> Call<O>, expected: &[bool]) {
        let out = infer_in(Opset::iOS18, |g| call(g.c(x), g.c(y))).unwrap();
        assert_eq!(out[0].known().and_then(|k| k.constant()), Some(&Constant::vector(expected)), "{}", O::DEF.name);
    }

    #[test]
    fn known_values() {
        let (x, y) = (|| Constant::vector(&[1i32, 2, 3]), || Constant::vector(&[2i32, 2, 2]));
        gives(x(), y(), mb::equal, &[false, true, false]);
        gives(x(), y(), mb::not_equal, &[true, false, true]);
        gives(x(), y(), mb::greater, &[false, false, true]);
        gives(x(), y(), mb::greater_equal, &[false, true, true]);
        gives(x(), y(), mb::less, &[true, false, false]);
        gives(x(), y(), mb::less_equal, &[true, true, false]);
        let (x, y) = (|| Constant::vector(&[f32::NAN, 0.0]), || Constant::vector(&[f32::NAN, -0.0]));
        gives(x(), y(), mb::equal, &[false, true]);
        gives(x(), y(), mb::not_equal, &[true, false]);
        gives(x(), y(), mb::greater_equal, &[false, true]);
        gives(x(), y(), mb::less_equal, &[false, true]);
        gives(x(), y(), mb::less, &[false, false]);
        let (x, y) =
            (|| Constant::vector(&[false, false, true, true]), || Constant::vector(&[false, true, false, true]));
        gives(x(), y(), mb::logical_and, &[false, false, false, true]);
        gives(x(), y(), mb::logical_or, &[false, true, true, true]);
        gives(x(), y(), mb::logical_xor, &[false, true, true, false]);
    }
}
