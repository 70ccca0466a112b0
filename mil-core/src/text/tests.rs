use insta::assert_snapshot;

use super::*;
use crate::{
    graph::Graph,
    ir::{Attribute, Constant, Literal},
    mb,
    types::{DType, Dim, Domain, Opset, Symbol, TensorType, Type},
};

fn strings(key: &str, value: &str) -> (Attribute, Attribute) {
    (Attribute::Tensor(Constant::string(key)), Attribute::Tensor(Constant::string(value)))
}

fn string_type() -> Type {
    TensorType::scalar(DType::String).into()
}

/// The program of which a compiled model's text is public: all of its lines, in the spelling of Core ML's compiler.
#[test]
fn as_core_ml_writes_it() {
    let mut g = Graph::new("main", Opset::iOS16);
    let x = g.input("input", TensorType::new(DType::F16, [1, 4]));
    let x = g.push(mb::mul(&x, 2.0).name("op_3_cast_fp16")).unwrap();
    let x = g.push(mb::add(&x, 1.0).name("op_6_cast_fp16")).unwrap();
    let mut program = g.finish([("output", x)]).unwrap();
    program.attributes.insert(
        "buildInfo".into(),
        Attribute::Dictionary {
            key: string_type(),
            value: string_type(),
            entries: vec![strings("coremlc-component-MIL", "3510.2.1"), strings("coremltools-version", "9.0")],
        },
    );
    assert_snapshot!(program, @r#"
    program(1.0)
    [buildInfo = dict<tensor<string, []>, tensor<string, []>>({{"coremlc-component-MIL", "3510.2.1"}, {"coremltools-version", "9.0"}})]
    {
        func main<ios16>(tensor<fp16, [1, 4]> input) {
                tensor<fp16, []> op_3_cast_fp16_y_0 = const()[name = tensor<string, []>("op_3_cast_fp16_y_0"), val = tensor<fp16, []>(0x1p+1)];
                tensor<fp16, [1, 4]> op_3_cast_fp16 = mul(x = input, y = op_3_cast_fp16_y_0)[name = tensor<string, []>("op_3_cast_fp16")];
                tensor<fp16, []> op_6_cast_fp16_y_0 = const()[name = tensor<string, []>("op_6_cast_fp16_y_0"), val = tensor<fp16, []>(0x1p+0)];
                tensor<fp16, [1, 4]> output = add(x = op_3_cast_fp16, y = op_6_cast_fp16_y_0)[name = tensor<string, []>("output")];
            } -> (output);
    }
    "#);
}

#[test]
fn nested_blocks() {
    let mut g = Graph::new("main", Opset::iOS17);
    let x = g.input("x", TensorType::new(DType::F32, [2]));
    let go = g.input("go", TensorType::scalar(DType::Bool));
    let out =
        g.while_loop(vec![x.clone()], |_, _| Ok(go.clone()), |g, v| Ok(vec![g.push(mb::add(&v[0], 1.0))?])).unwrap();
    let y = g.cond(&go, |g| Ok(vec![g.push(mb::add(&out[0], &x))?]), |_| Ok(vec![x.clone()])).unwrap();
    assert_snapshot!(g.finish([("y", &y[0])]).unwrap().main().unwrap(), @r#"
    func main<ios17>(tensor<fp32, [2]> x, tensor<bool, []> go) {
            tensor<fp32, [2]> while_loop_0 = while_loop(loop_vars = (x))[name = tensor<string, []>("while_loop_0")] (tensor<fp32, [2]> x_0) {
            } -> (go), (tensor<fp32, [2]> x_1) {
                tensor<fp32, []> add_0_y_0 = const()[name = tensor<string, []>("add_0_y_0"), val = tensor<fp32, []>(0x1p+0)];
                tensor<fp32, [2]> add_0 = add(x = x_1, y = add_0_y_0)[name = tensor<string, []>("add_0")];
            } -> (add_0);
            tensor<fp32, [2]> y = cond(pred = go)[name = tensor<string, []>("y")] {
                tensor<fp32, [2]> add_1 = add(x = while_loop_0, y = x)[name = tensor<string, []>("add_1")];
            } -> (add_1), {
            } -> (x);
        } -> (y);
    "#);
}

#[test]
fn sizes_are_question_marks_or_expressions() {
    let mut g = Graph::new("main", Opset::iOS17);
    let h = Symbol::new("H", Domain::Range { min: 8, max: Some(64) });
    let x = g.input("x", TensorType::new(DType::F32, [Dim::from(1), Dim::from(3), h.into()]));
    let w = Constant::weight("stem.weight", DType::F32, [8, 3, 3]);
    let y = g.push(mb::conv(&x, w).strides([2]).pad_type("same")).unwrap();
    let program = g.finish([("y", y)]).unwrap();
    let output = |symbols| {
        let text = to_string(&program, &Options { symbols, ..Options::default() });
        text.lines().find(|l| l.contains("= conv(")).unwrap().trim().to_string()
    };
    assert_snapshot!(output(false), @r#"tensor<fp32, [1, 8, ?]> y = conv(dilations = conv_0_dilations_0, groups = conv_0_groups_0, pad = conv_0_pad_0, pad_type = conv_0_pad_type_0, strides = conv_0_strides_0, weight = stem_weight, x = x)[name = tensor<string, []>("y")];"#);
    assert_snapshot!(output(true), @r#"tensor<fp32, [1, 8, (H + 1) / 2]> y = conv(dilations = conv_0_dilations_0, groups = conv_0_groups_0, pad = conv_0_pad_0, pad_type = conv_0_pad_type_0, strides = conv_0_strides_0, weight = stem_weight, x = x)[name = tensor<string, []>("y")];"#);
    let text = program.to_string();
    assert_snapshot!(text.lines().find(|l| l.contains("WEIGHT")).unwrap().trim(), @r#"tensor<fp32, [8, 3, 3]> stem_weight = const()[name = tensor<string, []>("stem_weight"), val = tensor<fp32, [8, 3, 3]>(WEIGHT(name = "stem.weight"))];"#);
}

#[test]
fn large_constants_are_elided_unless_asked_for() {
    let numbers: Vec<i64> = (0..MAX_SHOWN as i64).collect();
    let text = |numbers: &[i64], weights| {
        let mut g = Graph::new("main", Opset::iOS17);
        let x = g.input("x", TensorType::new(DType::F32, [1]));
        let y = g.push(mb::add(&x, Literal::from(numbers).constant(DType::F32).unwrap())).unwrap();
        to_string(&g.finish([("y", y)]).unwrap(), &Options { weights, ..Options::default() })
    };
    assert!(!text(&numbers, Weights::Elide).contains("WEIGHT"));
    let more = [&numbers[..], &[16]].concat();
    let constant = |text: String| {
        let line = text.lines().find(|l| l.contains("const()")).unwrap();
        line.split_once("val = ").unwrap().1.to_string()
    };
    assert_snapshot!(constant(text(&more, Weights::Elide)), @"tensor<fp32, [17]>(WEIGHT(fnv1a = 0xb2fbe31f116c14fb, bytes = 68))];");
    assert!(constant(text(&more, Weights::Full)).ends_with("0x1.ep+3, 0x1p+4])];"));
    // Other elements, another hash.
    assert_ne!(text(&more, Weights::Elide), text(&[&numbers[..], &[17]].concat(), Weights::Elide));
}

/// States, several functions, several outputs, attributes of functions and blocks, lists and tuples. No op has these types
/// yet, so the program is made by hand.
#[test]
fn everything_else() {
    let mut g = Graph::new("main", Opset::iOS18);
    g.input("cache", Type::State(TensorType::new(DType::F16, [1, 8])));
    let x = g.input("x", TensorType::new(DType::F16, [1, 8]));
    let y = g.push(mb::add(&x, 1.0)).unwrap();
    let z = g.push(mb::identity(&x)).unwrap();
    let mut program = g.finish([("y", y), ("z", z)]).unwrap();
    let int = |n: i32| Attribute::Tensor(Constant::scalar(n));
    let int_type: Type = TensorType::scalar(DType::I32).into();
    let mut other = program.functions["main"].clone();
    other.name = "prefill".into();
    let pair = Attribute::Tuple(vec![int(1), Attribute::Tensor(Constant::string("a"))]);
    let list = Attribute::List(int_type.clone(), vec![int(2), int(3)]);
    other.attributes = [("pair".to_string(), pair), ("numbers".to_string(), list)].into();
    other.blocks[0].attributes.insert("empty".into(), Attribute::List(int_type, vec![]));
    // An op of several outputs, one without any, and one without a name.
    let ops = other.blocks[0].ops.clone();
    let (one, two) = (other.ops[ops[1].index()].outputs[0], other.ops[ops[2].index()].outputs[0]);
    other.ops[ops[1].index()].outputs = vec![one, two];
    other.ops[ops[2].index()].outputs = vec![];
    other.ops[ops[2].index()].name = String::new();
    program.functions.insert("prefill".into(), other);
    assert_snapshot!(program, @r#"
    program(1.3)
    {
        func main<ios18>(state<tensor<fp16, [1, 8]>> cache, tensor<fp16, [1, 8]> x) {
                fp16 add_0_y_0 = const()[name = string("add_0_y_0"), val = fp16(0x1p+0)];
                tensor<fp16, [1, 8]> y = add(x = x, y = add_0_y_0)[name = string("y")];
                tensor<fp16, [1, 8]> z = identity(x = x)[name = string("z")];
            } -> (y, z);
        func prefill<ios18>(state<tensor<fp16, [1, 8]>> cache, tensor<fp16, [1, 8]> x) [numbers = list<int32, 2>([2, 3]), pair = tuple<int32, string>((1, "a"))] {
                fp16 add_0_y_0 = const()[name = string("add_0_y_0"), val = fp16(0x1p+0)];
                tensor<fp16, [1, 8]> y, tensor<fp16, [1, 8]> z = add(x = x, y = add_0_y_0)[name = string("y")];
                identity(x = x);
            } -> (y, z)[empty = list<int32, 0>([])];
    }
    "#);
}
