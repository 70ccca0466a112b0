//! mil-macros
