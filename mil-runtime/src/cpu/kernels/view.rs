//! Strided views, and the loops over several of them at once.

/// Where the elements of a tensor are in a slice.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct View {
    /// The first element.
    pub(crate) offset: usize,
    /// How far the next is along each dimension, in elements; 0 where there is one for all.
    pub(crate) strides: Vec<usize>,
}

impl View {
    /// The elements one after the other, in row-major order.
    pub(crate) fn contiguous(shape: &[usize]) -> View {
        let mut strides = vec![1; shape.len()];
        for i in (1..shape.len()).rev() {
            strides[i - 1] = strides[i] * shape[i].max(1);
        }
        View { offset: 0, strides }
    }

    /// How many elements the slice must have at least.
    fn reach(&self, shape: &[usize]) -> usize {
        assert_eq!(self.strides.len(), shape.len(), "a stride for each dimension");
        if shape.contains(&0) {
            return 0;
        }
        let last = self.strides.iter().zip(shape).try_fold(self.offset, |at, (stride, size)| {
            stride.checked_mul(size - 1).and_then(|far| at.checked_add(far))
        });
        last.and_then(|last| last.checked_add(1)).expect("a view within the address space")
    }
}

/// As few loops as visit the elements of several views, the first of which is written: its smallest stride is innermost.
#[derive(Clone, Debug)]
pub(crate) struct Loops {
    /// Of each loop, the outermost first. There are two at least.
    pub(crate) shape: Vec<usize>,
    /// Of each view, of each loop.
    pub(crate) strides: Vec<Vec<usize>>,
    /// Of each view.
    pub(crate) offsets: Vec<usize>,
    /// How many elements the slice of each view must have.
    pub(crate) reach: Vec<usize>,
}

impl Loops {
    /// The loops over views of one shape. No two elements of the first may be at one place, nor interlock: each stride must be beyond
    /// all that smaller ones reach.
    pub(crate) fn new(shape: &[usize], views: &[&View]) -> Loops {
        let reach = views.iter().map(|v| v.reach(shape)).collect();
        let offsets = views.iter().map(|v| v.offset).collect();
        let mut order: Vec<usize> = (0..shape.len()).filter(|d| shape[*d] != 1).collect();
        order.sort_by_key(|d| std::cmp::Reverse(views[0].strides[*d]));
        if !shape.contains(&0) {
            let mut beyond = 0;
            for d in order.iter().rev() {
                let stride = views[0].strides[*d];
                assert!(stride > beyond, "elements that are written must not overlap");
                beyond += stride * (shape[*d] - 1);
            }
        }
        let mut loops = Loops { shape: vec![], strides: vec![vec![]; views.len()], offsets, reach };
        for d in order {
            let joins = loops.shape.last().is_some()
                && views.iter().zip(&loops.strides).all(|(v, s)| s.last() == Some(&(v.strides[d] * shape[d])));
            if joins {
                *loops.shape.last_mut().unwrap() *= shape[d];
                views.iter().zip(&mut loops.strides).for_each(|(v, s)| *s.last_mut().unwrap() = v.strides[d]);
            } else {
                loops.shape.push(shape[d]);
                views.iter().zip(&mut loops.strides).for_each(|(v, s)| s.push(v.strides[d]));
            }
        }
        while loops.shape.len() < 2 {
            loops.shape.insert(0, 1);
            loops.strides.iter_mut().for_each(|s| s.insert(0, 0));
        }
        loops
    }

    /// Checks that slices of these lengths hold the views.
    pub(crate) fn check(&self, lengths: impl IntoIterator<Item = usize>) {
        let mut lengths = lengths.into_iter();
        for reach in &self.reach {
            let length = lengths.next().expect("a slice for each view");
            assert!(*reach <= length, "a view of {reach} elements in a slice of {length}");
        }
        assert!(lengths.next().is_none(), "a view for each slice");
    }
}

