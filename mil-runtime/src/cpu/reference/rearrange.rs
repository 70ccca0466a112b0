//! Ops that move elements from one dimension to others. Where an element comes from is a sum of what each of its places
//! adds, which [`pick`] takes.

use mil_core::ops::rearrange::{
    BatchToSpace, DepthToSpace, PixelShuffle, PixelUnshuffle, SlidingWindows, SpaceToBatch, SpaceToDepth,
};

use super::{
    Cx, Kernel, KernelDef,
    movement::{bytes, pick, strides, typed},
    shapes::output_shape,
};
use crate::{error::RunError, tensor::AnyTensor};

pub(super) const KERNELS: &[KernelDef] = &[
    KernelDef::of::<BatchToSpace>(),
    KernelDef::of::<DepthToSpace>(),
    KernelDef::of::<PixelShuffle>(),
    KernelDef::of::<PixelUnshuffle>(),
    KernelDef::of::<SlidingWindows>(),
    KernelDef::of::<SpaceToBatch>(),
    KernelDef::of::<SpaceToDepth>(),
];

/// What each place in a dimension adds.
type Offsets = Vec<Option<usize>>;

fn places(size: usize, offset: impl Fn(usize) -> usize) -> Offsets {
    (0..size).map(|i| Some(offset(i))).collect()
}

fn image(sizes: &[usize]) -> Result<[usize; 4], RunError> {
    sizes.try_into().map_err(|_| RunError::new(format!("an image of shape {sizes:?} must have rank 4")))
}

/// The image whose dimensions have these offsets.
fn moved(x: &AnyTensor, offsets: [Offsets; 4]) -> Result<Vec<AnyTensor>, RunError> {
    Ok(vec![pick(x, &offsets, &[])?])
}

impl Kernel for DepthToSpace {
    fn run(&self, cx: &Cx<'_>) -> Result<Vec<AnyTensor>, RunError> {
        let x = cx.get(&self.x)?;
        let shape = output_shape(&DepthToSpace { x: typed(&self.x, &x), ..self.clone() })?;
        let ([n, c, h, w], [sn, sc, sh, sw]) = (image(&shape)?, image(&strides(x.shape()))?);
        let b = self.block_size as usize;
        let rows = places(h, |i| i / b * sh + i % b * b * c * sc);
        let columns = places(w, |j| j / b * sw + j % b * c * sc);
        moved(&x, [places(n, |n| n * sn), places(c, |c| c * sc), rows, columns])
    }
}

impl Kernel for SpaceToDepth {
    fn run(&self, cx: &Cx<'_>) -> Result<Vec<AnyTensor>, RunError> {
        let x = cx.get(&self.x)?;
        let shape = output_shape(&SpaceToDepth { x: typed(&self.x, &x), ..self.clone() })?;
        let ([n, c, h, w], [sn, sc, sh, sw]) = (image(&shape)?, image(&strides(x.shape()))?);
        let (b, from) = (self.block_size as usize, x.shape()[1]);
        let channels = places(c, |c| c % from * sc + c / from / b * sh + c / from % b * sw);
        moved(&x, [places(n, |n| n * sn), channels, places(h, |i| i * b * sh), places(w, |j| j * b * sw)])
    }
}

impl Kernel for PixelShuffle {
    fn run(&self, cx: &Cx<'_>) -> Result<Vec<AnyTensor>, RunError> {
        let x = cx.get(&self.x)?;
        let shape = output_shape(&PixelShuffle { x: typed(&self.x, &x), ..self.clone() })?;
        let ([n, c, h, w], [sn, sc, sh, sw]) = (image(&shape)?, image(&strides(x.shape()))?);
        let f = self.upscale_factor as usize;
        let rows = places(h, |i| i / f * sh + i % f * f * sc);
        let columns = places(w, |j| j / f * sw + j % f * sc);
        moved(&x, [places(n, |n| n * sn), places(c, |c| c * f * f * sc), rows, columns])
    }
}

impl Kernel for PixelUnshuffle {
    fn run(&self, cx: &Cx<'_>) -> Result<Vec<AnyTensor>, RunError> {
        let x = cx.get(&self.x)?;
        let shape = output_shape(&PixelUnshuffle { x: typed(&self.x, &x), ..self.clone() })?;
        let ([n, c, h, w], [sn, sc, sh, sw]) = (image(&shape)?, image(&strides(x.shape()))?);
        let f = self.downscale_factor as usize;
        let channels = places(c, |c| c / f / f * sc + c / f % f * sh + c % f * sw);
        moved(&x, [places(n, |n| n * sn), channels, places(h, |i| i * f * sh), places(w, |j| j * f * sw)])
    }
}

