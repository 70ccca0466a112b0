//! Elementwise ops of one operand, in place. What they make of a number is said in `mil_core::ops`; here it is computed in f32, as exact as
//! [`math`] is; what is scaled before or after a function, half an ulp less.

use mil_core::ops::activation::GeluMode;

use super::{
    math,
    simd::{Simd, dispatch},
};

#[cfg(test)]
mod tests;

/// An elementwise op and its parameters, by their names in MIL.
#[derive(Clone, Copy, PartialEq, Debug)]
#[allow(missing_docs)]
pub(crate) enum Unary {
    Abs,
    Acos,
    Asin,
    Atan,
    Atanh,
    Ceil,
    ClampedRelu {
        alpha: f32,
        beta: f32,
    },
    Clip {
        alpha: f32,
        beta: f32,
    },
    Cos,
    Cosh,
    Elu {
        alpha: f32,
    },
    Erf,
    Exp,
    Exp2,
    Floor,
    Gelu(GeluMode),
    /// The exact gelu within `2.5e-7 * |x|`: [`math::gelu_near`].
    GeluNear,
    Inverse {
        epsilon: f32,
    },
    LeakyRelu {
        alpha: f32,
    },
    LinearActivation {
        alpha: f32,
        beta: f32,
    },
    Log {
        epsilon: f32,
    },
    Relu,
    Relu6,
    Round,
    Rsqrt {
        epsilon: f32,
    },
    ScaledTanh {
        alpha: f32,
        beta: f32,
    },
    Sigmoid,
    SigmoidHard {
        alpha: f32,
        beta: f32,
    },
    Sign,
    Silu,
    Sin,
    Sinh,
    Softplus,
    Softsign,
    Sqrt,
    Square,
    Tan,
    Tanh,
    Threshold {
        alpha: f32,
    },
    ThresholdedRelu {
        alpha: f32,
    },
}

/// Each of `n` elements in place: short code for whole vectors, and once more for the rest.
macro_rules! light {
    ($S:ident, $p:ident, $n:ident, $x:ident => $y:expr) => {{
        let mut at = 0;
        while at + $S::LANES <= $n {
            let $x = $S::load($p.add(at));
            $S::store($p.add(at), $y);
            at += $S::LANES;
        }
        if at < $n {
            let $x = $S::load_first($p.add(at), $n - at);
            $S::store_first($p.add(at), $y, $n - at);
        }
    }};
}

/// The same for long code, which is there once.
macro_rules! heavy {
    ($S:ident, $p:ident, $n:ident, $x:ident => $y:expr) => {{
        let mut at = 0;
        while at < $n {
            let count = if $n - at < $S::LANES { $n - at } else { $S::LANES };
            let $x = $S::load_first($p.add(at), count);
            $S::store_first($p.add(at), $y, count);
            at += $S::LANES;
        }
    }};
}

