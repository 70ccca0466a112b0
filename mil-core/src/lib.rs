//! mil-core

mod atomic;
pub mod error;

pub mod spec;
pub mod weights;
