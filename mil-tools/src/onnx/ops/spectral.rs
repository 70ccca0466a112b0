//! Fourier transforms, as products with matrices.

use std::f64::consts::TAU;

use mil_core::{
    graph::Value,
    ir::{Constant, Literal},
    mb,
    types::DType,
};

use super::{Entry, Lowered, Node, sort::computed_axis};
use crate::{
    import::{Cut, Refusal, Size, Tensor, carrier},
    onnx::model,
};

const LIMIT: &str =
    "an axis whose size is not known, and transforms of so many points that their matrix has more than 2^26 elements";

pub(super) const OPS: &[Entry] = &[
    Entry::new("DFT", dft).but(LIMIT),
    Entry::new("MelWeightMatrix", mel_weight_matrix).but("inputs that are computed"),
    Entry::new("STFT", stft).but("a computed length, or a computed window whose length is not known"),
];

/// A matrix, row by row, as a constant of a dtype of floats.
fn matrix(dtype: DType, shape: Vec<usize>, element: impl Fn(usize) -> f64) -> Result<Constant, Refusal> {
    let count: usize = shape.iter().product();
    let values: Vec<Literal> = (0..count).map(|i| Literal::Float(element(i))).collect();
    Ok(Literal::constant_of(&values, shape, dtype)?)
}

/// A discrete Fourier transform of `length` points.
#[derive(Clone, Copy, Debug)]
struct Transform {
    length: usize,
    inverse: bool,
    /// Half of the frequencies: the others are these with the other sign of the imaginary part.
    half: bool,
    /// Whether what is given has imaginary parts.
    complex: bool,
}

impl Transform {
    fn frequencies(&self) -> usize {
        if self.half { self.length / 2 + 1 } else { self.length }
    }

    /// How many elements are given at most, and how many come out.
    fn sizes(&self) -> (usize, usize) {
        if self.inverse { (self.frequencies(), self.length) } else { (self.length, self.frequencies()) }
    }

    /// Real numbers that come out per element.
    fn parts(&self) -> usize {
        if self.inverse && self.half { 1 } else { 2 }
    }

    /// What a given element adds to one that comes out: part 0 is real, 1 imaginary.
    fn weight(&self, given: usize, given_part: usize, out: usize, out_part: usize) -> f64 {
        let n = self.length as f64;
        // Reduced first, since the product may be large.
        let angle = TAU * ((given as u128 * out as u128 % self.length as u128) as f64) / n;
        let (cos, sin) = (angle.cos(), if self.inverse { angle.sin() } else { -angle.sin() });
        let weight = match (given_part, out_part) {
            (0, 0) | (1, 1) => cos,
            (0, _) => sin,
            _ => -sin,
        };
        let scale = if !self.inverse {
            1.0
        } else if self.half && given != 0 && 2 * given != self.length {
            2.0 / n // with its mirror image
        } else {
            1.0 / n
        };
        scale * weight
    }

    /// From `size` elements with their parts to those that come out with theirs.
    fn matrix(&self, size: usize, dtype: DType) -> Result<Constant, Refusal> {
        let (most, out) = self.sizes();
        let (rows, parts) = (if self.complex { 2 } else { 1 }, self.parts());
        let count = [size, rows, out, parts].iter().try_fold(1usize, |n, v| n.checked_mul(*v));
        if count.is_none_or(|c| c > 1 << 26) {
            return Err(Refusal::new(format!("a Fourier transform of {} points is too large to be said", self.length))
                .remedy("MIL has no Fourier transforms, and they are said as products with matrices"));
        }
        let columns = out * parts;
        matrix(dtype, vec![size * rows, columns], |i| {
            let (row, column) = (i / columns, i % columns);
            let (given, given_part) = (row / rows, row % rows);
            if given >= most { 0.0 } else { self.weight(given, given_part, column / parts, column % parts) }
        })
    }
}

/// A length that an input says, if it is there.
fn length(n: &mut Node<'_, '_>, i: usize, what: &str) -> Result<Option<usize>, Refusal> {
    let Some(said) = n.known_ints(i, what)? else { return Ok(None) };
    let said = said.first().copied().unwrap_or(0);
    match usize::try_from(said) {
        Ok(length @ 1..) => Ok(Some(length)),
        _ => Err(Refusal::new(format!("its {what} is {said}"))),
    }
}

fn dft(n: &mut Node<'_, '_>) -> Lowered {
    let x = n.input(0)?;
    let axis = match n.opset {
        ..20 => n.int_or("axis", 1)?,
        _ => match n.optional(2)? {
            Some(t) => match t.ints() {
                Some(known) => known.first().copied().unwrap_or(-2),
                None => return along_computed(n, &x, &t),
            },
            None => -2,
        },
    };
    let axis = x.axis(axis)?;
    let y = along(n, &x, axis)?;
    n.one(y, x.dtype)
}

