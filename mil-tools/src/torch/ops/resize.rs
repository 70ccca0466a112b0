//! Resizing and sampling.
//!
//! Sizes that are known are resized by MIL's ops where these compute the same, and else along one dimension after the other: by
//! indices, or by a product with a matrix of weights. Where only the run knows sizes, it computes places and weights.

use mil_core::{graph::Value, mb, types::Opset};

use super::{Entry, Lowered, Node, gather::slices};
use crate::{
    import::{
        Refusal, Size, Tensor,
        resize::{Coordinates, Filter, Kernel, Nearest, Scale, Stretch},
        table,
    },
    torch::val::Val,
};

pub(super) const OPS: &[Entry] = &[
    Entry::new("aten::_upsample_bicubic2d_aa", |n| upsample(n, Mode::Smooth(Filter::Cubic(-0.5)), 2)),
    Entry::new("aten::_upsample_bilinear2d_aa", |n| upsample(n, Mode::Smooth(Filter::Linear), 2)),
    Entry::new("aten::_upsample_nearest_exact1d", |n| upsample(n, Mode::NearestExact, 1)),
    Entry::new("aten::_upsample_nearest_exact2d", |n| upsample(n, Mode::NearestExact, 2)),
    Entry::new("aten::_upsample_nearest_exact3d", |n| upsample(n, Mode::NearestExact, 3)),
    Entry::new("aten::channel_shuffle", channel_shuffle),
    Entry::new("aten::native_channel_shuffle", channel_shuffle),
    Entry::new("aten::grid_sampler", grid_sampler).but("of images, not bicubic"),
    Entry::new("aten::grid_sampler_2d", grid_sampler).but("not bicubic"),
    Entry::new("aten::pixel_shuffle", |n| {
        let (x, factor) = (n.tensor(0, "self")?, n.int(1, "upscale_factor")?);
        let (value, single) = image(n, &x)?;
        let y = n.push(mb::pixel_shuffle(&value, factor))?;
        let y = if single { n.squeeze(&y, &[0])? } else { y };
        n.one(y, x.dtype)
    }),
    Entry::new("aten::pixel_unshuffle", pixel_unshuffle),
    Entry::new("aten::upsample_bicubic2d", |n| upsample(n, Mode::Cubic, 2)),
    Entry::new("aten::upsample_bilinear2d", |n| upsample(n, Mode::Linear, 2)),
    Entry::new("aten::upsample_linear1d", |n| upsample(n, Mode::Linear, 1)),
    Entry::new("aten::upsample_nearest1d", |n| upsample(n, Mode::Nearest, 1)),
    Entry::new("aten::upsample_nearest2d", |n| upsample(n, Mode::Nearest, 2)),
    Entry::new("aten::upsample_nearest3d", |n| upsample(n, Mode::Nearest, 3)),
    Entry::new("aten::upsample_trilinear3d", |n| upsample(n, Mode::Linear, 3)),
];

#[derive(Clone, Copy, PartialEq)]
enum Mode {
    Nearest,
    NearestExact,
    Linear,
    Cubic,
    /// With a filter that is wider where the image becomes smaller.
    Smooth(Filter),
}

impl Mode {
    /// What a point takes of the elements around it; `None` if it takes the nearest.
    fn kernel(self) -> Option<Kernel> {
        let (filter, antialias) = match self {
            Mode::Nearest | Mode::NearestExact => return None,
            Mode::Linear => (Filter::Linear, false),
            Mode::Cubic => (Filter::Cubic(-0.75), false),
            Mode::Smooth(filter) => (filter, true),
        };
        // What is outside counts as the outermost element, but with antialiasing (source: ATen's
        // `HelperInterpBase::_compute_indices_weights_aa`).
        Some(Kernel { filter, antialias, exclude_outside: antialias })
    }
}

/// How one dimension is resized.
struct Axis {
    axis: usize,
    from: Size,
    /// `None` if it is the factor that says it.
    to: Option<Size>,
    /// The factor, if the module says it.
    factor: Option<f64>,
}

impl Axis {
    /// The distance of sampled points (source: ATen's `area_pixel_compute_scale`).
    fn step(&self, from: i64, to: i64) -> f32 {
        match self.factor {
            Some(factor) if factor > 0.0 => (1.0 / factor) as f32,
            _ => from as f32 / to as f32,
        }
    }

    /// How many times as large it becomes, if that is a whole number.
    fn whole(&self) -> Option<i64> {
        if let (Size::Fixed(from), Some(Size::Fixed(to))) = (&self.from, &self.to) {
            let times = (*from > 0 && to % from == 0).then(|| to / from)?;
            return self.factor.is_none_or(|f| f == times as f64).then_some(times);
        }
        self.factor.filter(|f| f.fract() == 0.0 && *f >= 1.0).map(|f| f as i64)
    }
}