/// Where the views are while the outer loops run.
pub(crate) struct Walk<'a> {
    shape: &'a [usize],
    strides: &'a [Vec<usize>],
    index: Vec<usize>,
    /// Of each view.
    pub(crate) offsets: Vec<usize>,
}

impl<'a> Walk<'a> {
    /// At a position of the first `depth` loops, counted in row-major order.
    pub(crate) fn new(loops: &'a Loops, depth: usize, mut position: usize) -> Walk<'a> {
        let shape = &loops.shape[..depth];
        let mut index = vec![0; depth];
        let mut offsets = loops.offsets.clone();
        for d in (0..depth).rev() {
            index[d] = position % shape[d];
            position /= shape[d];
            loops.strides.iter().zip(&mut offsets).for_each(|(s, offset)| *offset += s[d] * index[d]);
        }
        Walk { shape, strides: &loops.strides, index, offsets }
    }

    /// To the next position; from the last to the first.
    pub(crate) fn step(&mut self) {
        for d in (0..self.shape.len()).rev() {
            let back = self.index[d] + 1 == self.shape[d];
            let far = self.index[d];
            self.index[d] = if back { 0 } else { far + 1 };
            for (s, offset) in self.strides.iter().zip(&mut self.offsets) {
                *offset = if back { *offset - s[d] * far } else { *offset + s[d] };
            }
            if !back {
                return;
            }
        }
    }
}

/// Elements from a buffer's start to the end of a view's last element; 0 if it has none, `usize::MAX` if that is too much to count.
pub(crate) fn span(offset: usize, shape: &[usize], strides: &[usize]) -> usize {
    assert_eq!(shape.len(), strides.len(), "a stride for each dimension");
    if shape.contains(&0) {
        return 0;
    }
    let ends = shape.iter().zip(strides).map(|(size, stride)| (size - 1).saturating_mul(*stride));
    ends.fold(offset.saturating_add(1), usize::saturating_add)
}

/// Whether no two elements of a view are at one place, which is so when each dimension steps over all of those with smaller strides.
/// (Some views of which that is not so have no two either: none that a layout makes.)
pub(crate) fn apart(shape: &[usize], strides: &[usize]) -> bool {
    let mut dims: Vec<_> = strides.iter().zip(shape).filter(|(_, size)| **size != 1).collect();
    dims.sort_unstable();
    let mut end = 1usize;
    shape.contains(&0)
        || dims.into_iter().all(|(stride, size)| {
            let over = *stride >= end;
            end = end.saturating_add((size - 1).saturating_mul(*stride));
            over
        })
}

/// Where the elements of a shape lie in a buffer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Layout<'a> {
    /// The first element.
    pub(crate) offset: usize,
    /// One per dimension.
    pub(crate) strides: &'a [usize],
}

/// A dimension of `N` views that are walked together: its size, and its stride in each.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Dim<const N: usize> {
    pub(crate) size: usize,
    pub(crate) strides: [usize; N],
}

/// Without dimensions of 1, those with large strides in the first view first, and those that together are one made one.
pub(crate) fn merged<const N: usize>(mut dims: Vec<Dim<N>>) -> Vec<Dim<N>> {
    dims.retain(|d| d.size != 1);
    dims.sort_by_key(|d| std::cmp::Reverse(d.strides[0]));
    let mut all: Vec<Dim<N>> = Vec::with_capacity(dims.len());
    for dim in dims {
        match all.last_mut() {
            Some(last) if last.strides == dim.strides.map(|s| s.saturating_mul(dim.size)) => {
                *last = Dim { size: last.size * dim.size, ..dim };
            }
            _ => all.push(dim),
        }
    }
    all
}

/// Where the element of this number is in each view, from where the first is.
#[inline(always)]
pub(crate) fn place<const N: usize>(dims: &[Dim<N>], first: [usize; N], mut index: usize) -> [usize; N] {
    let mut at = first;
    for dim in dims.iter().rev() {
        let i = index % dim.size;
        index /= dim.size;
        for (at, stride) in at.iter_mut().zip(dim.strides) {
            *at += i * stride;
        }
    }
    at
}

