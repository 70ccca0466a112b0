//! `docs/ATEN.md` says what the lowerings say.

mod page;

#[test]
fn the_page_is_current() {
    page::is_current("ATEN.md", &mil_tools::torch::ops(), "aten_page");
}
