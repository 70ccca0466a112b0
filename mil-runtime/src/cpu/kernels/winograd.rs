//! Convolution by 3x3 kernels with stride 1 in 16 products of matrices: F(2x2, 3x3) of Winograd's algorithm (Lavin and Gray,
//! arXiv:1509.09308), 2.25 times fewer multiplications.
//!
//! A tile is 2x2 output pixels, of 4x4 input pixels. Tiles are taken in blocks whose 16 transformed planes stay in the cache; the products
//! are the caller's.

#[cfg(test)]
mod tests;
mod transform;

use std::ops::Range;

use super::{
    epilogue::Epilogue,
    scaled::scaled,
    simd::Isa,
    threads::{Shared, Threads},
};

/// Planes of a transformed tile.
pub(crate) const PLANES: usize = 16;

/// Elements that the planes of a block may have, in and out: 768 KB, part of an L2 cache.
const BLOCK: usize = scaled(192 * 1024, 256);

/// The same where the weights are larger than that.
const LARGE_BLOCK: usize = scaled(512 * 1024, 512);

/// The fewest tiles of a block, so that the weights are not read for little.
const LEAST: usize = scaled(24, 3);

/// A product of matrices for one plane: `(plane, x, y, rows)` makes `y`, `[rows][outputs]`, of `x`, `[rows][inputs]`, and the plane's
/// [weights](weights).
pub(crate) type Product<'a> = dyn Fn(usize, &[f32], &mut [f32], usize) + Sync + 'a;

/// Weights for the products, `[plane][output][input]`, from those of the op, `[output][input][3][3]`. Transformed in f64, rounded once.
pub(crate) fn weights(w: &[f32], outputs: usize, inputs: usize) -> Vec<f32> {
    assert_eq!(w.len(), outputs * inputs * 9);
    // g[0], the halved sum and difference of the outer and the inner, g[2].
    let line = |g: [f64; 3]| [g[0], (g[0] + g[1] + g[2]) / 2.0, (g[0] - g[1] + g[2]) / 2.0, g[2]];
    let mut out = vec![0.0; PLANES * outputs * inputs];
    for (at, w) in w.chunks_exact(9).enumerate() {
        let rows: [_; 3] = std::array::from_fn(|r| line(std::array::from_fn(|c| f64::from(w[r * 3 + c]))));
        for column in 0..4 {
            for (row, x) in line(std::array::from_fn(|r| rows[r][column])).into_iter().enumerate() {
                out[(row * 4 + column) * outputs * inputs + at] = x as f32;
            }
        }
    }
    out
}

/// A convolution of given shapes. Axes are batch, height, width.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Winograd {
    /// Input channels.
    pub(crate) inputs: usize,
    /// Output channels.
    pub(crate) outputs: usize,
    /// Output pixels along each axis.
    pub(crate) size: [usize; 3],
    /// Elements from one input pixel to the next along each axis.
    pub(crate) input: [usize; 3],
    /// Elements from one output pixel to the next along each axis.
    pub(crate) output: [usize; 3],
}

/// What the transforms get; all has been checked.
#[derive(Clone, Copy)]
struct Call<'a> {
    of: &'a Winograd,
    x: *const f32,
    epilogue: &'a Epilogue<'a>,
    y: *mut f32,
}

/// A block's transformed planes.
#[derive(Clone, Copy)]
struct Planes {
    /// Those of the input.
    from: *mut f32,
    /// Elements from one to the next.
    from_step: usize,
    /// Those of the output.
    to: *mut f32,
    /// Elements from one to the next.
    to_step: usize,
}

// SAFETY: it is used like `Shared`: whoever writes through the pointers vouches that no two threads do so at one place.
unsafe impl Sync for Planes {}
// SAFETY: as above.
unsafe impl Sync for Call<'_> {}

/// How the work is shared.
#[derive(Clone, Copy, PartialEq, Debug)]
struct Sharing {
    /// Tiles of the largest block.
    tiles: usize,
    /// Of how many threads each has blocks of its own; `None` if all work on one block, as the weights are more than what they are for.
    own: Option<usize>,
}

impl Winograd {
    /// Input pixels along an axis that are read for so many output pixels: tiles may hang over by one. What the one too many holds does not
    /// matter.
    pub(crate) fn reach(size: usize) -> usize {
        size.next_multiple_of(2) + 2
    }

    /// Elements that are read from the first window's first element on.
    pub(crate) fn reads(&self) -> usize {
        let step = |axis: usize, n: usize| (n - 1).saturating_mul(self.input[axis]);
        let rows = step(1, Winograd::reach(self.size[1])).saturating_add(step(2, Winograd::reach(self.size[2])));
        step(0, self.size[0]).saturating_add(rows).saturating_add(self.inputs)
    }

    /// Elements from the first written one to the end of the last.
    pub(crate) fn writes(&self) -> usize {
        let step = |axis: usize| (self.size[axis] - 1).saturating_mul(self.output[axis]);
        (0..3).map(step).fold(self.outputs, usize::saturating_add)
    }

    /// Elements of scratch memory that [`run`](Self::run) needs with so many threads.
    pub(crate) fn scratch(&self, threads: usize) -> usize {
        let sharing = self.sharing(threads);
        sharing.own.unwrap_or(1) * self.block(sharing.tiles)
    }

