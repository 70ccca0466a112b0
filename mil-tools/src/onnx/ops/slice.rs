//! Parts of tensors: slicing, splitting, padding, joining.

use super::Entry;

pub(super) const OPS: &[Entry] = &[];
