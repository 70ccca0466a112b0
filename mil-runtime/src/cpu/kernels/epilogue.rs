//! What becomes of a sum before it is stored.

use super::{offsets::Offsets, simd::Simd, unary::Unary};

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
    /// What is done afterwards, to rows that are stored already but still near: the matrix kernel alone does that.
    pub(crate) then: &'a [Then],
}

/// What is done to stored elements.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) enum Then {
    Unary(Unary),
    /// Rounding to f16.
    Half,
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
    #[allow(clippy::needless_range_loop)]
    pub(crate) unsafe fn apply<S: Simd, const P: usize, const N: usize>(
        &self,
        acc: &mut [[S::V; N]; P],
        biased: bool,
        channel: usize,
        row: usize,
        last: usize,
    ) {
        // Plain loops with known bounds: they are unrolled before anything else, which keeps the sums in registers.
        macro_rules! each {
            ($p:ident, $n:ident => $body:expr) => {
                for $n in 0..N {
                    for $p in 0..P {
                        acc[$p][$n] = $body;
                    }
                }
            };
            ($p:ident, $n:ident, $v:ident = $vector:expr => $body:expr) => {
                for $n in 0..N {
                    let $v = $vector;
                    for $p in 0..P {
                        acc[$p][$n] = $body;
                    }
                }
            };
        }
        // SAFETY: by the conditions above.
        unsafe {
            let at = |v: &[f32], n: usize| S::load(v.as_ptr().add(channel + n * S::LANES));
            if let Some(scale) = self.scale {
                each!(p, n, s = at(scale, n) => S::mul(acc[p][n], s));
            }
            if let (Some(bias), false) = (self.bias, biased) {
                each!(p, n, b = at(bias, n) => S::add(acc[p][n], b));
            }
            if self.half {
                each!(p, n => S::half(acc[p][n]));
            }
            if let Some(r) = &self.residual {
                let rows = r.at.at().as_ptr().add(row);
                for p in 0..P {
                    let from = r.data.as_ptr().add(*rows.add(p) as usize + channel);
                    for n in 0..N {
                        let from = from.add(n * S::LANES);
                        let v = if n + 1 == N { S::load_first(from, last) } else { S::load(from) };
                        acc[p][n] = S::add(acc[p][n], v);
                    }
                }
                if self.half {
                    each!(p, n => S::half(acc[p][n]));
                }
            }
            match self.activation {
                Activation::None => {}
                Activation::Clamp { low, high } => {
                    let (low, high) = (S::splat(low), S::splat(high));
                    // In this order a NaN stays one.
                    each!(p, n => S::min(high, S::max(low, acc[p][n])));
                }
                Activation::Leaky(slope) => {
                    let slope = S::splat(slope);
                    each!(p, n => leaky::<S>(acc[p][n], slope, self.half));
                }
                Activation::Prelu(slopes) => each!(p, n, s = at(slopes, n) => leaky::<S>(acc[p][n], s, self.half)),
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
unsafe fn leaky<S: Simd>(v: S::V, slope: S::V, half: bool) -> S::V {
    // SAFETY: the caller has the instruction set.
    unsafe {
        let low = S::mul(v, slope);
        S::select(S::lt(v, S::splat(0.0)), if half { S::half(low) } else { low }, v)
    }
}
