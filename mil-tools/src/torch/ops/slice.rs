//! Parts of tensors.

use mil_core::{graph::Value, mb};

use super::{Entry, Lowered, Node};
use crate::{
    import::{Refusal, Size, Tensor, table},
    torch::val::Val,
};

pub(super) const OPS: &[Entry] = &[
    Entry::new("aten::chunk", chunk),
    Entry::new("aten::diagonal", diagonal).but("of a known shape"),
    Entry::new("aten::diagonal_copy", diagonal).but("of a known shape"),
    Entry::new("aten::flip", flip),
    Entry::new("aten::narrow", narrow),
    Entry::new("aten::roll", roll),
    Entry::new("aten::select", select),
    Entry::new("aten::select_copy", select),
    Entry::new("aten::select_scatter", scatter),
    Entry::new("aten::slice", slice),
    Entry::new("aten::slice_copy", slice),
    Entry::new("aten::slice_scatter", scatter),
    Entry::new("aten::split", split),
    Entry::new("aten::split_with_sizes", split),
    Entry::new("aten::split_with_sizes_copy", split),
    Entry::new("aten::tensor_split", tensor_split).but("of a known size"),
    Entry::new("aten::unbind", unbind),
    Entry::new("aten::unfold", unfold),
    Entry::new("aten::unsafe_chunk", chunk),
    Entry::new("aten::unsafe_split", split),
    Entry::new("aten::unsafe_split_with_sizes", split),
];

/// The elements from `begin` to before `end` along an axis, in steps; an end of `None` is the border.
fn part(
    n: &mut Node<'_, '_>,
    x: &Value,
    axis: usize,
    begin: &Size,
    end: Option<&Size>,
    step: i64,
) -> Result<Value, Refusal> {
    let rank = x.shape().map_or(0, |s| s.rank());
    let row = |at: &Size| (0..rank).map(|i| if i == axis { at.clone() } else { Size::Fixed(0) }).collect::<Vec<_>>();
    let from = n.shape_of_sizes(&row(begin))?;
    let to = n.shape_of_sizes(&row(end.unwrap_or(&Size::Fixed(0))))?;
    let start = matches!(begin, Size::Fixed(0));
    let begin_mask: Vec<bool> = (0..rank).map(|i| i != axis || start).collect();
    let end_mask: Vec<bool> = (0..rank).map(|i| i != axis || end.is_none()).collect();
    let mut call = mb::slice_by_index(x, from, to).begin_mask(begin_mask).end_mask(end_mask);
    if step != 1 {
        call = call.stride((0..rank).map(|i| if i == axis { step } else { 1 }).collect::<Vec<i64>>());
    }
    n.push(call)
}

/// A range whose bounds are numbers.
pub(super) fn range(n: &mut Node<'_, '_>, x: &Value, axis: usize, begin: i64, end: i64) -> Result<Value, Refusal> {
    part(n, x, axis, &Size::Fixed(begin), Some(&Size::Fixed(end)), 1)
}

/// The bounds of a slice, within the dimension as far as its size is known: `None` as an end is the border.
fn bounds(n: &mut Node<'_, '_>, x: &Tensor, axis: usize, at: usize) -> Result<(Size, Option<Size>), Refusal> {
    let begin = if n.has(at, "start") { n.dim(at, "start")? } else { Size::Fixed(0) };
    let end = if n.has(at + 1, "end") { Some(n.dim(at + 1, "end")?) } else { None };
    let Some(size) = x.size(axis) else {
        let far = |s: &Size| matches!(s, Size::Fixed(n) if *n >= i64::from(i32::MAX));
        return Ok((begin, end.filter(|e| !far(e))));
    };
    let size = size as i64;
    let inside = |s: Size| match s {
        Size::Fixed(n) => Size::Fixed(if n < 0 { (n + size).max(0) } else { n.min(size) }),
        value => value,
    };
    Ok((inside(begin), end.map(inside).filter(|e| !matches!(e, Size::Fixed(n) if *n == size))))
}

