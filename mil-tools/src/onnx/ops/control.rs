//! `If`, `Loop` and `Scan`.

use super::Entry;

pub(super) const OPS: &[Entry] = &[];
