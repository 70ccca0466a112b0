//! Tensors of a plan: views of buffers.

use crate::cpu::kernels::view::View;

/// A buffer of a plan, of f32.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(crate) struct BufferId(pub(crate) usize);

/// A tensor as a view of a buffer: element `i` is at `offset + sum(i[d] * strides[d])`.
///
/// The numbers are f32; of an f16 tensor they are numbers that f16 has. Around some dimensions there may be a margin of zeros: what a
/// convolution reads beyond its input.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Tensor {
    pub(crate) buffer: BufferId,
    pub(crate) shape: Vec<usize>,
    pub(crate) strides: Vec<usize>,
    pub(crate) offset: usize,
    /// Zeros before and after, per dimension.
    pub(crate) margins: Vec<(usize, usize)>,
}

/// How the elements of a new buffer lie.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Layout {
    /// Dimensions from the outermost to the innermost.
    pub(crate) order: Vec<usize>,
    /// Zeros before and after, per dimension.
    pub(crate) margins: Vec<(usize, usize)>,
}

impl Layout {
    /// Row-major.
    pub(crate) fn plain(rank: usize) -> Layout {
        Layout { order: (0..rank).collect(), margins: vec![(0, 0); rank] }
    }

    /// `[N, C, ...]` with the channels innermost.
    pub(crate) fn channels_last(rank: usize) -> Layout {
        let order = if rank < 3 { (0..rank).collect() } else { [0].into_iter().chain(2..rank).chain([1]).collect() };
        Layout { order, margins: vec![(0, 0); rank] }
    }

    /// The same with margins around `[N, C, spatial..]`.
    pub(crate) fn with_margins(mut self, spatial: &[(usize, usize)]) -> Layout {
        self.margins[2..2 + spatial.len()].copy_from_slice(spatial);
        self
    }

    /// How many elements a buffer of the shape has; `None` if there are too many to count.
    pub(crate) fn len(&self, shape: &[usize]) -> Option<usize> {
        let padded = shape.iter().zip(&self.margins).map(|(s, (a, b))| s + a + b);
        padded.into_iter().try_fold(1usize, usize::checked_mul)
    }

    /// The tensor that is all of a buffer.
    pub(crate) fn tensor(&self, buffer: BufferId, shape: &[usize]) -> Tensor {
        let mut strides = vec![0; shape.len()];
        let (mut stride, mut offset) = (1, 0);
        for &d in self.order.iter().rev() {
            strides[d] = stride;
            offset += self.margins[d].0 * stride;
            stride *= shape[d] + self.margins[d].0 + self.margins[d].1;
        }
        Tensor { buffer, shape: shape.to_vec(), strides, offset, margins: self.margins.clone() }
    }
}

impl Tensor {
    /// How many elements it has.
    pub(crate) fn count(&self) -> usize {
        self.shape.iter().product()
    }

    /// How many dimensions it has.
    pub(crate) fn rank(&self) -> usize {
        self.shape.len()
    }

    /// Where the elements are, for kernels.
    pub(crate) fn view(&self) -> View {
        View { offset: self.offset, strides: self.strides.clone() }
    }

    /// The dimensions in another order.
    pub(crate) fn transposed(&self, perm: &[usize]) -> Tensor {
        Tensor {
            shape: perm.iter().map(|d| self.shape[*d]).collect(),
            strides: perm.iter().map(|d| self.strides[*d]).collect(),
            margins: perm.iter().map(|d| self.margins[*d]).collect(),
            ..self.clone()
        }
    }

    /// Every `step`th of `size` elements of a dimension, from `begin` on.
    pub(crate) fn sliced(&self, axis: usize, begin: usize, step: usize, size: usize) -> Tensor {
        let mut t = self.clone();
        if (begin, step, size) != (0, 1, self.shape[axis]) {
            t.offset += begin * t.strides[axis];
            t.strides[axis] *= step;
            t.shape[axis] = size;
            t.margins[axis] = (0, 0);
        }
        t
    }

