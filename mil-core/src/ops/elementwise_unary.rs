//! Elementwise ops of one operand. The result has the operand's type.

use half::f16;

use crate::{
    op::{Arg, Cx, Infer, Inferred, Op, OpDef, OpError},
    types::{DType, Dim, Opset},
};
use mil_derive::Op;

use super::{
    fold,
    scalar::{self, Unary},
};

pub(crate) const OPS: &[&OpDef] = &[
    Abs::DEF,
    Acos::DEF,
    Asin::DEF,
    Atan::DEF,
    Atanh::DEF,
    Ceil::DEF,
    Clip::DEF,
    Cos::DEF,
    Cosh::DEF,
    Erf::DEF,
    Exp::DEF,
    Exp2::DEF,
    Floor::DEF,
    Inverse::DEF,
    Log::DEF,
    LogicalNot::DEF,
    Round::DEF,
    Rsqrt::DEF,
    Sign::DEF,
    Sin::DEF,
    Sinh::DEF,
    Sqrt::DEF,
    Square::DEF,
    Tan::DEF,
    Tanh::DEF,
    Threshold::DEF,
];

/// `|x|`. The least i32 has none and stays as it is.
#[derive(Op, Clone, Debug)]
#[op(name = "abs", since = iOS15)]
#[domain(T = F16 | F32 | I32)]
pub struct Abs {
    /// The operand.
    #[dtype(T)]
    pub x: Arg,
}

/// The angle in `[0, π]` whose cosine is `x`; NaN outside `[-1, 1]`.
#[derive(Op, Clone, Debug)]
#[op(name = "acos", since = iOS15)]
#[domain(T = F16 | F32)]
pub struct Acos {
    /// The operand.
    #[dtype(T)]
    pub x: Arg,
}

/// The angle in `[-π/2, π/2]` whose sine is `x`; NaN outside `[-1, 1]`.
#[derive(Op, Clone, Debug)]
#[op(name = "asin", since = iOS15)]
#[domain(T = F16 | F32)]
pub struct Asin {
    /// The operand.
    #[dtype(T)]
    pub x: Arg,
}

/// The angle in `(-π/2, π/2)` whose tangent is `x`.
#[derive(Op, Clone, Debug)]
#[op(name = "atan", since = iOS15)]
#[domain(T = F16 | F32)]
pub struct Atan {
    /// The operand.
    #[dtype(T)]
    pub x: Arg,
}

/// The inverse hyperbolic tangent; infinite at -1 and 1, NaN outside.
#[derive(Op, Clone, Debug)]
#[op(name = "atanh", since = iOS15)]
#[domain(T = F16 | F32)]
pub struct Atanh {
    /// The operand.
    #[dtype(T)]
    pub x: Arg,
}

/// The least integer that is not less than `x`.
#[derive(Op, Clone, Debug)]
#[op(name = "ceil", since = iOS15)]
#[domain(T = F16 | F32)]
pub struct Ceil {
    /// The operand.
    #[dtype(T)]
    pub x: Arg,
}

/// `x`, but `alpha` where it is less and `beta` where it is greater.
///
/// # Constraints
/// - C1 `alpha` is less than `beta`; before iOS17 it may be equal. (coremltools takes any two numbers before iOS17; nothing
///   is both at least the greater and at most the smaller.)
#[derive(Op, Clone, Debug)]
#[op(name = "clip", since = iOS15)]
#[domain(T = F16 | F32)]
pub struct Clip {
    /// The operand.
    #[dtype(T)]
    pub x: Arg,
    /// The least result.
    #[dtype(T)]
    pub alpha: f32,
    /// The greatest result.
    #[dtype(T)]
    pub beta: f32,
}

/// The cosine of `x` radians.
#[derive(Op, Clone, Debug)]
#[op(name = "cos", since = iOS15)]
#[domain(T = F16 | F32)]
pub struct Cos {
    /// The operand.
    #[dtype(T)]
    pub x: Arg,
}

/// The hyperbolic cosine.
#[derive(Op, Clone, Debug)]
#[op(name = "cosh", since = iOS15)]
#[domain(T = F16 | F32)]
pub struct Cosh {
    /// The operand.
    #[dtype(T)]
    pub x: Arg,
}

