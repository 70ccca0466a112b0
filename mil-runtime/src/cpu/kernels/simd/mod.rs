//! Vectors of f32, one small trait over the instruction sets, and the choice among them.
//!
//! A kernel is a generic function over [`Simd`], marked `#[inline(always)]` like the trait's methods; [`dispatch!`] makes its entry: one
//! function per instruction set with `#[target_feature]`, into which all of it is inlined.

use std::fmt;

#[cfg(target_arch = "x86_64")]
pub(crate) mod avx2;
#[cfg(target_arch = "x86_64")]
pub(crate) mod avx512;
#[cfg(target_arch = "aarch64")]
pub(crate) mod neon;
pub(crate) mod scalar;
pub(crate) mod tail;
#[cfg(test)]
mod tests;
pub(crate) mod wide;

/// An instruction set that this machine has: there is no other way to get one, which is what makes kernels safe to call.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Isa(pub(crate) Set);

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[allow(dead_code)] // each architecture has some
pub(crate) enum Set {
    Avx512,
    Avx2,
    Neon,
    Scalar,
}

/// The environment variable that forces an instruction set: `avx512`, `avx2`, `neon` or `scalar`. One that the machine lacks is not taken.
pub const ISA_VARIABLE: &str = "MIL_CPU_ISA";

impl Isa {
    /// Plain code that runs everywhere.
    pub const SCALAR: Isa = Isa(Set::Scalar);

    /// All that this machine has, the best first.
    pub fn available() -> Vec<Isa> {
        let mut all = vec![];
        // Miri interprets; it has no vector instructions to speak of.
        #[cfg(all(target_arch = "x86_64", not(miri)))]
        {
            let has_avx2 = is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma");
            let has_avx2 = has_avx2 && is_x86_feature_detected!("f16c");
            let has_avx512 = is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512bw");
            let has_avx512 = has_avx512 && is_x86_feature_detected!("avx512dq") && is_x86_feature_detected!("avx512vl");
            if has_avx512 && has_avx2 {
                all.push(Isa(Set::Avx512));
            }
            if has_avx2 {
                all.push(Isa(Set::Avx2));
            }
        }
        #[cfg(all(target_arch = "aarch64", not(miri)))]
        if std::arch::is_aarch64_feature_detected!("neon") {
            all.push(Isa(Set::Neon));
        }
        all.push(Isa::SCALAR);
        all
    }

    /// The best that this machine has, or what [`ISA_VARIABLE`] says if the machine has it.
    pub fn chosen() -> Isa {
        let all = Isa::available();
        let asked = std::env::var(ISA_VARIABLE).unwrap_or_default();
        all.iter().find(|isa| isa.name() == asked).copied().unwrap_or(all[0])
    }

    /// `avx512`, `avx2`, `neon` or `scalar`.
    pub fn name(self) -> &'static str {
        match self.0 {
            Set::Avx512 => "avx512",
            Set::Avx2 => "avx2",
            Set::Neon => "neon",
            Set::Scalar => "scalar",
        }
    }

    /// How many f32 a vector has.
    pub(crate) fn lanes(self) -> usize {
        match self.0 {
            Set::Avx512 => 16,
            Set::Avx2 => 8,
            Set::Neon | Set::Scalar => 4,
        }
    }
}

