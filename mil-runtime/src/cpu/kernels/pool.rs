//! Max, average and L2 pools over channels-last buffers. What they mean is said in `mil_core::ops::pool`.
//!
//! Windows are clipped to the elements that are there: what lies around them (a halo of zeros) is never read. A pool over all of the
//! spatial dimensions is a reduction: [`super::reduce`] does it faster.

use std::ops::Range;

use super::{
    simd::{Isa, Simd, dispatch},
    threads::{Shared, Threads},
    view::{apart, span},
};

#[cfg(test)]
mod tests;

/// What becomes of the elements of a window.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Pooling {
    /// The greatest; NaN if one is.
    Max,
    /// The mean.
    Average {
        /// Whether padding is not counted.
        exclude_padding: bool,
    },
    /// The square root of the sum of squares.
    L2,
}

/// The windows along one spatial dimension: at place `p` the first element lies on element `p * stride - pad[0]`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Axis {
    /// Elements of the dimension.
    pub(crate) size: usize,
    /// Places of the window: the size of the output.
    pub(crate) places: usize,
    /// Elements of the window.
    pub(crate) kernel: usize,
    /// Elements from place to place.
    pub(crate) stride: usize,
    /// Padding before and after.
    pub(crate) pad: [usize; 2],
}

impl Axis {
    /// A dimension of 1, for those that a pool does not have.
    #[cfg(test)]
    pub(crate) const UNIT: Axis = Axis { size: 1, places: 1, kernel: 1, stride: 1, pad: [0, 0] };

    /// The elements under the window.
    fn elements(&self, place: usize) -> Range<usize> {
        let (start, before) = (place.saturating_mul(self.stride), self.pad[0]);
        let end = start.saturating_add(self.kernel).min(before + self.size).saturating_sub(before);
        start.saturating_sub(before).min(end)..end
    }

    /// The places at which the whole window lies on elements.
    fn inner(&self) -> Range<usize> {
        let end = match (self.pad[0] + self.size).checked_sub(self.kernel) {
            Some(last) => (last / self.stride + 1).min(self.places),
            None => 0,
        };
        self.pad[0].div_ceil(self.stride).min(end)..end
    }

    /// How many elements a mean is taken of, along this dimension, at each place. What lies beyond the padding never counts.
    fn counts(&self, exclude_padding: bool) -> Vec<f32> {
        let [before, after] = self.pad;
        let (first, end) = if exclude_padding { (before, before + self.size) } else { (0, before + self.size + after) };
        let count = |place: usize| {
            let start = place.saturating_mul(self.stride);
            start.saturating_add(self.kernel).min(end).saturating_sub(start.max(first)) as f32
        };
        (0..self.places).map(count).collect()
    }
}

/// Where images lie in a buffer: the first element, and elements from one to the next along the batch and the three spatial
/// dimensions. Channels are neighbours.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Area {
    /// The first element that is no padding.
    pub(crate) offset: usize,
    /// Of batch, depth, height, width.
    pub(crate) strides: [usize; 4],
}

/// A pool of `[images, depth, height, width, channels]`.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Pool {
    pub(crate) kind: Pooling,
    pub(crate) images: usize,
    pub(crate) channels: usize,
    /// Depth, height, width.
    pub(crate) axes: [Axis; 3],
    pub(crate) input: Area,
    pub(crate) output: Area,
    /// Whether results are rounded to f16.
    pub(crate) half: bool,
}

