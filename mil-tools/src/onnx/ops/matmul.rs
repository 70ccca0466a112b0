//! Products of matrices.

use mil_core::{graph::Value, mb, types::DType};

use super::{Entry, Lowered, Node};
use crate::import::{Refusal, Tensor};

pub(super) const OPS: &[Entry] = &[Entry::new("Gemm", gemm), Entry::new("MatMul", matmul)];

/// Whether it is a matrix of floats that is known: a layer's weight.
fn is_weight(x: &Tensor) -> bool {
    x.rank() == 2 && x.constant().is_some() && x.value.dtype().is_some_and(DType::is_float)
}

fn matmul(n: &mut Node<'_, '_>) -> Lowered {
    let (x, y) = (n.input(0)?, n.input(1)?);
    if x.rank() == 0 || y.rank() == 0 {
        return Err(Refusal::new("products are of vectors and matrices, not of numbers"));
    }
    let out = if is_weight(&y) && x.rank() >= 2 && x.constant().is_none() {
        let weight = n.transpose(&y.value, &[1, 0])?;
        n.push(mb::linear(&x.value, &weight))?
    } else {
        n.matmul(&x.value, &y.value)?
    };
    let out = n.wrap(&out, x.dtype)?;
    n.one(out, x.dtype)
}

fn gemm(n: &mut Node<'_, '_>) -> Lowered {
    let (a, b, c) = (n.input(0)?, n.input(1)?, n.optional(2)?);
    let (alpha, beta) = (n.float_or("alpha", 1.0)?, n.float_or("beta", 1.0)?);
    let (trans_a, trans_b) = (n.int_or("transA", 0)? != 0, n.int_or("transB", 0)? != 0);
    if a.rank() != 2 || b.rank() != 2 {
        let (a, b) = (a.rank(), b.rank());
        return Err(Refusal::new(format!("its inputs must be matrices, but have the ranks {a} and {b}")));
    }
    let c = c.filter(|_| beta != 0.0);
    let scale = |n: &mut Node<'_, '_>, x: &Value, by: f32| -> Result<Value, Refusal> {
        if by == 1.0 {
            return Ok(x.clone());
        }
        if x.dtype().is_some_and(|d| d.is_int()) {
            if by.fract() != 0.0 {
                return Err(Refusal::new(format!("integers are scaled by {by}"))
                    .remedy("cast its inputs to floats in the model"));
            }
            return n.push(mb::mul(x, by as i64));
        }
        n.push(mb::mul(x, f64::from(by)))
    };
    let c = match c {
        Some(c) => Some(scale(n, &c.value, beta)?),
        None => None,
    };
    let y = if is_weight(&b) && a.constant().is_none() {
        let x = if trans_a { n.transpose(&a.value, &[1, 0])? } else { a.value.clone() };
        let weight = if trans_b { b.value.clone() } else { n.transpose(&b.value, &[1, 0])? };
        let weight = scale(n, &weight, alpha)?;
        let outputs = b.size(usize::from(!trans_b)).unwrap_or(0);
        match c {
            Some(c) => match row(n, &c, outputs)? {
                Some(bias) => n.push(mb::linear(&x, &weight).bias(&bias))?,
                None => {
                    let y = n.push(mb::linear(&x, &weight))?;
                    n.push(mb::add(&y, &c))?
                }
            },
            None => n.push(mb::linear(&x, &weight))?,
        }
    } else {
        let y = n.push(mb::matmul(&a.value, &b.value).transpose_x(trans_a).transpose_y(trans_b))?;
        let y = scale(n, &y, alpha)?;
        match c {
            Some(c) => n.push(mb::add(&y, &c))?,
            None => y,
        }
    };
    n.one(y, a.dtype)
}

/// A constant that is added to each row, as `[outputs]`; `None` if it is no such.
fn row(n: &mut Node<'_, '_>, c: &Value, outputs: usize) -> Result<Option<Value>, Refusal> {
    let constant = c.known().is_some_and(|k| k.constant().is_some());
    let shape = c.shape().and_then(|s| s.fixed()).filter(|_| constant);
    let Some(shape) = shape else { return Ok(None) };
    let size = match shape[..] {
        [] => 1,
        [size] | [1, size] => size,
        _ => return Ok(None),
    };
    if size == outputs {
        return n.reshape(c, &[outputs.into()]).map(Some);
    }
    if size == 1 {
        let one = n.reshape(c, &[1.into()])?;
        return n.broadcast_to(&one, &[outputs.into()]).map(Some);
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use mil_core::types::DType::F32;

    use crate::onnx::testing::{Net, int};

    #[test]
    fn products_with_weights_are_layers() {
        let matmul = || Net::new(18).input("x", F32, &[-1, 7, 4]).node("MatMul", "x w", "y", &[]);
        assert_eq!(matmul().ones("w", &[4, 5]).ops("y"), ["linear"]);
        assert_eq!(matmul().input("w", F32, &[4, 5]).ops("y"), ["matmul"]);
        let gemm = || {
            let net = Net::new(18).input("x", F32, &[-1, 4]).ones("w", &[5, 4]);
            net.node("Gemm", "x w b", "y", &[int("transB", 1)])
        };
        assert_eq!(gemm().ones("b", &[5]).ops("y"), ["linear"]);
        assert_eq!(gemm().ones("b", &[1]).ops("y"), ["linear"]);
        assert_eq!(gemm().input("b", F32, &[5]).ops("y"), ["linear", "add"]);
    }
}
