//! Resizing: MIL's ops where they are exactly what the node says, else dimension by dimension a product with a matrix, or, where
//! sizes or scales are computed, what arithmetic makes of them.

use mil_core::{
    graph::Value,
    ir::Constant,
    mb,
    types::{DType, Dim, Opset},
};

use super::{
    Entry, Lowered, Node,
    resize_axis::{Axis, Mode, Rule},
};
use crate::import::{
    Refusal, Tensor,
    resize::{Coordinates, Nearest, Scale, Stretch},
};

const LIMITS: &str = "scales or sizes of which the number is not known";

pub(super) const OPS: &[Entry] =
    &[Entry::new("Resize", resize).but(LIMITS), Entry::new("Upsample", resize).but(LIMITS)];

/// What a dimension shall become.
#[derive(Clone, Debug)]
enum Wanted {
    Scale(f64),
    Size(Dim),
    /// Only the run knows.
    Computed,
}

/// What is asked of a dimension.
#[derive(Clone, Debug)]
struct Wish {
    axis: usize,
    /// The place in the lists of the node.
    at: usize,
    wanted: Wanted,
    /// The part that is sampled, as fractions of the size less 1; `None` if only the run knows.
    part: Option<[f64; 2]>,
}

/// The node's request: the rule, and what is asked of each dimension that may change.
struct Request {
    rule: Rule,
    wishes: Vec<Wish>,
    /// The dimensions that the lists speak of, in their order.
    axes: Vec<usize>,
    /// Scales or sizes, as the node has them.
    list: Value,
    scales: bool,
    roi: Option<Value>,
}

fn resize(n: &mut Node<'_, '_>) -> Lowered {
    let x = n.input(0)?;
    let request = request(n, &x)?;
    if x.dims().iter().any(|d| d.is(0)) {
        return Err(Refusal::new("its input is empty"));
    }
    if let Some(axes) = known(n, &x, &request)? {
        return resize_known(n, &x, &request.rule, axes);
    }
    let y = match enlarge_unknown(n, &x, &request)? {
        Some(y) => y,
        None => match resize_by_op(n, &x, &request)? {
            Some(y) => y,
            None => computed(n, &x, &request)?,
        },
    };
    n.one(y, x.dtype)
}

/// The dimensions that change, if all about them is known.
fn known(n: &Node<'_, '_>, x: &Tensor, request: &Request) -> Result<Option<Vec<Axis>>, Refusal> {
    let mut known = vec![];
    for Wish { axis, wanted, part, .. } in &request.wishes {
        let (Some(size), Some(roi)) = (x.size(*axis), *part) else { return Ok(None) };
        let size_is = |wanted: f64| {
            if (1.0..=f64::from(i32::MAX)).contains(&wanted) {
                return Ok(wanted as usize);
            }
            Err(Refusal::new(format!("it makes {wanted} elements out of {size}")))
        };
        known.push(match wanted {
            Wanted::Scale(scale) => {
                // In f32, as ONNX's shape inference and onnxruntime have it: 0.7 times 10 is 7, though no f32 is 0.7.
                let wide = *scale as f32 * size as f32;
                let out = size_is(f64::from(wide.floor()))?;
                let scale = if wide.fract() == 0.0 { out as f64 / size as f64 } else { *scale };
                Axis { axis: *axis, size, out, scale, exact: false, roi }
            }
            Wanted::Size(out) => {
                let Some(out) = out.value() else { return Ok(None) };
                let out = size_is(out as f64)?;
                Axis { axis: *axis, size, out, scale: out as f64 / size as f64, exact: true, roi }
            }
            Wanted::Computed => return Ok(None),
        });
    }
    if request.rule.keep_aspect_ratio {
        aspect(n, &mut known)?;
    }
    Ok(Some(known))
}

