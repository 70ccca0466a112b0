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
