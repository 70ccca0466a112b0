//! `select`.

use mil_core::ops::{select::Select, strided::Broadcast};

use super::{Cx, Kernel, KernelDef, broadcast::shape_of, floats};
use crate::{error::RunError, tensor::AnyTensor};

pub(super) const KERNELS: &[KernelDef] = &[KernelDef::of::<Select>()];

impl Kernel for Select {
    fn run(&self, cx: &Cx<'_>) -> Result<Vec<AnyTensor>, RunError> {
        let (cond, a, b) = (cx.get(&self.cond)?, cx.get(&self.a)?, cx.get(&self.b)?);
        let shape = shape_of(&[&cond, &a, &b])?;
        let walk = Broadcast::new(&shape, [cond.shape(), a.shape(), b.shape()]);
        let truth = cond.to_i64()?;
        if a.dtype().is_float() {
            let (v, w) = (a.to_f32()?, b.to_f32()?);
            let picked = walk.map(|[c, i, j]| if truth[c] != 0 { v[i] } else { w[j] }).collect();
            return floats(a.dtype(), shape, picked);
        }
        let (v, w) = (a.to_i64()?, b.to_i64()?);
        let picked = walk.map(|[c, i, j]| if truth[c] != 0 { v[i] } else { w[j] }).collect();
        Ok(vec![AnyTensor::from_i64(a.dtype(), shape, picked)?])
    }
}

#[cfg(test)]
mod tests {
    use half::f16;
    use mil_core::mb;

    use super::*;
    use crate::cpu::reference::testing::{close, run};

    fn cond() -> AnyTensor {
        AnyTensor::bools([2, 1], &[true, false]).unwrap()
    }

    #[test]
    fn the_three_broadcast() {
        let out = run(|g| mb::select(g.input(cond()), g.f32(&[3], &[1.0, f32::NAN, 3.0]), g.f32(&[], &[-1.0])));
        close(&out, &[2, 3], &[1.0, f32::NAN, 3.0, -1.0, -1.0, -1.0], 0.0);
    }

    #[test]
    fn every_dtype() {
        let out = run(|g| mb::select(g.input(cond()), g.i32(&[1], &[i32::MAX]), g.i32(&[1], &[i32::MIN])));
        assert_eq!(out[0], AnyTensor::new([2, 1], vec![i32::MAX, i32::MIN]).unwrap());
        let half = |v: f32| AnyTensor::scalar(f16::from_f32(v));
        let out = run(|g| mb::select(g.input(cond()), g.input(half(0.1)), g.input(half(-65504.0))));
        let expected = [0.1, -65504.0].map(f16::from_f32).to_vec();
        assert_eq!(out[0], AnyTensor::new([2, 1], expected).unwrap());
        let bools = |v: bool| AnyTensor::bools([1], &[v]).unwrap();
        let out = run(|g| mb::select(g.input(cond()), g.input(bools(false)), g.input(bools(true))));
        assert_eq!(out[0], AnyTensor::bools([2, 1], &[false, true]).unwrap());
    }
}