/// Along each axis but the last, of which one is taken when the model runs. What comes out may differ in size from axis to axis.
fn along_computed(n: &mut Node<'_, '_>, x: &Tensor, axis: &Tensor) -> Lowered {
    let axis = computed_axis(n, axis, x.rank())?;
    let back = n.int_or("inverse", 0)? != 0 && n.int_or("onesided", 0)? != 0 && !n.has_input(1);
    let mut all = vec![];
    for at in 0..x.rank().saturating_sub(1) {
        // The real signal of one frequency has no points: that axis cannot be meant.
        if !(back && x.size(at) == Some(1)) {
            all.push((at, along(n, x, at)?));
        }
    }
    let sizes = |y: &Value| {
        y.shape().and_then(|s| s.fixed()).ok_or_else(|| {
            Refusal::new(format!("along an axis that is computed all sizes of {} must be known", x.value.ty()))
                .remedy("fix the sizes of inputs with `--input NAME=..`")
        })
    };
    let shapes = all.iter().map(|(_, y)| sizes(y)).collect::<Result<Vec<_>, _>>()?;
    let most: Vec<usize> = (0..x.rank()).map(|i| shapes.iter().map(|s| s[i]).max().unwrap_or(1)).collect();
    let mut taken: Option<Value> = None;
    for ((at, y), shape) in all.iter().zip(&shapes) {
        let border: Vec<i64> = shape.iter().zip(&most).flat_map(|(has, most)| [0, (most - has) as i64]).collect();
        let y = if border.iter().all(|b| *b == 0) { y.clone() } else { n.push(mb::pad(y, border))? };
        taken = Some(match taken {
            None => y,
            Some(before) => {
                let this = n.push(mb::equal(&axis, *at as i64))?;
                n.select(&this, &y, &before)?
            }
        });
    }
    let Some(y) = taken else { return Err(Refusal::new(format!("cannot transform {}", x.value.ty()))) };
    let mut cuts = vec![];
    for i in 0..x.rank() {
        if shapes.iter().any(|s| s[i] != most[i]) {
            let mut ends = vec![most[i] as i64; x.rank()];
            all.iter().zip(&shapes).for_each(|((at, _), shape)| ends[*at] = shape[i] as i64);
            let ends = n.ints(&ends)?;
            let at = n.expand_dims(&axis, &[0])?;
            let end = n.push(mb::gather(&ends, &at).axis(0i64))?;
            cuts.push(Cut::new(i, None, Size::Value(end)));
        }
    }
    let y = n.cut(&y, &cuts)?;
    n.one(y, x.dtype)
}

/// The transform along an axis that is known.
fn along(n: &mut Node<'_, '_>, x: &Tensor, axis: usize) -> Result<Value, Refusal> {
    let rank = x.rank();
    let parts = x.size(rank.wrapping_sub(1)).filter(|p| *p == 1 || *p == 2);
    let (Some(size), Some(parts)) = (x.size(axis), parts) else {
        return Err(Refusal::new(format!("the size {axis} and the last of {} must be known", x.value.ty()))
            .remedy("fix the sizes of inputs with `--input NAME=..`"));
    };
    if axis + 1 == rank || size == 0 {
        return Err(Refusal::new(format!("cannot transform the axis {axis} of {}", x.value.ty())));
    }
    let (inverse, half) = (n.int_or("inverse", 0)? != 0, n.int_or("onesided", 0)? != 0);
    let default = if inverse && half { 2 * (size - 1) } else { size };
    let length = length(n, 1, "length")?.unwrap_or(default);
    if length == 0 {
        return Err(Refusal::new("transforms no points"));
    }
    let transform = Transform { length, inverse, half, complex: parts == 2 };
    let dtype = x.value.dtype().unwrap_or(DType::F32);
    let weights = transform.matrix(size, dtype)?;
    let weights = n.constant(weights);
    // The axis and its parts become one dimension, the last.
    let mut perm: Vec<usize> = (0..rank).filter(|a| *a != axis && *a != rank - 1).collect();
    perm.extend([axis, rank - 1]);
    let turned = n.transpose(&x.value, &perm)?;
    let mut sizes = n.sizes(&turned)?;
    sizes.truncate(rank - 2);
    let outer = sizes.clone();
    sizes.push(Size::from(size * parts));
    let lines = n.reshape(&turned, &sizes)?;
    let y = n.push(mb::matmul(&lines, &weights))?;
    let mut sizes = outer;
    sizes.extend([Size::from(transform.sizes().1), Size::from(transform.parts())]);
    let y = n.reshape(&y, &sizes)?;
    let mut back = vec![0; rank];
    perm.iter().enumerate().for_each(|(to, from)| back[*from] = to);
    n.transpose(&y, &back)
}

