//! Reductions.

use mil_core::{graph::Value, mb, types::DType};

use super::{Entry, Lowered, Node};
use crate::{
    import::{Lowering, Refusal, Size, Tensor},
    torch::val::Val,
};

pub(super) const OPS: &[Entry] = &[
    Entry::new("aten::all", |n| truth(n, Kind::Min)),
    Entry::new("aten::amax", |n| extreme(n, Kind::Max)),
    Entry::new("aten::amin", |n| extreme(n, Kind::Min)),
    Entry::new("aten::aminmax", |n| {
        let (x, dim) = (n.tensor(0, "self")?, n.ints(1, "dim")?);
        let keep = n.bool_or(2, "keepdim", false)?;
        let (low, high) = (reduce(n, Kind::Min, &x, dim.clone(), keep)?, reduce(n, Kind::Max, &x, dim, keep)?);
        Ok(vec![Tensor::new(low, x.dtype).into(), Tensor::new(high, x.dtype).into()])
    }),
    Entry::new("aten::any", |n| truth(n, Kind::Max)),
    Entry::new("aten::argmax", |n| place(n, Kind::Max)),
    Entry::new("aten::argmin", |n| place(n, Kind::Min)),
    Entry::new("aten::count_nonzero", |n| {
        let x = n.tensor(0, "self")?;
        let dim = n.ints(1, "dim")?;
        let x = n.truth(&x)?;
        let x = Tensor::new(n.cast(&x, DType::I32)?, DType::I64);
        let y = reduce(n, Kind::Sum, &x, dim, false)?;
        n.one(y, DType::I64)
    }),
    Entry::new("aten::frobenius_norm", norm),
    Entry::new("aten::linalg_norm", norm).but("of vectors only"),
    Entry::new("aten::linalg_vector_norm", norm),
    Entry::new("aten::logsumexp", |n| {
        let x = n.float_tensor(0, "self")?;
        let (dim, keep) = (n.ints(1, "dim")?, n.bool_or(2, "keepdim", false)?);
        let y = reduce(n, Kind::LogSumExp, &x, dim, keep)?;
        n.one(y, x.dtype)
    }),
    Entry::new("aten::max", |n| either(n, Kind::Max)),
    Entry::new("aten::mean", |n| total(n, Kind::Mean)),
    Entry::new("aten::min", |n| either(n, Kind::Min)),
    Entry::new("aten::norm", norm),
    Entry::new("aten::prod", product),
    Entry::new("aten::std", |n| spread(n, true, false)),
    Entry::new("aten::std_mean", |n| spread(n, true, true)),
    Entry::new("aten::sum", |n| total(n, Kind::Sum)),
    Entry::new("aten::var", |n| spread(n, false, false)),
    Entry::new("aten::var_mean", |n| spread(n, false, true)),
];

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Max,
    Min,
    Sum,
    Mean,
    Prod,
    LogSumExp,
    L1,
    L2,
}

/// Over these dimensions, all if there are none.
pub(super) fn reduce(
    n: &mut Lowering,
    kind: Kind,
    x: &Tensor,
    dim: Option<Vec<i64>>,
    keep: bool,
) -> Result<Value, Refusal> {
    if x.rank() == 0 {
        return Ok(match kind {
            Kind::L1 | Kind::L2 => n.push(mb::abs(&x.value))?,
            _ => x.value.clone(),
        });
    }
    let dim = dim.unwrap_or_default();
    let axes = if dim.is_empty() { (0..x.rank()).collect() } else { n.axes(&dim, x.rank())? };
    let axes: Vec<i64> = axes.into_iter().map(|a| a as i64).collect();
    let v = &x.value;
    match kind {
        Kind::Max => n.push(mb::reduce_max(v).axes(axes).keep_dims(keep)),
        Kind::Min => n.push(mb::reduce_min(v).axes(axes).keep_dims(keep)),
        Kind::Sum => n.push(mb::reduce_sum(v).axes(axes).keep_dims(keep)),
        Kind::Mean => n.push(mb::reduce_mean(v).axes(axes).keep_dims(keep)),
        Kind::Prod => n.push(mb::reduce_prod(v).axes(axes).keep_dims(keep)),
        Kind::LogSumExp => n.push(mb::reduce_log_sum_exp(v).axes(axes).keep_dims(keep)),
        Kind::L1 => n.push(mb::reduce_l1_norm(v).axes(axes).keep_dims(keep)),
        Kind::L2 => n.push(mb::reduce_l2_norm(v).axes(axes).keep_dims(keep)),
    }
}

/// In the dtype that is asked for; else sums of integers and bools are of 64 bits.
fn summand(n: &mut Node<'_, '_>, x: Tensor, dtype: Option<DType>) -> Result<Tensor, Refusal> {
    match dtype {
        Some(dtype) => n.convert(&x, dtype),
        None if x.dtype.is_float() => Ok(x),
        None => n.convert(&x, DType::I64),
    }
}

