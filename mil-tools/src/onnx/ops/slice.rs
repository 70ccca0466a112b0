//! Parts of tensors along axes.

use mil_core::{mb, types::DType};

use super::{Entry, Lowered, Node};
use crate::import::{Cut, Refusal, Size, Tensor};

pub(super) const OPS: &[Entry] = &[
    Entry::new("CenterCropPad", center_crop_pad),
    Entry::new("Slice", slice).but(
        "axes of which the number is not known, and, without steps, slices that turn out empty when the model runs",
    ),
];

fn slice(n: &mut Node<'_, '_>) -> Lowered {
    let x = n.input(0)?;
    let (starts, ends) = match (n.ints_attr("starts")?, n.ints_attr("ends")?) {
        (Some(starts), Some(ends)) => (Tensor::new(n.ints(&starts)?, x.dtype), Tensor::new(n.ints(&ends)?, x.dtype)),
        _ => (n.input(1)?, n.input(2)?),
    };
    let axes = match n.ints_attr("axes")? {
        Some(axes) => Some(Tensor::new(n.ints(&axes)?, DType::I64)),
        None => n.optional(3)?,
    };
    let count = [Some(&starts), Some(&ends), axes.as_ref()].into_iter().flatten().find_map(|t| t.size(0));
    let Some(count) = count else { return Err(n.must_be_known(1, "number of places")) };
    let steps = n.optional(4)?;
    let all = [Some(&starts), Some(&ends), axes.as_ref(), steps.as_ref()];
    if all.into_iter().flatten().any(|t| t.rank() != 1 || t.size(0).is_some_and(|size| size != count)) {
        return Err(Refusal::new("has not as many starts as ends, axes and steps"));
    }
    let known_axes = axes.as_ref().map_or_else(|| Some((0..count as i64).collect()), Tensor::ints);
    let known_steps = steps.as_ref().map_or_else(|| Some(vec![1; count]), Tensor::ints);
    if let Some(axes) = &known_axes {
        n.axes(axes, x.rank())?;
    }
    let (Some(axes), Some(steps)) = (&known_axes, &known_steps) else {
        return computed(n, &x, [&starts, &ends], axes.as_ref(), steps.as_ref());
    };
    let mut cuts = vec![];
    for (i, (axis, step)) in axes.iter().zip(steps.iter().copied()).enumerate() {
        if step == 0 {
            return Err(Refusal::new("steps by 0"));
        }
        let (begin, end) = (n.element(&starts.value, i)?, n.element(&ends.value, i)?);
        cuts.push(Cut { axis: x.axis(*axis)?, begin: Some(begin), end: Some(end), step });
    }
    let y = n.cut(&x.value, &cuts)?;
    n.one(y, x.dtype)
}

/// Axes or steps that only the run knows.
fn computed(
    n: &mut Node<'_, '_>,
    x: &Tensor,
    [starts, ends]: [&Tensor; 2],
    axes: Option<&Tensor>,
    steps: Option<&Tensor>,
) -> Lowered {
    let rank = x.rank();
    let one = n.number(DType::I32, 1.0)?;
    let zero = n.number(DType::I32, 0.0)?;
    let count = starts.size(0).unwrap_or(rank);
    let known = axes.map_or_else(|| Some((0..count as i64).collect()), Tensor::ints);
    let known = known.map(|axes| axes.iter().map(|a| x.axis(*a)).collect::<Result<Vec<_>, _>>()).transpose()?;
    let (mut y, mut bounds) = (x.value.clone(), [vec![], vec![]]);
    for axis in 0..rank {
        let size = n.scalar_size_of(&x.value, axis)?;
        let [begin, end, step] = match (&known, axes) {
            (Some(known), _) => {
                let Some(at) = known.iter().position(|a| *a == axis) else { continue };
                let step = steps.map_or_else(|| Ok(one.clone()), |steps| n.scalar_at(&steps.value, at))?;
                [n.scalar_at(&starts.value, at)?, n.scalar_at(&ends.value, at)?, step]
            }
            (None, Some(axes)) => match steps {
                Some(steps) => n.said_of_axis(
                    axis,
                    rank,
                    &axes.value,
                    [(&starts.value, &zero), (&ends.value, &size), (&steps.value, &one)],
                )?,
                None => {
                    let lists = [(&starts.value, &zero), (&ends.value, &size)];
                    let [begin, end] = n.said_of_axis(axis, rank, &axes.value, lists)?;
                    [begin, end, one.clone()]
                }
            },
            (None, None) => continue,
        };
        let (begin, end) = (n.slice_place(&begin, &size, &step)?, n.slice_place(&end, &size, &step)?);
        if steps.is_some() {
            y = n.stride(&y, axis, [&begin, &end, &step])?;
        } else {
            for (all, place) in bounds.iter_mut().zip([begin, end]) {
                all.push(n.expand_dims(&place, &[0])?);
            }
        }
    }
    if steps.is_none() {
        let [begin, end] = bounds;
        let (begin, end) = (n.join(&begin, 0)?, n.join(&end, 0)?);
        y = n.push(mb::slice_by_index(&y, &begin, &end))?;
    }
    n.one(y, x.dtype)
}

