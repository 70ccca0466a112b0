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
    simd::{Isa, Set, Simd, dispatch, scalar::Scalar},
    threads::{Shared, Threads},
    unary,
};

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
const PART: usize = 24 * 1024;
/// The same where weights are widened first, for which the memory is a buffer.
const WIDE_PART: usize = 32 * 1024;
/// How many elements of rows and results shall stay in the second-level cache while groups of columns pass.
const BLOCK: usize = 96 * 1024;

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
        // Threads share what is larger: the columns, or the rows.
        if groups > 1 && self.w.k * self.w.n > rows * self.len * self.runs.len().min(3) {
            threads.run(groups, 1, &|range| self.part(isa, y, 0..rows, range));
            return;
        }
        let taps = if self.runs.len() > 1 { 3 } else { 1 };
        let touched = self.w.k / taps + self.w.n * (1 + usize::from(self.epilogue.residual.is_some()));
        let block = if groups == 1 { rows } else { (BLOCK / touched.max(1)).max(48) };
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
                // While tiles are computed, the next part of the weights comes from afar, a share with each. Widened weights are near.
                let share = if self.w.is_compressed() { 0 } else { (depth * width).div_ceil(tile_count) };
                let steps = (depth / 4).max(1);
                let lines = share.div_ceil(16).div_ceil(steps).min(4);
                let mut row = rows.start;
                for i in 0..tile_count {
                    let p = size + usize::from(i < larger);
                    let tile = Tile {
                        x: self.x.as_ptr().wrapping_add(at),
                        rows: &self.rows.at[row..row + p],
                        runs: &runs[run..end],
                        len: to - at,
                        w,
                        ahead: w.wrapping_add(depth * width + i * share),
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

#[cfg(test)]
mod tests {
    use half::f16;
    use proptest::prelude::*;

    use super::{
        super::{
            epilogue::{Activation, Residual},
            panels::{Affine, Source, pad},
        },
        *,
    };

    fn offsets(at: impl IntoIterator<Item = usize>) -> Offsets {
        Offsets::new(at).unwrap()
    }

    fn numbers(count: usize, seed: u32) -> Vec<f32> {
        let mut s = seed.wrapping_mul(2654435761).wrapping_add(12345);
        let mut next = || {
            s = s.wrapping_mul(1664525).wrapping_add(1013904223);
            (s >> 8) as f32 / 8388608.0 - 1.0
        };
        (0..count).map(|_| next()).collect()
    }

    struct Case {
        runs: Vec<usize>,
        len: usize,
        rows: usize,
        n: usize,
        epilogue: usize,
        half: bool,
    }

    fn check(isa: Isa, threads: &Threads, case: &Case) {
        let Case { runs, len, rows, n, .. } = case;
        let (runs, k) = (offsets(runs.iter().copied()), runs.len() * len);
        let x = numbers(rows * 3 + runs.max() + len, 1);
        let w = numbers(k * n, 2);
        let row_at = offsets((0..*rows).map(|r| r * 3));
        let stride = n + 2;
        let y_at = offsets((0..*rows).map(|r| r * stride));
        let (scale, bias, slope) = (numbers(*n, 3), numbers(*n, 4), numbers(*n, 5));
        let residual = numbers(rows * stride + n, 6);
        let padded = |v: &[f32]| pad(isa, v.iter().copied(), *n);
        let (s, b, p) = (padded(&scale), padded(&bias), padded(&slope));
        let epilogue = Epilogue {
            scale: (case.epilogue & 1 != 0).then_some(&s[..]),
            bias: (case.epilogue & 2 != 0).then_some(&b[..]),
            residual: (case.epilogue & 4 != 0).then_some(Residual { data: &residual, at: &y_at }),
            activation: match case.epilogue >> 3 {
                0 => Activation::None,
                1 => Activation::Clamp { low: 0.0, high: 0.5 },
                2 => Activation::Leaky(0.25),
                _ => Activation::Prelu(&p),
            },
            half: case.half,
            then: &[],
        };
        let source = Source { inner: k, tap: 0, row: *n, column: 1 };
        let panels = Panels::f32(isa, threads, k, *n, &w, source);
        let mut y = vec![9.0; rows * stride];
        let gemm =
            Gemm { x: &x, rows: row_at.rows(), runs: &runs, len: *len, w: &panels, y_rows: y_at.rows(), epilogue };
        gemm.run(isa, threads, &mut y);
        let half = |v: f64| if case.half { f64::from(f16::from_f64(v)) } else { v };
        for r in 0..*rows {
            for c in 0..stride {
                let got = f64::from(y[r * stride + c]);
                if c >= *n {
                    assert_eq!(got, 9.0, "written behind the columns");
                    continue;
                }
                let (mut sum, mut size) = (0f64, 1f64);
                for (i, run) in runs.at().iter().enumerate() {
                    for j in 0..*len {
                        let t = f64::from(x[r * 3 + *run as usize + j]) * f64::from(w[(i * len + j) * n + c]);
                        (sum, size) = (sum + t, size + t.abs());
                    }
                }
                let at = |v: &[f32], has: bool, or: f64| if has { f64::from(v[c]) } else { or };
                sum = half(sum * at(&scale, epilogue.scale.is_some(), 1.0) + at(&bias, epilogue.bias.is_some(), 0.0));
                size = size.max(sum.abs());
                if epilogue.residual.is_some() {
                    sum = half(sum + f64::from(residual[r * stride + c]));
                }
                let expected = match case.epilogue >> 3 {
                    0 => sum,
                    1 => sum.clamp(0.0, 0.5),
                    2 if sum < 0.0 => half(sum * 0.25),
                    3 if sum < 0.0 => half(sum * f64::from(slope[c])),
                    _ => sum,
                };
                // The last bit may fall either way where f16 is rounded.
                let bound = size * if case.half { 2e-3 } else { 2e-6 };
                assert!((got - expected).abs() <= bound, "{isa:?} row {r}, column {c}: {got} for {expected}");
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn products_of_all_sizes(
            gaps in prop::collection::vec(0usize..40, 1..5), len in 1usize..40, rows in 1usize..50, n in 1usize..150,
            epilogue in 0usize..32, half in any::<bool>(),
        ) {
            let runs = gaps.iter().scan(0, |at, g| { let here = *at; *at += g; Some(here) }).collect();
            let case = Case { runs, len, rows, n, epilogue, half };
            for isa in Isa::available() {
                check(isa, &Threads::new(2), &case);
            }
        }
    }

    #[test]
    fn long_sums_are_taken_in_parts() {
        for isa in Isa::available() {
            for (runs, len) in [(vec![0], 5000), (vec![0, 700, 1400], 700), (vec![0, 4000], 3999)] {
                let case = Case { runs, len, rows: 7, n: 70, epilogue: 31, half: false };
                check(isa, &Threads::new(1), &case);
            }
        }
    }

    #[test]
    fn weights_stay_as_small_as_they_are() {
        for isa in Isa::available() {
            let (k, n, rows, threads) = (300, 70, 5, Threads::new(1));
            let source = Source { inner: k, tap: 0, row: 1, column: k };
            let (x, raw) = (numbers(rows * k, 1), numbers(k * n, 2));
            let (row_at, y_at) = (offsets((0..rows).map(|r| r * k)), offsets((0..rows).map(|r| r * n)));
            let product = |w: &Panels| {
                let (mut y, runs, epilogue) = (vec![0.0; rows * n], offsets([0]), Epilogue::default());
                Gemm { x: &x, rows: row_at.rows(), runs: &runs, len: k, w, y_rows: y_at.rows(), epilogue }
                    .run(isa, &threads, &mut y);
                y
            };
            let exactly = |small: &Panels, same: Vec<f32>| {
                assert_eq!(product(small), product(&Panels::f32(isa, &threads, k, n, &same, source)), "{isa:?}");
                assert!(small.bytes() < k * padded(isa, n) * 3);
            };
            let halves: Vec<f16> = raw.iter().map(|v| f16::from_f32(*v)).collect();
            exactly(&Panels::f16(isa, &threads, k, n, &halves, source), halves.iter().map(|h| h.to_f32()).collect());
            let ints: Vec<i8> = raw.iter().map(|v| (v * 127.0) as i8).collect();
            let bytes: Vec<u8> = ints.iter().map(|i| *i as u8).collect();
            let (scale, zero) = (numbers(n, 3), (0..n).map(|c| c as f32 - 9.0).collect::<Vec<_>>());
            for half in [false, true] {
                let affine = Affine { scale: &scale, zero: &zero, half };
                let round = |v: f32| if half { f16::from_f32(v).to_f32() } else { v };
                let value = |(i, q): (usize, f32)| round((q - zero[i / k]) * scale[i / k]);
                let same = ints.iter().map(|q| f32::from(*q)).enumerate().map(value).collect();
                exactly(&Panels::int8(isa, &threads, (k, n), &ints, source, affine), same);
                let same = bytes.iter().map(|q| f32::from(*q)).enumerate().map(value).collect();
                exactly(&Panels::uint8(isa, &threads, (k, n), &bytes, source, affine), same);
            }
            let indices: Vec<u8> = bytes.iter().map(|b| b % 16).collect();
            let (table, tables) = (numbers(32, 4), (0..n).map(|c| u32::from(c >= 35)).collect::<Vec<_>>());
            let same = (0..k * n).map(|i| table[tables[i / k] as usize * 16 + usize::from(indices[i])]).collect();
            exactly(&Panels::lut(isa, &threads, (k, n), &indices, source, table.clone(), tables.clone(), 16), same);
        }
    }

    /// `cargo test --release -p mil-runtime --lib gemm::tests::speed -- --ignored --nocapture`
    #[test]
    #[ignore = "a measurement"]
    fn speed() {
        let (isa, threads) = (Isa::chosen(), Threads::new(1));
        for (rows, k, n) in [
            (3136, 64, 64),
            (3136, 256, 64),
            (3136, 576, 64),
            (196, 1024, 256),
            (49, 512, 2048),
            (128, 384, 1536),
            (48, 48, 64),
        ] {
            let source = Source { inner: k, tap: 0, row: 1, column: k };
            let panels = Panels::f32(isa, &threads, k, n, &numbers(k * n, 1), source);
            let x = numbers(rows * k, 2);
            let (x_rows, y_rows) = (offsets((0..rows).map(|r| r * k)), offsets((0..rows).map(|r| r * n)));
            let (runs, mut y) = (offsets([0]), Aligned::zeros(rows * n));
            let gemm = Gemm {
                x: &x,
                rows: x_rows.rows(),
                runs: &runs,
                len: k,
                w: &panels,
                y_rows: y_rows.rows(),
                epilogue: Epilogue::default(),
            };
            let mut best = f64::INFINITY;
            for _ in 0..30 {
                let start = std::time::Instant::now();
                gemm.run(isa, &threads, &mut y);
                best = best.min(start.elapsed().as_secs_f64());
            }
            let flops = 2.0 * (rows * k * n) as f64;
            println!("{isa:?} {rows} x {k} x {n}: {:.1} us, {:.1} GFLOP/s", best * 1e6, flops / best * 1e-9);
        }
    }

    #[test]
    #[should_panic(expected = "x is too short")]
    fn rows_outside_are_not_read() {
        let isa = Isa::SCALAR;
        let panels =
            Panels::f32(isa, &Threads::new(1), 2, 1, &[1.0, 2.0], Source { inner: 2, tap: 0, row: 1, column: 2 });
        let (rows, runs) = (offsets([0, 1]), offsets([0]));
        let epilogue = Epilogue::default();
        Gemm { x: &[1.0, 2.0], rows: rows.rows(), runs: &runs, len: 2, w: &panels, y_rows: rows.rows(), epilogue }.run(
            isa,
            &Threads::new(1),
            &mut [0.0; 2],
        );
    }
}
