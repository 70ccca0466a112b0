//! Writing at indices.

use mil_core::{graph::Value, mb, types::DType};

use super::{Entry, Lowered, Node, gather};
use crate::import::{Refusal, Size, Tensor};

pub(super) const OPS: &[Entry] = &[
    Entry::new("MaxUnpool", max_unpool).but("sizes that are not known"),
    Entry::new("OneHot", one_hot),
    Entry::new("Scatter", scatter_elements),
    Entry::new("ScatterElements", scatter_elements),
    Entry::new("ScatterND", scatter_nd),
];

fn mode(n: &Node<'_, '_>) -> Result<&'static str, Refusal> {
    Ok(match &n.string_or("reduction", "none")?[..] {
        "none" => "update",
        "add" => "add",
        "mul" => "mul",
        "max" => "max",
        "min" => "min",
        other => return Err(Refusal::new(format!("its reduction `{other}` is none that ONNX has"))),
    })
}

/// Bools travel as `i32`: what they are joined to is true where it is not 0.
fn carried(
    n: &mut Node<'_, '_>,
    x: &Tensor,
    updates: &Tensor,
    f: impl FnOnce(&mut Node<'_, '_>, &Value, &Value) -> Result<Value, Refusal>,
) -> Lowered {
    let bools = x.value.dtype() == Some(DType::Bool);
    let dtype = if bools { DType::I32 } else { x.value.dtype().unwrap_or(x.dtype) };
    let (data, new) = (n.cast(&x.value, dtype)?, n.cast(&updates.value, dtype)?);
    let y = f(n, &data, &new)?;
    let y = if bools { n.cast(&y, DType::Bool)? } else { n.wrap(&y, x.dtype)? };
    n.one(y, x.dtype)
}

fn scatter_elements(n: &mut Node<'_, '_>) -> Lowered {
    let (x, indices, updates) = (n.input(0)?, n.input(1)?, n.input(2)?);
    let axis = x.axis(n.int_or("axis", 0)?)?;
    let mode = mode(n)?;
    let size = n.size(&x.value, axis)?;
    let places = n.places(&indices.value, &size)?;
    let whole = (0..x.rank()).all(|a| a == axis || indices.dims().get(a) == x.dims().get(a));
    if whole {
        return carried(n, &x, &updates, |n, x, new| {
            n.push(mb::scatter_along_axis(x, &places, new).axis(axis as i64).mode(mode))
        });
    }
    // Fewer indices than elements: each with its whole place.
    let sizes = n.sizes(&indices.value)?;
    let mut coordinates = vec![];
    for (a, size) in sizes.iter().enumerate() {
        if a == axis {
            coordinates.push(places.clone());
            continue;
        }
        let along = n.iota(size)?;
        let others: Vec<usize> = (0..sizes.len()).filter(|o| *o != a).collect();
        let along = n.expand_dims(&along, &others)?;
        coordinates.push(n.broadcast_to(&along, &sizes)?);
    }
    let rows = n.push(mb::stack(coordinates, sizes.len() as i64))?;
    carried(n, &x, &updates, |n, x, new| n.push(mb::scatter_nd(x, &rows, new).mode(mode)))
}

fn scatter_nd(n: &mut Node<'_, '_>) -> Lowered {
    let (x, indices, updates) = (n.input(0)?, n.input(1)?, n.input(2)?);
    let mode = mode(n)?;
    let rows = gather::rows(n, &indices, &x, 0)?;
    carried(n, &x, &updates, |n, x, new| n.push(mb::scatter_nd(x, &rows, new).mode(mode)))
}

fn one_hot(n: &mut Node<'_, '_>) -> Lowered {
    let (indices, depth, values) = (n.input(0)?, n.input(1)?, n.input(2)?);
    let axis = n.int_or("axis", -1)?;
    let depth = n.cast(&depth.value, DType::I32)?;
    let axes: Vec<usize> = (0..depth.shape().map_or(0, |s| s.rank())).collect();
    let depth = n.squeeze(&depth, &axes)?;
    let places = n.cast(&indices.value, DType::I32)?;
    let list = n.expand_dims(&depth, &[0])?;
    let size = n.element(&list, 0)?;
    let not_negative = places.known().and_then(|k| k.dims()).is_some_and(|d| d.iter().all(|d| d.at_least(0)));
    let places = if not_negative { places } else { n.counted_from_start(&places, &size)? };
    let call = mb::one_hot(&places, &depth).axis(axis);
    if let Some(both) = values.numbers().filter(|v| v.len() == 2) {
        let dtype = values.value.dtype().unwrap_or(values.dtype);
        let mut constants = vec![];
        for number in both {
            let value = n.number(dtype, number)?;
            constants.extend(value.known().and_then(|k| k.constant()).cloned());
        }
        if let [off, on] = &constants[..] {
            let y = n.push(call.on_value(on.clone()).off_value(off.clone()))?;
            return n.one(y, values.dtype);
        }
    }
    let hot = n.push(call)?;
    let hot = n.push(mb::not_equal(&hot, 0i64))?;
    let (off, on) = (n.at(&values.value, 0, 0)?, n.at(&values.value, 0, 1)?);
    let y = n.select(&hot, &on, &off)?;
    n.one(y, values.dtype)
}

