//! Functions of each element.

use std::f64::consts::{LN_2, LN_10, PI};

use mil_core::{graph::Value, mb, types::DType};

use super::{Entry, Lowered, Node};
use crate::import::Refusal;

type Function = fn(&mut Node<'_, '_>, &Value) -> Result<Value, Refusal>;

pub(super) const OPS: &[Entry] = &[
    Entry::new("aten::abs", |n| same(n, |n, x| n.push(mb::abs(x)))),
    Entry::new("aten::absolute", |n| same(n, |n, x| n.push(mb::abs(x)))),
    Entry::new("aten::acos", |n| float(n, |n, x| n.push(mb::acos(x)))),
    Entry::new("aten::acosh", |n| float(n, acosh)),
    Entry::new("aten::arccos", |n| float(n, |n, x| n.push(mb::acos(x)))),
    Entry::new("aten::arcsin", |n| float(n, |n, x| n.push(mb::asin(x)))),
    Entry::new("aten::arctan", |n| float(n, |n, x| n.push(mb::atan(x)))),
    Entry::new("aten::asin", |n| float(n, |n, x| n.push(mb::asin(x)))),
    Entry::new("aten::asinh", |n| float(n, asinh)),
    Entry::new("aten::atan", |n| float(n, |n, x| n.push(mb::atan(x)))),
    Entry::new("aten::atanh", |n| float(n, |n, x| n.push(mb::atanh(x)))),
    Entry::new("aten::ceil", |n| whole(n, |n, x| n.push(mb::ceil(x)))),
    Entry::new("aten::cos", |n| float(n, |n, x| n.push(mb::cos(x)))),
    Entry::new("aten::cosh", |n| float(n, |n, x| n.push(mb::cosh(x)))),
    Entry::new("aten::deg2rad", |n| float(n, |n, x| n.push(mb::mul(x, PI / 180.0)))),
    Entry::new("aten::erf", |n| float(n, |n, x| n.push(mb::erf(x)))),
    Entry::new("aten::erfc", |n| float(n, erfc)),
    Entry::new("aten::exp", |n| float(n, |n, x| n.push(mb::exp(x)))),
    Entry::new("aten::exp2", |n| float(n, |n, x| n.push(mb::exp2(x)))),
    Entry::new("aten::expm1", |n| float(n, expm1)),
    Entry::new("aten::floor", |n| whole(n, |n, x| n.push(mb::floor(x)))),
    Entry::new("aten::frac", |n| float(n, frac)),
    Entry::new("aten::isfinite", |n| {
        test(n, |n, x| {
            let size = n.push(mb::abs(x))?;
            n.push(mb::less(&size, f64::INFINITY))
        })
    }),
    Entry::new("aten::isinf", |n| {
        test(n, |n, x| {
            let size = n.push(mb::abs(x))?;
            n.push(mb::equal(&size, f64::INFINITY))
        })
    }),
    Entry::new("aten::isnan", |n| test(n, |n, x| n.push(mb::not_equal(x, x)))),
    Entry::new("aten::log", |n| float(n, |n, x| n.push(mb::log(x)))),
    Entry::new("aten::log10", |n| float(n, |n, x| logarithm(n, x, LN_10))),
    Entry::new("aten::log1p", |n| float(n, log1p)),
    Entry::new("aten::log2", |n| float(n, |n, x| logarithm(n, x, LN_2))),
    Entry::new("aten::logit", logit),
    Entry::new("aten::neg", |n| same(n, negative)),
    Entry::new("aten::negative", |n| same(n, negative)),
    Entry::new("aten::positive", |n| same(n, |_, x| Ok(x.clone()))),
    Entry::new("aten::rad2deg", |n| float(n, |n, x| n.push(mb::mul(x, 180.0 / PI)))),
    Entry::new("aten::reciprocal", |n| float(n, |n, x| n.push(mb::real_div(1.0, x)))),
    Entry::new("aten::round", round),
    Entry::new("aten::rsqrt", |n| float(n, rsqrt)),
    Entry::new("aten::sgn", |n| same(n, |n, x| n.push(mb::sign(x)))),
    Entry::new("aten::sign", |n| same(n, |n, x| n.push(mb::sign(x)))),
    Entry::new("aten::signbit", |n| {
        let x = n.tensor(0, "self")?;
        let zero = n.number_of(x.dtype, 0.0)?;
        let y = n.push(mb::less(&x.value, &zero))?;
        n.one(y, DType::Bool)
    })
    .but("the sign of zero is not seen"),
    Entry::new("aten::sin", |n| float(n, |n, x| n.push(mb::sin(x)))),
    Entry::new("aten::sinc", |n| float(n, sinc)),
    Entry::new("aten::sinh", |n| float(n, |n, x| n.push(mb::sinh(x)))),
    Entry::new("aten::special_expit", |n| float(n, |n, x| n.push(mb::sigmoid(x)))),
    Entry::new("aten::sqrt", |n| float(n, |n, x| n.push(mb::sqrt(x)))),
    Entry::new("aten::square", |n| same(n, |n, x| n.push(mb::square(x)))),
    Entry::new("aten::tan", |n| float(n, |n, x| n.push(mb::tan(x)))),
    Entry::new("aten::tanh", |n| float(n, |n, x| n.push(mb::tanh(x)))),
    Entry::new("aten::trunc", |n| whole(n, trunc)),
    Entry::new("aten::fix", |n| whole(n, trunc)),
];

