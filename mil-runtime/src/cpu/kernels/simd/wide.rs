//! Vectors of f64, for sums that must lose nothing.

use super::Simd;

/// As many f64 as the vector has f32. Methods are unsafe for the reason of [`Simd`]'s.
pub(crate) trait Wide: Simd {
    /// The vector.
    type D: Copy;

    /// All elements the same.
    unsafe fn splat_wide(x: f64) -> Self::D;
    /// The same numbers.
    unsafe fn widen(v: Self::V) -> Self::D;
    /// The numbers rounded to f32.
    unsafe fn narrow(d: Self::D) -> Self::V;
    /// `LANES` elements.
    unsafe fn load_wide(p: *const f64) -> Self::D;
    /// Writes `LANES` elements.
    unsafe fn store_wide(p: *mut f64, d: Self::D);
    /// `a + b`
    unsafe fn add_wide(a: Self::D, b: Self::D) -> Self::D;
    /// `a - b`
    unsafe fn sub_wide(a: Self::D, b: Self::D) -> Self::D;
    /// `a * b`
    unsafe fn mul_wide(a: Self::D, b: Self::D) -> Self::D;
    /// `a * b + c`, rounded once where the instruction set can: squares of f32 are exact in either case.
    unsafe fn mul_add_wide(a: Self::D, b: Self::D, c: Self::D) -> Self::D;

    /// The elements; zeros behind the last.
    #[inline(always)]
    unsafe fn wide_lanes(d: Self::D) -> [f64; 16] {
        let mut lanes = [0.0; 16];
        // SAFETY: no vector has more than 16 elements.
        unsafe { Self::store_wide(lanes.as_mut_ptr(), d) };
        lanes
    }

    /// The sum of the elements.
    #[inline(always)]
    unsafe fn sum_wide(d: Self::D) -> f64 {
        // SAFETY: the caller vouches for the instructions.
        let v = unsafe { Self::wide_lanes(d) };
        let mut s: [f64; 8] = std::array::from_fn(|i| v[i] + v[i + 8]);
        for i in 0..4 {
            s[i] += s[i + 4];
        }
        (s[0] + s[2]) + (s[1] + s[3])
    }
}

#[cfg(target_arch = "x86_64")]
mod avx512 {
    use std::arch::x86_64::*;

    use super::{super::avx512::Avx512, Wide};

    // SAFETY of every block here: the caller of an `unsafe` method of `Wide` vouches for the instruction set, and for the pointer.
    #[allow(clippy::undocumented_unsafe_blocks)]
    impl Wide for Avx512 {
        type D = (__m512d, __m512d);

        #[inline(always)]
        unsafe fn splat_wide(x: f64) -> Self::D {
            unsafe { (_mm512_set1_pd(x), _mm512_set1_pd(x)) }
        }
        #[inline(always)]
        unsafe fn widen(v: __m512) -> Self::D {
            unsafe { (_mm512_cvtps_pd(_mm512_castps512_ps256(v)), _mm512_cvtps_pd(_mm512_extractf32x8_ps::<1>(v))) }
        }
        #[inline(always)]
        unsafe fn narrow(d: Self::D) -> __m512 {
            unsafe { _mm512_insertf32x8::<1>(_mm512_castps256_ps512(_mm512_cvtpd_ps(d.0)), _mm512_cvtpd_ps(d.1)) }
        }
        #[inline(always)]
        unsafe fn load_wide(p: *const f64) -> Self::D {
            unsafe { (_mm512_loadu_pd(p), _mm512_loadu_pd(p.add(8))) }
        }
        #[inline(always)]
        unsafe fn store_wide(p: *mut f64, d: Self::D) {
            unsafe {
                _mm512_storeu_pd(p, d.0);
                _mm512_storeu_pd(p.add(8), d.1);
            }
        }
        #[inline(always)]
        unsafe fn add_wide(a: Self::D, b: Self::D) -> Self::D {
            unsafe { (_mm512_add_pd(a.0, b.0), _mm512_add_pd(a.1, b.1)) }
        }
        #[inline(always)]
        unsafe fn sub_wide(a: Self::D, b: Self::D) -> Self::D {
            unsafe { (_mm512_sub_pd(a.0, b.0), _mm512_sub_pd(a.1, b.1)) }
        }
        #[inline(always)]
        unsafe fn mul_wide(a: Self::D, b: Self::D) -> Self::D {
            unsafe { (_mm512_mul_pd(a.0, b.0), _mm512_mul_pd(a.1, b.1)) }
        }
        #[inline(always)]
        unsafe fn mul_add_wide(a: Self::D, b: Self::D, c: Self::D) -> Self::D {
            unsafe { (_mm512_fmadd_pd(a.0, b.0, c.0), _mm512_fmadd_pd(a.1, b.1, c.1)) }
        }
    }
}