fn slice(n: &mut Node<'_, '_>) -> Lowered {
    let x = n.tensor(0, "self")?;
    let dim = n.int_or(1, "dim", 0)?;
    let axis = x.axis(dim)?;
    let (begin, end) = bounds(n, &x, axis, 2)?;
    let step = n.int_or(4, "step", 1)?;
    if step < 1 {
        return Err(Refusal::new(format!("goes in steps of {step}")));
    }
    if matches!(begin, Size::Fixed(0)) && end.is_none() && step == 1 {
        return Ok(vec![x.into()]);
    }
    if let (Size::Fixed(b), Some(Size::Fixed(e))) = (&begin, &end)
        && b >= e
        && x.size(axis).is_some()
    {
        return Err(Refusal::new(format!("takes nothing ({b} to {e}), and Core ML has no empty tensors")));
    }
    let y = part(n, &x.value, axis, &begin, end.as_ref(), step)?;
    n.one(y, x.dtype)
}

fn narrow(n: &mut Node<'_, '_>) -> Lowered {
    let x = n.tensor(0, "self")?;
    let dim = n.int(1, "dim")?;
    let axis = x.axis(dim)?;
    let (start, length) = (n.val(2, "start")?, n.val(3, "length")?);
    let end = super::symbolic::number(n, super::symbolic::Arithmetic::Add, &start, &length)?;
    let (Some(begin), Some(end)) = (n.size_of(&start)?, n.size_of(&end)?) else {
        return Err(Refusal::new("its bounds are no integers"));
    };
    let y = part(n, &x.value, axis, &begin, Some(&end), 1)?;
    n.one(y, x.dtype)
}

/// The slice at one index; the dimension goes.
fn at_index(n: &mut Node<'_, '_>, x: &Value, axis: usize, index: &Size) -> Result<Value, Refusal> {
    let rank = x.shape().map_or(0, |s| s.rank());
    let others: Vec<bool> = (0..rank).map(|i| i != axis).collect();
    let row = |at: &Size| (0..rank).map(|i| if i == axis { at.clone() } else { Size::Fixed(0) }).collect::<Vec<_>>();
    let begin = n.shape_of_sizes(&row(index))?;
    let (end, end_mask) = match index {
        Size::Fixed(-1) => (Size::Fixed(0), vec![true; rank]),
        Size::Fixed(i) => (Size::Fixed(i + 1), others.clone()),
        Size::Value(v) => (Size::Value(n.push(mb::add(v, 1))?), others.clone()),
    };
    let end = n.shape_of_sizes(&row(&end))?;
    let squeeze: Vec<bool> = (0..rank).map(|i| i == axis).collect();
    n.push(mb::slice_by_index(x, begin, end).begin_mask(others).end_mask(end_mask).squeeze_mask(squeeze))
}

fn select(n: &mut Node<'_, '_>) -> Lowered {
    let x = n.tensor(0, "self")?;
    let dim = n.int(1, "dim")?;
    let axis = x.axis(dim)?;
    let index = match (n.dim(2, "index")?, x.size(axis)) {
        (Size::Fixed(i), Some(size)) if i < 0 => Size::Fixed(i + size as i64),
        (index, _) => index,
    };
    let y = at_index(n, &x.value, axis, &index)?;
    n.one(y, x.dtype)
}

/// Parts of these sizes.
fn parts(n: &mut Node<'_, '_>, x: &Tensor, axis: usize, sizes: &[i64]) -> Lowered {
    if let [_] = sizes {
        return Ok(vec![Val::List(vec![x.clone().into()])]);
    }
    if sizes.iter().any(|s| *s < 1) {
        return Err(Refusal::new("has an empty part, and Core ML has no empty tensors"));
    }
    let values: Vec<Value> = n.push(mb::split(&x.value, axis as i64).split_sizes(sizes.to_vec()))?;
    Ok(vec![Val::List(values.into_iter().map(|v| Tensor::new(v, x.dtype).into()).collect())])
}

