//! Shapes, and tensors in other shapes.

use mil_core::{
    mb,
    types::{DType, Dim},
};

use super::{Entry, Lowered, Node};
use crate::import::{Refusal, Size, Tensor};

pub(super) const OPS: &[Entry] = &[
    Entry::new("Expand", expand),
    Entry::new("Flatten", flatten),
    Entry::new("Reshape", reshape).but("an empty tensor with a size that is computed"),
    Entry::new("Shape", shape),
    Entry::new("Size", size),
    Entry::new("Squeeze", squeeze).but("computed axes"),
    Entry::new("Tile", tile).but("0 repeats"),
    Entry::new("Transpose", transpose),
    Entry::new("Unsqueeze", unsqueeze).but("computed axes"),
];

fn shape(n: &mut Node<'_, '_>) -> Lowered {
    let x = n.input(0)?;
    let rank = x.rank() as i64;
    let bound = |v: i64| if v < 0 { v + rank } else { v }.clamp(0, rank);
    let (start, end) = (bound(n.int_or("start", 0)?), bound(n.int_or("end", rank)?));
    if x.rank() == 0 || start >= end {
        let none = n.ints(&[])?;
        return n.one(none, DType::I64);
    }
    if let Some(sizes) = x.fixed() {
        let sizes: Vec<i64> = sizes[start as usize..end as usize].iter().map(|s| *s as i64).collect();
        let sizes = n.ints(&sizes)?;
        return n.one(sizes, DType::I64);
    }
    let all = n.shape(&x.value)?;
    let part = n.range_of(&all, 0, Size::Fixed(start), Size::Fixed(end))?;
    n.one(part, DType::I64)
}

fn size(n: &mut Node<'_, '_>) -> Lowered {
    let x = n.input(0)?;
    let sizes = n.sizes(&x.value)?;
    let count = n.product(&sizes)?;
    let count = n.scalar_size(&count)?;
    n.one(count, DType::I64)
}

fn reshape(n: &mut Node<'_, '_>) -> Lowered {
    let x = n.input(0)?;
    let shape = match n.ints_attr("shape")? {
        Some(shape) => Tensor::new(n.ints(&shape)?, DType::I64),
        None => n.input(1)?,
    };
    let keep_zeros = n.int_or("allowzero", 0)? != 0;
    let Some(rank) = shape.size(0).filter(|_| shape.rank() == 1) else { return Err(n.must_be_known(1, "rank")) };
    let known = shape.known_dims();
    let mut sizes = Vec::with_capacity(rank);
    for i in 0..rank {
        let dim = known.as_ref().and_then(|d| d.get(i));
        sizes.push(match n.element(&shape.value, i)? {
            Size::Fixed(0) if !keep_zeros && i < x.rank() => n.size(&x.value, i)?,
            Size::Fixed(v) if v < -1 => return Err(Refusal::new(format!("reshapes to the impossible size {v}"))),
            Size::Value(v) if !keep_zeros && i < x.rank() && !dim.is_some_and(|d| d.at_least(1)) => {
                let same = n.size(&x.value, i)?;
                let same = n.shape_of_sizes(&[same])?;
                let zero = n.push(mb::equal(&v, 0i64))?;
                Size::Value(n.push(mb::select(&zero, same, &v))?)
            }
            size => size,
        });
    }
    if sizes.is_empty() {
        let axes: Vec<usize> = (0..x.rank()).collect();
        let y = n.squeeze(&x.value, &axes)?;
        return n.one(y, x.dtype);
    }
    let y = n.reshape(&x.value, &sizes)?;
    n.one(y, x.dtype)
}

fn flatten(n: &mut Node<'_, '_>) -> Lowered {
    let x = n.input(0)?;
    let axis = n.int_or("axis", 1)?;
    let axis = if axis == x.rank() as i64 { x.rank() } else { x.axis(axis)? };
    let sizes = n.sizes(&x.value)?;
    let (rows, columns) = (n.product(&sizes[..axis])?, n.product(&sizes[axis..])?);
    let y = n.reshape(&x.value, &[rows, columns])?;
    n.one(y, x.dtype)
}

/// The attribute of older versions, or the input of newer ones.
fn axes(n: &mut Node<'_, '_>) -> Result<Option<Vec<i64>>, Refusal> {
    match n.ints_attr("axes")? {
        Some(axes) => Ok(Some(axes)),
        None => n.known_ints(1, "axes"),
    }
}

