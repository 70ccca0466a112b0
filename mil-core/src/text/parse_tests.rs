//! What the parser reads, in the compiler's spelling and in other ones, and what it refuses.

use super::{parser::parse as messages, *};
use crate::ir::{Attribute, Constant};
use crate::{
    ir::feature::{ArrayFlexibility, FeatureKind},
    spec::{
        SpecError, WeightSource,
        mil::{self, argument::binding::Binding as B, tensor_value::Value as V, value::Value, value::immediate_value},
    },
    types::{DType, Domain, Opset, TensorType, Type},
};

/// A program around the lines of a function's body.
fn function(body: &str) -> String {
    format!("program(1.0) {{ func main<ios17>(tensor<fp32, [2]> x) {{ {body} }} -> (x); }}")
}

fn ops(body: &str) -> Vec<mil::Operation> {
    let program = messages(&function(body)).unwrap().program;
    program.functions["main"].block_specializations["CoreML7"].operations.clone()
}

#[track_caller]
fn refused(text: &str, message: &str) {
    let error = parse(text).unwrap_err();
    assert!(error.one_line().contains(message), "{error}");
}

/// An attribute of an op, by what a package holds.
fn attribute(text: &str) -> mil::Value {
    ops(&format!("cast()[val = {text}];"))[0].attributes["val"].clone()
}

fn elements(text: &str) -> V {
    let Some(Value::ImmediateValue(i)) = attribute(text).value else { panic!("a file") };
    let Some(immediate_value::Value::Tensor(t)) = i.value else { panic!("no tensor") };
    t.value.unwrap()
}

#[test]
fn both_spellings_of_scalars_are_read() {
    for (new, old) in [
        ("string(\"same\")", "tensor<string, []>(\"same\")"),
        ("fp16(0x1p+1)", "tensor<fp16, []>(2.0)"),
        ("int32(-7)", "tensor<int32, []>(-7)"),
        ("bool(true)", "tensor<bool, []>( true )"),
        ("list<string, 2>([\"a\", \"b\"])", "list<tensor<string, []>, 2>([\"a\",\"b\"])"),
        ("dict<string, int32>({{\"a\", 1}})", "dict<tensor<string, []>, tensor<int32, []>>({{\"a\", 1}})"),
    ] {
        assert_eq!(attribute(new), attribute(old));
    }
}

#[test]
fn elements_become_what_a_package_holds() {
    let bytes = |text| match elements(text) {
        V::Bytes(b) => b.values,
        other => panic!("{other:?}"),
    };
    assert!(matches!(elements("int16(-3)"), V::Ints(v) if v.values == [-3]));
    assert!(matches!(elements("uint64(18446744073709551615)"), V::LongInts(v) if v.values == [-1]));
    assert!(
        matches!(elements("tensor<fp32, [2, 1]>([[0x1.8p+1], [-inf]])"), V::Floats(v) if v.values == [3.0, f32::NEG_INFINITY])
    );
    assert!(matches!(elements("fp32(nan)"), V::Floats(v) if v.values[0].to_bits() == 0x7fc0_0000));
    assert!(matches!(elements("fp32(nan(0xffc00001))"), V::Floats(v) if v.values[0].to_bits() == 0xffc0_0001));
    assert!(matches!(elements("tensor<string, [?]>([\"a\", \"\"])"), V::Strings(v) if v.values == ["a", ""]));
    assert_eq!(bytes("fp16(-0x0p+0)"), [0, 0x80]);
    assert_eq!(bytes("tensor<int8, [2]>([-128, 127])"), [0x80, 0x7f]);
    assert_eq!(bytes("tensor<int4, [3]>([-1, 7, -8])"), [0x7f, 0x08]);
    assert_eq!(bytes("tensor<uint3, [9]>([1, 2, 3, 4, 5, 6, 7, 0, 1])"), [0xd1, 0x58, 0x1f, 0x01]);
    for nothing in ["tensor<uint8, [0, 3]>([])", "tensor<uint8, [3, 0]>([])", "tensor<uint8, [2, 0]>([[], []])"] {
        assert!(bytes(nothing).is_empty());
    }
}

