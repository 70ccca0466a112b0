//! The matrix kernel: rows of one matrix, which may lie anywhere, times packed columns of another.
//!
//! A row is some runs of `len` elements: for a convolution over channels-last data each row of taps of the kernel is one, since taps beside each
//! other are beside each other in memory as well ("indirect GEMM", Dukhan, arXiv:1907.02129). So a convolution is a matrix product in which
//! nothing is copied; a plain product is one with a single run. A tile of `P` rows by `N` vectors of columns is summed in registers.

use std::cell::RefCell;

use super::{
    aligned::Aligned,
    epilogue::{Epilogue, Then},
    offsets::{Offsets, Rows},
    panels::{Group, PanelData, Panels, padded},
    scaled::scaled,
    simd::{Isa, Set, Simd, dispatch, scalar::Scalar},
    threads::{Shared, Threads},
    unary,
};

#[cfg(test)]
mod tests;

/// What is multiplied: `y[row, :] = epilogue(x[row, :] * w)`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Gemm<'a> {
    pub(crate) x: &'a [f32],
    /// Where each row's first run begins in `x`.
    pub(crate) rows: Rows<'a>,
    /// Where a row's runs begin, from its first on.
    pub(crate) runs: &'a Offsets,
    /// The elements of a run.
    pub(crate) len: usize,
    pub(crate) w: &'a Panels,
    /// Where each row of the result begins in `y`.
    pub(crate) y_rows: Rows<'a>,
    pub(crate) epilogue: Epilogue<'a>,
}

/// How many f32 of packed weights stay in the second-level cache while rows pass: the sums wait in `y` between parts.
const PART: usize = scaled(24 * 1024, 512);
/// The same where weights are widened first, for which the memory is a buffer.
const WIDE_PART: usize = scaled(32 * 1024, 512);
/// From how many times as many elements of columns as of rows on threads share the columns.
const COLUMNS_FROM: usize = 8;
/// How many elements of rows and results shall stay in the second-level cache while groups of columns pass.
const BLOCK: usize = scaled(96 * 1024, 64);
/// The fewest rows of a block.
const LEAST: usize = scaled(48, 5);

