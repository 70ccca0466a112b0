//! Resizing: MIL's ops where they are exactly what the node says, else a product with a matrix per dimension.

use mil_core::{
    graph::Value,
    ir::Constant,
    mb,
    types::{DType, Dim, Opset},
};

use super::{
    Entry, Lowered, Node,
    resize_axis::{Axis, Coordinates, Mode, Nearest, Rule},
};
use crate::import::{Refusal, Tensor};

const LIMITS: &str = "scales and sizes that are known, or, from iOS17, computed sizes of the last two dimensions; for sizes of the input that \
     are not known whole scales of the last two dimensions";

pub(super) const OPS: &[Entry] =
    &[Entry::new("Resize", resize).but(LIMITS), Entry::new("Upsample", resize).but(LIMITS)];

/// More elements than this one matrix shall not have.
const MOST_ELEMENTS: usize = 1 << 26;

/// What a dimension shall become.
#[derive(Clone, Debug)]
enum Wanted {
    Scale(f64),
    Size(Dim),
}

/// The node's request: the rule, and for each dimension that changes what it shall become and the part of it to sample.
struct Request {
    rule: Rule,
    axes: Vec<(usize, Wanted, [f64; 2])>,
}

fn resize(n: &mut Node<'_, '_>) -> Lowered {
    let x = n.input(0)?;
    let Some(request) = request(n, &x)? else {
        return resize_to_computed(n, &x);
    };
    let Request { rule, axes } = request;
    let mut known = vec![];
    for (axis, wanted, roi) in &axes {
        let Some(size) = x.size(*axis) else {
            return enlarge_unknown(n, &x, &rule, &axes);
        };
        let size_is = |wanted: f64| {
            if (1.0..=f64::from(i32::MAX)).contains(&wanted) {
                return Ok(wanted as usize);
            }
            Err(Refusal::new(format!("it makes {wanted} elements out of {size}")))
        };
        known.push(match wanted {
            Wanted::Scale(scale) => {
                let out = size_is((scale * size as f64).floor())?;
                Axis { axis: *axis, size, out, scale: *scale, exact: false, roi: *roi }
            }
            Wanted::Size(out) => {
                let out = out.fixed().ok_or_else(|| n.must_be_known(n.inputs() - 1, "sizes"))?;
                let out = size_is(out as f64)?;
                Axis { axis: *axis, size, out, scale: out as f64 / size.max(1) as f64, exact: true, roi: *roi }
            }
        });
        if size == 0 {
            return Err(Refusal::new("its input is empty"));
        }
    }
    let keep = rule.keep_aspect_ratio.then(|| aspect(n, &mut known)).transpose()?;
    debug_assert!(keep.is_none() || known.iter().all(|a| !a.exact));
    let parts = |a: &Axis| !a.exact && (a.scale * a.size as f64).fract() != 0.0;
    if rule.coordinates == Coordinates::AlignCorners && known.iter().any(parts) {
        n.warn(
            "`Resize` aligns the corners of sizes that are not whole, as ONNX's tests have it; onnxruntime rounds the sizes first. \
             Give sizes instead of scales"
                .into(),
        );
    }
    let changed = |a: &Axis| a.out != a.size || !a.is_identity(&rule);
    known.retain(changed);
    let y = if rule.mode == Mode::Nearest {
        nearest(n, &x.value, &rule, &known)?
    } else {
        let float = n.cast(&x.value, if x.value.dtype() == Some(DType::F16) { DType::F16 } else { DType::F32 })?;
        let y = match bilinear(n, &float, &rule, &known)? {
            Some(y) => y,
            None => products(n, &float, &rule, &known)?,
        };
        n.cast(&y, x.value.dtype().unwrap_or(DType::F32))?
    };
    let y = extrapolate(n, y, &rule, &known)?;
    n.one(y, x.dtype)
}

