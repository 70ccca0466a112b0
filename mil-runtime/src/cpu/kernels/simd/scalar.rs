//! Plain code, in arrays that compilers turn into whatever vectors there are.

use half::f16;

use super::Simd;

/// 4 elements.
#[derive(Clone, Copy)]
pub(crate) struct Scalar;

type V = [f32; 4];

#[inline(always)]
fn map(a: V, f: impl Fn(f32) -> f32) -> V {
    [f(a[0]), f(a[1]), f(a[2]), f(a[3])]
}

#[inline(always)]
fn zip(a: V, b: V, f: impl Fn(f32, f32) -> f32) -> V {
    [f(a[0], b[0]), f(a[1], b[1]), f(a[2], b[2]), f(a[3], b[3])]
}

/// `2^n` for `n` in -126..=127.
#[inline(always)]
fn power(n: i32) -> f32 {
    f32::from_bits(((n + 127) as u32) << 23)
}

// SAFETY of every block here: the caller of an `unsafe` method of `Simd` vouches for what pointers point to.
#[allow(clippy::undocumented_unsafe_blocks)]
impl Simd for Scalar {
    type V = V;
    type M = [bool; 4];
    const LANES: usize = 4;

    #[inline(always)]
    unsafe fn splat(x: f32) -> V {
        [x; 4]
    }
    #[inline(always)]
    unsafe fn load(p: *const f32) -> V {
        unsafe { p.cast::<V>().read_unaligned() }
    }
    #[inline(always)]
    unsafe fn load_first(p: *const f32, n: usize) -> V {
        if n == 4 {
            return unsafe { Self::load(p) };
        }
        let mut v = [0.0; 4];
        for (i, v) in v.iter_mut().enumerate().take(n) {
            *v = unsafe { p.add(i).read() };
        }
        v
    }
    #[inline(always)]
    unsafe fn load_twice(p: *const f32) -> V {
        let [a, b] = unsafe { p.cast::<[f32; 2]>().read_unaligned() };
        [a, a, b, b]
    }
    #[inline(always)]
    unsafe fn store(p: *mut f32, v: V) {
        unsafe { p.cast::<V>().write_unaligned(v) }
    }
    #[inline(always)]
    unsafe fn store_first(p: *mut f32, v: V, n: usize) {
        if n == 4 {
            return unsafe { Self::store(p, v) };
        }
        for (i, v) in v.iter().enumerate().take(n) {
            unsafe { p.add(i).write(*v) };
        }
    }
    #[inline(always)]
    unsafe fn load_f16(p: *const u16) -> V {
        std::array::from_fn(|i| f16::from_bits(unsafe { p.add(i).read() }).to_f32())
    }
    #[inline(always)]
    unsafe fn store_f16(p: *mut u16, v: V) {
        for (i, v) in v.iter().enumerate() {
            unsafe { p.add(i).write(f16::from_f32(*v).to_bits()) };
        }
    }
    #[inline(always)]
    unsafe fn load_i8(p: *const i8) -> V {
        std::array::from_fn(|i| f32::from(unsafe { p.add(i).read() }))
    }
    #[inline(always)]
    unsafe fn load_u8(p: *const u8) -> V {
        std::array::from_fn(|i| f32::from(unsafe { p.add(i).read() }))
    }
    #[inline(always)]
    unsafe fn add(a: V, b: V) -> V {
        zip(a, b, |a, b| a + b)
    }
    #[inline(always)]
    unsafe fn sub(a: V, b: V) -> V {
        zip(a, b, |a, b| a - b)
    }
    #[inline(always)]
    unsafe fn mul(a: V, b: V) -> V {
        zip(a, b, |a, b| a * b)
    }
    #[inline(always)]
    unsafe fn div(a: V, b: V) -> V {
        zip(a, b, |a, b| a / b)
    }
    #[inline(always)]
    unsafe fn mul_add(a: V, b: V, c: V) -> V {
        [a[0] * b[0] + c[0], a[1] * b[1] + c[1], a[2] * b[2] + c[2], a[3] * b[3] + c[3]]
    }
    #[inline(always)]
    unsafe fn neg_mul_add(a: V, b: V, c: V) -> V {
        [c[0] - a[0] * b[0], c[1] - a[1] * b[1], c[2] - a[2] * b[2], c[3] - a[3] * b[3]]
    }
    #[inline(always)]
    unsafe fn min(a: V, b: V) -> V {
        zip(a, b, |a, b| if a < b { a } else { b })
    }
    #[inline(always)]
    unsafe fn max(a: V, b: V) -> V {
        zip(a, b, |a, b| if a > b { a } else { b })
    }
    #[inline(always)]
    unsafe fn abs(a: V) -> V {
        map(a, f32::abs)
    }
    #[inline(always)]
    unsafe fn sqrt(a: V) -> V {
        map(a, f32::sqrt)
    }
    #[inline(always)]
    unsafe fn round(a: V) -> V {
        map(a, f32::round_ties_even)
    }
    #[inline(always)]
    unsafe fn floor(a: V) -> V {
        map(a, f32::floor)
    }
    #[inline(always)]
    unsafe fn lt(a: V, b: V) -> [bool; 4] {
        std::array::from_fn(|i| a[i] < b[i])
    }
    #[inline(always)]
    unsafe fn eq(a: V, b: V) -> [bool; 4] {
        std::array::from_fn(|i| a[i] == b[i])
    }
    #[inline(always)]
    unsafe fn select(m: [bool; 4], a: V, b: V) -> V {
        std::array::from_fn(|i| if m[i] { a[i] } else { b[i] })
    }
    #[inline(always)]
    unsafe fn copysign(a: V, sign: V) -> V {
        zip(a, sign, f32::copysign)
    }
    #[inline(always)]
    unsafe fn scale(a: V, n: V) -> V {
        // In two steps: 2^n itself need not be an f32. The first is exact, so that only the second rounds.
        zip(a, n, |a, n| {
            let n = (n as i32).clamp(-252, 254);
            let most = n.clamp(-126, 127);
            a * power(n - most) * power(most)
        })
    }
    #[inline(always)]
    unsafe fn split(a: V) -> (V, V) {
        let mantissa = map(a, |a| f32::from_bits(a.to_bits() & 0x007f_ffff | 0x3f80_0000));
        (mantissa, map(a, |a| (a.to_bits() >> 23) as f32 - 127.0))
    }
    #[inline(always)]
    unsafe fn half(a: V) -> V {
        map(a, |a| f16::from_f32(a).to_f32())
    }
    #[inline(always)]
    unsafe fn reduce_add(a: V) -> f32 {
        (a[0] + a[2]) + (a[1] + a[3])
    }
    #[inline(always)]
    unsafe fn reduce_max(a: V) -> f32 {
        a.into_iter().fold(f32::NEG_INFINITY, f32::max)
    }
    #[inline(always)]
    unsafe fn reduce_min(a: V) -> f32 {
        a.into_iter().fold(f32::INFINITY, f32::min)
    }
    #[inline(always)]
    unsafe fn prefetch(_: *const f32) {}
    #[inline(always)]
    unsafe fn prefetch_far(_: *const f32) {}
    #[inline(always)]
    unsafe fn prefetch_write(_: *const f32) {}
}
