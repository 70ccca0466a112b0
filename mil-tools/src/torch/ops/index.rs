//! Indexing with several tensors, as `x[a, :, b]` does it.

use mil_core::{
    graph::Value,
    mb,
    types::{DType, Opset},
};

use super::{Entry, Lowered, Node, gather::slices};
use crate::{
    import::{Refusal, Size, Tensor},
    torch::val::Val,
};

pub(super) const OPS: &[Entry] = &[
    Entry::new("aten::_index_put_impl", index_put),
    Entry::new("aten::_unsafe_index", index),
    Entry::new("aten::_unsafe_index_put", index_put),
    Entry::new("aten::argwhere", nonzero),
    Entry::new("aten::index", index),
    Entry::new("aten::index_put", index_put),
    Entry::new("aten::masked_select", masked_select),
    Entry::new("aten::nonzero", nonzero),
    Entry::new("aten::nonzero_numpy", nonzero_parts),
];

/// What a tensor is indexed with.
enum Plan {
    /// Dimensions with their indices.
    Axes(Vec<(usize, Tensor)>),
    /// The first dimensions with a mask.
    Mask(Tensor),
}

fn plan(n: &mut Node<'_, '_>, x: &Tensor) -> Result<Plan, Refusal> {
    let items = match n.val(1, "indices")? {
        Val::List(items) => items,
        one => vec![one],
    };
    let mut axes = vec![];
    let mut axis = 0;
    let several = items.len() > 1;
    for item in &items {
        if matches!(item, Val::None) {
            axis += 1;
            continue;
        }
        let t = n.as_tensor(item)?;
        if matches!(t.dtype, DType::Bool | DType::U8) {
            if several && (axis > 0 || items.iter().filter(|i| !matches!(i, Val::None)).count() > 1) {
                return Err(Refusal::new("indexes with a mask behind other indices")
                    .remedy("use the mask first, or `torch.where`"));
            }
            return Ok(Plan::Mask(t));
        }
        let size = x.size(axis);
        axes.push((axis, Tensor::new(counted(n, &t, x, axis, size)?, t.dtype)));
        axis += 1;
    }
    if axis > x.rank() {
        return Err(Refusal::new(format!("has {axis} indices for a tensor of rank {}", x.rank())));
    }
    Ok(Plan::Axes(axes))
}

/// Indices that count from the end become those that do not: only older systems know the others.
fn counted(n: &mut Node<'_, '_>, t: &Tensor, x: &Tensor, axis: usize, size: Option<usize>) -> Result<Value, Refusal> {
    if let (Some(known), Some(size)) = (t.ints(), size) {
        if known.iter().all(|i| *i >= 0) {
            return Ok(t.value.clone());
        }
        let fixed: Vec<i64> = known.iter().map(|i| if *i < 0 { i + size as i64 } else { *i }).collect();
        let shape = t.fixed().unwrap_or_default();
        return Ok(n.constant(mil_core::ir::Constant::integers(DType::I32, shape, &fixed)?));
    }
    if n.opset() < Opset::iOS17 || n.op() == "_unsafe_index" {
        return Ok(t.value.clone());
    }
    let size = match n.size(&x.value, axis)? {
        Size::Fixed(s) => n.number_of(DType::I32, s as f64)?,
        Size::Value(v) => n.squeeze(&v, &[0])?,
    };
    let negative = n.push(mb::less(&t.value, 0))?;
    let moved = n.push(mb::add(&t.value, &size))?;
    n.push(mb::select(&negative, &moved, &t.value))
}

/// The indices as rows `[.., k]`, broadcast to one shape; and that shape's rank.
fn rows(n: &mut Node<'_, '_>, axes: &[(usize, Tensor)]) -> Result<(Value, usize), Refusal> {
    let rank = axes.iter().map(|(_, t)| t.rank()).max().unwrap_or(0);
    // Where all sizes but those of 1 agree, each is repeated to the greatest.
    let mut sizes: Vec<Size> = vec![Size::Fixed(1); rank];
    for (_, t) in axes {
        let own = n.sizes(&t.value)?;
        let front = rank - own.len();
        for (i, size) in own.into_iter().enumerate() {
            if matches!(sizes[front + i], Size::Fixed(1)) {
                sizes[front + i] = size;
            }
        }
    }
    let mut parts = vec![];
    for (_, t) in axes {
        parts.push(n.broadcast_to(&t.value, &sizes)?);
    }
    Ok((n.push(mb::stack(parts, rank as i64))?, rank))
}