#[cfg(target_arch = "x86_64")]
mod avx2 {
    use std::arch::x86_64::*;

    use super::{super::avx2::Avx2, Wide};

    // SAFETY of every block here: the caller of an `unsafe` method of `Wide` vouches for the instruction set, and for the pointer.
    #[allow(clippy::undocumented_unsafe_blocks)]
    impl Wide for Avx2 {
        type D = (__m256d, __m256d);

        #[inline(always)]
        unsafe fn splat_wide(x: f64) -> Self::D {
            unsafe { (_mm256_set1_pd(x), _mm256_set1_pd(x)) }
        }
        #[inline(always)]
        unsafe fn widen(v: __m256) -> Self::D {
            unsafe { (_mm256_cvtps_pd(_mm256_castps256_ps128(v)), _mm256_cvtps_pd(_mm256_extractf128_ps::<1>(v))) }
        }
        #[inline(always)]
        unsafe fn narrow(d: Self::D) -> __m256 {
            unsafe { _mm256_set_m128(_mm256_cvtpd_ps(d.1), _mm256_cvtpd_ps(d.0)) }
        }
        #[inline(always)]
        unsafe fn load_wide(p: *const f64) -> Self::D {
            unsafe { (_mm256_loadu_pd(p), _mm256_loadu_pd(p.add(4))) }
        }
        #[inline(always)]
        unsafe fn store_wide(p: *mut f64, d: Self::D) {
            unsafe {
                _mm256_storeu_pd(p, d.0);
                _mm256_storeu_pd(p.add(4), d.1);
            }
        }
        #[inline(always)]
        unsafe fn add_wide(a: Self::D, b: Self::D) -> Self::D {
            unsafe { (_mm256_add_pd(a.0, b.0), _mm256_add_pd(a.1, b.1)) }
        }
        #[inline(always)]
        unsafe fn sub_wide(a: Self::D, b: Self::D) -> Self::D {
            unsafe { (_mm256_sub_pd(a.0, b.0), _mm256_sub_pd(a.1, b.1)) }
        }
        #[inline(always)]
        unsafe fn mul_wide(a: Self::D, b: Self::D) -> Self::D {
            unsafe { (_mm256_mul_pd(a.0, b.0), _mm256_mul_pd(a.1, b.1)) }
        }
        #[inline(always)]
        unsafe fn mul_add_wide(a: Self::D, b: Self::D, c: Self::D) -> Self::D {
            unsafe { (_mm256_fmadd_pd(a.0, b.0, c.0), _mm256_fmadd_pd(a.1, b.1, c.1)) }
        }
    }
}

#[cfg(target_arch = "aarch64")]
mod neon {
    use std::arch::aarch64::*;

    use super::{super::neon::Neon, Wide};

    // SAFETY of every block here: the caller of an `unsafe` method of `Wide` vouches for the instruction set, and for the pointer.
    #[allow(clippy::undocumented_unsafe_blocks)]
    impl Wide for Neon {
        type D = (float64x2_t, float64x2_t);

        #[inline(always)]
        unsafe fn splat_wide(x: f64) -> Self::D {
            unsafe { (vdupq_n_f64(x), vdupq_n_f64(x)) }
        }
        #[inline(always)]
        unsafe fn widen(v: float32x4_t) -> Self::D {
            unsafe { (vcvt_f64_f32(vget_low_f32(v)), vcvt_high_f64_f32(v)) }
        }
        #[inline(always)]
        unsafe fn narrow(d: Self::D) -> float32x4_t {
            unsafe { vcvt_high_f32_f64(vcvt_f32_f64(d.0), d.1) }
        }
        #[inline(always)]
        unsafe fn load_wide(p: *const f64) -> Self::D {
            unsafe { (vld1q_f64(p), vld1q_f64(p.add(2))) }
        }
        #[inline(always)]
        unsafe fn store_wide(p: *mut f64, d: Self::D) {
            unsafe {
                vst1q_f64(p, d.0);
                vst1q_f64(p.add(2), d.1);
            }
        }
        #[inline(always)]
        unsafe fn add_wide(a: Self::D, b: Self::D) -> Self::D {
            unsafe { (vaddq_f64(a.0, b.0), vaddq_f64(a.1, b.1)) }
        }
        #[inline(always)]
        unsafe fn sub_wide(a: Self::D, b: Self::D) -> Self::D {
            unsafe { (vsubq_f64(a.0, b.0), vsubq_f64(a.1, b.1)) }
        }
        #[inline(always)]
        unsafe fn mul_wide(a: Self::D, b: Self::D) -> Self::D {
            unsafe { (vmulq_f64(a.0, b.0), vmulq_f64(a.1, b.1)) }
        }
        #[inline(always)]
        unsafe fn mul_add_wide(a: Self::D, b: Self::D, c: Self::D) -> Self::D {
            unsafe { (vfmaq_f64(c.0, a.0, b.0), vfmaq_f64(c.1, a.1, b.1)) }
        }
    }
}

