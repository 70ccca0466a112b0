//! Upsampling of images: the last two dimensions, by factors.

use mil_core::ops::upsample::{UpsampleBilinear, UpsampleNearestNeighbor};

use super::{
    Cx, Kernel, KernelDef,
    resize::{linear, nearest},
    shapes::{actual, output_shape},
};
use crate::{error::RunError, tensor::AnyTensor};

pub(super) const KERNELS: &[KernelDef] =
    &[KernelDef::of::<UpsampleBilinear>(), KernelDef::of::<UpsampleNearestNeighbor>()];

impl Kernel for UpsampleBilinear {
    fn run(&self, cx: &Cx<'_>) -> Result<Vec<AnyTensor>, RunError> {
        let x = cx.get(&self.x)?;
        let shape = output_shape(&UpsampleBilinear { x: actual(&self.x, &x), ..self.clone() })?;
        linear(&x, shape, self.sampling_mode())
    }
}

impl Kernel for UpsampleNearestNeighbor {
    fn run(&self, cx: &Cx<'_>) -> Result<Vec<AnyTensor>, RunError> {
        let x = cx.get(&self.x)?;
        let shape = output_shape(&UpsampleNearestNeighbor { x: actual(&self.x, &x), ..self.clone() })?;
        nearest(&x, &shape, |i, size, new| i * size / new)
    }
}

#[cfg(test)]
mod tests {
    use mil_core::{mb, types::Opset};

    use crate::cpu::reference::testing::{close, run, run_in};

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