/// The reverse of max pooling that gave indices: each element goes back to where it was.
fn max_unpool(n: &mut Node<'_, '_>) -> Lowered {
    let (x, places) = (n.input(0)?, n.input(1)?);
    let Some(sizes) = x.fixed().filter(|s| s.len() > 2) else {
        return Err(Refusal::new(format!("the sizes of {} must be known, and three or more", x.value.ty()))
            .remedy("fix the sizes of inputs with `--input NAME=..`"));
    };
    let rank = sizes.len() - 2;
    let kernel = n.ints_attr("kernel_shape")?.unwrap_or_default();
    let strides = n.ints_attr("strides")?.unwrap_or_else(|| vec![1; rank]);
    let pads = n.ints_attr("pads")?.unwrap_or_else(|| vec![0; 2 * rank]);
    if kernel.len() != rank || strides.len() != rank || pads.len() != 2 * rank {
        return Err(Refusal::new("its kernel, strides and pads do not agree"));
    }
    let mut inferred: Vec<i64> = sizes.iter().map(|s| *s as i64).collect();
    for i in 0..rank {
        let size = (inferred[i + 2] - 1).checked_mul(strides[i]);
        let size = size.and_then(|s| s.checked_sub(pads[i].checked_add(pads[rank + i])?)?.checked_add(kernel[i]));
        inferred[i + 2] = size.filter(|s| *s > 0).ok_or_else(|| Refusal::new("its output would be empty"))?;
    }
    let shape = match n.optional(2)? {
        Some(t) => match t.ints() {
            Some(shape) => shape,
            None => return unpooled_in(n, &x, &places, &t, &inferred),
        },
        None => inferred.clone(),
    };
    if shape.len() != inferred.len() || shape.iter().zip(&inferred).any(|(wanted, have)| wanted < have) {
        return Err(Refusal::new(format!("its output shape {shape:?} does not hold {inferred:?}")));
    }
    let count = inferred.iter().try_fold(1i64, |n, s| n.checked_mul(*s)).filter(|n| *n < 1 << 31);
    let count = count.ok_or_else(|| Refusal::new("its output is too large"))?;
    let empty = n.filled(&[Size::Fixed(count)], x.value.dtype().unwrap_or(DType::F32), 0.0)?;
    let (flat, places) = (n.reshape(&x.value, &[Size::Fixed(-1)])?, n.reshape(&places.value, &[Size::Fixed(-1)])?);
    let y = n.push(mb::scatter(&empty, &places, &flat).axis(0i64).mode("update"))?;
    let sizes: Vec<Size> = inferred.iter().map(|s| Size::Fixed(*s)).collect();
    let mut y = n.reshape(&y, &sizes)?;
    if shape != inferred {
        let border: Vec<i64> = shape.iter().zip(&inferred).flat_map(|(wanted, have)| [0, wanted - have]).collect();
        y = n.push(mb::pad(&y, border))?;
    }
    n.one(y, x.dtype)
}

/// In a shape that is known when the model runs: a place in what the pooling implies becomes one there.
fn unpooled_in(n: &mut Node<'_, '_>, x: &Tensor, places: &Tensor, shape: &Tensor, inferred: &[i64]) -> Lowered {
    if shape.size(0) != Some(inferred.len()) {
        return Err(n.must_be_known(2, "number of output sizes"));
    }
    let wanted = (0..inferred.len()).map(|i| n.element(&shape.value, i)).collect::<Result<Vec<_>, _>>()?;
    let (flat, mut rest) = (n.reshape(&x.value, &[Size::Fixed(-1)])?, n.reshape(&places.value, &[Size::Fixed(-1)])?);
    let mut place: Option<Value> = None;
    // From the last dimension on, whose elements are side by side.
    for (i, size) in inferred.iter().enumerate().rev() {
        let mut at = n.push(mb::mod_(&rest, *size))?;
        rest = n.push(mb::floor_div(&rest, *size))?;
        let inner = n.product(&wanted[i + 1..])?;
        let inner = n.scalar_size(&inner)?;
        at = n.push(mb::mul(&at, &inner))?;
        place = Some(match place {
            Some(sum) => n.push(mb::add(&sum, &at))?,
            None => at,
        });
    }
    let Some(place) = place else { return Err(Refusal::new("its output has no dimensions")) };
    let count = n.product(&wanted)?;
    let empty = n.filled(&[count], x.value.dtype().unwrap_or(DType::F32), 0.0)?;
    let y = n.push(mb::scatter(&empty, &place, &flat).axis(0i64).mode("update"))?;
    let y = n.push(mb::reshape(&y, &shape.value))?;
    n.one(y, x.dtype)
}
