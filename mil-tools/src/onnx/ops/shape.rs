//! Shapes, and tensors in other shapes.

use super::Entry;

pub(super) const OPS: &[Entry] = &[];
