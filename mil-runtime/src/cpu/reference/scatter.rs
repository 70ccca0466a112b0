//! `scatter`, `scatter_along_axis`, `scatter_nd`.

use mil_core::ops::{
    scalar::Binary,
    scatter::{Scatter, ScatterAlongAxis, ScatterNd, Scattering},
};

use super::{Cx, Kernel, KernelDef, floats, movement::typed, shapes::output_shape};
use crate::{error::RunError, tensor::AnyTensor};

/// The kernels: all run the same way.
macro_rules! kernels {
    ($($op:ident),* $(,)?) => {
        pub(super) const KERNELS: &[KernelDef] = &[$(KernelDef::of::<$op>()),*];

        $(impl Kernel for $op {
            fn run(&self, cx: &Cx<'_>) -> Result<Vec<AnyTensor>, RunError> {
                scatter(self, cx)
            }
        })*
    };
}

kernels!(Scatter, ScatterAlongAxis, ScatterNd);

fn scatter(op: &impl Scattering, cx: &Cx<'_>) -> Result<Vec<AnyTensor>, RunError> {
    let [data, indices, updates] = op.operands();
    let (d, i, u) = (cx.get(data)?, cx.get(indices)?, cx.get(updates)?);
    let op = op.with_operands([typed(data, &d), typed(indices, &i), typed(updates, &u)]);
    let shape = output_shape(&op)?;
    let targets = op.targets(d.shape(), i.shape(), &i.to_i64()?)?;
    let mode = op.mode();
    if !d.dtype().is_float() {
        let mut v = d.to_i64()?;
        targets.iter().zip(u.to_i64()?).for_each(|(at, u)| v[*at] = mode.int(v[*at], u));
        return Ok(vec![AnyTensor::from_i64(d.dtype(), shape, v)?]);
    }
    // Wide while updates come together, and rounded once.
    let mut v: Vec<f64> = d.to_f32()?.iter().map(|v| f64::from(*v)).collect();
    targets.iter().zip(u.to_f32()?.iter()).for_each(|(at, u)| v[*at] = mode.float(v[*at], f64::from(*u)));
    floats(d.dtype(), shape, v.into_iter().map(|v| v as f32).collect())
}

#[cfg(test)]
mod tests {
    use crate::{
        cpu::reference::testing::{Test, close, fails, run},
        tensor::AnyTensor,
    };
    use mil_core::{graph::Value, mb, types::DType};

