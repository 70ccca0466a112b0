//! Products of matrices.

use mil_core::{graph::Value, mb, types::DType};

use super::{Entry, Lowered, Node};
use crate::{
    import::{Refusal, Size, Tensor},
    torch::val::{Val, result_type},
};

pub(super) const OPS: &[Entry] = &[
    Entry::new("aten::addbmm", addbmm),
    Entry::new("aten::addmm", addmm),
    Entry::new("aten::addmv", addmm),
    Entry::new("aten::addr", addr),
    Entry::new("aten::baddbmm", addmm),
    Entry::new("aten::bmm", matmul),
    Entry::new("aten::chain_matmul", chain),
    Entry::new("aten::dot", matmul),
    Entry::new("aten::ger", outer),
    Entry::new("aten::inner", inner),
    Entry::new("aten::linalg_matmul", matmul),
    Entry::new("aten::linalg_multi_dot", chain),
    Entry::new("aten::linear", linear),
    Entry::new("aten::matmul", matmul),
    Entry::new("aten::mm", matmul),
    Entry::new("aten::mv", matmul),
    Entry::new("aten::outer", outer),
    Entry::new("aten::vdot", matmul),
];

/// `x * weight^T + bias`: one op where the weights are constants.
pub(super) fn linear_of(
    n: &mut Node<'_, '_>,
    x: &Tensor,
    weight: &Tensor,
    bias: Option<&Tensor>,
) -> Result<Value, Refusal> {
    let constant = |t: &Tensor| t.constant().is_some() && t.dtype == x.dtype;
    if let Some(whole) = n.importer.rows.get(&x.value.id()).cloned()
        && let (2, Some(width)) = (weight.rank(), weight.size(0))
    {
        // The layer is that of the whole tensor, and its result is rows again.
        let y = linear_of(n, &whole, weight, bias)?;
        let rows = n.reshape(&y, &[Size::Fixed(-1), width.into()])?;
        n.importer.rows.insert(rows.id(), Tensor::new(y, x.dtype));
        return Ok(rows);
    }
    if weight.rank() == 2 && constant(weight) && bias.is_none_or(|b| constant(b) && b.rank() == 1) && x.rank() > 0 {
        let mut call = mb::linear(&x.value, &weight.value);
        if let Some(bias) = bias {
            call = call.bias(&bias.value);
        }
        return n.push(call);
    }
    let y = match weight.rank() {
        1 => n.matmul(&x.value, &weight.value)?,
        _ => n.push(mb::matmul(&x.value, &weight.value).transpose_y(true))?,
    };
    match bias {
        Some(bias) => n.push(mb::add(&y, &bias.value)),
        None => Ok(y),
    }
}

fn linear(n: &mut Node<'_, '_>) -> Lowered {
    let (x, weight) = (n.tensor(0, "input")?, n.tensor(1, "weight")?);
    let bias = n.optional(2, "bias")?;
    let y = linear_of(n, &x, &weight, bias.as_ref())?;
    n.one(y, x.dtype)
}

/// The product of two tensors that promotion made alike.
fn product(n: &mut Node<'_, '_>, a: &Val, b: &Val) -> Result<Tensor, Refusal> {
    if let Val::Transposed(weight) = b {
        let x = n.as_tensor(a)?;
        let y = linear_of(n, &x, weight, None)?;
        return Ok(Tensor::new(y, x.dtype));
    }
    let (x, y) = (n.as_tensor(a)?, n.as_tensor(b)?);
    let dtype = result_type(&[a, b]);
    let dtype = if dtype == DType::Bool { DType::I64 } else { dtype };
    let (x, y) = (n.convert(&x, dtype)?, n.convert(&y, dtype)?);
    Ok(Tensor::new(n.matmul(&x.value, &y.value)?, dtype))
}

fn matmul(n: &mut Node<'_, '_>) -> Lowered {
    let (a, b) = (n.val(0, "self|input")?, n.val(1, "mat2|other|vec|tensor")?);
    Ok(vec![product(n, &a, &b)?.into()])
}

/// `beta * self + alpha * (a * b)`.
fn addmm(n: &mut Node<'_, '_>) -> Lowered {
    let bias = n.tensor(0, "self")?;
    let (a, b) = (n.val(1, "mat1|batch1|mat")?, n.val(2, "mat2|batch2|vec")?);
    let (beta, alpha) = (n.float_or(3, "beta", 1.0)?, n.float_or(4, "alpha", 1.0)?);
    if let (Val::Transposed(weight), 1, true) = (&b, bias.rank(), beta == 1.0 && alpha == 1.0) {
        let x = n.as_tensor(&a)?;
        let y = linear_of(n, &x, weight, Some(&bias))?;
        return n.one(y, x.dtype);
    }
    let y = product(n, &a, &b)?;
    let sum = weighted(n, &bias, beta, &y, alpha)?;
    n.one(sum, y.dtype)
}

fn weighted(n: &mut Node<'_, '_>, a: &Tensor, beta: f64, b: &Tensor, alpha: f64) -> Result<Value, Refusal> {
    let alpha = n.number_of(b.dtype, alpha)?;
    let scale = |n: &mut Node<'_, '_>, x: &Value, factor: &Value| match Tensor::new(factor.clone(), b.dtype).numbers() {
        Some(one) if one == [1.0] => Ok(x.clone()),
        _ => n.push(mb::mul(x, factor)),
    };
    let y = scale(n, &b.value, &alpha)?;
    // What is multiplied by 0 does not count, whatever it is.
    if beta == 0.0 {
        return Ok(y);
    }
    let a = n.convert(a, b.dtype)?;
    let beta = n.number_of(b.dtype, beta)?;
    let x = scale(n, &a.value, &beta)?;
    n.push(mb::add(&y, &x))
}