/// A `?` in the type of a constant is the size found.
#[test]
fn sizes_of_constants_are_found() {
    let parsed = messages(&function("cast()[val = tensor<int32, [?, 2]>([[1, 2], [3, 4], [5, 6]])];")).unwrap();
    let block = &parsed.program.functions["main"].block_specializations["CoreML7"];
    let ty = block.operations[0].attributes["val"].r#type.as_ref().unwrap();
    let ty = crate::spec::types::read_type(ty, &mut crate::spec::types::Unknowns::of("x")).unwrap();
    assert_eq!(ty.to_string(), "Tensor<i32, 3, 2>");
}

#[test]
fn blobs_stand_for_constants() {
    for text in [
        r#"tensor<int8, [4]>(BLOBFILE(path = string("@model_path/weights/weight.bin"), offset = uint64(64)))"#,
        r#"tensor<int8, [4]>(BLOBFILE(path = tensor<string, []>("@model_path/weights/weight.bin"), offset = tensor<uint64, []>(64)))"#,
    ] {
        let op = &ops(&format!(
            "tensor<fp16, [4]> w = constexpr_affine_dequantize()[axis = int32(0), quantized_data = {text}];"
        ))[0];
        let Some(Value::BlobFileValue(blob)) = &op.attributes["quantized_data"].value else { panic!("no file") };
        assert_eq!((&blob.file_name[..], blob.offset), ("@model_path/weights/weight.bin", 64));
        let op = &ops(&format!("tensor<fp16, [4]> w = constexpr_blockwise_shift_scale(data = {text}, scale = s);"))[0];
        let Some(B::Value(value)) = &op.inputs["data"].arguments[0].binding else { panic!("no value") };
        assert!(matches!(value.value, Some(Value::BlobFileValue(_))));
    }
    refused(
        &function("cast()[a = list<int8, 1>(BLOBFILE(path = string(\"\"), offset = uint64(0)))];"),
        "holds tensors alone",
    );
    refused(
        &function("cast()[a = int8(BLOBFILE(path = int32(1), offset = uint64(0)))];"),
        "column 88: expected a path",
    );
    refused(&function("cast()[a = int8(BLOBFILE(path = string(\"\"), offset = int32(-1)))];"), "expected an offset");
}

