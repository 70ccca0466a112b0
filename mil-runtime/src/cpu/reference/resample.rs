//! `resample`, `affine`.

use mil_core::ops::resample::{Affine, CoordinatesMode, PaddingMode, PointMode, Resample};

use super::{Cx, Kernel, KernelDef, floats, movement::typed, shapes::output_shape};
use crate::{error::RunError, tensor::AnyTensor};

pub(super) const KERNELS: &[KernelDef] = &[KernelDef::of::<Affine>(), KernelDef::of::<Resample>()];

/// How an image is read.
#[derive(Clone, Copy)]
struct Reader {
    mode: PointMode,
    padding: PaddingMode,
    padding_value: f32,
    coordinates: CoordinatesMode,
    align_corners: bool,
}

impl Kernel for Resample {
    fn run(&self, cx: &Cx<'_>) -> Result<Vec<AnyTensor>, RunError> {
        let (x, points) = (cx.get(&self.x)?, cx.get(&self.coordinates)?);
        let (image, coordinates) = (typed(&self.x, &x), typed(&self.coordinates, &points));
        let shape = output_shape(&Resample { x: image, coordinates, ..self.clone() })?;
        let reader = Reader {
            mode: self.sampling_mode,
            padding: self.padding_mode,
            padding_value: self.padding_value,
            coordinates: self.coordinates_mode,
            align_corners: self.align_corners,
        };
        let points: Vec<[f64; 2]> = points.to_f32()?.chunks_exact(2).map(|p| [p[0], p[1]].map(f64::from)).collect();
        reader.read(&x, shape, |image, i, count| points[image * count + i])
    }
}

impl Kernel for Affine {
    fn run(&self, cx: &Cx<'_>) -> Result<Vec<AnyTensor>, RunError> {
        let (x, matrices) = (cx.get(&self.x)?, cx.get(&self.transform_matrix)?);
        let (image, transform_matrix) = (typed(&self.x, &x), typed(&self.transform_matrix, &matrices));
        // A program that was read may have `align_corners = false`, which the rule for new ones refuses.
        let shape = output_shape(&Affine { x: image, transform_matrix, align_corners: true, ..self.clone() })?;
        let (height, width) = (shape[2], shape[3]);
        let reader = Reader {
            mode: self.sampling_mode,
            padding: self.padding_mode,
            padding_value: self.padding_value,
            coordinates: self.coordinates_mode,
            align_corners: self.align_corners,
        };
        let matrices: Vec<f64> = matrices.to_f32()?.iter().map(|v| f64::from(*v)).collect();
        let one_for_all = matrices.len() == 6;
        let coordinate = |i: usize, size: usize| match self.align_corners {
            _ if size == 1 => 0.0,
            true => 2.0 * i as f64 / (size as f64 - 1.0) - 1.0,
            false => (2.0 * i as f64 + 1.0) / size as f64 - 1.0,
        };
        reader.read(&x, shape, |image, i, _| {
            let m = &matrices[if one_for_all { 0 } else { image * 6 }..][..6];
            let (x, y) = (coordinate(i % width, width), coordinate(i / width, height));
            [m[0] * x + m[1] * y + m[2], m[3] * x + m[4] * y + m[5]]
        })
    }
}

/// An element of the image, `None` outside, and how much it counts.
type Part = (Option<usize>, f32);

impl Reader {
    /// The images `[B, C, H, W]` read at the points that `point` tells for an image, the number of a point in it, and how
    /// many there are in each: along the width, then the height.
    fn read(
        self,
        x: &AnyTensor,
        shape: Vec<usize>,
        point: impl Fn(usize, usize, usize) -> [f64; 2],
    ) -> Result<Vec<AnyTensor>, RunError> {
        let [images, channels, height, width] = x.shape()[..] else { return Err(RunError::new("`x` is no image")) };
        if height * width == 0 && !shape.contains(&0) {
            return Err(RunError::new(format!("`x` has no elements to read: {}", x.ty())));
        }
        let values = x.to_f32()?;
        let count = shape[2] * shape[3];
        let mut out = vec![0.0; shape.iter().product()];
        for (image, i) in (0..images).flat_map(|image| (0..count).map(move |i| (image, i))) {
            let [along, down] = point(image, i, count);
            let (columns, rows) = (self.parts(along, width), self.parts(down, height));
            for channel in image * channels..(image + 1) * channels {
                let plane = &values[channel * height * width..][..height * width];
                let mut sum = 0.0;
                for (row, weight) in rows {
                    for (column, share) in columns {
                        let share = weight * share;
                        // What does not count may be infinite.
                        if share != 0.0 {
                            let element = row.zip(column).map(|(row, column)| plane[row * width + column]);
                            sum += share * element.unwrap_or(self.padding_value);
                        }
                    }
                }
                out[channel * count + i] = sum;
            }
        }
        floats(x.dtype(), shape, out)
    }

