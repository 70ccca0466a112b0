//! Vectors that are not full.

use super::Simd;

/// The first `n` elements of `v`, then `rest`.
///
/// # Safety
/// `S` is of this machine.
#[inline(always)]
pub(crate) unsafe fn keep_first<S: Simd>(v: S::V, n: usize, rest: f32) -> S::V {
    const INDEX: [f32; 16] = [0., 1., 2., 3., 4., 5., 6., 7., 8., 9., 10., 11., 12., 13., 14., 15.];
    // SAFETY: as the caller vouches; no vector has more elements than the table.
    unsafe { S::select(S::lt(S::load(INDEX.as_ptr()), S::splat(n as f32)), v, S::splat(rest)) }
}