/// The error function, `2 / sqrt(π)` times the integral of `exp(-t²)` from 0 to `x`.
#[derive(Op, Clone, Debug)]
#[op(name = "erf", since = iOS15)]
#[domain(T = F16 | F32)]
pub struct Erf {
    /// The operand.
    #[dtype(T)]
    pub x: Arg,
}

/// `e` to the power of `x`.
#[derive(Op, Clone, Debug)]
#[op(name = "exp", since = iOS15)]
#[domain(T = F16 | F32)]
pub struct Exp {
    /// The operand.
    #[dtype(T)]
    pub x: Arg,
}

/// 2 to the power of `x`. For integers: 0 if `x` is negative.
#[derive(Op, Clone, Debug)]
#[op(name = "exp2", since = iOS15)]
#[domain(T = F16 | F32 | I32)]
pub struct Exp2 {
    /// The operand.
    #[dtype(T)]
    pub x: Arg,
}

/// The greatest integer that is not greater than `x`.
#[derive(Op, Clone, Debug)]
#[op(name = "floor", since = iOS15)]
#[domain(T = F16 | F32)]
pub struct Floor {
    /// The operand.
    #[dtype(T)]
    pub x: Arg,
}

/// `1 / (x + epsilon)`.
#[derive(Op, Clone, Debug)]
#[op(name = "inverse", since = iOS15)]
#[domain(T = F16 | F32)]
#[domain(U = F16 | F32)]
pub struct Inverse {
    /// The operand.
    #[dtype(T)]
    pub x: Arg,
    /// Added to `x` first. Default: 1e-4, rounded to the dtype of `x`.
    #[dtype(T, iOS17 = U)]
    #[default(epsilon(&x, 1e-4))]
    pub epsilon: f32,
}

/// The natural logarithm of `x + epsilon`.
#[derive(Op, Clone, Debug)]
#[op(name = "log", since = iOS15)]
#[domain(T = F16 | F32)]
#[domain(U = F16 | F32)]
pub struct Log {
    /// The operand.
    #[dtype(T)]
    pub x: Arg,
    /// Added to `x` first. Default: 1e-45, rounded to the dtype of `x` (to 0 for f16).
    #[dtype(T, iOS17 = U)]
    #[default(epsilon(&x, 1e-45))]
    pub epsilon: f32,
}

/// Whether `x` is false. Also written `!x`.
#[derive(Op, Clone, Debug)]
#[op(name = "logical_not", since = iOS15)]
pub struct LogicalNot {
    /// A bool.
    #[dtype(Bool)]
    pub x: Arg,
}

/// The nearest integer; of two, the even one.
#[derive(Op, Clone, Debug)]
#[op(name = "round", since = iOS15)]
#[domain(T = F16 | F32)]
pub struct Round {
    /// The operand.
    #[dtype(T)]
    pub x: Arg,
}

/// `1 / sqrt(x + epsilon)`.
#[derive(Op, Clone, Debug)]
#[op(name = "rsqrt", since = iOS15)]
#[domain(T = F16 | F32)]
#[domain(U = F16 | F32)]
pub struct Rsqrt {
    /// The operand.
    #[dtype(T)]
    pub x: Arg,
    /// Added to `x` first. Default: 1e-12, rounded to the dtype of `x` (to 0 for f16).
    #[dtype(T, iOS17 = U)]
    #[default(epsilon(&x, 1e-12))]
    pub epsilon: f32,
}

/// -1, 0 or 1, as `x` is negative, zero or positive; NaN of NaN.
#[derive(Op, Clone, Debug)]
#[op(name = "sign", since = iOS15)]
#[domain(T = F16 | F32 | I32)]
pub struct Sign {
    /// The operand.
    #[dtype(T)]
    pub x: Arg,
}

/// The sine of `x` radians.
#[derive(Op, Clone, Debug)]
#[op(name = "sin", since = iOS15)]
#[domain(T = F16 | F32)]
pub struct Sin {
    /// The operand.
    #[dtype(T)]
    pub x: Arg,
}

