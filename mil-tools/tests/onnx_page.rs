//! `docs/ONNX.md` says what the lowerings say.

use std::{collections::BTreeSet, fs, path::Path};

#[test]
fn the_page_of_onnx_ops_is_not_stale() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/ONNX.md");
    let page = mil_tools::onnx::markdown();
    if std::env::var_os("UPDATE").is_some() {
        fs::write(&path, &page).unwrap();
    }
    let committed = fs::read_to_string(&path).unwrap_or_default();
    let differs = committed.lines().zip(page.lines()).position(|(a, b)| a != b);
    assert!(
        committed == page,
        "docs/ONNX.md is stale (first at line {:?}); renew it with `UPDATE=1 cargo test -p mil-tools --test onnx_page`",
        differs.map(|n| n + 1)
    );
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