fn known(x: &Tensor, axis: usize) -> Result<i64, Refusal> {
    let size = x.size(axis).ok_or_else(|| {
        Refusal::new(format!("needs to know the size {axis} of its input"))
            .remedy("convert with a fixed shape (`--input NAME=..`)")
    })?;
    Ok(size as i64)
}

/// Into parts of one size, the last of which may be smaller, or into parts of given sizes.
fn split(n: &mut Node<'_, '_>) -> Lowered {
    let x = n.tensor(0, "self")?;
    let dim = n.int_or(2, "dim", 0)?;
    let axis = x.axis(dim)?;
    let sizes = match n.val(1, "split_size|split_sizes")? {
        Val::List(_) => n.ints(1, "split_size|split_sizes")?.unwrap_or_default(),
        _ => {
            let (each, size) = (n.int(1, "split_size|split_sizes")?, known(&x, axis)?);
            even(each, size)?
        }
    };
    parts(n, &x, axis, &sizes)
}

/// Into how many parts a tensor is split at most.
const MOST_PARTS: i64 = 1 << 16;

/// Refuses parts that are too many to be named.
fn parted(count: i64) -> Result<(), Refusal> {
    if count > MOST_PARTS {
        Err(Refusal::new(format!("splits into {count} parts, and {MOST_PARTS} are the most")))
    } else {
        Ok(())
    }
}

fn even(each: i64, size: i64) -> Result<Vec<i64>, Refusal> {
    if each < 1 {
        return Err(Refusal::new("splits into parts of no elements"));
    }
    parted(size / each)?;
    Ok((0..size).step_by(each as usize).map(|at| each.min(size - at)).collect())
}

fn chunk(n: &mut Node<'_, '_>) -> Lowered {
    let x = n.tensor(0, "self")?;
    let count = n.int(1, "chunks")?.max(1);
    let dim = n.int_or(2, "dim", 0)?;
    let axis = x.axis(dim)?;
    let size = known(&x, axis)?;
    let sizes = even(size / count + i64::from(size % count > 0), size)?;
    parts(n, &x, axis, &sizes)
}

/// Into so many parts that differ by one element at most, or at these places.
fn tensor_split(n: &mut Node<'_, '_>) -> Lowered {
    let x = n.tensor(0, "self")?;
    let dim = n.int_or(2, "dim", 0)?;
    let axis = x.axis(dim)?;
    let size = known(&x, axis)?;
    let sizes = match n.val(1, "sections|indices|tensor_indices_or_sections")? {
        Val::List(_) => {
            let places = n.ints(1, "indices")?.unwrap_or_default();
            let mut sizes = vec![];
            let mut at = 0;
            for place in places.into_iter().map(|p| if p < 0 { p + size } else { p.min(size) }).chain([size]) {
                sizes.push(place - at);
                at = place;
            }
            sizes
        }
        _ => {
            let count = n.int(1, "sections|tensor_indices_or_sections")?.max(1);
            parted(count)?;
            (0..count).map(|i| size / count + i64::from(i < size % count)).collect()
        }
    };
    parts(n, &x, axis, &sizes)
}

fn unbind(n: &mut Node<'_, '_>) -> Lowered {
    let x = n.tensor(0, "self")?;
    let dim = n.int_or(1, "dim", 0)?;
    let axis = x.axis(dim)?;
    let size = known(&x, axis)?;
    let Val::List(all) = parts(n, &x, axis, &even(1, size)?)?.remove(0) else { return Ok(vec![]) };
    let mut given = vec![];
    for val in all {
        let t = n.as_tensor(&val)?;
        given.push(Tensor::new(n.squeeze(&t.value, &[axis])?, t.dtype).into());
    }
    Ok(vec![Val::List(given)])
}

fn flip(n: &mut Node<'_, '_>) -> Lowered {
    let x = n.tensor(0, "self")?;
    let dims = n.ints(1, "dims")?.unwrap_or_default();
    let axes: Vec<i64> = n.axes(&dims, x.rank())?.into_iter().map(|a| a as i64).collect();
    let y = if axes.is_empty() { x.value } else { n.push(mb::reverse(&x.value).axes(axes))? };
    n.one(y, x.dtype)
}

