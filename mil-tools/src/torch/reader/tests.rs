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
    assert_eq!(graph.nodes[2].place, "layers.0.conv");
    let constant = |name: &str| &graph.constants.iter().find(|(n, _)| n == name).unwrap().1;
    assert_eq!(constant("c_lifted_tensor_0").elements::<f32>().unwrap(), [0.5, 0.25, 0.125]);
    assert_eq!(constant("b_scale").elements::<f32>().unwrap(), [1.0, 2.0, 3.0]);
    assert_eq!(constant("p_layers_1_conv_weight").shape(), [4, 4, 3, 3]);
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

#[test]
fn a_traced_module_is_read() {
    let graph = open(&path("net.traced.pt")).unwrap();
    let [x] = &graph.inputs[..] else { panic!("{:?}", graph.inputs) };
    assert_eq!((&x.name[..], x.dtype), ("x", Some(mil_core::types::DType::F32)));
    assert_eq!(x.sizes.as_ref().unwrap()[..], [2, 4, 6, 6].map(InputSize::Fixed));
    let outputs: Vec<_> = graph.outputs.iter().map(|(name, arg)| format!("{name}={}", arg_shown(arg))).collect();
    assert_eq!(outputs, ["output_0=%add", "top=%max", "where=%max_1"]);
    let nodes = nodes(&graph);
    for expected in [
        "layers.0.conv.input = aten::_convolution(%x, %layers.0.conv.weight, %layers.0.conv.bias, [1, 1], [1, 1], [1, 1], Bool(false), [0, 0], 1, Bool(false), Bool(false), Bool(true), Bool(true))",
        // The same module once more.
        "layers.0.conv.input_1 = aten::_convolution(%layers.1.input, %layers.0.conv.weight, %layers.0.conv.bias, [1, 1], [1, 1], [1, 1], Bool(false), [0, 0], 1, Bool(false), Bool(false), Bool(true), Bool(true))",
        "[a, b] = aten::split(%layers.0.add_1, 2, 1)",
        "x0 = aten::cat([%b, %a], 1)",
        "n = prim::NumToTensor(%size)",
        "Int = aten::Int(%n)",
        "max, max_1 = aten::max(%y, 1)",
        "to = aten::to(%constants.0, Str(\"cpu\"), 6)",
    ] {
        assert!(nodes.iter().any(|n| n == expected), "{expected}: {nodes:#?}");
    }
    assert_eq!(graph.nodes[0].place, "layers.0.conv, line 12 of code/__torch__/torch/nn/modules/conv.py");
    let constant = |name: &str| &graph.constants.iter().find(|(n, _)| n == name).unwrap().1;
    assert_eq!(constant("constants.0").elements::<f32>().unwrap(), [0.5, 0.25, 0.125]);
    assert_eq!(constant("scale").elements::<f32>().unwrap(), [1.0, 2.0, 3.0]);
    // Both files have the same weights.
    let exported = open(&path("net.pt2")).unwrap();
    let same = &exported.constants.iter().find(|(n, _)| n == "p_layers_1_conv_weight").unwrap().1;
    assert_eq!(constant("layers.1.conv.weight"), same);
}

#[test]
fn branches_are_refused_with_their_line() {
    let e = open(&path("branch.scripted.pt")).unwrap_err().to_string();
    assert!(e.contains("line 8 of `code/__torch__.py`: `if`, which is not straight-line code; trace the model"), "{e}");
}

/// What the script reader says of a module `M` with a tensor `w` whose `forward` has this body.
fn script(body: &str) -> Result<Graph, String> {
    let code = format!(
        "class M(Module):\n  w : Tensor\n  def forward(self: __torch__.M,\n    x: Tensor) -> Tensor:\n    {body}\n  def g(self: __torch__.M, x: Tensor) -> Tensor:\n    return (self).g(x, )\n"
    );
    // {'w': 1., 'n': 3}, protocol 2.
    let pickle = b"\x80\x02c__torch__\nM\n)\x81}(X\x01\0\0\0wG?\xf0\0\0\0\0\0\0X\x01\0\0\0nK\x03ub.";
    read_zip(&[("a/code/__torch__.py", code.as_bytes()), ("a/data.pkl", pickle), ("a/constants.pkl", b"\x80\x02).")])
}

/// Stored entries.
fn read_zip(entries: &[(&str, &[u8])]) -> Result<Graph, String> {
    let mut zip = zip::ZipWriter::new(std::io::Cursor::new(vec![]));
    for (name, data) in entries {
        let options = zip::write::SimpleFileOptions::default().compression_method(zip::CompressionMethod::Stored);
        zip.start_file(*name, options).unwrap();
        std::io::Write::write_all(&mut zip, data).unwrap();
    }
    read(zip.finish().unwrap().into_inner().into()).map_err(|e| e.to_string())
}

