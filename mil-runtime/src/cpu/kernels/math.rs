//! Functions of vectors, within 2 ulp of the true results over all of f32: infinities, NaN, overflow and subnormal results included. The
//! three `gelu` are within 2.5 ulp, and these and `silu` within 3.1 where multiply-adds are not fused.
//!
//! The coefficients are minimax fits of relative error, made for these intervals. Constants that are multiplied by an integer `n` and subtracted
//! have so few bits that the product is exact, so that sets without a fused multiply-add lose nothing.
#![allow(clippy::excessive_precision, clippy::approx_constant)] // coefficients, as they were fitted

use super::simd::Simd;

#[cfg(test)]
pub(crate) mod tests;

/// `ln(2)`, its first 10 bits and the rest.
const LN_2: [f32; 2] = [0.693_359_4, -2.121_944_4e-4];
/// `pi / 2`, in three parts of 11 bits and the rest.
const FRAC_PI_2: [f32; 4] = [1.570_312_5, 4.837_513e-4, 7.549_533_6e-8, 2.563_344_2e-12];
/// Beyond, sine and cosine are computed lane by lane: `n` times a part of `pi / 2` is exact only for `n` of 13 bits.
const MOST_TRIG: f32 = 8192.0;

/// `c[0] + c[1] * x + c[2] * x^2 + ...`
#[inline(always)]
unsafe fn poly<S: Simd, const N: usize>(x: S::V, c: [f32; N]) -> S::V {
    // SAFETY: as for the caller; so in every block of this file.
    unsafe {
        let mut y = S::splat(c[N - 1]);
        let mut i = N - 1;
        while i > 0 {
            i -= 1;
            y = S::mul_add(y, x, S::splat(c[i]));
        }
        y
    }
}

/// `low <= x <= high`, or NaN.
#[inline(always)]
unsafe fn clamp<S: Simd>(x: S::V, low: f32, high: f32) -> S::V {
    // SAFETY: above.
    unsafe { S::max(S::splat(low), S::min(S::splat(high), x)) }
}

/// `x = n * ln(2) + r`, with the least `r`; for `|n|` of at most 14 bits.
#[inline(always)]
unsafe fn reduce<S: Simd>(x: S::V) -> (S::V, S::V) {
    // SAFETY: above.
    unsafe {
        let n = S::round(S::mul(x, S::splat(std::f32::consts::LOG2_E)));
        let r = S::neg_mul_add(n, S::splat(LN_2[0]), x);
        (n, S::neg_mul_add(n, S::splat(LN_2[1]), r))
    }
}

/// `exp(r) - 1` for `r` of [`reduce`].
#[inline(always)]
unsafe fn reduced_exp_m1<S: Simd>(r: S::V) -> S::V {
    // SAFETY: above.
    unsafe {
        let p = poly::<S, 5>(r, [0.499_999_94, 0.166_665_21, 0.041_668_29, 0.008_368_716, 0.001_381_903_3]);
        S::mul_add(S::mul(r, r), p, r)
    }
}

/// `exp(x)`
#[inline(always)]
pub(crate) unsafe fn exp<S: Simd>(x: S::V) -> S::V {
    // SAFETY: above.
    unsafe {
        let (n, r) = reduce::<S>(clamp::<S>(x, -104.0, 89.0));
        S::scale(S::add(S::splat(1.0), reduced_exp_m1::<S>(r)), n)
    }
}

/// `exp(x) - 1` for `x <= 0`; finite, but less exact, also for `x` below 88.
#[inline(always)]
pub(crate) unsafe fn exp_m1<S: Simd>(x: S::V) -> S::V {
    // SAFETY: above.
    unsafe {
        let (n, r) = reduce::<S>(clamp::<S>(x, -104.0, 88.0));
        let power = S::scale(S::splat(1.0), n);
        let y = S::mul_add(reduced_exp_m1::<S>(r), power, S::sub(power, S::splat(1.0)));
        S::copysign(y, x)
    }
}

