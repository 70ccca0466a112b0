//! Activations. What they make of a number is said in `mil_core::ops`.

use mil_core::ops::{activation::*, strided::Groups};

use super::{
    Cx, Kernel, KernelDef,
    elementwise_unary::unary,
    floats,
    shapes::{actual, output_shape},
};
use crate::{error::RunError, tensor::AnyTensor};

/// The kernels of those that work on each number by itself, and the list of all.
macro_rules! kernels {
    ($($op:ident),* ; $($other:ident),*) => {
        pub(super) const KERNELS: &[KernelDef] = &[$(KernelDef::of::<$op>(),)* $(KernelDef::of::<$other>()),*];

        $(impl Kernel for $op {
            fn run(&self, cx: &Cx<'_>) -> Result<Vec<AnyTensor>, RunError> {
                unary(self, &*cx.get(&self.x)?)
            }
        })*
    };
}
kernels!(
    ClampedRelu, Elu, Gelu, LeakyRelu, LinearActivation, Relu, Relu6, ScaledTanh, Sigmoid, SigmoidHard, Silu, Softplus,
    Softsign, ThresholdedRelu;
    Prelu, Softmax, SoftplusParametric
);

impl Kernel for Prelu {
    fn run(&self, cx: &Cx<'_>) -> Result<Vec<AnyTensor>, RunError> {
        let (x, alpha) = (cx.get(&self.x)?, cx.get(&self.alpha)?);
        let op = Prelu { x: actual(&self.x, &x), alpha: actual(&self.alpha, &alpha) };
        let shape = output_shape(&op)?;
        let alpha = alpha.to_f32()?;
        let mut out = x.to_f32()?.into_owned();
        let plane = shape[2..].iter().product::<usize>().max(1);
        for (plane, alpha) in out.chunks_exact_mut(plane).zip(alpha.iter().cycle()) {
            plane.iter_mut().filter(|v| **v < 0.0).for_each(|v| *v *= alpha);
        }
        floats(x.dtype(), shape, out)
    }
}

impl Kernel for SoftplusParametric {
    fn run(&self, cx: &Cx<'_>) -> Result<Vec<AnyTensor>, RunError> {
        let (x, alpha, beta) = (cx.get(&self.x)?, cx.get(&self.alpha)?, cx.get(&self.beta)?);
        let (a, b) = (actual(&self.alpha, &alpha), actual(&self.beta, &beta));
        let shape = output_shape(&SoftplusParametric { x: actual(&self.x, &x), alpha: a, beta: b })?;
        let (alpha, beta) = (alpha.to_f32()?, beta.to_f32()?);
        let mut out = x.to_f32()?.into_owned();
        let plane = shape[2..].iter().product::<usize>().max(1);
        for (plane, (alpha, beta)) in out.chunks_exact_mut(plane).zip(alpha.iter().zip(&*beta).cycle()) {
            let (alpha, beta) = (f64::from(*alpha), f64::from(*beta));
            plane.iter_mut().for_each(|v| *v = SoftplusParametric::float(alpha, beta, f64::from(*v)) as f32);
        }
        floats(x.dtype(), shape, out)
    }
}

impl Kernel for Softmax {
    fn run(&self, cx: &Cx<'_>) -> Result<Vec<AnyTensor>, RunError> {
        let x = cx.get(&self.x)?;
        let shape = output_shape(&Softmax { x: actual(&self.x, &x), ..self.clone() })?;
        let axis = self.axis.rem_euclid(shape.len() as i64) as usize;
        let groups = Groups::new(&shape, &[axis]);
        let mut out = x.to_f32()?.into_owned();
        let mut group = vec![0.0; groups.offsets.len()];
        for start in &groups.starts {
            let each = || groups.offsets.iter().map(|offset| start + offset);
            each().zip(&mut group).for_each(|(at, v)| *v = out[at]);
            softmax(&mut group);
            each().zip(&group).for_each(|(at, v)| out[at] = *v);
        }
        floats(x.dtype(), shape, out)
    }
}

/// The exponentials divided by their sum; of the differences to the greatest, so that none is too large.
pub(super) fn softmax(v: &mut [f32]) {
    let max = v.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    v.iter_mut().for_each(|v| *v = (*v - max).exp());
    let sum: f32 = v.iter().sum();
    v.iter_mut().for_each(|v| *v /= sum);
}

#[cfg(test)]
mod tests {
    use half::f16;
    use mil_core::{
        graph::Value,
        mb,
        op::{Call, Op},
    };

    use crate::{
        cpu::reference::testing::{IntoValues, close, run},
        tensor::AnyTensor,
    };

    const X: [f32; 6] = [-30.0, -2.0, -0.5, 0.0, 1.0, 7.0];

    #[track_caller]
    fn check<O: Op>(call: impl Fn(Value) -> Call<O>, expected: [f32; 6])
    where
        O::Outputs: IntoValues,
    {
        close(&run(|g| call(g.f32(&[6], &X))), &[6], &expected, 0.0);
        // In f16: computed in more, rounded once.
        let half = |v: [f32; 6]| AnyTensor::new([6], v.map(f16::from_f32).to_vec()).unwrap();
        assert_eq!(run(|g| call(g.input(half(X))).name("y"))[0].dtype(), half(X).dtype());
    }

