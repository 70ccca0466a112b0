//! Arithmetic of two or more tensors.
//!
//! Results have the dtype that PyTorch's promotion gives. Two numbers that are no tensors make a number.

use mil_core::{graph::Value, mb, types::DType};

use super::{
    Entry, Lowered, Node,
    symbolic::{self, Arithmetic},
    unary::trunc,
};
use crate::{
    import::{Refusal, Tensor},
    torch::val::{Val, result_type},
};

pub(super) const OPS: &[Entry] = &[
    Entry::new("aten::__and__", and),
    Entry::new("aten::__or__", or),
    Entry::new("aten::__xor__", xor),
    Entry::new("aten::add", add),
    Entry::new("aten::addcdiv", addcdiv),
    Entry::new("aten::addcmul", addcmul),
    Entry::new("aten::arctan2", atan2),
    Entry::new("aten::atan2", atan2),
    Entry::new("aten::bitwise_and", and).but("of integers, only where both are known"),
    Entry::new("aten::bitwise_not", not),
    Entry::new("aten::bitwise_or", or).but("of integers, only where both are known"),
    Entry::new("aten::bitwise_xor", xor).but("of integers, only where both are known"),
    Entry::new("aten::div", div),
    Entry::new("aten::divide", div),
    Entry::new("aten::floor_divide", |n| arithmetic(n, Arithmetic::FloorDiv)),
    Entry::new("aten::floordiv", |n| arithmetic(n, Arithmetic::FloorDiv)),
    Entry::new("aten::fmax", |n| arithmetic(n, Arithmetic::Max)).but("NaN is not passed over"),
    Entry::new("aten::fmin", |n| arithmetic(n, Arithmetic::Min)).but("NaN is not passed over"),
    Entry::new("aten::fmod", fmod),
    Entry::new("aten::lerp", lerp),
    Entry::new("aten::logical_and", |n| logical(n, |n, a, b| n.push(mb::logical_and(a, b)))),
    Entry::new("aten::logical_not", logical_not),
    Entry::new("aten::logical_or", |n| logical(n, |n, a, b| n.push(mb::logical_or(a, b)))),
    Entry::new("aten::logical_xor", |n| logical(n, |n, a, b| n.push(mb::logical_xor(a, b)))),
    Entry::new("aten::maximum", |n| arithmetic(n, Arithmetic::Max)),
    Entry::new("aten::minimum", |n| arithmetic(n, Arithmetic::Min)),
    Entry::new("aten::mul", |n| arithmetic(n, Arithmetic::Mul)),
    Entry::new("aten::multiply", |n| arithmetic(n, Arithmetic::Mul)),
    Entry::new("aten::pow", pow),
    Entry::new("aten::remainder", |n| arithmetic(n, Arithmetic::Mod)),
    Entry::new("aten::rsub", rsub),
    Entry::new("aten::sub", sub),
    Entry::new("aten::subtract", sub),
    Entry::new("aten::true_divide", div),
    Entry::new("aten::truediv", div),
    Entry::new("aten::xlogy", xlogy),
];

/// The operands, and the dtype that they have together.
fn operands(n: &mut Node<'_, '_>, a: &Val, b: &Val) -> Result<(Value, Value, DType), Refusal> {
    let dtype = result_type(&[a, b]);
    Ok((n.operand(a, dtype)?, n.operand(b, dtype)?, dtype))
}

/// One of the ops that MIL has of floats and integers alike.
pub(super) fn apply(n: &mut Node<'_, '_>, op: Arithmetic, a: &Val, b: &Val) -> Lowered {
    if a.is_number() && b.is_number() {
        return Ok(vec![symbolic::number(n, op, a, b)?]);
    }
    if op == Arithmetic::TrueDiv {
        return quotient(n, a, b);
    }
    let (mut x, mut y, dtype) = operands(n, a, b)?;
    if dtype == DType::Bool {
        // As bits: a sum is "or", a product "and".
        let z = match op {
            Arithmetic::Add | Arithmetic::Max => n.push(mb::logical_or(&x, &y))?,
            Arithmetic::Mul | Arithmetic::Min => n.push(mb::logical_and(&x, &y))?,
            _ => return Err(Refusal::new("is not for bools")),
        };
        return n.one(z, dtype);
    }
    // One operand may have been a literal, and numbers stand on the right where that is the same.
    if matches!(op, Arithmetic::Add | Arithmetic::Mul) && a.is_number() {
        std::mem::swap(&mut x, &mut y);
    }
    let z = symbolic::push(n, op, &x, &y)?;
    let z = n.wrap(&z, dtype)?;
    n.one(z, dtype)
}

