//! Reductions. What they make of numbers is said in `mil_core::ops`.

use mil_core::ops::{
    reduce::*,
    scalar::{Pick, Reduction},
    strided::{Groups, reduced_shape},
};

use super::{Cx, Kernel, KernelDef, floats};
use crate::{error::RunError, tensor::AnyTensor};

/// The kernels of ops that run in one of two ways.
macro_rules! kernels {
    ($($op:ident),* ; $($search:ident),*) => {
        pub(super) const KERNELS: &[KernelDef] = &[$(KernelDef::of::<$op>(),)* $(KernelDef::of::<$search>()),*];

        $(impl Kernel for $op {
            fn run(&self, cx: &Cx<'_>) -> Result<Vec<AnyTensor>, RunError> {
                let x = cx.get(&self.x)?;
                reduce(self, &x, &self.reduced_axes()?, self.keep_dims)
            }
        })*

        $(impl Kernel for $search {
            fn run(&self, cx: &Cx<'_>) -> Result<Vec<AnyTensor>, RunError> {
                let x = cx.get(&self.x)?;
                let axis = self.reduced_axis()?;
                let v = find(self, &x, axis)?;
                let shape = reduced_shape(x.shape(), &[axis], self.keep_dims, 1);
                Ok(vec![AnyTensor::from_i64(self.output_dtype, shape, v)?])
            }
        })*
    };
}

kernels!(
    ReduceL1Norm,
    ReduceL2Norm,
    ReduceLogSum,
    ReduceLogSumExp,
    ReduceMax,
    ReduceMean,
    ReduceMin,
    ReduceProd,
    ReduceSum,
    ReduceSumSquare;
    ReduceArgmax,
    ReduceArgmin
);

fn reduce(op: &impl Reduction, x: &AnyTensor, axes: &[usize], keep_dims: bool) -> Result<Vec<AnyTensor>, RunError> {
    let groups = Groups::new(x.shape(), axes);
    let shape = reduced_shape(x.shape(), axes, keep_dims, 1);
    if x.dtype().is_float() {
        let v = x.to_f32()?;
        return floats(x.dtype(), shape, each(&groups, |i| f64::from(v[i]), |g| op.floats(g) as f32));
    }
    let v = x.to_i64()?;
    Ok(vec![AnyTensor::from_i64(x.dtype(), shape, each(&groups, |i| v[i], |g| op.ints(g)))?])
}

fn find(op: &impl Pick, x: &AnyTensor, axis: usize) -> Result<Vec<i64>, RunError> {
    if x.shape()[axis] == 0 {
        return Err(RunError::new(format!("axis {axis} of `x` is empty: {}", x.ty())));
    }
    let groups = Groups::new(x.shape(), &[axis]);
    let place = |g: &[f64]| op.pick(g) as i64;
    if x.dtype().is_float() {
        let v = x.to_f32()?;
        return Ok(each(&groups, |i| f64::from(v[i]), place));
    }
    let v = x.to_i64()?;
    Ok(each(&groups, |i| v[i] as f64, place))
}

/// One result of each group of elements.
fn each<T, R>(groups: &Groups, element: impl Fn(usize) -> T, result: impl Fn(&[T]) -> R) -> Vec<R> {
    let mut group = Vec::with_capacity(groups.offsets.len());
    let one = |start: &usize| {
        group.clear();
        group.extend(groups.offsets.iter().map(|offset| element(start + offset)));
        result(&group)
    };
    groups.starts.iter().map(one).collect()
}

#[cfg(test)]
mod tests {
    use half::f16;
    use mil_core::{
        graph::Value,
        mb,
        op::{Call, Op},
        types::DType,
    };

    use super::*;
    use crate::cpu::reference::testing::{IntoValues, close, run, run_in};

    #[track_caller]
    fn check<O: Op>(call: fn(Value) -> Call<O>, shape: &[usize], expected: &[f32])
    where
        O::Outputs: IntoValues,
    {
        let x = [1.0, -2.0, 3.0, 0.5, 0.25, 4.0];
        close(&run(|g| call(g.f32(&[2, 3], &x))), shape, expected, 0.0);
    }