/// `2^x`
#[inline(always)]
pub(crate) unsafe fn exp2<S: Simd>(x: S::V) -> S::V {
    // SAFETY: above.
    unsafe {
        let x = clamp::<S>(x, -151.0, 129.0);
        let n = S::round(x);
        let r = S::sub(x, n);
        let c = [0.693_147_2, 0.240_226_48, 0.055_503_596, 0.009_618_499, 0.001_339_096_9, 0.000_153_292_64];
        S::scale(S::mul_add(r, poly::<S, 6>(r, c), S::splat(1.0)), n)
    }
}

/// `log(1 + f) + e * ln(2)` for `1 + f` from `sqrt(1/2)` to `sqrt(2)`.
#[inline(always)]
unsafe fn reduced_log<S: Simd>(f: S::V, e: S::V) -> S::V {
    // SAFETY: above.
    unsafe {
        let c = [
            0.333_333_13,
            -0.250_000_1,
            0.200_020_73,
            -0.166_679_93,
            0.142_203_15,
            -0.124_060_884,
            0.118_837_95,
            -0.116_712_69,
            0.067_501_42,
        ];
        let square = S::mul(f, f);
        let y = S::mul_add(S::mul(f, square), poly::<S, 9>(f, c), S::mul(e, S::splat(LN_2[1])));
        let y = S::add(f, S::neg_mul_add(S::splat(0.5), square, y));
        S::mul_add(e, S::splat(LN_2[0]), y)
    }
}

/// `log(x)`
#[inline(always)]
pub(crate) unsafe fn log<S: Simd>(x: S::V) -> S::V {
    // SAFETY: above.
    unsafe {
        let (zero, one) = (S::splat(0.0), S::splat(1.0));
        let subnormal = S::lt(x, S::splat(f32::MIN_POSITIVE));
        let scaled = S::select(subnormal, S::mul(x, S::splat(16_777_216.0)), x);
        let (m, e) = S::split(scaled);
        let e = S::add(e, S::select(subnormal, S::splat(-24.0), zero));
        let large = S::lt(S::splat(std::f32::consts::SQRT_2), m);
        let m = S::select(large, S::mul(m, S::splat(0.5)), m);
        let e = S::add(e, S::select(large, one, zero));
        let y = reduced_log::<S>(S::sub(m, one), e);
        let y = S::select(S::lt(x, S::splat(f32::INFINITY)), y, x); // else infinite or NaN
        let y = S::select(S::eq(x, zero), S::splat(f32::NEG_INFINITY), y);
        S::select(S::lt(x, zero), S::splat(f32::NAN), y)
    }
}

/// `log(x + epsilon)`
#[inline(always)]
pub(crate) unsafe fn log_plus<S: Simd>(x: S::V, epsilon: f32) -> S::V {
    // SAFETY: above.
    unsafe {
        let e = S::splat(epsilon);
        let sum = S::add(x, e);
        let y = log::<S>(sum);
        if epsilon.abs() < 1e-30 {
            return y; // what the sum lacks is nothing to a logarithm
        }
        // Near 1 the logarithm is as small as the rounding of the sum.
        let back = S::sub(sum, x);
        let rest = S::add(S::sub(x, S::sub(sum, back)), S::sub(e, back));
        let part = S::div(rest, sum);
        S::add(y, S::select(S::lt(S::abs(part), S::splat(1.0)), part, S::splat(0.0)))
    }
}

/// `log(1 + exp(x))`
#[inline(always)]
pub(crate) unsafe fn softplus<S: Simd>(x: S::V) -> S::V {
    // SAFETY: above.
    unsafe {
        let (zero, half) = (S::splat(0.0), S::splat(0.5));
        let e = exp::<S>(S::sub(zero, S::abs(x)));
        // Exact in both cases.
        let large = S::lt(S::splat(0.4142), e);
        let f = S::select(large, S::sub(S::mul(half, e), half), e);
        let y = reduced_log::<S>(f, S::select(large, S::splat(1.0), zero));
        S::add(S::max(zero, x), y)
    }
}

