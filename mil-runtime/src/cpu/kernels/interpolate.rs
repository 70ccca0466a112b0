//! Linear interpolation along one dimension of a strided view.

use std::ops::Range;

use half::f16;

use super::{
    simd::{Isa, Simd, dispatch},
    threads::{Shared, Threads},
    view::{Dim, Layout, apart, merged, place, span},
};

/// A point between two elements.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) struct Point {
    /// The elements, by their numbers along the dimension.
    pub(crate) low: usize,
    pub(crate) high: usize,
    /// How far it lies from the lower to the higher, from 0 to 1.
    pub(crate) part: f32,
}

/// An interpolation, made ready.
#[derive(Clone, Debug)]
pub(crate) struct Interpolate {
    points: Vec<Point>,
    /// Strides of the dimension in output and input.
    axis: [usize; 2],
    /// The other dimensions but the inner one.
    outer: Vec<Dim<2>>,
    /// How many elements lie one behind the other in both.
    inner: usize,
    first: [usize; 2],
    half: bool,
    /// Elements that the slices must have.
    spans: [usize; 2],
}

impl Interpolate {
    /// Makes of dimension `axis` of `shape`, which the input has, as many elements as there are points; `half` says whether they are rounded
    /// to f16.
    ///
    /// # Panics
    /// If there is not one stride per dimension, if a point lies on no element, or if two results are at one place.
    pub(crate) fn new(
        shape: &[usize],
        axis: usize,
        points: Vec<Point>,
        input: Layout<'_>,
        output: Layout<'_>,
        half: bool,
    ) -> Interpolate {
        let mut results = shape.to_vec();
        results[axis] = points.len();
        assert!(apart(&results, output.strides), "results are apart");
        assert!(points.iter().all(|p| p.low.max(p.high) < shape[axis]), "points lie on elements");
        let spans = [span(output.offset, &results, output.strides), span(input.offset, shape, input.strides)];
        let dim = |i: usize| Dim { size: shape[i], strides: [output.strides[i], input.strides[i]] };
        let mut outer = merged((0..shape.len()).filter(|i| *i != axis).map(dim).collect());
        let inner = outer.pop_if(|d| d.strides == [1, 1]).map_or(1, |d| d.size);
        let axis = [output.strides[axis], input.strides[axis]];
        Interpolate { points, axis, outer, inner, first: [output.offset, input.offset], half, spans }
    }

    /// Computes all results.
    ///
    /// # Panics
    /// If the views do not lie within the slices.
    pub(crate) fn run(&self, isa: Isa, threads: &Threads, x: &[f32], out: &mut [f32]) {
        assert!(self.spans[0] <= out.len() && self.spans[1] <= x.len());
        let outer: usize = self.outer.iter().map(|d| d.size).product();
        let out = Shared::new(out);
        // A task is a point of some rows; or, where elements of other dimensions are no neighbours, all points of one place.
        let (tasks, work) =
            if self.inner > 1 { (outer * self.points.len(), self.inner) } else { (outer, self.points.len()) };
        if self.spans.contains(&0) || work == 0 {
            return;
        }
        // SAFETY: the views lie in the slices; results are apart.
        threads.run(tasks, (1 << 13) / work + 1, &|range| unsafe {
            interpolate(isa, self, range, x.as_ptr(), out.as_mut_ptr());
        });
    }
}

dispatch! {
    /// # Safety
    /// The views lie where the pointers point to, and the results of these tasks are nobody else's.
    unsafe fn interpolate(op: &Interpolate, range: Range<usize>, x: *const f32, out: *mut f32) = self::interpolate_in
}

