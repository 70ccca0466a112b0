//! Depthwise convolution over channels-last buffers whose input has its padding, zeros, around it.
//!
//! A vector is of channels. The usual kernels (3x3, 5x5 and 7x7, strides 1 and 2, one or two outputs per channel) hold up to 8 pixels of a
//! row in registers and read each input once per row of the kernel; all others go tap by tap.

mod square;
#[cfg(test)]
mod tests;

use super::{
    epilogue::Epilogue,
    scaled::scaled,
    simd::{Isa, Simd, dispatch},
    threads::{Shared, Threads},
    view::apart,
};

/// How many channels weights are padded to a multiple of.
const PADDING: usize = 16;

/// Weights as the kernel wants them, `[tap][channels, padded]`, from those of the op, `[channel][tap]`.
pub(crate) fn pack(weights: &[f32], channels: usize) -> Vec<f32> {
    let (taps, padded) = (weights.len() / channels, channels.next_multiple_of(PADDING));
    assert_eq!(taps * channels, weights.len());
    let mut out = vec![0.0; taps * padded];
    for (channel, weights) in weights.chunks_exact(taps).enumerate() {
        weights.iter().enumerate().for_each(|(tap, w)| out[tap * padded + channel] = *w);
    }
    out
}

/// A depthwise convolution of given shapes. Axes are batch, depth, height, width; those that a convolution lacks are 1.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Depthwise {
    /// Output channels.
    pub(crate) channels: usize,
    /// Output channels per input channel: channel `o` is of input channel `o / multiplier`.
    pub(crate) multiplier: usize,
    /// Taps along depth, height and width.
    pub(crate) kernel: [usize; 3],
    /// Pixels from tap to tap.
    pub(crate) dilation: [usize; 3],
    /// Input pixels from window to window.
    pub(crate) stride: [usize; 3],
    /// Output pixels along each axis.
    pub(crate) size: [usize; 4],
    /// Elements from one input pixel to the next along each axis.
    pub(crate) input: [usize; 4],
    /// Elements from one output pixel to the next along each axis.
    pub(crate) output: [usize; 4],
}

/// What the kernels get; all has been checked.
#[derive(Clone, Copy)]
struct Call<'a> {
    of: &'a Depthwise,
    /// Where each tap lies from the window's first.
    taps: &'a [usize],
    x: *const f32,
    weights: *const f32,
    /// Elements from tap to tap in the weights.
    padded: usize,
    epilogue: &'a Epilogue<'a>,
    y: *mut f32,
}

/// A part of a row of output pixels, from which the kernels take as many channels at a time as a vector has.
#[derive(Clone, Copy)]
struct Piece {
    /// The number of the first pixel.
    pixel: usize,
    /// How many.
    pixels: usize,
    /// Where the first one's window begins in `x`.
    x: usize,
    /// Where it lies in `y`.
    y: usize,
    /// The first channel.
    channel: usize,
    /// How many.
    channels: usize,
}

impl Depthwise {
    /// Elements that are read from the first window's first element on.
    pub(crate) fn reads(&self) -> usize {
        let step = |axis: usize| {
            let taps = (self.kernel[axis] - 1).saturating_mul(self.dilation[axis]);
            let windows = (self.size[axis + 1] - 1).saturating_mul(self.stride[axis]);
            windows.saturating_add(taps).saturating_mul(self.input[axis + 1])
        };
        let batch = (self.size[0] - 1).saturating_mul(self.input[0]);
        (0..3).map(step).fold(batch, usize::saturating_add).saturating_add(self.channels / self.multiplier)
    }

    /// Elements from the first written one to the end of the last.
    pub(crate) fn writes(&self) -> usize {
        let step = |axis: usize| (self.size[axis] - 1).saturating_mul(self.output[axis]);
        (0..4).map(step).fold(self.channels, usize::saturating_add)
    }

    /// Convolves. `x` begins with the first window, `y` with the first output pixel; `weights` are [packed](pack). The epilogue's residual
    /// has a place for each output pixel in row-major order.
    ///
    /// Panics if a slice does not hold what is read or written, or if output pixels overlap.
    pub(crate) fn run(
        &self,
        isa: Isa,
        threads: &Threads,
        x: &[f32],
        weights: &[f32],
        epilogue: &Epilogue<'_>,
        y: &mut [f32],
    ) {
        let pixels: usize = self.size.iter().product();
        if pixels == 0 || self.channels == 0 {
            return;
        }
        let padded = self.channels.next_multiple_of(PADDING);
        let taps = self.taps();
        assert!(self.multiplier > 0 && self.channels.is_multiple_of(self.multiplier) && !taps.is_empty());
        assert!(weights.len() >= taps.len() * padded, "{} weights for {} taps", weights.len(), taps.len());
        assert!(x.len() >= self.reads(), "an input of {} elements, read up to {}", x.len(), self.reads());
        assert!(y.len() >= self.writes(), "an output of {} elements, written up to {}", y.len(), self.writes());
        let ([n, d, h, w], [dn, dd, dh, dw]) = (self.size, self.output);
        assert!(apart(&[n, d, h, w, self.channels], &[dn, dd, dh, dw, 1]), "output pixels overlap");
        epilogue.check(self.channels, PADDING, pixels);

        let y = Shared::new(y);
        let kernel = square::entry(self, isa).unwrap_or(general);
        let pieces = self.pieces(threads.count());
        threads.run(pieces.count(), 1, &|range| {
            let (x, weights, y) = (x.as_ptr(), weights.as_ptr(), y.as_mut_ptr());
            let call = Call { of: self, taps: &taps, x, weights, padded, epilogue, y };
            for n in range {
                // SAFETY: the slices are as long as pieces within `size` need, as asserted; no two pieces have an output element in
                // common, as output pixels do not overlap.
                unsafe { kernel(isa, call, pieces.get(self, n)) };
            }
        });
    }