fn arithmetic(n: &mut Node<'_, '_>, op: Arithmetic) -> Lowered {
    let (a, b) = (n.val(0, "self|a|input")?, n.val(1, "other|b")?);
    apply(n, op, &a, &b)
}

/// `b * alpha`, where alpha is not 1.
fn scaled(n: &mut Node<'_, '_>, b: Val) -> Result<Val, Refusal> {
    let alpha = n.val(2, "alpha")?;
    if matches!(alpha, Val::None) || alpha.number() == Some(1.0) {
        return Ok(b);
    }
    let mut scaled = apply(n, Arithmetic::Mul, &b, &alpha)?;
    Ok(scaled.remove(0))
}

fn add(n: &mut Node<'_, '_>) -> Lowered {
    let (a, b) = (n.val(0, "self|a")?, n.val(1, "other|b")?);
    if let (Val::List(a), Val::List(b)) = (&a, &b) {
        return Ok(vec![Val::List([&a[..], b].concat())]);
    }
    let b = scaled(n, b)?;
    apply(n, Arithmetic::Add, &a, &b)
}

fn sub(n: &mut Node<'_, '_>) -> Lowered {
    let (a, b) = (n.val(0, "self|a")?, n.val(1, "other|b")?);
    let b = scaled(n, b)?;
    apply(n, Arithmetic::Sub, &a, &b)
}

fn rsub(n: &mut Node<'_, '_>) -> Lowered {
    let (a, b) = (n.val(0, "self")?, n.val(1, "other")?);
    let a = scaled(n, a)?;
    apply(n, Arithmetic::Sub, &b, &a)
}

fn div(n: &mut Node<'_, '_>) -> Lowered {
    let (a, b) = (n.val(0, "self|a")?, n.val(1, "other|b")?);
    match n.text(2, "rounding_mode")?.as_deref() {
        None => apply(n, Arithmetic::TrueDiv, &a, &b),
        Some("floor") => apply(n, Arithmetic::FloorDiv, &a, &b),
        Some("trunc") => {
            let (x, y, dtype) = operands(n, &a, &b)?;
            // Of integers, MIL's quotient is truncated.
            let z = n.push(mb::real_div(&x, &y))?;
            let z = if dtype.is_float() { trunc(n, &z)? } else { z };
            n.one(z, dtype)
        }
        Some(mode) => Err(Refusal::new(format!("has no rounding mode `{}`", mode.escape_debug()))),
    }
}

/// A true quotient: integers become floats.
fn quotient(n: &mut Node<'_, '_>, a: &Val, b: &Val) -> Lowered {
    let dtype = result_type(&[a, b]);
    let dtype = if dtype.is_float() { dtype } else { DType::F32 };
    let (x, y) = (n.operand(a, dtype)?, n.operand(b, dtype)?);
    let z = n.push(mb::real_div(&x, &y))?;
    n.one(z, dtype)
}

/// What is left has the sign of the dividend.
fn fmod(n: &mut Node<'_, '_>) -> Lowered {
    let (a, b) = (n.val(0, "self")?, n.val(1, "other")?);
    let (x, y, dtype) = operands(n, &a, &b)?;
    let (x_size, y_size) = (n.push(mb::abs(&x))?, n.push(mb::abs(&y))?);
    let rest = n.push(mb::mod_(&x_size, &y_size))?;
    let sign = n.push(mb::sign(&x))?;
    let z = n.push(mb::mul(&sign, &rest))?;
    n.one(z, dtype)
}