    /// Computed by NumPy in f64 and rounded once.
    #[test]
    #[allow(clippy::approx_constant)] // a result
    fn floats_are_rounded_once() {
        check(|x| mb::reduce_sum(x).axes([0]), &[3], &[1.5, -1.75, 7.0]);
        check(|x| mb::reduce_sum(x).axes([-1]).keep_dims(true), &[2, 1], &[2.0, 4.75]);
        check(mb::reduce_sum, &[], &[6.75]);
        check(mb::reduce_mean, &[], &[1.125]);
        check(mb::reduce_prod, &[], &[-3.0]);
        check(|x| mb::reduce_max(x).axes([1]), &[2], &[3.0, 4.0]);
        check(|x| mb::reduce_min(x).axes([1, 0]).keep_dims(true), &[1, 1], &[-2.0]);
        check(|x| mb::reduce_l1_norm(x).axes([0]), &[3], &[1.5, 2.25, 7.0]);
        check(|x| mb::reduce_l2_norm(x).axes([1]), &[2], &[3.7416575, 4.0388737]);
        check(|x| mb::reduce_log_sum(x).axes([1]), &[2], &[0.6931472, 1.5581446]);
        check(|x| mb::reduce_log_sum_exp(x).axes([1]), &[2], &[3.1328452, 4.052322]);
        check(|x| mb::reduce_sum_square(x).axes([1]), &[2], &[14.0, 16.3125]);
    }

    #[test]
    fn middle_axes_and_infinities() {
        let x: Vec<f32> = (0..12).map(|v| v as f32).collect();
        close(&run(|g| mb::reduce_sum(g.f32(&[2, 3, 2], &x)).axes([1])), &[2, 2], &[6.0, 9.0, 24.0, 27.0], 0.0);
        close(&run(|g| mb::reduce_max(g.f32(&[2, 3, 2], &x)).axes([0, 2])), &[3], &[7.0, 9.0, 11.0], 0.0);
        let (i, n) = (f32::INFINITY, f32::NAN);
        let x = [-i, -i, 1000.0, 1000.0, 1.0, n];
        let out = run(|g| mb::reduce_log_sum_exp(g.f32(&[3, 2], &x)).axes([1]));
        close(&out, &[3], &[-i, 1000.6932, n], 0.0);
        close(&run(|g| mb::reduce_max(g.f32(&[3, 2], &x)).axes([1])), &[3], &[-i, 1000.0, n], 0.0);
        close(&run(|g| mb::reduce_sum(g.f32(&[2, 0], &[])).axes([1])), &[2], &[0.0, 0.0], 0.0);
    }

    #[test]
    fn halves_are_rounded_at_the_end() {
        // A sum in f16 would stay at 2048.
        let x = AnyTensor::new([4096], vec![f16::ONE; 4096]).unwrap();
        assert_eq!(run(|g| mb::reduce_sum(g.input(x)))[0], AnyTensor::scalar(f16::from_f32(4096.0)));
    }

    #[track_caller]
    fn ints<O: Op>(call: fn(Value) -> Call<O>, x: &[i32], expected: i32)
    where
        O::Outputs: IntoValues,
    {
        assert_eq!(run(|g| call(g.i32(&[x.len()], x)))[0], AnyTensor::scalar(expected), "{}", O::DEF.name);
    }

    #[test]
    fn integers_wrap_and_are_truncated() {
        ints(mb::reduce_sum, &[i32::MAX, 1], i32::MIN);
        ints(mb::reduce_prod, &[65536, 65536, 3], 0);
        ints(mb::reduce_mean, &[-2, -1], -1);
        ints(mb::reduce_mean, &[i32::MAX, i32::MAX], i32::MAX);
        ints(mb::reduce_l1_norm, &[-2, 5], 7);
        ints(mb::reduce_l2_norm, &[3, 5], 5);
        ints(mb::reduce_sum_square, &[3, -4], 25);
        ints(mb::reduce_max, &[-3, -4], -3);
        ints(mb::reduce_min, &[16777217, 16777218], 16777217);
        ints(mb::reduce_log_sum, &[50, 50], 4);
        ints(mb::reduce_log_sum_exp, &[3, 3], 3);
    }

    #[test]
    fn places() {
        let x = [1.0, 5.0, 5.0, -1.0, f32::NAN, -1.0];
        let out = run(|g| mb::reduce_argmax(g.f32(&[2, 3], &x)));
        assert_eq!(out[0], AnyTensor::new([2], vec![1, 1]).unwrap());
        let out = run(|g| mb::reduce_argmin(g.f32(&[2, 3], &x)).axis(0).keep_dims(true).output_dtype("uint16"));
        assert_eq!(out[0], AnyTensor::new([1, 3], vec![1u16, 1, 1]).unwrap());
        let out = run_in(mil_core::types::Opset::iOS15, |g| mb::reduce_argmin(g.i32(&[3], &[4, 16777217, 4])));
        assert_eq!((out[0].dtype(), out[0].to_i64().unwrap()), (DType::I32, vec![0]));
    }
}