impl Gemm<'_> {
    /// Computes the product into `y`. Each element of `y` is summed by one thread, in one order.
    pub(crate) fn run(&self, isa: Isa, threads: &Threads, y: &mut [f32]) {
        let y = Shared::new(y);
        self.check(isa, y.len());
        // SAFETY: `y` is nobody else's, and long enough.
        unsafe { self.run_at(isa, threads, y) }
    }

    /// Panics unless all that is read and written is inside the slices, `y` of this length.
    pub(super) fn check(&self, isa: Isa, y: usize) {
        let rows = self.rows.at.len();
        if rows == 0 || self.w.n == 0 {
            return;
        }
        assert_eq!(self.runs.len() * self.len, self.w.k, "rows are as long as the columns");
        assert!(self.w.k == 0 || self.rows.max + self.runs.max() + self.len <= self.x.len(), "x is too short");
        assert!(self.y_rows.at.len() >= rows && self.y_rows.max + self.w.n <= y, "y is too short");
        assert!(self.y_rows.gap >= self.w.n, "rows of y overlap");
        let width = padded(isa, self.w.n);
        let last = self.w.groups.last().map_or(0, |g| g.start + self.w.k * g.blocks * isa.lanes());
        assert_eq!(last, self.w.k * width, "the columns are packed for {isa:?}");
        if let PanelData::F32(data) = &self.w.data {
            assert!(data.len() >= last, "the packed columns are too short");
        }
        self.epilogue.check(self.w.n, isa.lanes(), rows);
    }

    /// As [`Gemm::run`], of what was [checked](Gemm::check).
    ///
    /// # Safety
    /// It was checked, and nobody else reads or writes the elements of the result meanwhile.
    pub(super) unsafe fn run_at(&self, isa: Isa, threads: &Threads, y: Shared<'_>) {
        let (rows, groups) = (self.rows.at.len(), self.w.groups.len());
        if rows == 0 || groups == 0 {
            return;
        }
        // Threads share the rows, unless the columns are much more: what a thread has written is near it when it reads it again, and layers before
        // and behind share rows too.
        if groups > 1 && self.w.k * self.w.n > COLUMNS_FROM * rows * self.len * self.runs.len().min(3) {
            threads.run(groups, 1, &|range| self.part(isa, y, 0..rows, range));
            return;
        }
        let taps = if self.runs.len() > 1 { 3 } else { 1 };
        let touched = self.w.k / taps + self.w.n * (1 + usize::from(self.epilogue.residual.is_some()));
        let block = if groups == 1 { rows } else { (BLOCK / touched.max(1)).max(LEAST) };
        threads.run(rows, 16, &|range| {
            let mut from = range.start;
            while from < range.end {
                let left = range.end - from;
                let to = if left < block + block / 2 { range.end } else { from + block };
                self.part(isa, y, from..to, 0..groups);
                from = to;
            }
        });
    }

    /// Some rows of some groups of columns.
    fn part(&self, isa: Isa, y: Shared<'_>, rows: std::ops::Range<usize>, groups: std::ops::Range<usize>) {
        for group in &self.w.groups[groups] {
            WIDE.with_borrow_mut(|wide| self.group(isa, y, rows.clone(), group, wide));
        }
    }

    fn group(&self, isa: Isa, y: Shared<'_>, rows: std::ops::Range<usize>, group: &Group, wide: &mut Aligned) {
        let (lanes, n) = (isa.lanes(), group.blocks);
        let width = n * lanes;
        let last = (self.w.n - group.first - (n - 1) * lanes).min(lanes);
        let tiles = tiles(isa, n);
        let limit = (if self.w.is_compressed() { WIDE_PART } else { PART } / width).max(64);
        let (runs, len) = (self.runs.at(), self.len);
        // A part is some whole runs, or a part of one.
        let parts = len.div_ceil(limit).max(1);
        let part = len.div_ceil(parts).next_multiple_of(4).min(len);
        let some = if len <= limit { (limit / len.max(1)).max(1) } else { 1 };
        let (mut run, mut k, mut first) = (0, 0, true);
        loop {
            let end = (run + some).min(runs.len());
            let mut at = 0;
            loop {
                let to = (at + part).min(len);
                let depth = (to - at) * (end - run);
                let w: *const f32 = match &self.w.data {
                    PanelData::F32(data) => data[group.start + k * width..].as_ptr(),
                    _ => {
                        let wide = wide.grow(limit.max(depth) * width);
                        self.w.widen(isa, group, k, k + depth, wide);
                        wide.as_ptr()
                    }
                };
                let finish = end == runs.len() && to == len;
                let count = rows.len();
                // Rows by tiles of nearly one size.
                let tile_count = count.div_ceil(tiles.len());
                let (size, larger) = (count / tile_count, count % tile_count);
                // While tiles are computed, the next part of the weights comes from afar, a share of its bytes with each.
                let (next, bytes) = self.w.address(group.start + (k + depth) * width);
                let share = (depth * width * bytes).div_ceil(tile_count);
                let steps = (depth / 4).max(1);
                let lines = share.div_ceil(64).div_ceil(steps).min(4);
                let mut row = rows.start;
                for i in 0..tile_count {
                    let p = size + usize::from(i < larger);
                    let tile = Tile {
                        x: self.x.as_ptr().wrapping_add(at),
                        rows: &self.rows.at[row..row + p],
                        runs: &runs[run..end],
                        len: to - at,
                        w,
                        ahead: next.wrapping_add(i * share).cast(),
                        ahead_lines: lines,
                        y: y.as_mut_ptr(),
                        y_rows: &self.y_rows.at[row..row + p],
                        channel: group.first,
                        row,
                        last,
                        first,
                        finish,
                        epilogue: &self.epilogue,
                    };
                    // SAFETY: rows, runs, columns and results were checked to be inside their slices; no other thread has these elements of `y`;
                    // `p` is at most the number of tiles, and an `Isa` is of this machine.
                    unsafe { tiles[p - 1](&tile) };
                    if finish && !self.epilogue.then.is_empty() {
                        let columns = width - lanes + last;
                        // SAFETY: these are the elements that the tile has just stored.
                        unsafe { self.then(isa, y, tile.y_rows, group.first, columns) };
                    }
                    row += p;
                }
                (k, first, at) = (k + depth, false, to);
                if at == len {
                    break;
                }
            }
            run = end;
            if run == runs.len() {
                break;
            }
        }
    }
}