/// Keeps the aspect ratio: all dimensions are scaled by the smallest or largest of the scales.
fn aspect(n: &Node<'_, '_>, axes: &mut [Axis]) -> Result<(), Refusal> {
    let scales = axes.iter().map(|a| a.scale);
    let scale = match &n.string_or("keep_aspect_ratio_policy", "stretch")?[..] {
        "not_larger" => scales.fold(f64::INFINITY, f64::min),
        "not_smaller" => scales.fold(0.0, f64::max),
        other => {
            let other = other.escape_debug();
            return Err(Refusal::new(format!("its attribute `keep_aspect_ratio_policy` is `{other}`")));
        }
    };
    for a in axes {
        a.scale = scale;
        a.out = ((scale * a.size as f64 + 0.5) as usize).max(1);
        a.exact = false;
    }
    Ok(())
}

/// Reads the node. `None` if the sizes are computed.
fn request(n: &mut Node<'_, '_>, x: &Tensor) -> Result<Option<Request>, Refusal> {
    let rank = x.rank();
    let old = n.op() == "Upsample" || n.opset < 11;
    let rule = Rule::read(n, old)?;
    let scales = match (old, n.floats_attr("scales")?) {
        (true, Some(scales)) => Some(scales.into_iter().map(f64::from).collect()),
        (true, None) => n.known_numbers(1, "scales")?,
        (false, _) => n.known_numbers(2, "scales")?,
    };
    let scales = scales.filter(|s: &Vec<f64>| !s.is_empty());
    let sizes = match scales {
        Some(_) => None,
        None if old => return Err(Refusal::new("its scales are missing")),
        None => {
            let Some(sizes) = n.optional(3)? else { return Err(Refusal::new("it has neither scales nor sizes")) };
            match sizes.known_dims().or_else(|| Some(sizes.ints()?.into_iter().map(Dim::from).collect())) {
                Some(sizes) => Some(sizes),
                None => return Ok(None),
            }
        }
    };
    let axes = match n.ints_attr("axes")? {
        Some(axes) => {
            n.axes(&axes, rank)?;
            axes.iter().map(|a| x.axis(*a)).collect::<Result<Vec<_>, _>>()?
        }
        None => (0..rank).collect(),
    };
    let count = scales.as_ref().map_or(sizes.as_ref().map_or(0, Vec::len), Vec::len);
    if count != axes.len() {
        return Err(Refusal::new(format!("it says {count} sizes for {} dimensions", axes.len())));
    }
    let crops = rule.coordinates == Coordinates::CropAndResize;
    let roi = if crops { n.known_numbers(1, "region")?.filter(|r| !r.is_empty()) } else { None };
    if let Some(roi) = roi.as_ref().filter(|r| r.len() != 2 * count) {
        return Err(Refusal::new(format!("its region has {} numbers where it takes {}", roi.len(), 2 * count)));
    }
    let mut request = Request { rule, axes: vec![] };
    for (i, axis) in axes.into_iter().enumerate() {
        let wanted = match (&scales, &sizes) {
            (Some(scales), _) => Wanted::Scale(scales[i]),
            (_, Some(sizes)) => Wanted::Size(sizes[i].clone()),
            _ => continue,
        };
        let part = roi.as_ref().map_or([0.0, 1.0], |r| [r[i], r[count + i]]);
        let stays = match &wanted {
            Wanted::Scale(scale) => *scale == 1.0,
            Wanted::Size(size) => *size == x.dims()[axis] && !request.rule.keep_aspect_ratio,
        };
        if !stays || part != [0.0, 1.0] {
            request.axes.push((axis, wanted, part));
        }
    }
    Ok(Some(request))
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
    let dtype = x.dtype().unwrap_or(DType::F32);
    let rank = x.shape().map_or(0, |s| s.rank());
    let mut x = x.clone();
    for a in axes {
        if a.size.checked_mul(a.out).is_none_or(|n| n > MOST_ELEMENTS) {
            return Err(Refusal::new(format!("resizing {} elements to {} takes too large a matrix", a.size, a.out)));
        }
        let rows = a.matrix(rule);
        if a.axis + 2 == rank {
            let matrix = Constant::new([a.out, a.size], &rows)?;
            let matrix = n.constant(matrix);
            let matrix = n.cast(&matrix, dtype)?;
            x = n.push(mb::matmul(&matrix, &x))?;
            continue;
        }
        let matrix = Constant::new([a.size, a.out], &transposed(&rows, a.size))?;
        let matrix = n.constant(matrix);
        let matrix = n.cast(&matrix, dtype)?;
        let mut perm: Vec<usize> = (0..rank).collect();
        perm.swap(a.axis, rank - 1);
        let last = n.transpose(&x, &perm)?;
        let last = n.push(mb::matmul(&last, &matrix))?;
        x = n.transpose(&last, &perm)?;
    }
    Ok(x)
}

