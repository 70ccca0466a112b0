//! What kernels ask of strided views before they use pointers.

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
