//! Reductions.

use super::super::{build::Builder, nodes::Node};

/// Plans a reduction.
pub(super) fn lower(_: &mut Builder<'_>, _: &Node) -> Option<()> {
    None
}