/// What leaves at the end comes in at the beginning.
fn roll(n: &mut Node<'_, '_>) -> Lowered {
    let x = n.tensor(0, "self")?;
    let shifts = n.ints(1, "shifts")?.unwrap_or_default();
    let dims = n.ints(2, "dims")?.unwrap_or_default();
    let sizes = n.sizes(&x.value)?;
    let (mut y, dims) =
        if dims.is_empty() { (n.reshape(&x.value, &[Size::Fixed(-1)])?, vec![0]) } else { (x.value.clone(), dims) };
    for (shift, dim) in shifts.iter().zip(&dims) {
        let t = Tensor::new(y.clone(), x.dtype);
        let axis = t.axis(*dim)?;
        let size = known(&t, axis)?;
        let first = size - shift.rem_euclid(size.max(1));
        if first == size {
            continue;
        }
        let (front, back) = (range(n, &y, axis, 0, first)?, range(n, &y, axis, first, size)?);
        y = n.push(mb::concat([&back, &front], axis as i64))?;
    }
    let y = n.reshape(&y, &sizes)?;
    n.one(y, x.dtype)
}

fn diagonal(n: &mut Node<'_, '_>) -> Lowered {
    let x = n.tensor(0, "self")?;
    let offset = n.int_or(1, "offset", 0)?;
    let (a, b) = (n.int_or(2, "dim1", 0)?, n.int_or(3, "dim2", 1)?);
    let (a, b) = (x.axis(a)?, x.axis(b)?);
    let (rows, columns) = (known(&x, a)?, known(&x, b)?);
    let (top, left) = ((-offset).max(0), offset.max(0));
    let length = (rows - top).min(columns - left);
    if length < 1 || a == b {
        return Err(Refusal::new("its result is empty, and Core ML has no empty tensors"));
    }
    // Both dimensions last and as one, of which every `columns + 1`th element is on the diagonal.
    let perm: Vec<usize> = (0..x.rank()).filter(|i| *i != a && *i != b).chain([a, b]).collect();
    let turned = n.transpose(&x.value, &perm)?;
    let mut sizes = n.sizes(&turned)?;
    sizes.truncate(x.rank() - 2);
    sizes.push(Size::Fixed(rows * columns));
    let flat = n.reshape(&turned, &sizes)?;
    let places: Vec<i64> = (0..length).map(|i| (top + i) * columns + left + i).collect();
    let places = n.list(&places)?;
    let y = n.without_bools(&flat, |n, v| n.push(mb::gather(v, &places).axis(-1)))?;
    n.one(y, x.dtype)
}

/// Windows along a dimension, which come last.
fn unfold(n: &mut Node<'_, '_>) -> Lowered {
    let x = n.tensor(0, "self")?;
    let dim = n.int(1, "dimension")?;
    let axis = x.axis(dim)?;
    let (size, step) = (n.int(2, "size")?, n.int(3, "step")?);
    let y = n.without_bools(&x.value, |n, v| n.push(mb::sliding_windows(v, axis as i64, size).stride(step)))?;
    let rank = x.rank() + 1;
    let perm: Vec<usize> = (0..rank).filter(|i| *i != axis + 1).chain([axis + 1]).collect();
    let y = n.transpose(&y, &perm)?;
    n.one(y, x.dtype)
}

fn scatter(n: &mut Node<'_, '_>) -> Lowered {
    let (x, src) = (n.tensor(0, "self")?, n.tensor(1, "src")?);
    let shifted = 1;
    Ok(vec![replaced(n, &x, &src, shifted)?.into()])
}

/// A tensor whose part is another one: the part is what the node (`slice` or `select`) takes of it.
pub(in crate::torch) fn put_back(n: &mut Node<'_, '_>, whole: &Tensor, part: &Tensor) -> Result<Tensor, Refusal> {
    replaced(n, whole, part, 0)
}

