//! Tensors put together from elements of another: each place along a dimension adds so much to where an element comes from.

use std::ops::Range;

use half::{f16, slice::HalfFloatSliceExt};

use super::threads::{Shared, Threads};

/// What an element without a source has as its offset.
pub(crate) const NOWHERE: usize = usize::MAX;

/// A dimension of what is put together.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Places {
    /// From one place to the next, in what is written.
    pub(crate) stride: usize,
    /// What each place adds to where elements come from; [`NOWHERE`] if those there come from nowhere.
    pub(crate) from: Vec<usize>,
}

/// Elements that are read: f32, or such as are widened to it.
pub(crate) trait Element: Sync + Sized + Copy {
    /// The number.
    fn number(self) -> f32;
    /// The numbers of as many.
    fn numbers(from: &[Self], to: &mut [f32]);
}

impl Element for f32 {
    fn number(self) -> f32 {
        self
    }
    fn numbers(from: &[f32], to: &mut [f32]) {
        to.copy_from_slice(from);
    }
}

impl Element for f16 {
    fn number(self) -> f32 {
        self.to_f32()
    }
    fn numbers(from: &[f16], to: &mut [f32]) {
        from.convert_to_f32_slice(to);
    }
}

/// Elements that lie together in both.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Run {
    at: usize,
    from: usize,
    len: usize,
}

/// A tensor that is put together.
#[derive(Clone, Debug)]
pub(crate) struct Pick {
    outer: Vec<Places>,
    /// The dimension with the least stride.
    inner: Places,
    /// The inner dimension as runs, if they are long enough to be worth it.
    runs: Option<Vec<Run>>,
    /// The first element in what is written and in what is read.
    first: [usize; 2],
    fill: f32,
    /// Elements that the slices must have.
    reach: [usize; 2],
}

/// Runs shorter than this, on average, are no faster than single elements.
const SHORT: usize = 8;

impl Pick {
    /// A tensor with these dimensions, whose first element is at `first[0]`, from a slice in which offsets count from `first[1]` on.
    /// What comes from nowhere is `fill`.
    ///
    /// # Panics
    /// If elements of the result overlap or interlock: each stride must be beyond all that smaller ones reach.
    pub(crate) fn new(dims: Vec<Places>, first: [usize; 2], fill: f32) -> Pick {
        let far = |d: &Places| d.from.iter().filter(|o| **o != NOWHERE).max().copied().unwrap_or(0);
        let empty = dims.iter().any(|d| d.from.is_empty());
        let nothing = empty || dims.iter().any(|d| d.from.iter().all(|o| *o == NOWHERE));
        let from = dims.iter().map(far).fold(first[1], usize::saturating_add).saturating_add(1);
        // One place is no dimension, but where all elements come from.
        let (one, mut outer): (Vec<Places>, Vec<Places>) =
            dims.into_iter().partition(|d| d.from.len() == 1 && d.from != [NOWHERE]);
        let first = [first[0], one.iter().fold(first[1], |at, d| at + d.from[0])];
        outer.sort_by_key(|d| std::cmp::Reverse(d.stride));
        let mut beyond = 0usize;
        for d in outer.iter().rev().filter(|d| d.from.len() > 1) {
            assert!(empty || d.stride > beyond, "elements that are written must not overlap");
            beyond = beyond.saturating_add(d.stride.saturating_mul(d.from.len() - 1));
        }
        let to = first[0].saturating_add(beyond).saturating_add(1);
        let reach = [if empty { 0 } else { to }, if nothing { 0 } else { from }];
        let mut inner = outer.pop().unwrap_or(Places { stride: 1, from: vec![0] });
        // Dimensions that are one behind the other in both are one.
        while let Some(last) = outer.last() {
            let n = inner.from.len();
            if !is_even(&inner.from, 1) || last.stride != n * inner.stride || !is_even(&last.from, n) {
                break;
            }
            inner.from = (0..n * last.from.len()).collect();
            outer.pop();
        }
        let runs = (inner.stride == 1).then(|| runs(&inner.from));
        let runs = runs.filter(|r| r.len() * SHORT <= inner.from.len() || r.len() == 1);
        Pick { outer, inner, runs, first, fill, reach }
    }

    /// Puts it together.
    ///
    /// # Panics
    /// If a slice is too short.
    pub(crate) fn run<T: Element>(&self, threads: &Threads, to: &mut [f32], from: &[T]) {
        assert!(self.reach[0] <= to.len() && self.reach[1] <= from.len(), "{:?} elements in slices", self.reach);
        let tasks = self.outer.iter().map(|d| d.from.len()).product();
        let to = Shared::new(to);
        threads.run(tasks, (16_384 / self.inner.from.len().max(1)).max(1), &|range| self.rows(range, to, from));
    }

    /// Some of the outer dimensions' places.
    fn rows<T: Element>(&self, range: Range<usize>, to: Shared<'_>, from: &[T]) {
        let mut index = vec![0; self.outer.len()];
        let mut left = range.start;
        for (i, d) in index.iter_mut().zip(&self.outer).rev() {
            (*i, left) = (left % d.from.len(), left / d.from.len());
        }
        for _ in range {
            let at = index.iter().zip(&self.outer).fold(self.first[0], |at, (i, d)| at + i * d.stride);
            let source = index.iter().zip(&self.outer).try_fold(self.first[1], |at, (i, d)| match d.from[*i] {
                NOWHERE => None,
                offset => Some(at + offset),
            });
            // SAFETY: `run` found room for all places; each is written by one task, for they do not interlock.
            unsafe { self.row(to.as_mut_ptr().add(at), source, from) };
            for (i, d) in index.iter_mut().zip(&self.outer).rev() {
                *i += 1;
                if *i < d.from.len() {
                    break;
                }
                *i = 0;
            }
        }
    }

