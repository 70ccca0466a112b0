//! Did you mean ..?

/// The candidate that the user most likely meant; none if nothing is near.
pub(crate) fn nearest<'a>(wanted: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let limit = (wanted.chars().count() / 3).max(1);
    let measured = candidates.into_iter().map(|c| (distance(wanted, c), c));
    measured.filter(|(d, c)| *d <= limit && *c != wanted).min().map(|(_, c)| c)
}

/// `; did you mean `x`?`, or nothing.
pub(crate) fn hint<'a>(wanted: &str, candidates: impl IntoIterator<Item = &'a str>) -> String {
    nearest(wanted, candidates).map_or(String::new(), |c| format!("; did you mean `{c}`?"))
}

/// Insertions, deletions, substitutions and swaps of neighbours that make one of the other.
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut rows = vec![(0..=b.len()).collect::<Vec<usize>>()];
    for i in 1..=a.len() {
        let mut row = vec![i];
        for j in 1..=b.len() {
            let substituted = rows[i - 1][j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let mut best = substituted.min(rows[i - 1][j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                best = best.min(rows[i - 2][j - 2] + 1);
            }
            row.push(best);
        }
        rows.push(row);
    }
    rows[a.len()][b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_names_are_found_and_far_ones_are_not() {
        assert_eq!(nearest("stride", ["strides", "pad", "groups"]), Some("strides"));
        assert_eq!(nearest("cnov", ["conv", "cos"]), Some("conv"));
        assert_eq!(nearest("wieght", ["weight", "x"]), Some("weight"));
        assert_eq!(nearest("banana", ["conv", "relu"]), None);
        assert_eq!(nearest("x", ["x"]), None);
        assert_eq!(distance("", "abc"), 3);
    }
}
