//! What becomes of a sum before it is stored.

use half::f16;

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
                    // The bounds need not be f16.
                    if self.half {
                        each!(p, n => S::half(acc[p][n]));
                    }
                }
                Activation::Leaky(slope) => {
                    let slope = S::splat(slope);
                    each!(p, n => leaky::<S>(acc[p][n], slope, self.half));
                }
                Activation::Prelu(slopes) => each!(p, n, s = at(slopes, n) => leaky::<S>(acc[p][n], s, self.half)),
            }
        }
    }

    /// Panics unless every slice holds what will be read: that of channels up to a whole vector (of `lanes`), of the residual that of as many
    /// `pixels`.
    pub(crate) fn check(&self, channels: usize, lanes: usize, pixels: usize) {
        let padded = channels.next_multiple_of(lanes);
        let slopes = if let Activation::Prelu(slopes) = self.activation { Some(slopes) } else { None };
        for each in [self.scale, self.bias, slopes].into_iter().flatten() {
            assert!(each.len() >= padded, "{} numbers for {padded} channels", each.len());
        }
        if let Some(residual) = self.residual {
            assert!(residual.at.len() >= pixels, "a residual of {} pixels", residual.at.len());
            let last = if pixels == 0 { 0 } else { residual.at.max() + channels };
            assert!(last <= residual.data.len(), "a residual of {} elements, read up to {last}", residual.data.len());
        }
    }

    /// What there is for the channels of a vector.
    ///
    /// # Safety
    /// The instruction set of `S`, and [`check`](Self::check) with more than `channel + LANES - 1` padded channels.
    #[inline(always)]
    pub(crate) unsafe fn lanes<S: Simd>(&self, channel: usize) -> Lanes<S> {
        // SAFETY: the caller vouches for both.
        unsafe {
            let (low, high) = match self.activation {
                Activation::Clamp { low, high } => (low, high),
                _ => (f32::NEG_INFINITY, f32::INFINITY),
            };
            Lanes {
                scale: load::<S>(self.scale, channel, 1.0),
                bias: load::<S>(self.bias, channel, 0.0),
                slope: match self.activation {
                    Activation::Prelu(slopes) => load::<S>(Some(slopes), channel, 0.0),
                    Activation::Leaky(slope) => S::splat(slope),
                    _ => S::splat(1.0),
                },
                low: S::splat(low),
                high: S::splat(high),
                half: self.half,
            }
        }
    }

    /// Whether a bias, rounding and a clamp is all; [`Lanes::clamp`] does that faster than [`Lanes::finish`].
    #[inline(always)]
    pub(crate) fn is_plain(&self) -> bool {
        let exact = |x: f32| !self.half || f16::from_f32(x).to_f32() == x;
        let clamps = match self.activation {
            Activation::None => true,
            // What is f16 is so still between numbers that are: to round again would change nothing.
            Activation::Clamp { low, high } => exact(low) && exact(high),
            Activation::Prelu(_) | Activation::Leaky(_) => false,
        };
        clamps && self.scale.is_none() && self.residual.is_none()
    }
}

/// What there is for the channels of a vector, or else `none`. (A closure need not be inlined, and then lacks the instruction set.)
///
/// # Safety
/// As for [`Epilogue::lanes`].
#[inline(always)]
unsafe fn load<S: Simd>(x: Option<&[f32]>, channel: usize, none: f32) -> S::V {
    // SAFETY: the caller vouches for both.
    unsafe { if let Some(x) = x { S::load(x.as_ptr().add(channel)) } else { S::splat(none) } }
}

/// Rounded to f16, if so wanted.
///
/// # Safety
/// The instruction set of `S`.
#[inline(always)]
unsafe fn half<S: Simd>(epilogue: &Epilogue<'_>, x: S::V) -> S::V {
    // SAFETY: the caller vouches for it.
    if epilogue.half { unsafe { S::half(x) } } else { x }
}

/// An epilogue for the channels of a vector.
pub(crate) struct Lanes<S: Simd> {
    scale: S::V,
    /// The bias, or zeros.
    pub(crate) bias: S::V,
    slope: S::V,
    low: S::V,
    high: S::V,
    half: bool,
}

impl<S: Simd> Lanes<S> {
    /// What a [plain](Epilogue::is_plain) epilogue makes of a sum with the bias.
    ///
    /// # Safety
    /// The instruction set of `S`.
    #[inline(always)]
    pub(crate) unsafe fn clamp(&self, x: S::V) -> S::V {
        // SAFETY: the caller vouches for it.
        unsafe { self.limit(if self.half { S::half(x) } else { x }) }
    }

