//! From pixels to planes and back. A vector is of channels; where those are no whole vectors, the last begins before the end of the one
//! before and does some again.

use std::ops::Range;

use super::{Call, PLANES, Planes};
use crate::cpu::kernels::simd::{Simd, dispatch};

/// A tile's place: its input, its output, the number of its first output pixel, and how many pixels it has (2x2 but for the last).
struct Tile {
    x: usize,
    y: usize,
    pixel: usize,
    height: usize,
    width: usize,
}

impl Tile {
    #[inline(always)]
    fn of(call: &Call<'_>, n: usize) -> Tile {
        let ([_, h, w], input, output) = (call.of.size, call.of.input, call.of.output);
        let (rows, columns) = (h.div_ceil(2), w.div_ceil(2));
        let (batch, row, column) = (n / columns / rows, n / columns % rows * 2, n % columns * 2);
        Tile {
            x: batch * input[0] + row * input[1] + column * input[2],
            y: batch * output[0] + row * output[1] + column * output[2],
            pixel: (batch * h + row) * w + column,
            height: (h - row).min(2),
            width: (w - column).min(2),
        }
    }
}

/// Where vectors of `lanes` begin, and how many elements each has.
#[inline(always)]
fn vectors(channels: usize, lanes: usize) -> impl Iterator<Item = (usize, usize)> {
    (0..channels).step_by(lanes).map(move |c| (c.min(channels.saturating_sub(lanes)), channels.min(lanes)))
}

dispatch! {
    /// Transforms the input of some tiles; the first is number `at` of its planes.
    ///
    /// # Safety
    /// The input holds what the tiles read, the planes have room, and nobody else has that part of them.
    pub(super) unsafe fn forward(call: &Call<'_>, planes: &Planes, tiles: Range<usize>, at: usize) = super::transform::forward_any
}

dispatch! {
    /// Transforms the planes of some tiles to output; the first is number `at` of its planes.
    ///
    /// # Safety
    /// The planes are written, the output and what the epilogue reads hold the tiles, and nobody else has that part of the output.
    pub(super) unsafe fn back(call: &Call<'_>, planes: &Planes, tiles: Range<usize>, at: usize) = super::transform::back_any
}

/// # Safety
/// As for [`forward`].
// Loops, not closures over arrays: those need not be inlined, and then lack the instruction set.
#[allow(clippy::needless_range_loop)]
#[inline(always)]
unsafe fn forward_any<S: Simd>(call: &Call<'_>, planes: &Planes, tiles: Range<usize>, at: usize) {
    let [_, row, pixel] = call.of.input;
    let inputs = call.of.inputs;
    for (n, tile) in tiles.enumerate() {
        let tile = Tile::of(call, tile);
        for (c, count) in vectors(inputs, S::LANES) {
            // SAFETY: the caller vouches for tiles and planes; a vector is within the channels.
            unsafe {
                let (x, to) = (call.x.add(tile.x + c), planes.from.add((at + n) * inputs + c));
                let mut columns = [[S::splat(0.0); 4]; 4];
                for (j, column) in columns.iter_mut().enumerate() {
                    let x = x.add(j * pixel);
                    let (first, second) = (S::load_first(x, count), S::load_first(x.add(row), count));
                    let (third, fourth) = (S::load_first(x.add(2 * row), count), S::load_first(x.add(3 * row), count));
                    *column = spread::<S>([first, second, third, fourth]);
                }
                for i in 0..4 {
                    let line = spread::<S>([columns[0][i], columns[1][i], columns[2][i], columns[3][i]]);
                    for (j, v) in line.into_iter().enumerate() {
                        S::store_first(to.add((i * 4 + j) * planes.from_step), v, count);
                    }
                }
            }
        }
    }
}

/// Four inputs of a line.
///
/// # Safety
/// The instruction set of `S`.
#[inline(always)]
unsafe fn spread<S: Simd>(d: [S::V; 4]) -> [S::V; 4] {
    // SAFETY: the caller vouches for it.
    unsafe { [S::sub(d[0], d[2]), S::add(d[1], d[2]), S::sub(d[2], d[1]), S::sub(d[1], d[3])] }
}

/// # Safety
/// As for [`back`].
#[allow(clippy::needless_range_loop)]
#[inline(always)]
unsafe fn back_any<S: Simd>(call: &Call<'_>, planes: &Planes, tiles: Range<usize>, at: usize) {
    let [_, row, pixel] = call.of.output;
    let (outputs, epilogue) = (call.of.outputs, call.epilogue);
    let plain = epilogue.is_plain();
    for (n, tile) in tiles.enumerate() {
        let tile = Tile::of(call, tile);
        for (c, count) in vectors(outputs, S::LANES) {
            // SAFETY: the caller vouches for tiles, planes and epilogue; a vector is within the channels.
            unsafe {
                let (from, y) = (planes.to.add((at + n) * outputs + c), call.y.add(tile.y + c));
                let mut columns = [[S::splat(0.0); 2]; 4];
                for (j, column) in columns.iter_mut().enumerate() {
                    let (from, line) = (from.add(j * planes.to_step), 4 * planes.to_step);
                    let (first, second) = (S::load_first(from, count), S::load_first(from.add(line), count));
                    let (third, fourth) = (from.add(2 * line), from.add(3 * line));
                    *column = gather::<S>([first, second, S::load_first(third, count), S::load_first(fourth, count)]);
                }
                let lanes = epilogue.lanes::<S>(c);
                for i in 0..tile.height {
                    let line = gather::<S>([columns[0][i], columns[1][i], columns[2][i], columns[3][i]]);
                    for (j, v) in line.into_iter().enumerate().take(tile.width) {
                        let y = y.add(i * row + j * pixel);
                        if plain {
                            S::store_first(y, lanes.clamp(S::add(v, lanes.bias)), count);
                        } else {
                            lanes.store(epilogue, v, tile.pixel + i * call.of.size[2] + j, c, y, count);
                        }
                    }
                }
            }
        }
    }
}

/// Two outputs of a line.
///
/// # Safety
/// The instruction set of `S`.
#[inline(always)]
unsafe fn gather<S: Simd>(m: [S::V; 4]) -> [S::V; 2] {
    // SAFETY: the caller vouches for it.
    unsafe { [S::add(S::add(m[0], m[1]), m[2]), S::sub(S::sub(m[1], m[2]), m[3])] }
}

const _: () = assert!(PLANES == 16);
