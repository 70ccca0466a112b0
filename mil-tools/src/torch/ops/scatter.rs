//! Writing at indices.

use mil_core::{graph::Value, mb, types::DType};

use super::{Entry, Lowered, Node, gather::shrunk};
use crate::import::{Refusal, Size, Tensor};

const SIZES: &str = "an index smaller than the tensor only in the dimension that is written to";

pub(super) const OPS: &[Entry] = &[
    Entry::new("aten::fill", fill),
    Entry::new("aten::index_add", |n| index_write(n, "add")),
    Entry::new("aten::index_copy", |n| index_write(n, "update")),
    Entry::new("aten::index_fill", index_fill),
    Entry::new("aten::scatter", scatter).but(SIZES),
    Entry::new("aten::scatter_add", |n| along(n, "add")).but(SIZES),
    Entry::new("aten::scatter_reduce", scatter_reduce).but(SIZES),
    Entry::new("aten::zero", fill),
];

fn fill(n: &mut Node<'_, '_>) -> Lowered {
    let x = n.tensor(0, "self")?;
    let value = n.float_or(1, "value", 0.0)?;
    let sizes = n.sizes(&x.value)?;
    let y = n.filled_with(&sizes, x.dtype, value)?;
    n.one(y, x.dtype)
}

/// `scatter` of a tensor or a number, with a way of joining in some overloads.
fn scatter(n: &mut Node<'_, '_>) -> Lowered {
    let mode = match n.text(4, "reduce")?.as_deref() {
        None => "update",
        Some("add") => "add",
        Some("multiply") => "mul",
        Some(other) => return Err(Refusal::new(format!("has no way of joining `{}`", other.escape_debug()))),
    };
    along(n, mode)
}

/// The operands: bools go as integers.
fn operands(n: &mut Node<'_, '_>) -> Result<(Tensor, Value, Tensor, Value, usize), Refusal> {
    let (x, index) = (n.tensor(0, "self")?, n.tensor(2, "index")?);
    let dim = n.int(1, "dim")?;
    let axis = x.axis(dim)?;
    for i in (0..x.rank()).filter(|i| *i != axis) {
        if let (Some(have), Some(want)) = (x.size(i), index.size(i))
            && have != want
        {
            let message = format!("its index has {want} places along dimension {i}, its input {have}");
            return Err(Refusal::new(message).remedy("cut the input to the index first"));
        }
    }
    let src = n.tensor(3, "src|value|source")?;
    let src = n.convert(&src, x.dtype)?;
    let src = if src.rank() == 0 {
        let sizes = n.sizes(&index.value)?;
        n.broadcast_to(&src.value, &sizes)?
    } else {
        let cut = shrunk(n, &src, &index, axis)?;
        match (src.size(axis), index.size(axis)) {
            (Some(have), Some(want)) if want < have => super::slice::range(n, &cut, axis, 0, want as i64)?,
            _ => cut,
        }
    };
    let bools = x.dtype == DType::Bool;
    let target = if bools { n.cast(&x.value, DType::I32)? } else { x.value.clone() };
    let src = if bools { n.cast(&src, DType::I32)? } else { src };
    Ok((x, target, index, src, axis))
}

fn finish(n: &mut Node<'_, '_>, x: &Tensor, y: Value) -> Lowered {
    let y = if x.dtype == DType::Bool { n.cast(&y, DType::Bool)? } else { n.wrap(&y, x.dtype)? };
    n.one(y, x.dtype)
}

fn along(n: &mut Node<'_, '_>, mode: &'static str) -> Lowered {
    let (x, target, index, src, axis) = operands(n)?;
    let y = n.push(mb::scatter_along_axis(&target, &index.value, &src).axis(axis as i64).mode(mode))?;
    finish(n, &x, y)
}

