//! One of two elements, by a third.

use super::{
    threads::{Shared, Threads},
    view::{Loops, View, Walk},
};

/// A choice between the elements of two views, made ready.
#[derive(Clone, Debug)]
pub(crate) struct Select {
    /// Over the output, the condition, and what is taken where it holds and where it does not.
    loops: Loops,
}

impl Select {
    /// Between tensors repeated to a shape: views of the output, the condition, and both operands.
    ///
    /// # Panics
    /// If elements of the output overlap.
    pub(crate) fn new(shape: &[usize], views: [&View; 4]) -> Select {
        Select { loops: Loops::new(shape, &views) }
    }

    /// Takes those of `a` where the condition is true, else those of `b`.
    ///
    /// # Panics
    /// If a view does not lie within its slice.
    pub(crate) fn run(&self, threads: &Threads, condition: &[bool], [a, b]: [&[f32]; 2], out: &mut [f32]) {
        let loops = &self.loops;
        if loops.shape.contains(&0) {
            return;
        }
        loops.check([out.len(), condition.len(), a.len(), b.len()]);
        let depth = loops.shape.len() - 1;
        let (row, tasks) = (loops.shape[depth], loops.shape[..depth].iter().product());
        let strides: Vec<usize> = loops.strides.iter().map(|s| s[depth]).collect();
        let out = Shared::new(out);
        threads.run(tasks, (8192 / row).max(1), &|range| {
            let mut walk = Walk::new(loops, depth, range.start);
            for _ in range {
                let at = &walk.offsets;
                for i in 0..row {
                    let place = |view: usize| at[view] + i * strides[view];
                    let taken = if condition[place(1)] { a[place(2)] } else { b[place(3)] };
                    // SAFETY: `check` found the view within the slice; each element is written by one task.
                    unsafe { out.as_mut_ptr().add(place(0)).write(taken) };
                }
                walk.step();
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn views_are_repeated() {
        let view = |offset, strides: &[usize]| View { offset, strides: strides.to_vec() };
        let views = [view(1, &[3, 1]), view(0, &[1, 0]), view(0, &[0, 1]), view(2, &[0, 0])];
        let select = Select::new(&[2, 3], views.each_ref());
        for threads in [1, 2] {
            let mut out = [0.0; 7];
            select.run(&Threads::new(threads), &[true, false], [&[1.0, f32::NAN, 3.0], &[0.0, 0.0, 9.0]], &mut out);
            assert!(out[2].is_nan());
            out[2] = 2.0;
            assert_eq!(out, [0.0, 1.0, 2.0, 3.0, 9.0, 9.0, 9.0]);
        }
    }

    #[test]
    #[should_panic(expected = "in a slice of")]
    fn slices_hold_the_views() {
        let view = View::contiguous(&[3]);
        Select::new(&[3], [&view; 4]).run(&Threads::new(1), &[true; 2], [&[0.0; 3]; 2], &mut [0.0; 3]);
    }
}