/// Where each element is in each view, from where the first is, the last dimension changing fastest.
pub(crate) fn places<const N: usize>(dims: &[Dim<N>]) -> Vec<[usize; N]> {
    let mut all = vec![[0; N]];
    for dim in dims {
        let step = |at: [usize; N], i: usize| std::array::from_fn(|k| at[k] + i * dim.strides[k]);
        all = all.into_iter().flat_map(|at| (0..dim.size).map(move |i| step(at, i))).collect();
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view(offset: usize, strides: &[usize]) -> View {
        View { offset, strides: strides.to_vec() }
    }

    #[test]
    fn dimensions_join() {
        let loops = Loops::new(&[2, 3, 4], &[&view(0, &[12, 4, 1]), &view(5, &[12, 4, 1])]);
        assert_eq!((loops.shape, loops.strides), (vec![1, 24], vec![vec![0, 1], vec![0, 1]]));
        assert_eq!((loops.reach, loops.offsets), (vec![24, 29], vec![0, 5]));
        // One number for each of the first dimension; the second is sorted inward.
        let loops = Loops::new(&[2, 3, 1, 4], &[&view(0, &[12, 1, 7, 3]), &view(0, &[1, 0, 9, 0])]);
        assert_eq!((loops.shape, loops.strides), (vec![2, 12], vec![vec![12, 1], vec![1, 0]]));
        assert_eq!(Loops::new(&[], &[&view(3, &[])]).shape, [1, 1]);
        assert_eq!(Loops::new(&[0, 2], &[&view(3, &[2, 1])]).reach, [0]);
        assert_eq!(View::contiguous(&[2, 3, 4]), view(0, &[12, 4, 1]));
    }

    #[test]
    #[should_panic(expected = "must not overlap")]
    fn what_is_written_does_not_overlap() {
        Loops::new(&[2, 3], &[&view(0, &[2, 1])]);
    }

    #[test]
    fn walks() {
        let loops = Loops::new(&[2, 3, 5], &[&view(1, &[40, 10, 1]), &view(0, &[0, 5, 1])]);
        let mut walk = Walk::new(&loops, 2, 0);
        for position in 0..6 {
            assert_eq!(walk.offsets, [1 + position / 3 * 40 + position % 3 * 10, position % 3 * 5]);
            assert_eq!(walk.offsets, Walk::new(&loops, 2, position).offsets);
            walk.step();
        }
        assert_eq!(walk.offsets, [1, 0]);
    }

    #[test]
    fn spans() {
        assert_eq!(span(5, &[2, 3], &[10, 2]), 5 + 10 + 4 + 1);
        assert_eq!(span(5, &[], &[]), 6);
        assert_eq!(span(5, &[0, 3], &[10, 2]), 0);
        assert_eq!(span(1, &[usize::MAX, 3], &[10, 2]), usize::MAX);
    }

    #[test]
    fn dimensions_walked_together() {
        let dim = |size, a, b| Dim { size, strides: [a, b] };
        let dims = merged(vec![dim(3, 4, 20), dim(4, 1, 5), dim(1, 9, 9), dim(2, 12, 1)]);
        assert_eq!(dims, [dim(2, 12, 1), dim(12, 1, 5)]);
        assert_eq!(place(&dims, [7, 1], 13), [7 + 12 + 1, 1 + 1 + 5]);
        let all: Vec<_> = (0..24).map(|i| place(&dims, [0, 0], i)).collect();
        assert_eq!(places(&dims), all);
    }

    #[test]
    fn elements_apart() {
        assert!(
            apart(&[2, 3], &[3, 1])
                && apart(&[3, 2], &[1, 3])
                && apart(&[2, 1, 3], &[5, 0, 2])
                && apart(&[0, 4], &[0, 0])
        );
        assert!(!apart(&[2, 3], &[2, 1]) && !apart(&[2], &[0]) && !apart(&[3, 4], &[1, 1]));
    }
}
