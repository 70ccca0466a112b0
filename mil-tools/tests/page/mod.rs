//! Pages of `docs/` that are made from the code.

use std::{fs, path::Path};

/// `docs/NAME` is this page. With the variable UPDATE it becomes that first. `test` is the test that renews it.
#[track_caller]
pub(crate) fn is_current(name: &str, page: &str, test: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs").join(name);
    if std::env::var_os("UPDATE").is_some() {
        fs::write(&path, page).unwrap();
    }
    let committed = fs::read_to_string(&path).unwrap_or_default();
    let differs = committed.lines().zip(page.lines()).position(|(a, b)| a != b);
    assert!(
        committed == page,
        "docs/{name} is stale (first at line {:?}); renew it with `UPDATE=1 cargo test -p mil-tools --test {test}`",
        differs.map(|n| n + 1)
    );
}
