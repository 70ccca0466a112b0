//! mil-core

mod atomic;
pub mod error;
pub mod package;
pub mod spec;
pub mod weights;