/// The hyperbolic sine.
#[derive(Op, Clone, Debug)]
#[op(name = "sinh", since = iOS15)]
#[domain(T = F16 | F32)]
pub struct Sinh {
    /// The operand.
    #[dtype(T)]
    pub x: Arg,
}

/// The square root; NaN of negative numbers.
#[derive(Op, Clone, Debug)]
#[op(name = "sqrt", since = iOS15)]
#[domain(T = F16 | F32)]
pub struct Sqrt {
    /// The operand.
    #[dtype(T)]
    pub x: Arg,
}

/// `x * x`.
#[derive(Op, Clone, Debug)]
#[op(name = "square", since = iOS15)]
#[domain(T = F16 | F32 | I32)]
pub struct Square {
    /// The operand.
    #[dtype(T)]
    pub x: Arg,
}

/// The tangent of `x` radians.
#[derive(Op, Clone, Debug)]
#[op(name = "tan", since = iOS15)]
#[domain(T = F16 | F32)]
pub struct Tan {
    /// The operand.
    #[dtype(T)]
    pub x: Arg,
}

/// The hyperbolic tangent.
#[derive(Op, Clone, Debug)]
#[op(name = "tanh", since = iOS15)]
#[domain(T = F16 | F32)]
pub struct Tanh {
    /// The operand.
    #[dtype(T)]
    pub x: Arg,
}

/// `x`, but `alpha` where it is less.
#[derive(Op, Clone, Debug)]
#[op(name = "threshold", since = iOS15)]
#[domain(T = F16 | F32 | I32)]
pub struct Threshold {
    /// The operand.
    #[dtype(T)]
    pub x: Arg,
    /// The least result.
    #[dtype(T)]
    pub alpha: f64,
}

/// A default for `epsilon`, as a number of the dtype of `x`.
fn epsilon(x: &Arg, value: f32) -> f32 {
    if x.dtype() == DType::F16 { f16::from_f32(value).to_f32() } else { value }
}

/// Ops of floats alone.
macro_rules! floats {
    ($($op:ident = $f:expr;)*) => {$(
        impl Unary for $op {
            fn float(&self, x: f64) -> f64 {
                let f: fn(f64) -> f64 = $f;
                f(x)
            }
        }
    )*};
}

floats! {
    Acos = f64::acos;
    Asin = f64::asin;
    Atan = f64::atan;
    Atanh = f64::atanh;
    Ceil = f64::ceil;
    Cos = f64::cos;
    Cosh = f64::cosh;
    Erf = libm::erf;
    Exp = f64::exp;
    Floor = f64::floor;
    Round = f64::round_ties_even;
    Sin = f64::sin;
    Sinh = f64::sinh;
    Sqrt = f64::sqrt;
    Tan = f64::tan;
    Tanh = f64::tanh;
}

/// Ops of floats and integers; what they make of symbols comes last.
macro_rules! numbers {
    ($($op:ident = $f:expr, $i:expr, $d:expr;)*) => {$(
        impl Unary for $op {
            fn float(&self, x: f64) -> f64 {
                let f: fn(f64) -> f64 = $f;
                f(x)
            }
            fn int(&self, x: i64) -> i64 {
                let f: fn(i64) -> i64 = $i;
                f(x)
            }
            fn dim(&self, x: &Dim) -> Option<Dim> {
                let f: fn(&Dim) -> Option<Dim> = $d;
                f(x)
            }
        }
    )*};
}

numbers! {
    Abs = f64::abs, i64::wrapping_abs, |d| {
        let negative = d.bounds().1.is_some_and(|max| max <= 0);
        if d.at_least(0) { Some(d.clone()) } else { negative.then(|| d.clone() * -1) }
    };
    // A bool is 0 or 1, and only a number: no op gives a symbolic bool.
    LogicalNot = |x| f64::from(x == 0.0), |x| i64::from(x == 0), |d| Some(Dim::from(i64::from(d.value()? == 0)));
    Exp2 = f64::exp2,
        |x| u32::try_from(x).map_or(0, |x| 1i64.checked_shl(x).unwrap_or(0)),
        |d| Some(Dim::from(if d.value()? < 0 { 0 } else { 1i64.checked_shl(d.value()?.try_into().ok()?)? }));
    Sign = |x| if x > 0.0 { 1.0 } else if x < 0.0 { -1.0 } else if x == 0.0 { 0.0 } else { x }, i64::signum, |d| {
        if d.at_least(1) { Some(Dim::from(1)) } else { d.value().map(|v| Dim::from(v.signum())) }
    };
    Square = |x| x * x, |x| x.wrapping_mul(x), |d| Some(d.clone() * d.clone());
}