/// `tanh(x)`
#[inline(always)]
pub(crate) unsafe fn tanh<S: Simd>(x: S::V) -> S::V {
    // SAFETY: above.
    unsafe {
        let one = S::splat(1.0);
        let t = S::min(S::splat(10.0), S::abs(x));
        let square = S::mul(t, t);
        let p = poly::<S, 5>(square, [-0.333_332_8, 0.133_314_1, -0.053_737_268, 0.020_631_723, -0.005_697_345_8]);
        let small = S::mul_add(S::mul(t, square), p, t);
        let (n, r) = reduce::<S>(S::add(t, t));
        let e = S::scale(S::add(one, reduced_exp_m1::<S>(r)), n);
        let large = S::sub(one, S::div(S::splat(2.0), S::add(e, one)));
        S::copysign(S::select(S::lt(t, S::splat(0.625)), small, large), x)
    }
}

/// The error function.
#[inline(always)]
pub(crate) unsafe fn erf<S: Simd>(x: S::V) -> S::V {
    // SAFETY: above.
    unsafe {
        let one = S::splat(1.0);
        let t = S::min(S::splat(4.0), S::abs(x));
        let c = [0.128_379_17, -0.376_126_3, 0.112_836_26, -0.026_855_731, 0.005_192_405, -0.000_804_977, 7.996_65e-5];
        let small = S::mul_add(t, poly::<S, 7>(S::mul(t, t), c), t);
        // The logarithm of `1 - erf(t)`.
        let c = [
            1.732_412_1e-4,
            -1.129_508_1,
            -0.633_360_3,
            -0.108_265_676,
            0.025_110_345,
            -0.004_167_708_6,
            4.337_905_6e-4,
            -2.103_872e-5,
        ];
        let (n, r) = reduce::<S>(poly::<S, 8>(t, c));
        let large = S::sub(one, S::scale(S::add(one, reduced_exp_m1::<S>(r)), n));
        S::copysign(S::select(S::lt(t, S::splat(0.92)), small, large), x)
    }
}

/// `1 / (1 + exp(-x))`
#[inline(always)]
pub(crate) unsafe fn sigmoid<S: Simd>(x: S::V) -> S::V {
    // SAFETY: above.
    unsafe {
        let (zero, one) = (S::splat(0.0), S::splat(1.0));
        let (n, r) = reduce::<S>(S::max(S::splat(-104.0), S::sub(zero, S::abs(x))));
        let p = reduced_exp_m1::<S>(r);
        let e = S::scale(S::add(one, p), n);
        let sum = S::add(one, e);
        let lost = S::sub(e, S::sub(sum, one));
        let negative = S::lt(x, zero);
        let top = S::select(negative, S::add(one, S::sub(p, lost)), one);
        S::scale(S::div(top, sum), S::select(negative, n, zero))
    }
}

/// `x` times the sigmoid of `w + rest`, which has the sign of `x` and is `x` times something of at least 1; `limit` bounds what `w` was computed
/// of, and is so large that the result is 0 beyond it for negative `x`.
#[inline(always)]
unsafe fn times_sigmoid<S: Simd>(x: S::V, limit: f32, w: S::V, rest: S::V) -> S::V {
    // SAFETY: above.
    unsafe {
        let (zero, one) = (S::splat(0.0), S::splat(1.0));
        let negative = S::lt(x, zero);
        let (n, r) = reduce::<S>(S::sub(zero, S::abs(w)));
        let p = reduced_exp_m1::<S>(S::add(r, S::select(negative, rest, S::sub(zero, rest))));
        let e = S::scale(S::add(one, p), n);
        let sum = S::add(one, e);
        let lost = S::sub(e, S::sub(sum, one));
        // The exponential of a negative `x` may be subnormal where `x` times it is not: scaled last.
        let bounded = S::max(S::splat(-limit), x);
        let y = S::div(S::select(negative, S::mul_add(bounded, S::sub(p, lost), bounded), x), sum);
        let y = S::scale(y, S::select(negative, n, zero));
        S::select(negative, S::mul_add(x, zero, y), y) // NaN for the infinite
    }
}