mod scalar {
    use std::array::from_fn;

    use super::{super::scalar::Scalar, Wide};

    // SAFETY of every block here: the caller of an `unsafe` method of `Wide` vouches for the pointer.
    #[allow(clippy::undocumented_unsafe_blocks)]
    impl Wide for Scalar {
        type D = [f64; 4];

        #[inline(always)]
        unsafe fn splat_wide(x: f64) -> Self::D {
            [x; 4]
        }
        #[inline(always)]
        unsafe fn widen(v: [f32; 4]) -> Self::D {
            v.map(f64::from)
        }
        #[inline(always)]
        unsafe fn narrow(d: Self::D) -> [f32; 4] {
            d.map(|d| d as f32)
        }
        #[inline(always)]
        unsafe fn load_wide(p: *const f64) -> Self::D {
            unsafe { p.cast::<[f64; 4]>().read_unaligned() }
        }
        #[inline(always)]
        unsafe fn store_wide(p: *mut f64, d: Self::D) {
            unsafe { p.cast::<[f64; 4]>().write_unaligned(d) }
        }
        #[inline(always)]
        unsafe fn add_wide(a: Self::D, b: Self::D) -> Self::D {
            from_fn(|i| a[i] + b[i])
        }
        #[inline(always)]
        unsafe fn sub_wide(a: Self::D, b: Self::D) -> Self::D {
            from_fn(|i| a[i] - b[i])
        }
        #[inline(always)]
        unsafe fn mul_wide(a: Self::D, b: Self::D) -> Self::D {
            from_fn(|i| a[i] * b[i])
        }
        #[inline(always)]
        unsafe fn mul_add_wide(a: Self::D, b: Self::D, c: Self::D) -> Self::D {
            from_fn(|i| a[i] * b[i] + c[i])
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{
        super::{Isa, dispatch},
        Wide,
    };
    use crate::cpu::kernels::scaled::testing::cases;

    #[inline(always)]
    unsafe fn generic<S: Wide>(a: &[f32; 16], b: &[f32; 16], out: &mut Vec<f64>) {
        // SAFETY: no vector has more than 16 elements.
        unsafe {
            let (a, b) = (S::widen(S::load(a.as_ptr())), S::widen(S::load(b.as_ptr())));
            let half = S::load_wide([0.5; 16].as_ptr());
            for d in [S::add_wide(a, b), S::sub_wide(a, b), S::mul_wide(a, half), S::mul_add_wide(a, a, half)] {
                out.extend(&S::wide_lanes(d)[..S::LANES]);
            }
            let mut narrow = [0f32; 16];
            S::store(narrow.as_mut_ptr(), S::narrow(S::mul_wide(a, b)));
            out.extend(narrow[..S::LANES].iter().map(|x| f64::from(*x)));
            out.push(S::sum_wide(a));
        }
    }

    dispatch! { unsafe fn all(a: &[f32; 16], b: &[f32; 16], out: &mut Vec<f64>) = self::generic }

    proptest! {
        #![proptest_config(cases(32, 2))]

        #[test]
        fn sets_do_what_the_trait_says(
            a in prop::array::uniform16(-1e3f32..1e3), b in prop::array::uniform16(-1e3f32..1e3),
        ) {
            for isa in Isa::available() {
                let mut got = vec![];
                // SAFETY: `generic` has no conditions.
                unsafe { all(isa, &a, &b, &mut got) };
                let n = isa.lanes();
                let of = |f: &dyn Fn(f64, f64) -> f64| -> Vec<f64> {
                    (0..n).map(|i| f(a[i].into(), b[i].into())).collect()
                };
                let mut expected = of(&|a, b| a + b);
                expected.extend(of(&|a, b| a - b));
                expected.extend(of(&|a, _| a * 0.5));
                expected.extend(of(&|a, _| a * a + 0.5));
                expected.extend(of(&|a, b| f64::from((a * b) as f32)));
                expected.push(a[..n].iter().map(|a| f64::from(*a)).sum());
                for (g, e) in got.iter().zip(&expected) {
                    prop_assert!((g - e).abs() <= 1e-9, "{isa:?}: {got:?} for {expected:?}");
                }
                prop_assert_eq!(got.len(), expected.len());
            }
        }
    }
}
