//! Joining and splitting.

use mil_core::{graph::Value, mb};

use super::{Entry, Lowered, Node};
use crate::import::{Cut, Refusal, Size, Tensor};

pub(super) const OPS: &[Entry] = &[Entry::new("Concat", concat), Entry::new("Split", split)];

fn concat(n: &mut Node<'_, '_>) -> Lowered {
    let parts = n.all_inputs()?;
    let Some(first) = parts.first() else { return Err(Refusal::new("joins no tensors")) };
    let axis = first.axis(n.int_or("axis", 1)?)?;
    let dtype = first.dtype;
    let values: Vec<Value> = parts.into_iter().map(|t| t.value).collect();
    let y = n.join(&values, axis)?;
    n.one(y, dtype)
}

fn split(n: &mut Node<'_, '_>) -> Lowered {
    let x = n.input(0)?;
    let axis = x.axis(n.int_or("axis", 0)?)?;
    let count = n.outputs();
    let said = match n.ints_attr("split")? {
        Some(sizes) => Some(sizes.into_iter().map(Size::Fixed).collect()),
        None => match n.optional(1)? {
            Some(sizes) => Some((0..count).map(|i| n.element(&sizes.value, i)).collect::<Result<Vec<_>, _>>()?),
            None => None,
        },
    };
    let parts = int_count(n, count)?;
    let sizes = match said {
        Some(sizes) => sizes,
        None => equal(n, &x, axis, parts)?,
    };
    let values = pieces(n, &x.value, axis, &sizes)?;
    Ok(values.into_iter().map(|v| Tensor::new(v, x.dtype)).collect())
}

/// How many parts are asked for: `num_outputs`, or as many as there are names.
fn int_count(n: &Node<'_, '_>, outputs: usize) -> Result<i64, Refusal> {
    match n.int_or("num_outputs", outputs as i64)? {
        parts @ 1.. => Ok(parts),
        parts => Err(Refusal::new(format!("splits into {parts} parts"))),
    }
}

/// Parts of one size, the last of which may be smaller.
fn equal(n: &mut Node<'_, '_>, x: &Tensor, axis: usize, parts: i64) -> Result<Vec<Size>, Refusal> {
    if let Some(size) = x.size(axis) {
        let size = size as i64;
        let each = size.div_euclid(parts) + i64::from(size % parts != 0);
        return Ok((0..parts).map(|i| Size::Fixed((size - i * each).clamp(0, each))).collect());
    }
    let Size::Value(size) = n.size(&x.value, axis)? else { return Ok(vec![]) };
    let raised = n.push(mb::add(&size, parts - 1))?;
    let each = n.push(mb::floor_div(&raised, parts))?;
    let mut sizes = vec![Size::Value(each.clone()); parts as usize - 1];
    let before = n.push(mb::mul(&each, parts - 1))?;
    sizes.push(Size::Value(n.push(mb::sub(&size, &before))?));
    Ok(sizes)
}

/// Consecutive parts of these sizes along an axis.
pub(super) fn pieces(n: &mut Node<'_, '_>, x: &Value, axis: usize, sizes: &[Size]) -> Result<Vec<Value>, Refusal> {
    if let [_] = sizes {
        return Ok(vec![x.clone()]);
    }
    let numbers: Option<Vec<i64>> =
        sizes.iter().map(|s| if let Size::Fixed(v) = s { Some(*v) } else { None }).collect();
    if let Some(bad) = numbers.iter().flatten().find(|v| **v < 0) {
        return Err(Refusal::new(format!("splits off a part of size {bad}")));
    }
    if let Some(numbers) = numbers.filter(|all| !all.contains(&0)) {
        return n.push(mb::split(x, axis as i64).split_sizes(numbers));
    }
    let mut begin = Size::Fixed(0);
    let mut values = vec![];
    for size in sizes {
        let end = n.add_sizes(&begin, size)?;
        values.push(n.cut(x, &[Cut::new(axis, begin, end.clone())])?);
        begin = end;
    }
    Ok(values)
}
