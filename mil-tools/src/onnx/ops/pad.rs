//! Borders.

use mil_core::{graph::Value, ir::Constant, mb, types::DType};

use super::{Entry, Lowered, Node};
use crate::import::{Cut, Refusal, Size, Tensor};

pub(super) const OPS: &[Entry] = &[Entry::new("Pad", pad)
    .but("axes of which the number is not known; computed amounts that are negative, with mode `constant`")];

fn pad(n: &mut Node<'_, '_>) -> Lowered {
    let x = n.input(0)?;
    let rank = x.rank();
    let mode = n.string_or("mode", "constant")?;
    if !["constant", "reflect", "edge", "wrap"].contains(&&mode[..]) {
        return Err(Refusal::new(format!("its mode `{}` is none that ONNX has", mode.escape_debug())));
    }
    let named = n.optional(3)?;
    let axes: Option<Vec<usize>> = match named.as_ref().map(Tensor::ints) {
        Some(Some(axes)) => {
            n.axes(&axes, rank)?;
            Some(axes.iter().map(|a| x.axis(*a)).collect::<Result<_, _>>()?)
        }
        Some(None) => None,
        None => Some((0..rank).collect()),
    };
    let pads = match n.ints_attr("pads")? {
        Some(pads) => Tensor::new(n.ints(&pads)?, DType::I64),
        None => n.input(1)?,
    };
    let (Some(amounts), Some(axes)) = (pads.ints(), &axes) else {
        return computed(n, &x, &pads, axes.as_deref(), named.as_ref(), &mode);
    };
    if amounts.len() != 2 * axes.len() {
        return Err(Refusal::new(format!("has {} amounts for {} axes", amounts.len(), axes.len())));
    }
    // Before and after, for each axis.
    let mut border = vec![[0i64; 2]; rank];
    for (i, axis) in axes.iter().enumerate() {
        border[*axis] = [amounts[i], amounts[axes.len() + i]];
    }
    let mut cuts = vec![];
    for (axis, [before, after]) in border.iter_mut().enumerate() {
        if *before < 0 || *after < 0 {
            let begin = Size::Fixed(-(*before).min(0));
            let end = if *after < 0 { Some(Size::Fixed(*after)) } else { None };
            cuts.push(Cut::new(axis, begin, end));
        }
        (*before, *after) = ((*before).max(0), (*after).max(0));
    }
    let y = n.cut(&x.value, &cuts)?;
    let y = if mode == "constant" { constant(n, &y, &border)? } else { mirrored(n, &y, &border, &mode)? };
    n.one(y, x.dtype)
}

/// The number that is put there, as a tensor of rank 0.
fn filler(n: &mut Node<'_, '_>, dtype: DType) -> Result<Value, Refusal> {
    if let Some(value) = n.float("value")? {
        return n.number(dtype, f64::from(value));
    }
    match n.optional(2)? {
        Some(t) => {
            let axes: Vec<usize> = (0..t.rank()).collect();
            let scalar = n.squeeze(&t.value, &axes)?;
            n.cast(&scalar, dtype)
        }
        None => n.number(dtype, 0.0),
    }
}

fn constant(n: &mut Node<'_, '_>, x: &Value, border: &[[i64; 2]]) -> Result<Value, Refusal> {
    let dtype = x.dtype().unwrap_or(DType::F32);
    let value = filler(n, dtype)?;
    let number = value.known().and_then(|k| k.constant()).and_then(Constant::number);
    if let Some(number) = number.filter(|_| dtype.is_float()) {
        let Some(first) = border.iter().position(|b| *b != [0, 0]) else { return Ok(x.clone()) };
        let amounts: Vec<i64> = border[first..].iter().flatten().copied().collect();
        return n.push(mb::pad(x, amounts).constant_val(number));
    }
    let mut y = x.clone();
    for (axis, [before, after]) in border.iter().enumerate() {
        let mut parts = vec![];
        for (count, middle) in [(*before, false), (0, true), (*after, false)] {
            if middle {
                parts.push(y.clone());
            } else if count > 0 {
                let mut sizes = n.sizes(&y)?;
                sizes[axis] = Size::Fixed(count);
                parts.push(n.broadcast_to(&value, &sizes)?);
            }
        }
        y = n.join(&parts, axis)?;
    }
    Ok(y)
}