fn squeeze(n: &mut Node<'_, '_>) -> Lowered {
    let x = n.input(0)?;
    let axes = match axes(n)? {
        Some(axes) => n.axes(&axes, x.rank())?,
        None => {
            if x.dims().iter().any(|d| d.fixed().is_none()) {
                return Err(Refusal::new("removes all dimensions of size 1, but some sizes are not known")
                    .remedy("name the axes, or fix the sizes with `--input NAME=..`"));
            }
            (0..x.rank()).filter(|i| x.size(*i) == Some(1)).collect()
        }
    };
    if let Some(axis) = axes.iter().find(|a| x.size(**a).is_some_and(|s| s != 1)) {
        return Err(Refusal::new(format!("removes the axis {axis} of {}, which is not of size 1", x.value.ty())));
    }
    let y = if axes.iter().all(|a| x.size(*a) == Some(1)) {
        n.squeeze(&x.value, &axes)?
    } else {
        let sizes = n.sizes(&x.value)?;
        let left: Vec<Size> = (0..x.rank()).filter(|i| !axes.contains(i)).map(|i| sizes[i].clone()).collect();
        n.reshape(&x.value, &left)?
    };
    n.one(y, x.dtype)
}

fn unsqueeze(n: &mut Node<'_, '_>) -> Lowered {
    let x = n.input(0)?;
    let Some(axes) = axes(n)? else { return Err(Refusal::new("its axes are missing")) };
    let axes = n.axes(&axes, x.rank() + axes.len())?;
    let y = n.expand_dims(&x.value, &axes)?;
    n.one(y, x.dtype)
}

fn transpose(n: &mut Node<'_, '_>) -> Lowered {
    let x = n.input(0)?;
    let perm: Vec<usize> = match n.ints_attr("perm")? {
        Some(perm) => {
            n.axes(&perm, x.rank())?;
            if perm.len() != x.rank() {
                return Err(Refusal::new(format!("{perm:?} is no order of the axes of {}", x.value.ty())));
            }
            perm.iter().map(|a| x.axis(*a)).collect::<Result<_, _>>()?
        }
        None => (0..x.rank()).rev().collect(),
    };
    let y = n.transpose(&x.value, &perm)?;
    n.one(y, x.dtype)
}

fn expand(n: &mut Node<'_, '_>) -> Lowered {
    let (x, shape) = (n.input(0)?, n.input(1)?);
    let Some(rank) = shape.size(0).filter(|_| shape.rank() == 1) else { return Err(n.must_be_known(1, "rank")) };
    let front: Vec<usize> = (0..rank.saturating_sub(x.rank())).collect();
    let y = n.expand_dims(&x.value, &front)?;
    let rank_now = front.len() + x.rank();
    let known = shape.known_dims();
    let mut reps = vec![Size::Fixed(1); rank_now];
    for (axis, rep) in reps.iter_mut().enumerate().skip(rank_now - rank) {
        let i = axis - (rank_now - rank);
        let here = y.shape().and_then(|s| s.get(axis)).cloned().unwrap_or(Dim::from(1));
        let wanted = known.as_ref().and_then(|d| d.get(i));
        *rep = match (n.element(&shape.value, i)?, here.fixed()) {
            (Size::Fixed(1), _) => continue,
            (wanted, Some(1)) => wanted,
            _ if wanted == Some(&here) => continue,
            (Size::Fixed(wanted), Some(here)) if wanted == here as i64 => continue,
            (Size::Fixed(wanted), Some(here)) => {
                return Err(Refusal::new(format!("a size of {here} cannot be expanded to {wanted}")));
            }
            // Either is 1 or both are equal.
            (wanted, _) => {
                let here = n.size(&y, axis)?;
                let (wanted, here) = (n.shape_of_sizes(&[wanted])?, n.shape_of_sizes(&[here])?);
                let times = n.push(mb::floor_div(wanted, here))?;
                Size::Value(n.push(mb::maximum(&times, 1i64))?)
            }
        };
    }
    let y = n.repeat(&y, &reps)?;
    n.one(y, x.dtype)
}

fn tile(n: &mut Node<'_, '_>) -> Lowered {
    let x = n.input(0)?;
    let reps = n.input(1)?;
    if x.rank() == 0 {
        return n.one(x.value, x.dtype);
    }
    let reps = (0..x.rank()).map(|i| n.element(&reps.value, i)).collect::<Result<Vec<_>, _>>()?;
    let y = n.repeat(&x.value, &reps)?;
    n.one(y, x.dtype)
}