    /// The same elements, in row-major order, in another shape, if that needs no copy.
    pub(crate) fn reshaped(&self, shape: &[usize]) -> Option<Tensor> {
        if shape == self.shape {
            return Some(self.clone());
        }
        if self.count() == 0 {
            return None;
        }
        // Runs of dimensions that are one behind the other in memory.
        let mut runs: Vec<(usize, usize)> = vec![];
        for (size, stride) in self.shape.iter().zip(&self.strides).filter(|(s, _)| **s != 1) {
            match runs.last_mut() {
                Some((n, outer)) if *outer == size * stride => (*n, *outer) = (*n * size, *stride),
                _ => runs.push((*size, *stride)),
            }
        }
        let mut strides = vec![0; shape.len()];
        let mut at = shape.len();
        for (size, stride) in runs.into_iter().rev() {
            let (mut left, mut stride) = (size, stride);
            while left > 1 {
                at = at.checked_sub(1)?;
                strides[at] = stride;
                if left % shape[at] != 0 {
                    return None;
                }
                (left, stride) = (left / shape[at], stride * shape[at]);
            }
        }
        // What is left is of size 1: its stride is never used, but sorts it outwards.
        let outer = self.shape.iter().zip(&self.strides).map(|(s, t)| s * t).max().unwrap_or(1);
        for d in 0..shape.len() {
            if shape[d] == 1 {
                strides[d] = outer;
            }
        }
        let margins = vec![(0, 0); shape.len()];
        Some(Tensor { buffer: self.buffer, shape: shape.to_vec(), strides, offset: self.offset, margins })
    }

    /// A dimension more, of size 1.
    pub(crate) fn expanded(&self, axis: usize) -> Tensor {
        let mut t = self.clone();
        let outer = self.shape.iter().zip(&self.strides).map(|(s, t)| s * t).max().unwrap_or(1);
        t.shape.insert(axis, 1);
        t.strides.insert(axis, outer);
        t.margins.insert(axis, (0, 0));
        t
    }

    /// A dimension of size 1 less.
    pub(crate) fn squeezed(&self, axis: usize) -> Tensor {
        let mut t = self.clone();
        t.shape.remove(axis);
        t.strides.remove(axis);
        t.margins.remove(axis);
        t
    }

    /// Strides as if the tensor had a larger shape: 0 where it is repeated. `None` if it cannot be.
    pub(crate) fn broadcast_strides(&self, shape: &[usize]) -> Option<Vec<usize>> {
        let skip = shape.len().checked_sub(self.rank())?;
        let mut strides = vec![0; shape.len()];
        for d in 0..self.rank() {
            match self.shape[d] {
                1 => {}
                s if s == shape[skip + d] => strides[skip + d] = self.strides[d],
                _ => return None,
            }
        }
        Some(strides)
    }

    /// Whether the elements are one behind the other in row-major order.
    pub(crate) fn is_dense(&self) -> bool {
        let mut stride = 1;
        for (size, s) in self.shape.iter().zip(&self.strides).rev() {
            if *size != 1 && *s != stride {
                return false;
            }
            stride *= size;
        }
        true
    }

    /// Dimensions from the one with the longest stride to the one with the shortest; those of size 1 where they are in the shape.
    pub(crate) fn order(&self) -> Vec<usize> {
        let mut long: Vec<usize> = (0..self.rank()).filter(|d| self.shape[*d] != 1).collect();
        long.sort_by_key(|d| std::cmp::Reverse(self.strides[*d]));
        let mut long = long.into_iter();
        // Those of size 1 keep their place.
        (0..self.rank()).map(|d| if self.shape[d] == 1 { d } else { long.next().unwrap_or(d) }).collect()
    }

