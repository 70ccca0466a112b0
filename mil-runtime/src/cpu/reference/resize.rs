//! Resizing: of images, and of any last dimensions.

use std::ops::{Add, Mul, Sub};

use mil_core::{
    ops::resize::{InterpolationMode, Resize, ResizeBilinear, ResizeNearestNeighbor, SamplingMode},
    types::DType,
};

use super::{
    Cx, Kernel, KernelDef, floats,
    movement::{pick, strides, typed, valued},
    shapes::{actual, output_shape},
};
use crate::{
    error::RunError,
    tensor::{AnyTensor, checked_count},
};

pub(super) const KERNELS: &[KernelDef] =
    &[KernelDef::of::<Resize>(), KernelDef::of::<ResizeBilinear>(), KernelDef::of::<ResizeNearestNeighbor>()];

impl Kernel for ResizeBilinear {
    fn run(&self, cx: &Cx<'_>) -> Result<Vec<AnyTensor>, RunError> {
        let x = cx.get(&self.x)?;
        let shape = output_shape(&ResizeBilinear { x: actual(&self.x, &x), ..self.clone() })?;
        linear(&x, shape, self.sampling_mode)
    }
}

impl Kernel for ResizeNearestNeighbor {
    fn run(&self, cx: &Cx<'_>) -> Result<Vec<AnyTensor>, RunError> {
        let x = cx.get(&self.x)?;
        let shape = output_shape(&ResizeNearestNeighbor { x: actual(&self.x, &x), ..self.clone() })?;
        nearest_point(&x, &shape, SamplingMode::UnalignCorners)
    }
}

impl Kernel for Resize {
    fn run(&self, cx: &Cx<'_>) -> Result<Vec<AnyTensor>, RunError> {
        let x = cx.get(&self.x)?;
        let sizes = valued(&self.shape, &*cx.get(&self.shape)?)?;
        let shape = output_shape(&Resize { x: typed(&self.x, &x), shape: sizes, ..self.clone() })?;
        match (self.interpolation_mode, self.sampling_mode) {
            (InterpolationMode::Linear, mode) => linear(&x, shape, mode),
            (InterpolationMode::NearestNeighbor, SamplingMode::Default) => {
                nearest_point(&x, &shape, SamplingMode::UnalignCorners)
            }
            (InterpolationMode::NearestNeighbor, mode) => nearest_point(&x, &shape, mode),
        }
    }
}

fn nearest_point(x: &AnyTensor, shape: &[usize], mode: SamplingMode) -> Result<Vec<AnyTensor>, RunError> {
    nearest(x, shape, |i, size, new| nearest_place(mode, i, size, new))
}

/// Which of `size` elements is nearest to the `i`th of `new` ones.
pub(crate) fn nearest_place(mode: SamplingMode, i: usize, size: usize, new: usize) -> usize {
    let at = (point(mode, i, size as f64, new) + 0.5).floor();
    at.clamp(0.0, size.saturating_sub(1) as f64) as usize
}

/// A tensor resized in the dimensions that differ, each new element being one of the old: `place` tells which of `size`
/// ones the `i`th of `new` is.
pub(super) fn nearest(
    x: &AnyTensor,
    shape: &[usize],
    place: impl Fn(usize, usize, usize) -> usize,
) -> Result<Vec<AnyTensor>, RunError> {
    check_not_empty(x, shape)?;
    let sizes = shape.iter().zip(x.shape()).zip(strides(x.shape()));
    let offsets = sizes.map(|((new, size), stride)| {
        let old = |i: usize| if new == size { i } else { place(i, *size, *new) };
        (0..*new).map(|i| Some(old(i) * stride)).collect()
    });
    Ok(vec![pick(x, &offsets.collect::<Vec<_>>(), &[])?])
}

