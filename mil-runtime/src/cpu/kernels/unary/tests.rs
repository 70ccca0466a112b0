//! Every op against what `mil_core::ops` says of it.

use mil_core::{
    op::Arg,
    ops::{activation::*, elementwise_unary::*, scalar},
};
use proptest::prelude::*;

use super::*;
use crate::cpu::kernels::{
    math::tests::ulp,
    scaled::{scaled, testing::cases},
    simd::Isa,
};

fn arg() -> Arg {
    Arg { id: None, ty: "Tensor<f32>".parse().unwrap(), known: None, is_const: false }
}

/// Every op, and its meaning.
fn all(alpha: f32, beta: f32, epsilon: f32) -> Vec<(Unary, Box<dyn scalar::Unary>)> {
    let x = arg;
    let gelu = |mode| Gelu { x: arg(), mode };
    use GeluMode::*;
    vec![
        (Unary::Abs, Box::new(Abs { x: x() })),
        (Unary::Acos, Box::new(Acos { x: x() })),
        (Unary::Asin, Box::new(Asin { x: x() })),
        (Unary::Atan, Box::new(Atan { x: x() })),
        (Unary::Atanh, Box::new(Atanh { x: x() })),
        (Unary::Ceil, Box::new(Ceil { x: x() })),
        (Unary::ClampedRelu { alpha, beta }, Box::new(ClampedRelu { x: x(), alpha, beta })),
        (Unary::Clip { alpha, beta: alpha + 1.0 }, Box::new(Clip { x: x(), alpha, beta: alpha + 1.0 })),
        (Unary::Cos, Box::new(Cos { x: x() })),
        (Unary::Cosh, Box::new(Cosh { x: x() })),
        (Unary::Elu { alpha }, Box::new(Elu { x: x(), alpha })),
        (Unary::Erf, Box::new(Erf { x: x() })),
        (Unary::Exp, Box::new(Exp { x: x() })),
        (Unary::Exp2, Box::new(Exp2 { x: x() })),
        (Unary::Floor, Box::new(Floor { x: x() })),
        (Unary::Gelu(Exact), Box::new(gelu(Exact))),
        (Unary::Gelu(TanhApproximation), Box::new(gelu(TanhApproximation))),
        (Unary::Gelu(SigmoidApproximation), Box::new(gelu(SigmoidApproximation))),
        (Unary::Inverse { epsilon }, Box::new(Inverse { x: x(), epsilon })),
        (Unary::LeakyRelu { alpha }, Box::new(LeakyRelu { x: x(), alpha })),
        (Unary::LinearActivation { alpha, beta }, Box::new(LinearActivation { x: x(), alpha, beta })),
        (Unary::Log { epsilon }, Box::new(Log { x: x(), epsilon })),
        (Unary::Relu, Box::new(Relu { x: x() })),
        (Unary::Relu6, Box::new(Relu6 { x: x() })),
        (Unary::Round, Box::new(Round { x: x() })),
        (Unary::Rsqrt { epsilon }, Box::new(Rsqrt { x: x(), epsilon })),
        (Unary::ScaledTanh { alpha, beta }, Box::new(ScaledTanh { x: x(), alpha, beta })),
        (Unary::Sigmoid, Box::new(Sigmoid { x: x() })),
        (Unary::SigmoidHard { alpha, beta }, Box::new(SigmoidHard { x: x(), alpha, beta })),
        (Unary::Sign, Box::new(Sign { x: x() })),
        (Unary::Silu, Box::new(Silu { x: x() })),
        (Unary::Sin, Box::new(Sin { x: x() })),
        (Unary::Sinh, Box::new(Sinh { x: x() })),
        (Unary::Softplus, Box::new(Softplus { x: x() })),
        (Unary::Softsign, Box::new(Softsign { x: x() })),
        (Unary::Sqrt, Box::new(Sqrt { x: x() })),
        (Unary::Square, Box::new(Square { x: x() })),
        (Unary::Tan, Box::new(Tan { x: x() })),
        (Unary::Tanh, Box::new(Tanh { x: x() })),
        (Unary::Threshold { alpha }, Box::new(Threshold { x: x(), alpha: alpha.into() })),
        (Unary::ThresholdedRelu { alpha }, Box::new(ThresholdedRelu { x: x(), alpha })),
    ]
}