/// `sum` and `mean`: with a dtype alone, or with dimensions.
fn total(n: &mut Node<'_, '_>, kind: Kind) -> Lowered {
    let x = n.tensor(0, "self")?;
    let whole = n.len() <= 2 && !n.named("dim") && !matches!(n.val(1, "dim")?, Val::List(_));
    let (dim, keep, dtype) = if whole {
        (None, false, n.dtype(1, "dtype")?)
    } else {
        (n.ints(1, "dim")?, n.bool_or(2, "keepdim", false)?, n.dtype(3, "dtype")?)
    };
    let x = summand(n, x, dtype)?;
    let y = reduce(n, kind, &x, dim, keep)?;
    n.one(y, x.dtype)
}

/// A dimension is one, not a list; a dtype is named.
fn product(n: &mut Node<'_, '_>) -> Lowered {
    let x = n.tensor(0, "self")?;
    let whole = n.count_of(&["dim"]).is_some_and(|count| count < 2);
    let (dim, keep, dtype) = if whole {
        (None, false, n.dtype(1, "dtype")?)
    } else {
        (n.ints(1, "dim")?, n.bool_or(2, "keepdim", false)?, n.dtype(3, "dtype")?)
    };
    let x = summand(n, x, dtype)?;
    let y = reduce(n, Kind::Prod, &x, dim, keep)?;
    n.one(y, x.dtype)
}

/// The greatest or least; MIL compares no bools.
fn extreme(n: &mut Node<'_, '_>, kind: Kind) -> Lowered {
    let x = n.tensor(0, "self")?;
    let (dim, keep) = (n.ints(1, "dim")?, n.bool_or(2, "keepdim", false)?);
    let y = n.without_bools(&x.value, |n, v| reduce(n, kind, &Tensor::new(v.clone(), x.dtype), dim, keep))?;
    n.one(y, x.dtype)
}

fn truth(n: &mut Node<'_, '_>, kind: Kind) -> Lowered {
    let x = n.tensor(0, "self")?;
    let (dim, keep) = (n.ints(1, "dim")?, n.bool_or(2, "keepdim", false)?);
    let t = n.truth(&x)?;
    let y = n.without_bools(&t, |n, v| reduce(n, kind, &Tensor::new(v.clone(), DType::I32), dim, keep))?;
    n.one(y, DType::Bool)
}

/// `max` and `min`: of all elements, of two tensors, or along a dimension with the places.
fn either(n: &mut Node<'_, '_>, kind: Kind) -> Lowered {
    let second = n.val(1, "other|dim")?;
    if matches!(second, Val::None) {
        return extreme(n, kind);
    }
    if second.is_tensor() {
        let first = n.val(0, "self")?;
        let op = if kind == Kind::Max { super::symbolic::Arithmetic::Max } else { super::symbolic::Arithmetic::Min };
        return super::binary::apply(n, op, &first, &second);
    }
    let mut values = extreme(n, kind)?;
    if n.uses(1) {
        values.extend(place(n, kind)?);
    }
    Ok(values)
}

/// Where the greatest or least is, the first of them.
fn place(n: &mut Node<'_, '_>, kind: Kind) -> Lowered {
    let x = n.tensor(0, "self")?;
    let keep = n.bool_or(2, "keepdim", false)?;
    let value = if x.dtype == DType::Bool { n.cast(&x.value, DType::I32)? } else { x.value.clone() };
    if x.rank() == 0 {
        let zero = n.number_of(DType::I64, 0.0)?;
        return n.one(zero, DType::I64);
    }
    let (value, axis, all) = if n.has(1, "dim") {
        let axis = n.int(1, "dim")?;
        (value, x.axis(axis)? as i64, false)
    } else {
        (n.reshape(&value, &[Size::Fixed(-1)])?, 0, true)
    };
    let keep_dims = keep && !all;
    let y = match kind {
        Kind::Max => n.push(mb::reduce_argmax(&value).axis(axis).keep_dims(keep_dims))?,
        _ => n.push(mb::reduce_argmin(&value).axis(axis).keep_dims(keep_dims))?,
    };
    let y = if keep && all { n.reshape(&y, &vec![Size::Fixed(1); x.rank()])? } else { y };
    n.one(y, DType::I64)
}

