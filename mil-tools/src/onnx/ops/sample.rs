//! Sampling at computed points.

use mil_core::{graph::Value, ir::Constant, mb, types::DType};

use super::{Entry, Lowered, Node};
use crate::import::{Refusal, Size, Tensor, resize::Filter};

pub(super) const OPS: &[Entry] = &[
    Entry::new("GridSample", grid_sample)
        .but("for volumes, and with cubic interpolation, sizes of the input that are known"),
    Entry::new("AffineGrid", affine_grid),
    Entry::new("RoiAlign", roi_align).but("a `sampling_ratio` above 0, and known sizes of the input"),
];

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Mode {
    Nearest,
    Linear,
    Cubic,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Padding {
    Zeros,
    Border,
    Reflection,
}

fn grid_sample(n: &mut Node<'_, '_>) -> Lowered {
    let (x, grid) = (n.input(0)?, n.input(1)?);
    let mode = match &n.string_or("mode", "linear")?[..] {
        "linear" | "bilinear" => Mode::Linear,
        "nearest" => Mode::Nearest,
        "cubic" | "bicubic" => Mode::Cubic,
        other => return Err(Refusal::new(format!("its attribute `mode` is `{}`", other.escape_debug()))),
    };
    let padding = match &n.string_or("padding_mode", "zeros")?[..] {
        "zeros" => Padding::Zeros,
        "border" => Padding::Border,
        "reflection" => Padding::Reflection,
        other => return Err(Refusal::new(format!("its attribute `padding_mode` is `{}`", other.escape_debug()))),
    };
    let align = n.int_or("align_corners", 0)? != 0;
    if x.rank() < 3 || grid.rank() != x.rank() {
        let (x, grid) = (x.rank(), grid.rank());
        return Err(Refusal::new(format!("its inputs must have one rank of 3 or more, but have {x} and {grid}")));
    }
    let points = n.cast(&grid.value, DType::F32)?;
    if x.rank() == 4 && mode != Mode::Cubic {
        let sampling = if mode == Mode::Nearest { "nearest" } else { "bilinear" };
        let outside = match padding {
            Padding::Zeros => "constant",
            Padding::Border => "border",
            Padding::Reflection if align => "reflection",
            Padding::Reflection => "symmetric",
        };
        let zero = n.number(x.value.dtype().unwrap_or(DType::F32), 0.0)?;
        let coordinates = "normalized_minus_one_to_one";
        let y = n.push(mb::resample(&x.value, &points, sampling, outside, &zero, coordinates, align))?;
        return n.one(y, x.dtype);
    }
    let y = Grid { mode, padding, align }.sample(n, &x, &points)?;
    n.one(y, x.dtype)
}

/// Sampling that MIL has no op for: elements are gathered, and added up as near as they are.
struct Grid {
    mode: Mode,
    padding: Padding,
    align: bool,
}

impl Grid {
    fn sample(&self, n: &mut Node<'_, '_>, x: &Tensor, points: &Value) -> Result<Value, Refusal> {
        let spatial = x.rank() - 2;
        let sizes: Option<Vec<usize>> = (0..spatial).map(|i| x.size(i + 2)).collect();
        let Some(sizes) = sizes.filter(|s| s.iter().product::<usize>() <= i32::MAX as usize && !s.contains(&0)) else {
            return Err(Refusal::new("sampling of this kind is for inputs of known sizes")
                .remedy("say the input's shape: `--input NAME=1,3,224,224`"));
        };
        let (batch, channels) = (n.size(&x.value, 0)?, n.size(&x.value, 1)?);
        let around = n.sizes(points)?;
        let count = n.product(&around[1..=spatial])?;
        let points = n.reshape(points, &[batch.clone(), count.clone(), spatial.into()])?;
        // Of each dimension: indices and weights of the elements around a point, `[N, P]` each.
        let mut taps: Vec<Vec<(Value, Option<Value>)>> = vec![];
        for (i, size) in sizes.iter().enumerate() {
            // The last number of a point goes along the first dimension.
            let at = (spatial - 1 - i) as i64;
            let place = n.last(&points, at, at + 1, 1)?;
            let place = n.squeeze(&place, &[2])?;
            taps.push(self.taps(n, &place, *size)?);
        }
        let mut all: Vec<(Value, Option<Value>)> = vec![];
        for (i, taps) in taps.iter().enumerate() {
            if i == 0 {
                all = taps.clone();
                continue;
            }
            let mut next = vec![];
            for (index, weight) in &all {
                let row = n.push(mb::mul(index, sizes[i] as i64))?;
                for (column, part) in taps {
                    let index = n.push(mb::add(&row, column))?;
                    let weight = match (weight, part) {
                        (Some(a), Some(b)) => Some(n.push(mb::mul(a, b))?),
                        (a, b) => a.clone().or(b.clone()),
                    };
                    next.push((index, weight));
                }
            }
            all = next;
        }
        let many = all.len();
        let flat = [batch.clone(), channels.clone(), sizes.iter().product::<usize>().into()];
        let flat = n.reshape(&x.value, &flat)?;
        let (indices, weights): (Vec<Value>, Vec<Option<Value>>) = all.into_iter().unzip();
        let indices = if let [one] = &indices[..] { one.clone() } else { n.push(mb::concat(indices, 1))? };
        let indices = n.expand_dims(&indices, &[1])?;
        let reach = n.product(&[count.clone(), many.into()])?;
        let indices = n.broadcast_to(&indices, &[batch.clone(), channels.clone(), reach])?;
        let mut y = n.push(mb::gather_along_axis(&flat, &indices).axis(2))?;
        let weights: Option<Vec<Value>> = weights.into_iter().collect();
        if let Some(weights) = weights {
            let weights = if let [one] = &weights[..] { one.clone() } else { n.push(mb::concat(weights, 1))? };
            let weights = n.cast(&weights, y.dtype().unwrap_or(DType::F32))?;
            let weights = n.expand_dims(&weights, &[1])?;
            y = n.push(mb::mul(&y, &weights))?;
        }
        if many > 1 {
            y = n.reshape(&y, &[batch.clone(), channels.clone(), many.into(), count])?;
            y = n.push(mb::reduce_sum(&y).axes([2]).keep_dims(false))?;
        }
        let mut shape = vec![batch, channels];
        shape.extend_from_slice(&around[1..=spatial]);
        n.reshape(&y, &shape)
    }

    /// The elements around a point along a dimension: `i32` indices within it, and weights if there are several or some are outside.
    fn taps(&self, n: &mut Node<'_, '_>, place: &Value, size: usize) -> Result<Vec<(Value, Option<Value>)>, Refusal> {
        let top = size as f64 - 1.0;
        let place = n.push(mb::add(place, 1.0))?;
        let mut place = if self.align {
            n.push(mb::mul(&place, top / 2.0))?
        } else {
            let wide = n.push(mb::mul(&place, size as f64 / 2.0))?;
            n.push(mb::sub(&wide, 0.5))?
        };
        if self.mode == Mode::Nearest {
            place = n.push(mb::round(&place))?;
        }
        if self.padding == Padding::Reflection {
            place = self.reflect(n, &place, size)?;
        }
        if self.mode == Mode::Nearest {
            return Ok(vec![self.tap(n, &place, None, size)?]);
        }
        let left = n.push(mb::floor(&place))?;
        let ratio = n.push(mb::sub(&place, &left))?;
        let filter = if self.mode == Mode::Linear { Filter::Linear } else { Filter::Cubic(-0.75) };
        let mut taps = vec![];
        for (offset, part) in n.neighbours(&ratio, filter)? {
            let index = if offset == 0 { left.clone() } else { n.push(mb::add(&left, offset as f64))? };
            taps.push(self.tap(n, &index, Some(part), size)?);
        }
        Ok(taps)
    }

    fn tap(
        &self,
        n: &mut Node<'_, '_>,
        index: &Value,
        weight: Option<Value>,
        size: usize,
    ) -> Result<(Value, Option<Value>), Refusal> {
        let index = if self.padding == Padding::Reflection { self.reflect(n, index, size)? } else { index.clone() };
        let within = n.push(mb::clip(&index, 0.0, size as f64 - 1.0))?;
        let weight = if self.padding == Padding::Zeros {
            let inside = n.push(mb::equal(&within, &index))?;
            let inside = n.cast(&inside, DType::F32)?;
            match weight {
                Some(weight) => Some(n.push(mb::mul(&weight, &inside))?),
                None => Some(inside),
            }
        } else {
            weight
        };
        Ok((n.cast(&within, DType::I32)?, weight))
    }

    /// Mirrored at the centers of the outermost elements, or at their edges, until it is between.
    fn reflect(&self, n: &mut Node<'_, '_>, place: &Value, size: usize) -> Result<Value, Refusal> {
        let (low, span) = if self.align { (0.0, size as f64 - 1.0) } else { (-0.5, size as f64) };
        if span == 0.0 {
            return n.push(mb::mul(place, 0.0));
        }
        let distance = if low == 0.0 { place.clone() } else { n.push(mb::sub(place, low))? };
        let distance = n.push(mb::abs(&distance))?;
        // There and back again.
        let period = n.push(mb::mod_(&distance, 2.0 * span))?;
        let back = n.push(mb::sub(&period, span))?;
        let back = n.push(mb::abs(&back))?;
        n.push(mb::sub(low + span, &back))
    }
}

fn affine_grid(n: &mut Node<'_, '_>) -> Lowered {
    let theta = n.input(0)?;
    let size = n.input(1)?;
    let align = n.int_or("align_corners", 0)? != 0;
    let Some(size) = size.ints() else { return affine_grid_of_computed(n, &theta, &size, align) };
    let sizes: Option<Vec<usize>> = size.iter().skip(2).map(|s| usize::try_from(*s).ok().filter(|s| *s > 0)).collect();
    let count = sizes.as_ref().and_then(|s| s.iter().try_fold(1usize, |a, b| a.checked_mul(*b)));
    let (Some(sizes), Some(count)) = (sizes.filter(|s| [2, 3].contains(&s.len())), count.filter(|c| *c <= 1 << 26))
    else {
        return Err(Refusal::new(format!("its size is {size:?}")));
    };
    let spatial = sizes.len();
    if theta.rank() != 3 {
        return Err(Refusal::new(format!("its matrices must be of rank 3, and are {}", theta.value.ty())));
    }
    let place = |i: usize, size: usize| match (align, size) {
        (true, 1) => -1.0,
        (true, _) => 2.0 * i as f64 / (size as f64 - 1.0) - 1.0,
        (false, _) => (2.0 * i as f64 + 1.0) / size as f64 - 1.0,
    };
    // Every point as x, y, (z,) 1.
    let mut base = Vec::with_capacity(count * (spatial + 1));
    for at in 0..count {
        let mut rest = at;
        for size in sizes.iter().rev() {
            base.push(place(rest % size, *size) as f32);
            rest /= size;
        }
        base.push(1.0);
    }
    let base = Constant::new([count, spatial + 1], &base)?;
    let base = n.constant(base);
    let base = n.cast(&base, theta.value.dtype().unwrap_or(DType::F32))?;
    let grid = n.push(mb::matmul(&base, &theta.value).transpose_y(true))?;
    let mut shape = vec![n.size(&theta.value, 0)?];
    shape.extend(sizes.iter().map(|s| Size::from(*s)));
    shape.push(spatial.into());
    let y = n.reshape(&grid, &shape)?;
    n.one(y, theta.dtype)
}

/// The grid of a size that only the run knows: what each coordinate contributes, added up.
fn affine_grid_of_computed(n: &mut Node<'_, '_>, theta: &Tensor, size: &Tensor, align: bool) -> Lowered {
    let Some(count @ (4 | 5)) = size.size(0).filter(|_| size.rank() == 1) else {
        return Err(n.must_be_known(1, "size"));
    };
    let spatial = count - 2;
    if theta.rank() != 3 || theta.size(2).is_some_and(|columns| columns != spatial + 1) {
        let wanted = spatial + 1;
        return Err(Refusal::new(format!("its matrices must have {wanted} columns, and are {}", theta.value.ty())));
    }
    let float = theta.value.dtype().unwrap_or(DType::F32);
    let between: Vec<usize> = (1..=spatial).collect();
    let mut sum: Option<Value> = None;
    for column in 0..=spatial {
        let part = n.at(&theta.value, 2, column as i64)?;
        let mut part = n.expand_dims(&part, &between)?;
        if column < spatial {
            // The first coordinate runs along the last dimension.
            let axis = spatial - 1 - column;
            let size = n.scalar_at(&size.value, axis + 2)?;
            let index = n.push(mb::range_1d(&size, 0, 1))?;
            let over = n.push(mb::mul(&index, 2))?;
            let (over, under) = if align {
                let last = n.push(mb::sub(&size, 1))?;
                (over, n.push(mb::maximum(&last, 1))?)
            } else {
                (n.push(mb::add(&over, 1))?, size)
            };
            let (over, under) = (n.cast(&over, DType::F32)?, n.cast(&under, DType::F32)?);
            let place = n.push(mb::real_div(&over, &under))?;
            let place = n.push(mb::sub(&place, 1.0))?;
            let place = n.along(&place, axis + 1, spatial + 2)?;
            let place = n.cast(&place, float)?;
            part = n.push(mb::mul(&part, &place))?;
        }
        sum = Some(match sum {
            Some(sum) => n.push(mb::add(&sum, &part))?,
            None => part,
        });
    }
    let grid = sum.ok_or_else(|| Refusal::new("its matrices are empty"))?;
    n.one(grid, theta.dtype)
}

/// The samples of boxes along one dimension: two elements each, `[R, samples]`.
struct Samples {
    /// `i32` indices of the element before and after.
    elements: [Value; 2],
    /// As much as each is near; 0 outside.
    parts: [Value; 2],
}

fn roi_align(n: &mut Node<'_, '_>) -> Lowered {
    let (x, rois, images) = (n.input(0)?, n.input(1)?, n.input(2)?);
    let (Some(height), Some(width)) = (x.size(2), x.size(3)) else {
        return Err(Refusal::new("`RoiAlign` is for images of rank 4 and of known sizes")
            .remedy("say the input's shape: `--input NAME=1,3,224,224`"));
    };
    let ratio = n.int_or("sampling_ratio", 0)?;
    if !(1..=64).contains(&ratio) {
        return Err(Refusal::new(
            "without `sampling_ratio` there are as many samples as a box is large, which MIL cannot say",
        )
        .remedy("export the model with a `sampling_ratio` of 2"));
    }
    let default = if n.opset < 16 { "output_half_pixel" } else { "half_pixel" };
    let half = match &n.string_or("coordinate_transformation_mode", default)?[..] {
        "half_pixel" => true,
        "output_half_pixel" => false,
        other => {
            let other = other.escape_debug();
            return Err(Refusal::new(format!("its attribute `coordinate_transformation_mode` is `{other}`")));
        }
    };
    let max = match &n.string_or("mode", "avg")?[..] {
        "avg" => false,
        "max" => true,
        other => return Err(Refusal::new(format!("its attribute `mode` is `{}`", other.escape_debug()))),
    };
    let (rows, columns) = (n.int_or("output_height", 1)?, n.int_or("output_width", 1)?);
    if !(1..=4096).contains(&rows) || !(1..=4096).contains(&columns) {
        return Err(Refusal::new(format!("its output is {rows} by {columns}")));
    }
    let scale = f64::from(n.float_or("spatial_scale", 1.0)?);
    let boxes = n.cast(&rois.value, DType::F32)?;
    let mut edges = n.push(mb::mul(&boxes, scale))?;
    if half {
        edges = n.push(mb::sub(&edges, 0.5))?;
    }
    let along = |n: &mut Node<'_, '_>, at: i64, count: i64, size: usize| {
        let (start, end) = (n.last(&edges, at, at + 1, 1)?, n.last(&edges, at + 2, at + 3, 1)?);
        samples(n, &start, &end, !half, [count, ratio], size)
    };
    let vertical = along(n, 1, rows, height)?;
    let horizontal = along(n, 0, columns, width)?;
    // All elements of all images as rows of channels.
    let channels = n.size(&x.value, 1)?;
    let flat = n.transpose(&x.value, &[0, 2, 3, 1])?;
    let flat = n.reshape(&flat, &[Size::Fixed(-1), channels])?;
    let first = n.push(mb::mul(&images.value, (height * width) as i64))?;
    let first = n.expand_dims(&first, &[1, 2])?;
    let mut joined: Option<Value> = None;
    for i in 0..4 {
        let (v, h) = (i / 2, i % 2);
        let row = n.push(mb::mul(&vertical.elements[v], width as i64))?;
        let (row, column) = (n.expand_dims(&row, &[2])?, n.expand_dims(&horizontal.elements[h], &[1])?);
        let index = n.push(mb::add(&row, &column))?;
        let index = n.push(mb::add(&index, &first))?;
        let (row, column) = (n.expand_dims(&vertical.parts[v], &[2])?, n.expand_dims(&horizontal.parts[h], &[1])?);
        let part = n.push(mb::mul(&row, &column))?;
        let part = n.expand_dims(&part, &[3])?;
        let read = n.push(mb::gather(&flat, &index).axis(0))?;
        let part = n.cast(&part, read.dtype().unwrap_or(DType::F32))?;
        let read = n.push(mb::mul(&read, &part))?;
        joined = Some(match joined {
            None => read,
            // The maximum is of elements as near as they are (source: ONNX, `RoiAlign`).
            Some(all) if max => n.push(mb::maximum(&all, &read))?,
            Some(all) => n.push(mb::add(&all, &read))?,
        });
    }
    let Some(all) = joined else { return Err(Refusal::new("it has no samples")) };
    let all = n.transpose(&all, &[0, 3, 1, 2])?;
    let y = match (ratio, max) {
        (1, _) => all,
        (_, true) => n.push(mb::max_pool(&all, [ratio, ratio], "valid").strides([ratio, ratio]))?,
        (_, false) => n.push(mb::avg_pool(&all, [ratio, ratio], "valid").strides([ratio, ratio]))?,
    };
    n.one(y, x.dtype)
}

/// Where boxes are sampled between `start` and `end` (`[R, 1]`), `counts` being their parts and the samples of each.
fn samples(
    n: &mut Node<'_, '_>,
    start: &Value,
    end: &Value,
    at_least_one: bool,
    counts: [i64; 2],
    size: usize,
) -> Result<Samples, Refusal> {
    let [parts, ratio] = counts;
    let mut length = n.push(mb::sub(end, start))?;
    if at_least_one {
        length = n.push(mb::maximum(&length, 1.0))?;
    }
    let fractions: Vec<f32> = (0..parts * ratio).map(|i| ((i as f64 + 0.5) / (parts * ratio) as f64) as f32).collect();
    let fractions = Constant::new([1, fractions.len()], &fractions)?;
    let fractions = n.constant(fractions);
    let place = n.push(mb::mul(&length, &fractions))?;
    let place = n.push(mb::add(&place, start))?;
    // Up to an element outside the border counts.
    let bounded = n.push(mb::clip(&place, -1.0, size as f64))?;
    let inside = n.push(mb::equal(&bounded, &place))?;
    let inside = n.cast(&inside, DType::F32)?;
    let place = n.push(mb::clip(&place, 0.0, size as f64 - 1.0))?;
    let before = n.push(mb::floor(&place))?;
    let after = n.push(mb::add(&before, 1.0))?;
    let after = n.push(mb::minimum(&after, size as f64 - 1.0))?;
    let near = n.push(mb::sub(&place, &before))?;
    let near = n.push(mb::mul(&near, &inside))?;
    let far = n.push(mb::sub(&inside, &near))?;
    Ok(Samples { elements: [n.cast(&before, DType::I32)?, n.cast(&after, DType::I32)?], parts: [far, near] })
}