#[test]
fn straight_line_code_is_inlined() {
    let graph = script("_0, y, = torch.split(x, [self.n, -1], dim=1)\n    _1 = (_0, annotate(List[int], [1, 2]))\n    z = torch.relu((_1)[0])\n    a = {\"k\": z}\n    return (y, (a)[\"k\"])").unwrap();
    assert_eq!(nodes(&graph), ["[_0, y] = aten::split(%x, [3, -1], dim=1)", "z = aten::relu(%_0)"]);
    let outputs: Vec<_> = graph.outputs.iter().map(|(name, arg)| format!("{name}={}", arg_shown(arg))).collect();
    assert_eq!(outputs, ["y=%y", "output_1=%z"]);
}

#[test]
fn code_that_strays_is_refused() {
    let deep = format!("return {}x{}", "torch.relu(".repeat(190), ")".repeat(190));
    assert_eq!(script(&deep).unwrap().nodes.len(), 190);
    for (body, message) in [
        ("return y", "line 5 of `code/__torch__.py`: `y` is not defined"),
        (
            "for i in x:\n      y = x\n    return x",
            "line 5 of `code/__torch__.py`: `for`, which is not straight-line code",
        ),
        ("return (self).g(x, )", "line 6 of `code/__torch__.py`: a method that calls itself"),
        ("return (self).h(x, )", "has no such method"),
        ("return self.v", "no attribute `v`"),
        ("return x.v", "the attribute `v` of what is no module"),
        ("return CONSTANTS.c0", "no constant `c0`"),
        ("return CONSTANTS.", "its code `code/__torch__.py` cannot be read: line 5: found"),
        ("a, b, = [x]\n    return a", "1 values where 2 are taken"),
        ("a, b, = x\n    return a", "takes apart what no op gives"),
        ("return [x][1]", "the element 1 of 1"),
        ("return torch.add(self, x)", "an op takes the module"),
        ("return self", "gives a module"),
        ("_0 = torch.append([x], x)\n    return x", "`append`, which changes a list"),
        ("return foo(x)", "calls `foo`, which is not known"),
        ("return __torch__.foo(x)", "which the file does not have"),
        ("self.w = x", "which is not straight-line code"),
    ] {
        let e = script(body).unwrap_err();
        assert!(e.contains(message), "{body}: {e}");
    }
    // A list of lists of lists that has 2^60 elements.
    let wide = format!("y = [x]\n    {}return torch.cat(y)", "y = [y, y]\n    ".repeat(60));
    let e = script(&wide).unwrap_err();
    assert!(e.contains("more than 4194304 steps"), "{e}");
}

mod changed {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig { cases: 150, failure_persistence: None, ..ProptestConfig::default() })]

        /// Whatever is changed, a file is read or refused.
        #[test]
        fn files_do_no_harm(
            name in prop::sample::select(&["net.pt2", "net.torch27.pt2", "net.traced.pt", "mutated.pt2"][..]),
            changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
            cut in prop::option::weighted(0.1, any::<prop::sample::Index>()),
        ) {
            let mut bytes = std::fs::read(path(name)).unwrap();
            for (at, value) in changes {
                let at = at.index(bytes.len());
                bytes[at] = value;
            }
            if let Some(cut) = cut {
                bytes.truncate(cut.index(bytes.len()));
            }
            let _ = read(bytes.into());
        }

        /// Whatever is changed in the source text, it is read or refused.
        #[test]
        fn code_does_no_harm(
            changes in prop::collection::vec((any::<prop::sample::Index>(), prop::sample::select(&b"()[]{},.=:-\"#\n _x1"[..])), 1..8),
        ) {
            let archive = Archive::new(Bytes::map_file(path("net.traced.pt")).unwrap()).unwrap();
            let names: Vec<String> = archive.names().filter(|n| !n.ends_with("_pkl")).map(str::to_string).collect();
            let mut entries: Vec<(String, Vec<u8>)> =
                names.into_iter().map(|n| (format!("a/{n}"), archive.read(&n).unwrap().to_vec())).collect();
            for (at, value) in changes {
                let sources: Vec<_> = entries.iter_mut().filter(|(n, _)| n.ends_with(".py")).collect();
                let count = sources.len();
                let (_, source) = sources.into_iter().nth(at.index(count)).unwrap();
                let at = at.index(source.len());
                source[at] = value;
            }
            let all: Vec<(&str, &[u8])> = entries.iter().map(|(n, d)| (&n[..], &d[..])).collect();
            let _ = read_zip(&all);
        }
    }
}
