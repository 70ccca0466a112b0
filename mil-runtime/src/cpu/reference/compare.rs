//! Comparisons and logic. What they make of numbers is said in `mil_core::ops`.

use mil_core::ops::{compare::*, scalar::Compare};

use super::{Cx, Kernel, KernelDef, broadcast::pairs};
use crate::{error::RunError, tensor::AnyTensor};

/// The kernels of ops that all run the same way.
macro_rules! kernels {
    ($($op:ident),* $(,)?) => {
        pub(super) const KERNELS: &[KernelDef] = &[$(KernelDef::of::<$op>()),*];

        $(impl Kernel for $op {
            fn run(&self, cx: &Cx<'_>) -> Result<Vec<AnyTensor>, RunError> {
                let (x, y) = (cx.get(&self.x)?, cx.get(&self.y)?);
                compare(self, &x, &y)
            }
        })*
    };
}

kernels!(Equal, Greater, GreaterEqual, Less, LessEqual, LogicalAnd, LogicalOr, LogicalXor, NotEqual);

fn compare(op: &impl Compare, x: &AnyTensor, y: &AnyTensor) -> Result<Vec<AnyTensor>, RunError> {
    let (shape, pairs) = pairs(x, y)?;
    let truths: Vec<bool> = if x.dtype().is_float() {
        let (a, b) = (x.to_f32()?, y.to_f32()?);
        pairs.map(|[i, j]| op.holds(f64::from(a[i]), f64::from(b[j]))).collect()
    } else {
        let (a, b) = (x.to_i64()?, y.to_i64()?);
        pairs.map(|[i, j]| op.holds(a[i] as f64, b[j] as f64)).collect()
    };
    Ok(vec![AnyTensor::bools(shape, &truths)?])
}

#[cfg(test)]
mod tests {
    use mil_core::{
        graph::Value,
        mb,
        op::{Call, Op},
    };

    use super::*;
    use crate::cpu::reference::testing::{IntoValues, run};

    #[track_caller]
    fn check<O: Op>(call: fn(Value, Value) -> Call<O>, x: &AnyTensor, y: &AnyTensor, expected: &[bool])
    where
        O::Outputs: IntoValues,
    {
        let out = run(|g| call(g.input(x.clone()), g.input(y.clone())));
        assert_eq!(out[0], AnyTensor::bools([expected.len()], expected).unwrap(), "{}", O::DEF.name);
    }

    const T: bool = true;
    const F: bool = false;

    #[test]
    fn floats_know_nan() {
        let x = AnyTensor::new([5], vec![1f32, 2.0, f32::NAN, -0.0, f32::INFINITY]).unwrap();
        let y = AnyTensor::new([5], vec![2f32, 1.0, f32::NAN, 0.0, f32::INFINITY]).unwrap();
        check(mb::equal, &x, &y, &[F, F, F, T, T]);
        check(mb::not_equal, &x, &y, &[T, T, T, F, F]);
        check(mb::greater, &x, &y, &[F, T, F, F, F]);
        check(mb::greater_equal, &x, &y, &[F, T, F, T, T]);
        check(mb::less, &x, &y, &[T, F, F, F, F]);
        check(mb::less_equal, &x, &y, &[T, F, F, T, T]);
    }

    #[test]
    fn integers_keep_all_digits() {
        let x = AnyTensor::new([3], vec![16777217, i32::MAX, -1]).unwrap();
        let y = AnyTensor::new([3], vec![16777216, i32::MAX - 1, 1]).unwrap();
        check(mb::equal, &x, &y, &[F, F, F]);
        check(mb::greater, &x, &y, &[T, T, F]);
        check(mb::less_equal, &x, &y, &[F, F, T]);
    }

    #[test]
    fn logic_broadcasts() {
        let x = AnyTensor::bools([2], &[T, F]).unwrap();
        let y = AnyTensor::bools([], &[T]).unwrap();
        check(mb::logical_and, &x, &y, &[T, F]);
        check(mb::logical_or, &x, &y, &[T, T]);
        check(mb::logical_xor, &x, &y, &[F, T]);
    }
}
