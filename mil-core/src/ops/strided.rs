//! Walking row-major elements by strides: broadcasting and reduction, for folding and for kernels alike.

/// The shape that shapes broadcast to (NumPy's rule); `None` if they do not, or if it has too many elements to count.
pub fn broadcast_shapes(shapes: &[&[usize]]) -> Option<Vec<usize>> {
    let rank = shapes.iter().map(|s| s.len()).max().unwrap_or(0);
    let mut out = vec![1; rank];
    for shape in shapes {
        for (to, &size) in out[rank - shape.len()..].iter_mut().zip(*shape) {
            match (*to, size) {
                (a, b) if a == b => {}
                (1, _) => *to = size,
                (_, 1) => {}
                _ => return None,
            }
        }
    }
    out.iter().try_fold(1usize, |n, d| n.checked_mul(*d)).map(|_| out)
}

/// The strides of a row-major tensor, in elements.
pub fn strides(shape: &[usize]) -> Vec<usize> {
    let mut strides = vec![1usize; shape.len()];
    for axis in (1..shape.len()).rev() {
        strides[axis - 1] = strides[axis].saturating_mul(shape[axis]);
    }
    strides
}

/// For each element of a shape, in order, where the elements are in `N` row-major tensors that broadcast to it.
#[derive(Clone, Debug)]
pub struct Broadcast<const N: usize> {
    shape: Vec<usize>,
    strides: Vec<[usize; N]>,
    index: Vec<usize>,
    offsets: [usize; N],
    left: usize,
}

impl<const N: usize> Broadcast<N> {
    /// Walks `shape`, to which each of `inputs` broadcasts (see [`broadcast_shapes`]).
    pub fn new(shape: &[usize], inputs: [&[usize]; N]) -> Broadcast<N> {
        let mut steps = vec![[0; N]; shape.len()];
        for (n, input) in inputs.into_iter().enumerate() {
            let first = shape.len() - input.len();
            for (axis, stride) in strides(input).into_iter().enumerate() {
                steps[first + axis][n] = if input[axis] == 1 { 0 } else { stride };
            }
        }
        Broadcast::walk(shape.to_vec(), steps)
    }

    fn walk(shape: Vec<usize>, strides: Vec<[usize; N]>) -> Broadcast<N> {
        let left = shape.iter().fold(1usize, |n, d| n.saturating_mul(*d));
        Broadcast { index: vec![0; shape.len()], shape, strides, offsets: [0; N], left }
    }
}

impl<const N: usize> Iterator for Broadcast<N> {
    type Item = [usize; N];

    fn next(&mut self) -> Option<[usize; N]> {
        self.left = self.left.checked_sub(1)?;
        let now = self.offsets;
        for axis in (0..self.shape.len()).rev() {
            self.index[axis] += 1;
            let wraps = self.index[axis] == self.shape[axis];
            for (offset, stride) in self.offsets.iter_mut().zip(self.strides[axis]) {
                *offset = if wraps { *offset - stride * (self.shape[axis] - 1) } else { *offset + stride };
            }
            if !wraps {
                break;
            }
            self.index[axis] = 0;
        }
        Some(now)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

/// The elements that a reduction puts together: group `g` is `starts[g] + offset` for each of `offsets`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Groups {
    /// Where each group starts, in the order of the results.
    pub starts: Vec<usize>,
    /// The places of a group's elements relative to its start, in order.
    pub offsets: Vec<usize>,
}

impl Groups {
    /// The groups along `axes` of a row-major tensor.
    pub fn new(shape: &[usize], axes: &[usize]) -> Groups {
        let strides = strides(shape);
        let over = |reduced: bool| {
            let kept = (0..shape.len()).filter(|axis| axes.contains(axis) == reduced);
            let (sizes, steps) = kept.map(|axis| (shape[axis], [strides[axis]])).unzip();
            Broadcast::<1>::walk(sizes, steps).map(|[at]| at).collect()
        };
        Groups { starts: over(false), offsets: over(true) }
    }
}

/// A shape after a reduction along `axes`: they are left out, or `one`.
pub fn reduced_shape<T: Clone>(shape: &[T], axes: &[usize], keep_dims: bool, one: T) -> Vec<T> {
    let each = shape.iter().enumerate();
    let kept = each.filter(|(i, _)| keep_dims || !axes.contains(i));
    kept.map(|(i, d)| if axes.contains(&i) { one.clone() } else { d.clone() }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shapes_broadcast_as_numpy_does() {
        assert_eq!(broadcast_shapes(&[&[2, 1, 3], &[4, 1]]), Some(vec![2, 4, 3]));
        assert_eq!(broadcast_shapes(&[&[], &[0], &[1]]), Some(vec![0]));
        assert_eq!(broadcast_shapes(&[&[2], &[3]]), None);
        assert_eq!(broadcast_shapes(&[&[usize::MAX, 1], &[2]]), None);
    }

    #[test]
    fn offsets_follow_the_strides() {
        let found: Vec<_> = Broadcast::new(&[2, 3], [&[2, 1], &[3]]).collect();
        assert_eq!(found, [[0, 0], [0, 1], [0, 2], [1, 0], [1, 1], [1, 2]]);
        assert_eq!(Broadcast::new(&[], [&[][..]]).collect::<Vec<_>>(), [[0]]);
        assert_eq!(Broadcast::new(&[2, 0], [&[2, 0][..]]).count(), 0);
    }

    #[test]
    fn reduced_axes_go_or_stay() {
        assert_eq!(reduced_shape(&[2, 3, 4], &[0, 2], false, 1), [3]);
        assert_eq!(reduced_shape(&[2, 3, 4], &[0, 2], true, 1), [1, 3, 1]);
    }

    #[test]
    fn groups_of_middle_and_outer_axes() {
        let g = Groups::new(&[2, 3, 2], &[1]);
        assert_eq!((g.starts, g.offsets), (vec![0, 1, 6, 7], vec![0, 2, 4]));
        let g = Groups::new(&[2, 3, 2], &[0, 2]);
        assert_eq!((g.starts, g.offsets), (vec![0, 2, 4], vec![0, 1, 6, 7]));
        let g = Groups::new(&[2, 0], &[1]);
        assert_eq!((g.starts.len(), g.offsets), (2, vec![]));
    }
}
