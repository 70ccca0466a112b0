//! mil-runtime
