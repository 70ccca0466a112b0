//! Borders.

use mil_core::{graph::Value, ir::Constant, mb, types::DType};

use super::{Entry, Lowered, Node};
use crate::import::{Cut, Refusal, Size, Tensor};

pub(super) const OPS: &[Entry] = &[Entry::new("Pad", pad)
    .but("computed amounts, but with mode `constant`; a size that is not known, with mode `wrap`")];

fn pad(n: &mut Node<'_, '_>) -> Lowered {
    let x = n.input(0)?;
    let rank = x.rank();
    let mode = n.string_or("mode", "constant")?;
    let axes: Vec<usize> = match n.known_ints(3, "axes")? {
        Some(axes) => {
            n.axes(&axes, rank)?;
            axes.iter().map(|a| x.axis(*a)).collect::<Result<_, _>>()?
        }
        None => (0..rank).collect(),
    };
    let said = n.ints_attr("pads")?;
    let amounts = match &said {
        Some(pads) => pads.clone(),
        None => {
            let pads = n.input(1)?;
            match pads.ints() {
                Some(pads) => pads,
                None if mode == "constant" && pads.size(0) == Some(2 * axes.len()) => {
                    return computed(n, &x, &pads, &axes);
                }
                None => return Err(n.must_be_known(1, "amounts")),
            }
        }
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
    let y = match &mode[..] {
        "constant" => constant(n, &y, &border)?,
        "reflect" | "edge" | "wrap" => mirrored(n, &y, &border, &mode)?,
        _ => return Err(Refusal::new(format!("its mode `{mode}` is none that ONNX has"))),
    };
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

/// Amounts that only the run knows. MIL takes none that are negative.
fn computed(n: &mut Node<'_, '_>, x: &Tensor, pads: &Tensor, axes: &[usize]) -> Lowered {
    let value = filler(n, DType::F32)?;
    let number = value.known().and_then(|k| k.constant()).and_then(Constant::number);
    let number = number.ok_or_else(|| n.must_be_known(2, "constant value"))?;
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
        let Some(size) = sizes[axis].filter(|s| *s > 0) else {
            return Err(Refusal::new(format!("the size {axis} of {} is not known, for mode `{mode}`", x.ty()))
                .remedy("fix the sizes of inputs with `--input NAME=..`"));
        };
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
    use super::*;

    #[test]
    fn mirrors_repeat() {
        let all = |mode| (-5..8).map(|i| source(i, 3, mode)).collect::<Vec<_>>();
        assert_eq!(all("reflect"), [1, 0, 1, 2, 1, 0, 1, 2, 1, 0, 1, 2, 1]);
        assert_eq!(all("edge"), [0, 0, 0, 0, 0, 0, 1, 2, 2, 2, 2, 2, 2]);
        assert_eq!(all("wrap"), [1, 2, 0, 1, 2, 0, 1, 2, 0, 1, 2, 0, 1]);
        assert_eq!(source(4, 1, "reflect"), 0);
    }
}
