use mil_core::{ir::Constant, types::DType};
use mil_runtime::{AnyTensor, Model};

use super::*;
use crate::torch::graph::Input;

/// `name: f32[sizes]`.
fn input(name: &str, sizes: &[i64]) -> Input {
    let sizes = sizes.iter().map(|n| InputSize::Fixed(*n)).collect();
    Input { name: name.into(), dtype: Some(DType::F32), sizes: Some(sizes) }
}

fn value(name: &str) -> Arg {
    Arg::Value(name.into())
}

fn ints(all: &[i64]) -> Arg {
    Arg::List(all.iter().map(|n| Arg::Int(*n)).collect())
}

/// A node as a traced module has it: all arguments by position, no overload.
fn node(op: &str, args: Vec<Arg>, output: &str) -> GraphNode {
    let args = args.into_iter().map(|a| (None, a)).collect();
    GraphNode {
        op: op.into(),
        overload: String::new(),
        args,
        outputs: vec![Output::One(output.into())],
        place: op.into(),
    }
}

fn graph(inputs: Vec<Input>, constants: Vec<(&str, Constant)>, nodes: Vec<GraphNode>, output: &str) -> Graph {
    let constants = constants.into_iter().map(|(n, c)| (n.to_string(), c)).collect();
    Graph { inputs, constants, nodes, outputs: vec![("out".into(), value(output))] }
}

fn imported(graph: &Graph) -> Imported {
    import(graph, "net.pt2", &ImportOptions::default()).unwrap()
}

fn refused(graph: &Graph) -> String {
    import(graph, "net.pt2", &ImportOptions::default()).unwrap_err().to_string()
}

/// How often each op stands in the program; constants are none.
fn ops(graph: &Graph) -> Vec<String> {
    let program = imported(graph).program;
    let f = program.main().unwrap();
    let names = f.walk().into_iter().map(|op| f.op(op).def.name.to_string());
    names.filter(|n| n != "const").collect()
}

fn run(graph: &Graph, x: &[f32], shape: &[usize]) -> Vec<f32> {
    let program = imported(graph).program;
    let model = Model::from_program(&program).unwrap();
    let x = AnyTensor::new(shape.to_vec(), x.to_vec()).unwrap();
    let out = model.predict([("x", x)]).unwrap().single().unwrap();
    out.to_f32().unwrap().into_owned()
}

#[test]
fn numbers_are_promoted_as_pytorch_does_it() {
    // (x > 0) + 2 is of integers; divided by 4 it is of floats.
    let nodes = vec![
        node("aten::gt", vec![value("x"), Arg::Int(0)], "a"),
        node("aten::add", vec![value("a"), Arg::Int(2), Arg::Int(1)], "b"),
        node("aten::div", vec![value("b"), Arg::Int(4)], "c"),
    ];
    let g = graph(vec![input("x", &[3])], vec![], nodes, "c");
    assert_eq!(run(&g, &[-1.0, 0.0, 5.0], &[3]), [0.5, 0.5, 0.75]);
}

#[test]
fn a_linear_layer_of_a_decomposed_program_is_one_op() {
    let weight = Constant::new([2, 3], &[1f32, 0.0, 0.0, 0.0, 1.0, 1.0]).unwrap();
    let nodes = vec![
        node("aten::permute", vec![value("w"), ints(&[1, 0])], "t"),
        node("aten::view", vec![value("x"), ints(&[2, 3])], "rows"),
        node("aten::addmm", vec![value("b"), value("rows"), value("t"), Arg::Int(1), Arg::Int(1)], "y"),
        node("aten::view", vec![value("y"), ints(&[1, 2, 2])], "z"),
    ];
    let constants = vec![("w", weight), ("b", Constant::vector(&[0.5f32, -0.5]))];
    let g = graph(vec![input("x", &[1, 2, 3])], constants, nodes, "z");
    // The reshapes are there, but nothing reads what they give.
    let all = ops(&g);
    assert_eq!(all.iter().filter(|o| *o == "linear").count(), 1, "{all:?}");
    assert!(!all.iter().any(|o| o == "matmul" || o == "transpose"), "{all:?}");
    assert_eq!(run(&g, &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0], &[1, 2, 3]), [1.5, 4.5, 4.5, 10.5]);
}

#[test]
fn blocks_are_rearranged_within_five_dimensions() {
    // The pixel shuffle that core ATen is: rank 6 in between.
    let nodes = vec![
        node("aten::view", vec![value("x"), ints(&[1, 1, 2, 2, 1, 2])], "a"),
        node("aten::permute", vec![value("a"), ints(&[0, 1, 4, 2, 5, 3])], "b"),
        node("aten::clone", vec![value("b"), Arg::None], "c"),
        node("aten::view", vec![value("c"), ints(&[1, 1, 2, 4])], "d"),
    ];
    let g = graph(vec![input("x", &[1, 4, 1, 2])], vec![], nodes, "d");
    assert_eq!(
        run(&g, &[0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0], &[1, 4, 1, 2]),
        [0.0, 2.0, 1.0, 3.0, 4.0, 6.0, 5.0, 7.0]
    );
}

