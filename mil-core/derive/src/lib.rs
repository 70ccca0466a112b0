//! mil-derive
