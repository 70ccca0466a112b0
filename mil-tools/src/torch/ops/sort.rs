//! Sorting, and sums along an axis.

use mil_core::{graph::Value, mb, types::DType};

use super::{Entry, Lowered, Node};
use crate::{
    import::{Refusal, Tensor},
    torch::val::Val,
};

pub(super) const OPS: &[Entry] = &[
    Entry::new("aten::argsort", |n| {
        let sorted = sort(n)?;
        Ok(sorted.into_iter().skip(1).collect())
    }),
    Entry::new("aten::cumsum", cumsum),
    Entry::new("aten::msort", |n| {
        let x = n.tensor(0, "self")?;
        sorted(n, &x, 0, true)
    }),
    Entry::new("aten::sort", sort),
    Entry::new("aten::topk", topk),
];

fn topk(n: &mut Node<'_, '_>) -> Lowered {
    let x = n.tensor(0, "self")?;
    let k = n.int(1, "k")?;
    let dim = n.int_or(2, "dim", -1)?;
    let axis = x.axis(dim)? as i64;
    let largest = n.bool_or(3, "largest", true)?;
    let found: Vec<Value> = n.push(mb::topk(&x.value).k(k).axis(axis).ascending(!largest))?;
    Ok(outputs(found, x.dtype))
}

/// Values and where they were.
fn outputs(found: Vec<Value>, dtype: DType) -> Vec<Val> {
    found.into_iter().zip([dtype, DType::I64]).map(|(v, d)| Tensor::new(v, d).into()).collect()
}

/// `sort(x, dim, descending)`, or with `stable` before the dimension.
fn sort(n: &mut Node<'_, '_>) -> Lowered {
    let x = n.tensor(0, "self")?;
    let stable = n.overload() == "stable"
        || n.named("stable")
        || n.len() == 4
        || matches!(n.val(1, "dim")?, Val::Bool(_) | Val::None);
    let at = if stable && n.len() > 1 { 2 } else { 1 };
    let dim = n.int_or(at, "dim", -1)?;
    let descending = n.bool_or(at + 1, "descending", false)?;
    sorted(n, &x, dim, !descending)
}

fn sorted(n: &mut Node<'_, '_>, x: &Tensor, dim: i64, ascending: bool) -> Lowered {
    if x.rank() == 0 {
        let zero = n.number_of(DType::I64, 0.0)?;
        return Ok(vec![x.clone().into(), Tensor::new(zero, DType::I64).into()]);
    }
    let axis = x.axis(dim)?;
    let value = if x.dtype == DType::Bool { n.cast(&x.value, DType::I32)? } else { x.value.clone() };
    let found: Vec<Value> = match x.size(axis) {
        Some(size) => n.push(mb::topk(&value).k(size as i64).axis(axis as i64).ascending(ascending))?,
        None => {
            let places = n.push(mb::argsort(&value).axis(axis as i64).ascending(ascending))?;
            vec![n.push(mb::gather_along_axis(&value, &places).axis(axis as i64))?, places]
        }
    };
    let mut given = outputs(found, x.dtype);
    if x.dtype == DType::Bool
        && let Some(Val::Tensor(t)) = given.first_mut()
    {
        t.value = n.cast(&t.value, DType::Bool)?;
    }
    Ok(given)
}

/// Integers and bools are summed with 64 bits.
fn cumsum(n: &mut Node<'_, '_>) -> Lowered {
    let x = n.tensor(0, "self")?;
    let dim = n.int(1, "dim")?;
    let dtype = n.dtype(2, "dtype")?;
    let dtype = dtype.unwrap_or(if x.dtype.is_float() { x.dtype } else { DType::I64 });
    let x = n.convert(&x, dtype)?;
    if x.rank() == 0 {
        return Ok(vec![x.into()]);
    }
    let axis = x.axis(dim)? as i64;
    let y = n.push(mb::cumsum(&x.value).axis(axis))?;
    let y = n.wrap(&y, dtype)?;
    if y.shape().is_none() {
        return Err(Refusal::new("its result is no tensor"));
    }
    n.one(y, dtype)
}

#[cfg(test)]
mod tests {
    use crate::torch::testing::Net;

    #[test]
    fn the_greatest_are_one_op() {
        let net = Net::new().input("x", &[2, 6]).node("y, places = aten::topk(x, 2, 1, True, True)");
        assert_eq!(net.ops("y"), ["topk"]);
        let e = Net::new().input("x", &[2, 6]).node("y = aten::cumsum(x, 2)").refusal("y");
        assert!(e.contains("no axis 2"), "{e}");
    }
}