impl Kernel for BatchToSpace {
    fn run(&self, cx: &Cx<'_>) -> Result<Vec<AnyTensor>, RunError> {
        let x = cx.get(&self.x)?;
        let op = BatchToSpace { x: typed(&self.x, &x), ..self.clone() };
        let shape = output_shape(&op)?;
        let ([n, c, h, w], [sn, sc, sh, sw]) = (image(&shape)?, image(&strides(x.shape()))?);
        let ([top, left], [b0, b1]) = (op.margins()?.map(|m| m[0] as usize), sizes(&self.block_shape));
        let rows = places(h, |i| (i + top) / b0 * sh + (i + top) % b0 * b1 * n * sn);
        let columns = places(w, |j| (j + left) / b1 * sw + (j + left) % b1 * n * sn);
        moved(&x, [places(n, |n| n * sn), places(c, |c| c * sc), rows, columns])
    }
}

impl Kernel for SpaceToBatch {
    fn run(&self, cx: &Cx<'_>) -> Result<Vec<AnyTensor>, RunError> {
        let x = cx.get(&self.x)?;
        let op = SpaceToBatch { x: typed(&self.x, &x), ..self.clone() };
        let shape = output_shape(&op)?;
        let [top, left] = op.margins()?.map(|m| m[0] as usize);
        let ([n, c, h, w], [b0, b1]) = (image(&shape)?, sizes(&self.block_shape));
        // First the padding, since whether a place lies on it depends on two dimensions of the output.
        let [batch, _, height, width] = image(x.shape())?;
        let [sn, sc, sh, sw] = image(&strides(x.shape()))?;
        let inside = |size: usize, of: usize, before: usize, stride: usize| -> Offsets {
            let from = |i: usize| i.checked_sub(before).filter(|i| *i < of).map(|i| i * stride);
            (0..size).map(from).collect()
        };
        let (rows, columns) = (inside(h * b0, height, top, sh), inside(w * b1, width, left, sw));
        let zero = AnyTensor::from_f32(x.dtype(), [], vec![0.0])?;
        let padded = pick(&x, &[places(batch, |n| n * sn), places(c, |c| c * sc), rows, columns], bytes(&zero)?)?;
        let [sn, sc, sh, sw] = image(&strides(padded.shape()))?;
        let batches = places(n, |n| n % batch * sn + n / batch / b1 * sh + n / batch % b1 * sw);
        moved(&padded, [batches, places(c, |c| c * sc), places(h, |i| i * b0 * sh), places(w, |j| j * b1 * sw)])
    }
}

/// `block_shape` as sizes; inference made sure that there are two.
fn sizes(block_shape: &[i64]) -> [usize; 2] {
    [block_shape[0] as usize, block_shape[1] as usize]
}

impl Kernel for SlidingWindows {
    fn run(&self, cx: &Cx<'_>) -> Result<Vec<AnyTensor>, RunError> {
        let x = cx.get(&self.x)?;
        let shape = output_shape(&SlidingWindows { x: typed(&self.x, &x), ..self.clone() })?;
        let (axis, strides) = (self.dimension()?, strides(x.shape()));
        let mut offsets: Vec<Offsets> = x.shape().iter().zip(&strides).map(|(d, s)| places(*d, |i| i * s)).collect();
        offsets[axis] = places(shape[axis], |i| i * self.stride as usize * strides[axis]);
        offsets.insert(axis + 1, places(shape[axis + 1], |i| i * strides[axis]));
        Ok(vec![pick(&x, &offsets, &[])?])
    }
}

#[cfg(test)]
mod tests {
    use crate::{
        cpu::reference::testing::{close, fails, run},
        tensor::AnyTensor,
    };
    use half::f16;
    use mil_core::mb;

    fn count(n: u8) -> Vec<f32> {
        (0..n).map(f32::from).collect()
    }

    #[test]
    fn channels_to_blocks() {
        // Eight channels of one element are two channels of 2 by 2.
        let x = count(8);
        let out = run(|g| mb::depth_to_space(g.f32(&[1, 8, 1, 1], &x), 2));
        close(&out, &[1, 2, 2, 2], &[0.0, 2.0, 4.0, 6.0, 1.0, 3.0, 5.0, 7.0], 0.0);
        let out = run(|g| mb::pixel_shuffle(g.f32(&[1, 8, 1, 1], &x), 2));
        close(&out, &[1, 2, 2, 2], &x, 0.0);
        let out = run(|g| mb::pixel_shuffle(g.f32(&[1, 4, 1, 2], &x), 2));
        close(&out, &[1, 1, 2, 4], &[0.0, 2.0, 1.0, 3.0, 4.0, 6.0, 5.0, 7.0], 0.0);
    }

