//! Known sizes: the numbers of a matrix.

use std::collections::BTreeMap;

use mil_core::{
    graph::Value,
    ir::Constant,
    mb,
    types::{DType, Dim},
};

use super::Kernel;
use crate::import::{Lowering, Refusal};

/// More elements than this one matrix shall not have.
const MOST_ELEMENTS: usize = 1 << 26;

impl Kernel {
    /// What each element of the result takes of each of the `size` of the input: a row for each of the places, which count in
    /// elements of the input. `scale` is how many times as many elements the result has.
    ///
    /// # Errors
    /// If the matrix is too large.
    pub(crate) fn matrix(
        &self,
        places: impl ExactSizeIterator<Item = f64>,
        size: usize,
        scale: f64,
    ) -> Result<Constant, Refusal> {
        let out = places.len();
        let wide = if self.antialias { scale.min(1.0) } else { 1.0 };
        let most = MOST_ELEMENTS as f64;
        let fits = size as f64 * out as f64 <= most && self.filter.reach() / wide * out as f64 <= most && size > 0;
        if !fits {
            return Err(Refusal::new(format!("resizing {size} elements to {out} takes too large a matrix")));
        }
        let mut all = vec![0f32; size * out];
        for (place, row) in places.zip(all.chunks_exact_mut(size)) {
            for (i, part) in self.row(place, size, wide) {
                row[i] = part as f32;
            }
        }
        Ok(Constant::new([out, size], &all)?)
    }

    /// What a point takes, by element.
    fn row(&self, place: f64, size: usize, scale: f64) -> BTreeMap<usize, f64> {
        let last = size as i64 - 1;
        let reach = self.filter.reach() / scale;
        let mut row = BTreeMap::<usize, f64>::new();
        // Beyond the outermost elements and their copies nothing is new.
        let (first, end) = ((place - reach).floor() as i64, (place + reach).ceil() as i64);
        for i in first..=end {
            if !self.exclude_outside || (0..=last).contains(&i) {
                let part = self.filter.part((i as f64 - place) * scale);
                *row.entry(i.clamp(0, last) as usize).or_default() += part;
            }
        }
        let sum: f64 = row.values().sum();
        if (self.antialias || self.exclude_outside) && sum != 0.0 {
            row.values_mut().for_each(|part| *part /= sum);
        }
        row
    }
}

impl Lowering {
    /// The product along an axis with a matrix that has a row for each element of the result.
    pub(crate) fn product_along(&mut self, x: &Value, axis: usize, rows: &Value) -> Result<Value, Refusal> {
        let rows = self.cast(rows, x.dtype().unwrap_or(DType::F32))?;
        let rank = x.shape().map_or(0, |s| s.rank());
        if rank == 1 {
            let row = self.expand_dims(x, &[0])?;
            let y = self.product_along(&row, 1, &rows)?;
            return self.squeeze(&y, &[0]);
        }
        if axis + 2 == rank {
            return self.push(mb::matmul(&rows, x));
        }
        let mut perm: Vec<usize> = (0..rank).collect();
        perm.swap(axis, rank - 1);
        let last = self.transpose(x, &perm)?;
        let last = self.push(mb::matmul(&last, &rows).transpose_y(true))?;
        self.transpose(&last, &perm)
    }

    /// An axis resized to places that are known.
    pub(crate) fn resize_known(
        &mut self,
        x: &Value,
        axis: usize,
        places: impl ExactSizeIterator<Item = f64>,
        kernel: &Kernel,
        scale: f64,
    ) -> Result<Value, Refusal> {
        let size = x.shape().and_then(|s| s.get(axis)).and_then(Dim::fixed);
        let size = size.ok_or_else(|| Refusal::new(format!("the size {axis} of {} is not known", x.ty())))?;
        let rows = self.constant(kernel.matrix(places, size, scale)?);
        self.product_along(x, axis, &rows)
    }
}

#[cfg(test)]
mod tests {
    use super::{super::Filter, *};

    fn half_pixel(size: usize, out: usize) -> impl ExactSizeIterator<Item = f64> {
        (0..out).map(move |i| (i as f64 + 0.5) * size as f64 / out as f64 - 0.5)
    }

    #[test]
    fn rows_add_up_to_one() {
        for filter in [Filter::Linear, Filter::Cubic(-0.75)] {
            for (antialias, exclude_outside) in [(false, false), (true, false), (false, true), (true, true)] {
                let kernel = Kernel { filter, antialias, exclude_outside };
                for (size, out) in [(1, 4), (4, 1), (5, 3), (3, 5), (7, 7)] {
                    let matrix = kernel.matrix(half_pixel(size, out), size, out as f64 / size as f64).unwrap();
                    assert_eq!(matrix.shape(), [out, size]);
                    let matrix = matrix.elements::<f32>().unwrap();
                    let one = |row: &[f32]| (row.iter().sum::<f32>() - 1.0).abs() < 1e-6;
                    assert!(matrix.chunks(size).all(one), "{kernel:?} {size} {out}: {matrix:?}");
                }
            }
        }
    }

    #[test]
    fn points_take_of_their_neighbours() {
        let kernel = Kernel { filter: Filter::Linear, antialias: false, exclude_outside: false };
        let matrix = kernel.matrix(half_pixel(4, 2), 4, 0.5).unwrap();
        assert_eq!(matrix.elements::<f32>().unwrap(), [0.5, 0.5, 0., 0., 0., 0., 0.5, 0.5]);
        // A tent that is twice as wide: 1/4, 3/4, 3/4, 1/4, its first part outside.
        let kernel = Kernel { antialias: true, ..kernel };
        let matrix = kernel.matrix(half_pixel(4, 2), 4, 0.5).unwrap();
        assert_eq!(matrix.elements::<f32>().unwrap(), [0.5, 0.375, 0.125, 0., 0., 0.125, 0.375, 0.5]);
        let too_large = kernel.matrix(half_pixel(1 << 20, 1 << 20), 1 << 20, 1.0);
        assert!(too_large.unwrap_err().message.contains("too large a matrix"));
    }
}