/// What makes a result wrong, if it is.
fn wrong(op: &Unary, meaning: &dyn scalar::Unary, x: f32, got: f32) -> Option<String> {
    let truth = meaning.float(x.into());
    let bound = match op {
        Unary::Gelu(_) | Unary::Silu => 3.1,
        Unary::ScaledTanh { .. } | Unary::Elu { .. } => 3.0,
        _ => 2.0,
    };
    // What the truth of f64 lacks where it is a difference, and what the product lacks where it is not fused.
    let slack = match *op {
        Unary::Gelu(_) | Unary::Log { .. } => 1e-15,
        Unary::LinearActivation { alpha, .. } | Unary::SigmoidHard { alpha, .. } => f64::from(alpha * x).abs() * 6e-8,
        _ => 0.0,
    };
    let good = ulp(got, truth) <= bound || (f64::from(got) - truth).abs() <= slack;
    (!good).then(|| format!("{op:?} of {x:e}: {got:e} for {truth:e}, {} ulp", ulp(got, truth)))
}

const ODD: [f32; 14] = [
    f32::NAN,
    f32::INFINITY,
    f32::NEG_INFINITY,
    0.0,
    -0.0,
    1.0,
    -1.0,
    0.5,
    -2.5,
    f32::MAX,
    f32::MIN,
    f32::MIN_POSITIVE,
    1e-45,
    -1e-42,
];

proptest! {
    #![proptest_config(cases(48, 1))]

    #[test]
    fn each_op_is_what_it_means(
        x in prop::collection::vec(prop_oneof![-10f32..10.0, any::<u32>().prop_map(f32::from_bits), prop::sample::select(&ODD[..])], 0..scaled(70, 20)),
        alpha in -2f32..2.0,
        beta in -2f32..2.0,
        epsilon in prop::sample::select(&[0.0f32, 1e-45, 1e-12, 1e-4, 0.3][..]),
    ) {
        for (op, meaning) in all(alpha, beta, epsilon) {
            for isa in Isa::available() {
                let mut got = x.clone();
                got.extend([7.0; 20]);
                apply(isa, &op, &mut got[..x.len()]);
                prop_assert!(got[x.len()..].iter().all(|v| *v == 7.0), "{op:?} writes behind");
                for (x, got) in x.iter().zip(&got) {
                    let wrong = wrong(&op, &*meaning, *x, *got);
                    prop_assert!(wrong.is_none(), "{isa:?}: {}", wrong.unwrap());
                }
            }
        }
    }
}

/// The sign of a zero is the reference's.
#[test]
fn zeros_keep_their_signs() {
    for (op, meaning) in all(0.5, 1.0, 0.0) {
        for isa in Isa::available() {
            for zero in [0.0f32, -0.0] {
                let mut got = [zero];
                apply(isa, &op, &mut got);
                let truth = meaning.float(zero.into()) as f32;
                let clips = matches!(op, Unary::SigmoidHard { .. } | Unary::Clip { .. } | Unary::Threshold { .. });
                assert!(clips || got[0].to_bits() == truth.to_bits() || truth.is_nan(), "{op:?} of {zero}: {}", got[0]);
            }
        }
    }
}

#[test]
fn a_gelu_that_is_near() {
    let exact = Gelu { x: arg(), mode: GeluMode::Exact };
    let all = -120_000..120_000;
    let x: Vec<f32> =
        all.step_by(scaled(1, 1999)).map(|i| i as f32 * 1e-4).chain([1e-30, -1e-30, 1e4, -1e4, 3e38]).collect();
    for isa in Isa::available() {
        let mut y = x.clone();
        apply(isa, &Unary::GeluNear, &mut y);
        for (x, y) in x.iter().zip(y) {
            let truth = scalar::Unary::float(&exact, f64::from(*x));
            assert!((f64::from(y) - truth).abs() <= 2.5e-7 * f64::from(x.abs()), "{isa:?}: {y} for {truth} at {x}");
        }
        let mut odd = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 0.0];
        apply(isa, &Unary::GeluNear, &mut odd);
        assert!(odd[0].is_nan() && odd[1] == f32::INFINITY && odd[2].is_nan() && odd[3] == 0.0, "{isa:?}: {odd:?}");
    }
}
