//! Arithmetic of two or more tensors. They broadcast by numpy's rule, which is MIL's.

use mil_core::{graph::Value, mb, types::DType};

use super::{Entry, Lowered, Node};
use crate::import::{Refusal, Tensor, literal};

pub(super) const OPS: &[Entry] = &[
    Entry::new("Add", add),
    Entry::new("Div", div),
    Entry::new("Max", max),
    Entry::new("Mean", mean),
    Entry::new("Min", min),
    Entry::new("Mod", modulo),
    Entry::new("Mul", mul),
    Entry::new("Pow", pow),
    Entry::new("Sub", sub),
    Entry::new("Sum", sum),
];

/// Ops of two numbers that MIL has.
macro_rules! same {
    ($($name:ident),*) => {$(
        fn $name(n: &mut Node<'_, '_>) -> Lowered {
            let (x, y) = (n.input(0)?, n.input(1)?);
            let z = n.push(mb::$name(&x.value, &y.value))?;
            let z = n.wrap(&z, x.dtype)?;
            n.one(z, x.dtype)
        }
    )*};
}

same!(add, mul, sub);

/// Integers are truncated toward zero.
fn div(n: &mut Node<'_, '_>) -> Lowered {
    let (x, y) = (n.input(0)?, n.input(1)?);
    let z = if x.dtype.is_unsigned() {
        n.push(mb::floor_div(&x.value, &y.value))?
    } else {
        n.push(mb::real_div(&x.value, &y.value))?
    };
    let z = n.wrap(&z, x.dtype)?;
    n.one(z, x.dtype)
}

/// With `fmod` the result has the sign of the dividend, as in C; without, of the divisor, as in Python and MIL.
fn modulo(n: &mut Node<'_, '_>) -> Lowered {
    let (x, y) = (n.input(0)?, n.input(1)?);
    if n.int_or("fmod", 0)? == 0 || x.dtype.is_unsigned() {
        let z = n.push(mb::mod_(&x.value, &y.value))?;
        return n.one(z, x.dtype);
    }
    let (size, by) = (n.push(mb::abs(&x.value))?, n.push(mb::abs(&y.value))?);
    let rest = n.push(mb::mod_(&size, &by))?;
    let turned = n.push(mb::mul(&rest, literal(x.dtype, -1.0)))?;
    let negative = n.push(mb::less(&x.value, literal(x.dtype, 0.0)))?;
    let z = n.push(mb::select(&negative, &turned, &rest))?;
    n.one(z, x.dtype)
}

/// The result has the dtype of the base; the exponent may be of any.
fn pow(n: &mut Node<'_, '_>) -> Lowered {
    let (x, y) = (n.input(0)?, n.input(1)?);
    let carried = x.value.dtype().unwrap_or(DType::F32);
    if x.dtype.is_float() {
        let exponent = y.numbers().filter(|e| e.len() == 1 && y.rank() <= x.rank()).map(|e| e[0]);
        let z = match exponent {
            Some(2.0) => n.push(mb::square(&x.value))?,
            Some(0.5) => n.push(mb::sqrt(&x.value))?,
            Some(e) => n.push(mb::pow(&x.value, e))?,
            None => {
                let y = n.cast(&y.value, carried)?;
                n.push(mb::pow(&x.value, &y))?
            }
        };
        return n.one(z, x.dtype);
    }
    if y.dtype.is_int() {
        let z = n.push(mb::pow(&x.value, &y.value))?;
        let z = n.wrap(&z, x.dtype)?;
        return n.one(z, x.dtype);
    }
    let base = n.cast(&x.value, y.value.dtype().unwrap_or(DType::F32))?;
    let z = n.push(mb::pow(&base, &y.value))?;
    Ok(vec![n.convert(&Tensor::new(z, y.dtype), x.dtype)?])
}

/// All inputs, joined two by two.
fn joined(
    n: &mut Node<'_, '_>,
    join: impl Fn(&mut Node<'_, '_>, &Value, &Value) -> Result<Value, Refusal>,
) -> Result<Tensor, Refusal> {
    let mut inputs = n.all_inputs()?.into_iter();
    let first = inputs.next().ok_or_else(|| Refusal::new("it has no inputs"))?;
    inputs.try_fold(first, |all, next| Ok(Tensor::new(join(n, &all.value, &next.value)?, all.dtype)))
}

fn max(n: &mut Node<'_, '_>) -> Lowered {
    Ok(vec![joined(n, |n, x, y| n.push(mb::maximum(x, y)))?])
}

fn min(n: &mut Node<'_, '_>) -> Lowered {
    Ok(vec![joined(n, |n, x, y| n.push(mb::minimum(x, y)))?])
}

fn sum(n: &mut Node<'_, '_>) -> Lowered {
    Ok(vec![joined(n, |n, x, y| n.push(mb::add(x, y)))?])
}

fn mean(n: &mut Node<'_, '_>) -> Lowered {
    let count = n.inputs();
    let all = joined(n, |n, x, y| n.push(mb::add(x, y)))?;
    let y = if count == 1 { all.value } else { n.push(mb::real_div(&all.value, count as f64))? };
    n.one(y, all.dtype)
}