impl Pool {
    /// Computes all places.
    ///
    /// # Panics
    /// If an area does not lie within its slice, if places of the output overlap, or if a stride of a window is 0.
    pub(crate) fn run(&self, isa: Isa, threads: &Threads, x: &[f32], out: &mut [f32]) {
        let shape = |dims: [usize; 3]| [self.images, dims[0], dims[1], dims[2], self.channels];
        let strides = |area: &Area| [area.strides[0], area.strides[1], area.strides[2], area.strides[3], 1];
        let places = shape(self.axes.map(|a| a.places));
        assert!(self.axes.iter().all(|a| a.stride > 0));
        assert!(span(self.input.offset, &shape(self.axes.map(|a| a.size)), &strides(&self.input)) <= x.len());
        assert!(span(self.output.offset, &places, &strides(&self.output)) <= out.len());
        assert!(apart(&places, &strides(&self.output)));
        if places.contains(&0) {
            return;
        }
        let exclude = matches!(self.kind, Pooling::Average { exclude_padding: true });
        let counts = self.axes.map(|a| a.counts(exclude));
        let rows = self.images * self.axes[0].places * self.axes[1].places;
        // Few rows leave threads without work: their channels are then dealt out, too.
        let chunk = if rows < 8 { 4 * isa.lanes() } else { self.channels };
        let chunks = self.channels.div_ceil(chunk);
        let window: usize = self.axes.iter().map(|a| a.kernel.min(a.size.max(1))).product();
        let work = (self.axes[2].places * chunk).saturating_mul(window);
        let out = Shared::new(out);
        threads.run(rows * chunks, (1 << 15) / work.max(1) + 1, &|tasks| {
            // SAFETY: `input` and `output` lie within the slices, as asserted; each task writes the channels of its own row.
            unsafe { pool(isa, self, &counts, tasks, chunk, x.as_ptr(), out.as_mut_ptr()) };
        });
    }
}

const MAX: u8 = 0;
const SUM: u8 = 1;
const SQUARES: u8 = 2;

dispatch! {
    /// `tasks` count rows, and chunks of channels within them.
    ///
    /// # Safety
    /// The areas of the pool lie in the buffers.
    unsafe fn pool(
        pool: &Pool, counts: &[Vec<f32>; 3], tasks: Range<usize>, chunk: usize, x: *const f32, out: *mut f32,
    ) = self::tasks
}

#[inline(always)]
unsafe fn tasks<S: Simd>(
    pool: &Pool,
    counts: &[Vec<f32>; 3],
    tasks: Range<usize>,
    chunk: usize,
    x: *const f32,
    out: *mut f32,
) {
    let [depth, height, width] = &pool.axes;
    let chunks = pool.channels.div_ceil(chunk);
    for task in tasks {
        let (row, first) = (task / chunks, task % chunks * chunk);
        let (oh, rest) = (row % height.places, row / height.places);
        let (od, image) = (rest % depth.places, rest / depth.places);
        let channels = first..(first + chunk).min(pool.channels);
        let row = Row {
            pool,
            image: pool.input.offset + image * pool.input.strides[0],
            depth: depth.elements(od),
            height: height.elements(oh),
            inner: width.inner(),
            count: counts[0][od] * counts[1][oh],
            counts: &counts[2],
        };
        let [n, d, h, _] = pool.output.strides;
        // SAFETY: the row lies in the output.
        unsafe {
            let out = out.add(pool.output.offset + image * n + od * d + oh * h);
            match pool.kind {
                Pooling::Max => row.channels::<S, MAX>(channels, x, out),
                Pooling::Average { .. } => row.channels::<S, SUM>(channels, x, out),
                Pooling::L2 => row.channels::<S, SQUARES>(channels, x, out),
            }
        }
    }
}

/// A row of places.
struct Row<'a> {
    pool: &'a Pool,
    /// Where its image begins.
    image: usize,
    /// The elements under its windows.
    depth: Range<usize>,
    height: Range<usize>,
    /// The places whose windows no border cuts along the width.
    inner: Range<usize>,
    /// What a mean divides by: of depth and height, and of each place along the width.
    count: f32,
    counts: &'a [f32],
}

/// What one more element makes of the result so far.
#[inline(always)]
unsafe fn tap<S: Simd, const K: u8>(so_far: S::V, x: S::V) -> S::V {
    // SAFETY: the caller vouches for the instructions.
    unsafe { if K == SQUARES { S::mul_add(x, x, so_far) } else { join::<S, K>(so_far, x) } }
}

/// What the results of two parts of a window make.
#[inline(always)]
unsafe fn join<S: Simd, const K: u8>(a: S::V, b: S::V) -> S::V {
    // SAFETY: the caller vouches for the instructions.
    unsafe { if K == MAX { S::select(S::eq(b, b), S::max(b, a), b) } else { S::add(a, b) } }
}

