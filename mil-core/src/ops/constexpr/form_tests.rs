//! How `constexpr_` ops stand in programs and files: one form in the IR, two in files.

use super::testing::ints;
use crate::{
    graph::{Graph, Value},
    ir::{Binding, Constant, OpId, Program},
    mb,
    spec::{self, NoWeights, mil},
    types::{DType, Opset, TensorType},
    validate::validate,
};

fn input(g: &mut Graph) -> Value {
    g.input("x", "Tensor<f32, 1, 2, 4>".parse::<TensorType>().unwrap())
}

/// A palettized weight `[2, 2, 1]` of a `conv`.
fn palettized(opset: Opset) -> Program {
    let mut g = Graph::new("main", opset);
    let x = input(&mut g);
    let w = if opset < Opset::iOS18 {
        let call = mb::constexpr_lut_to_dense(Constant::vector(&[0b0110u8]), Constant::vector(&[1f32, 2.0]));
        g.push(call.shape(ints(DType::U32, &[3], &[2, 2, 1])).name("w")).unwrap()
    } else {
        let lut = Constant::new([1, 1, 1, 2, 1], &[1f32, 2.0]).unwrap();
        g.push(mb::constexpr_lut_to_dense(ints(DType::U1, &[2, 2, 1], &[0, 1, 1, 0]), lut).name("w")).unwrap()
    };
    let y = g.push(mb::conv(&x, &w)).unwrap();
    g.finish([("y", y)]).unwrap()
}

fn op(program: &Program, name: &str) -> OpId {
    let f = program.main().unwrap();
    f.walk().into_iter().find(|o| f.op(*o).name == name).unwrap()
}

