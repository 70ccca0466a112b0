use mil_core::{ir::Constant, types::Opset};

use super::*;
use crate::torch::testing::Net;

#[test]
fn numbers_are_promoted_as_pytorch_does_it() {
    // (x > 0) + 2 is of integers; divided by 4 it is of floats.
    let net = Net::new().input("x", &[3]).node("a = aten::gt(x, 0)").node("b = aten::add(a, 2, 1)");
    assert_eq!(net.node("c = aten::div(b, 4)").run("c", &[-1.0, 0.0, 5.0], &[3]), [0.5, 0.5, 0.75]);
}

#[test]
fn a_linear_layer_of_a_decomposed_program_is_one_op() {
    let net = || {
        let weight = Constant::new([2, 3], &[1f32, 0.0, 0.0, 0.0, 1.0, 1.0]).unwrap();
        let net = Net::new().input("x", &[1, 2, 3]).constant("w", weight);
        let net = net.constant("b", Constant::vector(&[0.5f32, -0.5]));
        let net = net.node("t = aten::permute(w, [1, 0])").node("rows = aten::view(x, [2, 3])");
        net.node("y = aten::addmm(b, rows, t, 1, 1)").node("z = aten::view(y, [1, 2, 2])")
    };
    // The reshapes are there, but nothing reads what they give.
    let all = net().ops("z");
    assert_eq!(all.iter().filter(|o| **o == "linear").count(), 1, "{all:?}");
    assert!(!all.contains(&"matmul") && !all.contains(&"transpose"), "{all:?}");
    assert_eq!(net().run("z", &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0], &[1, 2, 3]), [1.5, 4.5, 4.5, 10.5]);
}

#[test]
fn blocks_are_rearranged_within_five_dimensions() {
    // The pixel shuffle that core ATen is: rank 6 in between.
    let net = Net::new().input("x", &[1, 4, 1, 2]).node("a = aten::view(x, [1, 1, 2, 2, 1, 2])");
    let net = net.node("b = aten::permute(a, [0, 1, 4, 2, 5, 3])").node("c = aten::clone(b, None)");
    assert_eq!(
        net.node("d = aten::view(c, [1, 1, 2, 4])").run("d", &[0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0], &[1, 4, 1, 2]),
        [0.0, 2.0, 1.0, 3.0, 4.0, 6.0, 5.0, 7.0]
    );
}

#[test]
fn writing_to_a_part_changes_the_whole() {
    // y = x.clone(); y[1] = 9; y[:1] += 1
    let net = Net::new().input("x", &[3]).node("y = aten::clone(x, None)");
    let net = net.node("part = aten::select(y, 0, 1)").node("filled = aten::fill_(part, 9.0)");
    let net = net.node("first = aten::slice(y, 0, 0, 1, 1)").node("added = aten::add_(first, 1, 1)");
    assert_eq!(net.node("z = aten::mul(y, 2)").run("z", &[1.0, 2.0, 3.0], &[3]), [4.0, 18.0, 6.0]);
}

#[test]
fn writing_to_what_is_read_in_another_shape_is_refused() {
    let net = Net::new().input("x", &[2, 2]).node("flat = aten::view(x, [4])").node("r = aten::relu_(flat)");
    let e = net.node("z = aten::add(x, x, 1)").refusal("z");
    assert!(e.contains("writes to `flat`, which shares its elements with `x`") && e.contains("clone()"), "{e}");
}

#[test]
fn what_nobody_reads_is_not_lowered() {
    let net = Net::new().input("x", &[2]).node("unused = aten::no_such_op(x)").node("y = aten::relu_(x)");
    assert_eq!(net.ops("y"), ["relu"]);
}

#[test]
fn all_unknown_ops_are_told_at_once() {
    let net = Net::new().input("x", &[2]).node("a = aten::zeta(x)").node("b = aten::fft_rfft(a)");
    let e = net.node("c = aten::zeta(b)").refusal("c");
    assert!(e.contains("the op `aten::zeta` (aten::zeta, the first of 2): is not known; see docs/ATEN.md"), "{e}");
    assert!(e.contains("`aten::fft_rfft`") && e.contains("no complex numbers"), "{e}");
}

#[test]
fn each_cause_is_told_once() {
    let net = Net::new().input("x", &[2]).node("a = aten::dropout(x, 0.5, True)").node("b = aten::relu(a)");
    let e = net.node("c = aten::sum(x, None)").node("d = aten::add(b, c, 1)").refusal("d");
    assert_eq!(e.lines().count(), 1, "{e}");
    assert!(e.contains("leaves out elements by chance; export the module in `eval()` mode"), "{e}");
}

#[test]
fn sizes_are_computed_where_they_are_not_known() {
    let net = || {
        let net = Net::new().input("x", &[-1, 4]).node("n = aten::size(x, 0)").node("m = aten::mul(n, 2)");
        net.node("y = aten::view(x, [m, 2])").node("z = aten::sum(y, [1], False, None)")
    };
    let all = net().ops("z");
    assert!(all.contains(&"reshape"), "{all:?}");
    assert_eq!(net().run("z", &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0], &[2, 4]), [3.0, 7.0, 11.0, 15.0]);
}

#[test]
fn a_newer_system_is_asked_for_where_an_older_has_no_op() {
    let net = || {
        let net = Net::new().input("x", &[4, 1, 3]).ones("h", &[1, 1, 2]).ones("wi", &[6, 3]).ones("wh", &[6, 2]);
        let net = net.ones("bi", &[6]).ones("bh", &[6]);
        net.node("y = aten::gru(x, h, [wi, wh, bi, bh], True, 1, 0.0, False, False, False)")
    };
    assert_eq!(net().import("y").unwrap().main().unwrap().opset, Opset::iOS18);
    let options = ImportOptions { target: Some(Opset::iOS17), ..ImportOptions::default() };
    let e = net().options(options).refusal("y");
    assert!(e.contains("needs iOS18, but the target is iOS17"), "{e}");
}

/// The table has each op once, in order within a file, and what is refused is in no list.
#[test]
fn the_table_is_in_order() {
    let mut names: Vec<&str> = ops::all().map(|e| e.name).collect();
    names.sort_unstable();
    let twice: Vec<_> = names.windows(2).filter(|w| w[0] == w[1]).collect();
    assert!(twice.is_empty(), "{twice:?}");
    assert!(names.iter().all(|n| ops::way_out(n).is_none()));
}