#[inline(always)]
unsafe fn interpolate_in<S: Simd>(op: &Interpolate, range: Range<usize>, x: *const f32, out: *mut f32) {
    for task in range {
        if op.inner == 1 {
            let [to, from] = place(&op.outer, op.first, task);
            for (i, p) in op.points.iter().enumerate() {
                // SAFETY: the caller's.
                unsafe {
                    let (low, high) = (*x.add(from + p.low * op.axis[1]), *x.add(from + p.high * op.axis[1]));
                    let v = if p.part == 0.0 || low == high { low } else { low + (high - low) * p.part };
                    out.add(to + i * op.axis[0]).write(if op.half { f16::from_f32(v).to_f32() } else { v });
                }
            }
            continue;
        }
        let (row, i) = (task / op.points.len(), task % op.points.len());
        let [to, from] = place(&op.outer, op.first, row);
        let p = op.points[i];
        // SAFETY: the caller's.
        unsafe {
            let to = out.add(to + i * op.axis[0]);
            let (low, high) = (x.add(from + p.low * op.axis[1]), x.add(from + p.high * op.axis[1]));
            let part = S::splat(p.part);
            for at in (0..op.inner).step_by(S::LANES) {
                let n = S::LANES.min(op.inner - at);
                let a = S::load_first(low.add(at), n);
                let mut v = a;
                if p.part != 0.0 {
                    let b = S::load_first(high.add(at), n);
                    v = S::select(S::eq(a, b), a, S::mul_add(S::sub(b, a), part, a));
                }
                S::store_first(to.add(at), if op.half { S::half(v) } else { v }, n);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::cpu::kernels::scaled::{scaled, testing::cases};

    proptest! {
        #![proptest_config(cases(64, 4))]

        #[test]
        fn along_each_dimension(
            shape in prop::collection::vec(1..scaled(9, 6), 1..4), picks in prop::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>(), 0u8..5), 0..9),
            axis in any::<prop::sample::Index>(), half in any::<bool>(), wide in 0..scaled(40, 10),
        ) {
            let axis = axis.index(shape.len());
            let mut shape = shape;
            if axis + 1 < shape.len() {
                *shape.last_mut().unwrap() += wide;
            }
            let points: Vec<Point> = picks.iter().map(|(a, b, part)| Point {
                low: a.index(shape[axis]), high: b.index(shape[axis]), part: f32::from(*part) / 4.0,
            }).collect();
            let mut results = shape.clone();
            results[axis] = points.len();
            let strides = |shape: &[usize]| super::super::view::View::contiguous(shape).strides;
            let (from, to) = (strides(&shape), strides(&results));
            let x: Vec<f32> = (0..shape.iter().product::<usize>()).map(|i| (i * 37 % 101) as f32 / 7.0).collect();
            let count: usize = results.iter().product();
            let expected: Vec<f32> = (0..count).map(|i| {
                let index: Vec<usize> = (0..shape.len()).map(|d| i / to[d] % results[d]).collect();
                let p = points[index[axis]];
                let at = |k: usize| x[(0..shape.len()).map(|d| if d == axis { k } else { index[d] } * from[d]).sum::<usize>()];
                let (low, high) = (at(p.low), at(p.high));
                let v = low + (high - low) * p.part;
                if half { f16::from_f32(v).to_f32() } else { v }
            }).collect();
            let op = Interpolate::new(&shape, axis, points, Layout { offset: 0, strides: &from }, Layout { offset: 1, strides: &to }, half);
            for isa in Isa::available() {
                for threads in [1, 2] {
                    let mut got = vec![-1.0; count + 1];
                    op.run(isa, &Threads::new(threads), &x, &mut got);
                    prop_assert_eq!(got[0], -1.0);
                    for (g, e) in got[1..].iter().zip(&expected) {
                        prop_assert!((g - e).abs() <= e.abs() * if half { 1e-3 } else { 1e-6 }, "{} {}", g, e);
                    }
                }
            }
        }
    }

    #[test]
    fn elements_that_are_met_stay() {
        let x = [f32::INFINITY, f32::INFINITY, 1.0, f32::NAN];
        let point = |low, high, part| Point { low, high, part };
        let points = vec![point(0, 1, 0.5), point(2, 3, 0.0)];
        let op = Interpolate::new(
            &[4],
            0,
            points.clone(),
            Layout { offset: 0, strides: &[1] },
            Layout { offset: 0, strides: &[1] },
            false,
        );
        let mut out = [0.0; 2];
        op.run(Isa::SCALAR, &Threads::new(1), &x, &mut out);
        assert_eq!(out, [f32::INFINITY, 1.0]);
        // Rows of four: vectors.
        let rows: Vec<f32> = x.iter().flat_map(|v| [*v; 4]).collect();
        let op = Interpolate::new(
            &[4, 4],
            0,
            points,
            Layout { offset: 0, strides: &[4, 1] },
            Layout { offset: 0, strides: &[4, 1] },
            true,
        );
        for isa in Isa::available() {
            let mut out = [0.0; 8];
            op.run(isa, &Threads::new(1), &rows, &mut out);
            assert_eq!(out, [[f32::INFINITY; 4], [1.0; 4]].concat()[..]);
        }
    }
}
