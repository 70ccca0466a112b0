//! Damaged and hostile files: refused with a reason, never a panic.

use std::{fs, path::PathBuf};

use mil_core::types::Opset;
use proptest::prelude::*;
use prost::Message as _;

use super::{
    import,
    proto::{
        AttributeProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto, StringStringEntryProto, TensorProto,
        TensorShapeProto, TypeProto, ValueInfoProto,
        attribute_proto::AttributeType as A,
        tensor_shape_proto::{Dimension, dimension},
        type_proto,
    },
};
use crate::import::ImportOptions;

fn info(name: &str, dtype: i32, sizes: &[i64]) -> ValueInfoProto {
    let dim = |n: &i64| match n {
        0 => Dimension { value: Some(dimension::Value::DimParam("n".into())), ..Dimension::default() },
        n => Dimension { value: Some(dimension::Value::DimValue(*n)), ..Dimension::default() },
    };
    let shape = Some(TensorShapeProto { dim: sizes.iter().map(dim).collect() });
    let tensor = type_proto::Value::TensorType(type_proto::Tensor { elem_type: dtype, shape });
    let r#type = Some(TypeProto { value: Some(tensor), ..TypeProto::default() });
    ValueInfoProto { name: name.into(), r#type, ..ValueInfoProto::default() }
}

fn node(op: &str, inputs: &[&str], outputs: &[&str], attribute: Vec<AttributeProto>) -> NodeProto {
    let names = |all: &[&str]| all.iter().map(|n| n.to_string()).collect();
    NodeProto { op_type: op.into(), input: names(inputs), output: names(outputs), attribute, ..NodeProto::default() }
}

fn int(name: &str, i: i64) -> AttributeProto {
    AttributeProto { name: name.into(), r#type: A::Int as i32, i, ..AttributeProto::default() }
}

fn ints(name: &str, ints: &[i64]) -> AttributeProto {
    AttributeProto { name: name.into(), r#type: A::Ints as i32, ints: ints.to_vec(), ..AttributeProto::default() }
}

fn body(name: &str, g: GraphProto) -> AttributeProto {
    AttributeProto { name: name.into(), r#type: A::Graph as i32, g: Some(g), ..AttributeProto::default() }
}

fn longs(name: &str, dims: &[i64], values: &[i64]) -> TensorProto {
    TensorProto {
        name: name.into(),
        data_type: 7,
        dims: dims.to_vec(),
        raw_data: values.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<u8>>().into(),
        ..TensorProto::default()
    }
}

fn wrapped(graph: GraphProto) -> ModelProto {
    let opset_import = vec![OperatorSetIdProto { version: 17, ..OperatorSetIdProto::default() }];
    ModelProto { ir_version: 8, opset_import, graph: Some(graph), ..ModelProto::default() }
}

/// A model that has something of each: shape arithmetic, slices, indices, a branch, a loop that is written out and one that
/// stays, lists.
fn model() -> ModelProto {
    let branch = |op: &str| GraphProto {
        node: vec![node(op, &["flat"], &["chosen"], vec![])],
        output: vec![info("chosen", 1, &[0, 12])],
        ..GraphProto::default()
    };
    let round = GraphProto {
        node: vec![
            node("Relu", &["state"], &["next"], vec![]),
            node("Transpose", &["next"], &["seen"], vec![ints("perm", &[1, 0])]),
        ],
        input: vec![info("i", 7, &[]), info("go", 9, &[]), info("state", 1, &[0, 12])],
        output: vec![info("go", 9, &[]), info("next", 1, &[0, 12]), info("seen", 1, &[12, 0])],
        ..GraphProto::default()
    };
    let rounds = |inputs: &[&str], outputs: &[&str]| node("Loop", inputs, outputs, vec![body("body", round.clone())]);
    let nodes = vec![
        node("Shape", &["x"], &["shape"], vec![]),
        node("Gather", &["shape", "zero"], &["batch"], vec![int("axis", 0)]),
        node("Concat", &["batch", "rest"], &["wanted"], vec![int("axis", 0)]),
        node("Reshape", &["x", "wanted"], &["flat"], vec![]),
        node(
            "If",
            &["choose"],
            &["picked"],
            vec![body("then_branch", branch("Relu")), body("else_branch", branch("LeakyRelu"))],
        ),
        rounds(&["three", "", "picked"], &["short", "short_seen"]),
        rounds(&["many", "", "short"], &["long", "long_seen"]),
        node("Slice", &["long", "zero", "three", "one"], &["part"], vec![]),
        node("TopK", &["part", "one"], &["best", "places"], vec![int("axis", 1)]),
        node("SplitToSequence", &["part"], &["list"], vec![int("axis", 1), int("keepdims", 1)]),
        node("ConcatFromSequence", &["list"], &["joined"], vec![int("axis", 1)]),
        node("Pad", &["joined", "border"], &["padded"], vec![]),
        node("OneHot", &["places", "three", "values"], &["hot"], vec![int("axis", -1)]),
    ];
    let graph = GraphProto {
        node: nodes,
        initializer: vec![
            longs("zero", &[1], &[0]),
            longs("one", &[1], &[1]),
            longs("three", &[1], &[3]),
            longs("many", &[1], &[100]),
            longs("rest", &[1], &[-1]),
            longs("border", &[4], &[0, 1, 0, -1]),
            longs("values", &[2], &[0, 1]),
        ],
        input: vec![info("x", 1, &[0, 3, 4]), info("choose", 9, &[])],
        output: vec![info("padded", 1, &[0, 3]), info("hot", 7, &[0, 1, 3]), info("long_seen", 1, &[100, 12, 0])],
        ..GraphProto::default()
    };
    wrapped(graph)
}

fn read(bytes: &[u8]) -> Result<(), String> {
    let dir = tempfile::tempdir().unwrap();
    let path: PathBuf = dir.path().join("model.onnx");
    fs::write(&path, bytes).unwrap();
    let options = ImportOptions { target: Some(Opset::iOS17), ..ImportOptions::default() };
    import(&path, &options).map(drop).map_err(|e| e.to_string())
}

#[track_caller]
fn refused(model: &ModelProto, what: &str) {
    let error = read(&model.encode_to_vec()).unwrap_err();
    assert!(error.contains(what), "{error}");
}

fn changed(change: impl FnOnce(&mut GraphProto)) -> ModelProto {
    let mut m = model();
    change(m.graph.as_mut().unwrap());
    m
}

#[test]
fn the_model_itself_is_read() {
    read(&model().encode_to_vec()).unwrap();
    // So it is in any order.
    read(&changed(|g| g.node.reverse()).encode_to_vec()).unwrap();
}

#[test]
fn what_is_wrong_is_named() {
    refused(&changed(|g| g.node[3].input[0] = "best".into()), "the graph has a cycle");
    refused(&changed(|g| g.node[3].input[0] = "nobody".into()), "`nobody` is used, but nothing before gives it");
    refused(&changed(|g| g.node[1].output[0] = "flat".into()), "the name `flat` is given by two nodes");
    refused(&changed(|g| g.initializer[1].name = "zero".into()), "the name `zero` is given to two tensors");
    refused(&changed(|g| g.initializer[0].data_type = 77), "the tensor `zero` is of the unknown element type 77");
    refused(&changed(|g| g.initializer[0].dims = vec![i64::MAX, 3]), "impossible shape");
    refused(&changed(|g| g.initializer[0].dims = vec![1 << 40]), "the tensor `zero`");
    refused(&changed(|g| g.output[0].name = "list".into()), "`list` is a list, not a tensor");
    refused(&changed(|g| g.node[4].attribute.clear()), "its attribute `then_branch` has no graph");
    let away = |key: &str, value: &str| StringStringEntryProto { key: key.into(), value: value.into() };
    let external = |entries: Vec<StringStringEntryProto>| {
        changed(|g| {
            g.initializer[0].data_location = 1;
            g.initializer[0].external_data = entries;
        })
    };
    refused(&external(vec![]), "is in another file, but not said in which");
    refused(&external(vec![away("location", "lost.bin")]), "its file cannot be read");
    refused(&external(vec![away("location", "../model.onnx")]), "is not beside the model");
    let beyond = vec![away("location", "model.onnx"), away("offset", "99999999")];
    refused(&external(beyond), "but the file has");
    assert!(read(b"not a model").unwrap_err().contains("is no ONNX model"));
    assert!(read(b"").unwrap_err().contains("is no ONNX model"));
}

#[test]
fn bodies_in_bodies_have_an_end() {
    let mut graph = GraphProto { output: vec![info("x", 1, &[2])], ..GraphProto::default() };
    for _ in 0..200 {
        let branches = vec![body("then_branch", graph.clone()), body("else_branch", GraphProto::default())];
        graph = GraphProto { node: vec![node("If", &["c"], &["y"], branches)], ..GraphProto::default() };
    }
    refused(&wrapped(graph), "nested too deeply");
    // Loops in loops, each of which is written out.
    let last = info("y", 1, &[2]);
    let mut inner = node("Relu", &["x"], &["y"], vec![]);
    for _ in 0..8 {
        let round = GraphProto {
            node: vec![inner],
            input: vec![info("i", 7, &[]), info("go", 9, &[]), info("x", 1, &[2])],
            output: vec![info("go", 9, &[]), last.clone()],
            ..GraphProto::default()
        };
        inner = node("Loop", &["count", "", "x"], &["y"], vec![body("body", round)]);
    }
    let graph = GraphProto {
        node: vec![inner],
        initializer: vec![longs("count", &[], &[64])],
        input: vec![info("x", 1, &[2])],
        output: vec![last],
        ..GraphProto::default()
    };
    refused(&wrapped(graph), "nodes when written out");
}

/// All the numbers of a graph, in its bodies too.
fn numbers(g: &mut GraphProto) -> Vec<&mut i64> {
    let mut all = vec![];
    for n in &mut g.node {
        for a in &mut n.attribute {
            all.push(&mut a.i);
            all.extend(&mut a.ints);
            if let Some(g) = &mut a.g {
                all.extend(numbers(g));
            }
        }
    }
    for t in &mut g.initializer {
        all.extend(&mut t.dims);
    }
    for i in g.input.iter_mut().chain(&mut g.output) {
        let Some(type_proto::Value::TensorType(t)) = i.r#type.as_mut().and_then(|t| t.value.as_mut()) else { continue };
        for d in t.shape.iter_mut().flat_map(|s| &mut s.dim) {
            if let Some(dimension::Value::DimValue(v)) = &mut d.value {
                all.push(v);
            }
        }
    }
    all
}

/// All the names that nodes read and give.
fn names(g: &mut GraphProto) -> Vec<&mut String> {
    let mut all = vec![];
    for n in &mut g.node {
        all.extend(n.input.iter_mut().chain(&mut n.output));
        for a in &mut n.attribute {
            if let Some(g) = &mut a.g {
                all.extend(names(g));
            }
        }
    }
    all
}

const NUMBERS: [i64; 10] = [0, 1, -1, 2, 3, -7, 1 << 20, 1 << 40, i64::MAX, i64::MIN];

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    /// Bytes lost, changed, doubled, cut off.
    #[test]
    fn damaged_files(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>(), 0usize..4, any::<u8>()), 1..6),
    ) {
        let mut bytes = model().encode_to_vec();
        for (a, b, what, byte) in changes {
            if bytes.is_empty() {
                break;
            }
            let (a, b) = (a.index(bytes.len()), b.index(bytes.len()));
            let (a, b) = (a.min(b), a.max(b).min(a.min(b) + 40));
            match what {
                0 => bytes[a] = byte,
                1 => bytes.truncate(a.max(bytes.len().saturating_sub(80))),
                2 => drop(bytes.drain(a..b)),
                _ => {
                    let twice = bytes[a..b].to_vec();
                    bytes.splice(a..a, twice);
                }
            }
        }
        let _ = read(&bytes);
    }

    /// Well-formed files that say something else: other numbers, other names, nodes of other ops.
    #[test]
    fn changed_models(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>(), 0usize..4), 1..5),
    ) {
        let mut m = model();
        let ops = super::ops();
        for (a, b, what) in changes {
            let g = m.graph.as_mut().unwrap();
            match what {
                0 => {
                    let mut all = numbers(g);
                    let at = a.index(all.len());
                    *all[at] = NUMBERS[b.index(NUMBERS.len())];
                }
                1 => {
                    let mut all = names(g);
                    let (a, b) = (a.index(all.len()), b.index(all.len()));
                    let other = all[b].clone();
                    *all[a] = other;
                }
                2 => {
                    let at = a.index(g.node.len());
                    g.node[at].op_type = ops[b.index(ops.len())].0.to_string();
                }
                _ => {
                    let at = a.index(g.initializer.len());
                    let mut data = g.initializer[at].raw_data.to_vec();
                    for (to, from) in data.iter_mut().zip(NUMBERS[b.index(NUMBERS.len())].to_le_bytes()) {
                        *to = from;
                    }
                    g.initializer[at].raw_data = data.into();
                }
            }
        }
        let _ = read(&m.encode_to_vec());
    }
}