/// With the part replaced that `slice` or `select` would take; their arguments stand `shift` places further.
fn replaced(n: &mut Node<'_, '_>, x: &Tensor, src: &Tensor, shift: usize) -> Result<Tensor, Refusal> {
    let src = n.convert(src, x.dtype)?;
    let dim = n.int_or(1 + shift, "dim", 0)?;
    let axis = x.axis(dim)?;
    let size = known(x, axis)?;
    let (begin, count, step, src) = if n.op().starts_with("select") {
        let index = n.int(2 + shift, "index")?;
        let index = if index < 0 { index + size } else { index };
        (index, 1, 1, n.expand_dims(&src.value, &[axis])?)
    } else {
        let (begin, end) = bounds(n, x, axis, 2 + shift)?;
        let step = n.int_or(4 + shift, "step", 1)?.max(1);
        let (Size::Fixed(begin), end) = (begin, end.unwrap_or(Size::Fixed(size))) else {
            return Err(n.unknown("start"));
        };
        let Size::Fixed(end) = end else { return Err(n.unknown("end")) };
        (begin, (end - begin + step - 1).div_euclid(step).max(0), step, src.value)
    };
    if count == 0 {
        return Ok(x.clone());
    }
    if step == 1 {
        let mut parts = vec![];
        if begin > 0 {
            parts.push(range(n, &x.value, axis, 0, begin)?);
        }
        parts.push(src);
        if begin + count < size {
            parts.push(range(n, &x.value, axis, begin + count, size)?);
        }
        let value = if parts.len() == 1 { parts.remove(0) } else { n.push(mb::concat(parts, axis as i64))? };
        return Ok(Tensor::new(value, x.dtype));
    }
    // Each place of the dimension comes from one of the two, laid one behind the other.
    table(&[size])?;
    let both = n.push(mb::concat([&x.value, &src], axis as i64))?;
    let places: Vec<i64> = (0..size)
        .map(|i| {
            let k = (i - begin).div_euclid(step);
            if i >= begin && (i - begin) % step == 0 && k < count { size + k } else { i }
        })
        .collect();
    let places = n.list(&places)?;
    let value = n.without_bools(&both, |n, v| n.push(mb::gather(v, &places).axis(axis as i64)))?;
    Ok(Tensor::new(value, x.dtype))
}

#[cfg(test)]
mod tests {
    use crate::torch::testing::Net;

    fn net(call: &str) -> Net {
        Net::new().input("x", &[2, 6]).node(call)
    }

    #[test]
    fn parts_are_one_op() {
        let end = i64::MAX;
        assert_eq!(net(&format!("y = aten::slice(x, 1, 0, {end}, 1)")).ops("y"), ["identity"]);
        let form = net("y = aten::slice(x, 1, -4, 5, 2)").form("y");
        assert_eq!(
            form,
            [
                "slice_by_index(x=x, begin=[0, 2], end=[0, 5], stride=[1, 2], begin_mask=[true, false], end_mask=[true, false])"
            ]
        );
        assert_eq!(net("y = aten::select(x, 1, -1)").ops("y"), ["slice_by_index"]);
        let split = net("[a, b] = aten::split(x, 4, 1)").form("b");
        assert_eq!(split, ["split(x=x, split_sizes=[4, 2], axis=1)"]);
    }

    #[test]
    fn what_is_no_part_is_refused() {
        for (call, message) in [
            ("y = aten::slice(x, 1, 4, 4, 1)", "takes nothing (4 to 4), and Core ML has no empty tensors"),
            ("y = aten::slice(x, 1, 0, 4, 0)", "goes in steps of 0"),
            ("[y, z] = aten::split_with_sizes(x, [6, 0], 1)", "has an empty part"),
            ("[y, z] = aten::split(x, 0, 1)", "splits into parts of no elements"),
            ("[y, z] = aten::tensor_split(x, 1000000, 1)", "splits into 1000000 parts, and 65536 are the most"),
            ("y = aten::diagonal(x, 6, 0, 1)", "its result is empty"),
        ] {
            let e = net(call).refusal("y");
            assert!(e.contains(message), "{call}: {e}");
        }
    }
}
