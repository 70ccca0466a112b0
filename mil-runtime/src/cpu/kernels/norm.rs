//! Normalizations of strided views. What they mean is said in `mil_core::ops::norm`; sums and what follows from them are f64, as in the
//! reference.

use std::{marker::PhantomData, ops::Range};

use super::{
    simd::{Isa, dispatch, wide::Wide},
    threads::{Shared, Threads},
    view::{Dim, Layout, apart, merged, place, places, span},
};

pub(crate) mod local_response;
#[cfg(test)]
mod tests;

/// What becomes of the elements of a group.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Normalization {
    /// `(x - mean) / sqrt(variance + epsilon)`: `layer_norm` and `instance_norm`.
    Standard,
    /// `x / sqrt(sum of squares + epsilon)`: `l2_norm`.
    Length,
}

/// Strides in input, output and parameters.
type Dim3 = Dim<3>;

/// A normalization, made ready.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Norm {
    kind: Normalization,
    epsilon: f64,
    half: bool,
    /// Of input, output and parameters.
    first: [usize; 3],
    /// The dimensions of the groups' numbers, the one whose elements are nearest last.
    groups: Vec<Dim3>,
    /// Where the runs of a group's elements begin, from its first.
    runs: Vec<[usize; 3]>,
    /// The elements of a run.
    run: Dim3,
    /// Elements of a group.
    count: usize,
    /// Elements that the slices must have.
    spans: [usize; 3],
}

/// What is normalized.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Groups<'a> {
    pub(crate) shape: &'a [usize],
    /// Which dimensions make up a group: the trailing ones, the spatial ones, ...
    pub(crate) within: &'a [bool],
    pub(crate) input: Layout<'a>,
    pub(crate) output: Layout<'a>,
    /// Where gamma and beta of an element are: for `layer_norm` their strides along the dimensions within, 0 along the others; for
    /// `instance_norm` 1 along the channels and 0 along the others.
    pub(crate) parameters: &'a [usize],
}

impl Norm {
    /// A normalization of each group by itself; `half` says whether results are rounded to f16.
    ///
    /// # Panics
    /// If there is not one stride per dimension, or if two results are at one place.
    pub(crate) fn new(kind: Normalization, groups: Groups<'_>, epsilon: f32, half: bool) -> Norm {
        let Groups { shape, within, input, output, parameters } = groups;
        assert_eq!(shape.len(), within.len());
        assert!(apart(shape, output.strides), "results are apart");
        let all = [(input.offset, input.strides), (output.offset, output.strides), (0, parameters)];
        let spans = all.map(|(offset, strides)| span(offset, shape, strides));
        let dims = |which: bool| {
            let of = (0..shape.len()).filter(|i| within[*i] == which);
            merged(of.map(|i| Dim { size: shape[i], strides: all.map(|(_, strides)| strides[i]) }).collect())
        };
        let (groups, mut inner) = (dims(false), dims(true));
        let count = inner.iter().map(|d| d.size).product();
        let run = inner.pop().unwrap_or(Dim { size: 1, strides: [0; 3] });
        let runs = if count == 0 { vec![] } else { places(&inner) };
        let first = [input.offset, output.offset, 0];
        Norm { kind, epsilon: epsilon.into(), half, first, groups, runs, run, count, spans }
    }

