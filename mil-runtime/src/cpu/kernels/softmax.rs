//! Softmax along one axis of a strided view: exponentials divided by their sum; of the differences to the greatest, so that none is too
//! large.

use std::ops::Range;

use super::{
    math,
    simd::{Isa, Simd, dispatch, tail::keep_first},
    threads::{Shared, Threads},
    view::{Dim, Layout, apart, merged, place, span},
};

#[cfg(test)]
mod tests;

/// A softmax, made ready.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Softmax {
    /// The axis in input and output.
    axis: Dim<2>,
    /// The other dimensions, the one whose elements are nearest last.
    others: Vec<Dim<2>>,
    first: [usize; 2],
    scale: f32,
    half: bool,
    /// Elements that the slices must have.
    spans: [usize; 2],
}

/// Axes so short that a vector of them is mostly empty: many are done at once.
const SHORT: usize = 8;

impl Softmax {
    /// The softmax of `scale * x`; `half` says whether results are rounded to f16. The products are not: they are f32.
    ///
    /// # Panics
    /// If there is not one stride per dimension, or if two results are at one place.
    pub(crate) fn new(
        shape: &[usize],
        axis: usize,
        input: Layout<'_>,
        output: Layout<'_>,
        scale: f32,
        half: bool,
    ) -> Softmax {
        assert!(apart(shape, output.strides), "results are apart");
        let spans = [span(input.offset, shape, input.strides), span(output.offset, shape, output.strides)];
        let dim = |i: usize| Dim { size: shape[i], strides: [input.strides[i], output.strides[i]] };
        let others = merged((0..shape.len()).filter(|i| *i != axis).map(dim).collect());
        Softmax { axis: dim(axis), others, first: [input.offset, output.offset], scale, half, spans }
    }

    /// Computes all results.
    ///
    /// # Panics
    /// If the views do not lie within the slices.
    pub(crate) fn run(&self, isa: Isa, threads: &Threads, x: &[f32], out: &mut [f32]) {
        assert!(self.spans[0] <= x.len() && self.spans[1] <= out.len());
        let out = Shared::new(out);
        // SAFETY: the views lie in the slices.
        self.tasks(isa, threads, &|way, tasks| unsafe {
            softmax(isa, self, way, tasks, x.as_ptr(), out.as_mut_ptr());
        });
    }

    /// Puts the results where the elements are.
    ///
    /// # Panics
    /// If the view does not lie within the slice, or if input and output are not one view.
    pub(crate) fn run_in_place(&self, isa: Isa, threads: &Threads, x: &mut [f32]) {
        let one = |strides: &[usize; 2]| strides[0] == strides[1];
        assert!(self.spans[1] <= x.len());
        assert!(one(&self.first) && one(&self.axis.strides) && self.others.iter().all(|d| one(&d.strides)));
        let x = Shared::new(x);
        // SAFETY: the view lies in the slice; every element is read before the result is put there.
        self.tasks(isa, threads, &|way, tasks| unsafe {
            softmax(isa, self, way, tasks, x.as_mut_ptr(), x.as_mut_ptr());
        });
    }

    /// Deals out the work: each task has its own axes.
    fn tasks(&self, isa: Isa, threads: &Threads, job: &(dyn Fn(Way, Range<usize>) + Sync)) {
        let axes: usize = self.others.iter().map(|d| d.size).product();
        if axes == 0 || self.axis.size == 0 {
            return;
        }
        let last = self.others.last().filter(|d| d.strides == [1, 1]).map_or(0, |d| d.size);
        let lanes = isa.lanes();
        let (way, tasks, work) = if self.axis.strides == [1, 1] && self.axis.size > SHORT {
            (Way::Rows, axes, self.axis.size)
        } else if last > 0 && last >= lanes / 2 {
            (Way::Columns, axes / last * last.div_ceil(lanes), self.axis.size * lanes)
        } else {
            (Way::Gathered, axes.div_ceil(lanes), self.axis.size * lanes)
        };
        threads.run(tasks, (1 << 12) / work + 1, &|tasks| job(way, tasks));
    }
}

#[derive(Clone, Copy, Debug)]
enum Way {
    /// The elements of the axis are neighbours: a task is an axis.
    Rows,
    /// Those of another dimension are: a task is a vector of axes.
    Columns,
    /// A task is as many axes as a vector has elements, put side by side.
    Gathered,
}

dispatch! {
    /// # Safety
    /// The views lie in the buffers, which may be one if the views are.
    unsafe fn softmax(op: &Softmax, way: Way, tasks: Range<usize>, x: *const f32, out: *mut f32) = self::generic
}

#[inline(always)]
unsafe fn generic<S: Simd>(op: &Softmax, way: Way, tasks: Range<usize>, x: *const f32, out: *mut f32) {
    let Dim { size, strides } = op.axis;
    // SAFETY: the views lie in the buffers.
    unsafe {
        match way {
            Way::Rows => {
                for task in tasks {
                    let [from, to] = place(&op.others, op.first, task);
                    row::<S>(x.add(from), out.add(to), size, op.scale, op.half);
                }
            }
            Way::Columns => {
                let (last, rest) = op.others.split_last().expect("columns are a dimension");
                let blocks = last.size.div_ceil(S::LANES);
                for task in tasks {
                    let [from, to] = place(rest, op.first, task / blocks);
                    let c = task % blocks * S::LANES;
                    let n = S::LANES.min(last.size - c);
                    columns::<S>(x.add(from + c), out.add(to + c), strides, size, n, op.scale, op.half);
                }
            }
            Way::Gathered => {
                let mut scratch = vec![0f32; size * S::LANES];
                let axes: usize = op.others.iter().map(|d| d.size).product();
                for task in tasks {
                    let first = task * S::LANES;
                    let n = S::LANES.min(axes - first);
                    let places = places::<S>(op, first, n);
                    for (k, [from, _]) in places.iter().enumerate().take(n) {
                        let from = x.add(*from);
                        for (i, at) in scratch.chunks_exact_mut(S::LANES).enumerate() {
                            *at.get_unchecked_mut(k) = *from.add(i * strides[0]);
                        }
                    }
                    let at = scratch.as_mut_ptr();
                    columns::<S>(at, at, [S::LANES; 2], size, S::LANES, op.scale, op.half);
                    for (k, [_, to]) in places.iter().enumerate().take(n) {
                        let to = out.add(*to);
                        for (i, at) in scratch.chunks_exact(S::LANES).enumerate() {
                            *to.add(i * strides[1]) = *at.get_unchecked(k);
                        }
                    }
                }
            }
        }
    }
}

