//! Elementwise ops of one operand. What they make of a number is said in `mil_core::ops`.

use mil_core::ops::{elementwise_unary::*, scalar::Unary};

use super::{Cx, Kernel, KernelDef, floats};
use crate::{error::RunError, tensor::AnyTensor};

/// The kernels of ops that all run the same way.
macro_rules! kernels {
    ($($op:ident),* $(,)?) => {
        pub(super) const KERNELS: &[KernelDef] = &[$(KernelDef::of::<$op>()),*];

        $(impl Kernel for $op {
            fn run(&self, cx: &Cx<'_>) -> Result<Vec<AnyTensor>, RunError> {
                let x = cx.get(&self.x)?;
                unary(self, &x)
            }
        })*
    };
}

kernels!(
    Abs, Acos, Asin, Atan, Atanh, Ceil, Clip, Cos, Cosh, Erf, Exp, Exp2, Floor, Inverse, Log, LogicalNot, Round, Rsqrt,
    Sign, Sin, Sinh, Sqrt, Square, Tan, Tanh, Threshold
);

/// Applies an op to each element.
pub(super) fn unary(op: &impl Unary, x: &AnyTensor) -> Result<Vec<AnyTensor>, RunError> {
    if x.dtype().is_float() {
        let v = x.to_f32()?.iter().map(|v| op.float(f64::from(*v)) as f32).collect();
        return floats(x.dtype(), x.shape(), v);
    }
    let v = x.to_i64()?.into_iter().map(|v| op.int(v)).collect();
    Ok(vec![AnyTensor::from_i64(x.dtype(), x.shape(), v)?])
}

#[cfg(test)]
mod tests {
    use half::f16;
    use mil_core::{
        graph::Value,
        mb,
        op::{Call, Op},
        types::{DType, Opset},
    };

    use super::*;
    use crate::cpu::reference::testing::{IntoValues, close, run, run_in};

    const I: f32 = f32::INFINITY;
    const N: f32 = f32::NAN;
    const X: [f32; 14] = [-I, -100.5, -2.5, -1.0, -0.3, 0.0, 0.001, 0.5, 1.0, 1.5, 9.75, 1e30, I, N];

    #[track_caller]
    fn check<O: Op>(call: fn(Value) -> Call<O>, expected: &[f32])
    where
        O::Outputs: IntoValues,
    {
        close(&run(|g| call(g.f32(&[X.len()], &X))), &[X.len()], expected, 0.0);
    }

    /// Computed by NumPy in f64 and rounded once (erf by Python's `math.erf`).
    #[test]
    #[rustfmt::skip] // one line, one op
    #[allow(clippy::approx_constant)] // these are results
    fn floats_are_rounded_once() {
        check(mb::abs, &[I, 100.5, 2.5, 1.0, 0.3, 0.0, 0.001, 0.5, 1.0, 1.5, 9.75, 1e30, I, N]);
        check(mb::acos, &[N, N, N, 3.1415927, 1.875489, 1.5707964, 1.5697963, 1.0471976, 0.0, N, N, N, N, N]);
        check(mb::asin, &[N, N, N, -1.5707964, -0.30469266, 0.0, 0.0010000002, 0.5235988, 1.5707964, N, N, N, N, N]);
        check(mb::atan, &[-1.5707964, -1.5608464, -1.19029, -0.7853982, -0.29145682, 0.0, 0.0009999997, 0.4636476, 0.7853982, 0.98279375, 1.4685897, 1.5707964, 1.5707964, N]);
        check(mb::atanh, &[N, N, N, -I, -0.30951962, 0.0, 0.0010000004, 0.54930615, I, N, N, N, N, N]);
        check(mb::ceil, &[-I, -100.0, -2.0, -1.0, -0.0, 0.0, 1.0, 1.0, 1.0, 2.0, 10.0, 1e30, I, N]);
        check(mb::cos, &[N, 0.9995206, -0.8011436, 0.5403023, 0.9553365, 1.0, 0.9999995, 0.87758255, 0.5403023, 0.0707372, -0.9475798, -0.6116048, N, N]);
        check(mb::cosh, &[I, I, 6.1322894, 1.5430807, 1.0453385, 1.0, 1.0000005, 1.127626, 1.5430807, 2.3524096, 8577.114, I, I, N]);
        check(mb::erf, &[-1.0, -1.0, -0.999593, -0.8427008, -0.32862678, 0.0, 0.0011283788, 0.5204999, 0.8427008, 0.96610516, 1.0, 1.0, 1.0, N]);
        check(mb::exp, &[0.0, 2.2e-44, 0.082085, 0.36787945, 0.7408182, 1.0, 1.0010005, 1.6487212, 2.7182817, 4.481689, 17154.229, I, I, N]);
        check(mb::exp2, &[0.0, 5.578089e-31, 0.17677669, 0.5, 0.8122524, 1.0, 1.0006934, 1.4142135, 2.0, 2.828427, 861.07794, I, I, N]);
        check(mb::floor, &[-I, -101.0, -3.0, -1.0, -1.0, 0.0, 0.0, 0.0, 1.0, 1.0, 9.0, 1e30, I, N]);
        check(mb::inverse, &[-0.0, -0.009950259, -0.400016, -1.0001, -3.3344448, 10000.0, 909.0909, 1.9996, 0.9999, 0.6666222, 0.10256305, 1e-30, 0.0, N]);
        check(mb::log, &[N, N, N, N, N, -103.27893, -6.9077554, -0.6931472, 0.0, 0.4054651, 2.2772672, 69.07755, I, N]);
        check(mb::round, &[-I, -100.0, -2.0, -1.0, -0.0, 0.0, 0.0, 0.0, 1.0, 2.0, 10.0, 1e30, I, N]);
        check(mb::rsqrt, &[N, N, N, N, N, 1000000.0, 31.622776, 1.4142135, 1.0, 0.8164966, 0.3202563, 1e-15, 0.0, N]);
        check(mb::sign, &[-1.0, -1.0, -1.0, -1.0, -1.0, 0.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, N]);
        check(mb::sin, &[N, 0.030959968, -0.5984721, -0.84147096, -0.29552022, 0.0, 0.0009999999, 0.47942555, 0.84147096, 0.997495, -0.3195192, -0.79116344, N, N]);
        check(mb::sinh, &[-I, -I, -6.0502043, -1.1752012, -0.3045203, 0.0, 0.0010000002, 0.5210953, 1.1752012, 2.1292794, 8577.114, I, I, N]);
        check(mb::sqrt, &[N, N, N, N, N, 0.0, 0.03162278, 0.70710677, 1.0, 1.2247449, 3.122499, 1e15, I, N]);
        check(mb::square, &[I, 10100.25, 6.25, 1.0, 0.09, 0.0, 1.0000001e-6, 0.25, 1.0, 2.25, 95.0625, I, I, N]);
        check(mb::tan, &[N, 0.030974815, 0.7470223, -1.5574077, -0.30933627, 0.0, 0.0010000004, 0.5463025, 1.5574077, 14.10142, 0.337195, 1.2935861, N, N]);
        check(mb::tanh, &[-1.0, -1.0, -0.9866143, -0.7615942, -0.29131263, 0.0, 0.0009999997, 0.46211717, 0.7615942, 0.90514827, 1.0, 1.0, 1.0, N]);
        check(|x| mb::clip(x, -0.5, 6.0), &[-0.5, -0.5, -0.5, -0.5, -0.3, 0.0, 0.001, 0.5, 1.0, 1.5, 6.0, 6.0, 6.0, N]);
        check(|x| mb::threshold(x, 0.25), &[0.25, 0.25, 0.25, 0.25, 0.25, 0.25, 0.25, 0.5, 1.0, 1.5, 9.75, 1e30, I, N]);
    }