impl fmt::Debug for Isa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A vector of f32 and what kernels do with it.
///
/// # Safety of the methods
/// All are `unsafe` for one reason: the machine must have the instruction set. Those that take pointers read or write `LANES` elements, or as
/// many as they are told, without any alignment.
pub(crate) trait Simd: Copy + 'static {
    /// A vector.
    type V: Copy;
    /// What a comparison gives.
    type M: Copy;
    /// Elements of a vector.
    const LANES: usize;

    /// All elements the same.
    unsafe fn splat(x: f32) -> Self::V;
    /// `LANES` elements.
    unsafe fn load(p: *const f32) -> Self::V;
    /// The first `n <= LANES` elements, and zeros.
    unsafe fn load_first(p: *const f32, n: usize) -> Self::V;
    /// `LANES / 2` elements, each twice: the first two are the same.
    unsafe fn load_twice(p: *const f32) -> Self::V;
    /// `LANES` elements.
    unsafe fn store(p: *mut f32, v: Self::V);
    /// The first `n <= LANES` elements; nothing is written behind them.
    unsafe fn store_first(p: *mut f32, v: Self::V, n: usize);
    /// `LANES` numbers of f16, as f32.
    unsafe fn load_f16(p: *const u16) -> Self::V;
    /// `LANES` numbers rounded to f16 (to nearest, ties to even).
    unsafe fn store_f16(p: *mut u16, v: Self::V);
    /// `LANES` integers, as f32.
    unsafe fn load_i8(p: *const i8) -> Self::V;
    /// `LANES` integers, as f32.
    unsafe fn load_u8(p: *const u8) -> Self::V;

    /// `a + b`
    unsafe fn add(a: Self::V, b: Self::V) -> Self::V;
    /// `a - b`
    unsafe fn sub(a: Self::V, b: Self::V) -> Self::V;
    /// `a * b`
    unsafe fn mul(a: Self::V, b: Self::V) -> Self::V;
    /// `a / b`
    unsafe fn div(a: Self::V, b: Self::V) -> Self::V;
    /// `a * b + c`, rounded once where the instruction set can.
    unsafe fn mul_add(a: Self::V, b: Self::V, c: Self::V) -> Self::V;
    /// `c - a * b`, rounded once where the instruction set can.
    unsafe fn neg_mul_add(a: Self::V, b: Self::V, c: Self::V) -> Self::V;
    /// The smaller; `b` if one is NaN.
    unsafe fn min(a: Self::V, b: Self::V) -> Self::V;
    /// The larger; `b` if one is NaN.
    unsafe fn max(a: Self::V, b: Self::V) -> Self::V;
    /// `|a|`
    unsafe fn abs(a: Self::V) -> Self::V;
    /// The square root, rounded correctly.
    unsafe fn sqrt(a: Self::V) -> Self::V;
    /// To the nearest integer, ties to even.
    unsafe fn round(a: Self::V) -> Self::V;
    /// Towards negative infinity.
    unsafe fn floor(a: Self::V) -> Self::V;

    /// `a < b`, false for NaN.
    unsafe fn lt(a: Self::V, b: Self::V) -> Self::M;
    /// `a == b`, false for NaN.
    unsafe fn eq(a: Self::V, b: Self::V) -> Self::M;
    /// `a` where the mask holds, else `b`.
    unsafe fn select(m: Self::M, a: Self::V, b: Self::V) -> Self::V;

    /// The sign bit of `sign` with the magnitude of `a`.
    unsafe fn copysign(a: Self::V, sign: Self::V) -> Self::V;
    /// `a * 2^n` for integral `n`, rounded once also where the result is subnormal or `2^n` is no f32.
    unsafe fn scale(a: Self::V, n: Self::V) -> Self::V;
    /// `a = m * 2^e` with `m` in `[1, 2)`, for normal positive `a`.
    unsafe fn split(a: Self::V) -> (Self::V, Self::V);
    /// Rounded to f16 and back.
    unsafe fn half(a: Self::V) -> Self::V;

    /// The sum of the elements, in an order of the instruction set's own.
    unsafe fn reduce_add(a: Self::V) -> f32;
    /// The largest element, if none is NaN.
    unsafe fn reduce_max(a: Self::V) -> f32;
    /// The smallest element, if none is NaN.
    unsafe fn reduce_min(a: Self::V) -> f32;

    /// `to[i + j * to_stride] = from[i * from_stride + j]` for `i` and `j` below 8.
    #[inline(always)]
    unsafe fn transpose_8(to: *mut f32, to_stride: usize, from: *const f32, from_stride: usize) {
        for i in 0..8 {
            for j in 0..8 {
                // SAFETY: the caller's: all these elements are there.
                unsafe { to.add(i + j * to_stride).write(from.add(i * from_stride + j).read()) };
            }
        }
    }

    /// Brings a line into the cache, to be read soon. Any address will do.
    unsafe fn prefetch(p: *const f32);
    /// Brings a line into the second-level cache. Any address will do.
    unsafe fn prefetch_far(p: *const f32);
    /// Brings a line into the cache, to be written soon. Any address will do.
    unsafe fn prefetch_write(p: *const f32);
}

/// Defines the entry of a kernel: `dispatch! { /// docs
/// pub(crate) unsafe fn name(args: T) -> R = generic }` makes `name(isa, args)`, which runs `generic::<S>(args)` with the instructions
/// of `isa`. Only the conditions of `generic` itself are left to the caller: an [`Isa`] is there only where its instructions are.
macro_rules! dispatch {
    ($(#[$meta:meta])* $vis:vis unsafe fn $name:ident($($arg:ident: $ty:ty),* $(,)?) $(-> $ret:ty)? = $generic:path) => {
        $(#[$meta])*
        #[allow(clippy::too_many_arguments)]
        $vis unsafe fn $name(isa: $crate::cpu::kernels::simd::Isa, $($arg: $ty),*) $(-> $ret)? {
            use $crate::cpu::kernels::simd::Set;
            use $generic as generic;
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c")]
            unsafe fn avx512($($arg: $ty),*) $(-> $ret)? {
                // SAFETY: the caller vouches for the arguments, the match below for the instructions.
                unsafe { generic::<$crate::cpu::kernels::simd::avx512::Avx512>($($arg),*) }
            }
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx2,fma,f16c")]
            unsafe fn avx2($($arg: $ty),*) $(-> $ret)? {
                // SAFETY: as above.
                unsafe { generic::<$crate::cpu::kernels::simd::avx2::Avx2>($($arg),*) }
            }
            #[cfg(target_arch = "aarch64")]
            #[target_feature(enable = "neon")]
            unsafe fn neon($($arg: $ty),*) $(-> $ret)? {
                // SAFETY: as above.
                unsafe { generic::<$crate::cpu::kernels::simd::neon::Neon>($($arg),*) }
            }
            // SAFETY: an `Isa` is of this machine.
            unsafe {
                match isa.0 {
                    #[cfg(target_arch = "x86_64")]
                    Set::Avx512 => avx512($($arg),*),
                    #[cfg(target_arch = "x86_64")]
                    Set::Avx2 => avx2($($arg),*),
                    #[cfg(target_arch = "aarch64")]
                    Set::Neon => neon($($arg),*),
                    _ => generic::<$crate::cpu::kernels::simd::scalar::Scalar>($($arg),*),
                }
            }
        }
    };
}

pub(crate) use dispatch;