    /// The elements around a coordinate, of `size` ones.
    fn parts(self, coordinate: f64, size: usize) -> [Part; 2] {
        let at = self.fold(self.place(coordinate, size), size);
        let element = |i: f64| (0.0..size as f64).contains(&i).then_some(i as usize);
        match self.mode {
            PointMode::Nearest => [(element(at.round_ties_even()), 1.0), (None, 0.0)],
            PointMode::Bilinear => {
                let (low, part) = (at.floor(), (at - at.floor()) as f32);
                // Infinitely far outside there is no part.
                let part = if part.is_nan() { 0.0 } else { part };
                [(element(low), 1.0 - part), (element(low + 1.0), part)]
            }
        }
    }

    /// A coordinate as a place among the elements.
    fn place(self, coordinate: f64, size: usize) -> f64 {
        let n = size as f64;
        let fraction = match self.coordinates {
            CoordinatesMode::Unnormalized => return coordinate,
            CoordinatesMode::MinusOneToOne => (coordinate + 1.0) / 2.0,
            CoordinatesMode::ZeroToOne => coordinate,
        };
        if self.align_corners { fraction * (n - 1.0) } else { fraction * n - 0.5 }
    }

    /// A place outside moved to where its value is found.
    fn fold(self, at: f64, size: usize) -> f64 {
        let (n, last) = (size as f64, size as f64 - 1.0);
        let mirrored = |at: f64, length: f64| {
            let rest = at.abs() % (2.0 * length);
            if rest > length { 2.0 * length - rest } else { rest }
        };
        let at = match self.padding {
            PaddingMode::Constant => return at,
            PaddingMode::Border => at,
            PaddingMode::Reflection => mirrored(at, last),
            PaddingMode::Symmetric => mirrored(at + 0.5, n) - 0.5,
        };
        // `max` and `min` put what is no number at the first element.
        at.max(0.0).min(last)
    }
}

#[cfg(test)]
mod tests {
    use half::f16;
    use mil_core::mb;

    use crate::{
        cpu::reference::testing::{close, run},
        tensor::AnyTensor,
    };

    /// The elements 1, 2, 3 read at places along the width.
    #[track_caller]
    fn row(mode: &str, padding: &str, points: &[f32], expected: &[f32]) {
        let coordinates: Vec<f32> = points.iter().flat_map(|x| [*x, 0.0]).collect();
        let out = run(|g| {
            let (x, at) = (g.f32(&[1, 1, 1, 3], &[1.0, 2.0, 3.0]), g.f32(&[1, 1, points.len(), 2], &coordinates));
            mb::resample(x, at, mode, padding, 9.0, "unnormalized", true)
        });
        close(&out, &[1, 1, 1, points.len()], expected, 1e-6);
    }

    /// coremltools' documentation has these rows.
    #[test]
    fn paddings() {
        let points: Vec<f32> = (-3..6).map(|x| x as f32).collect();
        for mode in ["bilinear", "nearest"] {
            row(mode, "constant", &points, &[9.0, 9.0, 9.0, 1.0, 2.0, 3.0, 9.0, 9.0, 9.0]);
            row(mode, "border", &points, &[1.0, 1.0, 1.0, 1.0, 2.0, 3.0, 3.0, 3.0, 3.0]);
            row(mode, "reflection", &points, &[2.0, 3.0, 2.0, 1.0, 2.0, 3.0, 2.0, 1.0, 2.0]);
            row(mode, "symmetric", &points, &[3.0, 2.0, 1.0, 1.0, 2.0, 3.0, 3.0, 2.0, 1.0]);
        }
    }

    #[test]
    fn between_elements() {
        let points = [0.25, 1.5, -0.25, 2.5];
        row("bilinear", "constant", &points, &[1.25, 2.5, 3.0, 6.0]);
        row("bilinear", "border", &points, &[1.25, 2.5, 1.0, 3.0]);
        row("bilinear", "reflection", &points, &[1.25, 2.5, 1.25, 2.5]);
        row("bilinear", "symmetric", &points, &[1.25, 2.5, 1.0, 3.0]);
        row("nearest", "border", &[0.5, 1.5, 1.2, 1.9], &[1.0, 3.0, 2.0, 3.0]);
    }

