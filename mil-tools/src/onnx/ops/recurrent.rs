//! RNN, LSTM and GRU.

use super::Entry;

pub(super) const OPS: &[Entry] = &[];
