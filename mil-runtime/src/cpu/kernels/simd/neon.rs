//! NEON, as every AArch64 has it.

use std::arch::aarch64::*;

use super::{Simd, scalar::Scalar};

/// 4 elements.
#[derive(Clone, Copy)]
pub(crate) struct Neon;

#[inline(always)]
fn array(v: float32x4_t) -> [f32; 4] {
    let mut a = [0.0; 4];
    // SAFETY: four elements are written to four.
    unsafe { vst1q_f32(a.as_mut_ptr(), v) };
    a
}

// SAFETY of every block here: the caller of an `unsafe` method of `Simd` vouches for the instruction set, and for what pointers point to.
#[allow(clippy::undocumented_unsafe_blocks)]
impl Simd for Neon {
    type V = float32x4_t;
    type M = uint32x4_t;
    const LANES: usize = 4;

    #[inline(always)]
    unsafe fn splat(x: f32) -> float32x4_t {
        unsafe { vdupq_n_f32(x) }
    }
    #[inline(always)]
    unsafe fn load(p: *const f32) -> float32x4_t {
        unsafe { vld1q_f32(p) }
    }
    #[inline(always)]
    unsafe fn load_first(p: *const f32, n: usize) -> float32x4_t {
        if n == 4 {
            return unsafe { vld1q_f32(p) };
        }
        unsafe { vld1q_f32(Scalar::load_first(p, n).as_ptr()) }
    }
    #[inline(always)]
    unsafe fn load_twice(p: *const f32) -> float32x4_t {
        unsafe {
            let two = vld1_f32(p);
            vcombine_f32(vdup_lane_f32::<0>(two), vdup_lane_f32::<1>(two))
        }
    }
    #[inline(always)]
    unsafe fn store(p: *mut f32, v: float32x4_t) {
        unsafe { vst1q_f32(p, v) }
    }
    #[inline(always)]
    unsafe fn store_first(p: *mut f32, v: float32x4_t, n: usize) {
        if n == 4 {
            return unsafe { vst1q_f32(p, v) };
        }
        unsafe { Scalar::store_first(p, array(v), n) }
    }
    #[inline(always)]
    unsafe fn load_f16(p: *const u16) -> float32x4_t {
        unsafe { vld1q_f32(Scalar::load_f16(p).as_ptr()) }
    }
    #[inline(always)]
    unsafe fn store_f16(p: *mut u16, v: float32x4_t) {
        unsafe { Scalar::store_f16(p, array(v)) }
    }
    #[inline(always)]
    unsafe fn load_i8(p: *const i8) -> float32x4_t {
        unsafe { vld1q_f32(Scalar::load_i8(p).as_ptr()) }
    }
    #[inline(always)]
    unsafe fn load_u8(p: *const u8) -> float32x4_t {
        unsafe { vld1q_f32(Scalar::load_u8(p).as_ptr()) }
    }
    #[inline(always)]
    unsafe fn add(a: float32x4_t, b: float32x4_t) -> float32x4_t {
        unsafe { vaddq_f32(a, b) }
    }
    #[inline(always)]
    unsafe fn sub(a: float32x4_t, b: float32x4_t) -> float32x4_t {
        unsafe { vsubq_f32(a, b) }
    }
    #[inline(always)]
    unsafe fn mul(a: float32x4_t, b: float32x4_t) -> float32x4_t {
        unsafe { vmulq_f32(a, b) }
    }
    #[inline(always)]
    unsafe fn div(a: float32x4_t, b: float32x4_t) -> float32x4_t {
        unsafe { vdivq_f32(a, b) }
    }
    #[inline(always)]
    unsafe fn mul_add(a: float32x4_t, b: float32x4_t, c: float32x4_t) -> float32x4_t {
        unsafe { vfmaq_f32(c, a, b) }
    }
    #[inline(always)]
    unsafe fn neg_mul_add(a: float32x4_t, b: float32x4_t, c: float32x4_t) -> float32x4_t {
        unsafe { vfmsq_f32(c, a, b) }
    }
    #[inline(always)]
    unsafe fn min(a: float32x4_t, b: float32x4_t) -> float32x4_t {
        unsafe { vbslq_f32(vcltq_f32(a, b), a, b) }
    }
    #[inline(always)]
    unsafe fn max(a: float32x4_t, b: float32x4_t) -> float32x4_t {
        unsafe { vbslq_f32(vcgtq_f32(a, b), a, b) }
    }
    #[inline(always)]
    unsafe fn abs(a: float32x4_t) -> float32x4_t {
        unsafe { vabsq_f32(a) }
    }
    #[inline(always)]
    unsafe fn sqrt(a: float32x4_t) -> float32x4_t {
        unsafe { vsqrtq_f32(a) }
    }
    #[inline(always)]
    unsafe fn round(a: float32x4_t) -> float32x4_t {
        unsafe { vrndnq_f32(a) }
    }
    #[inline(always)]
    unsafe fn floor(a: float32x4_t) -> float32x4_t {
        unsafe { vrndmq_f32(a) }
    }
    #[inline(always)]
    unsafe fn lt(a: float32x4_t, b: float32x4_t) -> uint32x4_t {
        unsafe { vcltq_f32(a, b) }
    }
    #[inline(always)]
    unsafe fn eq(a: float32x4_t, b: float32x4_t) -> uint32x4_t {
        unsafe { vceqq_f32(a, b) }
    }
    #[inline(always)]
    unsafe fn select(m: uint32x4_t, a: float32x4_t, b: float32x4_t) -> float32x4_t {
        unsafe { vbslq_f32(m, a, b) }
    }
    #[inline(always)]
    unsafe fn copysign(a: float32x4_t, sign: float32x4_t) -> float32x4_t {
        unsafe { vbslq_f32(vdupq_n_u32(0x8000_0000), sign, a) }
    }
    #[inline(always)]
    unsafe fn scale(a: float32x4_t, n: float32x4_t) -> float32x4_t {
        // In two steps: 2^n itself need not be an f32. The first is exact, so that only the second rounds.
        unsafe {
            let n = vcvtq_s32_f32(vminq_f32(vmaxq_f32(n, vdupq_n_f32(-252.0)), vdupq_n_f32(254.0)));
            let most = vminq_s32(vmaxq_s32(n, vdupq_n_s32(-126)), vdupq_n_s32(127));
            let rest = vsubq_s32(n, most);
            let power = |n| vreinterpretq_f32_s32(vshlq_n_s32::<23>(vaddq_s32(n, vdupq_n_s32(127))));
            vmulq_f32(vmulq_f32(a, power(rest)), power(most))
        }
    }
    #[inline(always)]
    unsafe fn split(a: float32x4_t) -> (float32x4_t, float32x4_t) {
        unsafe {
            let bits = vreinterpretq_u32_f32(a);
            let exponent = vsubq_s32(vreinterpretq_s32_u32(vshrq_n_u32::<23>(bits)), vdupq_n_s32(127));
            let mantissa = vorrq_u32(vandq_u32(bits, vdupq_n_u32(0x007f_ffff)), vdupq_n_u32(0x3f80_0000));
            (vreinterpretq_f32_u32(mantissa), vcvtq_f32_s32(exponent))
        }
    }
    #[inline(always)]
    unsafe fn half(a: float32x4_t) -> float32x4_t {
        unsafe { vld1q_f32(Scalar::half(array(a)).as_ptr()) }
    }
    #[inline(always)]
    unsafe fn reduce_add(a: float32x4_t) -> f32 {
        unsafe { vaddvq_f32(a) }
    }
    #[inline(always)]
    unsafe fn reduce_max(a: float32x4_t) -> f32 {
        unsafe { vmaxvq_f32(a) }
    }
    #[inline(always)]
    unsafe fn reduce_min(a: float32x4_t) -> f32 {
        unsafe { vminvq_f32(a) }
    }
    #[inline(always)]
    unsafe fn transpose_8(to: *mut f32, to_stride: usize, from: *const f32, from_stride: usize) {
        unsafe {
            let mut block = 0;
            while block < 4 {
                let (i, j) = (block / 2 * 4, block % 2 * 4);
                let p = from.add(i * from_stride + j);
                let (a, b) = (vld1q_f32(p), vld1q_f32(p.add(from_stride)));
                let (c, d) = (vld1q_f32(p.add(2 * from_stride)), vld1q_f32(p.add(3 * from_stride)));
                // Pairs of columns 0 and 2, and of 1 and 3.
                let (ab, cd) = (vtrnq_f32(a, b), vtrnq_f32(c, d));
                let q = to.add(i + j * to_stride);
                vst1q_f32(q, vcombine_f32(vget_low_f32(ab.0), vget_low_f32(cd.0)));
                vst1q_f32(q.add(to_stride), vcombine_f32(vget_low_f32(ab.1), vget_low_f32(cd.1)));
                vst1q_f32(q.add(2 * to_stride), vcombine_f32(vget_high_f32(ab.0), vget_high_f32(cd.0)));
                vst1q_f32(q.add(3 * to_stride), vcombine_f32(vget_high_f32(ab.1), vget_high_f32(cd.1)));
                block += 1;
            }
        }
    }
    #[inline(always)]
    unsafe fn prefetch(_: *const f32) {}
    #[inline(always)]
    unsafe fn prefetch_far(_: *const f32) {}
    #[inline(always)]
    unsafe fn prefetch_write(_: *const f32) {}
}
