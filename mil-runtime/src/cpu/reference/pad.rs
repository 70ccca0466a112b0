//! `pad`, `crop`.

use mil_core::{
    ops::pad::{Crop, Pad, PadMode},
    types::Dim,
};

use super::{
    Cx, Kernel, KernelDef,
    movement::{bytes, pick, strides, typed, valued},
    shapes::output_shape,
};
use crate::{error::RunError, tensor::AnyTensor};

pub(super) const KERNELS: &[KernelDef] = &[KernelDef::of::<Pad>(), KernelDef::of::<Crop>()];

impl Kernel for Pad {
    fn run(&self, cx: &Cx<'_>) -> Result<Vec<AnyTensor>, RunError> {
        let (x, pad) = (cx.get(&self.x)?, cx.get(&self.pad)?);
        let op = Pad { x: typed(&self.x, &x), pad: valued(&self.pad, &pad)?, ..self.clone() };
        let shape = output_shape(&op)?;
        let pad: Vec<Dim> = pad.to_i64()?.into_iter().map(Dim::from).collect();
        let amounts = op.amounts(op.x.shape(), &pad)?;
        let strides = strides(x.shape());
        let mut offsets = Vec::with_capacity(shape.len());
        for (axis, (before, _)) in amounts.iter().enumerate() {
            let (size, before) = (x.shape()[axis] as i64, before.value().unwrap_or(0));
            let from = |i: usize| self.mode.source(i as i64 - before, size).map(|i| i as usize * strides[axis]);
            offsets.push((0..shape[axis]).map(from).collect());
        }
        let fill = AnyTensor::from_f32(x.dtype(), [], vec![self.constant_val])?;
        Ok(vec![pick(&x, &offsets, bytes(&fill)?)?])
    }
}

/// Where what is put around a tensor comes from.
pub(crate) trait Source {
    /// The place, in a dimension of this size, of what stands at place `i`, which may lie outside; `None` for the
    /// constant.
    fn source(self, i: i64, size: i64) -> Option<i64>;
}

impl Source for PadMode {
    fn source(self, i: i64, size: i64) -> Option<i64> {
        let inside = (0..size).contains(&i);
        match self {
            PadMode::Constant => inside.then_some(i),
            PadMode::Reflect if i < 0 => Some(-i),
            PadMode::Reflect if !inside => Some(2 * (size - 1) - i),
            PadMode::Reflect => Some(i),
            PadMode::Replicate => Some(i.clamp(0, (size - 1).max(0))),
        }
    }
}

impl Kernel for Crop {
    fn run(&self, cx: &Cx<'_>) -> Result<Vec<AnyTensor>, RunError> {
        let x = cx.get(&self.x)?;
        let shape = output_shape(&Crop { x: typed(&self.x, &x), ..self.clone() })?;
        let mut first = vec![0; shape.len() - 2];
        first.extend([self.crop_height[0] as usize, self.crop_width[0] as usize]);
        let strides = strides(x.shape());
        let places = |i: usize| (0..shape[i]).map(|at| Some((first[i] + at) * strides[i])).collect();
        Ok(vec![pick(&x, &(0..shape.len()).map(places).collect::<Vec<_>>(), &[])?])
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

    const X: [f32; 6] = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0];

    #[test]
    fn constant() {
        let out = run(|g| mb::pad(g.f32(&[2, 3], &X), [1, 0, 0, 1]).constant_val(9.0));
        close(&out, &[3, 4], &[9.0, 9.0, 9.0, 9.0, 1.0, 2.0, 3.0, 9.0, 4.0, 5.0, 6.0, 9.0], 0.0);
        // Fewer amounts than dimensions: the last ones.
        close(&run(|g| mb::pad(g.f32(&[2, 1], &X[..2]), [1, 0])), &[2, 2], &[0.0, 1.0, 0.0, 2.0], 0.0);
        let half = AnyTensor::new([1], vec![f16::ONE]).unwrap();
        let out = run(|g| mb::pad(g.input(half), [1, 0]).constant_val(0.1));
        assert_eq!(out[0], AnyTensor::new([2], vec![f16::from_f32(0.1), f16::ONE]).unwrap());
    }

    #[test]
    fn reflect_and_replicate() {
        // np.pad(.., mode = "reflect") and "edge"
        let out = run(|g| mb::pad(g.f32(&[2, 3], &X), [0, 0, 2, 1]).mode("reflect"));
        close(&out, &[2, 6], &[3.0, 2.0, 1.0, 2.0, 3.0, 2.0, 6.0, 5.0, 4.0, 5.0, 6.0, 5.0], 0.0);
        let out = run(|g| mb::pad(g.f32(&[2, 3], &X), [1, 0, 1, 2]).mode("replicate"));
        let row = [1.0, 1.0, 2.0, 3.0, 3.0, 3.0];
        close(&out, &[3, 6], &[row, row, [4.0, 4.0, 5.0, 6.0, 6.0, 6.0]].concat(), 0.0);
    }

    #[test]
    fn amounts_of_this_run() {
        close(&run(|g| mb::pad(g.f32(&[2], &X[..2]), g.i32(&[2], &[0, 1]))), &[3], &[1.0, 2.0, 0.0], 0.0);
        fails(|g| mb::pad(g.f32(&[2], &X[..2]), g.i32(&[2], &[0, -1])), "0 or more, found -1");
        fails(|g| mb::pad(g.f32(&[2], &X[..2]), g.i32(&[2], &[2, 0])).mode("reflect"), "by 2 with \"reflect\"");
        let four = |g: &mut crate::cpu::reference::testing::Test| g.i32(&[4], &[0, i32::MAX, 0, i32::MAX]);
        fails(|g| mb::pad(g.f32(&[2, 3], &X), four(g)), "too large");
    }
    #[test]
    fn crops() {
        let x: Vec<f32> = (0..24u8).map(f32::from).collect();
        let out = run(|g| mb::crop(g.f32(&[2, 3, 4], &x), [1, 0], [0, 3]));
        close(&out, &[2, 2, 1], &[4.0, 8.0, 16.0, 20.0], 0.0);
        close(&run(|g| mb::crop(g.f32(&[2, 3, 4], &x), [0, 0], [0, 0])), &[2, 3, 4], &x, 0.0);
    }
}