fn axes(n: &mut Node<'_, '_>, x: &Tensor, count: usize, scales: usize) -> Result<Vec<Axis>, Refusal> {
    let sizes = n.dims(1, "output_size")?;
    let mut factors: Vec<Option<f64>> = vec![None; count];
    match n.val(scales, "scale_factors")? {
        Val::List(items) => {
            for (factor, item) in factors.iter_mut().zip(items) {
                *factor = item.number();
            }
        }
        _ if n.named("scale_factors") => {}
        _ => {
            let names = match count {
                1 => &["scales"][..],
                2 => &["scales_h", "scales_w"],
                _ => &["scales_d", "scales_h", "scales_w"],
            };
            for (i, name) in names.iter().enumerate() {
                factors[i] = n.float(scales + i, name)?;
            }
        }
    }
    let mut all = vec![];
    for (i, factor) in factors.into_iter().enumerate() {
        let from = n.size(&x.value, i + 2)?;
        let to = match (&sizes, factor, &from) {
            (Some(sizes), _, _) => match &sizes[..] {
                [one] => Some(one.clone()),
                many if many.len() == count => Some(many[i].clone()),
                many => return Err(Refusal::new(format!("has {} sizes for {count} dimensions", many.len()))),
            },
            (None, Some(factor), Size::Fixed(from)) => Some(Size::Fixed((*from as f64 * factor).floor() as i64)),
            (None, Some(_), Size::Value(_)) => None,
            (None, None, _) => return Err(Refusal::new("has neither sizes nor factors")),
        };
        all.push(Axis { axis: i + 2, from, to, factor });
    }
    Ok(all)
}

fn upsample(n: &mut Node<'_, '_>, mode: Mode, count: usize) -> Lowered {
    let x = n.float_tensor(0, "input|self")?;
    if x.rank() != count + 2 {
        return Err(Refusal::new(format!("its input has rank {}, not {}", x.rank(), count + 2)));
    }
    let nearest = matches!(mode, Mode::Nearest | Mode::NearestExact);
    let align = !nearest && n.bool_or(2, "align_corners", false)?;
    let axes = axes(n, &x, count, if nearest { 2 } else { 3 })?;
    let fixed: Option<Vec<(i64, i64)>> = axes
        .iter()
        .map(|a| match (&a.from, &a.to) {
            (Size::Fixed(from), Some(Size::Fixed(to))) => Some((*from, *to)),
            _ => None,
        })
        .collect();
    let y = match (mode, &axes[..], fixed) {
        (_, [h, w], _) if nearest && h.whole().is_some() && w.whole().is_some() => {
            let (h, w) = (h.whole().unwrap_or(1), w.whole().unwrap_or(1));
            n.push(mb::upsample_nearest_neighbor(&x.value).scale_factor_height(h).scale_factor_width(w))?
        }
        (Mode::Linear, [h, w], Some(sizes)) if align || even(h, sizes[0]) && even(w, sizes[1]) => {
            let sampling = if align { "STRICT_ALIGN_CORNERS" } else { "UNALIGN_CORNERS" };
            let call = mb::resize_bilinear(&x.value).target_size_height(sizes[0].1).target_size_width(sizes[1].1);
            n.push(call.sampling_mode(sampling))?
        }
        (_, _, Some(sizes)) => {
            let mut y = x.value.clone();
            for (a, (from, to)) in
                axes.iter().zip(sizes).filter(|(a, (from, to))| from != to || a.factor.is_some_and(|f| f != 1.0))
            {
                y = one_axis(n, &y, a, mode, align, from, to)?;
            }
            y
        }
        (Mode::Linear, [h, w], None) => computed(n, &x, h, w, align)?,
        (Mode::Smooth(_), _, None) if align => {
            return Err(Refusal::new(
                "resizes to sizes that are not known beforehand, smoothly and with aligned corners",
            )
            .remedy("use `align_corners=False`, or convert with a fixed shape (`--input NAME=..`)"));
        }
        _ => {
            let mut y = x.value.clone();
            for a in &axes {
                y = computed_axis(n, &y, a, mode, align)?;
            }
            y
        }
    };
    n.one(y, x.dtype)
}

/// Whether the factor says no more than the sizes do.
fn even(a: &Axis, (from, to): (i64, i64)) -> bool {
    a.factor.is_none_or(|f| from as f64 * f == to as f64)
}