/// The indexed dimensions first.
fn order(axes: &[(usize, Tensor)], rank: usize) -> Vec<usize> {
    let first: Vec<usize> = axes.iter().map(|(a, _)| *a).collect();
    let rest = (0..rank).filter(|a| !first.contains(a)).collect::<Vec<_>>();
    first.into_iter().chain(rest).collect()
}

/// From "indexed dimensions first" to where PyTorch has them: in their place if they are side by side. `wide` is how many
/// dimensions the indices have.
fn placed(axes: &[(usize, Tensor)], rank: usize, wide: usize) -> Vec<usize> {
    let first = axes[0].0;
    let together = axes.iter().enumerate().all(|(i, (a, _))| *a == first + i);
    let left = rank - axes.len();
    if !together {
        return (0..wide + left).collect();
    }
    (wide..wide + first).chain(0..wide).chain(wide + first..wide + left).collect()
}

fn index(n: &mut Node<'_, '_>) -> Lowered {
    let x = n.tensor(0, "self")?;
    let axes = match plan(n, &x)? {
        Plan::Mask(mask) => return masked(n, &x, &mask),
        Plan::Axes(axes) => axes,
    };
    let y = match &axes[..] {
        [] => x.value.clone(),
        [(axis, indices)] => slices(n, &x.value, &indices.value, *axis)?,
        many => {
            let (rows, wide) = rows(n, many)?;
            let turned = n.transpose(&x.value, &order(many, x.rank()))?;
            let y = n.without_bools(&turned, |n, v| n.push(mb::gather_nd(v, &rows)))?;
            n.transpose(&y, &placed(many, x.rank(), wide))?
        }
    };
    n.one(y, x.dtype)
}

/// The places where a mask holds: `[count, rank]`.
fn places(n: &mut Node<'_, '_>, mask: &Tensor) -> Result<Value, Refusal> {
    let mask = n.truth(mask)?;
    let wide = n.cast(&mask, DType::I32)?;
    n.push(mb::non_zero(&wide))
}

fn masked(n: &mut Node<'_, '_>, x: &Tensor, mask: &Tensor) -> Lowered {
    let rows = places(n, mask)?;
    let y = n.without_bools(&x.value, |n, v| n.push(mb::gather_nd(v, &rows)))?;
    n.one(y, x.dtype)
}

fn masked_select(n: &mut Node<'_, '_>) -> Lowered {
    let (mut x, mut mask) = (n.tensor(0, "self")?, n.tensor(1, "mask")?);
    let (own, other) = (n.sizes(&x.value)?, n.sizes(&mask.value)?);
    if own.len() >= other.len() {
        mask.value = n.broadcast_to(&mask.value, &own)?;
    } else {
        x.value = n.broadcast_to(&x.value, &other)?;
    }
    masked(n, &x, &mask)
}

fn nonzero(n: &mut Node<'_, '_>) -> Lowered {
    let x = n.tensor(0, "self")?;
    let y = places(n, &x)?;
    n.one(y, DType::I64)
}

/// A list with the places along each dimension.
pub(super) fn nonzero_parts(n: &mut Node<'_, '_>) -> Lowered {
    let x = n.tensor(0, "self|condition")?;
    let rows = places(n, &x)?;
    let mut parts = vec![];
    for axis in 0..x.rank() {
        let column = super::slice::range(n, &rows, 1, axis as i64, axis as i64 + 1)?;
        parts.push(Tensor::new(n.squeeze(&column, &[1])?, DType::I64).into());
    }
    Ok(vec![Val::List(parts)])
}

