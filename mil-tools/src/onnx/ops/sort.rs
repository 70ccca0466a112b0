//! Largest elements, and sums along an axis.

use super::Entry;

pub(super) const OPS: &[Entry] = &[];