impl Unary for Clip {
    fn float(&self, x: f64) -> f64 {
        scalar::min(scalar::max(x, self.alpha.into()), self.beta.into())
    }
}

impl Unary for Threshold {
    fn float(&self, x: f64) -> f64 {
        scalar::max(x, self.alpha)
    }

    fn dim(&self, x: &Dim) -> Option<Dim> {
        Some(x.clone().max(Dim::from(self.alpha as i64)))
    }
}

impl Unary for Inverse {
    fn float(&self, x: f64) -> f64 {
        1.0 / (x + f64::from(self.epsilon))
    }
}

impl Unary for Log {
    fn float(&self, x: f64) -> f64 {
        (x + f64::from(self.epsilon)).ln()
    }
}

impl Unary for Rsqrt {
    fn float(&self, x: f64) -> f64 {
        1.0 / (x + f64::from(self.epsilon)).sqrt()
    }
}

impl Infer for Clip {
    fn infer(&self, cx: &mut Cx<'_>) -> Result<Vec<Inferred>, OpError> {
        let (alpha, beta) = (self.alpha, self.beta);
        let fits = if cx.opset >= Opset::iOS17 { alpha < beta } else { alpha <= beta };
        if !fits {
            let message = format!("`alpha` must be less than `beta`, found {alpha} and {beta}"); // C1
            return Err(OpError::at("alpha", message));
        }
        elementwise(self, &self.x)
    }
}

/// The result of an elementwise op: the operand's type.
fn elementwise(op: &impl Unary, x: &Arg) -> Result<Vec<Inferred>, OpError> {
    Ok(vec![Inferred::known(x.ty.clone(), fold::unary(op, x))])
}

macro_rules! infer {
    ($($op:ident),* $(,)?) => {$(
        impl Infer for $op {
            fn infer(&self, _: &mut Cx<'_>) -> Result<Vec<Inferred>, OpError> {
                elementwise(self, &self.x)
            }
        }
    )*};
}