    /// The inner dimension.
    ///
    /// # Safety
    /// All of it is at the pointer, and nobody else's.
    unsafe fn row<T: Element>(&self, to: *mut f32, source: Option<usize>, from: &[T]) {
        // SAFETY: the caller's.
        let run = |at: usize, len: usize| unsafe { std::slice::from_raw_parts_mut(to.add(at), len) };
        match (&self.runs, source) {
            (Some(runs), _) => {
                for r in runs {
                    match source {
                        Some(base) if r.from != NOWHERE => {
                            T::numbers(&from[base + r.from..][..r.len], run(r.at, r.len))
                        }
                        _ => run(r.at, r.len).fill(self.fill),
                    }
                }
            }
            (None, source) => {
                for (i, offset) in self.inner.from.iter().enumerate() {
                    let number = match source {
                        Some(base) if *offset != NOWHERE => from[base + offset].number(),
                        _ => self.fill,
                    };
                    // SAFETY: the caller's.
                    unsafe { to.add(i * self.inner.stride).write(number) };
                }
            }
        }
    }
}

/// Whether each place adds `step` more than the one before, from 0 on.
fn is_even(from: &[usize], step: usize) -> bool {
    from.iter().enumerate().all(|(i, o)| *o == i * step)
}

fn runs(from: &[usize]) -> Vec<Run> {
    let mut runs: Vec<Run> = vec![];
    for (at, &offset) in from.iter().enumerate() {
        match runs.last_mut() {
            Some(r)
                if (r.from == NOWHERE) == (offset == NOWHERE) && (offset == NOWHERE || offset == r.from + r.len) =>
            {
                r.len += 1;
            }
            _ => runs.push(Run { at, from: offset, len: 1 }),
        }
    }
    runs
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::cpu::kernels::scaled::{
        scaled,
        testing::{cases, threads},
    };

    proptest! {
        #![proptest_config(cases(128, 4))]

        #[test]
        fn every_element_is_where_it_belongs(
            dims in prop::collection::vec(prop::collection::vec(prop::option::weighted(0.9, 0usize..40), 0..scaled(12, 7)), 0..4),
            even in any::<bool>(), turn in any::<bool>(), threads in threads(),
        ) {
            let sizes: Vec<usize> = dims.iter().map(Vec::len).collect();
            let table = |d: &Vec<Option<usize>>| -> Vec<usize> {
                let place = |(i, o): (usize, &Option<usize>)| if even { i } else { o.unwrap_or(NOWHERE) };
                d.iter().enumerate().map(place).collect()
            };
            let mut stride = 1;
            let mut places = vec![];
            for d in dims.iter().rev() {
                places.insert(0, Places { stride, from: table(d) });
                stride *= d.len().max(1);
            }
            if turn {
                places.reverse();
            }
            let from: Vec<f32> = (0..160).map(|i| i as f32).collect();
            let halves: Vec<f16> = from.iter().map(|v| f16::from_f32(*v)).collect();
            let count: usize = sizes.iter().product();
            let mut expected = vec![-1.0; count + 3];
            for i in 0..count {
                let (mut left, mut at, mut source) = (i, 2, Some(1));
                for d in places.iter().rev() {
                    let n = d.from.len();
                    at += left % n * d.stride;
                    source = source.filter(|_| d.from[left % n] != NOWHERE).map(|s| s + d.from[left % n]);
                    left /= n;
                }
                expected[at] = source.map_or(0.5, |s| from[s]);
            }
            let pick = Pick::new(places, [2, 1], 0.5);
            let (mut got, mut widened) = (vec![-1.0; count + 3], vec![-1.0; count + 3]);
            pick.run(&Threads::new(threads), &mut got, &from);
            pick.run(&Threads::new(threads), &mut widened, &halves);
            prop_assert_eq!(&got, &expected);
            prop_assert_eq!(&widened, &expected);
        }
    }

    #[test]
    fn neighbours_are_moved_together() {
        let even = |n: usize, step: usize| (0..n).map(|i| i * step).collect();
        let dims = vec![Places { stride: 12, from: vec![0, 0] }, Places { stride: 3, from: even(4, 3) }];
        let pick = Pick::new([dims, vec![Places { stride: 1, from: even(3, 1) }]].concat(), [0, 0], 0.0);
        assert_eq!((pick.outer.len(), pick.runs), (1, Some(vec![Run { at: 0, from: 0, len: 12 }])));
    }

    #[test]
    #[should_panic(expected = "must not overlap")]
    fn what_is_written_does_not_overlap() {
        let dim = |stride| Places { stride, from: vec![0, 1] };
        Pick::new(vec![dim(2), dim(2)], [0, 0], 0.0);
    }

    #[test]
    #[should_panic(expected = "elements in slices")]
    fn a_place_that_is_not_there() {
        Pick::new(vec![Places { stride: 1, from: vec![4] }], [0, 0], 0.0).run(&Threads::new(1), &mut [0.0], &[1f32; 4]);
    }
}