/// Amounts or axes that only the run knows.
fn computed(
    n: &mut Node<'_, '_>,
    x: &Tensor,
    pads: &Tensor,
    axes: Option<&[usize]>,
    named: Option<&Tensor>,
    mode: &str,
) -> Lowered {
    let count = axes.map(<[usize]>::len).or(named.and_then(|axes| axes.size(0)));
    let Some(count) = count else { return Err(n.must_be_known(3, "number of axes")) };
    match pads.size(0).filter(|_| pads.rank() == 1) {
        Some(size) if size == 2 * count => {}
        Some(size) => return Err(Refusal::new(format!("has {size} amounts for {count} axes"))),
        None => return Err(n.must_be_known(1, "number of amounts")),
    }
    let dtype = x.value.dtype().unwrap_or(DType::F32);
    let value = if mode == "constant" { Some(filler(n, dtype)?) } else { None };
    let number = value.as_ref().and_then(|v| v.known()).and_then(|k| k.constant()).and_then(Constant::number);
    if let (Some(number), Some(axes)) = (number, axes) {
        return padded(n, x, pads, axes, number);
    }
    let half = count as i64;
    let befores = n.push(mb::slice_by_index(&pads.value, [0], [half]))?;
    let afters = n.push(mb::slice_by_index(&pads.value, [half], [2 * half]))?;
    let zero = n.number(DType::I32, 0.0)?;
    let mut y = x.value.clone();
    for axis in 0..x.rank() {
        let [before, after] = match (axes, named) {
            (Some(axes), _) => {
                let Some(at) = axes.iter().position(|a| *a == axis) else { continue };
                [n.scalar_at(&befores, at)?, n.scalar_at(&afters, at)?]
            }
            (None, Some(named)) => {
                n.said_of_axis(axis, x.rank(), &named.value, [(&befores, &zero), (&afters, &zero)])?
            }
            (None, None) => continue,
        };
        y = match &value {
            Some(value) => {
                let [first, end] = borders(n, &y, axis, [&before, &after])?;
                n.window(&y, axis, [&first, &end], value)?
            }
            None => mirrored_axis(n, &y, axis, [&before, &after], mode)?,
        };
    }
    n.one(y, x.dtype)
}

/// MIL's own op with computed amounts, of which none may be negative.
fn padded(n: &mut Node<'_, '_>, x: &Tensor, pads: &Tensor, axes: &[usize], number: f64) -> Lowered {
    let mut amounts = vec![Size::Fixed(0); 2 * x.rank()];
    for (i, axis) in axes.iter().enumerate() {
        amounts[2 * axis] = n.element(&pads.value, i)?;
        amounts[2 * axis + 1] = n.element(&pads.value, axes.len() + i)?;
    }
    let amounts = n.shape_of_sizes(&amounts)?;
    let float = if x.dtype.is_float() { x.value.clone() } else { n.cast(&x.value, DType::F32)? };
    let y = n.push(mb::pad(&float, amounts).constant_val(number))?;
    let y = n.cast(&y, x.value.dtype().unwrap_or(DType::F32))?;
    n.one(y, x.dtype)
}

/// The place of the first element of a padded axis, and the end of its places.
fn borders(n: &mut Node<'_, '_>, x: &Value, axis: usize, amounts: [&Value; 2]) -> Result<[Value; 2], Refusal> {
    let [before, after] = amounts;
    let size = n.scalar_size_of(x, axis)?;
    Ok([n.push(mb::sub(0, before))?, n.push(mb::add(&size, after))?])
}

/// An axis with borders of which only the run knows the amounts, or its size.
fn mirrored_axis(
    n: &mut Node<'_, '_>,
    x: &Value,
    axis: usize,
    amounts: [&Value; 2],
    mode: &str,
) -> Result<Value, Refusal> {
    let size = n.scalar_size_of(x, axis)?;
    let [first, end] = borders(n, x, axis, amounts)?;
    let places = n.push(mb::range_1d(&end, &first, 1))?;
    let places = match mode {
        "edge" => n.within(&places, &size)?,
        "wrap" => n.push(mb::mod_(&places, &size))?,
        _ => {
            let period = n.push(mb::sub(&size, 1))?;
            let period = n.push(mb::mul(&period, 2))?;
            let period = n.push(mb::maximum(&period, 1))?;
            let there = n.push(mb::mod_(&places, &period))?;
            let back = n.push(mb::sub(&period, &there))?;
            n.push(mb::minimum(&there, &back))?
        }
    };
    n.elements(x, axis, &places)
}