fn resize_known(n: &mut Node<'_, '_>, x: &Tensor, rule: &Rule, mut known: Vec<Axis>) -> Lowered {
    let parts = |a: &Axis| !a.exact && (a.scale * a.size as f64).fract() != 0.0;
    if rule.coordinates == Coordinates::AlignCorners && known.iter().any(parts) {
        n.warn(
            "`Resize` aligns the corners of sizes that are not whole, as ONNX's tests have it; onnxruntime rounds the sizes first. \
             Give sizes instead of scales"
                .into(),
        );
    }
    let changed = |a: &Axis| a.out != a.size || !a.is_identity(rule);
    known.retain(changed);
    let y = if rule.mode == Mode::Nearest {
        nearest(n, &x.value, rule, &known)?
    } else {
        let float = n.cast(&x.value, if x.value.dtype() == Some(DType::F16) { DType::F16 } else { DType::F32 })?;
        let y = match bilinear(n, &float, rule, &known)? {
            Some(y) => y,
            None => products(n, &float, rule, &known)?,
        };
        n.cast(&y, x.value.dtype().unwrap_or(DType::F32))?
    };
    let y = extrapolate(n, y, rule, &known)?;
    n.one(y, x.dtype)
}

/// Keeps the aspect ratio: all dimensions are scaled by the smallest or largest of the scales.
fn aspect(n: &Node<'_, '_>, axes: &mut [Axis]) -> Result<(), Refusal> {
    let scales = axes.iter().map(|a| a.scale);
    let scale = if smallest(n)? { scales.fold(f64::INFINITY, f64::min) } else { scales.fold(0.0, f64::max) };
    for a in axes {
        a.scale = scale;
        a.out = ((scale * a.size as f64 + 0.5) as usize).max(1);
        a.exact = false;
    }
    Ok(())
}

/// Whether the smallest of the scales is that of all dimensions, and not the largest.
fn smallest(n: &Node<'_, '_>) -> Result<bool, Refusal> {
    match &n.string_or("keep_aspect_ratio_policy", "stretch")?[..] {
        "not_larger" => Ok(true),
        "not_smaller" => Ok(false),
        other => {
            let other = other.escape_debug();
            Err(Refusal::new(format!("its attribute `keep_aspect_ratio_policy` is `{other}`")))
        }
    }
}

/// An input that is a list, unless it is empty.
fn list(n: &mut Node<'_, '_>, i: usize) -> Result<Option<Tensor>, Refusal> {
    Ok(n.optional(i)?.filter(|t| t.size(0) != Some(0)))
}