/// `x * sigmoid(x)`
#[inline(always)]
pub(crate) unsafe fn silu<S: Simd>(x: S::V) -> S::V {
    // SAFETY: above.
    unsafe { times_sigmoid::<S>(x, 110.0, clamp::<S>(x, -110.0, 110.0), S::splat(0.0)) }
}

/// The first 12 bits, and the rest.
#[inline(always)]
unsafe fn halves<S: Simd>(x: S::V) -> (S::V, S::V) {
    // SAFETY: above.
    unsafe {
        let c = S::mul(x, S::splat(4097.0));
        let high = S::sub(c, S::sub(c, x));
        (high, S::sub(x, high))
    }
}

/// `x * sigmoid(1.702 * x)`
#[inline(always)]
pub(crate) unsafe fn gelu_sigmoid<S: Simd>(x: S::V) -> S::V {
    const SLOPE: [f32; 2] = [1.702_148_4, -1.484_375e-4];
    // SAFETY: above.
    unsafe {
        let c = clamp::<S>(x, -66.0, 66.0);
        let (high, low) = halves::<S>(c);
        let w = S::mul(high, S::splat(SLOPE[0])); // exact
        let rest = S::mul_add(low, S::splat(SLOPE[0]), S::mul(c, S::splat(SLOPE[1])));
        times_sigmoid::<S>(x, 66.0, w, rest)
    }
}

/// `x / 2 * (1 + tanh(sqrt(2 / pi) * (x + 0.044715 * x^3)))`
#[inline(always)]
pub(crate) unsafe fn gelu_tanh<S: Simd>(x: S::V) -> S::V {
    // That is `x * sigmoid(x * (a + b * x^2))`, whose exponent must be known to more digits than f32 has.
    const A: [f32; 2] = [1.595_769_2, -4.534_068e-8];
    const B: [f32; 2] = [0.071_350_1, 4.718_616_5e-6];
    // SAFETY: above.
    unsafe {
        let c = clamp::<S>(x, -11.0, 11.0);
        let (high, low) = halves::<S>(c);
        let square = S::mul(high, high); // exact
        let (square_high, square_low) = halves::<S>(square);
        let (a, product) = (S::splat(A[0]), S::mul(square_high, S::splat(B[0]))); // exact
        let product_rest = S::mul_add(square_low, S::splat(B[0]), S::mul(square, S::splat(B[1])));
        let sum = S::add(a, product);
        let back = S::sub(sum, a);
        let sum_rest = S::add(S::sub(a, S::sub(sum, back)), S::sub(product, back));
        let sum_rest = S::add(sum_rest, S::add(product_rest, S::splat(A[1])));
        let (sum_high, sum_low) = halves::<S>(sum);
        let w = S::mul(high, sum_high); // exact
        // What `low` adds: `a + b * (c^2 + c * high + high^2)` times it.
        let squares = S::mul_add(c, S::add(c, high), square);
        let slope = S::mul_add(squares, S::splat(B[0] + B[1]), a);
        let rest = S::mul_add(low, slope, S::mul(high, S::add(sum_low, sum_rest)));
        times_sigmoid::<S>(x, 11.0, w, rest)
    }
}