    /// Between the least and the greatest.
    ///
    /// # Safety
    /// The instruction set of `S`.
    #[inline(always)]
    unsafe fn limit(&self, x: S::V) -> S::V {
        // SAFETY: the caller vouches for it. The number stands second: it is what comes of NaN.
        unsafe { S::min(self.high, S::max(self.low, x)) }
    }

    /// All of `epilogue` for a sum; the residual is that of the vector.
    ///
    /// # Safety
    /// The instruction set of `S`.
    #[inline(always)]
    pub(crate) unsafe fn finish(&self, epilogue: &Epilogue<'_>, x: S::V, residual: Option<S::V>) -> S::V {
        // SAFETY: the caller vouches for it.
        unsafe {
            let x = if epilogue.scale.is_some() { S::mul(x, self.scale) } else { x };
            let mut x = half::<S>(epilogue, if epilogue.bias.is_some() { S::add(x, self.bias) } else { x });
            if let Some(residual) = residual {
                x = half::<S>(epilogue, S::add(x, residual));
            }
            match epilogue.activation {
                Activation::None => x,
                Activation::Clamp { .. } => half::<S>(epilogue, self.limit(x)),
                Activation::Prelu(_) | Activation::Leaky(_) => {
                    half::<S>(epilogue, S::select(S::lt(x, S::splat(0.0)), S::mul(x, self.slope), x))
                }
            }
        }
    }

    /// [`finish`](Self::finish), and the first `n` elements stored at `y`.
    ///
    /// # Safety
    /// The instruction set of `S`; `epilogue` was [checked](Epilogue::check) for `pixel` and for `n` channels from `channel`; at `y` there
    /// are `n` elements.
    #[inline(always)]
    pub(crate) unsafe fn store(
        &self,
        epilogue: &Epilogue<'_>,
        x: S::V,
        pixel: usize,
        channel: usize,
        y: *mut f32,
        n: usize,
    ) {
        // SAFETY: the caller vouches for all of it.
        unsafe {
            let mut its = None;
            if let Some(residual) = &epilogue.residual {
                let at = *residual.at.at().get_unchecked(pixel) as usize + channel;
                its = Some(S::load_first(residual.data.as_ptr().add(at), n));
            }
            S::store_first(y, self.finish(epilogue, x, its), n);
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

/// For tests of the kernels: any epilogue, and what it makes of a number.
#[cfg(test)]
pub(crate) mod testing {
    use half::f16;
    use proptest::prelude::*;

    use super::*;

    /// An epilogue's own numbers.
    #[derive(Clone, Debug)]
    pub(crate) struct Parts {
        scale: Option<Vec<f32>>,
        bias: Option<Vec<f32>>,
        residual: Option<(Vec<f32>, Offsets)>,
        activation: u8,
        slopes: Vec<f32>,
        half: bool,
    }

    impl Parts {
        /// Numbers for so many channels and pixels; each bit of `choice` says whether something is there.
        pub(crate) fn new(channels: usize, pixels: usize, choice: u8, activation: u8) -> Parts {
            let padded = channels.next_multiple_of(16);
            let some = |bit: u8, seed, n| (choice & bit != 0).then(|| numbers(n, seed));
            // Pixels backwards, with a gap between them.
            let at = Offsets::new((0..pixels).rev().map(|p| p * (channels + 1))).unwrap();
            Parts {
                scale: some(1, 1, padded),
                bias: some(2, 2, padded),
                residual: some(4, 3, pixels * (channels + 1)).map(|data| (data, at)),
                activation,
                slopes: numbers(padded, 4),
                half: choice & 8 != 0,
            }
        }

        pub(crate) fn epilogue(&self) -> Epilogue<'_> {
            Epilogue {
                scale: self.scale.as_deref(),
                bias: self.bias.as_deref(),
                residual: self.residual.as_ref().map(|(data, at)| Residual { data, at }),
                activation: match self.activation {
                    0 => Activation::None,
                    1 => Activation::Clamp { low: 0.0, high: f32::INFINITY },
                    2 => Activation::Clamp { low: -0.5, high: 0.75 },
                    3 => Activation::Prelu(&self.slopes),
                    _ => Activation::Leaky(0.25),
                },
                half: self.half,
                then: &[],
            }
        }

        /// What it makes of a sum, and how far from that a result may be whose sum is `error` off.
        pub(crate) fn expected(&self, sum: f64, error: f64, pixel: usize, channel: usize) -> (f64, f64) {
            let e = self.epilogue();
            let at = |x: Option<&[f32]>, none| x.map_or(none, |x| f64::from(x[channel]));
            let round = |x: f64| if e.half { f16::from_f64(x).to_f64() } else { x };
            let scale = at(e.scale, 1.0);
            let mut x = round(sum * scale + at(e.bias, 0.0));
            let mut most = x.abs().max((sum * scale).abs());
            if let Some(residual) = e.residual {
                x = round(x + f64::from(residual.data[residual.at.at()[pixel] as usize + channel]));
                most = most.max(x.abs());
            }
            let x = match e.activation {
                Activation::None => x,
                Activation::Clamp { low, .. } if x < f64::from(low) => low.into(),
                Activation::Clamp { high, .. } if x > f64::from(high) => high.into(),
                Activation::Clamp { .. } => x,
                Activation::Prelu(slopes) => x * if x < 0.0 { f64::from(slopes[channel]) } else { 1.0 },
                Activation::Leaky(slope) => x * if x < 0.0 { f64::from(slope) } else { 1.0 },
            };
            // Where a sum is off, its rounding to f16 may go the other way, each time.
            let ulp = if e.half { most.max(1e-3) * 2.0 * 9.8e-4 } else { most * 3e-7 };
            (round(x), error * scale.abs().max(1.0) + ulp)
        }
    }

    /// Numbers between -1 and 1.
    pub(crate) fn numbers(n: usize, seed: u32) -> Vec<f32> {
        let mut state = seed.wrapping_mul(0x9e37_79b9) ^ 0x5bd1_e995;
        let next = |_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 8) as f32 / (1 << 23) as f32 - 1.0
        };
        (0..n).map(next).collect()
    }

