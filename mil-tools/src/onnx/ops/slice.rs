//! Parts of tensors along axes.

use super::{Entry, Lowered, Node};
use crate::import::{Cut, Refusal, Size, Tensor};

pub(super) const OPS: &[Entry] = &[
    Entry::new("CenterCropPad", center_crop_pad).but("sizes that are not known"),
    Entry::new("Slice", slice).but("computed axes or steps, and slices that turn out empty when the model runs"),
];

fn slice(n: &mut Node<'_, '_>) -> Lowered {
    let x = n.input(0)?;
    let (starts, ends) = match (n.ints_attr("starts")?, n.ints_attr("ends")?) {
        (Some(starts), Some(ends)) => (Tensor::new(n.ints(&starts)?, x.dtype), Tensor::new(n.ints(&ends)?, x.dtype)),
        _ => (n.input(1)?, n.input(2)?),
    };
    let axes = match n.ints_attr("axes")? {
        Some(axes) => Some(axes),
        None => n.known_ints(3, "axes")?,
    };
    let Some(count) = starts.size(0) else { return Err(n.must_be_known(1, "number of places")) };
    let axes = axes.unwrap_or_else(|| (0..count as i64).collect());
    let steps = n.known_ints(4, "steps")?.unwrap_or_else(|| vec![1; axes.len()]);
    n.axes(&axes, x.rank())?;
    if axes.len() != count || steps.len() != count || ends.size(0) != Some(count) {
        return Err(Refusal::new("has not as many starts as ends, axes and steps"));
    }
    let mut cuts = vec![];
    for (i, (axis, step)) in axes.iter().zip(steps).enumerate() {
        if step == 0 {
            return Err(Refusal::new("steps by 0"));
        }
        let (begin, end) = (n.element(&starts.value, i)?, n.element(&ends.value, i)?);
        cuts.push(Cut { axis: x.axis(*axis)?, begin: Some(begin), end: Some(end), step });
    }
    let y = n.cut(&x.value, &cuts)?;
    n.one(y, x.dtype)
}

fn center_crop_pad(n: &mut Node<'_, '_>) -> Lowered {
    let x = n.input(0)?;
    let shape = n.known_ints(1, "sizes")?.unwrap_or_default();
    let axes = n.ints_attr("axes")?.unwrap_or_else(|| (0..x.rank() as i64).collect());
    n.axes(&axes, x.rank())?;
    let mut y = x.value.clone();
    for (axis, wanted) in axes.iter().zip(shape) {
        let axis = x.axis(*axis)?;
        let Some(size) = x.size(axis) else {
            return Err(Refusal::new(format!("the size {axis} of {} is not known", x.value.ty()))
                .remedy("fix the sizes of inputs with `--input NAME=..`"));
        };
        let more = wanted - size as i64;
        if more < 0 {
            let first = -more / 2;
            y = n.range_of(&y, axis, Size::Fixed(first), Size::Fixed(first + wanted))?;
        } else if more > 0 {
            let sizes = n.sizes(&y)?;
            let border = |count: i64| {
                let mut sizes = sizes.clone();
                sizes[axis] = Size::Fixed(count);
                sizes
            };
            let dtype = y.dtype().unwrap_or(x.dtype);
            let mut parts = vec![];
            for (part, count) in [(None, more / 2), (Some(y.clone()), 0), (None, more - more / 2)] {
                match part {
                    Some(part) => parts.push(part),
                    None if count == 0 => {}
                    None => parts.push(n.filled(&border(count), dtype, 0.0)?),
                }
            }
            y = n.join(&parts, axis)?;
        }
    }
    n.one(y, x.dtype)
}