/// The products of all batch elements, summed.
fn addbmm(n: &mut Node<'_, '_>) -> Lowered {
    let bias = n.tensor(0, "self")?;
    let (a, b) = (n.val(1, "batch1")?, n.val(2, "batch2")?);
    let (beta, alpha) = (n.float_or(3, "beta", 1.0)?, n.float_or(4, "alpha", 1.0)?);
    let y = product(n, &a, &b)?;
    let y = Tensor::new(n.push(mb::reduce_sum(&y.value).axes([0]))?, y.dtype);
    let sum = weighted(n, &bias, beta, &y, alpha)?;
    n.one(sum, y.dtype)
}

fn outer_of(n: &mut Node<'_, '_>, a: &Tensor, b: &Tensor) -> Result<Tensor, Refusal> {
    let dtype = result_type(&[&Val::Tensor(a.clone()), &Val::Tensor(b.clone())]);
    let (a, b) = (n.convert(a, dtype)?, n.convert(b, dtype)?);
    let (column, row) = (n.expand_dims(&a.value, &[1])?, n.expand_dims(&b.value, &[0])?);
    Ok(Tensor::new(n.push(mb::mul(&column, &row))?, dtype))
}

fn outer(n: &mut Node<'_, '_>) -> Lowered {
    let (a, b) = (n.tensor(0, "self")?, n.tensor(1, "vec2")?);
    Ok(vec![outer_of(n, &a, &b)?.into()])
}

fn addr(n: &mut Node<'_, '_>) -> Lowered {
    let (bias, a, b) = (n.tensor(0, "self")?, n.tensor(1, "vec1")?, n.tensor(2, "vec2")?);
    let (beta, alpha) = (n.float_or(3, "beta", 1.0)?, n.float_or(4, "alpha", 1.0)?);
    let y = outer_of(n, &a, &b)?;
    let sum = weighted(n, &bias, beta, &y, alpha)?;
    n.one(sum, y.dtype)
}

/// Sums over the last dimensions of both.
fn inner(n: &mut Node<'_, '_>) -> Lowered {
    let (a, b) = (n.tensor(0, "self")?, n.tensor(1, "other")?);
    if a.rank() == 0 || b.rank() == 0 {
        let y = n.push(mb::mul(&a.value, &b.value))?;
        return n.one(y, a.dtype);
    }
    if a.rank() > 2 && b.rank() > 2 {
        return Err(Refusal::new("of two tensors of rank above 2 is not supported").remedy("use `torch.einsum`"));
    }
    let y = if b.rank() == 1 {
        n.matmul(&a.value, &b.value)?
    } else if a.rank() == 1 {
        n.matmul(&b.value, &a.value)?
    } else if b.rank() == 2 {
        n.push(mb::matmul(&a.value, &b.value).transpose_y(true))?
    } else {
        return Err(
            Refusal::new("of a matrix and a tensor of higher rank is not supported").remedy("use `torch.einsum`")
        );
    };
    n.one(y, a.dtype)
}

fn chain(n: &mut Node<'_, '_>) -> Lowered {
    let all = n.tensors(0, "tensors|matrices")?;
    let mut all = all.into_iter();
    let mut y = all.next().ok_or_else(|| Refusal::new("has no matrices"))?;
    for next in all {
        y = product(n, &Val::Tensor(y), &Val::Tensor(next))?;
    }
    Ok(vec![y.into()])
}

#[cfg(test)]
mod tests {
    use crate::torch::testing::Net;

    #[test]
    fn products_with_weights_are_layers() {
        let net = |call: &str| {
            let net = Net::new().input("x", &[2, 3]).ones("w", &[4, 3]).ones("b", &[4]).ones("one", &[1]);
            net.node("t = aten::t(w)").node(&format!("y = aten::{call}"))
        };
        let layer = ["linear(x=x, weight=Tensor<f32, 4, 3>, bias=[1.0, 1.0, 1.0, 1.0])"];
        assert_eq!(net("linear(x, w, b)").form("y"), layer);
        assert_eq!(net("addmm(b, x, t, beta=1, alpha=1)").form("y"), layer);
        let plain = ["linear(x=x, weight=Tensor<f32, 4, 3>, bias=[0.0, 0.0, 0.0, 0.0])"];
        assert_eq!(net("mm(x, t)").form("y"), plain);
        assert_eq!(net("addmm(b, x, t, beta=1, alpha=2)").ops("y"), ["linear", "mul", "add"]);
    }

    #[test]
    fn products_with_vectors_are_of_matrices() {
        let net = |x: &[i64], y: &[i64]| Net::new().input("a", x).input("b", y);
        for op in ["linear(a, b)", "inner(a, b)", "matmul(a, b)"] {
            let ops = net(&[2, 3], &[3]).node(&format!("y = aten::{op}")).ops("y");
            assert_eq!(ops, ["expand_dims", "matmul", "squeeze"], "{op}");
        }
        let e = net(&[2, 3], &[2, 2, 3]).node("y = aten::inner(a, b)").refusal("y");
        assert!(e.contains("use `torch.einsum`"), "{e}");
    }
}