impl Gemm<'_> {
    /// What is done to rows that are stored.
    ///
    /// # Safety
    /// All rows have `columns` elements from `first` on, which no other thread has.
    unsafe fn then(&self, isa: Isa, y: Shared<'_>, rows: &[u32], first: usize, columns: usize) {
        for row in rows {
            // SAFETY: by the condition.
            unsafe {
                let to = y.as_mut_ptr().add(*row as usize + first);
                for then in self.epilogue.then {
                    match then {
                        Then::Unary(op) => unary::apply_at(isa, op, to, columns),
                        Then::Half => halve(isa, to, columns),
                    }
                }
            }
        }
    }
}

#[inline(always)]
unsafe fn halve_in<S: Simd>(p: *mut f32, n: usize) {
    for at in (0..n).step_by(S::LANES) {
        let count = (n - at).min(S::LANES);
        // SAFETY: the caller vouches for `n` elements.
        unsafe { S::store_first(p.add(at), S::half(S::load_first(p.add(at), count)), count) };
    }
}

dispatch! { /// Rounds `n` elements to f16.
unsafe fn halve(p: *mut f32, n: usize) = super::gemm::halve_in }

thread_local! {
    /// Weights as f32, a part at a time.
    static WIDE: RefCell<Aligned> = RefCell::default();
}

struct Tile<'a> {
    x: *const f32,
    rows: &'a [u32],
    runs: &'a [u32],
    len: usize,
    w: *const f32,
    /// What is brought nearer meanwhile, some lines for every four elements of a row: the weights that come next.
    ahead: *const f32,
    ahead_lines: usize,
    y: *mut f32,
    y_rows: &'a [u32],
    /// The first column.
    channel: usize,
    /// The first row.
    row: usize,
    /// How many columns of the last vector count.
    last: usize,
    /// Whether sums begin here, and whether they end.
    first: bool,
    finish: bool,
    epilogue: &'a Epilogue<'a>,
}

