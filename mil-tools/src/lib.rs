//! mil-tools
