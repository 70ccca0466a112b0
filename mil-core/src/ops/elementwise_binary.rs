//! Elementwise ops of two operands, with broadcasting.

use crate::{
    op::{Arg, Cx, Infer, Inferred, Op, OpDef, OpError},
    types::Dim,
};
use mil_derive::Op;

use super::{
    fold, rules,
    scalar::{self, Binary},
};

pub(crate) const OPS: &[&OpDef] =
    &[Add::DEF, FloorDiv::DEF, Maximum::DEF, Minimum::DEF, Mod::DEF, Mul::DEF, Pow::DEF, RealDiv::DEF, Sub::DEF];

/// `x + y`.
/// Also written with the operator.
///
/// # Constraints
/// - C1 the shapes broadcast (NumPy's rule).
#[derive(Op, Clone, Debug)]
#[op(name = "add", since = iOS15)]
#[domain(T = F16 | F32 | I32)]
pub struct Add {
    /// The left operand.
    #[dtype(T)]
    pub x: Arg,
    /// The right operand.
    #[dtype(T)]
    pub y: Arg,
}

/// `x / y`, rounded toward negative infinity. For integers: 0 where `y` is 0.
/// Also written `x / y` for integers.
///
/// # Constraints
/// - C1 the shapes broadcast (NumPy's rule).
#[derive(Op, Clone, Debug)]
#[op(name = "floor_div", since = iOS15)]
#[domain(T = F16 | F32 | I32)]
pub struct FloorDiv {
    /// The left operand.
    #[dtype(T)]
    pub x: Arg,
    /// The right operand.
    #[dtype(T)]
    pub y: Arg,
}

/// The greater of `x` and `y`; NaN if either is.
///
/// # Constraints
/// - C1 the shapes broadcast (NumPy's rule).
#[derive(Op, Clone, Debug)]
#[op(name = "maximum", since = iOS15)]
#[domain(T = F16 | F32 | I32)]
pub struct Maximum {
    /// The left operand.
    #[dtype(T)]
    pub x: Arg,
    /// The right operand.
    #[dtype(T)]
    pub y: Arg,
}

/// The smaller of `x` and `y`; NaN if either is.
///
/// # Constraints
/// - C1 the shapes broadcast (NumPy's rule).
#[derive(Op, Clone, Debug)]
#[op(name = "minimum", since = iOS15)]
#[domain(T = F16 | F32 | I32)]
pub struct Minimum {
    /// The left operand.
    #[dtype(T)]
    pub x: Arg,
    /// The right operand.
    #[dtype(T)]
    pub y: Arg,
}

/// What `floor_div` leaves of `x`: it has the sign of `y`. For integers: 0 where `y` is 0.
/// Also written `x % y`.
///
/// # Constraints
/// - C1 the shapes broadcast (NumPy's rule).
#[derive(Op, Clone, Debug)]
#[op(name = "mod", since = iOS15)]
#[domain(T = F16 | F32 | I32)]
pub struct Mod {
    /// The left operand.
    #[dtype(T)]
    pub x: Arg,
    /// The right operand.
    #[dtype(T)]
    pub y: Arg,
}

/// `x * y`.
/// Also written with the operator.
///
/// # Constraints
/// - C1 the shapes broadcast (NumPy's rule).
#[derive(Op, Clone, Debug)]
#[op(name = "mul", since = iOS15)]
#[domain(T = F16 | F32 | I32)]
pub struct Mul {
    /// The left operand.
    #[dtype(T)]
    pub x: Arg,
    /// The right operand.
    #[dtype(T)]
    pub y: Arg,
}

/// `x` to the power of `y`. Integers of a negative power are truncated toward zero (and 0 where `x` is 0).
///
/// # Constraints
/// - C1 the shapes broadcast (NumPy's rule).
#[derive(Op, Clone, Debug)]
#[op(name = "pow", since = iOS15)]
#[domain(T = F16 | F32 | I32)]
pub struct Pow {
    /// The left operand.
    #[dtype(T)]
    pub x: Arg,
    /// The right operand.
    #[dtype(T)]
    pub y: Arg,
}

/// `x / y`. Integers are truncated toward zero, as coremltools does it, and 0 where `y` is 0.
/// Also written `x / y` for floats.
///
/// # Constraints
/// - C1 the shapes broadcast (NumPy's rule).
#[derive(Op, Clone, Debug)]
#[op(name = "real_div", since = iOS15)]
#[domain(T = F16 | F32 | I32)]
pub struct RealDiv {
    /// The left operand.
    #[dtype(T)]
    pub x: Arg,
    /// The right operand.
    #[dtype(T)]
    pub y: Arg,
}