/// Each frequency of each part is a filter that goes along the signal: a convolution.
fn stft(n: &mut Node<'_, '_>) -> Lowered {
    let x = n.input(0)?;
    let given = n.optional(1)?.ok_or_else(|| Refusal::new("its step is missing"))?;
    let step = if given.ints().is_some() { length(n, 1, "step")? } else { None };
    let window = n.optional(2)?;
    let said = length(n, 3, "length")?;
    let length = said.or(window.as_ref().map_or(x.size(1), |w| w.size(0))).filter(|l| *l > 0);
    let Some(length) = length else { return Err(n.must_be_known(3, "length")) };
    if window.as_ref().is_some_and(|w| w.size(0).is_some_and(|size| size != length)) {
        return Err(Refusal::new(format!("its window has not the length of a frame, which is {length}")));
    }
    let parts = match (x.rank(), x.size(2)) {
        (2, _) => 1,
        (3, Some(parts @ (1 | 2))) => parts,
        _ => return Err(Refusal::new(format!("takes signals with their parts, found {}", x.value.ty()))),
    };
    let transform = Transform { length, inverse: false, half: n.int_or("onesided", 1)? != 0, complex: parts == 2 };
    let out = transform.sizes().1;
    if length.saturating_mul(parts).saturating_mul(2 * out) > 1 << 26 {
        return Err(Refusal::new(format!("a Fourier transform of {length} points is too large to be said")));
    }
    let dtype = x.value.dtype().unwrap_or(DType::F32);
    let window = match (window, step) {
        (None, Some(step)) => (None, step),
        (Some(t), Some(step)) if t.numbers().is_some() => (t.numbers(), step),
        (window, _) => {
            let frames = frames(n, &x, &given, length)?;
            return in_frames(n, &frames, window.as_ref(), transform);
        }
    };
    let (window, step) = window;
    let weights = matrix(dtype, vec![2 * out, parts, length], |i| {
        let (filter, part, at) = (i / (parts * length), i / length % parts, i % length);
        let scale = window.as_ref().map_or(1.0, |w| w[at]);
        scale * transform.weight(at, part, filter / 2, filter % 2)
    })?;
    let weights = n.constant(weights);
    let signal = if x.rank() == 2 { n.expand_dims(&x.value, &[1])? } else { n.transpose(&x.value, &[0, 2, 1])? };
    let y = n.push(mb::conv(&signal, &weights).strides([step as i64]))?;
    let y = n.transpose(&y, &[0, 2, 1])?;
    let mut sizes = n.sizes(&y)?;
    sizes.truncate(2);
    sizes.extend([Size::from(out), Size::Fixed(2)]);
    let y = n.reshape(&y, &sizes)?;
    n.one(y, x.dtype)
}

/// The frames of signals, `[signals, frames, length, parts]`, a step apart that is known when the model runs.
fn frames(n: &mut Node<'_, '_>, x: &Tensor, step: &Tensor, length: usize) -> Result<Tensor, Refusal> {
    let signal = if x.rank() == 2 { n.expand_dims(&x.value, &[2])? } else { x.value.clone() };
    let size = n.size(&signal, 1)?;
    // The places before which a frame begins.
    let end = n.add_sizes(&size, &Size::Fixed(1 - length as i64))?;
    let end = n.scalar_size(&end)?;
    let step = n.squeeze(&step.value, &(0..step.rank()).collect::<Vec<_>>())?;
    let begins = n.push(mb::range_1d(&end, 0i64, &step))?;
    let begins = n.expand_dims(&begins, &[1])?;
    let within = n.iota(&Size::from(length))?;
    let within = n.expand_dims(&within, &[0])?;
    let places = n.push(mb::add(&begins, &within))?;
    Ok(Tensor::new(n.push(mb::gather(&signal, &places).axis(1i64))?, x.dtype))
}

