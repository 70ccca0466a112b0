//! `cast`.

use mil_core::{ops::cast::Cast, types::DType};

use super::{Cx, Kernel, KernelDef, floats};
use crate::{error::RunError, tensor::AnyTensor};

pub(super) const KERNELS: &[KernelDef] = &[KernelDef::of::<Cast>()];

impl Kernel for Cast {
    fn run(&self, cx: &Cx<'_>) -> Result<Vec<AnyTensor>, RunError> {
        let x = cx.get(&self.x)?;
        if self.dtype.is_float() {
            return floats(self.dtype, x.shape(), x.to_f32()?.into_owned());
        }
        let v: Vec<i64> = match (x.dtype().is_float(), self.dtype) {
            (true, DType::Bool) => x.to_f32()?.iter().map(|v| i64::from(*v != 0.0)).collect(),
            (true, dtype) => {
                let (min, max) = dtype.int_range().unwrap_or_default();
                // `as` truncates toward zero, saturates, and makes 0 of NaN.
                x.to_f32()?.iter().map(|v| (*v as i128).clamp(min, max) as i64).collect()
            }
            (false, DType::Bool) => x.to_i64()?.into_iter().map(|v| i64::from(v != 0)).collect(),
            (false, _) => x.to_i64()?,
        };
        Ok(vec![AnyTensor::from_i64(self.dtype, x.shape(), v)?])
    }
}

#[cfg(test)]
mod tests {
    use half::f16;
    use mil_core::mb;

    use super::*;
    use crate::cpu::reference::testing::run;

    #[track_caller]
    fn check(x: &AnyTensor, dtype: DType, expected: AnyTensor) {
        let out = run(|g| mb::cast(g.input(x.clone()), dtype));
        assert_eq!(out[0], expected);
    }

    #[test]
    fn floats_are_truncated_and_saturate() {
        let x = AnyTensor::new([6], vec![-1.9f32, 0.5, 2.9, 3e9, f32::NEG_INFINITY, f32::NAN]).unwrap();
        check(&x, DType::I32, AnyTensor::new([6], vec![-1, 0, 2, i32::MAX, i32::MIN, 0]).unwrap());
        check(&x, DType::U8, AnyTensor::new([6], vec![0u8, 0, 2, 255, 0, 0]).unwrap());
        check(&x, DType::I16, AnyTensor::new([6], vec![-1i16, 0, 2, 32767, -32768, 0]).unwrap());
        check(&x, DType::Bool, AnyTensor::bools([6], &[true; 6]).unwrap());
        let zeros = AnyTensor::new([2], vec![0f32, -0.0]).unwrap();
        check(&zeros, DType::Bool, AnyTensor::bools([2], &[false; 2]).unwrap());
    }

    #[test]
    fn integers_keep_their_low_bits() {
        let x = AnyTensor::new([4], vec![-1, 0, 300, 70000]).unwrap();
        check(&x, DType::U8, AnyTensor::new([4], vec![255u8, 0, 44, 112]).unwrap());
        check(&x, DType::I16, AnyTensor::new([4], vec![-1i16, 0, 300, 4464]).unwrap());
        check(&x, DType::Bool, AnyTensor::bools([4], &[true, false, true, true]).unwrap());
        check(&x, DType::F32, AnyTensor::new([4], vec![-1f32, 0.0, 300.0, 70000.0]).unwrap());
        let halves = [-1.0, 0.0, 300.0, f32::INFINITY].map(f16::from_f32).to_vec();
        check(&x, DType::F16, AnyTensor::new([4], halves).unwrap());
        check(&AnyTensor::new([1], vec![200u8]).unwrap(), DType::I32, AnyTensor::new([1], vec![200]).unwrap());
    }

    #[test]
    fn floats_are_rounded_and_bools_count() {
        let x = AnyTensor::new([2], vec![2049f32, 0.1]).unwrap();
        check(&x, DType::F16, AnyTensor::new([2], [2048.0, 0.1].map(f16::from_f32).to_vec()).unwrap());
        let x = AnyTensor::bools([2], &[true, false]).unwrap();
        check(&x, DType::F32, AnyTensor::new([2], vec![1f32, 0.0]).unwrap());
        check(&x, DType::I32, AnyTensor::new([2], vec![1, 0]).unwrap());
    }
}