/// `x - y`.
/// Also written with the operator.
///
/// # Constraints
/// - C1 the shapes broadcast (NumPy's rule).
#[derive(Op, Clone, Debug)]
#[op(name = "sub", since = iOS15)]
#[domain(T = F16 | F32 | I32)]
pub struct Sub {
    /// The left operand.
    #[dtype(T)]
    pub x: Arg,
    /// The right operand.
    #[dtype(T)]
    pub y: Arg,
}

macro_rules! meaning {
    ($($op:ident = $f:expr, $i:expr, $d:expr;)*) => {$(
        impl Binary for $op {
            fn float(&self, x: f64, y: f64) -> f64 {
                let f: fn(f64, f64) -> f64 = $f;
                f(x, y)
            }
            fn int(&self, x: i64, y: i64) -> i64 {
                let f: fn(i64, i64) -> i64 = $i;
                f(x, y)
            }
            fn dim(&self, x: &Dim, y: &Dim) -> Option<Dim> {
                let f: fn(&Dim, &Dim) -> Option<Dim> = $d;
                f(x, y)
            }
        }

        impl Infer for $op {
            fn infer(&self, _: &mut Cx<'_>) -> Result<Vec<Inferred>, OpError> {
                let shape = rules::broadcast(self.x.shape(), self.y.shape(), "y")?; // C1
                Ok(vec![Inferred::known(self.x.ty.with_shape(shape), fold::binary(self, &self.x, &self.y))])
            }
        }
    )*};
}

meaning! {
    Add = |x, y| x + y, i64::wrapping_add, |x, y| Some(x.clone() + y.clone());
    FloorDiv = scalar::floor_div, scalar::int_floor_div, scalar::dim_floor_div;
    Maximum = scalar::max, |x, y| x.max(y), |x, y| Some(x.clone().max(y.clone()));
    Minimum = scalar::min, |x, y| x.min(y), |x, y| Some(x.clone().min(y.clone()));
    Mod = scalar::modulo, |x, y| if y == 0 { 0 } else { x - y * scalar::int_floor_div(x, y) }, |x, y| {
        let quotient = scalar::dim_floor_div(x, y);
        let below = x.at_least(0) && (y.clone() - x.clone()).at_least(1);
        if below { Some(x.clone()) } else { Some(x.clone() - y.clone() * quotient?) }
    };
    Mul = |x, y| x * y, i64::wrapping_mul, |x, y| Some(x.clone() * y.clone());
    Pow = f64::powf, int_pow, |x, y| match (x.value(), y.value()) {
        (Some(0), Some(..0)) => None,
        (Some(x), Some(y @ 0..)) => Some(Dim::from(x.checked_pow(y.try_into().ok()?)?)),
        (Some(x), Some(y)) => Some(Dim::from(int_pow(x, y))),
        (None, Some(y @ 0..=4)) => Some((0..y).fold(Dim::from(1), |n, _| n * x.clone())),
        _ => None,
    };
    RealDiv = |x, y| x / y, scalar::int_div, scalar::dim_div;
    Sub = |x, y| x - y, i64::wrapping_sub, |x, y| Some(x.clone() - y.clone());
}

