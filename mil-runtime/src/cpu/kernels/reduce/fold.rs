//! What reductions make of one more vector of elements.

use super::super::{
    math,
    simd::{Simd, wide::Wide},
};

/// A way to put elements together. Methods are unsafe for the reason of [`Simd`]'s.
pub(super) trait Fold<S: Wide>: Copy {
    /// What there is so far.
    type Acc: Copy;
    /// The element that changes nothing.
    const NEUTRAL: f32;

    /// Of no elements.
    unsafe fn start(&self) -> Self::Acc;
    /// With one more of each.
    unsafe fn step(&self, so_far: Self::Acc, x: S::V) -> Self::Acc;
    /// Of both.
    unsafe fn join(&self, a: Self::Acc, b: Self::Acc) -> Self::Acc;
    /// The elements.
    unsafe fn lanes(acc: Self::Acc) -> [f64; 16];
    /// Of all elements together.
    unsafe fn across(acc: Self::Acc) -> f64;
}

/// The sum of what `$of` makes of each element.
macro_rules! sums {
    ($($name:ident, $doc:literal, $start:literal, |$so_far:ident, $x:ident| $step:expr, $join:ident, |$a:ident, $b:ident| $across:expr;)*) => {$(
        #[doc = $doc]
        #[derive(Clone, Copy)]
        pub(super) struct $name;

        // SAFETY of every block here: the caller vouches for the instruction set.
        #[allow(clippy::undocumented_unsafe_blocks)]
        impl<S: Wide> Fold<S> for $name {
            type Acc = S::D;
            const NEUTRAL: f32 = $start;

            #[inline(always)]
            unsafe fn start(&self) -> S::D {
                unsafe { S::splat_wide($start) }
            }
            #[inline(always)]
            unsafe fn step(&self, $so_far: S::D, $x: S::V) -> S::D {
                unsafe { $step }
            }
            #[inline(always)]
            unsafe fn join(&self, a: S::D, b: S::D) -> S::D {
                unsafe { S::$join(a, b) }
            }
            #[inline(always)]
            unsafe fn lanes(acc: S::D) -> [f64; 16] {
                unsafe { S::wide_lanes(acc) }
            }
            #[inline(always)]
            unsafe fn across(acc: S::D) -> f64 {
                let mut all = unsafe { S::wide_lanes(acc) };
                let mut n = S::LANES;
                while n > 1 {
                    n /= 2;
                    for i in 0..n {
                        let ($a, $b) = (all[i], all[i + n]);
                        all[i] = $across;
                    }
                }
                all[0]
            }
        }
    )*};
}

sums! {
    Add, "The sum.", 0.0, |so_far, x| S::add_wide(so_far, S::widen(x)), add_wide, |a, b| a + b;
    Absolute, "The sum of magnitudes.", 0.0, |so_far, x| S::add_wide(so_far, S::widen(S::abs(x))), add_wide, |a, b| a + b;
    Squares, "The sum of squares.", 0.0,
        |so_far, x| { let x = S::widen(x); S::mul_add_wide(x, x, so_far) }, add_wide, |a, b| a + b;
    Product, "The product.", 1.0, |so_far, x| S::mul_wide(so_far, S::widen(x)), mul_wide, |a, b| a * b;
}

/// The greatest or the smallest; NaN if one is.
#[derive(Clone, Copy)]
pub(super) struct Most<const MAX: bool>;

// SAFETY of every block here: the caller vouches for the instruction set.
#[allow(clippy::undocumented_unsafe_blocks)]
impl<S: Wide, const MAX: bool> Fold<S> for Most<MAX> {
    type Acc = S::V;
    const NEUTRAL: f32 = if MAX { f32::NEG_INFINITY } else { f32::INFINITY };

    #[inline(always)]
    unsafe fn start(&self) -> S::V {
        unsafe { S::splat(<Self as Fold<S>>::NEUTRAL) }
    }
    #[inline(always)]
    unsafe fn step(&self, so_far: S::V, x: S::V) -> S::V {
        // A NaN so far is the second and stays; one in `x` is taken.
        unsafe { S::select(S::eq(x, x), if MAX { S::max(x, so_far) } else { S::min(x, so_far) }, x) }
    }
    #[inline(always)]
    unsafe fn join(&self, a: S::V, b: S::V) -> S::V {
        unsafe { <Self as Fold<S>>::step(self, a, b) }
    }
    #[inline(always)]
    unsafe fn lanes(acc: S::V) -> [f64; 16] {
        let mut lanes = [0f32; 16];
        unsafe { S::store(lanes.as_mut_ptr(), acc) };
        lanes.map(f64::from)
    }
    #[inline(always)]
    unsafe fn across(acc: S::V) -> f64 {
        let mut all = [<Self as Fold<S>>::NEUTRAL; 16];
        unsafe {
            S::store(all.as_mut_ptr(), acc);
            let most = if MAX { S::reduce_max(acc) } else { S::reduce_min(acc) };
            let nan = all.iter().any(|x| x.is_nan());
            if nan { f64::NAN } else { f64::from(most) }
        }
    }
}

/// The sum of exponentials of the differences to the greatest.
#[derive(Clone, Copy)]
pub(super) struct Exponentials<S: Simd>(pub(super) S::V);

// SAFETY of every block here: the caller vouches for the instruction set.
#[allow(clippy::undocumented_unsafe_blocks)]
impl<S: Wide> Fold<S> for Exponentials<S> {
    type Acc = S::D;
    const NEUTRAL: f32 = f32::NEG_INFINITY;

    #[inline(always)]
    unsafe fn start(&self) -> S::D {
        unsafe { S::splat_wide(0.0) }
    }
    #[inline(always)]
    unsafe fn step(&self, so_far: S::D, x: S::V) -> S::D {
        unsafe { S::add_wide(so_far, S::widen(math::exp::<S>(S::sub(x, self.0)))) }
    }
    #[inline(always)]
    unsafe fn join(&self, a: S::D, b: S::D) -> S::D {
        unsafe { S::add_wide(a, b) }
    }
    #[inline(always)]
    unsafe fn lanes(acc: S::D) -> [f64; 16] {
        unsafe { S::wide_lanes(acc) }
    }
    #[inline(always)]
    unsafe fn across(acc: S::D) -> f64 {
        unsafe { S::sum_wide(acc) }
    }
}