/// `var`, `std` and those with the mean. TorchScript tells the overloads apart by what stands where.
fn spread(n: &mut Node<'_, '_>, root: bool, with_mean: bool) -> Lowered {
    let x = n.float_tensor(0, "self")?;
    let second = n.val(1, "dim|unbiased")?;
    let (dim, correction, keep) = if matches!(second, Val::Bool(_)) {
        // All elements.
        (None, second.number().unwrap_or(1.0), false)
    } else if n.named("correction") || !matches!(n.val(2, "unbiased")?, Val::Bool(_)) {
        (n.ints(1, "dim")?, n.float_or(2, "correction", 1.0)?, n.bool_or(3, "keepdim", false)?)
    } else {
        (n.ints(1, "dim")?, n.float_or(2, "unbiased", 1.0)?, n.bool_or(3, "keepdim", false)?)
    };
    let axes = match &dim {
        Some(dim) if !dim.is_empty() => n.axes(dim, x.rank())?,
        _ => (0..x.rank()).collect(),
    };
    let mean = reduce(n, Kind::Mean, &x, dim.clone(), true)?;
    let off = n.push(mb::sub(&x.value, &mean))?;
    let square = Tensor::new(n.push(mb::square(&off))?, x.dtype);
    let y = reduce(n, Kind::Mean, &square, dim.clone(), keep)?;
    let mut y = y;
    if correction != 0.0 {
        let mut sizes = vec![];
        for axis in axes {
            sizes.push(n.size(&x.value, axis)?);
        }
        y = match n.product(&sizes)? {
            Size::Fixed(count) => n.push(mb::mul(&y, count as f64 / (count as f64 - correction)))?,
            Size::Value(count) => {
                let count = n.cast(&count, x.value.dtype().unwrap_or(DType::F32))?;
                let count = n.squeeze(&count, &[0])?;
                let less = n.push(mb::sub(&count, correction))?;
                let factor = n.push(mb::real_div(&count, &less))?;
                n.push(mb::mul(&y, &factor))?
            }
        };
    }
    if root {
        y = n.push(mb::sqrt(&y))?;
    }
    let mut given: Vec<Val> = vec![Tensor::new(y, x.dtype).into()];
    if with_mean {
        let mean = if keep { mean } else { reduce(n, Kind::Mean, &x, dim, false)? };
        given.push(Tensor::new(mean, x.dtype).into());
    }
    Ok(given)
}

/// Norms of vectors.
fn norm(n: &mut Node<'_, '_>) -> Lowered {
    let x = n.float_tensor(0, "self")?;
    let bare = n.op() == "frobenius_norm";
    let order = if bare { Some(2.0) } else { order(n)? };
    let at = if bare { 1 } else { 2 };
    let (dim, keep) = (n.ints(at, "dim")?, n.bool_or(at + 1, "keepdim", false)?);
    if n.op() == "linalg_norm" && n.has(1, "ord") && dim.as_ref().map_or(x.rank(), Vec::len) != 1 {
        return Err(Refusal::new("is the norm of a matrix").remedy("only `torch.linalg.vector_norm` is supported"));
    }
    let order = order.unwrap_or(2.0);
    let y = if order == 1.0 {
        reduce(n, Kind::L1, &x, dim, keep)?
    } else if order == 2.0 {
        reduce(n, Kind::L2, &x, dim, keep)?
    } else {
        let size = Tensor::new(n.push(mb::abs(&x.value))?, x.dtype);
        if order == f64::INFINITY {
            reduce(n, Kind::Max, &size, dim, keep)?
        } else if order == f64::NEG_INFINITY {
            reduce(n, Kind::Min, &size, dim, keep)?
        } else if order == 0.0 {
            let some = n.truth(&size)?;
            let some = Tensor::new(n.cast(&some, size.value.dtype().unwrap_or(DType::F32))?, x.dtype);
            reduce(n, Kind::Sum, &some, dim, keep)?
        } else {
            let power = Tensor::new(n.push(mb::pow(&size.value, order))?, x.dtype);
            let sum = reduce(n, Kind::Sum, &power, dim, keep)?;
            n.push(mb::pow(&sum, 1.0 / order))?
        }
    };
    n.one(y, x.dtype)
}

/// A number, or the words that PyTorch has for some.
fn order(n: &mut Node<'_, '_>) -> Result<Option<f64>, Refusal> {
    match n.val(1, "ord|p")? {
        Val::Str(word) if word == "fro" => Ok(Some(2.0)),
        Val::Str(word) => Err(Refusal::new(format!("has no order `{}`", word.escape_debug()))),
        _ => n.float(1, "ord|p"),
    }
}

#[cfg(test)]
mod tests {
    use crate::torch::testing::Net;

    #[test]
    fn sums_and_means_are_one_op() {
        let net = |call: &str| Net::new().input("x", &[2, 3, 4]).node(&format!("y = aten::{call}"));
        assert_eq!(net("mean(x, [-1, 1], True)").form("y"), ["reduce_mean(x=x, axes=[1, 2], keep_dims=true)"]);
        assert_eq!(net("sum(x)").ops("y"), ["reduce_sum"]);
        assert!(net("linalg_norm(x, 2, [0, 1])").refusal("y").contains("is the norm of a matrix"));
        assert!(net("norm(x, 'nuc', [1])").refusal("y").contains("has no order `nuc`"));
    }
}
