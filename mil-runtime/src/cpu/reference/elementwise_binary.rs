//! Elementwise ops of two operands. What they make of numbers is said in `mil_core::ops`.

use mil_core::ops::{elementwise_binary::*, scalar::Binary};

use super::{Cx, Kernel, KernelDef, broadcast::pairs, floats};
use crate::{error::RunError, tensor::AnyTensor};

/// The kernels of ops that all run the same way.
macro_rules! kernels {
    ($($op:ident),* $(,)?) => {
        pub(super) const KERNELS: &[KernelDef] = &[$(KernelDef::of::<$op>()),*];

        $(impl Kernel for $op {
            fn run(&self, cx: &Cx<'_>) -> Result<Vec<AnyTensor>, RunError> {
                let (x, y) = (cx.get(&self.x)?, cx.get(&self.y)?);
                binary(self, &x, &y)
            }
        })*
    };
}

kernels!(Add, FloorDiv, Maximum, Minimum, Mod, Mul, Pow, RealDiv, Sub);

fn binary(op: &impl Binary, x: &AnyTensor, y: &AnyTensor) -> Result<Vec<AnyTensor>, RunError> {
    let (shape, pairs) = pairs(x, y)?;
    if x.dtype().is_float() {
        let (a, b) = (x.to_f32()?, y.to_f32()?);
        let v = pairs.map(|[i, j]| op.float(f64::from(a[i]), f64::from(b[j])) as f32).collect();
        return floats(x.dtype(), shape, v);
    }
    let (a, b) = (x.to_i64()?, y.to_i64()?);
    let v = pairs.map(|[i, j]| op.int(a[i], b[j])).collect();
    Ok(vec![AnyTensor::from_i64(x.dtype(), shape, v)?])
}

#[cfg(test)]
mod tests {
    use half::f16;
    use mil_core::{
        graph::Value,
        mb,
        op::{Call, Op},
    };

    use super::*;
    use crate::cpu::reference::testing::{IntoValues, close, run};

    const I: f32 = f32::INFINITY;
    const N: f32 = f32::NAN;

    #[test]
    fn broadcasts() {
        let out = run(|g| mb::add(g.f32(&[2, 2], &[1.0, 2.0, 3.0, 4.0]), g.f32(&[2], &[10.0, 20.0])));
        close(&out, &[2, 2], &[11.0, 22.0, 13.0, 24.0], 0.0);
        let out = run(|g| mb::sub(g.f32(&[2, 1], &[1.0, 2.0]), g.f32(&[1, 3], &[10.0, 20.0, 30.0])));
        close(&out, &[2, 3], &[-9.0, -19.0, -29.0, -8.0, -18.0, -28.0], 0.0);
        let out = run(|g| mb::mul(g.f32(&[], &[3.0]), g.f32(&[1, 1], &[2.0])));
        close(&out, &[1, 1], &[6.0], 0.0);
        let out = run(|g| mb::mul(g.f32(&[0, 1], &[]), g.f32(&[3], &[1.0, 2.0, 3.0])));
        close(&out, &[0, 3], &[], 0.0);
    }

    #[track_caller]
    fn check<O: Op>(call: fn(Value, Value) -> Call<O>, expected: &[f32])
    where
        O::Outputs: IntoValues,
    {
        let x = [7.5, -7.5, 1.0, 0.0, N, 2.0, -8.0, I];
        let y = [2.0, 2.0, 0.0, 0.0, 1.0, N, 3.0, I];
        close(&run(|g| call(g.f32(&[8], &x), g.f32(&[8], &y))), &[8], expected, 0.0);
    }

    #[test]
    fn floats() {
        check(mb::add, &[9.5, -5.5, 1.0, 0.0, N, N, -5.0, I]);
        check(mb::sub, &[5.5, -9.5, 1.0, 0.0, N, N, -11.0, N]);
        check(mb::mul, &[15.0, -15.0, 0.0, 0.0, N, N, -24.0, I]);
        check(mb::real_div, &[3.75, -3.75, I, N, N, N, -8.0 / 3.0, N]);
        check(mb::floor_div, &[3.0, -4.0, I, N, N, N, -3.0, N]);
        check(mb::mod_, &[1.5, 0.5, N, N, N, N, 1.0, N]);
        check(mb::maximum, &[7.5, 2.0, 1.0, 0.0, N, N, 3.0, I]);
        check(mb::minimum, &[2.0, -7.5, 0.0, 0.0, N, N, -8.0, I]);
        check(mb::pow, &[56.25, 56.25, 1.0, 1.0, N, N, -512.0, I]);
    }

    #[test]
    fn halves_are_rounded_at_the_output() {
        let half = |v: f32| AnyTensor::scalar(f16::from_f32(v));
        let out = run(|g| mb::add(g.input(half(2048.0)), g.input(half(1.0))));
        assert_eq!(out[0], half(2048.0));
        let out = run(|g| mb::mul(g.input(half(300.0)), g.input(half(300.0))));
        assert_eq!(out[0], half(I));
    }

    #[track_caller]
    fn ints<O: Op>(call: fn(Value, Value) -> Call<O>, expected: &[i32])
    where
        O::Outputs: IntoValues,
    {
        let x = [7, -7, 7, 5, i32::MAX, i32::MIN, 2];
        let y = [2, 2, -2, 0, 1, -1, -1];
        let out = run(|g| call(g.i32(&[7], &x), g.i32(&[7], &y)));
        assert_eq!(out[0], AnyTensor::new([7], expected.to_vec()).unwrap());
    }

    #[test]
    fn integers_wrap_and_zero_divides() {
        ints(mb::add, &[9, -5, 5, 5, i32::MIN, i32::MAX, 1]);
        ints(mb::sub, &[5, -9, 9, 5, i32::MAX - 1, i32::MIN + 1, 3]);
        ints(mb::mul, &[14, -14, -14, 0, i32::MAX, i32::MIN, -2]);
        ints(mb::floor_div, &[3, -4, -4, 0, i32::MAX, i32::MIN, -2]);
        ints(mb::real_div, &[3, -3, -3, 0, i32::MAX, i32::MIN, -2]);
        ints(mb::mod_, &[1, 1, -1, 0, 0, 0, 0]);
        ints(mb::maximum, &[7, 2, 7, 5, i32::MAX, -1, 2]);
        ints(mb::minimum, &[2, -7, -2, 0, 1, i32::MIN, -1]);
        ints(mb::pow, &[49, 49, 0, 1, i32::MAX, 0, 0]);
    }
}
