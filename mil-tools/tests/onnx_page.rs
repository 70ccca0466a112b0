//! `docs/ONNX.md` says what the lowerings say.

mod page;

use std::collections::BTreeSet;

#[test]
fn the_page_of_onnx_ops_is_not_stale() {
    page::is_current("ONNX.md", &mil_tools::onnx::markdown(), "onnx_page");
}

#[test]
fn an_op_is_known_or_refused_and_listed_once() {
    let known: BTreeSet<&str> = mil_tools::onnx::ops().into_iter().map(|(name, _)| name).collect();
    assert_eq!(known.len(), mil_tools::onnx::ops().len(), "an op has two lowerings");
    for (name, way) in mil_tools::onnx::refused_ops() {
        assert!(!known.contains(name) && !way.is_empty() && !way.ends_with('.'), "{name}: {way}");
    }
    for (name, limits) in mil_tools::onnx::ops() {
        assert!(!limits.ends_with('.') && !limits.contains('\n'), "{name}: {limits}");
    }
}