    /// What there is in an epilogue, and its activation.
    pub(crate) fn choices() -> impl Strategy<Value = (u8, u8)> {
        (0u8..16, 0u8..5)
    }
}

#[cfg(test)]
mod tests {
    use super::{
        testing::{Parts, choices, numbers},
        *,
    };
    use crate::cpu::kernels::{
        scaled::testing::cases,
        simd::{Isa, dispatch},
    };
    use proptest::prelude::*;

    #[inline(always)]
    unsafe fn generic<S: Simd>(epilogue: &Epilogue<'_>, x: &[f32], channels: usize, y: &mut [f32]) {
        // SAFETY: the tests check the epilogue and give `x` and `y` of as many pixels.
        unsafe {
            for at in 0..x.len() / channels * channels.div_ceil(S::LANES) {
                let (pixel, channel) = (at / channels.div_ceil(S::LANES), at % channels.div_ceil(S::LANES) * S::LANES);
                let (n, lanes) = ((channels - channel).min(S::LANES), epilogue.lanes::<S>(channel));
                let v = S::load_first(x.as_ptr().add(pixel * channels + channel), n);
                let y = y.as_mut_ptr().add(pixel * channels + channel);
                if epilogue.is_plain() {
                    S::store_first(y, lanes.clamp(S::add(v, lanes.bias)), n);
                } else {
                    lanes.store(epilogue, v, pixel, channel, y, n);
                }
            }
        }
    }

    dispatch! { unsafe fn apply(epilogue: &Epilogue<'_>, x: &[f32], channels: usize, y: &mut [f32]) = super::tests::generic }

    fn run(isa: Isa, epilogue: &Epilogue<'_>, x: &[f32], channels: usize) -> Vec<f32> {
        let mut y = vec![7.0; x.len()];
        epilogue.check(channels, isa.lanes(), x.len() / channels);
        // SAFETY: checked; whole pixels.
        unsafe { apply(isa, epilogue, x, channels, &mut y) };
        y
    }

    proptest! {
        #![proptest_config(cases(64, 3))]

        #[test]
        fn epilogues_are_applied_in_order((choice, activation) in choices(), channels in 1usize..40, pixels in 1usize..4) {
            let parts = Parts::new(channels, pixels, choice, activation);
            let x = numbers(channels * pixels, 9);
            for isa in Isa::available() {
                let y = run(isa, &parts.epilogue(), &x, channels);
                for (at, (x, y)) in x.iter().zip(y).enumerate() {
                    let (expected, bound) = parts.expected(f64::from(*x), 0.0, at / channels, at % channels);
                    prop_assert!((f64::from(y) - expected).abs() <= bound, "{isa:?} at {at}: {y} for {expected}");
                }
            }
        }
    }

    #[test]
    fn nan_stays_nan() {
        for (choice, activation) in (0..16).flat_map(|choice| (0..5).map(move |activation| (choice, activation))) {
            let parts = Parts::new(17, 1, choice, activation);
            for isa in Isa::available() {
                assert!(run(isa, &parts.epilogue(), &[f32::NAN; 17], 17).iter().all(|y| y.is_nan()));
            }
        }
    }

    #[test]
    #[should_panic(expected = "a residual of 10 elements, read up to 11")]
    fn what_would_be_read_must_be_there() {
        let at = Offsets::new([0, 8]).unwrap();
        let residual = Some(Residual { data: &[0.0; 10], at: &at });
        Epilogue { residual, ..Epilogue::default() }.check(3, 16, 2);
    }
}
