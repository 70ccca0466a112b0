//! `fill`, `range_1d`.

use mil_core::{
    op::Arg,
    ops::generate::{Fill, Range1d},
};

use super::{Cx, Kernel, KernelDef, floats, movement::valued, shapes::output_shape};
use crate::{
    error::RunError,
    tensor::{AnyTensor, checked_count},
};

pub(super) const KERNELS: &[KernelDef] = &[KernelDef::of::<Fill>(), KernelDef::of::<Range1d>()];

impl Kernel for Fill {
    fn run(&self, cx: &Cx<'_>) -> Result<Vec<AnyTensor>, RunError> {
        let shape = valued(&self.shape, &*cx.get(&self.shape)?)?;
        let shape = output_shape(&Fill { shape, value: self.value.clone() })?;
        let count = checked_count(self.value.dtype(), &shape)?;
        let one = self.value.bytes().ok_or_else(|| RunError::new("`value` is no number"))?;
        Ok(vec![AnyTensor::from_bytes(self.value.dtype(), shape, one.repeat(count))?])
    }
}

impl Kernel for Range1d {
    fn run(&self, cx: &Cx<'_>) -> Result<Vec<AnyTensor>, RunError> {
        let dtype = self.start.dtype();
        let number = |arg: &Arg| -> Result<f64, RunError> {
            let tensor = cx.get(arg)?;
            let first = if dtype.is_float() {
                tensor.to_f32()?.first().copied().map(f64::from)
            } else {
                tensor.to_i64()?.first().map(|v| *v as f64)
            };
            first.ok_or_else(|| RunError::new("an argument of `range_1d` is empty"))
        };
        let (start, end, step) = (number(&self.start)?, number(&self.end)?, number(&self.step)?);
        let count = Range1d::count(dtype, start, end, step)?;
        checked_count(dtype, &[count])?;
        let values = (0..count).map(|i| Range1d::element(dtype, start, step, i));
        match dtype.is_float() {
            true => floats(dtype, [count], values.map(|v| v as f32).collect()),
            false => Ok(vec![AnyTensor::from_i64(dtype, [count], values.map(|v| v as i64).collect())?]),
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::{
        cpu::reference::testing::{close, fails, run},
        tensor::AnyTensor,
    };
    use mil_core::mb;

    #[test]
    fn fill_by_a_shape_of_this_run() {
        close(&run(|g| mb::fill(g.i32(&[2], &[2, 1])).value(0.5)), &[2, 1], &[0.5, 0.5], 0.0);
        let out = run(|g| mb::fill(g.i32(&[1], &[3])).value(true));
        assert_eq!(out[0], AnyTensor::bools([3], &[true; 3]).unwrap());
        fails(|g| mb::fill(g.i32(&[2], &[2, -1])), "1 or more, found -1");
        fails(|g| mb::fill(g.i32(&[2], &[i32::MAX, i32::MAX])), "too large");
    }

    #[test]
    fn ranges() {
        let ints = |end, start, step| run(move |g| mb::range_1d(g.i32(&[], &[end]), start, step));
        assert_eq!(ints(7, 1, 2)[0], AnyTensor::new([3], vec![1i32, 3, 5]).unwrap());
        assert_eq!(ints(-1, 3, -2)[0], AnyTensor::new([2], vec![3i32, 1]).unwrap());
        close(&run(|g| mb::range_1d(g.f32(&[], &[0.3]), 0.0, 0.1)), &[3], &[0.0, 0.1, 0.2], 0.0);
        let step = |end: f32, step: f32| {
            move |g: &mut crate::cpu::reference::testing::Test| {
                mb::range_1d(g.f32(&[], &[end]), 0.0, g.f32(&[], &[step]))
            }
        };
        fails(step(1.0, 0.0), "`step` is 0");
        fails(step(1.0, -1.0), "away from 1");
        fails(step(f32::NAN, 1.0), "has no end");
        fails(step(1e30, 1e-8), "has no end");
        fails(step(1e12, 1.0), "too large");
    }
}