    /// Where each element begins of all dimensions but the given ones, in row-major order of the rest.
    pub(crate) fn offsets(&self, without: &[usize]) -> Vec<usize> {
        let mut at = vec![self.offset];
        for d in (0..self.rank()).filter(|d| !without.contains(d)) {
            let (size, stride) = (self.shape[d], self.strides[d]);
            at = at.into_iter().flat_map(|o| (0..size).map(move |i| o + i * stride)).collect();
        }
        at
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn plain(shape: &[usize]) -> Tensor {
        Layout::plain(shape.len()).tensor(BufferId(0), shape)
    }

    /// All elements' places, in row-major order.
    fn places(t: &Tensor) -> Vec<usize> {
        t.offsets(&[])
    }

    #[test]
    fn channels_last_with_margins() {
        let layout = Layout::channels_last(4).with_margins(&[(1, 1), (2, 0)]);
        let t = layout.tensor(BufferId(3), &[2, 3, 4, 5]);
        assert_eq!(layout.len(&[2, 3, 4, 5]), Some(2 * 6 * 7 * 3));
        assert_eq!((&t.strides[..], t.offset), (&[126, 1, 21, 3][..], 21 + 6));
        assert_eq!(t.order(), [0, 2, 3, 1]);
        assert_eq!(t.margins, [(0, 0), (0, 0), (1, 1), (2, 0)]);
        assert!(!t.is_dense());
        assert_eq!(t.sliced(1, 1, 1, 2).margins, t.margins);
        assert_eq!(t.sliced(2, 0, 2, 2).margins[2], (0, 0));
    }

    #[test]
    fn reshaping_needs_no_copy_where_memory_is_in_order() {
        let t = plain(&[2, 3, 4]);
        assert_eq!(t.reshaped(&[6, 2, 2]).unwrap().strides, [4, 2, 1]);
        assert_eq!(t.transposed(&[1, 0, 2]).reshaped(&[6, 4]), None);
        let heads = plain(&[1, 5, 6]).reshaped(&[1, 5, 2, 3]).unwrap().transposed(&[0, 2, 1, 3]);
        assert_eq!(heads.strides[1..], [3, 6, 1]);
        let back = heads.transposed(&[0, 2, 1, 3]).reshaped(&[1, 5, 6]).unwrap();
        assert_eq!(places(&back), places(&plain(&[1, 5, 6])));
    }

    #[test]
    fn repeats_have_no_stride() {
        let t = plain(&[3, 1]);
        assert_eq!(t.broadcast_strides(&[2, 3, 4]), Some(vec![0, 1, 0]));
        assert_eq!(t.broadcast_strides(&[2, 4, 4]), None);
        assert_eq!(t.broadcast_strides(&[3]), None);
        assert_eq!((t.expanded(0).shape, t.expanded(2).squeezed(2)), (vec![1, 3, 1], t));
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        /// A reshaped view has the same elements in the same order.
        #[test]
        fn reshapes_keep_the_order(
            factors in prop::collection::vec(1usize..4, 1..6), cut in 0usize..6, perm in 0usize..24, joins in 0usize..64,
        ) {
            let mut t = plain(&factors);
            let (a, b) = (perm % factors.len(), cut % factors.len());
            let mut order: Vec<usize> = (0..factors.len()).collect();
            order.swap(a, b);
            t = t.transposed(&order);
            let mut shape: Vec<usize> = vec![];
            for (i, s) in t.shape.iter().enumerate() {
                match shape.last_mut() {
                    Some(last) if joins >> i & 1 == 1 => *last *= s,
                    _ => shape.push(*s),
                }
            }
            if let Some(r) = t.reshaped(&shape) {
                prop_assert_eq!(places(&r), places(&t));
            }
            let ones: Vec<usize> = t.shape.iter().flat_map(|s| [1, *s]).collect();
            prop_assert_eq!(places(&t.reshaped(&ones).unwrap()), places(&t));
        }
    }
}
