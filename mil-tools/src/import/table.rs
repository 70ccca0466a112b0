//! Tables that a lowering works out beforehand: they are as large as numbers in the file say, so that they have a bound.

use super::Refusal;

/// Elements of the largest table.
const MOST: i64 = 1 << 24;

/// How many elements a table of these sizes has, for one that a lowering makes.
///
/// # Errors
/// If they are more than 2^24, or a size is negative.
pub(crate) fn table(sizes: &[i64]) -> Result<usize, Refusal> {
    let all = sizes.iter().try_fold(1i64, |all, n| all.checked_mul(*n).filter(|_| *n >= 0));
    match all.filter(|all| *all <= MOST) {
        Some(all) => Ok(all as usize),
        None => {
            Err(Refusal::new(format!("wants a table of sizes {sizes:?} worked out beforehand, which is too large")))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_tables_are_refused() {
        assert_eq!(table(&[4096, 4096]).unwrap(), 1 << 24);
        assert_eq!(table(&[]).unwrap(), 1);
        for sizes in [[4096, 4097], [-1, 2], [1 << 40, 1 << 40]] {
            assert!(table(&sizes).unwrap_err().to_string().contains("too large"), "{sizes:?}");
        }
    }
}
