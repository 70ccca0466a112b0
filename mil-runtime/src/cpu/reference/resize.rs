//! Resizing of images: the last two dimensions.

use mil_core::ops::resize::{ResizeBilinear, SamplingMode, UpsampleBilinear, UpsampleNearestNeighbor};

use super::{
    Cx, Kernel, KernelDef, floats,
    shapes::{actual, output_shape},
};
use crate::{error::RunError, tensor::AnyTensor};

pub(super) const KERNELS: &[KernelDef] = &[
    KernelDef::of::<ResizeBilinear>(),
    KernelDef::of::<UpsampleBilinear>(),
    KernelDef::of::<UpsampleNearestNeighbor>(),
];

impl Kernel for ResizeBilinear {
    fn run(&self, cx: &Cx<'_>) -> Result<Vec<AnyTensor>, RunError> {
        let x = cx.get(&self.x)?;
        let shape = output_shape(&ResizeBilinear { x: actual(&self.x, &x), ..self.clone() })?;
        bilinear(&x, shape, self.sampling_mode)
    }
}

impl Kernel for UpsampleBilinear {
    fn run(&self, cx: &Cx<'_>) -> Result<Vec<AnyTensor>, RunError> {
        let x = cx.get(&self.x)?;
        let shape = output_shape(&UpsampleBilinear { x: actual(&self.x, &x), ..self.clone() })?;
        bilinear(&x, shape, self.sampling_mode())
    }
}

impl Kernel for UpsampleNearestNeighbor {
    fn run(&self, cx: &Cx<'_>) -> Result<Vec<AnyTensor>, RunError> {
        let x = cx.get(&self.x)?;
        let shape = output_shape(&UpsampleNearestNeighbor { x: actual(&self.x, &x), ..self.clone() })?;
        let ((height, width), (new_height, new_width)) = (image(x.shape()), image(&shape));
        let values = x.to_f32()?;
        let columns: Vec<usize> = (0..new_width).map(|i| i * width / new_width).collect();
        let mut out = Vec::with_capacity(shape.iter().product());
        for plane in values.chunks_exact((height * width).max(1)) {
            for i in 0..new_height {
                let row = &plane[i * height / new_height * width..][..width];
                out.extend(columns.iter().map(|at| row[*at]));
            }
        }
        floats(x.dtype(), shape, out)
    }
}

/// Height and width.
fn image(shape: &[usize]) -> (usize, usize) {
    (shape[shape.len() - 2], shape[shape.len() - 1])
}

fn bilinear(x: &AnyTensor, shape: Vec<usize>, mode: SamplingMode) -> Result<Vec<AnyTensor>, RunError> {
    let ((height, width), (new_height, new_width)) = (image(x.shape()), image(&shape));
    let (rows, columns) = (samples(height, new_height, mode), samples(width, new_width, mode));
    let values = x.to_f32()?;
    let mut out = Vec::with_capacity(shape.iter().product());
    for plane in values.chunks_exact((height * width).max(1)) {
        for row in &rows {
            let [above, below] = [row.low, row.high].map(|at| &plane[at * width..][..width]);
            out.extend(columns.iter().map(|c| {
                let along = |v: &[f32]| v[c.low] + (v[c.high] - v[c.low]) * c.part;
                let (above, below) = (along(above), along(below));
                above + (below - above) * row.part
            }));
        }
    }
    floats(x.dtype(), shape, out)
}

/// A point between two elements.
struct Sample {
    low: usize,
    high: usize,
    /// How far it lies from the lower to the higher, from 0 to 1.
    part: f32,
}

/// The points at which a dimension of `size` elements is sampled to get `new` ones.
fn samples(size: usize, new: usize, mode: SamplingMode) -> Vec<Sample> {
    let (x, y) = (size as f64, new as f64);
    let last = size.saturating_sub(1);
    let point = |i: usize| {
        let i = i as f64;
        match mode {
            SamplingMode::AlignCorners if new == 1 => (x - 1.0) / 2.0,
            SamplingMode::StrictAlignCorners | SamplingMode::AlignCorners if new == 1 => 0.0,
            SamplingMode::StrictAlignCorners | SamplingMode::AlignCorners => i * (x - 1.0) / (y - 1.0),
            SamplingMode::Default => i * x / y,
            SamplingMode::OffsetCorners => (i + 0.5) * (x - 1.0).max(1.0) / y,
            SamplingMode::UnalignCorners => (i + 0.5) * x / y - 0.5,
        }
    };
    let sample = |i: usize| {
        let at = point(i).clamp(0.0, last as f64);
        let low = at as usize;
        Sample { low, high: (low + 1).min(last), part: (at - low as f64) as f32 }
    };
    (0..new).map(sample).collect()
}

#[cfg(test)]
mod tests {
    use mil_core::{mb, types::Opset};

    use crate::cpu::reference::testing::{close, run, run_in};

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
    fn both_dimensions_and_all_planes() {
        let x = [0.0, 1.0, 2.0, 3.0, 0.0, 10.0, 20.0, 30.0];
        let out =
            run(|g| mb::upsample_bilinear(g.f32(&[2, 2, 2], &x)).scale_factor_height(1.5).scale_factor_width(1.5));
        let plane = [0.0, 0.5, 1.0, 1.0, 1.5, 2.0, 2.0, 2.5, 3.0]; // by hand: corners stay
        let all: Vec<f32> = plane.iter().copied().chain(plane.iter().map(|v| v * 10.0)).collect();
        close(&out, &[2, 3, 3], &all, 1e-6);
    }

    #[test]
    fn corners_and_centers() {
        let up = |opset, corners: Option<bool>, centers: Option<bool>| {
            run_in(opset, |g| {
                let mut call = mb::upsample_bilinear(g.f32(&[1, 1, 2], &[0.0, 1.0])).scale_factor_width(2);
                if let Some(corners) = corners {
                    call = call.align_corners(corners);
                }
                match centers {
                    Some(centers) => call.half_pixel_centers(centers),
                    None => call,
                }
            })
        };
        let third = 1.0 / 3.0;
        close(&up(Opset::iOS15, None, None), &[1, 1, 4], &[0.0, third, 2.0 * third, 1.0], 1e-6);
        close(&up(Opset::iOS15, Some(false), None), &[1, 1, 4], &[0.0, 0.25, 0.75, 1.0], 1e-6);
        close(&up(Opset::iOS16, Some(false), Some(true)), &[1, 1, 4], &[0.0, 0.25, 0.75, 1.0], 1e-6);
        close(&up(Opset::iOS16, Some(false), Some(false)), &[1, 1, 4], &[0.0, 0.5, 1.0, 1.0], 1e-6);
    }

    #[test]
    fn nearest() {
        let out = run(|g| {
            let x = g.f32(&[1, 2, 2], &[1.0, 2.0, 3.0, 4.0]);
            mb::upsample_nearest_neighbor(x).scale_factor_height(2).scale_factor_width(3)
        });
        let rows = [[1.0, 1.0, 1.0, 2.0, 2.0, 2.0], [3.0, 3.0, 3.0, 4.0, 4.0, 4.0]];
        close(&out, &[1, 4, 6], &[rows[0], rows[0], rows[1], rows[1]].concat(), 0.0);
        // 2 * 2.5 = 5 elements, at floor(i * 2 / 5).
        let out = run(|g| mb::upsample_nearest_neighbor(g.f32(&[1, 1, 2], &[1.0, 2.0])).scale_factor_width(2.5));
        close(&out, &[1, 1, 5], &[1.0, 1.0, 1.0, 2.0, 2.0], 0.0);
    }
}