/// A power modulo 2^64.
fn int_pow(x: i64, y: i64) -> i64 {
    match (x, y) {
        (_, 0..) => {
            // The power of `y`'s bits: only squares are needed, however great it is.
            let (mut power, mut square, mut rest) = (1i64, x, y);
            while rest > 0 {
                if rest & 1 == 1 {
                    power = power.wrapping_mul(square);
                }
                square = square.wrapping_mul(square);
                rest >>= 1;
            }
            power
        }
        (1, _) => 1,
        (-1, _) => 1 - 2 * (y & 1),
        _ => 0,
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
        ops::testing::{fails, infer_in, infers, knows},
        types::Opset,
    };

    #[test]
    fn shapes() {
        infers(|g| mb::add(g.t("Tensor<f32, 2, 1>"), g.t("Tensor<f32, 3>")), "Tensor<f32, 2, 3>");
        infers(|g| mb::pow(g.t("Tensor<f16, N, 4>"), 2.0), "Tensor<f16, N, 4>");
        infers(|g| mb::real_div(g.t("Tensor<i32>"), g.t("Tensor<i32>")), "Tensor<i32>");
        infers(|g| mb::mod_(g.t("Tensor<i32, N>"), g.t("Tensor<i32, 5>")), "Tensor<i32, 5>");
    }

    #[test]
    fn c1_broadcast() {
        fails(|g| mb::sub(g.t("Tensor<f32, 2>"), g.t("Tensor<f32, 3>")), "y", "dimension 0 is 2 against 3");
        fails(|g| mb::floor_div(g.t("Tensor<f32, 2, 4>"), g.t("Tensor<f32, 3, 4>")), "y", "cannot broadcast");
    }

    #[test]
    fn dtypes() {
        fails(|g| mb::mul(g.t("Tensor<bool, 2>"), g.t("Tensor<bool, 2>")), "x", "found Tensor<bool, 2>");
        fails(|g| mb::maximum(g.t("Tensor<f32, 2>"), g.t("Tensor<i32, 2>")), "y", "same dtype");
    }

    #[test]
    fn known_integers() {
        knows(|g| mb::add(g.c(Constant::vector(&[1i32, 2])), 10), "[11, 12]");
        knows(|g| mb::sub(g.c(Constant::scalar(1i32)), 3), "[-2]");
        knows(|g| mb::mul(g.c(Constant::vector(&[1i32, -2])), [3, 4]), "[3, -8]");
        knows(|g| mb::floor_div(g.c(Constant::vector(&[-7i32, 7])), 2), "[-4, 3]");
        knows(|g| mb::real_div(g.c(Constant::vector(&[-7i32, 7])), 2), "[-3, 3]");
        knows(|g| mb::mod_(g.c(Constant::vector(&[-7i32, 7])), [2, -2]), "[1, -1]");
        knows(|g| mb::maximum(g.c(Constant::vector(&[-7i32, 7])), 2), "[2, 7]");
        knows(|g| mb::minimum(g.c(Constant::vector(&[-7i32, 7])), 2), "[-7, 2]");
        knows(|g| mb::pow(g.c(Constant::vector(&[-3i32, 1, 2])), [3, -1, -1]), "[-27, 1, 0]");
    }

    /// Not in i32, or no number at all: unknown.
    #[test]
    fn what_does_not_fit_is_unknown() {
        fn unknown<O: Op>(x: i32, y: i32, call: fn(Value, i32) -> Call<O>) {
            let out = infer_in(Opset::iOS18, |g| call(g.c(Constant::scalar(x)), y)).unwrap();
            assert_eq!(out[0].known(), None, "{}", O::DEF.name);
        }
        unknown(i32::MAX, 1, mb::add);
        unknown(i32::MIN, -1, mb::mul);
        unknown(1, 0, mb::floor_div);
        unknown(i32::MIN, -1, mb::floor_div);
        unknown(1, 0, mb::real_div);
        unknown(1, 0, mb::mod_);
        unknown(10, 30, mb::pow);
        unknown(0, -1, mb::pow);
    }

    #[test]
    fn known_floats_are_rounded_once() {
        let value = |x: Constant, y: Constant| {
            let out = infer_in(Opset::iOS18, |g| mb::real_div(g.c(x), g.c(y))).unwrap();
            out[0].known().and_then(|k| k.constant()).cloned()
        };
        assert_eq!(value(Constant::scalar(1f32), Constant::scalar(3f32)), Some(Constant::scalar(1f32 / 3.0)));
        let f16 = half::f16::from_f32;
        let third = Constant::scalar(f16(1.0 / 3.0));
        assert_eq!(value(Constant::scalar(f16(1.0)), Constant::scalar(f16(3.0))), Some(third));
        assert_eq!(value(Constant::scalar(1f32), Constant::scalar(0f32)), Some(Constant::scalar(f32::INFINITY)));
        let large = Constant::new([1025], &[1f32; 1025]).unwrap();
        assert_eq!(value(large, Constant::scalar(1f32)), None);
        let wide = |shape: [usize; 2]| Constant::new(shape, &[1f32; 40]).unwrap();
        assert_eq!(value(wide([40, 1]), wide([1, 40])), None);
    }

    /// What inference says of integers is what kernels compute.
    #[test]
    fn folding_agrees_with_the_integers() {
        fn agree(op: &impl Binary) {
            for x in (-9i64..=9).chain([1 << 20, i32::MAX.into(), i32::MIN.into()]) {
                for y in (-9i64..=9).chain([31, i32::MAX.into(), i32::MIN.into()]) {
                    let Some(dim) = op.dim(&Dim::from(x), &Dim::from(y)).and_then(|d| d.value()) else { continue };
                    assert_eq!(dim, op.int(x, y), "{x} {y}");
                }
            }
        }
        let arg = || Arg { id: None, ty: "Tensor<i32>".parse().unwrap(), known: None, is_const: false };
        agree(&Add { x: arg(), y: arg() });
        agree(&FloorDiv { x: arg(), y: arg() });
        agree(&Maximum { x: arg(), y: arg() });
        agree(&Minimum { x: arg(), y: arg() });
        agree(&Mod { x: arg(), y: arg() });
        agree(&Mul { x: arg(), y: arg() });
        agree(&Pow { x: arg(), y: arg() });
        agree(&RealDiv { x: arg(), y: arg() });
        agree(&Sub { x: arg(), y: arg() });
    }
}