/// Reads the node.
fn request(n: &mut Node<'_, '_>, x: &Tensor) -> Result<Request, Refusal> {
    let rank = x.rank();
    let old = n.op() == "Upsample" || n.opset < 11;
    let rule = Rule::read(n, old)?;
    let scales = match (old, n.floats_attr("scales")?) {
        (true, Some(scales)) => {
            let scales = n.constant(Constant::vector(&scales));
            Some(Tensor::new(scales, DType::F32))
        }
        (true, None) => list(n, 1)?,
        (false, _) => list(n, 2)?,
    };
    let is_scales = scales.is_some();
    let (said, input) = match scales {
        Some(scales) => (scales, if old { 1 } else { 2 }),
        None if old => return Err(Refusal::new("its scales are missing")),
        None => (list(n, 3)?.ok_or_else(|| Refusal::new("it has neither scales nor sizes"))?, 3),
    };
    let axes = match n.ints_attr("axes")? {
        Some(axes) => {
            n.axes(&axes, rank)?;
            axes.iter().map(|a| x.axis(*a)).collect::<Result<_, _>>()?
        }
        None => (0..rank).collect::<Vec<usize>>(),
    };
    let count = said.size(0).filter(|_| said.rank() == 1);
    let count = count.ok_or_else(|| n.must_be_known(input, "number of scales or sizes"))?;
    if count != axes.len() {
        return Err(Refusal::new(format!("it says {count} sizes for {} dimensions", axes.len())));
    }
    let crops = rule.coordinates == Coordinates::CropAndResize;
    let roi = if crops { list(n, 1)? } else { None };
    if let Some(found) = roi.as_ref().map(|r| r.size(0)).filter(|size| *size != Some(2 * count)) {
        let Some(found) = found else { return Err(n.must_be_known(1, "region's rank")) };
        return Err(Refusal::new(format!("its region has {found} numbers where it takes {}", 2 * count)));
    }
    let parts = roi.as_ref().map(Tensor::numbers);
    let (numbers, dims) = (said.numbers().filter(|_| is_scales), said.known_dims().filter(|_| !is_scales));
    let mut wishes = vec![];
    for (at, axis) in axes.iter().copied().enumerate() {
        let wanted = match (&numbers, &dims) {
            (Some(scales), _) => Wanted::Scale(scales[at]),
            (_, Some(sizes)) => Wanted::Size(sizes[at].clone()),
            _ => Wanted::Computed,
        };
        let part = match &parts {
            None => Some([0.0, 1.0]),
            Some(parts) => parts.as_ref().map(|r| [r[at], r[count + at]]),
        };
        let stays = match &wanted {
            Wanted::Scale(scale) => *scale == 1.0,
            Wanted::Size(size) => *size == x.dims()[axis] && !rule.keep_aspect_ratio,
            Wanted::Computed => false,
        };
        if !stays || part != Some([0.0, 1.0]) {
            wishes.push(Wish { axis, at, wanted, part });
        }
    }
    let list = if is_scales { n.cast(&said.value, DType::F32)? } else { said.value };
    let roi = roi.map(|r| n.cast(&r.value, DType::F32)).transpose()?;
    Ok(Request { rule, wishes, axes, list, scales: is_scales, roi })
}

/// What the last two dimensions become; `None` if others change too, or there is no image.
fn last_two(axes: &[Axis], rank: usize) -> Option<[Option<&Axis>; 2]> {
    let find = |axis: usize| axes.iter().find(|a| a.axis == axis);
    (rank >= 3 && axes.iter().all(|a| a.axis + 2 >= rank)).then(|| [find(rank - 2), find(rank - 1)])
}

/// The scales of the last two dimensions, if both are whole.
fn whole(axes: [Option<&Axis>; 2]) -> Option<[i64; 2]> {
    let scale = |a: Option<&Axis>| match a {
        None => Some(1),
        Some(a) => (a.out % a.size == 0).then_some((a.out / a.size) as i64),
    };
    Some([scale(axes[0])?, scale(axes[1])?])
}

/// The sizes of the last two dimensions.
fn targets(x: &Value, axes: [Option<&Axis>; 2]) -> Option<[i64; 2]> {
    let shape = x.shape()?;
    let rank = shape.rank();
    let size = |i: usize| match axes[i] {
        Some(a) => Some(a.out as i64),
        None => shape.get(rank - 2 + i).and_then(Dim::fixed).map(|n| n as i64),
    };
    Some([size(0)?, size(1)?])
}

fn nearest(n: &mut Node<'_, '_>, x: &Value, rule: &Rule, axes: &[Axis]) -> Result<Value, Refusal> {
    let rank = x.shape().map_or(0, |s| s.rank());
    let indices: Vec<Vec<i64>> = axes.iter().map(|a| a.nearest(rule)).collect();
    let float = x.dtype().is_some_and(|d| d.is_float());
    if let (Some(image), true) = (last_two(axes, rank).filter(|_| !axes.is_empty()), float) {
        let same = |place: fn(&Axis, i64) -> i64| {
            axes.iter().zip(&indices).all(|(a, all)| (0..).zip(all).all(|(i, index)| place(a, i) == *index))
        };
        let repeats = same(|a, i| i * a.size as i64 / a.out as i64);
        if let Some([height, width]) = whole(image).filter(|_| repeats) {
            let call = mb::upsample_nearest_neighbor(x).scale_factor_height(height).scale_factor_width(width);
            return n.push(call);
        }
        let areas = same(|a, i| (2 * i + 1) * a.size as i64 / (2 * a.out as i64));
        if let Some([height, width]) = targets(x, image).filter(|_| areas) {
            return n.push(mb::resize_nearest_neighbor(x, height, width));
        }
    }
    let mut x = x.clone();
    for (a, indices) in axes.iter().zip(indices) {
        let indices = n.ints(&indices)?;
        x = n.push(mb::gather(&x, &indices).axis(a.axis as i64))?;
    }
    Ok(x)
}