    /// Where taps lie.
    fn taps(&self) -> Vec<usize> {
        let [d, h, w] = self.kernel;
        let step = |axis: usize| self.dilation[axis] * self.input[axis + 1];
        let at = |t: usize| t / (h * w) * step(0) + t / w % h * step(1) + t % w * step(2);
        (0..d * h * w).map(at).collect()
    }

    /// Rows, cut further where they are too few to share. Whole rows are better: a thread's rows are, but for those at the border, what it has
    /// written as the product before and will read as the product behind.
    fn pieces(&self, threads: usize) -> Pieces {
        let rows: usize = self.size[..3].iter().product();
        let enough = if threads == 1 { 1 } else { 4 * threads };
        let cut = |n: usize, least: usize, cuts: usize| n.div_ceil(cuts.clamp(1, (n / least).max(1)));
        let channels = cut(self.channels, scaled(64, 16), enough.div_ceil(rows)).next_multiple_of(PADDING);
        // Channels that fill no vector join the group before: a vector that ends where they do begins before them.
        let groups = (self.channels / PADDING * PADDING).div_ceil(channels).max(1);
        let parts = rows * groups;
        let pixels = cut(self.size[3], scaled(16, 4), enough.div_ceil(parts));
        Pieces { rows, pixels, cuts: self.size[3].div_ceil(pixels), channels, groups }
    }
}

/// How the output is cut: into groups of channels, of which each has all rows, each cut into pixels.
struct Pieces {
    rows: usize,
    pixels: usize,
    cuts: usize,
    channels: usize,
    groups: usize,
}

impl Pieces {
    fn count(&self) -> usize {
        self.rows * self.cuts * self.groups
    }

    fn get(&self, of: &Depthwise, n: usize) -> Piece {
        let (group, row, cut) = (n / self.cuts / self.rows, n / self.cuts % self.rows, n % self.cuts);
        let [_, d, h, w] = of.size;
        let (column, channel) = (cut * self.pixels, group * self.channels);
        let at = [row / h / d, row / h % d, row % h, column];
        let stride = [1, of.stride[0], of.stride[1], of.stride[2]];
        Piece {
            pixel: row * w + column,
            pixels: self.pixels.min(w - column),
            x: (0..4).map(|axis| at[axis] * stride[axis] * of.input[axis]).sum(),
            y: (0..4).map(|axis| at[axis] * of.output[axis]).sum(),
            channel,
            channels: if group + 1 == self.groups { of.channels - channel } else { self.channels },
        }
    }
}

/// Any kernel: tap by tap, four pixels at a time.
///
/// # Safety
/// [`Depthwise::run`] has checked what is in `call`, and the piece is within its size.
#[inline(always)]
unsafe fn any<S: Simd>(call: Call<'_>, piece: Piece) {
    // SAFETY: the caller vouches for all of it.
    unsafe {
        for from in (0..piece.channels).step_by(S::LANES) {
            let (channel, n) = (piece.channel + from, (piece.channels - from).min(S::LANES));
            let mut at = 0;
            while at < piece.pixels {
                if piece.pixels - at >= 4 {
                    taps::<S, 4>(call, piece, at, channel, n);
                    at += 4;
                } else {
                    taps::<S, 1>(call, piece, at, channel, n);
                    at += 1;
                }
            }
        }
    }
}

/// The first `n` channels from `channel` of pixels `at..at + P` of a piece.
///
/// # Safety
/// As for [`any`].
#[inline(always)]
unsafe fn taps<S: Simd, const P: usize>(call: Call<'_>, piece: Piece, at: usize, channel: usize, n: usize) {
    let of = call.of;
    // SAFETY: the caller vouches for all of it.
    unsafe {
        let step = of.stride[2] * of.input[3];
        let x = call.x.add(piece.x + at * step + channel / of.multiplier);
        let mut sums = [S::splat(0.0); P];
        for (tap, offset) in call.taps.iter().enumerate() {
            let w = S::load(call.weights.add(tap * call.padded + channel));
            for (p, sum) in sums.iter_mut().enumerate() {
                let x = x.add(p * step + offset);
                let x = if of.multiplier == 1 {
                    S::load_first(x, n)
                } else {
                    // At most 16 lanes; those of one input channel lie together.
                    let mut each = [0.0; 16];
                    let first = channel % of.multiplier;
                    each.iter_mut().enumerate().take(n).for_each(|(i, e)| *e = *x.add((first + i) / of.multiplier));
                    S::load(each.as_ptr())
                };
                *sum = S::mul_add(x, w, *sum);
            }
        }
        let lanes = call.epilogue.lanes::<S>(channel);
        for (p, sum) in sums.into_iter().enumerate() {
            let y = call.y.add(piece.y + (at + p) * of.output[3] + channel);
            lanes.store(call.epilogue, sum, piece.pixel + at + p, channel, y, n);
        }
    }
}

dispatch! { unsafe fn general(call: Call<'_>, piece: Piece) = super::depthwise::any }

/// A kernel's entry.
///
/// # Safety
/// As for [`any`].
type Entry = unsafe fn(Isa, Call<'_>, Piece);