infer!(
    Abs, Acos, Asin, Atan, Atanh, Ceil, Cos, Cosh, Erf, Exp, Exp2, Floor, Inverse, Log, LogicalNot, Round, Rsqrt, Sign,
    Sin, Sinh, Sqrt, Square, Tan, Tanh, Threshold,
);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        ir::Constant,
        mb,
        op::Call,
        ops::testing::{Test, fails, fails_in, infer_in, infers, knows},
    };

    #[test]
    fn shapes() {
        infers(|g| mb::sqrt(g.t("Tensor<f16, N, 3>")), "Tensor<f16, N, 3>");
        infers(|g| mb::abs(g.t("Tensor<i32>")), "Tensor<i32>");
        infers(|g| mb::logical_not(g.t("Tensor<bool, 2>")), "Tensor<bool, 2>");
        infers(|g| mb::clip(g.t("Tensor<f16, 2>"), 0.0, 6.0), "Tensor<f16, 2>");
        infers(|g| mb::threshold(g.t("Tensor<i32, 2>"), 3), "Tensor<i32, 2>");
        infers(|g| mb::log(g.t("Tensor<f32, 2>")).epsilon(1e-3), "Tensor<f32, 2>");
    }

    #[test]
    fn dtypes() {
        fails(|g| mb::sqrt(g.t("Tensor<i32, 2>")), "x", "must be of f16 or f32");
        fails(|g| mb::logical_not(g.t("Tensor<f32, 2>")), "x", "must be of bool");
        fails(|g| mb::clip(g.t("Tensor<i32, 2>"), 0, 1), "x", "must be of f16 or f32");
    }

    #[test]
    fn clip_c1_order() {
        fn clip(g: &mut Test, alpha: f32, beta: f32) -> Call<Clip> {
            mb::clip(g.t("Tensor<f32, 2>"), alpha, beta)
        }
        fails(|g| clip(g, 1.0, 1.0), "alpha", "less than `beta`, found 1 and 1");
        fails(|g| clip(g, f32::NAN, 1.0), "alpha", "less than `beta`");
        fails_in(Opset::iOS16, |g| clip(g, 2.0, 1.0), "alpha", "less than `beta`");
        assert!(infer_in(Opset::iOS16, |g| clip(g, 1.0, 1.0)).is_ok());
    }

    #[test]
    fn constants_and_their_dtypes() {
        let epsilon = |g: &mut Test| mb::rsqrt(g.t("Tensor<f16, 2>")).epsilon(g.c(Constant::scalar(0f32)));
        fails_in(Opset::iOS16, epsilon, "epsilon", "same dtype");
        infers(epsilon, "Tensor<f16, 2>");
        fails(|g| mb::threshold(g.t("Tensor<f32, 2>"), g.t("Tensor<f32>")), "alpha", "must be a constant");
        fails(|g| mb::threshold(g.t("Tensor<f32, 2>"), [1.0, 2.0]), "alpha", "must be one number");
    }

    #[test]
    fn default_epsilons_are_of_the_operands_dtype() {
        let default = |ty: &str| {
            let x = Arg { id: None, ty: ty.parse().unwrap(), known: None, is_const: false };
            (epsilon(&x, 1e-4), epsilon(&x, 1e-45), epsilon(&x, 1e-12))
        };
        assert_eq!(default("Tensor<f32>"), (1e-4, f32::from_bits(1), 1e-12));
        assert_eq!(default("Tensor<f16>"), (f16::from_f32(1e-4).to_f32(), 0.0, 0.0));
    }

    #[track_caller]
    fn folds<O: Op>(x: Constant, call: fn(crate::graph::Value) -> Call<O>, expected: &[f32]) {
        let out = infer_in(Opset::iOS18, |g| call(g.c(x))).unwrap();
        assert_eq!(out[0].known().and_then(|k| k.constant()), Some(&Constant::vector(expected)));
    }

    #[test]
    fn known_values() {
        let ints = || Constant::vector(&[-2i32, 0, 3]);
        knows(|g| mb::abs(g.c(ints())), "[2, 0, 3]");
        knows(|g| mb::sign(g.c(ints())), "[-1, 0, 1]");
        knows(|g| mb::square(g.c(ints())), "[4, 0, 9]");
        knows(|g| mb::exp2(g.c(ints())), "[0, 1, 8]");
        knows(|g| mb::threshold(g.c(ints()), 1), "[1, 1, 3]");
        knows(|g| mb::logical_not(g.c(Constant::vector(&[true, false]))), "[0, 1]");
        let floats = Constant::vector(&[-2.5f32, 0.5, 1.5]);
        folds(floats.clone(), mb::round, &[-2.0, 0.0, 2.0]);
        folds(floats.clone(), mb::floor, &[-3.0, 0.0, 1.0]);
        folds(floats.clone(), mb::ceil, &[-2.0, 1.0, 2.0]);
        folds(floats.clone(), |x| mb::clip(x, -1.0, 1.0), &[-1.0, 0.5, 1.0]);
        folds(floats, |x| mb::inverse(x).epsilon(0.5), &[-0.5, 1.0, 0.5]);
        folds(Constant::vector(&[2f32, 1e-12]), mb::sqrt, &[2f32.sqrt(), 1e-12f32.sqrt()]);
    }

    /// An i32 without an absolute value, square or power of two in i32 is left unknown.
    #[test]
    fn what_does_not_fit_is_unknown() {
        fn unknown<O: Op>(x: i32, call: fn(crate::graph::Value) -> Call<O>) {
            let out = infer_in(Opset::iOS18, |g| call(g.c(Constant::scalar(x)))).unwrap();
            assert_eq!(out[0].known(), None);
        }
        unknown(i32::MIN, mb::abs);
        unknown(65536, mb::square);
        unknown(31, mb::exp2);
        unknown(i32::MAX, mb::exp2);
    }
}
