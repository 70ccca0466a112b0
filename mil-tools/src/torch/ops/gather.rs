//! Reading at indices.

use mil_core::{graph::Value, mb};

use super::{Entry, Lowered, Node};
use crate::import::{Refusal, Size, Tensor};

pub(super) const OPS: &[Entry] = &[
    Entry::new("aten::_embedding_bag", embedding_bag).but("bags of one size that is known"),
    Entry::new("aten::_embedding_bag_forward_only", embedding_bag).but("bags of one size that is known"),
    Entry::new("aten::embedding", embedding),
    Entry::new("aten::embedding_bag", embedding_bag).but("bags of one size that is known"),
    Entry::new("aten::gather", gather),
    Entry::new("aten::index_select", index_select),
    Entry::new("aten::take", take),
    Entry::new("aten::take_along_dim", gather),
];

/// Slices along an axis.
pub(super) fn slices(n: &mut Node<'_, '_>, x: &Value, indices: &Value, axis: usize) -> Result<Value, Refusal> {
    n.without_bools(x, |n, v| n.push(mb::gather(v, indices).axis(axis as i64)))
}

fn embedding(n: &mut Node<'_, '_>) -> Lowered {
    let (weight, indices) = (n.tensor(0, "weight")?, n.tensor(1, "indices")?);
    let y = slices(n, &weight.value, &indices.value, 0)?;
    n.one(y, weight.dtype)
}

fn index_select(n: &mut Node<'_, '_>) -> Lowered {
    let (x, index) = (n.tensor(0, "self")?, n.tensor(2, "index")?);
    let dim = n.int(1, "dim")?;
    let axis = x.axis(dim)?;
    let index = n.reshape(&index.value, &[Size::Fixed(-1)])?;
    let y = slices(n, &x.value, &index, axis)?;
    n.one(y, x.dtype)
}

/// An element per index. The index may be smaller than the tensor, which MIL's may not.
fn gather(n: &mut Node<'_, '_>) -> Lowered {
    let (axis_at, index_at) = if n.op() == "gather" { (1, 2) } else { (2, 1) };
    let mut x = n.tensor(0, "self")?;
    let mut index = n.tensor(index_at, "index|indices")?;
    let axis = if n.has(axis_at, "dim") {
        let dim = n.int(axis_at, "dim")?;
        if x.rank() == 0 { 0 } else { x.axis(dim)? }
    } else {
        x.value = n.reshape(&x.value, &[Size::Fixed(-1)])?;
        index.value = n.reshape(&index.value, &[Size::Fixed(-1)])?;
        0
    };
    if x.rank() == 0 {
        return n.one(x.value, x.dtype);
    }
    if index.rank() != x.rank() {
        return Err(Refusal::new(format!("its index has rank {}, its input {}", index.rank(), x.rank())));
    }
    let along = n.op() != "gather";
    if along {
        // `take_along_dim` broadcasts both.
        let (own, others) = (n.sizes(&x.value)?, n.sizes(&index.value)?);
        let pick =
            |i: usize, a: &Size, b: &Size| if i != axis && matches!(a, Size::Fixed(1)) { b.clone() } else { a.clone() };
        let wide: Vec<Size> = (0..own.len()).map(|i| pick(i, &own[i], &others[i])).collect();
        let index_wide: Vec<Size> = (0..own.len()).map(|i| pick(i, &others[i], &own[i])).collect();
        x.value = n.broadcast_to(&x.value, &wide)?;
        index.value = n.broadcast_to(&index.value, &index_wide)?;
    }
    let value = shrunk(n, &x, &index, axis)?;
    let y = n.without_bools(&value, |n, v| n.push(mb::gather_along_axis(v, &index.value).axis(axis as i64)))?;
    n.one(y, x.dtype)
}

/// The tensor cut to the sizes of another one in all dimensions but one.
pub(super) fn shrunk(n: &mut Node<'_, '_>, x: &Tensor, like: &Tensor, but: usize) -> Result<Value, Refusal> {
    let mut value = x.value.clone();
    for axis in (0..x.rank()).filter(|a| *a != but) {
        if let (Some(have), Some(want)) = (x.size(axis), like.size(axis))
            && want < have
        {
            value = super::slice::range(n, &value, axis, 0, want as i64)?;
        }
    }
    Ok(value)
}

/// Elements by their places in all of the tensor.
fn take(n: &mut Node<'_, '_>) -> Lowered {
    let (x, index) = (n.tensor(0, "self")?, n.tensor(1, "index")?);
    let flat = n.reshape(&x.value, &[Size::Fixed(-1)])?;
    let y = slices(n, &flat, &index.value, 0)?;
    n.one(y, x.dtype)
}

/// Sums, means or maxima of bags of embeddings.
fn embedding_bag(n: &mut Node<'_, '_>) -> Lowered {
    let (weight, indices) = (n.tensor(0, "weight")?, n.tensor(1, "indices")?);
    let offsets = n.ints(2, "offsets")?.unwrap_or_default();
    let mode = n.int_or(4, "mode", 0)?;
    if n.has(6, "per_sample_weights") {
        return Err(
            Refusal::new("weighs samples, which is not supported").remedy("use `embedding`, a product and a sum")
        );
    }
    let count = indices
        .size(0)
        .filter(|_| indices.rank() == 1)
        .ok_or_else(|| Refusal::new("needs to know how many indices there are"))?;
    let last = n.bool_or(7, "include_last_offset", false)?;
    let bags = if last { offsets.len().saturating_sub(1) } else { offsets.len() };
    let size = count.checked_div(bags).unwrap_or(0);
    if size == 0 || (0..bags).any(|i| offsets[i] != (i * size) as i64) || size * bags != count {
        return Err(
            Refusal::new("its bags are not of one size").remedy("use `embedding`, and sum what belongs together")
        );
    }
    let rows = slices(n, &weight.value, &indices.value, 0)?;
    let rows = n.reshape(&rows, &[bags.into(), size.into(), Size::Fixed(-1)])?;
    let y = match mode {
        0 => n.push(mb::reduce_sum(&rows).axes([1]))?,
        1 => n.push(mb::reduce_mean(&rows).axes([1]))?,
        _ => n.push(mb::reduce_max(&rows).axes([1]))?,
    };
    n.one(y, weight.dtype)
}

#[cfg(test)]
mod tests {
    use mil_core::{ir::Constant, types::DType};

    use crate::torch::testing::Net;

    #[test]
    fn an_embedding_is_a_gather() {
        let net = Net::new().input_of(DType::I64, "i", &[1, 7]).ones("table", &[10, 4]);
        let form = net.node("y = aten::embedding(table, i)").form("y");
        assert_eq!(form, ["gather(x=Tensor<f32, 10, 4>, indices=i, axis=0)"]);
        let net = Net::new().input("x", &[3, 5]).constant("i", Constant::vector(&[2i64, 0]));
        let form = net.node("y = aten::index_select(x, -1, i)").form("y");
        assert_eq!(form, ["gather(x=x, indices=[2, 0], axis=1)"]);
    }

    #[test]
    fn bags_of_several_sizes_are_refused() {
        let net = Net::new().input_of(DType::I64, "i", &[7]).ones("table", &[10, 4]);
        let e = net.node("y = aten::embedding_bag(table, i, [0, 3])").refusal("y");
        assert!(e.contains("its bags are not of one size"), "{e}");
    }
}
