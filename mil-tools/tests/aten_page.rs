//! `docs/ATEN.md` says what the lowerings say.

use std::{fs, path::Path};

#[test]
fn the_page_is_current() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/ATEN.md");
    let page = mil_tools::torch::ops();
    if std::env::var_os("UPDATE").is_some() {
        fs::write(&path, &page).unwrap();
    }
    let written = fs::read_to_string(&path).unwrap_or_default();
    let differs = written.lines().zip(page.lines()).position(|(a, b)| a != b);
    assert!(
        written == page,
        "docs/ATEN.md is stale (first at line {differs:?}); renew it with `UPDATE=1 cargo test -p mil-tools --test aten_page`"
    );
}
