//! Rows by their indices.

use super::threads::{Shared, Threads};

/// `to`, in rows of `n` elements, becomes the rows of `from` whose indices are in `rows`. Panics if one is
/// not there, or if `to` has not as many rows.
pub(crate) fn gather(threads: &Threads, to: &mut [f32], from: &[f32], rows: &[usize], n: usize) {
    assert_eq!(rows.len().checked_mul(n), Some(to.len()), "a row for each index");
    if n == 0 {
        return;
    }
    let to = Shared::new(to);
    threads.run(rows.len(), (32_768 / n).max(1), &|range| {
        for i in range {
            let row = &from[rows[i] * n..][..n];
            // SAFETY: `to` has a row for each index, and each is written once. It is borrowed for as long as the threads run.
            unsafe { to.as_mut_ptr().add(i * n).copy_from_nonoverlapping(row.as_ptr(), n) };
        }
    });
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig { cases: if cfg!(miri) { 4 } else { 64 }, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn rows_are_found(n in 0usize..40, count in 1usize..20, picks in prop::collection::vec(any::<prop::sample::Index>(), 0..30), threads in 1usize..3) {
            let from: Vec<f32> = (0..count * n).map(|i| i as f32).collect();
            let rows: Vec<usize> = picks.iter().map(|p| p.index(count)).collect();
            let expected: Vec<f32> = rows.iter().flat_map(|r| from[r * n..(r + 1) * n].to_vec()).collect();
            let mut got = vec![-1.0; rows.len() * n];
            gather(&Threads::new(threads), &mut got, &from, &rows, n);
            prop_assert_eq!(got, expected);
        }
    }

    #[test]
    #[should_panic]
    fn a_row_that_is_not_there() {
        gather(&Threads::new(1), &mut [0.0; 2], &[1.0; 4], &[2], 2);
    }
}
