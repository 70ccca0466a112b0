//! `fill`, `fill_like`, `range_1d`, `one_hot`.

use mil_core::{
    ir::Constant,
    op::Arg,
    ops::generate::{Fill, FillLike, OneHot, Range1d},
};

use super::{
    Cx, Kernel, KernelDef, floats,
    movement::{typed, valued},
    shapes::output_shape,
};
use crate::{
    error::RunError,
    tensor::{AnyTensor, checked_count},
};

pub(super) const KERNELS: &[KernelDef] =
    &[KernelDef::of::<Fill>(), KernelDef::of::<FillLike>(), KernelDef::of::<Range1d>(), KernelDef::of::<OneHot>()];

impl Kernel for Fill {
    fn run(&self, cx: &Cx<'_>) -> Result<Vec<AnyTensor>, RunError> {
        let shape = valued(&self.shape, &*cx.get(&self.shape)?)?;
        let shape = output_shape(&Fill { shape, value: self.value.clone() })?;
        Ok(vec![filled(&self.value, shape)?])
    }
}

/// A tensor that is one number everywhere.
fn filled(value: &Constant, shape: Vec<usize>) -> Result<AnyTensor, RunError> {
    let count = checked_count(value.dtype(), &shape)?;
    AnyTensor::from_bytes(value.dtype(), shape, number(value)?.repeat(count))
}

/// The bytes of one number.
fn number(value: &Constant) -> Result<&[u8], RunError> {
    value.bytes().map(|b| &b[..]).ok_or_else(|| RunError::new("the value is no number"))
}

impl Kernel for FillLike {
    fn run(&self, cx: &Cx<'_>) -> Result<Vec<AnyTensor>, RunError> {
        Ok(vec![filled(&self.value, cx.get(&self.ref_tensor)?.shape().to_vec())?])
    }
}

impl Kernel for OneHot {
    fn run(&self, cx: &Cx<'_>) -> Result<Vec<AnyTensor>, RunError> {
        let indices = cx.get(&self.indices)?;
        let size = valued(&self.one_hot_vector_size, &*cx.get(&self.one_hot_vector_size)?)?;
        let op = OneHot { indices: typed(&self.indices, &indices), one_hot_vector_size: size, ..self.clone() };
        let (shape, axis) = (output_shape(&op)?, op.dimension()?);
        let inner: usize = shape[axis + 1..].iter().product();
        let (on, off) = (number(&self.on_value)?, number(&self.off_value)?);
        let mut out = off.repeat(checked_count(self.off_value.dtype(), &shape)?);
        for (i, index) in indices.to_i64()?.into_iter().enumerate() {
            // What is no place of the vector has no place to be on.
            let Some(place) = usize::try_from(index).ok().filter(|place| *place < shape[axis]) else { continue };
            let at = ((i / inner * shape[axis] + place) * inner + i % inner) * on.len();
            out[at..at + on.len()].copy_from_slice(on);
        }
        Ok(vec![AnyTensor::from_bytes(self.on_value.dtype(), shape, out)?])
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
    #[test]
    fn fill_like_another() {
        close(&run(|g| mb::fill_like(g.i32(&[2, 1], &[7, 8])).value(0.5)), &[2, 1], &[0.5, 0.5], 0.0);
        let out = run(|g| mb::fill_like(g.f32(&[0, 3], &[])).value(true));
        assert_eq!(out[0], AnyTensor::bools([0, 3], &[]).unwrap());
    }

    #[test]
    fn one_hot() {
        let out = run(|g| mb::one_hot(g.i32(&[2], &[1, 0]), 3));
        assert_eq!(out[0], AnyTensor::new([2, 3], vec![0i32, 1, 0, 1, 0, 0]).unwrap());
        let out = run(|g| mb::one_hot(g.i32(&[1, 2], &[2, 0]), g.i32(&[], &[3])).axis(1).on_value(0.5));
        close(&out, &[1, 3, 2], &[0.0, 0.5, 0.0, 0.0, 0.5, 0.0], 0.0);
        let out = run(|g| mb::one_hot(g.i32(&[2], &[-1, 2]), 2).on_value(true).off_value(false));
        assert_eq!(out[0], AnyTensor::bools([2, 2], &[false; 4]).unwrap());
        let out = run(|g| mb::one_hot(g.i32(&[], &[1]), 2).on_value(5).off_value(9));
        assert_eq!(out[0], AnyTensor::new([2], vec![9i32, 5]).unwrap());
        fails(|g| mb::one_hot(g.i32(&[2], &[0, 0]), g.i32(&[], &[-3])), "0 or more, found -3");
        fails(|g| mb::one_hot(g.i32(&[2], &[0, 0]), g.i32(&[], &[i32::MAX])), "too large");
    }
}
