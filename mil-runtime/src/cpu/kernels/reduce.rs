//! Reductions of strided views. What they mean is said in `mil_core::ops::reduce`: sums and products are taken in f64 and rounded once.
//!
//! A reduction whose reduced elements are neighbours adds vectors along them; one whose kept elements are (a pool over all spatial
//! dimensions of a channels-last tensor) has one result in each element of a vector.

use std::ops::Range;

use super::{
    simd::{Isa, dispatch, tail::keep_first, wide::Wide},
    threads::{Shared, Threads},
    view::{Dim, apart, merged, place, places, span},
};

mod fold;
#[cfg(test)]
mod tests;

use fold::{Absolute, Add, Exponentials, Fold, Most, Product, Squares};

/// What becomes of the elements, by the name of the op.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Reducing {
    L1Norm,
    L2Norm,
    LogSum,
    LogSumExp,
    Max,
    Mean,
    Min,
    Prod,
    Sum,
    SumSquare,
}

/// A reduction of a view, made ready.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Reduce {
    op: Reducing,
    half: bool,
    offset: usize,
    out_offset: usize,
    /// Elements that a result is made of.
    count: usize,
    /// Dimensions of the result, the one whose elements are nearest last.
    kept: Vec<Dim<2>>,
    /// Where the runs of reduced elements of a result begin, from its first.
    runs: Vec<usize>,
    /// The elements of a run.
    run: Dim<2>,
    /// Elements that the slices must have.
    spans: [usize; 2],
}

/// A view to be reduced.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Input<'a> {
    /// The first element.
    pub(crate) offset: usize,
    pub(crate) shape: &'a [usize],
    pub(crate) strides: &'a [usize],
    /// Which dimensions are reduced.
    pub(crate) reduced: &'a [bool],
}

impl Reduce {
    /// A reduction of `input` to a view with these strides, one per dimension that is kept; `half` says whether results are rounded to
    /// f16.
    ///
    /// # Panics
    /// If there is not one stride per dimension, or if two results are at one place.
    pub(crate) fn new(op: Reducing, input: Input<'_>, out_offset: usize, out_strides: &[usize], half: bool) -> Reduce {
        let Input { offset, shape, strides, reduced } = input;
        assert_eq!(shape.len(), reduced.len());
        let of = |which: bool| (0..shape.len()).filter(move |i| reduced[*i] == which);
        let sizes: Vec<usize> = of(false).map(|i| shape[i]).collect();
        assert!(apart(&sizes, out_strides), "results are apart");
        let spans = [span(offset, shape, strides), span(out_offset, &sizes, out_strides)];
        let dim = |i: usize, out: usize| Dim { size: shape[i], strides: [strides[i], out] };
        let kept = merged(of(false).zip(out_strides).map(|(i, out)| dim(i, *out)).collect());
        let mut inner = merged(of(true).map(|i| dim(i, 0)).collect());
        let count = inner.iter().map(|d| d.size).product();
        let run = inner.pop().unwrap_or(Dim { size: 1, strides: [0, 0] });
        let runs = if count == 0 { vec![] } else { places(&inner).into_iter().map(|[at, _]| at).collect() };
        Reduce { op, half, offset, out_offset, count, kept, runs, run, spans }
    }

    /// Computes all results.
    ///
    /// # Panics
    /// If the views do not lie within the slices.
    pub(crate) fn run(&self, isa: Isa, threads: &Threads, x: &[f32], out: &mut [f32]) {
        assert!(self.spans[0] <= x.len() && self.spans[1] <= out.len());
        let results: usize = self.kept.iter().map(|d| d.size).product();
        if results == 0 {
            return;
        }
        let (rows, columns) =
            (self.run.strides[0] == 1 && self.run.size >= 8, self.kept.last().is_some_and(|d| d.strides[0] == 1));
        let (way, tasks, work) = if rows {
            (Way::Rows, results, self.count)
        } else if columns {
            let (last, block) = (self.kept[self.kept.len() - 1].size, 4 * isa.lanes());
            (Way::Columns, results / last * last.div_ceil(block), self.count * block.min(last) / isa.lanes())
        } else {
            (Way::Single, results, self.count * 4)
        };
        let out = Shared::new(out);
        threads.run(tasks, (1 << 14) / work.max(1) + 1, &|tasks| {
            // SAFETY: the views lie in the slices, as asserted; results are apart, and each task has its own.
            unsafe { reduce(isa, self, way, tasks, x.as_ptr(), out.as_mut_ptr()) };
        });
    }