    /// Computes all results; without `gamma` it is 1, without `beta` 0.
    ///
    /// # Panics
    /// If the views do not lie within the slices.
    pub(crate) fn run(
        &self,
        isa: Isa,
        threads: &Threads,
        x: &[f32],
        [gamma, beta]: [Option<&[f32]>; 2],
        out: &mut [f32],
    ) {
        assert!(self.spans[0] <= x.len() && self.spans[1] <= out.len());
        assert!([gamma, beta].iter().flatten().all(|p| self.spans[2] <= p.len()));
        let groups: usize = self.groups.iter().map(|d| d.size).product();
        if groups == 0 || self.count == 0 {
            return;
        }
        let along = self.run.strides[..2] == [1, 1] && self.run.strides[2] <= 1 && self.run.size > 1;
        let across = self.groups.last().filter(|d| d.strides[..2] == [1, 1] && d.strides[2] <= 1);
        let (way, tasks, work) = match across {
            Some(last) if !along => {
                let blocks = last.size.div_ceil(isa.lanes());
                (Way::Across, groups / last.size * blocks, self.count)
            }
            _ => (if along { Way::Along } else { Way::Single }, groups, self.count),
        };
        let out = Shared::new(out);
        threads.run(tasks, (1 << 12) / work + 1, &|tasks| {
            let [gamma, beta] = [gamma, beta].map(|p| p.map(<[f32]>::as_ptr));
            // SAFETY: the views lie in the slices, as asserted; results are apart, and each task has its own.
            unsafe { norm(isa, self, way, tasks, x.as_ptr(), gamma, beta, out.as_mut_ptr()) };
        });
    }
}

#[derive(Clone, Copy, Debug)]
enum Way {
    /// The elements of a run are neighbours: a task is a group.
    Along,
    /// Those of different groups are: a task is a vector of groups.
    Across,
    /// A task is a group.
    Single,
}

dispatch! {
    /// # Safety
    /// The views lie in the buffers.
    unsafe fn norm(
        op: &Norm, way: Way, tasks: Range<usize>, x: *const f32, gamma: Option<*const f32>, beta: Option<*const f32>, out: *mut f32,
    ) = self::generic
}

#[inline(always)]
#[allow(clippy::too_many_arguments)]
unsafe fn generic<S: Wide>(
    op: &Norm,
    way: Way,
    tasks: Range<usize>,
    x: *const f32,
    gamma: Option<*const f32>,
    beta: Option<*const f32>,
    out: *mut f32,
) {
    // SAFETY: as the caller vouches: offsets are those of the views.
    unsafe {
        for task in tasks {
            let ([from, to, at], c, n) = match (way, op.groups.split_last()) {
                (Way::Across, Some((last, rest))) => {
                    let blocks = last.size.div_ceil(S::LANES);
                    let (first, c) = (place(rest, op.first, task / blocks), task % blocks * S::LANES);
                    (first, [c, c, c * last.strides[2]], S::LANES.min(last.size - c))
                }
                _ => (place(&op.groups, op.first, task), [0; 3], 0),
            };
            let group = Group::<S> {
                op,
                x: x.add(from + c[0]),
                out: out.add(to + c[1]),
                gamma: gamma.map(|p| p.add(at + c[2])),
                beta: beta.map(|p| p.add(at + c[2])),
                n,
                // Parameters of neighbouring groups, if they have their own.
                own: op.groups.last().is_some_and(|d| d.strides[2] == 1),
                set: PhantomData,
            };
            match way {
                Way::Along => group.along(),
                Way::Across => group.across(),
                Way::Single => group.single(),
            }
        }
    }
}

/// A group, or `n` side by side.
struct Group<'a, S: Wide> {
    op: &'a Norm,
    /// The first elements.
    x: *const f32,
    out: *mut f32,
    gamma: Option<*const f32>,
    beta: Option<*const f32>,
    n: usize,
    own: bool,
    set: PhantomData<S>,
}