/// `x / 2 * (1 + erf(x / sqrt(2)))`, exact also where `erf` is all but -1.
#[inline(always)]
pub(crate) unsafe fn gelu<S: Simd>(x: S::V) -> S::V {
    // SAFETY: above.
    unsafe {
        let (zero, half) = (S::splat(0.0), S::splat(0.5));
        // The normal distribution below -t is exp(-t^2 / 2) * Q(t): Q a polynomial for small t, and t * Q(t) one in (t - 4) / (t + 4) for others.
        let t = S::min(S::splat(15.0), S::abs(x));
        let high = S::mul(S::round(S::mul(t, S::splat(128.0))), S::splat(1.0 / 128.0));
        let low = S::sub(t, high);
        let (n, r) = reduce::<S>(S::mul(S::mul(high, S::splat(-0.5)), high)); // exact
        let r = S::neg_mul_add(S::mul(half, low), S::add(t, high), r);
        let p = reduced_exp_m1::<S>(r);
        let c: [[f32; 2]; 11] = [
            [0.261578292, 0.377642572],
            [-0.137364, 0.073694244],
            [0.0621071346, -0.110380411],
            [-0.0250852928, 0.100308374],
            [0.00925552286, -0.0630488545],
            [-0.00316804787, 0.0264055505],
            [0.00101469259, -0.00555608189],
            [-0.000302505126, -0.00076852116],
            [8.8121742e-5, 0.000693746668],
            [-2.91518008e-5, 0.0],
            [7.23539506e-6, 0.0],
        ];
        let near = S::lt(t, S::splat(2.0));
        let four = S::splat(4.0);
        let u = S::select(near, S::sub(t, S::splat(1.0)), S::div(S::sub(t, four), S::add(t, four)));
        let mut q = zero;
        let mut i = c.len();
        while i > 0 {
            i -= 1;
            q = S::mul_add(q, u, S::select(near, S::splat(c[i][0]), S::splat(c[i][1])));
        }
        let factor = S::copysign(S::select(near, t, S::splat(1.0)), x);
        let y = S::mul(factor, S::mul_add(q, p, q));
        let y = S::scale(y, n);
        let y = S::select(S::lt(x, zero), S::mul_add(x, zero, y), S::sub(x, y)); // NaN for negative infinity
        S::copysign(y, x)
    }
}

/// `x / 2 * (1 + erf(x / sqrt(2)))` within `2.5e-7 * |x|`, in less than half the time of [`gelu`]: what is near 0 because `erf` is near -1 has few
/// right digits, as in engines that add 1.
///
/// The normal distribution is `1/2 + x * P(x^2) / Q(x^2)` up to 5.5, and 0 or 1 in f32 beyond. P and Q: least squares with Lawson's weights, of the
/// absolute error; 7e-9 before rounding.
#[inline(always)]
pub(crate) unsafe fn gelu_near<S: Simd>(x: S::V) -> S::V {
    // SAFETY: above.
    unsafe {
        let far = S::splat(5.5);
        let minus = S::splat(-5.5);
        let near = S::min(far, S::max(minus, x));
        let s = S::mul(near, near);
        let mut p = S::splat(2.274935262391864e-08);
        p = S::mul_add(p, s, S::splat(6.352127002173802e-06));
        p = S::mul_add(p, s, S::splat(0.00016882663476280868));
        p = S::mul_add(p, s, S::splat(0.004677266348153353));
        p = S::mul_add(p, s, S::splat(0.03385273739695549));
        p = S::mul_add(p, s, S::splat(0.398942232131958));
        let mut q = S::splat(1.1975042752965237e-06);
        q = S::mul_add(q, s, S::splat(7.364782504737377e-05));
        q = S::mul_add(q, s, S::splat(0.0018844502046704292));
        q = S::mul_add(q, s, S::splat(0.028645925223827362));
        q = S::mul_add(q, s, S::splat(0.25152215361595154));
        q = S::mul_add(q, s, S::splat(1.0));
        let y = S::mul(x, S::mul_add(near, S::div(p, q), S::splat(0.5)));
        // NaN for negative infinity, as of the exact function.
        S::select(S::lt(x, minus), S::mul(x, S::splat(0.0)), y)
    }
}