/// Where the point of an element lies, by its index, the old size and the new one.
type Place = fn(f64, f64, f64) -> f64;

/// MIL's bilinear ops, if they are it.
fn bilinear(n: &mut Node<'_, '_>, x: &Value, rule: &Rule, axes: &[Axis]) -> Result<Option<Value>, Refusal> {
    let rank = x.shape().map_or(0, |s| s.rank());
    let Some(image) = last_two(axes, rank).filter(|_| !axes.is_empty() && rule.is_plain_linear()) else {
        return Ok(None);
    };
    let modes: [(&str, Place); 3] = [
        ("UNALIGN_CORNERS", |i, size, out| (i + 0.5) * size / out - 0.5),
        ("STRICT_ALIGN_CORNERS", |i, size, out| if out > 1.0 { i * (size - 1.0) / (out - 1.0) } else { 0.0 }),
        ("DEFAULT", |i, size, out| i * size / out),
    ];
    let is = |a: &Axis, place: Place| {
        let (size, out) = (a.size as f64, a.out as f64);
        let within = |v: f64| v.clamp(0.0, size - 1.0);
        (0..a.out)
            .zip(a.places(rule))
            .all(|(i, v)| (within(place(i as f64, size, out)) - within(v)).abs() < 1e-6 * size)
    };
    let Some((mode, _)) = modes.into_iter().find(|(_, place)| axes.iter().all(|a| is(a, *place))) else {
        return Ok(None);
    };
    if let Some([height, width]) = whole(image).filter(|_| mode != "DEFAULT" || n.opset() >= Opset::iOS16) {
        return upsample_bilinear(n, x, [height, width], mode).map(Some);
    }
    let Some([height, width]) = targets(x, image) else { return Ok(None) };
    let call = mb::resize_bilinear(x).target_size_height(height).target_size_width(width);
    Ok(Some(n.push(call.sampling_mode(mode))?))
}

fn upsample_bilinear(n: &mut Node<'_, '_>, x: &Value, scales: [i64; 2], mode: &str) -> Result<Value, Refusal> {
    let call = mb::upsample_bilinear(x).scale_factor_height(scales[0]).scale_factor_width(scales[1]);
    let call = call.align_corners(mode == "STRICT_ALIGN_CORNERS");
    n.push(if mode == "DEFAULT" { call.half_pixel_centers(false) } else { call })
}

/// Dimension by dimension, a product with a matrix that has a row for each element of the result.
fn products(n: &mut Node<'_, '_>, x: &Value, rule: &Rule, axes: &[Axis]) -> Result<Value, Refusal> {
    let Some(kernel) = rule.kernel() else { return Err(Refusal::new("the nearest elements are no sums")) };
    axes.iter().try_fold(x.clone(), |x, a| n.resize_known(&x, a.axis, a.places(rule), &kernel, a.scale))
}