    /// Convolves. `x` begins with the first window, `y` with the first output pixel; `product` multiplies by the [weights](weights), each
    /// row alike however many rows there are. The epilogue's residual has a place for each output pixel in row-major order. Memory is best
    /// aligned to cache lines.
    ///
    /// Panics if a slice does not hold what is read or written, or if output pixels overlap.
    #[allow(clippy::too_many_arguments)]
    pub(crate) fn run(
        &self,
        isa: Isa,
        threads: &Threads,
        x: &[f32],
        epilogue: &Epilogue<'_>,
        y: &mut [f32],
        scratch: &mut [f32],
        product: &Product<'_>,
    ) {
        let pixels: usize = self.size.iter().product();
        if pixels == 0 || self.outputs == 0 {
            return;
        }
        assert!(self.inputs > 0, "no input channels");
        assert!(x.len() >= self.reads(), "an input of {} elements, read up to {}", x.len(), self.reads());
        assert!(y.len() >= self.writes(), "an output of {} elements, written up to {}", y.len(), self.writes());
        let mut end = self.outputs;
        for axis in (0..3).rev() {
            assert!(self.size[axis] == 1 || self.output[axis] >= end, "output pixels overlap along axis {axis}");
            end = end.saturating_add((self.size[axis] - 1).saturating_mul(self.output[axis]));
        }
        epilogue.check(self.outputs, isa.lanes(), pixels);
        let (sharing, needed) = (self.sharing(threads.count()), self.scratch(threads.count()));
        assert!(scratch.len() >= needed, "scratch memory of {} elements for {needed}", scratch.len());

        let call = Call { of: self, x: x.as_ptr(), epilogue, y: y.as_mut_ptr() };
        let scratch = Shared::new(scratch);
        let tiles = self.tiles();
        let Some(own) = sharing.own else {
            // SAFETY: the scratch memory has a block.
            let planes = unsafe { self.planes(scratch.as_mut_ptr(), tiles) };
            // Each pass begins when the one before has ended.
            threads.run(tiles, 2, &|range| {
                // SAFETY: input and planes are as long as tiles need, as asserted; tiles have planes' elements of their own.
                unsafe { transform::forward(isa, &call, &planes, range.clone(), range.start) }
            });
            threads.run(PLANES, 1, &|range| {
                // SAFETY: the planes of the input are written; each of the output is one range's.
                unsafe { self.products(&planes, range, tiles, product) }
            });
            threads.run(tiles, 2, &|range| {
                // SAFETY: the planes are written; output and residual are as long as tiles need; no two tiles write the same pixel.
                unsafe { transform::back(isa, &call, &planes, range.clone(), range.start) }
            });
            return;
        };
        let call = &call;
        threads.run(own, 1, &|parts| {
            for part in parts {
                let (from, to) = (part * tiles / own, (part + 1) * tiles / own);
                let blocks = (to - from).div_ceil(sharing.tiles).max(1);
                for block in 0..blocks {
                    let cut = |n: usize| from + n * (to - from) / blocks;
                    let range = cut(block)..cut(block + 1);
                    // SAFETY: as above, with scratch memory of each part's own, of a block for each.
                    unsafe {
                        let memory = scratch.as_mut_ptr().add(part * self.block(sharing.tiles));
                        let planes = self.planes(memory, range.len());
                        transform::forward(isa, call, &planes, range.clone(), 0);
                        self.products(&planes, 0..PLANES, range.len(), product);
                        transform::back(isa, call, &planes, range, 0);
                    }
                }
            }
        });
    }

    fn tiles(&self) -> usize {
        self.size[0] * self.size[1].div_ceil(2) * self.size[2].div_ceil(2)
    }

    fn sharing(&self, threads: usize) -> Sharing {
        let (tiles, channels) = (self.tiles(), self.inputs + self.outputs);
        if threads > 1 && self.inputs * self.outputs > tiles * channels {
            return Sharing { tiles, own: None };
        }
        // Parts are as equal as can be, and so are the blocks of a part: none is larger than the largest part in as many blocks.
        let own = threads.min(tiles).max(1);
        let part = tiles.div_ceil(own);
        // Weights that do not fit beside a block are read anew for each: then rather larger blocks.
        let block = if PLANES * self.inputs * self.outputs > BLOCK { LARGE_BLOCK } else { BLOCK };
        let most = (block / PLANES / channels.max(1)).max(LEAST);
        Sharing { tiles: part.div_ceil(part.div_ceil(most).max(1)), own: Some(own) }
    }

    /// Elements from one plane to the next, for so many tiles of so many channels: whole cache lines, and one more, lest all planes fall on
    /// the same sets of the cache.
    fn step(tiles: usize, channels: usize) -> usize {
        (tiles * channels).next_multiple_of(16) + 16
    }

    /// Elements of a block.
    fn block(&self, tiles: usize) -> usize {
        PLANES * (Winograd::step(tiles, self.inputs) + Winograd::step(tiles, self.outputs))
    }

    /// The planes of a block of so many tiles.
    ///
    /// # Safety
    /// At `memory` are [`block`](Self::block) elements.
    unsafe fn planes(&self, memory: *mut f32, tiles: usize) -> Planes {
        let (from_step, to_step) = (Winograd::step(tiles, self.inputs), Winograd::step(tiles, self.outputs));
        // SAFETY: the caller vouches for the memory.
        Planes { from: memory, from_step, to: unsafe { memory.add(PLANES * from_step) }, to_step }
    }

    /// The products of some planes.
    ///
    /// # Safety
    /// The planes are of so many tiles; those of the input are written, and nobody else has these of the output.
    unsafe fn products(&self, planes: &Planes, range: Range<usize>, tiles: usize, product: &Product<'_>) {
        for plane in range {
            // SAFETY: the caller vouches for them; a plane has as many elements.
            let (x, y) = unsafe {
                let x = planes.from.add(plane * planes.from_step).cast_const();
                let y = planes.to.add(plane * planes.to_step);
                let x = std::slice::from_raw_parts(x, tiles * self.inputs);
                (x, std::slice::from_raw_parts_mut(y, tiles * self.outputs))
            };
            product(plane, x, y, tiles);
        }
    }
}