/// The transform of each frame.
fn in_frames(n: &mut Node<'_, '_>, frames: &Tensor, window: Option<&Tensor>, transform: Transform) -> Lowered {
    let dtype = frames.value.dtype().unwrap_or(DType::F32);
    let mut lines = frames.value.clone();
    if let Some(window) = window {
        let window = n.cast(&window.value, dtype)?;
        let window = n.expand_dims(&window, &[1])?;
        lines = n.push(mb::mul(&lines, &window))?;
    }
    let mut sizes = n.sizes(&lines)?;
    let parts = if transform.complex { 2 } else { 1 };
    sizes.truncate(2);
    sizes.push(Size::from(transform.length * parts));
    let lines = n.reshape(&lines, &sizes)?;
    let weights = transform.matrix(transform.length, dtype)?;
    let weights = n.constant(weights);
    let y = n.push(mb::matmul(&lines, &weights))?;
    sizes.truncate(2);
    sizes.extend([Size::from(transform.sizes().1), Size::from(transform.parts())]);
    let y = n.reshape(&y, &sizes)?;
    n.one(y, frames.dtype)
}

fn mel_weight_matrix(n: &mut Node<'_, '_>) -> Lowered {
    let mut number = |i: usize, what: &str| -> Result<f64, Refusal> {
        let value = n.known_numbers(i, what)?.and_then(|v| v.first().copied());
        value.ok_or_else(|| Refusal::new(format!("its {what} is missing")))
    };
    let (mels, length) = (number(0, "number of mel bins")?, number(1, "length")?);
    let (rate, low, high) = (number(2, "sample rate")?, number(3, "lower edge")?, number(4, "upper edge")?);
    let fine = |v: f64| (1.0..16_777_216.0).contains(&v);
    let bins = (length / 2.0).floor() + 1.0;
    if !fine(mels) || !fine(length) || rate < 1.0 || !low.is_finite() || !high.is_finite() || mels * bins > 67_108_864.0
    {
        return Err(Refusal::new(format!("has {mels} mel bins and a length of {length}")));
    }
    let (mels, bins) = (mels as usize, bins as usize);
    let mel = |hertz: f64| 2595.0 * (hertz / 700.0).ln_1p() / std::f64::consts::LN_10;
    let step = (mel(high) - mel(low)) / (mels + 2) as f64;
    let bin = |i: usize| {
        let hertz = 700.0 * ((i as f64 * step + mel(low)) / 2595.0 * std::f64::consts::LN_10).exp_m1();
        ((length + 1.0) * hertz / rate).floor()
    };
    let edges: Vec<f64> = (0..mels + 2).map(bin).collect();
    let dtype = match n.int("output_datatype")? {
        Some(data_type) => model::dtype(i32::try_from(data_type).unwrap_or(-1))?,
        None => DType::F32,
    };
    let carried = carrier(dtype).filter(|d| d.is_float());
    let carried = carried.ok_or_else(|| Refusal::new(format!("gives {dtype}")))?;
    let weights = matrix(carried, vec![bins, mels], |i| {
        let (at, mel) = ((i / mels) as f64, i % mels);
        let [left, center, right] = [edges[mel], edges[mel + 1], edges[mel + 2]];
        if center < right && center <= at && at < right {
            (right - at) / (right - center)
        } else if left == center {
            f64::from(u8::from(at == center))
        } else if left <= at && at <= center {
            (at - left) / (center - left)
        } else {
            0.0
        }
    })?;
    let y = n.constant(weights);
    n.one(y, dtype)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::onnx::testing::{Net, int};

    #[test]
    fn a_transform_and_its_inverse_give_what_was_given() {
        for half in [false, true] {
            for length in [1, 2, 5, 6] {
                let there = Transform { length, inverse: false, half, complex: false };
                let back = Transform { length, inverse: true, half, complex: true };
                let size = there.sizes().1;
                for (x, y) in (0..length).flat_map(|x| (0..length).map(move |y| (x, y))) {
                    let sum: f64 = (0..size)
                        .flat_map(|k| [0, 1].map(|p| there.weight(x, 0, k, p) * back.weight(k, p, y, 0)))
                        .sum();
                    assert!((sum - f64::from(u8::from(x == y))).abs() < 1e-12, "{length} {half} {x} {y}: {sum}");
                }
            }
        }
    }

    #[test]
    fn along_a_computed_axis_no_single_frequency_becomes_a_signal() {
        let net = |sizes: &[i64]| Net::new(20).input("x", DType::F32, sizes).input("axis", DType::I64, &[]);
        let back = [int("inverse", 1), int("onesided", 1)];
        let products = |net: Net| {
            let ops = net.node("DFT", "x _ axis", "y", &back).ops("y");
            ops.into_iter().filter(|o| *o == "matmul").count()
        };
        assert_eq!(products(net(&[2, 6, 10, 2])), 3);
        assert_eq!(products(net(&[1, 6, 10, 2])), 2);
        let refused = net(&[1, 1, 2]).node("DFT", "x _ axis", "y", &back).import("y").unwrap_err();
        assert!(refused.contains("cannot transform"), "{refused}");
    }
}