    #[test]
    fn blocks_to_channels() {
        let x = count(8);
        let out = run(|g| mb::space_to_depth(g.f32(&[1, 2, 2, 2], &x), 2));
        close(&out, &[1, 8, 1, 1], &[0.0, 4.0, 1.0, 5.0, 2.0, 6.0, 3.0, 7.0], 0.0);
        let out = run(|g| mb::pixel_unshuffle(g.f32(&[1, 2, 2, 2], &x), 2));
        close(&out, &[1, 8, 1, 1], &x, 0.0);
    }

    #[test]
    fn there_and_back() {
        let x = count(2 * 9 * 2 * 3);
        let shape = [2, 9, 2, 3];
        let back = |out: Vec<AnyTensor>| out.into_iter().next().unwrap();
        let large = back(run(|g| mb::depth_to_space(g.f32(&shape, &x), 3)));
        assert_eq!(large.shape(), [2, 1, 6, 9]);
        close(&run(|g| mb::space_to_depth(g.input(large), 3)), &shape, &x, 0.0);
        let large = back(run(|g| mb::pixel_shuffle(g.f32(&shape, &x), 3)));
        close(&run(|g| mb::pixel_unshuffle(g.input(large), 3)), &shape, &x, 0.0);
        let many = back(run(|g| mb::space_to_batch(g.f32(&shape, &x), [2, 3], [[1, 1], [0, 3]])));
        assert_eq!(many.shape(), [12, 9, 2, 2]);
        close(&run(|g| mb::batch_to_space(g.input(many), [2, 3], [[1, 1], [0, 3]])), &shape, &x, 0.0);
    }

    #[test]
    fn blocks_to_batches() {
        let x: Vec<f32> = (1..=16u8).map(f32::from).collect();
        let out = run(|g| mb::space_to_batch(g.f32(&[2, 1, 2, 4], &x), [2, 2], [[0, 0], [2, 0]]));
        // By TensorFlow's `tf.space_to_batch_nd`.
        let batches = [
            [0.0, 1.0, 3.0],
            [0.0, 9.0, 11.0],
            [0.0, 2.0, 4.0],
            [0.0, 10.0, 12.0],
            [0.0, 5.0, 7.0],
            [0.0, 13.0, 15.0],
            [0.0, 6.0, 8.0],
            [0.0, 14.0, 16.0],
        ];
        close(&out, &[8, 1, 1, 3], batches.as_flattened(), 0.0);
        let out = run(|g| mb::batch_to_space(g.f32(&[8, 1, 1, 3], batches.as_flattened()), [2, 2], [[0, 1], [1, 2]]));
        close(&out, &[2, 1, 1, 3], &[0.0, 1.0, 2.0, 0.0, 9.0, 10.0], 0.0);
    }

    #[test]
    fn halves_and_nothing() {
        let x = [1.0, 2.0, 3.0, 4.0].map(f16::from_f32);
        let out = run(|g| mb::depth_to_space(g.input(AnyTensor::new([1, 4, 1, 1], x.to_vec()).unwrap()), 2));
        assert_eq!(out[0], AnyTensor::new([1, 1, 2, 2], x.to_vec()).unwrap());
        close(&run(|g| mb::space_to_depth(g.f32(&[1, 0, 2, 2], &[]), 2)), &[1, 0, 1, 1], &[], 0.0);
        close(
            &run(|g| mb::batch_to_space(g.f32(&[0, 1, 1, 1], &[]), [2, 2], [[0, 0], [0, 0]])),
            &[0, 1, 2, 2],
            &[],
            0.0,
        );
    }

    #[test]
    fn sizes_do_not_exhaust_memory() {
        let huge = [[i32::MAX, 1], [i32::MAX, 1]];
        fails(|g| mb::space_to_batch(g.f32(&[1, 1, 1, 1], &[1.0]), [1, 1], [[i32::MAX, 0]; 2]), "too large");
        fails(|g| mb::space_to_batch(g.f32(&[1, 1, 0, 1], &[]), [1, 1], huge), "too large");
        fails(|g| mb::depth_to_space(g.f32(&[1, 0, 1, 1], &[]), i32::MAX), "too large");
    }

    #[test]
    fn windows() {
        let out = run(|g| mb::sliding_windows(g.f32(&[2, 5], &count(10)), 1, 3).stride(2));
        close(&out, &[2, 2, 3], &[0.0, 1.0, 2.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 7.0, 8.0, 9.0], 0.0);
        let out = run(|g| mb::sliding_windows(g.f32(&[3, 2], &count(6)), 0, 2));
        close(&out, &[2, 2, 2], &[0.0, 1.0, 2.0, 3.0, 2.0, 3.0, 4.0, 5.0], 0.0);
        let bools = AnyTensor::bools([3], &[true, false, true]).unwrap();
        let out = run(|g| mb::sliding_windows(g.input(bools), -1, 2));
        assert_eq!(out[0], AnyTensor::bools([2, 2], &[true, false, false, true]).unwrap());
    }
}