/// A tensor resized in the dimensions that differ, one after the other, by linear interpolation.
pub(super) fn linear(x: &AnyTensor, shape: Vec<usize>, mode: SamplingMode) -> Result<Vec<AnyTensor>, RunError> {
    check_not_empty(x, &shape)?;
    if x.dtype().is_float() {
        let out = interpolated(x.to_f32()?.into_owned(), x.shape(), &shape, mode)?;
        return floats(x.dtype(), shape, out);
    }
    // f64 holds every i32; a value between two of them fits i32 as well.
    let values: Vec<f64> = x.to_i64()?.into_iter().map(|v| v as f64).collect();
    let out = interpolated(values, x.shape(), &shape, mode)?;
    Ok(vec![AnyTensor::from_i64(x.dtype(), shape, out.into_iter().map(|v| v as i64).collect())?])
}

fn check_not_empty(x: &AnyTensor, shape: &[usize]) -> Result<(), RunError> {
    match x.count() == 0 && !shape.contains(&0) {
        true => Err(RunError::new(format!("`x` has no elements to resize: {}", x.ty()))),
        false => Ok(()),
    }
}

/// What is interpolated: f32, and f64 for integers.
pub(super) trait Real:
    Copy + PartialEq + From<f32> + Add<Output = Self> + Sub<Output = Self> + Mul<Output = Self>
{
}

impl Real for f32 {}
impl Real for f64 {}

fn interpolated<T: Real>(
    mut values: Vec<T>,
    old: &[usize],
    new: &[usize],
    mode: SamplingMode,
) -> Result<Vec<T>, RunError> {
    let mut sizes = old.to_vec();
    for axis in moving(old, new, mode) {
        let inner: usize = sizes[axis + 1..].iter().product();
        let size = std::mem::replace(&mut sizes[axis], new[axis]);
        let mut out = Vec::with_capacity(checked_count(DType::F64, &sizes)?);
        let samples = samples(size, new[axis], mode);
        for piece in values.chunks_exact((size * inner).max(1)) {
            for s in &samples {
                let (low, high) = (&piece[s.low * inner..][..inner], &piece[s.high * inner..][..inner]);
                out.extend(low.iter().zip(high).map(|(low, high)| s.between(*low, *high)));
            }
        }
        values = out;
    }
    Ok(values)
}

/// The dimensions that are sampled, one after the other, when sizes become others.
pub(crate) fn moving(old: &[usize], new: &[usize], mode: SamplingMode) -> Vec<usize> {
    // With these corners even a dimension that keeps its size is sampled between its elements.
    let moves = |axis: &usize| old[*axis] != new[*axis] || mode == SamplingMode::OffsetCorners;
    let mut axes: Vec<usize> = (0..old.len()).rev().filter(moves).collect();
    // What becomes smaller goes first, so that nothing between is larger than both ends.
    axes.sort_by_key(|axis| new[*axis] > old[*axis]);
    axes
}

/// A point between two elements.
pub(crate) struct Sample {
    pub(crate) low: usize,
    pub(crate) high: usize,
    /// How far it lies from the lower to the higher, from 0 to 1.
    pub(crate) part: f32,
}

impl Sample {
    /// The point, which lies among `size` elements: from 0 to `size - 1`.
    pub(super) fn at(point: f64, size: usize) -> Sample {
        let low = point as usize;
        Sample { low, high: (low + 1).min(size.saturating_sub(1)), part: (point - low as f64) as f32 }
    }

    /// The value between those of the two elements; exactly theirs if the point is on one of them.
    pub(super) fn between<T: Real>(&self, low: T, high: T) -> T {
        if self.part == 0.0 || low == high { low } else { low + (high - low) * T::from(self.part) }
    }
}

/// Where the `i`th of `new` elements lies among `x` ones.
pub(super) fn point(mode: SamplingMode, i: usize, x: f64, new: usize) -> f64 {
    let (i, y) = (i as f64, new as f64);
    match mode {
        SamplingMode::AlignCorners if new == 1 => (x - 1.0) / 2.0,
        SamplingMode::StrictAlignCorners if new == 1 => 0.0,
        SamplingMode::StrictAlignCorners | SamplingMode::AlignCorners => i * (x - 1.0) / (y - 1.0),
        SamplingMode::Default => i * x / y,
        SamplingMode::OffsetCorners => (i + 0.5) * (x - 1.0).max(1.0) / y,
        SamplingMode::UnalignCorners => (i + 0.5) * x / y - 0.5,
    }
}