fn message(model: &mut spec::Model) -> &mut mil::Operation {
    let Some(spec::model::Type::MlProgram(p)) = &mut model.r#type else { panic!("no program") };
    let block = p.functions.get_mut("main").unwrap().block_specializations.values_mut().next().unwrap();
    block.operations.iter_mut().find(|o| o.r#type.starts_with("constexpr_")).unwrap()
}

fn keys<V>(map: &std::collections::BTreeMap<String, V>) -> Vec<&str> {
    map.keys().map(String::as_str).collect()
}

#[test]
fn attributes_or_inputs_by_opset() {
    for opset in [Opset::iOS16, Opset::iOS17, Opset::iOS18] {
        let program = palettized(opset);
        validate(&program).unwrap();
        let f = program.main().unwrap();
        let w = f.op(op(&program, "w"));
        assert!(w.args.iter().all(|a| matches!(a.bindings[..], [Binding::Inline(_)])) && w.attributes.is_empty());
        let mut model = spec::encode(&program, &mut NoWeights).unwrap();
        let op = message(&mut model);
        match opset {
            Opset::iOS18 => {
                assert_eq!((keys(&op.inputs), keys(&op.attributes)), (vec!["indices", "lut"], vec!["name"]));
            }
            _ => {
                assert_eq!((keys(&op.inputs), keys(&op.attributes)), (vec![], vec!["indices", "lut", "name", "shape"]))
            }
        }
        let read = spec::decode(&model, &NoWeights).unwrap();
        let again = read.main().unwrap();
        let found = again.op(self::op(&read, "w"));
        assert_eq!((&found.args, &found.attributes), (&w.args, &w.attributes));
        let (value, known) = (again.value(found.outputs[0]), |p: &Program| p.to_string());
        assert!(value.is_const && value.known.is_none());
        assert_eq!(known(&read), known(&program));
        assert_eq!(spec::encode(&read, &mut NoWeights).unwrap(), model);
    }
}

#[test]
fn text() {
    let line = |opset| {
        let text = palettized(opset).to_string();
        text.lines().find(|l| l.contains("constexpr_")).unwrap().trim().to_string()
    };
    insta::assert_snapshot!(line(Opset::iOS16), @r#"tensor<fp32, [2, 2, 1]> w = constexpr_lut_to_dense()[indices = tensor<uint8, [1]>([6]), lut = tensor<fp32, [2]>([0x1p+0, 0x1p+1]), name = tensor<string, []>("w"), shape = tensor<uint32, [3]>([2, 2, 1])];"#);
    insta::assert_snapshot!(line(Opset::iOS18), @r#"tensor<fp32, [2, 2, 1]> w = constexpr_lut_to_dense(indices = tensor<uint1, [2, 2, 1]>([[[0], [1]], [[1], [0]]]), lut = tensor<fp32, [1, 1, 1, 2, 1]>([[[[[0x1p+0], [0x1p+1]]]]]))[name = string("w")];"#);
}

#[test]
fn a_parameter_in_the_wrong_place_is_refused() {
    let cases = [
        (Opset::iOS17, Opset::iOS18, "`indices` is an input in opset iOS18, but written as an attribute"),
        (Opset::iOS18, Opset::iOS17, "`indices` is an attribute in opset iOS17, but written as an input"),
    ];
    for (written, read, expected) in cases {
        let mut model = spec::encode(&palettized(written), &mut NoWeights).unwrap();
        model.specification_version = read.spec_version();
        let Some(spec::model::Type::MlProgram(program)) = &mut model.r#type else { panic!() };
        for f in program.functions.values_mut() {
            let block = f.block_specializations.remove(&f.opset).unwrap();
            f.opset = read.spec_name().into();
            f.block_specializations.insert(f.opset.clone(), block);
        }
        let error = spec::decode(&model, &NoWeights).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
}

#[test]
fn constants_that_only_constexprs_read_are_no_ops() {
    let mut g = Graph::new("main", Opset::iOS18);
    let x = input(&mut g);
    let data = g.constant("data", ints(DType::I8, &[2, 2, 1], &[1, 2, 3, 4]));
    let scale = g.constant("scale", Constant::new([1, 1, 1], &[2f32]).unwrap());
    let w = g.push(mb::constexpr_blockwise_shift_scale(&data, &scale)).unwrap();
    let y = g.push(mb::conv(&x, &w)).unwrap();
    let z = g.push(mb::mul(&y, &scale)).unwrap();
    let program = g.finish([("z", z)]).unwrap();
    validate(&program).unwrap();
    let f = program.main().unwrap();
    let consts = f.walk().into_iter().map(|o| f.op(o)).filter(|o| o.def.is_const());
    let consts: Vec<_> = consts.map(|o| &o.name[..]).filter(|n| !n.starts_with("conv")).collect();
    assert_eq!(consts, ["scale"]);
}

#[test]
fn results_are_constants_for_those_who_want_some() {
    // Until iOS17 the bias of a `conv` must be a constant.
    let mut g = Graph::new("main", Opset::iOS16);
    let x = input(&mut g);
    let half = Constant::vector(&[half::f16::ONE; 2]);
    let bias = g.push(mb::constexpr_cast(half, "fp32")).unwrap();
    let w = Constant::new([2, 2, 1], &[1f32; 4]).unwrap();
    let y = g.push(mb::conv(&x, w).bias(&bias)).unwrap();
    validate(&g.finish([("y", y)]).unwrap()).unwrap();
}

#[test]
fn only_constants_and_from_ios18_each_other() {
    let cast = |g: &mut Graph| g.push(mb::constexpr_cast(Constant::vector(&[half::f16::ONE; 2]), "fp32"));
    let sparse = |g: &mut Graph, data: &Value| {
        let mask = match g.opset() {
            Opset::iOS18 => mb::constexpr_sparse_to_dense(data, ints(DType::U1, &[3], &[1, 0, 1])),
            _ => mb::constexpr_sparse_to_dense(data, Constant::vector(&[5u8])).shape(ints(DType::U32, &[1], &[3])),
        };
        g.push(mask)
    };
    let mut g = Graph::new("main", Opset::iOS18);
    let data = cast(&mut g).unwrap();
    let w = sparse(&mut g, &data).unwrap();
    let mut program = g.finish([("w", w)]).unwrap();
    validate(&program).unwrap();
    let f = program.main().unwrap();
    let [found] = f
        .materialize(f.op(op(&program, "w")), &|id| (id == data.id()).then(|| Constant::vector(&[1f32, 2.0])))
        .unwrap()
        .try_into()
        .unwrap();
    assert_eq!(found, Constant::vector(&[1f32, 0.0, 2.0]));
    // Unless somebody says what the other one gives, it is not known.
    let e = f.materialize(f.op(op(&program, "w")), &|_| None).unwrap_err().to_string();
    assert!(e.contains("must be a known constant"), "{e}");
    let mut g = Graph::new("main", Opset::iOS17);
    let data = cast(&mut g).unwrap();
    let e = sparse(&mut g, &data).unwrap_err().to_string();
    assert!(e.contains("written in place"), "{e}");
    // What a pass may get wrong, validation finds.
    for f in program.functions.values_mut() {
        f.opset = Opset::iOS17;
    }
    program.opset = Opset::iOS17;
    let e = validate(&program).unwrap_err().to_string();
    assert!(e.contains("`nonzero_data` is the value `constexpr_cast_0`, not a constant in place"), "{e}");
    assert!(spec::encode(&program, &mut NoWeights).unwrap_err().to_string().contains("attributes in opset iOS17"));
}

#[test]
fn weights_are_attached_in_place() {
    let mut g = Graph::new("main", Opset::iOS18);
    let x = input(&mut g);
    let data = Constant::weight("packed", DType::I8, [2, 2, 1]);
    let scale = Constant::new([1, 1, 1], &[2f32]).unwrap();
    let w = g.push(mb::constexpr_blockwise_shift_scale(data, scale)).unwrap();
    let y = g.push(mb::conv(&x, &w)).unwrap();
    let mut program = g.finish([("y", y)]).unwrap();
    let embedded = spec::embed::from_bytes(&spec::embed::to_bytes(&program).unwrap()).unwrap();
    assert_eq!(embedded.to_string(), program.to_string());
    assert!(validate(&program).unwrap_err().to_string().contains("the weight `packed`"));
    let f = program.main().unwrap();
    let e = f.materialize(f.op(op(&program, "constexpr_blockwise_shift_scale_0")), &|_| None).unwrap_err();
    assert!(e.to_string().contains("`data` must be a known constant"), "{e}");
    program.attach_weights(&|name| (name == "packed").then(|| ints(DType::I8, &[2, 2, 1], &[1, 2, 3, 4]))).unwrap();
    validate(&program).unwrap();
}
