//! Reading at indices.

use mil_core::{
    mb,
    types::{DType, Opset},
};

use super::{Entry, Lowered, Node};
use crate::import::{Lowering, Refusal, Size, Tensor};

pub(super) const OPS: &[Entry] = &[
    Entry::new("Compress", compress),
    Entry::new("Gather", gather),
    Entry::new("GatherElements", gather_elements),
    Entry::new("GatherND", gather_nd),
    Entry::new("NonZero", non_zero),
];

fn gather(n: &mut Node<'_, '_>) -> Lowered {
    let (x, indices) = (n.input(0)?, n.input(1)?);
    let axis = x.axis(n.int_or("axis", 0)?)?;
    let size = n.size(&x.value, axis)?;
    let indices = n.places(&indices.value, &size)?;
    let y = n.without_bools(&x.value, |l, x| l.push(mb::gather(x, &indices).axis(axis as i64)))?;
    n.one(y, x.dtype)
}

fn gather_elements(n: &mut Node<'_, '_>) -> Lowered {
    let (x, indices) = (n.input(0)?, n.input(1)?);
    let axis = x.axis(n.int_or("axis", 0)?)?;
    let size = n.size(&x.value, axis)?;
    let places = n.places(&indices.value, &size)?;
    // Elsewhere MIL wants as many indices as there are elements; the rest is never read.
    let mut source = x.value.clone();
    for other in (0..x.rank().min(indices.rank())).filter(|a| *a != axis) {
        if x.dims()[other] != indices.dims()[other] {
            let end = n.size(&indices.value, other)?;
            source = n.range_of(&source, other, None, end)?;
        }
    }
    let y = n.without_bools(&source, |l, x| l.push(mb::gather_along_axis(x, &places).axis(axis as i64)))?;
    n.one(y, x.dtype)
}

/// Rows of indices into the dimensions from `first` on, none of them negative where MIL does not take that.
pub(super) fn rows(
    l: &mut Lowering,
    indices: &Tensor,
    x: &Tensor,
    first: usize,
) -> Result<mil_core::graph::Value, Refusal> {
    let not_negative = indices.known_dims().is_some_and(|d| d.iter().all(|d| d.at_least(0)));
    let depth = indices.dims().last().and_then(mil_core::types::Dim::fixed);
    let Some(depth) = depth else {
        return Err(Refusal::new(format!(
            "how many indices there are in a row of {} is not known",
            indices.value.ty()
        )));
    };
    if not_negative || (l.opset() < Opset::iOS17 && indices.constant().is_none()) {
        return Ok(indices.value.clone());
    }
    if first + depth > x.rank() {
        return Err(Refusal::new(format!("{depth} indices for {}", x.value.ty())));
    }
    let sizes = (first..first + depth).map(|a| l.size(&x.value, a)).collect::<Result<Vec<Size>, _>>()?;
    let sizes = l.shape_of_sizes(&sizes)?;
    let raised = l.push(mb::add(&indices.value, sizes))?;
    let negative = l.push(mb::less(&indices.value, 0i64))?;
    l.push(mb::select(&negative, &raised, &indices.value))
}

fn gather_nd(n: &mut Node<'_, '_>) -> Lowered {
    let (x, indices) = (n.input(0)?, n.input(1)?);
    let batch = n.int_or("batch_dims", 0)?;
    let first = usize::try_from(batch).map_err(|_| Refusal::new(format!("its `batch_dims` is {batch}")))?;
    let places = rows(n, &indices, &x, first)?;
    if batch > 0 {
        n.needs(Opset::iOS16, "`GatherND` over batches")?;
    }
    let y = n.without_bools(&x.value, |l, x| {
        let call = mb::gather_nd(x, &places);
        l.push(if batch > 0 { call.batch_dims(batch) } else { call })
    })?;
    n.one(y, x.dtype)
}

fn non_zero(n: &mut Node<'_, '_>) -> Lowered {
    let x = n.input(0)?;
    let value = if x.rank() == 0 { n.expand_dims(&x.value, &[0])? } else { x.value.clone() };
    let places = n.push(mb::non_zero(&value))?;
    let y = n.transpose(&places, &[1, 0])?;
    n.one(y, DType::I64)
}

fn compress(n: &mut Node<'_, '_>) -> Lowered {
    let (x, condition) = (n.input(0)?, n.input(1)?);
    let (source, axis) = match n.int("axis")? {
        Some(axis) => (x.value.clone(), x.axis(axis)?),
        None => (n.reshape(&x.value, &[Size::Fixed(-1)])?, 0),
    };
    let places = n.push(mb::non_zero(&condition.value))?;
    let places = n.squeeze(&places, &[1])?;
    let y = n.without_bools(&source, |l, x| l.push(mb::gather(x, &places).axis(axis as i64)))?;
    n.one(y, x.dtype)
}