    /// A result of what the elements were folded to, and the greatest of them for those that need it.
    #[inline(always)]
    fn finish(&self, total: f64, max: f64) -> f32 {
        let result = match self.op {
            Reducing::Mean => total / self.count as f64,
            Reducing::L2Norm => total.sqrt(),
            Reducing::LogSum => total.ln(),
            // Subtracting an infinity from itself would make NaN.
            Reducing::LogSumExp if !max.is_finite() => max,
            Reducing::LogSumExp => total.ln() + max,
            _ => total,
        };
        result as f32
    }
}

#[derive(Clone, Copy)]
enum Way {
    /// Reduced elements are neighbours: a task is a result.
    Rows,
    /// Kept elements are: a task is up to four vectors of results.
    Columns,
    /// A task is a result.
    Single,
}

dispatch! {
    /// # Safety
    /// The views of the reduction lie in the buffers.
    unsafe fn reduce(op: &Reduce, way: Way, tasks: Range<usize>, x: *const f32, out: *mut f32) = self::generic
}

#[inline(always)]
unsafe fn generic<S: Wide>(op: &Reduce, way: Way, tasks: Range<usize>, x: *const f32, out: *mut f32) {
    // SAFETY: as the caller vouches.
    unsafe {
        match op.op {
            Reducing::Sum | Reducing::Mean | Reducing::LogSum => op.all::<S, Add>(Add, way, tasks, x, out),
            Reducing::L1Norm => op.all::<S, Absolute>(Absolute, way, tasks, x, out),
            Reducing::L2Norm | Reducing::SumSquare => op.all::<S, Squares>(Squares, way, tasks, x, out),
            Reducing::Prod => op.all::<S, Product>(Product, way, tasks, x, out),
            Reducing::Min => op.all::<S, Most<false>>(Most, way, tasks, x, out),
            Reducing::Max => op.all::<S, Most<true>>(Most, way, tasks, x, out),
            Reducing::LogSumExp => op.exponentials::<S>(way, tasks, x, out),
        }
    }
}

/// Vectors of results, or of sums of one result, at once.
const VECTORS: usize = 4;

impl Reduce {
    /// # Safety
    /// The views lie in the buffers.
    #[inline(always)]
    unsafe fn all<S: Wide, F: Fold<S>>(&self, fold: F, way: Way, tasks: Range<usize>, x: *const f32, out: *mut f32) {
        // SAFETY: as the caller vouches: offsets are those of the views.
        unsafe {
            for task in tasks {
                if let Way::Columns = way {
                    let (from, to, count, stride) = self.columns::<S>(task);
                    let mut c = 0;
                    while c + VECTORS * S::LANES <= count {
                        let all = self.column::<S, F, VECTORS>(fold, x.add(from + c), S::LANES);
                        for (i, acc) in all.into_iter().enumerate() {
                            let at = out.add(to + (c + i * S::LANES) * stride);
                            self.put::<S>(F::lanes(acc), [0.0; 16], S::LANES, at, stride);
                        }
                        c += VECTORS * S::LANES;
                    }
                    while c < count {
                        let n = S::LANES.min(count - c);
                        let [acc] = self.column::<S, F, 1>(fold, x.add(from + c), n);
                        self.put::<S>(F::lanes(acc), [0.0; 16], n, out.add(to + c * stride), stride);
                        c += n;
                    }
                } else {
                    let [from, to] = place(&self.kept, [self.offset, self.out_offset], task);
                    let total = self.single::<S, F>(fold, way, x.add(from));
                    self.put::<S>([total; 16], [0.0; 16], 1, out.add(to), 1);
                }
            }
        }
    }

    /// The logarithm of a sum of exponentials: of the differences to the greatest, so that none is too large.
    ///
    /// # Safety
    /// As [`Reduce::all`].
    #[inline(always)]
    unsafe fn exponentials<S: Wide>(&self, way: Way, tasks: Range<usize>, x: *const f32, out: *mut f32) {
        type Greatest = Most<true>;
        // SAFETY: as the caller vouches.
        unsafe {
            for task in tasks {
                if let Way::Columns = way {
                    let (from, to, count, stride) = self.columns::<S>(task);
                    for c in (0..count).step_by(S::LANES) {
                        let n = S::LANES.min(count - c);
                        let [max] = self.column::<S, Greatest, 1>(Most, x.add(from + c), n);
                        let [acc] = self.column::<S, _, 1>(Exponentials::<S>(max), x.add(from + c), n);
                        let max = <Greatest as Fold<S>>::lanes(max);
                        self.put::<S>(S::wide_lanes(acc), max, n, out.add(to + c * stride), stride);
                    }
                } else {
                    let [from, to] = place(&self.kept, [self.offset, self.out_offset], task);
                    let max = self.single::<S, Greatest>(Most, way, x.add(from));
                    let fold = Exponentials::<S>(S::splat(max as f32));
                    let total = self.single::<S, _>(fold, way, x.add(from));
                    self.put::<S>([total; 16], [max; 16], 1, out.add(to), 1);
                }
            }
        }
    }