    /// By Python's `math` in double precision, rounded to single.
    #[test]
    fn each_number_by_itself() {
        check(mb::relu, [0.0, 0.0, 0.0, 0.0, 1.0, 7.0]);
        check(mb::relu6, [0.0, 0.0, 0.0, 0.0, 1.0, 6.0]);
        check(|x| mb::leaky_relu(x, 0.25), [-7.5, -0.5, -0.125, 0.0, 1.0, 7.0]);
        check(|x| mb::elu(x, 0.5), [-0.5, -0.43233237, -0.19673467, 0.0, 1.0, 7.0]);
        check(mb::gelu, [-0.0, -0.045500264, -0.15426877, 0.0, 0.8413448, 7.0]);
        check(|x| mb::gelu(x).mode("TANH_APPROXIMATION"), [-0.0, -0.045402307, -0.154286, 0.0, 0.841192, 7.0]);
        check(
            |x| mb::gelu(x).mode("SIGMOID_APPROXIMATION"),
            [-2.0046797e-21, -0.064341374, -0.14961156, 0.0, 0.84579575, 6.9999533],
        );
        check(mb::silu, [-2.807287e-12, -0.23840584, -0.18877034, 0.0, 0.7310586, 6.993623]);
        check(mb::sigmoid, [9.357623e-14, 0.11920292, 0.37754068, 0.5, 0.7310586, 0.99908894]);
        check(|x| mb::sigmoid_hard(x, 0.25, 0.5), [0.0, 0.0, 0.375, 0.5, 0.75, 1.0]);
        check(mb::softplus, [9.357623e-14, 0.12692802, 0.474077, std::f32::consts::LN_2, 1.3132616, 7.000911]);
        check(|x| mb::clamped_relu(x, 0.5, 6.0), [-15.0, -1.0, -0.25, 0.0, 1.0, 6.0]);
        check(|x| mb::clamped_relu(x, 0.5, -0.5), [-15.0, -1.0, -0.5, -0.5, -0.5, -0.5]);
        check(|x| mb::linear_activation(x, 0.5, -1.0), [-16.0, -2.0, -1.25, -1.0, -0.5, 2.5]);
        check(|x| mb::scaled_tanh(x, 2.0, 0.5), [-2.0, -1.5231884, -0.48983732, 0.0, 0.92423433, 1.9963558]);
        check(mb::softsign, [-0.9677419, -0.6666667, -0.33333334, 0.0, 0.5, 0.875]);
        check(|x| mb::thresholded_relu(x, 1.0), [0.0, 0.0, 0.0, 0.0, 1.0, 7.0]);
        check(|x| mb::thresholded_relu(x, -0.5), [0.0, 0.0, -0.5, 0.0, 1.0, 7.0]);
    }

    #[test]
    fn softplus_parametric_has_numbers_per_channel() {
        let x = [-1.0, 0.0, 1.0, 1000.0, -1000.0, 2.0];
        let out = run(|g| mb::softplus_parametric(g.f32(&[1, 2, 3], &x), [2.0, -1.0], [1.0, 0.5]));
        let expected = [0.6265234, 1.3862944, 2.6265233, -500.0, 0.0, -1.3132616];
        close(&out, &[1, 2, 3], &expected, 0.0);
    }

    #[test]
    fn halves_round_once() {
        // The sigmoid of 1 is 0.7310586; the f16 next to it is 0.73095703.
        let out = run(|g| mb::sigmoid(g.input(AnyTensor::new([1], vec![f16::ONE]).unwrap())));
        assert_eq!(out[0].as_slice::<f16>(), Some(&[f16::from_f32(0.73095703)][..]));
    }

    #[test]
    fn prelu_has_a_slope_per_channel() {
        let out = run(|g| mb::prelu(g.f32(&[2, 2, 1, 2], &[-1.0, 2.0, -3.0, 4.0, -5.0, -6.0, 0.0, -8.0]), [0.5, 2.0]));
        close(&out, &[2, 2, 1, 2], &[-0.5, 2.0, -6.0, 4.0, -2.5, -3.0, 0.0, -16.0], 0.0);
    }

    #[test]
    fn softmax_along_an_axis() {
        let e = |v: f32| v.exp();
        let out = run(|g| mb::softmax(g.f32(&[2, 2], &[0.0, 1.0, 0.0, 3.0])).axis(0));
        close(&out, &[2, 2], &[0.5, 1.0 / (1.0 + e(2.0)), 0.5, 1.0 / (1.0 + e(-2.0))], 1e-7);
        let out = run(|g| mb::softmax(g.f32(&[1, 3], &[1000.0, 1000.0, f32::NEG_INFINITY])));
        close(&out, &[1, 3], &[0.5, 0.5, 0.0], 0.0);
    }
}