/// `sin(x)`
#[inline(always)]
pub(crate) unsafe fn sin<S: Simd>(x: S::V) -> S::V {
    // SAFETY: above.
    unsafe {
        if beyond::<S>(x) {
            return lanes::<S>(x, f64::sin);
        }
        S::select(S::eq(x, S::splat(0.0)), x, quarter::<S>(x, 0.0)) // -0 stays
    }
}

/// `cos(x)`
#[inline(always)]
pub(crate) unsafe fn cos<S: Simd>(x: S::V) -> S::V {
    // SAFETY: above.
    unsafe { if beyond::<S>(x) { lanes::<S>(x, f64::cos) } else { quarter::<S>(x, 1.0) } }
}

/// Whether a lane is beyond what [`quarter`] takes.
#[inline(always)]
unsafe fn beyond<S: Simd>(x: S::V) -> bool {
    // SAFETY: above.
    unsafe {
        let is = S::lt(S::splat(MOST_TRIG), S::abs(x));
        S::reduce_max(S::select(is, S::splat(1.0), S::splat(0.0))) > 0.0
    }
}

/// The sine of `x` plus so many quarters of a turn.
#[inline(always)]
unsafe fn quarter<S: Simd>(x: S::V, quarters: f32) -> S::V {
    // SAFETY: above.
    unsafe {
        let (zero, one) = (S::splat(0.0), S::splat(1.0));
        let n = S::round(S::mul(x, S::splat(std::f32::consts::FRAC_2_PI)));
        // Exact, but for the third difference: what it lost goes to `low`.
        let r = S::neg_mul_add(n, S::splat(FRAC_PI_2[0]), x);
        let rest = S::neg_mul_add(n, S::splat(FRAC_PI_2[1]), r);
        let third = S::mul(n, S::splat(FRAC_PI_2[2]));
        let r = S::sub(rest, third);
        let low = S::neg_mul_add(n, S::splat(FRAC_PI_2[3]), S::sub(S::sub(rest, r), third));
        let n = S::add(n, S::splat(quarters));
        let n = S::neg_mul_add(S::splat(4.0), S::floor(S::mul(n, S::splat(0.25))), n); // 0, 1, 2 or 3
        let square = S::mul(r, r);
        let p = poly::<S, 4>(square, [-0.166_666_67, 0.008_333_379, -1.985_306_7e-4, 2.832_593_7e-6]);
        let sine = S::add(r, S::mul_add(S::mul(r, square), p, low));
        let p = poly::<S, 4>(square, [0.041_666_668, -0.001_388_898, 2.482_2e-5, -2.887_743e-7]);
        let fourth = S::neg_mul_add(r, low, S::mul(S::mul(square, square), p));
        let cosine = S::add(S::neg_mul_add(S::splat(0.5), square, one), fourth);
        let odd = S::select(S::eq(n, one), one, S::select(S::eq(n, S::splat(3.0)), one, zero));
        let y = S::select(S::eq(odd, one), cosine, sine);
        S::select(S::lt(one, n), S::sub(zero, y), y)
    }
}

/// A function lane by lane, in f64 and rounded once, as the reference executor does it.
#[inline(always)]
pub(crate) unsafe fn lanes<S: Simd>(x: S::V, f: fn(f64) -> f64) -> S::V {
    const { assert!(S::LANES <= 16) }
    let mut all = [0f32; 16];
    // SAFETY: above; the array has as many elements as any vector.
    unsafe {
        S::store(all.as_mut_ptr(), x);
        each(&mut all[..S::LANES], f);
        S::load(all.as_ptr())
    }
}

#[inline(never)]
fn each(x: &mut [f32], f: fn(f64) -> f64) {
    x.iter_mut().for_each(|x| *x = f(f64::from(*x)) as f32);
}
