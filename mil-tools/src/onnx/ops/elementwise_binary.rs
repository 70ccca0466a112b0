//! Arithmetic of two or more tensors.

use super::Entry;

pub(super) const OPS: &[Entry] = &[];