fn pow(n: &mut Node<'_, '_>) -> Lowered {
    let (a, b) = (n.val(0, "self|a")?, n.val(1, "exponent|b")?);
    if a.is_number() && b.is_number() {
        return Ok(vec![symbolic::number(n, Arithmetic::Pow, &a, &b)?]);
    }
    let (x, y, dtype) = operands(n, &a, &b)?;
    if dtype == DType::Bool {
        return Err(Refusal::new("is not for bools"));
    }
    let exponent = b.number().filter(|_| b.is_number());
    let z = match exponent {
        Some(1.0) => x,
        Some(2.0) => n.push(mb::square(&x))?,
        Some(0.5) if dtype.is_float() => n.push(mb::sqrt(&x))?,
        Some(-0.5) if dtype.is_float() => super::unary::rsqrt(n, &x)?,
        Some(-1.0) if dtype.is_float() => n.push(mb::real_div(1.0, &x))?,
        _ => n.push(mb::pow(&x, &y))?,
    };
    let z = n.wrap(&z, dtype)?;
    n.one(z, dtype)
}

fn float_operands(n: &mut Node<'_, '_>) -> Result<(Value, Value, DType), Refusal> {
    let (a, b) = (n.val(0, "self")?, n.val(1, "other")?);
    let dtype = result_type(&[&a, &b]);
    let dtype = if dtype.is_float() { dtype } else { DType::F32 };
    Ok((n.operand(&a, dtype)?, n.operand(&b, dtype)?, dtype))
}

/// The angle of `(x, y)`: the arctangent of the quotient, turned by half a circle where `x` is negative.
fn atan2(n: &mut Node<'_, '_>) -> Lowered {
    use std::f64::consts::PI;
    let (y, x, dtype) = float_operands(n)?;
    let on_axis = n.push(mb::equal(&x, 0.0))?;
    let ones = n.cast(&on_axis, x.dtype().unwrap_or(DType::F32))?;
    let below = n.push(mb::add(&x, &ones))?;
    let angle = n.push(mb::real_div(&y, &below))?;
    let angle = n.push(mb::atan(&angle))?;
    let sign = n.push(mb::sign(&y))?;
    let up = n.push(mb::mul(&sign, PI / 2.0))?;
    let angle = n.select(&on_axis, &up, &angle)?;
    let left = n.push(mb::less(&x, 0.0))?;
    let low = n.push(mb::less(&y, 0.0))?;
    let (half, minus) = (n.number_of(dtype, PI)?, n.number_of(dtype, -PI)?);
    let turn = n.select(&low, &minus, &half)?;
    let turned = n.push(mb::add(&angle, &turn))?;
    let z = n.select(&left, &turned, &angle)?;
    n.one(z, dtype)
}

/// `x * log(y)`, 0 where `x` is.
fn xlogy(n: &mut Node<'_, '_>) -> Lowered {
    let (x, y, dtype) = float_operands(n)?;
    let zero = n.push(mb::equal(&x, 0.0))?;
    let log = n.push(mb::log(&y))?;
    let z = n.push(mb::mul(&x, &log))?;
    let none = n.number_of(dtype, 0.0)?;
    let z = n.select(&zero, &none, &z)?;
    n.one(z, dtype)
}

/// The arguments of `addcmul` and `addcdiv`: a tensor and two more, the last one times the number `value`.
fn three(n: &mut Node<'_, '_>) -> Result<(Val, Val, Val, Val), Refusal> {
    Ok((n.val(0, "self")?, n.val(1, "tensor1")?, n.val(2, "tensor2")?, n.val(3, "value")?))
}

fn sum_of(n: &mut Node<'_, '_>, a: &Val, part: Val, value: &Val) -> Lowered {
    let part = match value.number() {
        Some(1.0) => part,
        _ if matches!(value, Val::None) => part,
        _ => apply(n, Arithmetic::Mul, &part, value)?.remove(0),
    };
    apply(n, Arithmetic::Add, a, &part)
}

fn addcmul(n: &mut Node<'_, '_>) -> Lowered {
    let (a, b, c, value) = three(n)?;
    let part = apply(n, Arithmetic::Mul, &b, &c)?.remove(0);
    sum_of(n, &a, part, &value)
}

fn addcdiv(n: &mut Node<'_, '_>) -> Lowered {
    let (a, b, c, value) = three(n)?;
    let part = quotient(n, &b, &c)?.remove(0);
    sum_of(n, &a, part, &value)
}