impl Row<'_> {
    /// # Safety
    /// `x` is the buffer, `out` the row's first element.
    #[inline(always)]
    unsafe fn channels<S: Simd, const K: u8>(&self, channels: Range<usize>, x: *const f32, out: *mut f32) {
        let mut c = channels.start;
        // SAFETY: all of these channels are there.
        unsafe {
            while c + 4 * S::LANES <= channels.end {
                self.block::<S, K, 4, false>(x.add(c), out.add(c), 0);
                c += 4 * S::LANES;
            }
            if c + 2 * S::LANES <= channels.end {
                self.block::<S, K, 2, false>(x.add(c), out.add(c), 0);
                c += 2 * S::LANES;
            }
            if c + S::LANES <= channels.end {
                self.block::<S, K, 1, false>(x.add(c), out.add(c), 0);
                c += S::LANES;
            }
            if c < channels.end {
                self.block::<S, K, 1, true>(x.add(c), out.add(c), channels.end - c);
            }
        }
    }

    /// The row's places for `V` vectors of channels, the last of which has but `tail` elements if `TAIL`.
    ///
    /// # Safety
    /// As [`Row::channels`], at these channels.
    #[inline(always)]
    unsafe fn block<S: Simd, const K: u8, const V: usize, const TAIL: bool>(
        &self,
        x: *const f32,
        out: *mut f32,
        tail: usize,
    ) {
        let width = &self.pool.axes[2];
        let rows = self.depth.len() * self.height.len();
        // SAFETY: the windows lie in the input, the places in the output.
        unsafe {
            let inner = match (width.kernel, width.stride, rows) {
                (2, 2, 2) => self.inner::<S, K, V, TAIL, 2, 2, 2>(x, out, tail),
                (3, 2, 3) => self.inner::<S, K, V, TAIL, 3, 2, 3>(x, out, tail),
                (3, 1, 3) => self.inner::<S, K, V, TAIL, 3, 1, 3>(x, out, tail),
                _ => 0..0,
            };
            for place in (0..inner.start).chain(inner.end..width.places) {
                let v = self.window::<S, K, V, TAIL>(place, x, tail);
                self.put::<S, K, V, TAIL>(v, place, out, tail);
            }
        }
    }

    /// Any window.
    ///
    /// # Safety
    /// As [`Row::block`].
    #[inline(always)]
    unsafe fn window<S: Simd, const K: u8, const V: usize, const TAIL: bool>(
        &self,
        place: usize,
        x: *const f32,
        tail: usize,
    ) -> [S::V; V] {
        let [_, d, h, w] = self.pool.input.strides;
        let elements = self.pool.axes[2].elements(place);
        // SAFETY: the elements are those of the input.
        unsafe {
            let mut sum = [S::splat(if K == MAX { f32::NEG_INFINITY } else { 0.0 }); V];
            for id in self.depth.clone() {
                for ih in self.height.clone() {
                    let row = x.add(self.image + id * d + ih * h);
                    for iw in elements.clone() {
                        let v = load::<S, V, TAIL>(row.add(iw * w), tail);
                        for i in 0..V {
                            sum[i] = tap::<S, K>(sum[i], v[i]);
                        }
                    }
                }
            }
            sum
        }
    }

    /// Windows `KW` wide and `ROWS` high whose every element is there: what a column of the window gives is kept in registers for
    /// the windows that share it. Gives the places.
    ///
    /// # Safety
    /// As [`Row::block`]; there are `ROWS` rows.
    #[inline(always)]
    unsafe fn inner<
        S: Simd,
        const K: u8,
        const V: usize,
        const TAIL: bool,
        const KW: usize,
        const SW: usize,
        const ROWS: usize,
    >(
        &self,
        x: *const f32,
        out: *mut f32,
        tail: usize,
    ) -> Range<usize> {
        let [_, d, h, w] = self.pool.input.strides;
        let mut rows = [0; ROWS];
        let all = self.depth.clone().flat_map(|id| self.height.clone().map(move |ih| id * d + ih * h));
        rows.iter_mut().zip(all).for_each(|(row, at)| *row = at);
        if self.inner.is_empty() {
            return 0..0;
        }
        // SAFETY: the elements are those of the input.
        unsafe {
            let mut at = x.add(self.image + (self.inner.start * SW - self.pool.axes[2].pad[0]) * w);
            let mut columns = [[S::splat(0.0); V]; KW];
            for column in columns.iter_mut().take(KW - SW) {
                *column = self::column::<S, K, V, TAIL, ROWS>(at, &rows, tail);
                at = at.wrapping_add(w);
            }
            for place in self.inner.clone() {
                for column in columns.iter_mut().skip(KW - SW) {
                    *column = self::column::<S, K, V, TAIL, ROWS>(at, &rows, tail);
                    at = at.wrapping_add(w);
                }
                let mut sum = columns[0];
                for column in &columns[1..] {
                    for i in 0..V {
                        sum[i] = join::<S, K>(sum[i], column[i]);
                    }
                }
                self.put::<S, K, V, TAIL>(sum, place, out, tail);
                for i in 0..KW - SW {
                    columns[i] = columns[i + SW];
                }
            }
        }
        self.inner.clone()
    }

    /// Writes a place.
    ///
    /// # Safety
    /// As [`Row::block`].
    #[inline(always)]
    unsafe fn put<S: Simd, const K: u8, const V: usize, const TAIL: bool>(
        &self,
        v: [S::V; V],
        place: usize,
        out: *mut f32,
        tail: usize,
    ) {
        // SAFETY: the place is in the row.
        unsafe {
            let out = out.add(place * self.pool.output.strides[3]);
            let count = self.count * self.counts[place];
            // The reciprocal of a power of two is exact.
            let exact = count.to_bits() & 0x007f_ffff == 0;
            for (i, mut v) in v.into_iter().enumerate() {
                if K == SUM && exact {
                    v = S::mul(v, S::splat(1.0 / count));
                } else if K == SUM {
                    v = quotient::<S>(v, S::splat(count), S::splat(1.0 / count));
                } else if K == SQUARES {
                    v = S::sqrt(v);
                }
                if self.pool.half {
                    v = S::half(v);
                }
                if TAIL && i == V - 1 {
                    S::store_first(out.add(i * S::LANES), v, tail);
                } else {
                    S::store(out.add(i * S::LANES), v);
                }
            }
        }
    }
}