    /// A task of [`Way::Columns`]: where it begins in the input and in the output, how many results it has, how far apart they are.
    #[inline(always)]
    fn columns<S: Wide>(&self, task: usize) -> (usize, usize, usize, usize) {
        let (last, rest) = self.kept.split_last().expect("columns are kept");
        let block = VECTORS * S::LANES;
        let blocks = last.size.div_ceil(block);
        let [from, to] = place(rest, [self.offset, self.out_offset], task / blocks);
        let first = task % blocks * block;
        (from + first, to + first * last.strides[1], block.min(last.size - first), last.strides[1])
    }

    /// Folds `V` vectors of results, the last of `n` elements.
    ///
    /// # Safety
    /// `x` is the first result's first element, and the results are there.
    #[inline(always)]
    unsafe fn column<S: Wide, F: Fold<S>, const V: usize>(&self, fold: F, x: *const f32, n: usize) -> [F::Acc; V] {
        // SAFETY: as the caller vouches.
        unsafe {
            let mut acc = [fold.start(); V];
            if V == 1 && n == S::LANES && self.run.size >= 4 {
                // Several sums at once, so that one need not wait for the one before.
                let mut four = [fold.start(); 4];
                let whole = self.run.size / 4 * 4;
                for run in &self.runs {
                    let x = x.add(*run);
                    for i in (0..whole).step_by(4) {
                        for (k, acc) in four.iter_mut().enumerate() {
                            *acc = fold.step(*acc, S::load(x.add((i + k) * self.run.strides[0])));
                        }
                    }
                    for i in whole..self.run.size {
                        four[0] = fold.step(four[0], S::load(x.add(i * self.run.strides[0])));
                    }
                }
                acc[0] = fold.join(fold.join(four[0], four[1]), fold.join(four[2], four[3]));
                return acc;
            }
            for run in &self.runs {
                for i in 0..self.run.size {
                    let x = x.add(run + i * self.run.strides[0]);
                    for (k, acc) in acc.iter_mut().enumerate() {
                        let x = x.add(k * S::LANES);
                        *acc = fold.step(*acc, if V == 1 { S::load_first(x, n) } else { S::load(x) });
                    }
                }
            }
            acc
        }
    }

    /// Folds all elements of one result.
    ///
    /// # Safety
    /// `x` is its first.
    #[inline(always)]
    unsafe fn single<S: Wide, F: Fold<S>>(&self, fold: F, way: Way, x: *const f32) -> f64 {
        // SAFETY: as the caller vouches.
        unsafe {
            let mut acc = [fold.start(); VECTORS];
            let (count, block) = (self.run.size, VECTORS * S::LANES);
            for run in &self.runs {
                let x = x.add(*run);
                if !matches!(way, Way::Rows) {
                    for i in (0..count).step_by(S::LANES) {
                        let n = S::LANES.min(count - i);
                        let mut few = [F::NEUTRAL; 16];
                        for (k, few) in few.iter_mut().enumerate().take(n) {
                            *few = *x.add((i + k) * self.run.strides[0]);
                        }
                        acc[0] = fold.step(acc[0], S::load(few.as_ptr()));
                    }
                    continue;
                }
                let mut i = 0;
                while i + block <= count {
                    for (k, acc) in acc.iter_mut().enumerate() {
                        *acc = fold.step(*acc, S::load(x.add(i + k * S::LANES)));
                    }
                    i += block;
                }
                while i + S::LANES <= count {
                    acc[0] = fold.step(acc[0], S::load(x.add(i)));
                    i += S::LANES;
                }
                if i < count {
                    acc[1] =
                        fold.step(acc[1], keep_first::<S>(S::load_first(x.add(i), count - i), count - i, F::NEUTRAL));
                }
            }
            let acc = fold.join(fold.join(acc[0], acc[1]), fold.join(acc[2], acc[3]));
            F::across(acc)
        }
    }

    /// Writes `n` results.
    ///
    /// # Safety
    /// They are there.
    #[inline(always)]
    unsafe fn put<S: Wide>(&self, total: [f64; 16], max: [f64; 16], n: usize, out: *mut f32, stride: usize) {
        let mut results = [0f32; 16];
        for i in 0..n {
            results[i] = self.finish(total[i], max[i]);
        }
        // SAFETY: as the caller vouches; there are 16 elements for any vector.
        unsafe {
            if self.half {
                S::store(results.as_mut_ptr(), S::half(S::load(results.as_ptr())));
            }
            if stride == 1 {
                std::ptr::copy_nonoverlapping(results.as_ptr(), out, n);
            } else {
                for (i, result) in results.iter().enumerate().take(n) {
                    *out.add(i * stride) = *result;
                }
            }
        }
    }
}
