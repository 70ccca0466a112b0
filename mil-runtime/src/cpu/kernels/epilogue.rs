//! What becomes of a sum before it is stored.

use super::{offsets::Offsets, simd::Simd};

/// In this order: `activation(sum * scale + bias + residual)`.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Epilogue<'a> {
    /// Per channel, padded to whole groups of vectors.
    pub(crate) scale: Option<&'a [f32]>,
    /// Per channel, padded likewise.
    pub(crate) bias: Option<&'a [f32]>,
    /// An element of another tensor.
    pub(crate) residual: Option<Residual<'a>>,
    pub(crate) activation: Activation<'a>,
    /// Rounded to f16 after the sum with bias, and again after residual and activation.
    pub(crate) half: bool,
}

/// Elements that are added: of channel 0 of each output row, at these offsets.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Residual<'a> {
    pub(crate) data: &'a [f32],
    pub(crate) at: &'a Offsets,
}

/// Activations that cost no more than an instruction or two; others are applied to rows that are stored.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub(crate) enum Activation<'a> {
    #[default]
    None,
    /// Between two bounds: relu is 0 and infinity.
    Clamp { low: f32, high: f32 },
    /// Negative numbers by a slope.
    Leaky(f32),
    /// Negative numbers by a slope per channel, padded as scale and bias.
    Prelu(&'a [f32]),
}

impl Epilogue<'_> {
    /// What the sums of a tile become: `P` output rows from `row` of the residual's table on, `N` vectors of channels from `channel` on, of the
    /// last of which `last` elements count. `biased` sums began with the bias.
    ///
    /// One stage after the other over the whole tile: what is decided at run time is decided once for it.
    ///
    /// # Safety
    /// The instruction set is there; scale, bias and slopes have whole vectors at these channels, and the residual its elements.
    #[inline(always)]
    pub(crate) unsafe fn apply<S: Simd, const P: usize, const N: usize>(
        &self,
        acc: &mut [[S::V; N]; P],
        biased: bool,
        channel: usize,
        row: usize,
        last: usize,
    ) {
        // SAFETY: by the conditions above.
        unsafe {
            let vector = |v: &[f32], n: usize| S::load(v.as_ptr().add(channel + n * S::LANES));
            if let Some(scale) = self.scale {
                for n in 0..N {
                    let s = vector(scale, n);
                    acc.iter_mut().for_each(|a| a[n] = S::mul(a[n], s));
                }
            }
            if let (Some(bias), false) = (self.bias, biased) {
                for n in 0..N {
                    let b = vector(bias, n);
                    acc.iter_mut().for_each(|a| a[n] = S::add(a[n], b));
                }
            }
            if self.half {
                half::<S, P, N>(acc);
            }
            if let Some(r) = &self.residual {
                for (p, a) in acc.iter_mut().enumerate() {
                    let from = r.data.as_ptr().add(*r.at.at().get_unchecked(row + p) as usize + channel);
                    for (n, a) in a.iter_mut().enumerate() {
                        let from = from.add(n * S::LANES);
                        let v = if n + 1 == N { S::load_first(from, last) } else { S::load(from) };
                        *a = S::add(*a, v);
                    }
                }
                if self.half {
                    half::<S, P, N>(acc);
                }
            }
            match self.activation {
                Activation::None => {}
                Activation::Clamp { low, high } => {
                    let (low, high) = (S::splat(low), S::splat(high));
                    acc.iter_mut().flatten().for_each(|a| *a = S::min(S::max(*a, low), high));
                }
                Activation::Leaky(slope) => {
                    let slope = S::splat(slope);
                    acc.iter_mut().flatten().for_each(|a| *a = leaky::<S>(*a, slope, self.half));
                }
                Activation::Prelu(slopes) => {
                    for n in 0..N {
                        let slope = vector(slopes, n);
                        acc.iter_mut().for_each(|a| a[n] = leaky::<S>(a[n], slope, self.half));
                    }
                }
            }
        }
    }

    /// Panics unless the vectors of `channels` channels are there, and the residual of `rows` rows.
    pub(crate) fn check(&self, padded: usize, channels: usize, rows: usize) {
        let slopes = match self.activation {
            Activation::Prelu(slopes) => Some(slopes),
            _ => None,
        };
        for v in [self.scale, self.bias, slopes].into_iter().flatten() {
            assert!(v.len() >= padded, "vectors of {} elements for {padded} channels", v.len());
        }
        if let Some(r) = &self.residual {
            assert!(
                r.at.len() >= rows && (rows == 0 || r.at.max() + channels <= r.data.len()),
                "residual is too short"
            );
        }
    }
}

#[inline(always)]
unsafe fn half<S: Simd, const P: usize, const N: usize>(acc: &mut [[S::V; N]; P]) {
    // SAFETY: the caller has the instruction set.
    acc.iter_mut().flatten().for_each(|a| *a = unsafe { S::half(*a) });
}

#[inline(always)]
unsafe fn leaky<S: Simd>(v: S::V, slope: S::V, half: bool) -> S::V {
    // SAFETY: the caller has the instruction set.
    unsafe {
        let low = S::mul(v, slope);
        S::select(S::lt(v, S::splat(0.0)), if half { S::half(low) } else { low }, v)
    }
}