fn transposed(rows: &[f32], columns: usize) -> Vec<f32> {
    (0..columns).flat_map(|c| rows.iter().skip(c).step_by(columns).copied()).collect()
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
fn enlarge_unknown(n: &mut Node<'_, '_>, x: &Tensor, rule: &Rule, axes: &[(usize, Wanted, [f64; 2])]) -> Lowered {
    let rank = x.rank();
    let mut scales = [1i64; 2];
    let mut fits = rank >= 3 && x.value.dtype().is_some_and(|d| d.is_float());
    for (axis, wanted, _) in axes {
        let scale = match wanted {
            Wanted::Scale(scale) => *scale,
            Wanted::Size(size) => match x.dims().get(*axis) {
                Some(dim) => (2..=64).find(|k| dim.clone() * *k == *size).map_or(0.0, |k| k as f64),
                None => 0.0,
            },
        };
        fits &= *axis + 2 >= rank && scale.fract() == 0.0 && (1.0..=65536.0).contains(&scale);
        if fits {
            scales[axis + 2 - rank] = scale as i64;
        }
    }
    let sizes = axes.iter().all(|(_, wanted, _)| matches!(wanted, Wanted::Size(_)));
    if !fits && sizes && !rule.keep_aspect_ratio {
        return resize_to_computed(n, x);
    }
    let remedy = "say the input's shape: `--input NAME=1,3,224,224`";
    if !fits || rule.keep_aspect_ratio {
        let message = "for an input of unknown sizes MIL has whole scales of the last two dimensions";
        return Err(Refusal::new(message).remedy(remedy));
    }
    let half_pixel = rule.coordinates.half_pixel();
    let y = match rule.mode {
        Mode::Nearest if rule.repeats() => {
            let call = mb::upsample_nearest_neighbor(&x.value);
            n.push(call.scale_factor_height(scales[0]).scale_factor_width(scales[1]))?
        }
        Mode::Linear if rule.is_plain_linear() && half_pixel => {
            upsample_bilinear(n, &x.value, scales, "UNALIGN_CORNERS")?
        }
        Mode::Linear if rule.is_plain_linear() && rule.coordinates == Coordinates::AlignCorners => {
            upsample_bilinear(n, &x.value, scales, "STRICT_ALIGN_CORNERS")?
        }
        Mode::Linear if rule.is_plain_linear() && rule.coordinates == Coordinates::Asymmetric => {
            n.needs(Opset::iOS16, "resizing with asymmetric coordinates")?;
            upsample_bilinear(n, &x.value, scales, "DEFAULT")?
        }
        _ => return Err(Refusal::new("for an input of unknown sizes MIL has no resizing of this kind").remedy(remedy)),
    };
    n.one(y, x.dtype)
}

/// Sizes that are computed: of the last two dimensions, with what MIL's `resize` has.
fn resize_to_computed(n: &mut Node<'_, '_>, x: &Tensor) -> Lowered {
    let sizes = n.input(3)?;
    let refused = n.must_be_known(3, "sizes");
    let rule = Rule::read(n, false)?;
    let rank = x.rank();
    let two: &[usize] = &[rank.wrapping_sub(2), rank.wrapping_sub(1)];
    let all: Vec<usize> = match n.ints_attr("axes")? {
        Some(axes) => axes.iter().map(|a| x.axis(*a)).collect::<Result<_, _>>()?,
        None => (0..rank).collect(),
    };
    if rank < 3 || rule.keep_aspect_ratio || !all.ends_with(two) || !(all.len() == 2 || all.len() == rank) {
        return Err(refused);
    }
    // Those before the last two must stay as they are.
    if all.len() == rank {
        let said = sizes.known_dims().unwrap_or_default();
        if said.len() != rank || said[..rank - 2] != x.dims()[..rank - 2] {
            return Err(refused);
        }
    }
    let (sampling, interpolation) = match (rule.mode, rule.coordinates) {
        (Mode::Linear, c) if rule.is_plain_linear() && c.half_pixel() => ("UNALIGN_CORNERS", "LINEAR"),
        (Mode::Linear, Coordinates::AlignCorners) if rule.is_plain_linear() => ("STRICT_ALIGN_CORNERS", "LINEAR"),
        (Mode::Linear, Coordinates::Asymmetric) if rule.is_plain_linear() => ("DEFAULT", "LINEAR"),
        (Mode::Nearest, c) if c.half_pixel() && rule.nearest == Nearest::RoundPreferCeil => {
            ("DEFAULT", "NEAREST_NEIGHBOR")
        }
        (Mode::Nearest, Coordinates::Asymmetric) if rule.nearest == Nearest::Floor => {
            return nearest_to_computed(n, x, &sizes);
        }
        _ => return Err(refused),
    };
    n.needs(Opset::iOS17, "resizing to computed sizes")?;
    let count = all.len() as i64;
    let shape =
        if count == 2 { sizes.value.clone() } else { n.push(mb::slice_by_index(&sizes.value, [count - 2], [count]))? };
    let call = mb::resize(&x.value, &shape, 2).interpolation_mode(interpolation).sampling_mode(sampling);
    let y = n.push(call)?;
    n.one(y, x.dtype)
}

/// Element `i` is the one at `floor(i * size / new size)`: what torch's `nearest` is.
fn nearest_to_computed(n: &mut Node<'_, '_>, x: &Tensor, sizes: &Tensor) -> Lowered {
    let rank = x.rank();
    let count = sizes.size(0).unwrap_or(0);
    let mut y = x.value.clone();
    for i in 0..2 {
        let (axis, at) = (rank - 2 + i, (count - 2 + i) as i64);
        let out = n.push(mb::slice_by_index(&sizes.value, [at], [at + 1]).squeeze_mask([true]))?;
        let shape = n.shape(&x.value)?;
        let axis_at = axis as i64;
        let size = n.push(mb::slice_by_index(&shape, [axis_at], [axis_at + 1]).squeeze_mask([true]))?;
        let places = n.push(mb::range_1d(&out, 0, 1))?;
        let places = n.push(mb::mul(&places, &size))?;
        let places = n.push(mb::floor_div(&places, &out))?;
        y = n.push(mb::gather(&y, &places).axis(axis_at))?;
    }
    n.one(y, x.dtype)
}

#[cfg(test)]
mod tests {
    use mil_core::{ir::Constant, types::DType::F32};

    use crate::onnx::testing::{Net, string};

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

    #[test]
    fn unknown_sizes_are_refused_where_they_matter() {
        let refusal = resize(&[1, 3, -1, -1], [2.0, 2.0], &[("mode", "cubic")]).refusal("y");
        assert!(refusal.contains("--input NAME=1,3,224,224"), "{refusal}");
        let net = Net::new(18).input("x", F32, &[1, 3, 8, 8]).input("scales", F32, &[4]);
        let refusal = net.node("Resize", "x _ scales", "y", &[]).refusal("y");
        assert!(refusal.contains("--constant scales=.."), "{refusal}");
    }
}