/// The points at which a dimension of `size` elements is sampled to get `new` ones.
pub(crate) fn samples(size: usize, new: usize, mode: SamplingMode) -> Vec<Sample> {
    let last = size.saturating_sub(1) as f64;
    (0..new).map(|i| Sample::at(point(mode, i, size as f64, new).clamp(0.0, last), size)).collect()
}

#[cfg(test)]
mod tests {
    use mil_core::mb;

    use crate::{
        cpu::reference::testing::{Test, close, fails, run},
        tensor::AnyTensor,
    };

    /// Of the elements 0 and 1 every mode gives its own points: those in coremltools' documentation of `resize_bilinear`.
    #[test]
    fn sampling_modes() {
        let cases: [(&str, [f32; 5], [f32; 6]); 5] = [
            ("UNALIGN_CORNERS", [0.0, 0.1, 0.5, 0.9, 1.0], [0.0, 0.0, 1.0 / 3.0, 2.0 / 3.0, 1.0, 1.0]),
            ("STRICT_ALIGN_CORNERS", [0.0, 0.25, 0.5, 0.75, 1.0], [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]),
            ("ALIGN_CORNERS", [0.0, 0.25, 0.5, 0.75, 1.0], [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]),
            ("DEFAULT", [0.0, 0.4, 0.8, 1.0, 1.0], [0.0, 1.0 / 3.0, 2.0 / 3.0, 1.0, 1.0, 1.0]),
            ("OFFSET_CORNERS", [0.1, 0.3, 0.5, 0.7, 0.9], [1.0, 3.0, 5.0, 7.0, 9.0, 11.0].map(|v| v / 12.0)),
        ];
        for (mode, five, six) in cases {
            let to = |width: i64| {
                run(|g| {
                    let x = g.f32(&[1, 1, 2], &[0.0, 1.0]);
                    mb::resize_bilinear(x).target_size_width(width).sampling_mode(mode)
                })
            };
            close(&to(5), &[1, 1, 5], &five, 1e-6);
            close(&to(6), &[1, 1, 6], &six, 1e-6);
        }
    }

    #[test]
    fn one_element_is_the_first_or_the_middle() {
        let to_one = |mode: &str| {
            run(|g| mb::resize_bilinear(g.f32(&[1, 2, 3], &[0.0, 1.0, 2.0, 10.0, 11.0, 12.0])).sampling_mode(mode))
        };
        close(&to_one("STRICT_ALIGN_CORNERS"), &[1, 1, 1], &[0.0], 0.0);
        close(&to_one("ALIGN_CORNERS"), &[1, 1, 1], &[6.0], 0.0);
        close(&to_one("DEFAULT"), &[1, 1, 1], &[0.0], 0.0);
        close(&to_one("UNALIGN_CORNERS"), &[1, 1, 1], &[6.0], 0.0);
    }