/// Where a point lies outside the input: a number.
fn extrapolate(n: &mut Node<'_, '_>, y: Value, rule: &Rule, axes: &[Axis]) -> Result<Value, Refusal> {
    if rule.coordinates != Coordinates::CropAndResize {
        return Ok(y);
    }
    let rank = y.shape().map_or(0, |s| s.rank());
    let mut y = y;
    for a in axes {
        let inside: Vec<bool> = a.places(rule).map(|v| 0.0 <= v && v <= (a.size - 1) as f64).collect();
        if inside.iter().all(|i| *i) {
            continue;
        }
        let mut shape = vec![1; rank];
        shape[a.axis] = a.out;
        let inside = Constant::new(shape, &inside)?;
        let inside = n.constant(inside);
        let value = n.number(y.dtype().unwrap_or(DType::F32), rule.extrapolation_value)?;
        y = n.push(mb::select(&inside, &y, &value))?;
    }
    Ok(y)
}

/// Sizes of the input that are not known: whole scales of the last two dimensions, where they come to the same for all sizes.
/// `None` if it is not that.
fn enlarge_unknown(n: &mut Node<'_, '_>, x: &Tensor, request: &Request) -> Result<Option<Value>, Refusal> {
    let (rank, rule) = (x.rank(), &request.rule);
    let float = x.value.dtype().is_some_and(|d| d.is_float());
    if rank < 3 || !float || rule.keep_aspect_ratio || rule.coordinates == Coordinates::CropAndResize {
        return Ok(None);
    }
    let mut scales = [1i64; 2];
    for Wish { axis, wanted, .. } in &request.wishes {
        let scale = match wanted {
            Wanted::Scale(scale) => *scale,
            Wanted::Size(size) => match x.dims().get(*axis) {
                Some(dim) => (2..=64).find(|k| dim.clone() * *k == *size).map_or(0.0, |k| k as f64),
                None => 0.0,
            },
            Wanted::Computed => 0.0,
        };
        if *axis + 2 < rank || scale.fract() != 0.0 || !(1.0..=65536.0).contains(&scale) {
            return Ok(None);
        }
        scales[axis + 2 - rank] = scale as i64;
    }
    let linear = rule.is_plain_linear();
    Ok(Some(match rule.mode {
        Mode::Nearest if rule.repeats() => {
            let call = mb::upsample_nearest_neighbor(&x.value);
            n.push(call.scale_factor_height(scales[0]).scale_factor_width(scales[1]))?
        }
        Mode::Linear if linear && rule.coordinates.half_pixel() => {
            upsample_bilinear(n, &x.value, scales, "UNALIGN_CORNERS")?
        }
        Mode::Linear if linear && rule.coordinates == Coordinates::AlignCorners => {
            upsample_bilinear(n, &x.value, scales, "STRICT_ALIGN_CORNERS")?
        }
        Mode::Linear if linear && rule.coordinates == Coordinates::Asymmetric => {
            n.needs(Opset::iOS16, "resizing with asymmetric coordinates")?;
            upsample_bilinear(n, &x.value, scales, "DEFAULT")?
        }
        _ => return Ok(None),
    }))
}

/// Computed sizes of the last two dimensions, with what MIL's `resize` has. `None` if it is not that.
fn resize_by_op(n: &mut Node<'_, '_>, x: &Tensor, request: &Request) -> Result<Option<Value>, Refusal> {
    let (rank, rule, axes) = (x.rank(), &request.rule, &request.axes);
    let two: &[usize] = &[rank.wrapping_sub(2), rank.wrapping_sub(1)];
    let fits = rank >= 3 && !request.scales && !rule.keep_aspect_ratio && axes.ends_with(two);
    // Those before the last two must stay as they are.
    if !fits || request.wishes.iter().any(|w| w.axis + 2 < rank) {
        return Ok(None);
    }
    let linear = rule.is_plain_linear();
    let (sampling, interpolation) = match (rule.mode, rule.coordinates) {
        (Mode::Linear, c) if linear && c.half_pixel() => ("UNALIGN_CORNERS", "LINEAR"),
        (Mode::Linear, Coordinates::AlignCorners) if linear => ("STRICT_ALIGN_CORNERS", "LINEAR"),
        (Mode::Linear, Coordinates::Asymmetric) if linear => ("DEFAULT", "LINEAR"),
        (Mode::Nearest, c) if c.half_pixel() && rule.nearest == Nearest::RoundPreferCeil => {
            ("DEFAULT", "NEAREST_NEIGHBOR")
        }
        _ => return Ok(None),
    };
    n.needs(Opset::iOS17, "resizing to computed sizes")?;
    let count = axes.len() as i64;
    let shape = match count {
        2 => request.list.clone(),
        _ => n.push(mb::slice_by_index(&request.list, [count - 2], [count]))?,
    };
    let call = mb::resize(&x.value, &shape, 2).interpolation_mode(interpolation).sampling_mode(sampling);
    Ok(Some(n.push(call)?))
}

