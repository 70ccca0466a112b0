//! `cumsum`.

use mil_core::ops::cumsum::Cumsum;

use super::{Cx, Kernel, KernelDef, floats};
use crate::{error::RunError, tensor::AnyTensor};

pub(super) const KERNELS: &[KernelDef] = &[KernelDef::of::<Cumsum>()];

impl Kernel for Cumsum {
    fn run(&self, cx: &Cx<'_>) -> Result<Vec<AnyTensor>, RunError> {
        let x = cx.get(&self.x)?;
        let (axis, shape) = (self.dimension()?, x.shape());
        if x.dtype().is_float() {
            let wide: Vec<f64> = x.to_f32()?.iter().map(|v| f64::from(*v)).collect();
            let sums = self.sums(shape, axis, &wide, &0.0, |a, b| a + b);
            return floats(x.dtype(), shape, sums.into_iter().map(|v| v as f32).collect());
        }
        let sums = self.sums(shape, axis, &x.to_i64()?, &0, |a, b| a.wrapping_add(*b));
        Ok(vec![AnyTensor::from_i64(x.dtype(), shape, sums)?])
    }
}

#[cfg(test)]
mod tests {
    use crate::{
        cpu::reference::testing::{close, run},
        tensor::AnyTensor,
    };
    use mil_core::{mb, types::DType};

    #[test]
    fn sums() {
        let x = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0];
        close(&run(|g| mb::cumsum(g.f32(&[2, 3], &x))), &[2, 3], &[1.0, 2.0, 3.0, 5.0, 7.0, 9.0], 0.0);
        let out = run(|g| mb::cumsum(g.f32(&[2, 3], &x)).axis(-1).exclusive(true).reverse(true));
        close(&out, &[2, 3], &[5.0, 3.0, 0.0, 11.0, 6.0, 0.0], 0.0);
        let out = run(|g| mb::cumsum(g.f32(&[2, 3, 1], &x)).axis(1).reverse(true));
        close(&out, &[2, 3, 1], &[6.0, 5.0, 3.0, 15.0, 11.0, 6.0], 0.0);
        close(&run(|g| mb::cumsum(g.f32(&[0, 3], &[])).axis(1)), &[0, 3], &[], 0.0);
        close(&run(|g| mb::cumsum(g.f32(&[3, 0], &[])).axis(0)), &[3, 0], &[], 0.0);
    }

    #[test]
    fn dtypes() {
        let out = run(|g| mb::cumsum(g.i32(&[3], &[i32::MAX, 1, 1])));
        assert_eq!(out[0], AnyTensor::new([3], vec![i32::MAX, i32::MIN, i32::MIN + 1]).unwrap());
        // Each sum is rounded, not what goes into it: 2048 + 1 + 1.
        let half = |v: &[f32]| AnyTensor::from_f32(DType::F16, [v.len()], v.to_vec()).unwrap();
        let out = run(|g| mb::cumsum(g.input(half(&[2048.0, 1.0, 1.0]))));
        assert_eq!(out[0], half(&[2048.0, 2048.0, 2050.0]));
    }
}