/// Borders that are made of what is inside: MIL's own op where it can, else the elements by their places.
fn mirrored(n: &mut Node<'_, '_>, x: &Value, border: &[[i64; 2]], mode: &str) -> Result<Value, Refusal> {
    let sizes: Vec<Option<i64>> = x.shape().into_iter().flat_map(|s| s.iter()).map(|d| d.value()).collect();
    let most = |size: i64| if mode == "reflect" { size - 1 } else { size };
    let fits = border.iter().zip(&sizes).all(|(b, s)| s.is_none_or(|s| b.iter().all(|n| *n <= most(s))));
    // Core ML pads the last two dimensions in these modes (source: MIL reference, `pad`).
    let first = border.iter().position(|b| *b != [0, 0]).unwrap_or(border.len());
    let float = x.dtype().is_some_and(DType::is_float);
    if first == border.len() {
        return Ok(x.clone());
    }
    if float && mode != "wrap" && fits && first + 2 >= border.len() {
        let amounts: Vec<i64> = border[first..].iter().flatten().copied().collect();
        let mode = if mode == "edge" { "replicate" } else { "reflect" };
        return n.push(mb::pad(x, amounts).mode(mode));
    }
    let mut y = x.clone();
    for (axis, [before, after]) in border.iter().enumerate().filter(|(_, b)| **b != [0, 0]) {
        let Some(size) = sizes[axis] else {
            let (before, after) = (n.number(DType::I32, *before as f64)?, n.number(DType::I32, *after as f64)?);
            y = mirrored_axis(n, &y, axis, [&before, &after], mode)?;
            continue;
        };
        if size == 0 {
            return Err(Refusal::new(format!("mode `{mode}` has nothing to copy: {}", x.ty())));
        }
        if before.saturating_add(*after).saturating_add(size) > 1 << 24 {
            return Err(Refusal::new(format!("pads by {before} and {after}")));
        }
        let places: Vec<i64> = (-before..size + after).map(|i| source(i, size, mode)).collect();
        let places = n.ints(&places)?;
        y = n.without_bools(&y, |l, y| l.push(mb::gather(y, &places).axis(axis as i64)))?;
    }
    Ok(y)
}

/// The place inside that a place outside is a copy of.
fn source(i: i64, size: i64, mode: &str) -> i64 {
    match mode {
        "edge" => i.clamp(0, size - 1),
        "wrap" => i.rem_euclid(size),
        _ => {
            let period = (2 * (size - 1)).max(1);
            let i = i.rem_euclid(period);
            i.min(period - i)
        }
    }
}

#[cfg(test)]
mod tests {
    use mil_core::{
        ir::Constant,
        types::DType::{F32, I64},
    };

    use super::*;
    use crate::onnx::testing::{Net, string};

    #[test]
    fn amounts_may_be_computed() {
        let pad = |mode, axes: Option<i64>| {
            let net = Net::new(18).input("x", F32, &[2, -1]).input("pads", I64, &[2]);
            let net = match axes {
                Some(count) => net.input("axes", I64, &[count]),
                None => net.constant("axes", Constant::vector(&[1i64])),
            };
            net.node("Pad", "x pads _ axes", "y", &[string("mode", mode)])
        };
        assert!(pad("constant", None).ops("y").contains(&"pad"));
        for (mode, axes) in [("constant", Some(1)), ("reflect", None), ("edge", Some(1)), ("wrap", None)] {
            let ops = pad(mode, axes).ops("y");
            assert!(ops.contains(&"gather") && !ops.contains(&"pad"), "{mode}: {ops:?}");
        }
        assert!(pad("edge", Some(2)).refusal("y").contains("2 amounts for 2 axes"));
        assert!(pad("edge", Some(-1)).refusal("y").contains("number of axes"));
    }

    #[test]
    fn mirrors_repeat() {
        let all = |mode| (-5..8).map(|i| source(i, 3, mode)).collect::<Vec<_>>();
        assert_eq!(all("reflect"), [1, 0, 1, 2, 1, 0, 1, 2, 1, 0, 1, 2, 1]);
        assert_eq!(all("edge"), [0, 0, 0, 0, 0, 0, 1, 2, 2, 2, 2, 2, 2]);
        assert_eq!(all("wrap"), [1, 2, 0, 1, 2, 0, 1, 2, 0, 1, 2, 0, 1]);
        assert_eq!(source(4, 1, "reflect"), 0);
    }
}
