//! Choosing boxes.

use mil_core::{
    graph::Value,
    mb,
    types::{DType, Opset},
};

use super::{
    Entry, Lowered, Node,
    rounds::{Round, Rounds},
};
use crate::import::{Refusal, Size, Tensor, literal};

pub(super) const OPS: &[Entry] = &[Entry::new("NonMaxSuppression", non_max_suppression).but("no boxes at all")];

/// MIL's op chooses among all classes at once and gives a fixed number of boxes: here each class of each image is an image of
/// its own, and the places that were filled are listed.
fn non_max_suppression(n: &mut Node<'_, '_>) -> Lowered {
    let (boxes, scores) = (n.input(0)?, n.input(1)?);
    if boxes.rank() != 3 || scores.rank() != 3 {
        let (boxes, scores) = (boxes.value.ty(), scores.value.ty());
        return Err(Refusal::new(format!("takes boxes and scores of rank 3, found {boxes} and {scores}")));
    }
    let most = match n.optional(2)? {
        Some(t) => n.element(&t.value, 0)?,
        None => Size::Fixed(0),
    };
    if let Size::Fixed(most @ ..1) = most {
        return Err(Refusal::new(format!("chooses {most} boxes")).remedy("MIL has no empty tensors"));
    }
    let overlap = match n.optional(3)? {
        Some(t) => match t.numbers() {
            Some(known) => Overlap::Known(known.first().copied().unwrap_or(0.0)),
            None => Overlap::Computed(n.squeeze(&t.value, &(0..t.rank()).collect::<Vec<_>>())?),
        },
        None => Overlap::Known(0.0),
    };
    let dtype = boxes.value.dtype().unwrap_or(DType::F32);
    let threshold = match n.optional(4)? {
        Some(t) => {
            let axes: Vec<usize> = (0..t.rank()).collect();
            Some(n.squeeze(&t.value, &axes)?)
        }
        None => None,
    };
    let centered = n.int_or("center_point_box", 0)? != 0;
    let (images, classes, count) = (n.size(&scores.value, 0)?, n.size(&scores.value, 1)?, n.size(&scores.value, 2)?);
    let each = n.product(&[images.clone(), classes.clone()])?;
    let spread = |n: &mut Node<'_, '_>, corners: &Value, size: i64| {
        let spread = n.expand_dims(corners, &[1])?;
        let spread = n.broadcast_to(&spread, &[images.clone(), classes.clone(), count.clone(), Size::Fixed(size)])?;
        n.reshape(&spread, &[each.clone(), count.clone(), Size::Fixed(size)])
    };
    let (most, overlap) = match (most, overlap) {
        (Size::Fixed(most), Overlap::Known(overlap)) => (most, overlap),
        (most, overlap) => {
            let columns = borders(n, &boxes.value, centered)?;
            let columns = columns.iter().map(|c| spread(n, c, 1)).collect::<Result<Vec<_>, _>>()?;
            let columns = columns.iter().map(|c| n.squeeze(c, &[2])).collect::<Result<Vec<_>, _>>()?;
            let scores = n.reshape(&scores.value, &[each.clone(), count.clone()])?;
            let overlap = match overlap {
                Overlap::Known(overlap) => n.number(dtype, overlap)?,
                Overlap::Computed(overlap) => n.cast(&overlap, dtype)?,
            };
            let (places, filled) = one_by_one(n, &columns, &scores, most, &overlap, threshold.as_ref())?;
            return chosen(n, &places, &filled, &classes);
        }
    };
    let most = most.min(boxes.size(1).map_or(i64::from(i32::MAX), |s| s as i64));
    let corners = if centered { boxes.value.clone() } else { centers(n, &boxes.value)? };
    let spread = spread(n, &corners, 4)?;
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
    chosen(n, &places, &filled, &classes)
}

/// The intersection over union above which boxes overlap too much.
enum Overlap {
    Known(f64),
    Computed(Value),
}