    const X: [f32; 6] = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0];

    fn x(g: &mut Test) -> Value {
        g.f32(&[2, 3], &X)
    }

    #[test]
    fn modes() {
        let updated = |mode: &str| {
            let out = run(|g| {
                let call = mb::scatter(x(g), g.i32(&[3], &[1, 0, 1]), g.f32(&[2, 3], &[2.0, 3.0, 4.0, 5.0, 1.0, 2.0]));
                call.axis(1).mode(mode)
            });
            out[0].to_f32().unwrap().to_vec()
        };
        // Column 1 meets 2 and 4 (in the second row 5 and 2), column 0 meets 3 (1).
        assert_eq!(updated("update"), [3.0, 4.0, 3.0, 1.0, 2.0, 6.0]);
        assert_eq!(updated("add"), [4.0, 8.0, 3.0, 5.0, 12.0, 6.0]);
        assert_eq!(updated("sub"), [-2.0, -4.0, 3.0, 3.0, -2.0, 6.0]);
        assert_eq!(updated("mul"), [3.0, 16.0, 3.0, 4.0, 50.0, 6.0]);
        assert_eq!(updated("div"), [1.0 / 3.0, 0.25, 3.0, 4.0, 0.5, 6.0]);
        assert_eq!(updated("max"), [3.0, 4.0, 3.0, 4.0, 5.0, 6.0]);
        assert_eq!(updated("min"), [1.0, 2.0, 3.0, 1.0, 2.0, 6.0]);
    }

    #[test]
    fn dtypes() {
        let out =
            run(|g| mb::scatter(g.i32(&[2], &[i32::MAX, 7]), g.i32(&[2], &[0, 1]), g.i32(&[2], &[1, 0])).mode("add"));
        assert_eq!(out[0], AnyTensor::new([2], vec![i32::MIN, 7]).unwrap());
        let out = run(|g| mb::scatter(g.i32(&[2], &[-7, 7]), g.i32(&[2], &[0, 1]), g.i32(&[2], &[2, 0])).mode("div"));
        assert_eq!(out[0], AnyTensor::new([2], vec![-3, 0]).unwrap());
        // 2048 + 1 is 2048 in f16, but both additions are made before the rounding.
        let half = |v: &[f32]| AnyTensor::from_f32(DType::F16, [v.len()], v.to_vec()).unwrap();
        let out = run(|g| mb::scatter(g.input(half(&[2048.0])), g.i32(&[2], &[0, 0]), g.input(half(&[1.0, 1.0]))));
        assert_eq!(out[0], half(&[2050.0]));
    }

    #[test]
    fn along_axis() {
        // np.put_along_axis
        let out = run(|g| {
            let call =
                mb::scatter_along_axis(x(g), g.i32(&[2, 2], &[2, 0, 1, -1]), g.f32(&[2, 2], &[7.0, 8.0, 9.0, 0.0]));
            call.axis(1).mode("update")
        });
        close(&out, &[2, 3], &[8.0, 2.0, 7.0, 4.0, 9.0, 0.0], 0.0);
        let out = run(|g| mb::scatter_along_axis(x(g), g.i32(&[1, 3], &[1, 0, 1]), g.f32(&[1, 3], &[1.0; 3])));
        close(&out, &[2, 3], &[1.0, 3.0, 3.0, 5.0, 5.0, 7.0], 0.0);
    }

    #[test]
    fn nd() {
        let out = run(|g| mb::scatter_nd(x(g), g.i32(&[2, 2], &[1, 0, 0, -1]), g.f32(&[2], &[5.0, 10.0])));
        close(&out, &[2, 3], &[1.0, 2.0, 13.0, 9.0, 5.0, 6.0], 0.0);
        let out = run(|g| mb::scatter_nd(x(g), g.i32(&[1, 1], &[1]), g.f32(&[1, 3], &[0.0; 3])).mode("mul"));
        close(&out, &[2, 3], &[1.0, 2.0, 3.0, 0.0, 0.0, 0.0], 0.0);
        let out = run(|g| mb::scatter_nd(x(g), g.i32(&[0], &[]), g.f32(&[2, 3], &X)));
        close(&out, &[2, 3], &[2.0, 4.0, 6.0, 8.0, 10.0, 12.0], 0.0);
        let out = run(|g| mb::scatter_nd(x(g), g.i32(&[0, 2], &[]), g.f32(&[0], &[])));
        close(&out, &[2, 3], &X, 0.0);
    }

    #[test]
    fn indices_outside() {
        let row = |g: &mut Test, i: i32| mb::scatter(x(g), g.i32(&[1], &[i]), g.f32(&[1, 3], &[0.0; 3]));
        fails(|g| row(g, 2), "index 2 is out of range for dimension 0 of size 2");
        fails(|g| row(g, -1).validate_indices(true), "index -1 is out of range");
        let one = |g: &mut Test, i: &[i32]| mb::scatter_nd(x(g), g.i32(&[1, 2], i), g.f32(&[1], &[0.0]));
        fails(|g| one(g, &[0, 3]), "dimension 1 of size 3");
        fails(|g| one(g, &[0, -1]).validate_indices(true), "index -1 is out of range");
        fails(
            |g| mb::scatter_along_axis(x(g), g.i32(&[1, 3], &[0, 0, -3]), g.f32(&[1, 3], &[0.0; 3])),
            "index -3 is out of range",
        );
    }
}