    #[test]
    fn points_that_are_nowhere() {
        let points = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 1e30];
        for mode in ["bilinear", "nearest"] {
            row(mode, "constant", &points, &[9.0; 4]);
            row(mode, "border", &points, &[1.0, 3.0, 1.0, 3.0]);
        }
    }

    #[test]
    fn coordinates() {
        for (mode, corners, points) in [
            ("normalized_minus_one_to_one", true, [-1.0, 0.0, 1.0]),
            ("normalized_zero_to_one", true, [0.0, 0.5, 1.0]),
            ("normalized_minus_one_to_one", false, [-2.0 / 3.0, 0.0, 2.0 / 3.0]),
            ("normalized_zero_to_one", false, [1.0 / 6.0, 0.5, 5.0 / 6.0]),
        ] {
            let at: Vec<f32> =
                points.iter().flat_map(|x| [*x, if mode.contains("minus") { 0.0 } else { 0.5 }]).collect();
            let out = run(|g| {
                let (x, at) = (g.f32(&[1, 1, 1, 3], &[1.0, 2.0, 3.0]), g.f32(&[1, 1, 3, 2], &at));
                mb::resample(x, at, "bilinear", "constant", 0.0, mode, corners)
            });
            close(&out, &[1, 1, 1, 3], &[1.0, 2.0, 3.0], 1e-6);
        }
    }

    #[test]
    fn images_and_channels() {
        let x: Vec<f16> = (0..16).map(|v| f16::from_f32(v as f32)).collect();
        let out = run(|g| {
            let x = g.input(AnyTensor::new([2, 2, 2, 2], x).unwrap());
            let at = g.input(AnyTensor::new([2, 1, 1, 2], vec![1i8, 0, 0, 1]).unwrap());
            mb::resample(x, at, "bilinear", "constant", 0.0, "unnormalized", true)
        });
        assert_eq!(out[0].dtype(), mil_core::types::DType::F16);
        close(&out, &[2, 2, 1, 1], &[1.0, 5.0, 10.0, 14.0], 0.0);
    }

    #[test]
    fn affine_turns_and_moves() {
        let by = |matrix: [f32; 6], height: i64, width: i64| {
            run(move |g| {
                let (x, m) = (g.f32(&[1, 1, 2, 2], &[1.0, 2.0, 3.0, 4.0]), g.f32(&[1, 6], &matrix));
                let (outside, coordinates) = ("constant", "normalized_minus_one_to_one");
                mb::affine(x, m, height, width, "bilinear", outside, 0.0, coordinates, true)
            })
        };
        close(&by([1.0, 0.0, 0.0, 0.0, 1.0, 0.0], 2, 2), &[1, 1, 2, 2], &[1.0, 2.0, 3.0, 4.0], 1e-6);
        close(&by([0.0, 1.0, 0.0, 1.0, 0.0, 0.0], 2, 2), &[1, 1, 2, 2], &[1.0, 3.0, 2.0, 4.0], 1e-6);
        close(&by([1.0, 0.0, 2.0, 0.0, 1.0, 0.0], 2, 2), &[1, 1, 2, 2], &[2.0, 0.0, 4.0, 0.0], 1e-6);
        close(&by([1.0, 0.0, 0.0, 0.0, 1.0, 0.0], 1, 3), &[1, 1, 1, 3], &[2.0, 2.5, 3.0], 1e-6);
    }

    #[test]
    fn affine_has_a_matrix_per_image_or_one_for_all() {
        let mirror = [-1.0, 0.0, 0.0, 0.0, 1.0, 0.0];
        let same = [1.0, 0.0, 0.0, 0.0, 1.0, 0.0];
        let run_with = |matrices: Vec<f32>| {
            run(move |g| {
                let (x, m) = (g.f32(&[2, 1, 1, 2], &[1.0, 2.0, 3.0, 4.0]), g.f32(&[matrices.len() / 6, 6], &matrices));
                mb::affine(x, m, 1, 2, "bilinear", "constant", 0.0, "normalized_minus_one_to_one", true)
            })
        };
        close(&run_with([mirror, same].concat()), &[2, 1, 1, 2], &[2.0, 1.0, 3.0, 4.0], 1e-6);
        close(&run_with(mirror.to_vec()), &[2, 1, 1, 2], &[2.0, 1.0, 4.0, 3.0], 1e-6);
    }
}