fn center_crop_pad(n: &mut Node<'_, '_>) -> Lowered {
    let x = n.input(0)?;
    let shape = n.input(1)?;
    let axes = n.ints_attr("axes")?.unwrap_or_else(|| (0..x.rank() as i64).collect());
    n.axes(&axes, x.rank())?;
    if shape.size(0).is_some_and(|count| count != axes.len()) {
        return Err(Refusal::new(format!("its shape {} does not fit to {} axes", shape.value.ty(), axes.len())));
    }
    let mut y = x.value.clone();
    for (at, axis) in axes.iter().enumerate() {
        let axis = x.axis(*axis)?;
        let wanted = n.element(&shape.value, at)?;
        let (Some(size), Size::Fixed(wanted)) = (x.size(axis), &wanted) else {
            let (size, wanted) = (n.scalar_size_of(&y, axis)?, n.scalar_size(&wanted)?);
            let less = n.push(mb::sub(&size, &wanted))?;
            // Half of the difference goes before, in either direction rounded to 0.
            let cut = n.push(mb::maximum(&less, 0))?;
            let cut = n.push(mb::floor_div(&cut, 2))?;
            let more = n.push(mb::sub(0, &less))?;
            let more = n.push(mb::maximum(&more, 0))?;
            let more = n.push(mb::floor_div(&more, 2))?;
            let first = n.push(mb::sub(&cut, &more))?;
            let end = n.push(mb::add(&first, &wanted))?;
            let zero = n.number(DType::F32, 0.0)?;
            y = n.window(&y, axis, [&first, &end], &zero)?;
            continue;
        };
        let wanted = *wanted;
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

#[cfg(test)]
mod tests {
    use mil_core::{
        ir::Constant,
        types::DType::{F32, I64},
    };

    use crate::onnx::testing::Net;

    #[test]
    fn axes_and_steps_may_be_computed() {
        let slice = |more: &str| {
            let one = |net: Net, name: &str| match name {
                "one" => net.constant("one", Constant::vector(&[1i64])),
                "two" => net.input("two", I64, &[2]),
                name => net.input(name, I64, &[1]),
            };
            let net = Net::new(18).input("x", F32, &[2, -1]).input("starts", I64, &[1]).input("ends", I64, &[1]);
            let net = more.split_whitespace().fold(net, one);
            net.node("Slice", &format!("x starts ends {more}"), "y", &[])
        };
        assert_eq!(slice("").ops("y").last(), Some(&"slice_by_index"));
        let ops = slice("axes").ops("y");
        assert!(ops.last() == Some(&"slice_by_index") && !ops.contains(&"gather"), "{ops:?}");
        let gathers = |more| slice(more).ops("y").into_iter().filter(|op| *op == "gather").count();
        assert_eq!(gathers("axes steps"), 2);
        assert_eq!(gathers("one steps"), 1);
        assert!(slice("two").refusal("y").contains("as many starts as ends"));
        let net = Net::new(18).input("x", F32, &[2]).input("starts", I64, &[-1]).input("ends", I64, &[-1]);
        assert!(net.node("Slice", "x starts ends", "y", &[]).refusal("y").contains("--constant starts=.."));
    }
}