/// `v / count`: a division takes longer than the sum that it is of. The remainder of a first quotient makes the second the one
/// that rounding once gives; it is no number where the quotient is none or infinite.
///
/// # Safety
/// `S` is of this machine.
#[inline(always)]
unsafe fn quotient<S: Simd>(v: S::V, count: S::V, reciprocal: S::V) -> S::V {
    // SAFETY: as the caller vouches.
    unsafe {
        let first = S::mul(v, reciprocal);
        let remainder = S::neg_mul_add(first, count, v);
        S::select(S::eq(remainder, remainder), S::mul_add(remainder, reciprocal, first), first)
    }
}

/// # Safety
/// So many elements are there.
#[inline(always)]
unsafe fn load<S: Simd, const V: usize, const TAIL: bool>(at: *const f32, tail: usize) -> [S::V; V] {
    // SAFETY: as the caller vouches.
    unsafe {
        let mut v = [S::splat(0.0); V];
        for (i, v) in v.iter_mut().enumerate() {
            let at = at.add(i * S::LANES);
            *v = if TAIL && i == V - 1 { S::load_first(at, tail) } else { S::load(at) };
        }
        v
    }
}

/// What a column of a window gives.
///
/// # Safety
/// It is there.
#[inline(always)]
unsafe fn column<S: Simd, const K: u8, const V: usize, const TAIL: bool, const ROWS: usize>(
    at: *const f32,
    rows: &[usize; ROWS],
    tail: usize,
) -> [S::V; V] {
    // SAFETY: as the caller vouches.
    unsafe {
        let mut sum = load::<S, V, TAIL>(at.add(rows[0]), tail);
        if K == SQUARES {
            for sum in &mut sum {
                *sum = S::mul(*sum, *sum);
            }
        }
        for row in &rows[1..] {
            let v = load::<S, V, TAIL>(at.add(*row), tail);
            for i in 0..V {
                sum[i] = tap::<S, K>(sum[i], v[i]);
            }
        }
        sum
    }
}