    #[test]
    fn nearest_neighbor_of_half_pixels() {
        let to = |width: i64| run(move |g| mb::resize_nearest_neighbor(g.f32(&[1, 1, 2], &[1.0, 2.0]), 1, width));
        close(&to(3), &[1, 1, 3], &[1.0, 2.0, 2.0], 0.0); // at floor((i + 1/2) * 2 / 3)
        close(&to(4), &[1, 1, 4], &[1.0, 1.0, 2.0, 2.0], 0.0);
        close(&to(1), &[1, 1, 1], &[2.0], 0.0);
        let out = run(|g| mb::resize_nearest_neighbor(g.f32(&[1, 2, 3], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]), 1, 6));
        close(&out, &[1, 1, 6], &[4.0, 4.0, 5.0, 5.0, 6.0, 6.0], 0.0);
    }

    #[test]
    fn resize_to_a_shape_of_this_run() {
        let out = run(|g| mb::resize(g.f32(&[1, 1, 1, 2], &[0.0, 1.0]), g.i32(&[3], &[3, 0, 5]), 2));
        close(&out, &[1, 1, 1, 5], &[0.0, 0.4, 0.8, 1.0, 1.0], 1e-6);
        let x = [0.0, 8.0, 16.0, 24.0, 32.0, 40.0, 48.0, 56.0];
        let out = run(|g| mb::resize(g.f32(&[2, 2, 2], &x), [1, 1, 3], 3).sampling_mode("ALIGN_CORNERS"));
        close(&out, &[1, 1, 3], &[24.0, 28.0, 32.0], 1e-6);
        fails(|g| mb::resize(g.f32(&[1, 2], &[0.0, 1.0]), g.i32(&[1], &[-4]), 1), "not be negative, found -4");
        fails(|g| mb::resize(g.f32(&[1, 2], &[0.0, 1.0]), g.i32(&[1], &[i32::MAX]), 1), "too large");
        fails(|g| mb::resize(g.f32(&[1, 0], &[]), g.i32(&[1], &[3]), 1), "no elements to resize");
    }

    #[test]
    fn nearest_points() {
        let to = |mode: &'static str, width: i64| {
            let out = run(move |g: &mut Test| {
                let x = g.i32(&[3], &[7, i32::MAX, i32::MIN]);
                mb::resize(x, [width], 1).interpolation_mode("NEAREST_NEIGHBOR").sampling_mode(mode)
            });
            let index = |v: &i32| [7, i32::MAX, i32::MIN].iter().position(|w| w == v).unwrap();
            out[0].as_slice::<i32>().unwrap().iter().map(index).collect::<Vec<_>>()
        };
        assert_eq!(to("DEFAULT", 6), [0, 0, 1, 1, 2, 2]);
        assert_eq!(to("DEFAULT", 2), [0, 2]); // at 1/4 and 7/4
        assert_eq!(to("ALIGN_CORNERS", 5), [0, 1, 1, 2, 2]); // at 0, 1/2, 1, 3/2, 2
        assert_eq!(to("ALIGN_CORNERS", 1), [1]);
        assert_eq!(to("STRICT_ALIGN_CORNERS", 1), [0]);
    }

    #[test]
    fn integers_are_rounded_towards_zero() {
        let middle = |v: [i32; 2]| {
            let out = run(move |g| mb::resize(g.i32(&[2], &v), [3], 1).sampling_mode("ALIGN_CORNERS"));
            out[0].as_slice::<i32>().unwrap().to_vec()
        };
        assert_eq!(middle([0, -7]), [0, -3, -7]);
        assert_eq!(middle([i32::MAX, i32::MAX - 2]), [i32::MAX, i32::MAX - 1, i32::MAX - 2]);
    }

    #[test]
    fn elements_that_are_met_exactly_stay() {
        let x = [f32::INFINITY, 1.0, f32::NEG_INFINITY];
        close(&run(|g| mb::resize(g.f32(&[3], &x), [3], 1)), &[3], &x, 0.0);
        let out = run(|g| mb::resize(g.f32(&[3], &x), [2], 1).sampling_mode("STRICT_ALIGN_CORNERS"));
        close(&out, &[2], &[f32::INFINITY, f32::NEG_INFINITY], 0.0);
    }

    /// Sizes between are never larger than those at the ends, whichever dimension grows.
    #[test]
    fn what_shrinks_goes_first() {
        let x = AnyTensor::new([1, 1 << 20, 1], vec![1f32; 1 << 20]).unwrap();
        let out = run(move |g| mb::resize(g.input(x), [1, 1 << 20], 2));
        assert_eq!(out[0].shape(), [1, 1, 1 << 20]);
    }
}