/// `P` rows by `N` vectors of columns.
///
/// # Safety
/// The instruction set is there; all offsets with what is read or written there are inside what the pointers point to; `rows` and `y_rows`
/// are of `P` elements; nobody else has the elements of `y`.
#[inline(always)]
#[allow(clippy::needless_range_loop)]
unsafe fn tile<S: Simd, const P: usize, const N: usize>(t: &Tile<'_>) {
    // SAFETY: by the conditions above.
    unsafe {
        let mut y = [t.y; P];
        for p in 0..P {
            y[p] = t.y.add(*t.y_rows.get_unchecked(p) as usize + t.channel);
        }
        let zero = S::splat(0.0);
        let mut acc = [[zero; N]; P];
        let biased = t.epilogue.scale.is_none();
        if !t.first {
            for p in 0..P {
                for n in 0..N {
                    let from = y[p].add(n * S::LANES);
                    acc[p][n] = if n + 1 == N { S::load_first(from, t.last) } else { S::load(from) };
                }
            }
        } else if let (Some(bias), true) = (t.epilogue.bias, biased) {
            for n in 0..N {
                let b = S::load(bias.as_ptr().add(t.channel + n * S::LANES));
                for p in 0..P {
                    acc[p][n] = b;
                }
            }
        }
        if t.finish {
            for p in 0..P {
                for n in 0..N {
                    S::prefetch_write(y[p].wrapping_add(n * S::LANES));
                }
            }
            if let Some(r) = &t.epilogue.residual {
                let rows = r.at.at().as_ptr().add(t.row);
                for p in 0..P {
                    let from = r.data.as_ptr().wrapping_add(*rows.add(p) as usize + t.channel);
                    for n in 0..N {
                        S::prefetch(from.wrapping_add(n * S::LANES));
                    }
                }
            }
        }
        let (mut w, mut ahead) = (t.w, t.ahead);
        for run in t.runs {
            let mut x = [t.x; P];
            for p in 0..P {
                x[p] = t.x.add(*t.rows.get_unchecked(p) as usize + *run as usize);
            }
            let mut k = 0;
            macro_rules! step {
                ($i:expr) => {{
                    let mut v = [zero; N];
                    for n in 0..N {
                        v[n] = S::load(w.add(($i * N + n) * S::LANES));
                    }
                    for p in 0..P {
                        let x = S::splat(*x[p].add(k + $i));
                        for n in 0..N {
                            acc[p][n] = S::mul_add(x, v[n], acc[p][n]);
                        }
                    }
                }};
            }
            while k + 4 <= t.len {
                for line in 0..t.ahead_lines {
                    S::prefetch_far(ahead.wrapping_add(line * 16));
                }
                ahead = ahead.wrapping_add(t.ahead_lines * 16);
                step!(0);
                step!(1);
                step!(2);
                step!(3);
                w = w.add(4 * N * S::LANES);
                k += 4;
            }
            while k < t.len {
                step!(0);
                w = w.add(N * S::LANES);
                k += 1;
            }
        }
        if t.finish {
            t.epilogue.apply::<S, P, N>(&mut acc, biased, t.channel, t.row, t.last);
        }
        for p in 0..P {
            for n in 0..N {
                let to = y[p].add(n * S::LANES);
                if n + 1 == N { S::store_first(to, acc[p][n], t.last) } else { S::store(to, acc[p][n]) }
            }
        }
    }
}

type TileFn = unsafe fn(&Tile<'_>);

/// Tables of tiles by instruction set: `NAME[n - 1][p - 1]`.
macro_rules! tables {
    ($name:ident, $entry:ident, $set:ty, [$($feature:literal)?], $($n:literal: $($p:literal)*;)*) => {
        $(#[target_feature(enable = $feature)])?
        unsafe fn $entry<const P: usize, const N: usize>(t: &Tile<'_>) {
            // SAFETY: the caller has the conditions of `tile`.
            unsafe { tile::<$set, P, N>(t) }
        }
        static $name: &[&[TileFn]] = &[$(&[$($entry::<$p, $n>),*]),*];
    };
}

// As many rows as leave registers for the columns and one element of `x`.
#[cfg(target_arch = "x86_64")]
tables! { AVX512, avx512, super::simd::avx512::Avx512, ["avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c"],
1: 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16; 2: 1 2 3 4 5 6 7 8 9 10 11 12; 3: 1 2 3 4 5 6 7 8; 4: 1 2 3 4 5 6; }
#[cfg(target_arch = "x86_64")]
tables! { AVX2, avx2, super::simd::avx2::Avx2, ["avx2,fma,f16c"], 1: 1 2 3 4 5 6 7 8 9 10 11 12; 2: 1 2 3 4 5 6; }
#[cfg(target_arch = "aarch64")]
tables! { NEON, neon, super::simd::neon::Neon, ["neon"],
1: 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16; 2: 1 2 3 4 5 6 7 8 9 10 11 12; 3: 1 2 3 4 5 6 7 8; 4: 1 2 3 4 5 6; }
tables! { SCALAR, plain, Scalar, [], 1: 1 2 3 4 5 6; 2: 1 2 3 4; }

/// The tiles for groups of `n` vectors, by the number of rows less one.
fn tiles(isa: Isa, n: usize) -> &'static [TileFn] {
    let table = match isa.0 {
        #[cfg(target_arch = "x86_64")]
        Set::Avx512 => AVX512,
        #[cfg(target_arch = "x86_64")]
        Set::Avx2 => AVX2,
        #[cfg(target_arch = "aarch64")]
        Set::Neon => NEON,
        _ => SCALAR,
    };
    table[n - 1]
}