/// Applies an op to `n` elements at `p`. This is much code: kernels that are there in many variants call [`apply_at`].
///
/// # Safety
/// `n` elements can be read and written at `p`, and `S` is of this machine.
#[inline(always)]
pub(crate) unsafe fn apply_in<S: Simd>(op: &Unary, p: *mut f32, n: usize) {
    // SAFETY: the caller's; no more than `n` elements are touched.
    unsafe {
        let (zero, one) = (S::splat(0.0), S::splat(1.0));
        match *op {
            Unary::Abs => light!(S, p, n, x => S::abs(x)),
            Unary::Acos => heavy!(S, p, n, x => math::lanes::<S>(x, f64::acos)),
            Unary::Asin => heavy!(S, p, n, x => math::lanes::<S>(x, f64::asin)),
            Unary::Atan => heavy!(S, p, n, x => math::lanes::<S>(x, f64::atan)),
            Unary::Atanh => heavy!(S, p, n, x => math::lanes::<S>(x, f64::atanh)),
            Unary::Ceil => {
                let minus = S::splat(-0.0);
                light!(S, p, n, x => S::sub(minus, S::floor(S::sub(minus, x))))
            }
            Unary::ClampedRelu { alpha, beta } => {
                let (alpha, beta) = (S::splat(alpha), S::splat(beta));
                light!(S, p, n, x => S::min(beta, S::select(S::lt(x, zero), S::mul(alpha, x), x)))
            }
            Unary::Clip { alpha, beta } => {
                let (alpha, beta) = (S::splat(alpha), S::splat(beta));
                light!(S, p, n, x => S::min(beta, S::max(alpha, x)))
            }
            Unary::Cos => heavy!(S, p, n, x => math::cos::<S>(x)),
            Unary::Cosh => heavy!(S, p, n, x => math::lanes::<S>(x, f64::cosh)),
            Unary::Elu { alpha } => {
                let alpha = S::splat(alpha);
                heavy!(S, p, n, x => S::select(S::lt(zero, x), x, S::mul(alpha, math::exp_m1::<S>(x))))
            }
            Unary::Erf => heavy!(S, p, n, x => math::erf::<S>(x)),
            Unary::Exp => heavy!(S, p, n, x => math::exp::<S>(x)),
            Unary::Exp2 => heavy!(S, p, n, x => math::exp2::<S>(x)),
            Unary::Floor => light!(S, p, n, x => S::floor(x)),
            Unary::Gelu(GeluMode::Exact) => heavy!(S, p, n, x => math::gelu::<S>(x)),
            Unary::GeluNear => heavy!(S, p, n, x => math::gelu_near::<S>(x)),
            Unary::Gelu(GeluMode::TanhApproximation) => heavy!(S, p, n, x => math::gelu_tanh::<S>(x)),
            Unary::Gelu(GeluMode::SigmoidApproximation) => heavy!(S, p, n, x => math::gelu_sigmoid::<S>(x)),
            Unary::Inverse { epsilon } => {
                let epsilon = S::splat(epsilon);
                light!(S, p, n, x => S::div(one, S::add(x, epsilon)))
            }
            Unary::LeakyRelu { alpha } => {
                let alpha = S::splat(alpha);
                light!(S, p, n, x => S::select(S::lt(x, zero), S::mul(alpha, x), x))
            }
            Unary::LinearActivation { alpha, beta } => {
                let (alpha, beta) = (S::splat(alpha), S::splat(beta));
                light!(S, p, n, x => S::mul_add(alpha, x, beta))
            }
            Unary::Log { epsilon } => heavy!(S, p, n, x => math::log_plus::<S>(x, epsilon)),
            // 0 is added for -0.
            Unary::Relu => light!(S, p, n, x => S::add(S::max(zero, x), zero)),
            Unary::Relu6 => {
                let six = S::splat(6.0);
                light!(S, p, n, x => S::add(S::min(six, S::max(zero, x)), zero))
            }
            Unary::Round => light!(S, p, n, x => S::round(x)),
            Unary::Rsqrt { epsilon } => {
                let epsilon = S::splat(epsilon);
                light!(S, p, n, x => S::div(one, S::sqrt(S::add(x, epsilon))))
            }
            Unary::ScaledTanh { alpha, beta } => {
                let (alpha, beta) = (S::splat(alpha), S::splat(beta));
                heavy!(S, p, n, x => S::mul(alpha, math::tanh::<S>(S::mul(beta, x))))
            }
            Unary::Sigmoid => heavy!(S, p, n, x => math::sigmoid::<S>(x)),
            Unary::SigmoidHard { alpha, beta } => {
                let (alpha, beta) = (S::splat(alpha), S::splat(beta));
                light!(S, p, n, x => S::min(one, S::max(zero, S::mul_add(alpha, x, beta))))
            }
            Unary::Sign => {
                let minus = S::splat(-1.0);
                // What is neither greater nor less is 0, of which 0 is taken for -0, or NaN.
                light!(S, p, n, x => S::select(S::lt(x, zero), minus, S::select(S::lt(zero, x), one, S::add(x, zero))))
            }
            Unary::Silu => heavy!(S, p, n, x => math::silu::<S>(x)),
            Unary::Sin => heavy!(S, p, n, x => math::sin::<S>(x)),
            Unary::Sinh => heavy!(S, p, n, x => math::lanes::<S>(x, f64::sinh)),
            Unary::Softplus => heavy!(S, p, n, x => math::softplus::<S>(x)),
            Unary::Softsign => light!(S, p, n, x => S::div(x, S::add(one, S::abs(x)))),
            Unary::Sqrt => light!(S, p, n, x => S::sqrt(x)),
            Unary::Square => light!(S, p, n, x => S::mul(x, x)),
            Unary::Tan => heavy!(S, p, n, x => math::lanes::<S>(x, f64::tan)),
            Unary::Tanh => heavy!(S, p, n, x => math::tanh::<S>(x)),
            Unary::Threshold { alpha } => {
                let alpha = S::splat(alpha);
                light!(S, p, n, x => S::max(alpha, x))
            }
            Unary::ThresholdedRelu { alpha } => {
                let alpha = S::splat(alpha);
                light!(S, p, n, x => S::select(S::lt(x, alpha), zero, x))
            }
        }
    }
}

dispatch! {
    /// [`apply_in`] with the instructions of a set.
    ///
    /// # Safety
    /// `n` elements can be read and written at `p`.
    pub(crate) unsafe fn apply_at(op: &Unary, p: *mut f32, n: usize) = super::unary::apply_in
}

/// Applies an op to each element.
#[cfg(test)]
pub(crate) fn apply(isa: super::simd::Isa, op: &Unary, x: &mut [f32]) {
    // SAFETY: the elements are the slice's.
    unsafe { apply_at(isa, op, x.as_mut_ptr(), x.len()) }
}
