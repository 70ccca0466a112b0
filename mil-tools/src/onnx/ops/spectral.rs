//! Fourier transforms.

use super::Entry;

pub(super) const OPS: &[Entry] = &[];
