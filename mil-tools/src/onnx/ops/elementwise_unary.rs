//! Functions of each element.

use mil_core::{mb, types::DType};

use super::{Entry, Lowered, Node};
use crate::import::literal;

pub(super) const OPS: &[Entry] = &[
    Entry::new("Abs", abs),
    Entry::new("Acos", acos),
    Entry::new("Acosh", acosh),
    Entry::new("Asin", asin),
    Entry::new("Asinh", asinh),
    Entry::new("Atan", atan),
    Entry::new("Atanh", atanh),
    Entry::new("Ceil", ceil),
    Entry::new("Cos", cos),
    Entry::new("Cosh", cosh),
    Entry::new("Erf", erf),
    Entry::new("Exp", exp),
    Entry::new("Floor", floor),
    Entry::new("IsInf", is_inf),
    Entry::new("IsNaN", is_nan),
    Entry::new("Log", log),
    Entry::new("Neg", neg),
    Entry::new("Reciprocal", reciprocal),
    Entry::new("Round", round),
    Entry::new("Sign", sign),
    Entry::new("Sin", sin),
    Entry::new("Sinh", sinh),
    Entry::new("Sqrt", sqrt),
    Entry::new("Tan", tan),
];

/// Ops that MIL has.
macro_rules! same {
    ($($name:ident),*) => {$(
        fn $name(n: &mut Node<'_, '_>) -> Lowered {
            let x = n.input(0)?;
            let y = n.push(mb::$name(&x.value))?;
            let y = n.wrap(&y, x.dtype)?;
            n.one(y, x.dtype)
        }
    )*};
}

same!(abs, acos, asin, atan, atanh, ceil, cos, cosh, erf, exp, floor, round, sign, sin, sinh, sqrt, tan);

/// MIL adds a small number by default.
fn log(n: &mut Node<'_, '_>) -> Lowered {
    let x = n.input(0)?;
    let y = n.push(mb::log(&x.value).epsilon(0.0))?;
    n.one(y, x.dtype)
}

fn reciprocal(n: &mut Node<'_, '_>) -> Lowered {
    let x = n.input(0)?;
    let y = n.push(mb::inverse(&x.value).epsilon(0.0))?;
    n.one(y, x.dtype)
}

fn neg(n: &mut Node<'_, '_>) -> Lowered {
    let x = n.input(0)?;
    let y = n.push(mb::mul(&x.value, literal(x.dtype, -1.0)))?;
    let y = n.wrap(&y, x.dtype)?;
    n.one(y, x.dtype)
}

/// The inverse of `cosh`: near 1 by `2 * atanh(sqrt((x - 1) / (x + 1)))`, which loses nothing there; else by
/// `log(x) + log(1 + sqrt(1 - 1 / x^2))`, which does not overflow. NaN below 1.
fn acosh(n: &mut Node<'_, '_>) -> Lowered {
    let x = n.input(0)?;
    let v = &x.value;
    let below = n.push(mb::sub(v, 1.0))?;
    let above = n.push(mb::add(v, 1.0))?;
    let ratio = n.push(mb::real_div(&below, &above))?;
    let root = n.push(mb::sqrt(&ratio))?;
    let half = n.push(mb::atanh(&root))?;
    let near = n.push(mb::mul(&half, 2.0))?;
    let far = log_of_sum(n, v, -1.0)?;
    let is_near = n.push(mb::less(v, 2.0))?;
    let y = n.push(mb::select(&is_near, &near, &far))?;
    n.one(y, x.dtype)
}

/// The inverse of `sinh`, likewise: near 0 by `atanh(x / sqrt(x^2 + 1))`.
fn asinh(n: &mut Node<'_, '_>) -> Lowered {
    let x = n.input(0)?;
    let size = n.push(mb::abs(&x.value))?;
    let square = n.push(mb::square(&size))?;
    let below = n.push(mb::add(&square, 1.0))?;
    let below = n.push(mb::sqrt(&below))?;
    let ratio = n.push(mb::real_div(&size, &below))?;
    let near = n.push(mb::atanh(&ratio))?;
    let far = log_of_sum(n, &size, 1.0)?;
    let is_near = n.push(mb::less(&size, 0.5))?;
    let y = n.push(mb::select(&is_near, &near, &far))?;
    let sign = n.push(mb::sign(&x.value))?;
    let y = n.push(mb::mul(&y, &sign))?;
    n.one(y, x.dtype)
}

