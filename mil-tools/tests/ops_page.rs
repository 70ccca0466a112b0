//! `docs/OPS.md` says what the definitions say.

use std::{fs, path::Path};

#[test]
fn the_page_of_ops_is_not_stale() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/OPS.md");
    let page = mil_tools::ops::markdown();
    if std::env::var_os("UPDATE").is_some() {
        fs::write(&path, &page).unwrap();
    }
    let committed = fs::read_to_string(&path).unwrap_or_default();
    let differs = committed.lines().zip(page.lines()).position(|(a, b)| a != b);
    assert!(
        committed == page,
        "docs/OPS.md is stale (first at line {:?}); renew it with `UPDATE=1 cargo test -p mil-tools --test ops_page`",
        differs.map(|n| n + 1)
    );
}

#[test]
fn every_op_is_told_with_its_constraints() {
    let conv = mil_tools::ops::describe("conv").unwrap();
    for text in ["## conv", "**`x`**", "Constraints:", "- C1 ", "Neural Engine: under a condition"] {
        assert!(conv.contains(text), "{text}\n{conv}");
    }
    let e = mil_tools::ops::describe("argma").unwrap_err().to_string();
    assert!(e.contains("there is no op `argma`; there are reduce_argmax"), "{e}");
    let page = mil_tools::ops::markdown();
    for def in mil_core::ops::all() {
        assert!(page.contains(&format!("\n## {}\n", def.name)), "{}", def.name);
    }
}