/// The list of boxes: image, class and place of each that is filled in.
fn chosen(n: &mut Node<'_, '_>, places: &Value, filled: &Value, classes: &Size) -> Lowered {
    let rows = n.push(mb::non_zero(filled))?;
    let chosen = n.push(mb::gather_nd(places, &rows))?;
    let which = n.at(&rows, 1, 0)?;
    let classes = n.scalar_size(classes)?;
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

/// The borders of boxes, each `[images, boxes, 1]`: the lower and upper of one direction, and of the other.
fn borders(n: &mut Node<'_, '_>, boxes: &Value, centered: bool) -> Result<[Value; 4], Refusal> {
    let parts = n.push(mb::split(boxes, 2i64).num_splits(4i64))?;
    let mut direction = |at: usize| -> Result<[Value; 2], Refusal> {
        let (a, b) = (&parts[at], &parts[at + 2]);
        if centered {
            let half = n.push(mb::mul(b, 0.5))?;
            Ok([n.push(mb::sub(a, &half))?, n.push(mb::add(a, &half))?])
        } else {
            Ok([n.push(mb::minimum(a, b))?, n.push(mb::maximum(a, b))?])
        }
    };
    let ([left, right], [top, bottom]) = (direction(0)?, direction(1)?);
    Ok([left, right, top, bottom])
}

/// How a box is marked that was not chosen: more than there are rounds.
const NEVER: i64 = 1 << 24;

/// MIL's op knows the number of boxes and their overlap beforehand. Where they are known when the model runs, boxes are chosen one after
/// the other, a round for each, in all classes at once, until no class has one left: gives places in the order in which they were
/// chosen, and which of them were.
fn one_by_one(
    n: &mut Node<'_, '_>,
    borders: &[Value],
    scores: &Value,
    most: Size,
    overlap: &Value,
    threshold: Option<&Value>,
) -> Result<(Value, Value), Refusal> {
    let dtype = scores.dtype().unwrap_or(DType::F32);
    let [left, right, top, bottom] = borders else { return Err(Refusal::new("takes boxes of four numbers")) };
    let (width, height) = (n.push(mb::sub(right, left))?, n.push(mb::sub(bottom, top))?);
    let area = n.push(mb::mul(&width, &height))?;
    let columns = [left, right, top, bottom, &area];
    let gone = literal(dtype, f64::NEG_INFINITY).constant(dtype)?;
    let gone = n.constant(gone);
    let mut left_over = scores.clone();
    if let Some(threshold) = threshold {
        let threshold = n.cast(threshold, dtype)?;
        let above = n.push(mb::greater(scores, &threshold))?;
        left_over = n.select(&above, scores, &gone)?;
    }
    let order = n.filled_like(scores, DType::I32, NEVER as f64)?;
    let count = n.size(scores, 1)?;
    let places = n.iota(&count)?;
    let places = n.expand_dims(&places, &[0])?;
    let any = |n: &mut Node<'_, '_>, scores: &Value| {
        let best = n.push(mb::reduce_max(scores).axes([0, 1]).keep_dims(false))?;
        n.push(mb::greater(&best, &gone))
    };
    let condition = any(n, &left_over)?;
    let states = vec![Tensor::new(left_over, dtype), Tensor::new(order, DType::I32)];
    let plan = Rounds { count: Some(most), condition: Some(condition), scans: 0, weight: 1 };
    let (states, _) = plan.lower(n, states, &mut |n, round, _, states| {
        let (scores, order) = (&states[0].value, &states[1].value);
        let best = n.push(mb::reduce_argmax(scores).axis(1i64).keep_dims(true))?;
        let highest = n.push(mb::reduce_max(scores).axes([1]).keep_dims(true))?;
        let some = n.push(mb::greater(&highest, &gone))?;
        let is = n.push(mb::equal(&places, &best))?;
        let is = n.push(mb::logical_and(&is, &some))?;
        let mut of_best = vec![];
        for column in columns {
            of_best.push(n.push(mb::gather_along_axis(column, &best).axis(1i64))?);
        }
        let mut extent = |low: usize, high: usize| {
            let low = n.push(mb::maximum(columns[low], &of_best[low]))?;
            let high = n.push(mb::minimum(columns[high], &of_best[high]))?;
            let extent = n.push(mb::sub(&high, &low))?;
            n.push(mb::relu(&extent))
        };
        let (across, along) = (extent(0, 1)?, extent(2, 3)?);
        let common = n.push(mb::mul(&across, &along))?;
        let both = n.push(mb::add(columns[4], &of_best[4]))?;
        let union = n.push(mb::sub(&both, &common))?;
        let share = n.push(mb::real_div(&common, &union))?;
        let covered = n.push(mb::greater(&share, overlap))?;
        // The box itself may have no area.
        let out = n.push(mb::logical_or(&covered, &is))?;
        let scores = n.select(&out, &gone, scores)?;
        let order = n.select(&is, round, order)?;
        let condition = any(n, &scores)?;
        let states = vec![Tensor::new(scores, dtype), Tensor::new(order, DType::I32)];
        Ok(Round { condition, states, scans: vec![] })
    })?;
    let order = &states[1].value;
    let places = n.push(mb::argsort(order).axis(1i64).ascending(true))?;
    let sorted = n.push(mb::gather_along_axis(order, &places).axis(1i64))?;
    let filled = n.push(mb::less(&sorted, NEVER))?;
    Ok((places, filled))
}

#[cfg(test)]
mod tests {
    use mil_core::{ir::Constant, types::DType};

    use crate::onnx::testing::Net;

    fn net() -> Net {
        Net::new(11).input("boxes", DType::F32, &[1, 6, 4]).input("scores", DType::F32, &[1, 2, 6])
    }

    #[test]
    fn known_numbers_make_one_op_and_others_a_loop() {
        let known =
            |net: Net| net.constant("most", Constant::vector(&[3i64])).constant("over", Constant::vector(&[0.5f32]));
        let has = |net: Net, op: &str| {
            let ops = net.node("NonMaxSuppression", "boxes scores most over", "y", &[]).ops("y");
            ops.contains(&op)
        };
        assert!(has(known(net()), "non_maximum_suppression"));
        assert!(!has(known(net()), "while_loop"));
        let most = || net().input("most", DType::I64, &[1]);
        assert!(has(most().constant("over", Constant::vector(&[0.5f32])), "while_loop"));
        let over = net().input("over", DType::F32, &[]).constant("most", Constant::scalar(3i64));
        assert!(!has(over, "non_maximum_suppression"));
    }

    #[test]
    fn no_boxes_at_all_are_refused() {
        let refused = net().node("NonMaxSuppression", "boxes scores", "y", &[]).import("y").unwrap_err();
        assert!(refused.contains("chooses 0 boxes"), "{refused}");
    }
}