/// Where `n` axes begin.
#[inline(always)]
fn places<S: Simd>(op: &Softmax, first: usize, n: usize) -> [[usize; 2]; 16] {
    let mut all = [place(&op.others, op.first, first); 16];
    let last = op.others.last().copied().unwrap_or(Dim { size: 1, strides: [0, 0] });
    let near = first % last.size + n <= last.size;
    for k in 1..n {
        all[k] = if near {
            [all[0][0] + k * last.strides[0], all[0][1] + k * last.strides[1]]
        } else {
            place(&op.others, op.first, first + k)
        };
    }
    all
}

/// The softmax of `n` neighbours times `scale`; `out` may be `x`.
///
/// # Safety
/// They are there, and `S` is of this machine.
#[inline(always)]
pub(crate) unsafe fn row<S: Simd>(x: *const f32, out: *mut f32, n: usize, scale: f32, half: bool) {
    // SAFETY: as the caller vouches.
    unsafe {
        let (whole, four, scale) = (n / S::LANES * S::LANES, n / (4 * S::LANES) * 4 * S::LANES, S::splat(scale));
        // A NaN is not the greatest, but makes the sum one.
        let mut max = [S::splat(f32::NEG_INFINITY); 4];
        for i in (0..four).step_by(4 * S::LANES) {
            for (k, max) in max.iter_mut().enumerate() {
                *max = S::max(S::mul(S::load(x.add(i + k * S::LANES)), scale), *max);
            }
        }
        for i in (four..whole).step_by(S::LANES) {
            max[0] = S::max(S::mul(S::load(x.add(i)), scale), max[0]);
        }
        let rest = n - whole;
        if rest > 0 {
            let v = S::mul(S::load_first(x.add(whole), rest), scale);
            max[1] = S::max(keep_first::<S>(v, rest, f32::NEG_INFINITY), max[1]);
        }
        let max = S::splat(-S::reduce_max(S::max(S::max(max[0], max[1]), S::max(max[2], max[3]))));
        let mut sum = [S::splat(0.0); 4];
        for i in (0..four).step_by(4 * S::LANES) {
            for (k, sum) in sum.iter_mut().enumerate() {
                let e = math::exp::<S>(S::mul_add(S::load(x.add(i + k * S::LANES)), scale, max));
                S::store(out.add(i + k * S::LANES), e);
                *sum = S::add(*sum, e);
            }
        }
        for i in (four..whole).step_by(S::LANES) {
            let e = math::exp::<S>(S::mul_add(S::load(x.add(i)), scale, max));
            S::store(out.add(i), e);
            sum[0] = S::add(sum[0], e);
        }
        if rest > 0 {
            let e = math::exp::<S>(S::mul_add(S::load_first(x.add(whole), rest), scale, max));
            S::store_first(out.add(whole), e, rest);
            sum[1] = S::add(sum[1], keep_first::<S>(e, rest, 0.0));
        }
        let sum = S::reduce_add(S::add(S::add(sum[0], sum[1]), S::add(sum[2], sum[3])));
        let one = S::div(S::splat(1.0), S::splat(sum));
        for i in (0..whole).step_by(S::LANES) {
            let v = S::mul(S::load(out.add(i)), one);
            S::store(out.add(i), if half { S::half(v) } else { v });
        }
        if rest > 0 {
            let v = S::mul(S::load_first(out.add(whole), rest), one);
            S::store_first(out.add(whole), if half { S::half(v) } else { v }, rest);
        }
    }
}

/// The softmaxes of `n` axes side by side, at most a vector of them; `out` may be `x` if the strides are one.
///
/// # Safety
/// They are there, and `S` is of this machine.
#[inline(always)]
unsafe fn columns<S: Simd>(
    x: *const f32,
    out: *mut f32,
    strides: [usize; 2],
    size: usize,
    n: usize,
    scale: f32,
    half: bool,
) {
    // SAFETY: as the caller vouches.
    unsafe {
        let scale = S::splat(scale);
        let mut max = S::splat(f32::NEG_INFINITY);
        for i in 0..size {
            max = S::max(S::mul(S::load_first(x.add(i * strides[0]), n), scale), max);
        }
        let max = S::sub(S::splat(0.0), max);
        let mut sum = S::splat(0.0);
        for i in 0..size {
            let e = math::exp::<S>(S::mul_add(S::load_first(x.add(i * strides[0]), n), scale, max));
            S::store_first(out.add(i * strides[1]), e, n);
            sum = S::add(sum, e);
        }
        let one = S::div(S::splat(1.0), sum);
        for i in 0..size {
            let at = out.add(i * strides[1]);
            let v = S::mul(S::load_first(at, n), one);
            S::store_first(at, if half { S::half(v) } else { v }, n);
        }
    }
}