/// Integers and bools become floats first.
fn float(n: &mut Node<'_, '_>, f: Function) -> Lowered {
    let x = n.float_tensor(0, "self|input")?;
    let y = f(n, &x.value)?;
    n.one(y, x.dtype)
}

/// Integers stay integers, and bools become some.
fn same(n: &mut Node<'_, '_>, f: Function) -> Lowered {
    let mut x = n.tensor(0, "self|input")?;
    if x.dtype == DType::Bool {
        x = n.convert(&x, DType::I64)?;
    }
    let y = f(n, &x.value)?;
    let y = n.wrap(&y, x.dtype)?;
    n.one(y, x.dtype)
}

/// Integers are as they are.
fn whole(n: &mut Node<'_, '_>, f: Function) -> Lowered {
    let x = n.tensor(0, "self|input")?;
    let y = if x.dtype.is_float() { f(n, &x.value)? } else { x.value };
    n.one(y, x.dtype)
}

/// A question about floats; of integers the answer is that for 0.
fn test(n: &mut Node<'_, '_>, f: Function) -> Lowered {
    let x = n.float_tensor(0, "self|input")?;
    let y = f(n, &x.value)?;
    n.one(y, DType::Bool)
}

fn negative(n: &mut Node<'_, '_>, x: &Value) -> Result<Value, Refusal> {
    n.push(mb::mul(x, -1))
}

/// Rounded towards 0.
pub(super) fn trunc(n: &mut Node<'_, '_>, x: &Value) -> Result<Value, Refusal> {
    let size = n.push(mb::abs(x))?;
    let size = n.push(mb::floor(&size))?;
    let sign = n.push(mb::sign(x))?;
    n.push(mb::mul(&sign, &size))
}

fn frac(n: &mut Node<'_, '_>, x: &Value) -> Result<Value, Refusal> {
    let whole = trunc(n, x)?;
    n.push(mb::sub(x, &whole))
}

fn logarithm(n: &mut Node<'_, '_>, x: &Value, of_base: f64) -> Result<Value, Refusal> {
    let y = n.push(mb::log(x))?;
    n.push(mb::mul(&y, 1.0 / of_base))
}

/// MIL adds something to the operand, 1e-12 if nothing else is said; the least float is as good as nothing.
pub(super) fn rsqrt(n: &mut Node<'_, '_>, x: &Value) -> Result<Value, Refusal> {
    let least = if x.dtype() == Some(DType::F16) { 6e-8 } else { 1e-45 };
    n.push(mb::rsqrt(x).epsilon(least))
}

/// `log(x + sqrt(x^2 + 1))`, of the size so that nothing is cancelled.
fn asinh(n: &mut Node<'_, '_>, x: &Value) -> Result<Value, Refusal> {
    // asinh(a) = log1p(a + a^2 / (1 + sqrt(a^2 + 1))), which is exact for small ones too.
    let size = n.push(mb::abs(x))?;
    let square = n.push(mb::square(x))?;
    let root = n.push(mb::add(&square, 1.0))?;
    let root = n.push(mb::sqrt(&root))?;
    let below = n.push(mb::add(&root, 1.0))?;
    let rest = n.push(mb::real_div(&square, &below))?;
    let sum = n.push(mb::add(&size, &rest))?;
    let y = log1p(n, &sum)?;
    let sign = n.push(mb::sign(x))?;
    n.push(mb::mul(&sign, &y))
}

