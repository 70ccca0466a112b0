//! Products of many pairs of matrices, neither of which is constant.

use std::cell::RefCell;

use super::{
    epilogue::Epilogue,
    gemm::Gemm,
    offsets::Offsets,
    panels::{Packer, Panels, Source},
    simd::Isa,
    threads::{Shared, Threads},
};

/// For each pair: `out[m, n] = epilogue(x[m, k] * y[k, n])`. Rows of `x` and of `out` have their elements one behind the other; `y` may lie in
/// any order, for it is packed first.
#[derive(Clone, Debug)]
pub(crate) struct Products {
    k: usize,
    n: usize,
    /// Where the rows of `x` begin, from the first of a matrix on.
    x_rows: Offsets,
    /// Where the rows of `out` begin, from the first of a matrix on.
    out_rows: Offsets,
    /// From one row of `y` to the next, and from one column.
    y_strides: [usize; 2],
    /// Where the matrices of each pair begin: `x`, `y`, `out`.
    pairs: Vec<[usize; 3]>,
}

thread_local! {
    /// Memory for the packed matrix, kept from product to product.
    static PACKED: RefCell<Option<(Isa, Panels)>> = const { RefCell::new(None) };
}

impl Products {
    /// Products of `[m, k]` by `[k, n]`. `x_rows` and `out_rows` say where rows begin, from the first of a matrix on; `y_strides` are from one row
    /// of `y` to the next, and from one column; `pairs` say where the matrices begin: `x`, `y`, `out`.
    ///
    /// # Panics
    /// If rows of the results overlap, within a matrix or among them.
    pub(crate) fn new(
        [k, n]: [usize; 2],
        [x_rows, out_rows]: [Offsets; 2],
        y_strides: [usize; 2],
        pairs: Vec<[usize; 3]>,
    ) -> Products {
        let mut places: Vec<usize> =
            pairs.iter().flat_map(|p| out_rows.at().iter().map(move |r| p[2] + *r as usize)).collect();
        places.sort_unstable();
        assert!(places.windows(2).all(|w| w[1] - w[0] >= n), "rows of the results overlap");
        Products { k, n, x_rows, out_rows, y_strides, pairs }
    }

    /// Computes all products.
    ///
    /// # Panics
    /// If a matrix is not inside its slice.
    pub(crate) fn run(
        &self,
        isa: Isa,
        threads: &Threads,
        x: &[f32],
        y: &[f32],
        out: &mut [f32],
        epilogue: &Epilogue<'_>,
    ) {
        if self.pairs.is_empty() || self.n == 0 || self.x_rows.len() == 0 {
            return;
        }
        let source = Source { inner: self.k.max(1), tap: 0, row: self.y_strides[0], column: self.y_strides[1] };
        let runs = Offsets::new([0]).unwrap_or_default();
        let (len, out) = (out.len(), Shared::new(out));
        let one = |pair: &[usize; 3], threads: &Threads| {
            PACKED.with_borrow_mut(|packed| {
                let fits = |(i, p): &(Isa, Panels)| *i == isa && (p.k, p.n) == (self.k, self.n);
                if !packed.as_ref().is_some_and(fits) {
                    let zeros = vec![0.0; self.k * self.n];
                    let plain = Source { inner: self.k.max(1), tap: 0, row: self.n, column: 1 };
                    *packed = Some((
                        isa,
                        Panels::f32(
                            Packer { isa, threads: &Threads::new(1), pages: None },
                            self.k,
                            self.n,
                            &zeros,
                            plain,
                        ),
                    ));
                }
                let Some((_, w)) = packed else { return };
                w.repack(isa, &y[pair[1]..], source);
                let gemm = Gemm {
                    x: &x[pair[0]..],
                    rows: self.x_rows.rows(),
                    runs: &runs,
                    len: self.k,
                    w,
                    y_rows: self.out_rows.rows(),
                    epilogue: *epilogue,
                };
                assert!(pair[2] <= len);
                gemm.check(isa, len - pair[2]);
                // SAFETY: it was checked just now; rows do not overlap, neither within a result nor among them: `new` saw to that.
                unsafe { gemm.run_at(isa, threads, out.from(pair[2])) };
            });
        };
        // A job that runs others runs them alone: with few pairs each product is shared instead.
        if self.pairs.len() < threads.count() {
            self.pairs.iter().for_each(|pair| one(pair, threads));
        } else {
            threads.run(self.pairs.len(), 1, &|range| self.pairs[range].iter().for_each(|pair| one(pair, threads)));
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::cpu::kernels::scaled::{scaled, testing::cases};

    fn numbers(count: usize, seed: usize) -> Vec<f32> {
        (0..count).map(|i| ((i * 7 + seed * 13) % 23) as f32 - 11.0).collect()
    }

    proptest! {
        #![proptest_config(cases(32, 2))]

        #[test]
        fn pairs_of_any_size(m in 1..scaled(20, 7), k in 1..scaled(40, 8), n in 1..scaled(70, 12), pairs in 1..scaled(5, 4), transposed in any::<bool>()) {
            let (x, y) = (numbers(pairs * m * k, 1), numbers(pairs * k * n, 2));
            // The results of one row stand side by side: `[m, pairs, n]`, with a gap.
            let stride = pairs * (n + 1);
            let rows = [k, stride].map(|far| Offsets::new((0..m).map(|i| i * far)).unwrap());
            let at = (0..pairs).map(|p| [p * m * k, p * k * n, p * (n + 1)]).collect();
            let products = Products::new([k, n], rows, if transposed { [1, k] } else { [n, 1] }, at);
            for isa in Isa::available() {
                for threads in [1, 2] {
                    let mut out = vec![0.5; m * stride];
                    products.run(isa, &Threads::new(threads), &x, &y, &mut out, &Epilogue::default());
                    for p in 0..pairs {
                        for i in 0..m {
                            for j in 0..n {
                                let at = |l: usize| if transposed { j * k + l } else { l * n + j };
                                let sum: f32 = (0..k).map(|l| x[(p * m + i) * k + l] * y[p * k * n + at(l)]).sum();
                                prop_assert_eq!(out[i * stride + p * (n + 1) + j], sum); // small integers: exact
                            }
                            prop_assert_eq!(out[i * stride + p * (n + 1) + n], 0.5);
                        }
                    }
                }
            }
        }
    }

    #[test]
    #[should_panic(expected = "overlap")]
    fn results_that_overlap_are_refused() {
        let rows = Offsets::new([0]).unwrap();
        let pairs = vec![[0, 0, 0], [0, 0, 1]];
        let products = Products::new([1, 2], [rows.clone(), rows], [2, 1], pairs);
        products.run(Isa::SCALAR, &Threads::new(1), &[1.0], &[1.0, 2.0], &mut [0.0; 4], &Epilogue::default());
    }
}
