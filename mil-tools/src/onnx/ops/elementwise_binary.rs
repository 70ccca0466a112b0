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
    let z = n.select(&negative, &turned, &rest)?;
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

#[cfg(test)]
mod tests {
    use mil_core::{
        ir::Constant,
        types::DType::{F32, I8, I32, I64, U8, U16},
    };

    use crate::onnx::testing::{Net, int};

    fn ints(op: &str, dtype: mil_core::types::DType, x: &[i64], y: &[i64]) -> Vec<f64> {
        let list = |v: &[i64]| Constant::integers(dtype, [v.len()], v).unwrap();
        let attributes = if op == "Mod" { vec![int("fmod", 1)] } else { vec![] };
        Net::new(14).constant("x", list(x)).constant("y", list(y)).node(op, "x y", "z", &attributes).numbers("z")
    }

    #[test]
    fn narrow_integers_wrap() {
        assert_eq!(ints("Add", I8, &[127, -100], &[1, -100]), [-128.0, 56.0]);
        assert_eq!(ints("Mul", U8, &[200, 3], &[2, 4]), [144.0, 12.0]);
        assert_eq!(ints("Sub", U16, &[0], &[1]), [65535.0]);
    }

    #[test]
    fn integers_are_divided_toward_0() {
        assert_eq!(ints("Div", I32, &[-7, 7, -7], &[2, -2, -2]), [-3.0, -3.0, 3.0]);
        assert_eq!(ints("Mod", I32, &[-7, 7, -7], &[3, -3, -3]), [-1.0, 1.0, -1.0]);
        assert_eq!(ints("Pow", I64, &[-3, 2], &[3, 10]), [-27.0, 1024.0]);
    }

    #[test]
    fn common_powers_have_ops() {
        let net = |e: f32| {
            let net = Net::new(14).input("x", F32, &[2, 3]).constant("e", Constant::scalar(e));
            net.node("Pow", "x e", "y", &[]).ops("y")
        };
        assert_eq!((net(2.0), net(0.5), net(3.0)), (vec!["square"], vec!["sqrt"], vec!["pow"]));
    }
}