/// Sizes or scales that only the run knows: dimension by dimension, elements are taken or blended at computed places.
fn computed(n: &mut Node<'_, '_>, x: &Tensor, request: &Request) -> Result<Value, Refusal> {
    let rule = &request.rule;
    let mut stretches = vec![];
    for wish in &request.wishes {
        let size = n.scalar_size_of(&x.value, wish.axis)?;
        let said = n.scalar_at(&request.list, wish.at)?;
        let mut stretch = match (&wish.wanted, request.scales) {
            (Wanted::Scale(scale), _) => n.stretch_by_known(size, *scale)?,
            (_, true) => {
                n.warn(
                    "`Resize` has scales that are computed: places beyond 1024 are not exact in f16. Give sizes instead, or use \
                     `--precision fp32`"
                        .into(),
                );
                n.stretch_by(size, said)?
            }
            (_, false) => Stretch { size, out: said, scale: Scale::Sizes, part: None },
        };
        stretch.part = match &request.roi {
            Some(roi) => Some([n.scalar_at(roi, wish.at)?, n.scalar_at(roi, request.axes.len() + wish.at)?]),
            None => None,
        };
        stretches.push(stretch);
    }
    if rule.keep_aspect_ratio {
        let sizes: Vec<(Value, Value)> = stretches.iter().map(|s| (s.size.clone(), s.out.clone())).collect();
        let smallest = smallest(n)?;
        let kept = n.keep_ratio(&sizes, smallest)?;
        for (s, kept) in stretches.iter_mut().zip(kept) {
            *s = Stretch { part: s.part.clone(), ..kept };
        }
    }
    let dtype = x.value.dtype().unwrap_or(DType::F32);
    let kernel = rule.kernel();
    let mut y = match kernel {
        Some(_) if dtype != DType::F16 => n.cast(&x.value, DType::F32)?,
        _ => x.value.clone(),
    };
    let mut all = vec![];
    for (wish, s) in request.wishes.iter().zip(&stretches) {
        let places = n.places_of(s, rule.coordinates)?;
        y = match &kernel {
            None => n.take_nearest(&y, wish.axis, &places, rule.nearest)?,
            Some(kernel) => n.blend(&y, wish.axis, s, &places, kernel)?,
        };
        all.push((wish.axis, places));
    }
    y = n.cast(&y, dtype)?;
    all.iter().try_fold(y, |y, (axis, places)| n.put_outside(&y, *axis, places, rule.extrapolation_value))
}

#[cfg(test)]
mod tests {
    use mil_core::{
        ir::Constant,
        types::DType::{F32, I64},
    };

    use crate::onnx::testing::{Net, int, ints, string};

    fn resize(input: &[i64], scales: [f32; 2], attributes: &[(&str, &str)]) -> Net {
        let attributes: Vec<_> = attributes.iter().map(|(name, value)| string(name, value)).collect();
        let net = Net::new(18).input("x", F32, input);
        let net = net.constant("scales", Constant::vector(&[1.0, 1.0, scales[0], scales[1]]));
        net.node("Resize", "x _ scales", "y", &attributes)
    }