/// `start + weight * (end - start)`.
fn lerp(n: &mut Node<'_, '_>) -> Lowered {
    let (a, b, weight) = (n.val(0, "self")?, n.val(1, "end")?, n.val(2, "weight")?);
    let way = apply(n, Arithmetic::Sub, &b, &a)?.remove(0);
    let way = apply(n, Arithmetic::Mul, &way, &weight)?.remove(0);
    apply(n, Arithmetic::Add, &a, &way)
}

type Connective = fn(&mut Node<'_, '_>, &Value, &Value) -> Result<Value, Refusal>;

fn logical(n: &mut Node<'_, '_>, f: Connective) -> Lowered {
    let (a, b) = (n.tensor(0, "self")?, n.tensor(1, "other")?);
    let (a, b) = (n.truth(&a)?, n.truth(&b)?);
    let z = f(n, &a, &b)?;
    n.one(z, DType::Bool)
}

fn logical_not(n: &mut Node<'_, '_>) -> Lowered {
    let x = n.tensor(0, "self")?;
    let x = n.truth(&x)?;
    let z = n.push(mb::logical_not(&x))?;
    n.one(z, DType::Bool)
}

fn not(n: &mut Node<'_, '_>) -> Lowered {
    let x = n.tensor(0, "self")?;
    if x.dtype == DType::Bool {
        let z = n.push(mb::logical_not(&x.value))?;
        return n.one(z, DType::Bool);
    }
    // In two's complement.
    let z = n.push(mb::sub(-1, &x.value))?;
    let z = n.wrap(&z, x.dtype)?;
    n.one(z, x.dtype)
}

fn and(n: &mut Node<'_, '_>) -> Lowered {
    bits(n, |n, a, b| n.push(mb::logical_and(a, b)), |a, b| a & b)
}

fn or(n: &mut Node<'_, '_>) -> Lowered {
    bits(n, |n, a, b| n.push(mb::logical_or(a, b)), |a, b| a | b)
}

fn xor(n: &mut Node<'_, '_>) -> Lowered {
    bits(n, |n, a, b| n.push(mb::logical_xor(a, b)), |a, b| a ^ b)
}

/// Bools as such; integers where both are known.
fn bits(n: &mut Node<'_, '_>, f: Connective, known: fn(i64, i64) -> i64) -> Lowered {
    let (a, b) = (n.val(0, "self|a")?, n.val(1, "other|b")?);
    let (x, y, dtype) = operands(n, &a, &b)?;
    if dtype == DType::Bool {
        let z = f(n, &x, &y)?;
        return n.one(z, dtype);
    }
    let shapes = (x.shape().and_then(|s| s.fixed()), y.shape().and_then(|s| s.fixed()));
    let (x, y) = (Tensor::new(x, dtype), Tensor::new(y, dtype));
    if let ((Some(x_shape), Some(y_shape)), Some(x), Some(y)) = (shapes, x.ints(), y.ints())
        && (x_shape == y_shape || y.len() == 1)
    {
        let all: Vec<i64> = x.iter().zip(y.iter().cycle()).map(|(a, b)| known(*a, *b)).collect();
        let z = mil_core::ir::Constant::integers(DType::I32, x_shape, &all)?;
        let z = n.constant(z);
        return n.one(z, dtype);
    }
    Err(Refusal::new("MIL has no ops on the bits of integers").remedy("say it with arithmetic, or with bools"))
}

#[cfg(test)]
mod tests {
    use crate::torch::testing::Net;

    #[test]
    fn numbers_are_constants_of_the_tensors_dtype() {
        let net = |op: &str| Net::new().input("x", &[3]).node(&format!("y = aten::{op}"));
        assert_eq!(net("add(x, 2, 1)").form("y"), ["add(x=x, y=2.0)"]);
        assert_eq!(net("rsub(x, 1, 1)").form("y"), ["sub(x=1.0, y=x)"]);
        assert_eq!(net("div(x, 4)").form("y"), ["real_div(x=x, y=4.0)"]);
        assert_eq!(net("pow(x, 2)").ops("y"), ["square"]);
        let e = net("div(x, 4, rounding_mode='up')").refusal("y");
        assert!(e.contains("has no rounding mode `up`"), "{e}");
    }
}