#[test]
fn writing_to_a_part_changes_the_whole() {
    // y = x.clone(); y[1] = 9; y[:1] += 1
    let nodes = vec![
        node("aten::clone", vec![value("x"), Arg::None], "y"),
        node("aten::select", vec![value("y"), Arg::Int(0), Arg::Int(1)], "part"),
        node("aten::fill_", vec![value("part"), Arg::Float(9.0)], "filled"),
        node("aten::slice", vec![value("y"), Arg::Int(0), Arg::Int(0), Arg::Int(1), Arg::Int(1)], "first"),
        node("aten::add_", vec![value("first"), Arg::Int(1), Arg::Int(1)], "added"),
        node("aten::mul", vec![value("y"), Arg::Int(2)], "z"),
    ];
    let g = graph(vec![input("x", &[3])], vec![], nodes, "z");
    assert_eq!(run(&g, &[1.0, 2.0, 3.0], &[3]), [4.0, 18.0, 6.0]);
}

#[test]
fn writing_to_what_is_read_in_another_shape_is_refused() {
    let nodes = vec![
        node("aten::view", vec![value("x"), ints(&[4])], "flat"),
        node("aten::relu_", vec![value("flat")], "r"),
        node("aten::add", vec![value("x"), value("x"), Arg::Int(1)], "z"),
    ];
    let e = refused(&graph(vec![input("x", &[2, 2])], vec![], nodes, "z"));
    assert!(e.contains("writes to `flat`, which shares its elements with `x`") && e.contains("clone()"), "{e}");
}

#[test]
fn what_nobody_reads_is_not_lowered() {
    let nodes = vec![node("aten::no_such_op", vec![value("x")], "unused"), node("aten::relu_", vec![value("x")], "y")];
    assert_eq!(ops(&graph(vec![input("x", &[2])], vec![], nodes, "y")), ["relu"]);
}

#[test]
fn all_unknown_ops_are_told_at_once() {
    let nodes = vec![
        node("aten::zeta", vec![value("x")], "a"),
        node("aten::fft_rfft", vec![value("a")], "b"),
        node("aten::zeta", vec![value("b")], "c"),
    ];
    let e = refused(&graph(vec![input("x", &[2])], vec![], nodes, "c"));
    assert!(e.contains("the op `aten::zeta` (aten::zeta, the first of 2): is not known; see docs/ATEN.md"), "{e}");
    assert!(e.contains("`aten::fft_rfft`") && e.contains("no complex numbers"), "{e}");
}

#[test]
fn each_cause_is_told_once() {
    let nodes = vec![
        node("aten::dropout", vec![value("x"), Arg::Float(0.5), Arg::Bool(true)], "a"),
        node("aten::relu", vec![value("a")], "b"),
        node("aten::sum", vec![value("x"), Arg::None], "c"),
        node("aten::add", vec![value("b"), value("c"), Arg::Int(1)], "d"),
    ];
    let e = refused(&graph(vec![input("x", &[2])], vec![], nodes, "d"));
    assert_eq!(e.lines().count(), 1, "{e}");
    assert!(e.contains("leaves out elements by chance; export the module in `eval()` mode"), "{e}");
}

#[test]
fn sizes_are_computed_where_they_are_not_known() {
    let mut x = input("x", &[1, 4]);
    x.sizes = Some(vec![InputSize::Symbol("s0".into(), Some(2), Some(16)), InputSize::Fixed(4)]);
    let nodes = vec![
        node("aten::size", vec![value("x"), Arg::Int(0)], "n"),
        node("aten::mul", vec![value("n"), Arg::Int(2)], "m"),
        node("aten::view", vec![value("x"), Arg::List(vec![value("m"), Arg::Int(2)])], "y"),
        node("aten::sum", vec![value("y"), ints(&[1]), Arg::Bool(false), Arg::None], "z"),
    ];
    let g = graph(vec![x], vec![], nodes, "z");
    let all = ops(&g);
    assert!(all.iter().any(|o| o == "reshape"), "{all:?}");
    assert_eq!(run(&g, &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0], &[2, 4]), [3.0, 7.0, 11.0, 15.0]);
}

#[test]
fn a_newer_system_is_asked_for_where_an_older_has_no_op() {
    let tensor = |shape: &[usize]| Constant::new(shape, &vec![0.1f32; shape.iter().product()]).unwrap();
    let state = ("h", tensor(&[1, 1, 2]));
    let constants =
        vec![state, ("wi", tensor(&[6, 3])), ("wh", tensor(&[6, 2])), ("bi", tensor(&[6])), ("bh", tensor(&[6]))];
    let params = Arg::List(["wi", "wh", "bi", "bh"].map(value).into());
    let rest = [Arg::Bool(true), Arg::Int(1), Arg::Float(0.0), Arg::Bool(false), Arg::Bool(false), Arg::Bool(false)];
    let args: Vec<Arg> = [value("x"), value("h"), params].into_iter().chain(rest).collect();
    let g = graph(vec![input("x", &[4, 1, 3])], constants, vec![node("aten::gru", args, "y")], "y");
    assert_eq!(imported(&g).program.main().unwrap().opset, mil_core::types::Opset::iOS18);
    let options = ImportOptions { target: Some(mil_core::types::Opset::iOS17), ..ImportOptions::default() };
    let e = import(&g, "net.pt2", &options).unwrap_err().to_string();
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
