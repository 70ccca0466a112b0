//! Choosing boxes.

use mil_core::{
    graph::Value,
    mb,
    types::{DType, Opset},
};

use super::{Entry, Lowered, Node};
use crate::import::{Refusal, Size};

pub(super) const OPS: &[Entry] = &[Entry::new("NonMaxSuppression", non_max_suppression)
    .but("a computed number of boxes or threshold of overlap, and no boxes at all")];

/// MIL's op chooses among all classes at once and gives a fixed number of boxes: here each class of each image is an image of
/// its own, and the places that were filled are listed.
fn non_max_suppression(n: &mut Node<'_, '_>) -> Lowered {
    let (boxes, scores) = (n.input(0)?, n.input(1)?);
    if boxes.rank() != 3 || scores.rank() != 3 {
        let (boxes, scores) = (boxes.value.ty(), scores.value.ty());
        return Err(Refusal::new(format!("takes boxes and scores of rank 3, found {boxes} and {scores}")));
    }
    let most = n.known_ints(2, "number of boxes")?.and_then(|v| v.first().copied()).unwrap_or(0);
    let overlap = n.known_numbers(3, "threshold of overlap")?.and_then(|v| v.first().copied()).unwrap_or(0.0);
    if most < 1 {
        return Err(Refusal::new(format!("chooses {most} boxes")).remedy("MIL has no empty tensors"));
    }
    let most = most.min(boxes.size(1).map_or(i64::from(i32::MAX), |s| s as i64));
    let dtype = boxes.value.dtype().unwrap_or(DType::F32);
    let threshold = match n.optional(4)? {
        Some(t) => {
            let axes: Vec<usize> = (0..t.rank()).collect();
            Some(n.squeeze(&t.value, &axes)?)
        }
        None => None,
    };
    let centered = n.int_or("center_point_box", 0)? != 0;
    let corners = if centered { boxes.value.clone() } else { centers(n, &boxes.value)? };
    let (images, classes, count) = (n.size(&scores.value, 0)?, n.size(&scores.value, 1)?, n.size(&scores.value, 2)?);
    let each = n.product(&[images.clone(), classes.clone()])?;
    let spread = n.expand_dims(&corners, &[1])?;
    let spread = n.broadcast_to(&spread, &[images, classes.clone(), count.clone(), Size::Fixed(4)])?;
    let spread = n.reshape(&spread, &[each.clone(), count.clone(), Size::Fixed(4)])?;
    let lowest = if dtype == DType::F16 { -65504.0 } else { f64::from(f32::MIN) };
    let known = threshold.as_ref().and_then(|t| t.known()).and_then(|k| k.constant()).and_then(|c| c.number());
    let (places, best) = if n.opset() < Opset::iOS17 {
        let scores = n.reshape(&scores.value, &[each, count, Size::Fixed(1)])?;
        let call =
            mb::non_maximum_suppression(&spread, &scores, overlap, most).score_threshold(known.unwrap_or(lowest));
        let given = n.push(call)?;
        (given[2].clone(), n.squeeze(&given[1], &[2])?)
    } else {
        let spread = n.transpose(&spread, &[0, 2, 1])?;
        let scores = n.reshape(&scores.value, &[each, Size::Fixed(1), count])?;
        let given = n.push(mb::non_maximum_suppression(&spread, &scores, overlap, most))?;
        (given[2].clone(), n.squeeze(&given[1], &[1])?)
    };
    let mut filled = n.push(mb::greater_equal(&places, 0i64))?;
    if let Some(threshold) = threshold {
        let threshold = n.cast(&threshold, dtype)?;
        let above = n.push(mb::greater(&best, &threshold))?;
        filled = n.push(mb::logical_and(&filled, &above))?;
    }
    let rows = n.push(mb::non_zero(&filled))?;
    let chosen = n.push(mb::gather_nd(&places, &rows))?;
    let which = n.at(&rows, 1, 0)?;
    let classes = n.scalar_size(&classes)?;
    let image = n.push(mb::floor_div(&which, &classes))?;
    let class = n.push(mb::mod_(&which, &classes))?;
    let y = n.push(mb::stack([&image, &class, &chosen], 1i64))?;
    n.one(y, DType::I64)
}

/// Center and size of boxes that are given by two opposite corners: y, x, y, x.
fn centers(n: &mut Node<'_, '_>, boxes: &Value) -> Result<Value, Refusal> {
    let parts = n.push(mb::split(boxes, 2i64).num_splits(4i64))?;
    let mut columns = vec![];
    for (from, to) in [(1, 3), (0, 2)] {
        let sum = n.push(mb::add(&parts[from], &parts[to]))?;
        columns.push(n.push(mb::mul(&sum, 0.5))?);
    }
    for (from, to) in [(1, 3), (0, 2)] {
        let size = n.push(mb::sub(&parts[to], &parts[from]))?;
        columns.push(n.push(mb::abs(&size))?);
    }
    n.push(mb::concat(columns, 2i64))
}
