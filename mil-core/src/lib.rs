//! mil-core
