//! `docs/OPS.md` says what the definitions say.

mod page;

#[test]
fn the_page_of_ops_is_not_stale() {
    page::is_current("OPS.md", &mil_tools::ops::markdown(), "ops_page");
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