impl<S: Wide> Group<'_, S> {
    /// What is subtracted from elements, and what they are multiplied by then; nothing if the variance must be computed from the mean,
    /// because the difference of the sums has lost too much.
    #[inline(always)]
    fn scale(&self, sum: f64, squares: f64) -> Option<(f64, f64)> {
        if self.op.kind == Normalization::Length {
            return Some((0.0, 1.0 / (squares + self.op.epsilon).sqrt()));
        }
        let mean = sum / self.op.count as f64;
        let variance = squares / self.op.count as f64 - mean * mean;
        (mean * mean <= variance * 1e6 || !variance.is_finite()).then(|| self.scale_of(mean, variance))
    }

    #[inline(always)]
    fn scale_of(&self, mean: f64, variance: f64) -> (f64, f64) {
        (mean, 1.0 / (variance + self.op.epsilon).sqrt())
    }

    /// A vector of results.
    ///
    /// # Safety
    /// `S` is of this machine.
    #[inline(always)]
    unsafe fn result(&self, x: S::V, (mean, scale): (S::D, S::D), gamma: Option<S::V>, beta: Option<S::V>) -> S::V {
        // SAFETY: as the caller vouches.
        unsafe {
            let v = S::narrow(S::mul_wide(S::sub_wide(S::widen(x), mean), scale));
            let v = match (gamma, beta) {
                (Some(gamma), Some(beta)) => S::mul_add(v, gamma, beta),
                (Some(gamma), None) => S::mul(v, gamma),
                (None, Some(beta)) => S::add(v, beta),
                (None, None) => v,
            };
            if self.op.half { S::half(v) } else { v }
        }
    }

    /// # Safety
    /// The group is there, its elements neighbours in runs.
    #[inline(always)]
    unsafe fn along(&self) {
        let (n, whole) = (self.op.run.size, self.op.run.size / S::LANES * S::LANES);
        let own = self.op.run.strides[2] == 1;
        // SAFETY: as the caller vouches.
        unsafe {
            let zero = S::splat_wide(0.0);
            let (mut sum, mut squares) = ([zero; 2], [zero; 2]);
            for [from, _, _] in &self.op.runs {
                let x = self.x.add(*from);
                let mut i = 0;
                while i + 2 * S::LANES <= whole {
                    let v = [S::widen(S::load(x.add(i))), S::widen(S::load(x.add(i + S::LANES)))];
                    for k in 0..2 {
                        sum[k] = S::add_wide(sum[k], v[k]);
                        squares[k] = S::mul_add_wide(v[k], v[k], squares[k]);
                    }
                    i += 2 * S::LANES;
                }
                while i < n {
                    let v = S::widen(S::load_first(x.add(i), S::LANES.min(n - i)));
                    sum[0] = S::add_wide(sum[0], v);
                    squares[0] = S::mul_add_wide(v, v, squares[0]);
                    i += S::LANES;
                }
            }
            let sum = S::sum_wide(S::add_wide(sum[0], sum[1]));
            let squares = S::sum_wide(S::add_wide(squares[0], squares[1]));
            let (mean, scale) = self.scale(sum, squares).unwrap_or_else(|| {
                // Rare: elements that hardly differ.
                let mean = sum / self.op.count as f64;
                let each = self.op.runs.iter().flat_map(|[from, _, _]| (0..n).map(move |i| from + i));
                let variance = each.map(|at| (f64::from(*self.x.add(at)) - mean).powi(2)).sum::<f64>();
                self.scale_of(mean, variance / self.op.count as f64)
            });
            let by = (S::splat_wide(mean), S::splat_wide(scale));
            for [from, to, at] in &self.op.runs {
                let (x, out) = (self.x.add(*from), self.out.add(*to));
                for i in (0..whole).step_by(S::LANES) {
                    let at = if own { at + i } else { *at };
                    let gamma = parameter::<S>(self.gamma, at, own, S::LANES);
                    let beta = parameter::<S>(self.beta, at, own, S::LANES);
                    S::store(out.add(i), self.result(S::load(x.add(i)), by, gamma, beta));
                }
                if whole < n {
                    let (at, m) = (if own { at + whole } else { *at }, n - whole);
                    let (gamma, beta) = (parameter::<S>(self.gamma, at, own, m), parameter::<S>(self.beta, at, own, m));
                    let v = self.result(S::load_first(x.add(whole), m), by, gamma, beta);
                    S::store_first(out.add(whole), v, m);
                }
            }
        }
    }

    /// # Safety
    /// The groups are there, neighbours in input and output.
    #[inline(always)]
    unsafe fn across(&self) {
        let (n, run) = (self.n, self.op.run);
        // SAFETY: as the caller vouches.
        unsafe {
            let zero = S::splat_wide(0.0);
            let (mut sum, mut squares) = (zero, zero);
            for [from, _, _] in &self.op.runs {
                for i in 0..run.size {
                    let v = S::widen(S::load_first(self.x.add(from + i * run.strides[0]), n));
                    (sum, squares) = (S::add_wide(sum, v), S::mul_add_wide(v, v, squares));
                }
            }
            let (sum, squares) = (S::wide_lanes(sum), S::wide_lanes(squares));
            let (mut mean, mut scale) = ([0.0f64; 16], [0.0f64; 16]);
            for k in 0..n {
                (mean[k], scale[k]) = self.scale(sum[k], squares[k]).unwrap_or_else(|| {
                    let mean = sum[k] / self.op.count as f64;
                    let each = |[from, _, _]: &[usize; 3]| {
                        let x = self.x.add(from + k);
                        (0..run.size).map(|i| (f64::from(*x.add(i * run.strides[0])) - mean).powi(2)).sum::<f64>()
                    };
                    self.scale_of(mean, self.op.runs.iter().map(each).sum::<f64>() / self.op.count as f64)
                });
            }
            let by = (S::load_wide(mean.as_ptr()), S::load_wide(scale.as_ptr()));
            for [from, to, at] in &self.op.runs {
                for i in 0..run.size {
                    let at = at + i * run.strides[2];
                    let (gamma, beta) =
                        (parameter::<S>(self.gamma, at, self.own, n), parameter::<S>(self.beta, at, self.own, n));
                    let v = self.result(S::load_first(self.x.add(from + i * run.strides[0]), n), by, gamma, beta);
                    S::store_first(self.out.add(to + i * run.strides[1]), v, n);
                }
            }
        }
    }

    /// # Safety
    /// The group is there.
    #[inline(always)]
    unsafe fn single(&self) {
        let Dim { size, strides } = self.op.run;
        // SAFETY: as the caller vouches.
        unsafe {
            let (mut sum, mut squares) = (0.0, 0.0);
            for [from, _, _] in &self.op.runs {
                for i in 0..size {
                    let v = f64::from(*self.x.add(from + i * strides[0]));
                    sum += v;
                    squares += v * v;
                }
            }
            let (mean, scale) = self.scale(sum, squares).unwrap_or_else(|| {
                let mean = sum / self.op.count as f64;
                let each = |[from, _, _]: &[usize; 3]| {
                    let x = self.x.add(*from);
                    (0..size).map(|i| (f64::from(*x.add(i * strides[0])) - mean).powi(2)).sum::<f64>()
                };
                self.scale_of(mean, self.op.runs.iter().map(each).sum::<f64>() / self.op.count as f64)
            });
            let by = (S::splat_wide(mean), S::splat_wide(scale));
            for [from, to, at] in &self.op.runs {
                for i in 0..size {
                    let at = at + i * strides[2];
                    let (gamma, beta) =
                        (parameter::<S>(self.gamma, at, false, 1), parameter::<S>(self.beta, at, false, 1));
                    let v = self.result(S::splat(*self.x.add(from + i * strides[0])), by, gamma, beta);
                    S::store_first(self.out.add(to + i * strides[1]), v, 1);
                }
            }
        }
    }
}

/// `n` parameters, or one for all.
///
/// # Safety
/// They are there.
#[inline(always)]
#[allow(clippy::manual_map)]
unsafe fn parameter<S: Wide>(from: Option<*const f32>, at: usize, own: bool, n: usize) -> Option<S::V> {
    // A closure would not have the instruction set of what it is in.
    match from {
        // SAFETY: as the caller vouches.
        Some(p) => Some(unsafe { if own { S::load_first(p.add(at), n) } else { S::splat(*p.add(at)) } }),
        None => None,
    }
}
