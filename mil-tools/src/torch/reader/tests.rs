//! Graphs of the small files that testdata/torch/make.py makes.

use std::path::PathBuf;

use super::*;
use crate::torch::graph::{Arg, InputSize, Node, Output};

fn path(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("testdata/torch").join(name)
}

/// An op and its arguments as they would be written.
fn shown(node: &Node) -> String {
    let outputs: Vec<String> = node
        .outputs
        .iter()
        .map(|o| match o {
            Output::One(name) => name.clone(),
            Output::List(names) => format!("[{}]", names.join(", ")),
        })
        .collect();
    let args: Vec<String> = node
        .args
        .iter()
        .map(|(name, arg)| match name {
            Some(name) => format!("{name}={}", arg_shown(arg)),
            None => arg_shown(arg),
        })
        .collect();
    let overload = if node.overload.is_empty() { String::new() } else { format!(".{}", node.overload) };
    format!("{} = {}{overload}({})", outputs.join(", "), node.op, args.join(", "))
}

fn arg_shown(arg: &Arg) -> String {
    match arg {
        Arg::Value(name) => format!("%{name}"),
        Arg::List(all) => format!("[{}]", all.iter().map(arg_shown).collect::<Vec<_>>().join(", ")),
        Arg::Int(v) => v.to_string(),
        other => format!("{other:?}"),
    }
}

fn nodes(graph: &Graph) -> Vec<String> {
    graph.nodes.iter().map(shown).collect()
}

#[test]
fn an_exported_program_is_read() {
    let graph = open(&path("net.pt2")).unwrap();
    let s = |name: &str, min, max| InputSize::Symbol(name.to_string(), Some(min), Some(max));
    let [x] = &graph.inputs[..] else { panic!("{:?}", graph.inputs) };
    assert_eq!(x.name, "x");
    assert_eq!(x.sizes.as_ref().unwrap()[1..], [InputSize::Fixed(4), s("s0", 2, 64), s("s0", 2, 64)]);
    assert_eq!(x.sizes.as_ref().unwrap()[0], s("s77", 1, 8));
    let outputs: Vec<_> = graph.outputs.iter().map(|(name, arg)| format!("{name}={}", arg_shown(arg))).collect();
    assert_eq!(outputs, ["add_3=%add_3", "top=%getitem_11", "where=%getitem_12"]);
    let nodes = nodes(&graph);
    for expected in [
        "[getitem_9, getitem_10] = aten::split_with_sizes.default(%add_2, [2, 2], 1)",
        "mul_9 = _operator::mul(%sym_size_int_11, %sym_size_int_11)",
        "view = aten::view.default(%cat, [%sym_size_int_9, 4, %mul_9])",
        "getitem_11, getitem_12 = aten::max.dim(%mean, 1)",
    ] {
        assert!(nodes.iter().any(|n| n == expected), "{nodes:#?}");
    }
    assert_eq!(graph.nodes[2].place, "`aten::convolution` in `layers.0.conv`");
    let constant = |name: &str| &graph.constants.iter().find(|(n, _)| n == name).unwrap().1;
    assert_eq!(constant("c_lifted_tensor_0").elements::<f32>().unwrap(), [0.5, 0.25, 0.125]);
    assert_eq!(constant("b_scale").elements::<f32>().unwrap(), [1.0, 2.0, 3.0]);
    assert_eq!(constant("p_layers_1_conv_weight").shape(), [4, 4, 3, 3]);
    // The number of batches that a norm has seen is not used.
    assert!(!graph.constants.iter().any(|(name, _)| name.contains("num_batches")));
}

/// A file that torch 2.7.1 wrote.
#[test]
fn an_exported_program_of_the_first_layout_is_read() {
    let graph = open(&path("net.torch27.pt2")).unwrap();
    let sizes = graph.inputs[0].sizes.as_ref().unwrap();
    assert_eq!(sizes[0], InputSize::Symbol("s0".into(), Some(1), Some(16)));
    assert_eq!(sizes[1..], [3, 8, 8].map(InputSize::Fixed));
    assert_eq!(graph.constants.iter().find(|(n, _)| n == "p_c_weight").unwrap().1.shape(), [4, 3, 3, 3]);
    assert!(nodes(&graph).iter().any(|n| n.starts_with("relu = aten::relu.default(%getitem)")));
}

#[test]
fn programs_that_change_themselves_are_refused() {
    let e = open(&path("mutated.pt2")).unwrap_err().to_string();
    assert!(e.contains("changes its buffer `") && e.contains("model.eval()"), "{e}");
}

#[test]
fn weights_alone_are_no_model() {
    for name in ["weights.pth", "legacy.pth", "whole_module.pth"] {
        let e = open(&path(name)).unwrap_err().to_string();
        assert!(e.contains("but not the model that uses them") && e.contains("safetensors"), "{e}");
    }
}