/// Bilinear, with sizes that only the run tells.
fn computed(n: &mut Node<'_, '_>, x: &Tensor, h: &Axis, w: &Axis, align: bool) -> Result<Value, Refusal> {
    if !n.has(1, "output_size") {
        if let (Some(h), Some(w)) = (h.whole(), w.whole()) {
            let call = mb::upsample_bilinear(&x.value).scale_factor_height(h).scale_factor_width(w);
            return n.push(call.align_corners(align));
        }
        // MIL's op takes the distance of places from the sizes, which are rounded.
        let y = computed_axis(n, &x.value, h, Mode::Linear, align)?;
        return computed_axis(n, &y, w, Mode::Linear, align);
    }
    n.needs(Opset::iOS17, "resizing to a size that is computed")?;
    let mut sizes = n.sizes(&x.value)?;
    for (size, a) in sizes[2..].iter_mut().zip([h, w]) {
        *size = a.to.clone().ok_or_else(|| Refusal::new("has neither sizes nor factors"))?;
    }
    let shape = n.shape_of_sizes(&sizes)?;
    let sampling = if align { "STRICT_ALIGN_CORNERS" } else { "UNALIGN_CORNERS" };
    n.push(mb::resize(&x.value, shape, 2).interpolation_mode("LINEAR").sampling_mode(sampling))
}

fn one_axis(
    n: &mut Node<'_, '_>,
    x: &Value,
    a: &Axis,
    mode: Mode,
    align: bool,
    from: i64,
    to: i64,
) -> Result<Value, Refusal> {
    if from < 1 || to < 1 {
        return Err(Refusal::new(format!("resizes {from} elements to {to}")));
    }
    table(&[to])?;
    let step = a.step(from, to);
    if matches!(mode, Mode::Nearest | Mode::NearestExact) {
        let half = if mode == Mode::Nearest { 0.0 } else { 0.5 };
        let places: Vec<i64> = (0..to).map(|i| (((i as f32 + half) * step) as i64).min(from - 1)).collect();
        let places = n.list(&places)?;
        return slices(n, x, &places, a.axis);
    }
    // With aligned corners the outermost elements stay (source: ATen's `area_pixel_compute_source_index`).
    let aligned = if to > 1 { (from - 1) as f32 / (to - 1) as f32 } else { 0.0 };
    let smooth = matches!(mode, Mode::Smooth(_));
    let step = f64::from(if align { aligned } else { step });
    let place = |i: i64| if align && !smooth { i as f64 * step } else { (i as f64 + 0.5) * step - 0.5 };
    let Some(kernel) = mode.kernel() else { return Err(Refusal::new("the nearest elements are no sums")) };
    let places: Vec<f64> = (0..to).map(place).collect();
    n.resize_known(x, a.axis, places.into_iter(), &kernel, 1.0 / step)
}

/// One dimension, with sizes that only the run knows.
fn computed_axis(n: &mut Node<'_, '_>, x: &Value, a: &Axis, mode: Mode, align: bool) -> Result<Value, Refusal> {
    let size = n.scalar_size(&a.from)?;
    let factor = a.factor.filter(|f| *f > 0.0);
    if matches!((&a.from, &a.to), (Size::Fixed(from), Some(Size::Fixed(to))) if from == to && factor.is_none()) {
        return Ok(x.clone());
    }
    let mut stretch = match (factor, &a.to) {
        (Some(factor), _) => n.stretch_by_known(size, factor)?,
        (None, Some(to)) => Stretch { out: n.scalar_size(to)?, size, scale: Scale::Sizes, part: None },
        (None, None) => return Err(Refusal::new("has neither sizes nor factors")),
    };
    if let (Some(_), Some(to)) = (factor, &a.to) {
        stretch.out = n.scalar_size(to)?;
    }
    if align {
        stretch.scale = Scale::Sizes;
    }
    let coordinates = match mode {
        Mode::Nearest => Coordinates::Asymmetric,
        _ if align => Coordinates::AlignCorners,
        _ => Coordinates::HalfPixel,
    };
    let places = n.places_of(&stretch, coordinates)?;
    match mode.kernel() {
        Some(kernel) => n.blend(x, a.axis, &stretch, &places, &kernel),
        None if mode == Mode::Nearest => n.take_nearest(x, a.axis, &places, Nearest::Floor),
        None => n.take_nearest(x, a.axis, &places, Nearest::RoundPreferCeil),
    }
}

