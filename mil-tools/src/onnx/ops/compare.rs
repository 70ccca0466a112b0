//! Comparisons, logic, and choosing by a condition.

use super::Entry;

pub(super) const OPS: &[Entry] = &[];