    #[test]
    fn mil_has_ops_for_what_frameworks_export() {
        let nearest = |input: &[i64], scales| {
            let attributes = [("coordinate_transformation_mode", "asymmetric"), ("nearest_mode", "floor")];
            resize(input, scales, &attributes).ops("y")
        };
        assert_eq!(nearest(&[1, 3, 8, 8], [2.0, 2.0]), ["upsample_nearest_neighbor"]);
        assert_eq!(nearest(&[-1, 3, -1, -1], [2.0, 3.0]), ["upsample_nearest_neighbor"]);
        let linear = |input: &[i64], scales, mode: &str| {
            resize(input, scales, &[("mode", "linear"), ("coordinate_transformation_mode", mode)]).ops("y")
        };
        assert_eq!(linear(&[1, 3, 8, 8], [2.0, 2.0], "half_pixel"), ["upsample_bilinear"]);
        assert_eq!(linear(&[1, 3, -1, 8], [2.0, 2.0], "align_corners"), ["upsample_bilinear"]);
        assert_eq!(linear(&[1, 3, 8, 8], [1.5, 2.0], "pytorch_half_pixel"), ["resize_bilinear"]);
        // Not whole: 7.5 elements become 7.
        assert_eq!(linear(&[1, 3, 5, 8], [1.5, 1.0], "half_pixel"), ["matmul"]);
    }

    /// No f32 is 0.7: the one next to it times 10 is less than 7, but rounded to f32 it is 7, which onnxruntime and torch have.
    #[test]
    fn sizes_are_products_in_f32() {
        let program = resize(&[1, 3, 10, 8], [0.7, 1.0], &[]).import("y").unwrap();
        let f = program.main().unwrap();
        assert_eq!(f.arg(f.outputs()[0]).ty.tensor().unwrap().shape.to_string(), "[1, 3, 7, 8]");
    }

    #[test]
    fn computed_sizes_become_arithmetic() {
        let sizes = |mode: &str, coordinates: &str| {
            let attributes =
                [ints("axes", &[2, 3]), string("mode", mode), string("coordinate_transformation_mode", coordinates)];
            let net = Net::new(18).input("x", F32, &[1, 3, -1, -1]).input("sizes", I64, &[2]);
            net.node("Resize", "x _ _ sizes", "y", &attributes).ops("y")
        };
        // MIL's own op, from iOS17.
        assert_eq!(sizes("linear", "half_pixel"), ["resize"]);
        for (mode, taps) in [("nearest", 1), ("cubic", 4)] {
            let ops = sizes(mode, "half_pixel");
            assert_eq!(ops.iter().filter(|op| **op == "gather").count(), 2 * taps, "{ops:?}");
            // Places stay integers.
            assert!(ops.contains(&"floor_div") && !ops.contains(&"floor"), "{ops:?}");
        }
        // A factor that is a quotient of small integers.
        let ops = resize(&[1, 3, -1, 8], [1.6, 1.0], &[]).ops("y");
        assert!(ops.contains(&"gather") && !ops.contains(&"floor") && !ops.contains(&"real_div"), "{ops:?}");
        let net = Net::new(18).input("x", F32, &[1, 3, 8, -1]);
        let net = net.constant("scales", Constant::vector(&[1f32, 1.0, 1.0, 0.3]));
        let antialias = [string("mode", "linear"), int("antialias", 1)];
        let antialias = net.node("Resize", "x _ scales", "y", &antialias).ops("y");
        assert!(antialias.contains(&"matmul") && !antialias.contains(&"gather"), "{antialias:?}");
    }

    #[test]
    fn unknown_sizes_are_refused_where_they_matter() {
        let refusal = |count: i64| {
            let net = Net::new(18).input("x", F32, &[1, 3, 8, 8]).input("scales", F32, &[count]);
            net.node("Resize", "x _ scales", "y", &[]).refusal("y")
        };
        assert!(refusal(-1).contains("--constant scales=.."));
        assert!(refusal(3).contains("3 sizes for 4 dimensions"));
    }
}
