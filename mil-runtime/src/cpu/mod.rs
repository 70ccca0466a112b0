//! The CPU engine.

mod compressed;
mod executor;
pub(crate) mod kernels;
mod options;
mod plan;
pub mod reference;

pub use executor::{Executor, States};
pub use kernels::simd::{ISA_VARIABLE, Isa};
pub use options::{CpuOptions, Numerics, Packing};

/// Whether the CPU engine runs the op of this MIL name.
pub fn runs(op: &str) -> bool {
    reference::runs(op)
}
