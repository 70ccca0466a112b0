//! Reading and writing at indices.

use super::Entry;

pub(super) const OPS: &[Entry] = &[];