#[test]
fn ops_of_all_forms() {
    let ops = ops("write_state(data = d, input = s)[name = string(\"w\")];
         tensor<fp32, [2]> a, list<string, ?> \"b c\" = split(x = x, axes = (one, int32(2), \"b c\"), none = ());
         tensor<fp32, [2]> w = while_loop(loop_vars = (x)) (tensor<fp32, [2]> i) { } -> (go), (tensor<fp32, [2]> j) {
             tensor<fp32, [2]> r = relu(x = j); } -> (r);");
    assert_eq!((ops[0].outputs.len(), &ops[0].r#type[..]), (0, "write_state"));
    let names: Vec<_> = ops[1].outputs.iter().map(|o| &o.name[..]).collect();
    assert_eq!(names, ["a", "b c"]);
    let bindings: Vec<_> = ops[1].inputs["axes"].arguments.iter().map(|b| b.binding.as_ref().unwrap()).collect();
    assert!(matches!(&bindings[..], [B::Name(a), B::Value(_), B::Name(b)] if a == "one" && b == "b c"), "{bindings:?}");
    assert!(ops[1].inputs["none"].arguments.is_empty());
    let [condition, body] = &ops[2].blocks[..] else { panic!("two blocks") };
    assert_eq!((&condition.outputs[0][..], condition.inputs.len()), ("go", 1));
    assert_eq!((&body.outputs[0][..], body.operations.len()), ("r", 1));
}

/// The compiler's own words, for an op that takes inputs of many sizes.
#[test]
fn flexible_inputs_get_their_sizes() {
    let ranges = r#"program(1.3)
[buildInfo = dict<string, string>({{"coremlc-component-MIL", "3600.16.1"}, {"coremlc-version", "3600.25.1"}})]
{
    func main<ios17>(tensor<fp32, [?, 4]> input) [FlexibleShapeInformation = tuple<tuple<string, dict<string, tensor<int32, [?]>>>, tuple<string, dict<string, list<tensor<int32, [2]>, ?>>>>((("DefaultShapes", {{"input", [3, 4]}}), ("RangeDims", {{"input", [[1, 9], [4, 4]]}})))] {
            tensor<fp32, [?, 4]> output = relu(x = input)[name = string("output")];
        } -> (output);
}
"#;
    let program = parse(ranges).unwrap();
    assert_eq!((program.opset, program.functions["main"].opset), (Opset::iOS18, Opset::iOS17));
    let f = program.main().unwrap();
    assert!(f.attributes.is_empty());
    let FeatureKind::Array(array) = &f.input_features[0].kind else { panic!("an array") };
    assert_eq!(array.shape, [3, 4]);
    assert_eq!(array.flexibility, ArrayFlexibility::Range(vec![(1, 9), (4, 4)]));
    let Type::Tensor(ty) = &f.value(f.inputs[0]).ty else { panic!("a tensor") };
    assert_eq!(*ty.shape[0].as_symbol().unwrap().domain(), Domain::Range { min: 1, max: Some(9) });
    assert_eq!(to_string(&program, &Options { weights: Weights::Full, symbols: false }), ranges);

    // Enumerated shapes have a hash for a name, of which nobody says how it is made: they are numbered here.
    let at = ranges.find("tuple<string, dict<string, list").unwrap();
    let end = ranges.find("] {").unwrap();
    let enumerated = r#"tuple<string, dict<string, dict<string, tensor<int32, [?]>>>>>((("DefaultShapes", {{"input", [3, 4]}}), ("EnumeratedShapes", {{"543d0f94", {{"input", [1, 4]}}}, {"9e38c1a4", {{"input", [3, 4]}}}})))"#;
    let enumerated = format!("{}{enumerated}{}", &ranges[..at], &ranges[end..]);
    let program = parse(&enumerated).unwrap();
    let f = program.main().unwrap();
    let FeatureKind::Array(array) = &f.input_features[0].kind else { panic!("an array") };
    assert_eq!(array.flexibility, ArrayFlexibility::Enumerated(vec![vec![1, 4], vec![3, 4]]));
    let again = to_string(&program, &Options { weights: Weights::Full, symbols: false });
    assert_eq!(again, enumerated.replace("543d0f94", "00000000").replace("9e38c1a4", "00000001"));

    // Another attribute of that name is kept.
    let text = ranges.replace("RangeDims", "Other");
    assert!(parse(&text).unwrap().main().unwrap().attributes.contains_key("FlexibleShapeInformation"));
}

#[test]
fn several_functions() {
    let program = parse(
        "program(1.3) {
            func b<ios18>(tensor<fp16, [1]> x) { tensor<fp16, [1]> y = relu(x = x); } -> (y);
            func a<ios18>(tensor<fp16, [1]> x) { tensor<fp16, [1]> y = relu(x = x); } -> (y);
         }",
    )
    .unwrap();
    assert_eq!((program.multifunction, &program.default_function[..]), (true, "a"));
    crate::validate::validate(&program).unwrap();
}

#[test]
fn weights_come_from_files_or_later() {
    struct Ones;
    impl WeightSource for Ones {
        fn get(&self, file: &str, offset: u64, ty: &TensorType) -> Result<Constant, SpecError> {
            assert_eq!((file, offset, ty.to_string()), ("@model_path/w.bin", 64, "Tensor<f32, 2>".to_string()));
            Ok(Constant::vector(&[1f32, 1.0]))
        }
    }
    let text = |val: &str| {
        function(&format!(
            "tensor<fp32, [2]> w = const()[val = tensor<fp32, [2]>({val})]; tensor<fp32, [2]> y = add(x = x, y = w);"
        ))
    };
    let blob = text("BLOBFILE(path = string(\"@model_path/w.bin\"), offset = uint64(64))");
    let constant = |p: Program| {
        let f = p.main().unwrap().clone();
        f.op(f.walk()[0]).constant().unwrap().clone()
    };
    assert_eq!(constant(parse_with(&blob, &Ones).unwrap()), Constant::vector(&[1f32, 1.0]));
    refused(
        &blob,
        "line 1, column 56: function `main`: op `` (const): attribute `val`: there is no weight file `@model_path/w.bin`",
    );
    let later = constant(text("WEIGHT(name = \"conv.weight\")").parse().unwrap());
    assert_eq!(later, Constant::weight("conv.weight", DType::F32, [2]));
    refused(&text("WEIGHT(fnv1a = 0x1, bytes = 8)"), "the elements of this constant were left out");
}

#[test]
fn errors_have_a_place() {
    let error = parse(
        "program(1.0)
{
    func main<ios16>(tensor<fp16, [1, 4]> x) {
            tensor<fp16, [1, 4]> y = add(x = x, y = );
        } -> (y);
}",
    )
    .unwrap_err();
    assert_eq!(
        error.to_string(),
        "line 4, column 53: expected the name of a value, or a value, found `)`
    tensor<fp16, [1, 4]> y = add(x = x, y = );
                                            ^"
    );
    // What is wrong with the program has a place too, in nested blocks as well.
    let text = |inner: &str| {
        format!(
            "program(1.0) {{\nfunc main<ios16>(tensor<fp16, [2]> x, tensor<bool, []> go) {{\n\
             tensor<fp16, [2]> y = cond(pred = go) {{\n{inner}\n}} -> (x), {{ }} -> (x); }} -> (y); }}"
        )
    };
    refused(
        &text("tensor<fp16, [3]> z = relu(x = x);"),
        "line 4, column 1: function `main`: op `` (cond): op `` (relu): output `z` is declared as",
    );
    refused(&text("tensor<fp16, [2]> z = relu(x = n);"), "line 4, column 1: ");
    refused(&text("tensor<fp16, [2]> z = relux(x = x);"), "the program uses ops that are not supported yet: relux (1)");
}

#[test]
fn what_is_no_program_is_refused() {
    for (text, message) in [
        ("", "line 1, column 1: expected `program`, found the end of the text"),
        ("program(1) {}", "column 9: expected a version, such as 1.0, found `1`"),
        ("program(1.0) {}", "the program has no function"),
        ("program(1.0) {} x", "expected the end of the text, found `x`"),
        ("program(1.0)[a = int32(1), a = int32(2)] {}", "column 28: this attribute is given twice"),
        ("program(1.0) { func main<ios14>() { } -> (); }", "expected an opset (`ios15`, `ios16`"),
        ("program(1.0) { func f<ios16>() {} -> (); func f<ios16>() {} -> (); }", "there are two functions `f`"),
        ("program(1.0) { func f<ios16>() {} -> () }", "expected `;`, found `}`"),
        ("program(1.0) { func f<ios16>() {}", "expected `->` and the outputs of the block"),
    ] {
        refused(text, message);
    }
    for (body, message) in [
        ("half y = relu(x = x);", "column 56: expected a type, found `half`"),
        ("tensor<f32, [2]> y = relu(x = x);", "expected an element type, such as `fp16`, found `f32`"),
        ("tensor<fp32, [-2]> y = relu(x = x);", "expected a size or `?`, found `-2`"),
        ("tensor<fp32, [99999999999999999999]> y = relu(x = x);", "expected a size or `?`"),
        ("fp32 y = relu(x = x, x = x);", "`x` is given twice"),
        ("fp32 y = relu(x = x) fp32", "expected `;`, found `fp32`"),
        ("fp32 y = relu(x = (x x));", "expected `,` or `)`, found `x`"),
        ("cast()[a = state<fp32>(1)];", "a state has no value"),
        ("cast()[a = state<list<fp32, 1>>(1)];", "which alone can be a state"),
        ("cast()[a = fp16(65520.0)];", "column 72: `65520.0` does not fit fp16"),
        ("cast()[a = fp32(1e39)];", "does not fit fp32"),
        ("cast()[a = fp8e4m3fn(inf)];", "`inf` does not fit fp8e4m3fn"),
        ("cast()[a = fp8e4m3fn(nan(0x100))];", "expected the bits of fp8e4m3fn, found `0x100`"),
        ("cast()[a = int8(128)];", "`128` does not fit int8"),
        ("cast()[a = uint4(-1)];", "`-1` does not fit uint4"),
        ("cast()[a = int32(99999999999999999999999999999999999999999)];", "does not fit int32"),
        ("cast()[a = int32(1.5)];", "expected an element of int32, found `1.5`"),
        ("cast()[a = bool(1)];", "expected an element of bool, found `1`"),
        ("cast()[a = string(x)];", "expected an element of string, found `x`"),
        ("cast()[a = tensor<int32, [2]>(1)];", "expected `[`, found `1`"),
        ("cast()[a = tensor<int32, [2]>([1])];", "expected 2 in dimension 0 of Tensor<i32, 2>, found 1"),
        ("cast()[a = tensor<int32, [2, ?]>([[1, 2], [3]])];", "expected 2 in dimension 1"),
        ("cast()[a = tensor<int32, [4611686018427387904, 4611686018427387904]>([])];", "found 0"),
        ("cast()[a = tensor<int32, [0, 9223372036854775807, 9223372036854775807]>([])];", ""),
        ("cast()[a = list<int32, 2>([1])];", "the list's type says 2 values, found 1"),
        ("cast()[a = tuple<int32>((1, 2))];", "the tuple's type says 1 values"),
        ("cast()[a = tuple<int32, int32>((1))];", "the tuple's type says 2 values, found 1"),
        ("cast()[a = dict<int32, int32>({{1}})];", "expected `,`, found `}`"),
        ("cast()[a = tensor<int32, [?]>(WEIGHT(name = \"w\"))];", "a weight has a fixed shape"),
    ] {
        refused(&function(body), message);
    }
}

/// As deep as one likes, and as large: an error, and no more memory than the text takes.
#[test]
fn depth_and_size_are_bounded() {
    let deep = 200_000;
    refused(&function(&"fp32 y = cond() {".repeat(deep)), "nested more than 40 levels deep");
    refused(&function(&"tuple<".repeat(deep)), "nested more than 40 levels deep");
    refused(&function(&format!("cast()[a = {}", "list<".repeat(deep))), "nested more than 40 levels deep");
    refused(&function(&format!("cast()[a = fp32({}", "[".repeat(deep))), "expected an element of fp32, found `[`");
    refused(&function(&format!("tensor<fp32, [{}1]> y", "1, ".repeat(deep))), "a tensor has at most 32 dimensions");
    refused(&function(&format!("cast()[a = fp32({})];", "1".repeat(deep))), "does not fit fp32");
    refused(&function(&format!("cast()[a = int32({})];", "1".repeat(deep))), "does not fit int32");
    refused(&"(".repeat(deep), "expected `program`");
    // Nested as deep as is allowed, it is read on the stack of a test.
    let (open, close) = ("fp32 y = cond() {".repeat(40), "} -> (), { } -> ();".repeat(40));
    refused(&function(&format!("{open}{close}")), "op `` (cond)");
    let (open, close) = ("list<".repeat(40), ", 1>".repeat(40));
    let value = format!("{}1{}", "[".repeat(40), "]".repeat(40));
    refused(&function(&format!("relu()[a = {open}int32{close}({value})];")), "op `` (relu)");
}

/// Lines and places are not looked for unless there is an error: many ops take no longer than they are.
#[test]
fn large_programs_take_the_time_of_their_size() {
    let mut body = String::new();
    for i in 0..20_000 {
        body.push_str(&format!("tensor<fp32, [2]> v{i} = const()[val = tensor<fp32, [2]>([{i}, 0x1p-1])];\n"));
    }
    let program = parse(&function(&body)).unwrap();
    assert_eq!(program.main().unwrap().walk().len(), 20_000);
}

#[test]
fn attributes_of_all_kinds_are_read() {
    let program = parse(&function("").replace(
        "{ func",
        "[a = list<tuple<string, dict<int32, tensor<fp16, [?]>>>, ?>([(\"k\", {{1, [1, 2]}, {2, []}})])] { func",
    ))
    .unwrap();
    let Attribute::List(_, items) = &program.attributes["a"] else { panic!("a list") };
    let Attribute::Tuple(pair) = &items[0] else { panic!("a tuple") };
    let Attribute::Dictionary { entries, .. } = &pair[1] else { panic!("a dictionary") };
    let shapes: Vec<_> = entries.iter().map(|(_, v)| v.ty().to_string()).collect();
    assert_eq!(shapes, ["Tensor<f16, 2>", "Tensor<f16, 0>"]);
}