fn index_put(n: &mut Node<'_, '_>) -> Lowered {
    let (x, values) = (n.tensor(0, "self")?, n.tensor(2, "values")?);
    let values = n.convert(&values, x.dtype)?;
    let add = n.bool_or(3, "accumulate", false)?;
    let mode = if add { "add" } else { "update" };
    let bools = x.dtype == DType::Bool;
    let target = if bools { n.cast(&x.value, DType::I32)? } else { x.value.clone() };
    let values = if bools { n.cast(&values.value, DType::I32)? } else { values.value };
    let y = match plan(n, &x)? {
        Plan::Mask(mask)
            if values.shape().is_some_and(|s| s.fixed().is_some_and(|s| s.iter().product::<usize>() == 1)) =>
        {
            let mask_value = n.truth(&mask)?;
            let axes: Vec<usize> = (mask.rank()..x.rank()).collect();
            let mask_value = n.expand_dims(&mask_value, &axes)?;
            let value = n.reshape(&values, &[])?;
            let value = if add { n.push(mb::add(&target, &value))? } else { value };
            n.select(&mask_value, &value, &target)?
        }
        Plan::Mask(mask) => {
            let rows = places(n, &mask)?;
            let (count, rest) = (n.size(&rows, 0)?, n.sizes(&target)?);
            let sizes: Vec<Size> = [count].into_iter().chain(rest[mask.rank()..].iter().cloned()).collect();
            let values = n.broadcast_to(&values, &sizes)?;
            n.push(mb::scatter_nd(&target, &rows, &values).mode(mode))?
        }
        Plan::Axes(axes) if axes.is_empty() => {
            let sizes = n.sizes(&target)?;
            let values = n.broadcast_to(&values, &sizes)?;
            if add { n.push(mb::add(&target, &values))? } else { values }
        }
        Plan::Axes(axes) => {
            let rank = x.rank();
            let (rows, wide) = rows(n, &axes)?;
            let order = order(&axes, rank);
            let turned = n.transpose(&target, &order)?;
            // Values lie as the result of reading would.
            let place = placed(&axes, rank, wide);
            let (shape, all) = (n.sizes(&rows)?, n.sizes(&turned)?);
            let first: Vec<Size> = shape[..wide].iter().chain(&all[axes.len()..]).cloned().collect();
            let sizes: Vec<Size> = place.iter().map(|p| first[*p].clone()).collect();
            let values = n.broadcast_to(&values, &sizes)?;
            let values = n.transpose(&values, &inverse(&place))?;
            let y = n.push(mb::scatter_nd(&turned, &rows, &values).mode(mode))?;
            n.transpose(&y, &inverse(&order))?
        }
    };
    let y = if bools { n.cast(&y, DType::Bool)? } else { y };
    n.one(y, x.dtype)
}

fn inverse(perm: &[usize]) -> Vec<usize> {
    let mut back = vec![0; perm.len()];
    for (i, p) in perm.iter().enumerate() {
        back[*p] = i;
    }
    back
}

#[cfg(test)]
mod tests {
    use mil_core::ir::Constant;

    use crate::torch::testing::Net;

    #[test]
    fn indices_of_one_dimension_are_a_gather() {
        let net = Net::new().input("x", &[3, 5]).constant("i", Constant::vector(&[2i64, -1]));
        let form = net.node("y = aten::index(x, [None, i])").form("y");
        assert_eq!(form, ["gather(x=x, indices=[2, 4], axis=1)"]);
    }

    #[test]
    fn masks_and_too_many_indices_are_refused() {
        let net = Net::new().input("x", &[3, 5]).constant("i", Constant::vector(&[2i64]));
        let e = net.node("y = aten::index(x, [i, i, i])").refusal("y");
        assert!(e.contains("there is no axis 2 in Tensor<f32, 3, 5>"), "{e}");
        let net = Net::new().input("x", &[3, 5]).constant("i", Constant::vector(&[2i64])).node("m = aten::gt(x, 0)");
        let e = net.node("y = aten::index(x, [i, m])").refusal("y");
        assert!(e.contains("use the mask first, or `torch.where`"), "{e}");
    }
}
