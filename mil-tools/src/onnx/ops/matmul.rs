//! Products of matrices.

use super::Entry;

pub(super) const OPS: &[Entry] = &[];
