//! `non_zero`.

use mil_core::{ops::non_zero::NonZero, types::DType};

use super::{Cx, Kernel, KernelDef};
use crate::{
    error::RunError,
    tensor::{AnyTensor, checked_count},
};

pub(super) const KERNELS: &[KernelDef] = &[KernelDef::of::<NonZero>()];

impl Kernel for NonZero {
    fn run(&self, cx: &Cx<'_>) -> Result<Vec<AnyTensor>, RunError> {
        let x = cx.get(&self.x)?;
        let truths: Vec<bool> = match x.dtype().is_float() {
            true => x.to_f32()?.iter().map(|v| *v != 0.0).collect(),
            false => x.to_i64()?.iter().map(|v| *v != 0).collect(),
        };
        let shape = [truths.iter().filter(|t| **t).count(), x.rank()];
        checked_count(DType::I32, &shape)?;
        Ok(vec![AnyTensor::new(shape, NonZero::places(x.shape(), truths.into_iter()))?])
    }
}

#[cfg(test)]
mod tests {
    use crate::{cpu::reference::testing::run, tensor::AnyTensor};
    use mil_core::mb;

    #[test]
    fn places() {
        let out = run(|g| mb::non_zero(g.f32(&[2, 3], &[0.0, 2.0, -0.0, f32::NAN, 0.0, -1e-40])));
        assert_eq!(out[0], AnyTensor::new([3, 2], vec![0, 1, 1, 0, 1, 2]).unwrap());
        let out = run(|g| mb::non_zero(g.i32(&[3], &[0, -1, 1])));
        assert_eq!(out[0], AnyTensor::new([2, 1], vec![1, 2]).unwrap());
        let out = run(|g| mb::non_zero(g.input(AnyTensor::bools([2], &[false; 2]).unwrap())));
        assert_eq!(out[0], AnyTensor::new::<i32>([0, 1], vec![]).unwrap());
    }
}
