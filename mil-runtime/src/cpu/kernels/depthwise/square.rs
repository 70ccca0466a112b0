//! Square kernels of usual sizes: each input element is loaded once per row of the kernel and used for all pixels in registers that want it.

use super::{Call, Depthwise, Entry, Isa, Piece, Simd, dispatch};

/// The kernel for this convolution, if it is a usual one.
pub(super) fn entry(of: &Depthwise, isa: Isa) -> Option<Entry> {
    // Groups of channels that `Depthwise::pieces` makes end where vectors do, but for the last, whose last vector begins a vector before its end:
    // in the group, for each has a vector at least.
    if of.channels < isa.lanes() || of.kernel[0] != 1 || of.dilation[1..] != [1, 1] || of.stride[1] != of.stride[2] {
        return None;
    }
    Some(match (of.kernel[1], of.kernel[2], of.stride[2], of.multiplier) {
        (3, 3, 1, 1) => k3s1m1,
        (3, 3, 2, 1) => k3s2m1,
        (5, 5, 1, 1) => k5s1m1,
        (5, 5, 2, 1) => k5s2m1,
        (7, 7, 1, 1) => k7s1m1,
        (7, 7, 2, 1) => k7s2m1,
        (3, 3, 1, 2) => k3s1m2,
        (3, 3, 2, 2) => k3s2m2,
        (7, 7, 1, 2) => k7s1m2,
        (7, 7, 2, 2) => k7s2m2,
        _ => return None,
    })
}

macro_rules! entries {
    ($($name:ident: $generic:ident = $k:literal, $s:literal, $m:literal;)*) => {$(
        /// # Safety
        /// As for [`row`].
        #[inline(always)]
        unsafe fn $generic<S: Simd>(call: Call<'_>, piece: Piece) {
            // SAFETY: the caller vouches for all of it.
            unsafe { row::<S, $k, $s, $m>(call, piece) }
        }

        dispatch! { unsafe fn $name(call: Call<'_>, piece: Piece) = super::square::$generic }
    )*};
}

entries! {
    k3s1m1: row3s1m1 = 3, 1, 1;
    k3s2m1: row3s2m1 = 3, 2, 1;
    k5s1m1: row5s1m1 = 5, 1, 1;
    k5s2m1: row5s2m1 = 5, 2, 1;
    k7s1m1: row7s1m1 = 7, 1, 1;
    k7s2m1: row7s2m1 = 7, 2, 1;
    k3s1m2: row3s1m2 = 3, 1, 2;
    k3s2m2: row3s2m2 = 3, 2, 2;
    k7s1m2: row7s1m2 = 7, 1, 2;
    k7s2m2: row7s2m2 = 7, 2, 2;
}

// Loops, not closures: those need not be inlined, and then lack the instruction set.

/// A piece, several pixels at a time. Pixels and channels that are too few for the last turn are joined by some of the turn before, which
/// are computed again, to the same result.
///
/// # Safety
/// As for [`any`](super::any), and there are as many channels as a vector has.
#[inline(always)]
unsafe fn row<S: Simd, const K: usize, const STRIDE: usize, const M: usize>(call: Call<'_>, piece: Piece) {
    let n = piece.pixels;
    // SAFETY: the caller vouches for all of it; each turn is within the piece's pixels.
    unsafe {
        if n >= 8 && (n.is_multiple_of(8) || !n.is_multiple_of(7)) {
            for at in (0..n).step_by(8) {
                turn::<S, K, STRIDE, M, 8>(call, piece, at.min(n - 8));
            }
        } else if n >= 7 {
            for at in (0..n).step_by(7) {
                turn::<S, K, STRIDE, M, 7>(call, piece, at.min(n - 7));
            }
        } else if n >= 4 {
            for at in (0..n).step_by(4) {
                turn::<S, K, STRIDE, M, 4>(call, piece, at.min(n - 4));
            }
        } else {
            for at in 0..n {
                turn::<S, K, STRIDE, M, 1>(call, piece, at);
            }
        }
    }
}

/// All channels of pixels `at..at + P` of a piece.
///
/// # Safety
/// As for [`row`].
#[inline(always)]
unsafe fn turn<S: Simd, const K: usize, const STRIDE: usize, const M: usize, const P: usize>(
    call: Call<'_>,
    piece: Piece,
    at: usize,
) {
    let (of, epilogue) = (call.of, call.epilogue);
    let (row, pixel) = (of.input[2], of.input[3]);
    let plain = epilogue.is_plain();
    // SAFETY: the caller vouches for all of it. Vectors end where the channels do or before; they begin at multiples of M, as their lengths
    // and the number of channels are.
    unsafe {
        let x = call.x.add(piece.x + at * STRIDE * pixel);
        let y = call.y.add(piece.y + at * of.output[3]);
        for channel in (piece.channel..piece.channel + piece.channels).step_by(S::LANES) {
            let channel = channel.min(of.channels - S::LANES);
            let (x, y) = (x.add(channel / M), y.add(channel));
            for p in 0..P {
                S::prefetch_write(y.add(p * of.output[3]));
            }
            // The rows that the row of windows before did not have, of the pixels of the next turn.
            if M == 1 {
                for ky in K - STRIDE..K {
                    for j in P * STRIDE..2 * P * STRIDE {
                        S::prefetch(x.wrapping_add(ky * row + j * pixel));
                    }
                }
            }
            let lanes = epilogue.lanes::<S>(channel);
            let mut sums = [if plain { lanes.bias } else { S::splat(0.0) }; P];
            for ky in 0..K {
                let (x, w) = (x.add(ky * row), call.weights.add(ky * K * call.padded + channel));
                let mut weights = [S::splat(0.0); K];
                for (kx, weight) in weights.iter_mut().enumerate() {
                    *weight = S::load(w.add(kx * call.padded));
                }
                // What a window sees of the row; from one window to the next it moves by the stride.
                let mut seen = [S::splat(0.0); K];
                for (j, seen) in seen.iter_mut().enumerate() {
                    *seen = read::<S, M>(x.add(j * pixel));
                }
                for (p, sum) in sums.iter_mut().enumerate() {
                    if p > 0 {
                        for j in 0..K {
                            seen[j] = if j + STRIDE < K {
                                seen[j + STRIDE]
                            } else {
                                read::<S, M>(x.add((p * STRIDE + j) * pixel))
                            };
                        }
                    }
                    for (v, weight) in seen.iter().zip(&weights) {
                        *sum = S::mul_add(*v, *weight, *sum);
                    }
                }
            }
            for (p, sum) in sums.into_iter().enumerate() {
                let y = y.add(p * of.output[3]);
                if plain {
                    S::store(y, lanes.clamp(sum));
                } else {
                    lanes.store(epilogue, sum, piece.pixel + at + p, channel, y, S::LANES);
                }
            }
        }
    }
}

/// The inputs of a vector of outputs.
///
/// # Safety
/// The instruction set of `S`; there are as many elements as a vector has, or for M = 2 half as many.
#[inline(always)]
unsafe fn read<S: Simd, const M: usize>(x: *const f32) -> S::V {
    // SAFETY: the caller vouches for both.
    unsafe { if M == 1 { S::load(x) } else { S::load_twice(x) } }
}