    #[test]
    fn halves_stay_halves() {
        let x = [2.0f32, 60000.0, 1e-7, -1.0].map(f16::from_f32);
        let out = run(|g| mb::square(g.input(AnyTensor::new([4], x.to_vec()).unwrap())));
        assert_eq!(out[0], AnyTensor::new([4], [4.0, I, 0.0, 1.0].map(f16::from_f32).to_vec()).unwrap());
        // f16 cannot hold the default epsilons of `log` and `rsqrt`.
        let zero = || AnyTensor::scalar(f16::ZERO);
        assert_eq!(run(|g| mb::rsqrt(g.input(zero())))[0], AnyTensor::scalar(f16::INFINITY));
        assert_eq!(run_in(Opset::iOS15, |g| mb::log(g.input(zero())))[0], AnyTensor::scalar(f16::NEG_INFINITY));
    }

    #[track_caller]
    fn ints<O: Op>(call: fn(Value) -> Call<O>, x: &[i32], expected: &[i32])
    where
        O::Outputs: IntoValues,
    {
        let out = run(|g| call(g.i32(&[x.len()], x)));
        assert_eq!(out[0], AnyTensor::new([x.len()], expected.to_vec()).unwrap());
    }

    #[test]
    fn integers_wrap() {
        ints(mb::abs, &[-3, 0, 7, i32::MIN], &[3, 0, 7, i32::MIN]);
        ints(mb::sign, &[-3, 0, 7, i32::MIN], &[-1, 0, 1, -1]);
        ints(mb::square, &[-3, 65536, 46341], &[9, 0, -2147479015]);
        ints(mb::exp2, &[-1, 0, 10, 31, 32, i32::MAX], &[0, 1, 1024, i32::MIN, 0, 0]);
        // More digits than f32 has.
        ints(|x| mb::threshold(x, 16777217), &[0, 16777216, 16777218], &[16777217, 16777217, 16777218]);
    }

    #[test]
    fn bools_and_scalars() {
        let out = run(|g| mb::logical_not(g.input(AnyTensor::bools([2], &[true, false]).unwrap())));
        assert_eq!(out[0], AnyTensor::bools([2], &[false, true]).unwrap());
        assert_eq!(out[0].dtype(), DType::Bool);
        close(&run(|g| mb::exp(g.f32(&[], &[0.0]))), &[], &[1.0], 0.0);
        close(&run(|g| mb::exp(g.f32(&[0], &[]))), &[0], &[], 0.0);
    }
}