/// `log(x + sqrt(x^2 + one))` for positive `x`, without squares of great numbers.
fn log_of_sum(
    n: &mut Node<'_, '_>,
    x: &mil_core::graph::Value,
    one: f64,
) -> Result<mil_core::graph::Value, crate::import::Refusal> {
    let inverse = n.push(mb::inverse(x).epsilon(0.0))?;
    let square = n.push(mb::square(&inverse))?;
    let square = n.push(mb::mul(&square, one))?;
    let root = n.push(mb::add(&square, 1.0))?;
    let root = n.push(mb::sqrt(&root))?;
    let root = n.push(mb::add(&root, 1.0))?;
    let (first, second) = (n.push(mb::log(x).epsilon(0.0))?, n.push(mb::log(&root).epsilon(0.0))?);
    n.push(mb::add(&first, &second))
}

fn is_nan(n: &mut Node<'_, '_>) -> Lowered {
    let x = n.input(0)?;
    let y = n.push(mb::not_equal(&x.value, &x.value))?;
    n.one(y, DType::Bool)
}

fn is_inf(n: &mut Node<'_, '_>) -> Lowered {
    let x = n.input(0)?;
    let wanted = (n.int_or("detect_negative", 1)? != 0, n.int_or("detect_positive", 1)? != 0);
    let y = match wanted {
        (true, true) => {
            let size = n.push(mb::abs(&x.value))?;
            n.push(mb::equal(&size, f64::INFINITY))?
        }
        (false, true) => n.push(mb::equal(&x.value, f64::INFINITY))?,
        (true, false) => n.push(mb::equal(&x.value, f64::NEG_INFINITY))?,
        (false, false) => n.filled_like(&x.value, DType::Bool, 0.0)?,
    };
    n.one(y, DType::Bool)
}

#[cfg(test)]
mod tests {
    use mil_core::ir::Constant;

    use crate::onnx::testing::Net;

    fn check(op: &str, exact: fn(f64) -> f64, xs: &[f32]) {
        let net = Net::new(13).constant("x", Constant::vector(xs)).node(op, "x", "y", &[]);
        for (x, y) in xs.iter().zip(net.numbers("y")) {
            let want = exact(f64::from(*x));
            assert!((y - want).abs() <= want.abs() * 1e-5, "{op} of {x}: {y}, not {want}");
        }
    }

    #[test]
    fn inverse_hyperbolic_functions_are_exact_near_0_and_far_away() {
        check("Asinh", f64::asinh, &[0.0, 1e-6, -1e-3, 0.3, 0.5, -1.0, 7.0, 1e5, -1e30]);
        check("Acosh", f64::acosh, &[1.0, 1.0001, 1.5, 2.0, 10.0, 1e5, 1e30]);
        let net = Net::new(13).constant("x", Constant::vector(&[0.5f32])).node("Acosh", "x", "y", &[]);
        assert!(net.numbers("y")[0].is_nan());
    }

    #[test]
    fn numbers_are_not_moved_away_from_0() {
        let net = |op| Net::new(13).constant("x", Constant::vector(&[0f32])).node(op, "x", "y", &[]).numbers("y");
        assert_eq!((net("Log"), net("Reciprocal")), (vec![f64::NEG_INFINITY], vec![f64::INFINITY]));
    }

    #[test]
    fn infinities_are_told_apart() {
        let xs = Constant::vector(&[f32::INFINITY, f32::NEG_INFINITY, f32::NAN, f32::MAX]);
        let net = Net::new(13).constant("x", xs.clone()).node("IsInf", "x", "y", &[]);
        assert_eq!(net.numbers("y"), [1.0, 1.0, 0.0, 0.0]);
        let net = Net::new(13).constant("x", xs).node("IsNaN", "x", "y", &[]);
        assert_eq!(net.numbers("y"), [0.0, 0.0, 1.0, 0.0]);
    }
}