/// `log(x + sqrt(x^2 - 1))`.
fn acosh(n: &mut Node<'_, '_>, x: &Value) -> Result<Value, Refusal> {
    // acosh(x) = log1p(t + sqrt(2 t + t^2)) with t = x - 1, which is exact near 1 too.
    let t = n.push(mb::sub(x, 1.0))?;
    let wide = n.push(mb::add(&t, 2.0))?;
    let root = n.push(mb::mul(&t, &wide))?;
    let root = n.push(mb::sqrt(&root))?;
    let sum = n.push(mb::add(&t, &root))?;
    log1p(n, &sum)
}

/// `log(1 + x)`, which near 0 is `2 * atanh(x / (2 + x))`.
fn log1p(n: &mut Node<'_, '_>, x: &Value) -> Result<Value, Refusal> {
    let plain = n.push(mb::add(x, 1.0))?;
    let plain = n.push(mb::log(&plain))?;
    let size = n.push(mb::abs(x))?;
    let small = n.push(mb::less(&size, 0.5))?;
    // Where it is not near 0 the other branch must not fail.
    let near = n.push(mb::clip(x, -0.5, 0.5))?;
    let below = n.push(mb::add(&near, 2.0))?;
    let near = n.push(mb::real_div(&near, &below))?;
    let near = n.push(mb::atanh(&near))?;
    let near = n.push(mb::mul(&near, 2.0))?;
    n.push(mb::select(&small, &near, &plain))
}

/// `exp(x) - 1`, which near 0 is `2 * t / (1 - t)` with `t = tanh(x / 2)`.
fn expm1(n: &mut Node<'_, '_>, x: &Value) -> Result<Value, Refusal> {
    let plain = n.push(mb::exp(x))?;
    let plain = n.push(mb::sub(&plain, 1.0))?;
    let size = n.push(mb::abs(x))?;
    let small = n.push(mb::less(&size, 0.5))?;
    let near = n.push(mb::clip(x, -0.5, 0.5))?;
    let near = n.push(mb::mul(&near, 0.5))?;
    let t = n.push(mb::tanh(&near))?;
    let above = n.push(mb::mul(&t, 2.0))?;
    let below = n.push(mb::sub(1.0, &t))?;
    let near = n.push(mb::real_div(&above, &below))?;
    n.push(mb::select(&small, &near, &plain))
}

fn erfc(n: &mut Node<'_, '_>, x: &Value) -> Result<Value, Refusal> {
    let y = n.push(mb::erf(x))?;
    n.push(mb::sub(1.0, &y))
}

/// `sin(pi x) / (pi x)`, 1 at 0.
fn sinc(n: &mut Node<'_, '_>, x: &Value) -> Result<Value, Refusal> {
    let angle = n.push(mb::mul(x, PI))?;
    let zero = n.push(mb::equal(x, 0.0))?;
    let one = n.push(mb::cast(&zero, x.dtype().unwrap_or(DType::F32)))?;
    let below = n.push(mb::add(&angle, &one))?;
    let sine = n.push(mb::sin(&angle))?;
    let y = n.push(mb::real_div(&sine, &below))?;
    n.push(mb::add(&y, &one))
}

fn logit(n: &mut Node<'_, '_>) -> Lowered {
    let x = n.float_tensor(0, "self")?;
    let p = match n.float(1, "eps")? {
        Some(eps) if eps >= 0.0 => n.push(mb::clip(&x.value, eps, 1.0 - eps))?,
        _ => x.value.clone(),
    };
    let rest = n.push(mb::sub(1.0, &p))?;
    let odds = n.push(mb::real_div(&p, &rest))?;
    let y = n.push(mb::log(&odds))?;
    n.one(y, x.dtype)
}

/// Halves go to the even neighbour, in MIL as in PyTorch.
fn round(n: &mut Node<'_, '_>) -> Lowered {
    let x = n.tensor(0, "self")?;
    let decimals = n.int_or(1, "decimals", 0)?;
    if !x.dtype.is_float() {
        return n.one(x.value, x.dtype);
    }
    let factor = 10f64.powi(decimals.clamp(-30, 30) as i32);
    let y = if decimals == 0 { x.value } else { n.push(mb::mul(&x.value, factor))? };
    let y = n.push(mb::round(&y))?;
    let y = if decimals == 0 { y } else { n.push(mb::real_div(&y, factor))? };
    n.one(y, x.dtype)
}
