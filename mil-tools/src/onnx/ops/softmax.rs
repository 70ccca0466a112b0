//! Softmax and its kin.

use super::Entry;

pub(super) const OPS: &[Entry] = &[];