/// With or without what is there before.
fn scatter_reduce(n: &mut Node<'_, '_>) -> Lowered {
    let how = n.text(4, "reduce")?.unwrap_or_default();
    let include = n.bool_or(5, "include_self", true)?;
    let (x, mut target, index, src, axis) = operands(n)?;
    let put = |n: &mut Node<'_, '_>, to: &Value, from: &Value, mode: &'static str| {
        n.push(mb::scatter_along_axis(to, &index.value, from).axis(axis as i64).mode(mode))
    };
    let float = x.dtype.is_float();
    let (mode, neutral) = match &how[..] {
        "sum" | "mean" => ("add", 0.0),
        "prod" => ("mul", 1.0),
        "amax" => ("max", if float { f64::NEG_INFINITY } else { f64::from(i32::MIN) }),
        "amin" => ("min", if float { f64::INFINITY } else { f64::from(i32::MAX) }),
        other => return Err(Refusal::new(format!("has no way of joining `{}`", other.escape_debug()))),
    };
    if how == "mean" && !float {
        return Err(Refusal::new("means of integers are not supported").remedy("use floats"));
    }
    let sizes = n.sizes(&index.value)?;
    if !include {
        // What is written to begins with what does not matter.
        let none = n.filled_with(&sizes, x.dtype, neutral)?;
        target = put(n, &target, &none, "update")?;
    }
    let mut y = put(n, &target, &src, mode)?;
    if how == "mean" {
        let all = n.sizes(&target)?;
        let ones = n.filled_with(&sizes, x.dtype, 1.0)?;
        let before = n.filled_with(&all, x.dtype, if include { 1.0 } else { 0.0 })?;
        let counts = put(n, &before, &ones, "add")?;
        let counts = n.push(mb::maximum(&counts, 1.0))?;
        y = n.push(mb::real_div(&y, &counts))?;
    }
    finish(n, &x, y)
}

/// Slices along a dimension, one per index.
fn index_write(n: &mut Node<'_, '_>, mode: &'static str) -> Lowered {
    let (x, index, src) = (n.tensor(0, "self")?, n.tensor(2, "index")?, n.tensor(3, "source")?);
    let dim = n.int(1, "dim")?;
    let axis = x.axis(dim)?;
    let mut src = n.convert(&src, x.dtype)?;
    if mode == "add" {
        let alpha = n.float_or(4, "alpha", 1.0)?;
        if alpha != 1.0 {
            let alpha = n.number_of(x.dtype, alpha)?;
            src.value = n.push(mb::mul(&src.value, &alpha))?;
        }
    }
    let index = n.reshape(&index.value, &[Size::Fixed(-1)])?;
    put_slices(n, &x, &index, &src.value, axis, mode)
}

fn put_slices(
    n: &mut Node<'_, '_>,
    x: &Tensor,
    index: &Value,
    src: &Value,
    axis: usize,
    mode: &'static str,
) -> Lowered {
    let bools = x.dtype == DType::Bool;
    let target = if bools { n.cast(&x.value, DType::I32)? } else { x.value.clone() };
    let src = if bools { n.cast(src, DType::I32)? } else { src.clone() };
    let y = n.push(mb::scatter(&target, index, &src).axis(axis as i64).mode(mode))?;
    finish(n, x, y)
}

fn index_fill(n: &mut Node<'_, '_>) -> Lowered {
    let (x, index) = (n.tensor(0, "self")?, n.tensor(2, "index")?);
    let dim = n.int(1, "dim")?;
    let axis = x.axis(dim)?;
    let value = n.val(3, "value")?;
    let value = n.operand(&value, x.dtype)?;
    let index = n.reshape(&index.value, &[Size::Fixed(-1)])?;
    let mut sizes = n.sizes(&x.value)?;
    sizes[axis] = n.size(&index, 0)?;
    let src = n.broadcast_to(&value, &sizes)?;
    put_slices(n, &x, &index, &src, axis, "update")
}

#[cfg(test)]
mod tests {
    use mil_core::{ir::Constant, types::DType};

    use crate::torch::testing::Net;

    #[test]
    fn writes_along_an_axis_are_one_op() {
        let net = |call: &str| {
            let net = Net::new().input("x", &[2, 3]).input("src", &[2, 1]);
            let net = net.constant("i", Constant::integers(DType::I64, [2, 1], &[0, 2]).unwrap());
            net.constant("one", Constant::integers(DType::I64, [1, 1], &[0]).unwrap())
                .node(&format!("y = aten::{call}"))
        };
        assert_eq!(net("scatter(x, 1, i, src)").ops("y"), ["scatter_along_axis"]);
        assert!(net("scatter(x, 1, i, src, reduce='xor')").refusal("y").contains("has no way of joining `xor`"));
        let e = net("scatter(x, 1, one, src)").refusal("y");
        assert!(e.contains("its index has 1 places along dimension 0, its input 2"), "{e}");
    }
}
