//! Functions of each element.

use super::Entry;

pub(super) const OPS: &[Entry] = &[];
