//! The CPU engine.

pub mod reference;

/// Whether the CPU engine runs the op of this MIL name.
pub fn runs(op: &str) -> bool {
    reference::runs(op)
}
