//! Reading arrays whose elements do not lie side by side.

use crate::error::RunError;

/// Copies an array of any strides to row-major bytes.
///
/// `bytes` starts at the element with index 0 everywhere; `strides` count elements, one per dimension of `shape`.
/// Core ML pads rows of what the Neural Engine gives (to 64 bytes), so that strides are wider than the shape asks for.
///
/// # Errors
/// If a stride leads out of `bytes`, or there is not one per dimension.
#[cfg_attr(not(any(target_vendor = "apple", test)), expect(dead_code, reason = "only Core ML has such arrays"))]
pub(crate) fn gather(bytes: &[u8], size: usize, shape: &[usize], strides: &[isize]) -> Result<Vec<u8>, RunError> {
    let outside =
        || RunError::new(format!("an array of shape {shape:?} and strides {strides:?} leads out of its memory"));
    if shape.len() != strides.len() {
        return Err(outside());
    }
    let count = shape.iter().try_fold(1usize, |n, d| n.checked_mul(*d)).ok_or_else(outside)?;
    if count == 0 {
        return Ok(vec![]);
    }
    // The last element that is read; none before the first.
    let mut last = 0usize;
    for (&n, &stride) in shape.iter().zip(strides) {
        // A dimension of one element is never stepped along, whatever its stride.
        let stride = if n == 1 { 0 } else { usize::try_from(stride).map_err(|_| outside())? };
        let reach = (n - 1).checked_mul(stride).ok_or_else(outside)?;
        last = last.checked_add(reach).ok_or_else(outside)?;
    }
    let end = last.checked_add(1).and_then(|n| n.checked_mul(size)).ok_or_else(outside)?;
    if end > bytes.len() {
        return Err(outside());
    }
    // From the innermost dimension outwards, as long as elements lie side by side: what is copied in one piece.
    let mut run = 1;
    let mut outer = shape.len();
    while outer > 0 && (shape[outer - 1] == 1 || strides[outer - 1] == run as isize) {
        run *= shape[outer - 1];
        outer -= 1;
    }
    let mut out = Vec::with_capacity(count.checked_mul(size).ok_or_else(outside)?);
    let mut index = vec![0usize; outer];
    for _ in 0..count / run {
        let start: usize = index.iter().zip(strides).map(|(i, s)| i * s.unsigned_abs()).sum();
        out.extend_from_slice(&bytes[start * size..(start + run) * size]);
        for d in (0..outer).rev() {
            index[d] += 1;
            if index[d] < shape[d] {
                break;
            }
            index[d] = 0;
        }
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::gather;

    fn bytes(n: u8) -> Vec<u8> {
        (0..n).collect()
    }

    #[test]
    fn contiguous_arrays_are_copied() {
        assert_eq!(gather(&bytes(12), 2, &[2, 3], &[3, 1]).unwrap(), bytes(12));
        assert_eq!(gather(&bytes(4), 4, &[], &[]).unwrap(), bytes(4));
        assert_eq!(gather(&bytes(9), 2, &[2, 0], &[7, 1]).unwrap(), bytes(0));
    }

    #[test]
    fn padded_rows_are_skipped() {
        assert_eq!(gather(&bytes(11), 1, &[2, 3], &[8, 1]).unwrap(), [0, 1, 2, 8, 9, 10]);
        // Padded inside and outside, elements of two bytes.
        let got = gather(&bytes(30), 2, &[2, 2, 1], &[8, 4, 1]).unwrap();
        assert_eq!(got, [0, 1, 8, 9, 16, 17, 24, 25]);
    }

    #[test]
    fn transposed_and_repeated_elements() {
        assert_eq!(gather(&bytes(6), 1, &[3, 2], &[1, 3]).unwrap(), [0, 3, 1, 4, 2, 5]);
        assert_eq!(gather(&bytes(2), 1, &[2, 2], &[0, 1]).unwrap(), [0, 1, 0, 1]);
        // The stride of a dimension of one element means nothing.
        assert_eq!(gather(&bytes(2), 1, &[1, 2], &[isize::MIN, 1]).unwrap(), [0, 1]);
    }

    #[test]
    fn strides_that_lead_outside_are_refused() {
        for (shape, strides) in [
            (&[2usize, 3][..], &[8isize, 1][..]),
            (&[2, 3], &[3]),
            (&[2], &[-1]),
            (&[3], &[isize::MAX]),
            (&[usize::MAX, 2], &[1, 1]),
        ] {
            assert!(gather(&bytes(10), 1, shape, strides).unwrap_err().to_string().contains("leads out"), "{shape:?}");
        }
    }
}