fn grid_sampler(n: &mut Node<'_, '_>) -> Lowered {
    let (x, grid) = (n.float_tensor(0, "input")?, n.tensor(1, "grid")?);
    if x.rank() != 4 {
        return Err(Refusal::new(format!("samples a tensor of rank {}, and MIL samples images", x.rank())));
    }
    let sampling = match n.int_or(2, "interpolation_mode", 0)? {
        0 => "bilinear",
        1 => "nearest",
        _ => return Err(Refusal::new("samples in the bicubic way, which MIL does not").remedy("use `bilinear`")),
    };
    let align = n.bool_or(4, "align_corners", false)?;
    let padding = match n.int_or(3, "padding_mode", 0)? {
        0 => "constant",
        1 => "border",
        // Mirrored at the centers of the outermost elements, or at their edges.
        _ if align => "reflection",
        _ => "symmetric",
    };
    let call = mb::resample(&x.value, &grid.value, sampling, padding, 0.0, "normalized_minus_one_to_one", align);
    let y = n.push(call)?;
    n.one(y, x.dtype)
}

/// A tensor of rank 3 as an image with a batch, and whether it was one.
fn image(n: &mut Node<'_, '_>, x: &Tensor) -> Result<(Value, bool), Refusal> {
    if x.rank() == 3 {
        return Ok((n.expand_dims(&x.value, &[0])?, true));
    }
    Ok((x.value.clone(), false))
}

/// Blocks of pixels become channels.
fn pixel_unshuffle(n: &mut Node<'_, '_>) -> Lowered {
    let (x, factor) = (n.tensor(0, "self")?, n.int(1, "downscale_factor")?);
    let (value, single) = image(n, &x)?;
    let sizes = n.sizes(&value)?;
    if sizes.len() != 4 || factor < 1 {
        return Err(Refusal::new("is of images `[N, C, H, W]`"));
    }
    let (h, w) = (super::conv::known_size(&sizes[2])? / factor, super::conv::known_size(&sizes[3])? / factor);
    // Batch and channels stay together: ranks above 5 are not there.
    let outer = n.product(&sizes[..2])?;
    let fixed = Size::Fixed;
    let y = n.reshape(&value, &[outer, fixed(h), fixed(factor), fixed(w), fixed(factor)])?;
    let y = n.transpose(&y, &[0, 2, 4, 1, 3])?;
    let channels = n.product(&[sizes[1].clone(), fixed(factor * factor)])?;
    let y = n.reshape(&y, &[sizes[0].clone(), channels, fixed(h), fixed(w)])?;
    let y = if single { n.squeeze(&y, &[0])? } else { y };
    n.one(y, x.dtype)
}

/// Channels in groups, the groups changing places with what is in them.
fn channel_shuffle(n: &mut Node<'_, '_>) -> Lowered {
    let (x, groups) = (n.tensor(0, "self")?, n.int(1, "groups")?.max(1));
    let sizes = n.sizes(&x.value)?;
    let channels = x.size(1).ok_or_else(|| Refusal::new("needs to know the number of channels"))? as i64;
    let parts = [Size::Fixed(groups), Size::Fixed(channels / groups), Size::Fixed(-1)];
    let rows: Vec<Size> = [sizes[0].clone()].into_iter().chain(parts).collect();
    let y = n.reshape(&x.value, &rows)?;
    let y = n.transpose(&y, &[0, 2, 1, 3])?;
    let y = n.reshape(&y, &sizes)?;
    n.one(y, x.dtype)
}

#[cfg(test)]
mod tests {
    use crate::torch::testing::Net;

    fn net(call: &str) -> Net {
        Net::new().input("x", &[1, 3, 8, 8]).node(&format!("y = aten::{call}"))
    }

    #[test]
    fn images_are_resized_by_one_op() {
        assert_eq!(
            net("upsample_nearest2d(x, None, [2.0, 3.0])").form("y"),
            ["upsample_nearest_neighbor(x=x, scale_factor_height=2, scale_factor_width=3)"]
        );
        assert_eq!(
            net("upsample_bilinear2d(x, [12, 16], False, None)").form("y"),
            [r#"resize_bilinear(x=x, target_size_height=12, target_size_width=16, sampling_mode="UNALIGN_CORNERS")"#]
        );
    }

    #[test]
    fn what_is_no_resizing_is_refused() {
        for (call, message) in [
            ("upsample_bilinear2d(x, None, False, None)", "has neither sizes nor factors"),
            ("upsample_bilinear2d(x, [1, 2, 3], False, None)", "has 3 sizes for 2 dimensions"),
            ("upsample_bicubic2d(x, [0, 4], False, None)", "resizes 8 elements to 0"),
            ("grid_sampler(x, x, 2, 0, False)", "use `bilinear`"),
            ("upsample_linear1d(x, [4], False, None)", "its input has rank 4, not 3"),
        ] {
            let e = net(call).refusal("y");
            assert!(e.contains(message), "{call}: {e}");
        }
    }
}
