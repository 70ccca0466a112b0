//! What Core ML refuses on a Mac, in its words, and how it is told here before.
//!
//! The rows are those of a collection of error reports by Core ML's users; a row that only a running system can show (a caller's
//! wrong array, the Neural Engine's compiler) has no test here.

use std::fs;

use mil_core::{
    graph::{BuildError, Graph, Value},
    ir::{
        Constant, Feature, Function, Program,
        feature::{ArrayFeature, ArrayFlexibility, FeatureKind},
    },
    mb,
    spec::{self, NoWeights, mil},
    types::{DType, Opset, TensorType, Type},
    validate::{runs_since, validate, warnings},
};
use prost::Message;

fn f32s(shape: &[usize]) -> TensorType {
    TensorType::new(DType::F32, shape)
}

/// `y = x + 1`, and nothing wrong with it.
fn sound(opset: Opset) -> Program {
    program(opset, f32s(&[2, 3]), |g, x| g.push(mb::add(x, 1.0))).unwrap()
}

fn program(
    opset: Opset,
    ty: impl Into<Type>,
    op: impl FnOnce(&mut Graph, &Value) -> Result<Value, BuildError>,
) -> Result<Program, BuildError> {
    let mut g = Graph::new("main", opset);
    let x = g.input("x", ty);
    let y = op(&mut g, &x)?;
    g.finish([("y", y)])
}

fn main_of(program: &mut Program) -> &mut Function {
    program.functions.get_mut("main").unwrap()
}

/// Validation says this.
#[track_caller]
fn refused(program: &Program, text: &str) {
    let found = validate(program).expect_err("accepted").to_string();
    assert!(found.contains(text), "{found}");
}

#[track_caller]
fn warned(program: &Program, text: &str) {
    validate(program).unwrap_or_else(|e| panic!("{e}"));
    let found: Vec<String> = warnings(program).iter().map(ToString::to_string).collect();
    assert!(found.len() == 1 && found[0].contains(text), "{found:?}");
}

/// The builder says this.
#[track_caller]
fn not_built<T: std::fmt::Debug>(built: Result<T, BuildError>, text: &str) {
    let e = built.expect_err("built").to_string();
    assert!(e.contains(text), "{e}");
}

/// The reader says this of the sound program's message, changed in one place.
#[track_caller]
fn not_read(change: impl FnOnce(&mut spec::Model), text: &str) {
    let mut model = spec::encode(&sound(Opset::iOS17), &mut NoWeights).unwrap();
    change(&mut model);
    let e = spec::decode(&model, &NoWeights).and_then(|p| {
        validate(&p).map_err(|e| spec::SpecError::new(e.to_string()))?;
        Ok(p)
    });
    let e = e.expect_err("accepted").to_string();
    assert!(e.contains(text), "{e}");
}

fn first_op<'a>(model: &'a mut spec::Model, kind: &str) -> &'a mut mil::Operation {
    let Some(spec::model::Type::MlProgram(p)) = &mut model.r#type else { panic!("no program") };
    let block = p.functions.get_mut("main").unwrap().block_specializations.values_mut().next().unwrap();
    block.operations.iter_mut().find(|op| op.r#type == kind).unwrap()
}

/// Opening a package whose file `name` has these bytes gives this error.
#[track_caller]
fn not_opened(name: &str, bytes: &[u8], text: &str) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.mlpackage");
    let weights = Constant::vector(&[0.5f32; 64]);
    program(Opset::iOS17, f32s(&[64]), |g, x| g.push(mb::add(x, weights))).unwrap().save(&path).unwrap();
    fs::write(path.join(name), bytes).unwrap();
    let e = Program::load(&path).expect_err("opened").to_string();
    assert!(e.contains(text), "{e}");
}

const MODEL: &str = "Data/com.apple.CoreML/model.mlmodel";
const WEIGHTS: &str = "Data/com.apple.CoreML/weights/weight.bin";

/// "Model specification version field missing or corrupt".
#[test]
fn row_1_no_version() {
    let mut model = spec::encode(&sound(Opset::iOS17), &mut NoWeights).unwrap();
    model.specification_version = 0;
    not_opened(MODEL, &model.encode_to_vec(), "found specification version 0");
    not_opened(MODEL, b"\xff\xff\xff", "is not a Core ML model");
}

/// "The model supplied is of version 8, intended for a newer version of Xcode"; "Unknown opset 'CoreML7'".
#[test]
fn rows_2_and_11_newer_than_the_system() {
    let e = runs_since(&sound(Opset::iOS17), Opset::iOS16).unwrap_err().to_string();
    assert!(
        e.contains("iOS17 (specification version 8), iOS16 reads up to version 7; build it with `opset = iOS16`"),
        "{e}"
    );
    let attention =
        program(Opset::iOS18, f32s(&[1, 2, 3, 4]), |g, x| g.push(mb::scaled_dot_product_attention(x, x, x)));
    let e = runs_since(&attention.unwrap(), Opset::iOS17).unwrap_err().to_string();
    assert!(e.contains("without the ops scaled_dot_product_attention"), "{e}");
    runs_since(&sound(Opset::iOS17), Opset::iOS18).unwrap();
}

/// "FLOAT16 multi array needs spec >= 7"; int8 arrays need 10; "invalid or unspecified dataType".
#[test]
fn rows_3_to_5_dtypes_of_inputs() {
    let one = |opset, dtype| {
        let mut g = Graph::new("main", opset);
        let x = g.input("x", TensorType::new(dtype, [2]));
        let y = g.push(mb::identity(&x)).unwrap();
        g.finish([("y", y)]).unwrap()
    };
    refused(&one(Opset::iOS15, DType::F16), "the input `x` is of f16, which needs opset iOS16");
    refused(&one(Opset::iOS18, DType::I8), "the input `x` is of i8, which needs opset iOS26");
    refused(&one(Opset::iOS18, DType::Bool), "the input `x` is of bool, which a model cannot take or give");
    refused(&one(Opset::iOS18, DType::I64), "the input `x` is of i64, which a model cannot take or give");
}

/// Default shapes outside of their range, sizes that are not positive.
#[test]
fn row_6_shapes_of_inputs() {
    let mut p = sound(Opset::iOS17);
    let array = |shape: &[i64], flexibility| Feature {
        name: "x".into(),
        description: String::new(),
        optional: false,
        kind: FeatureKind::Array(ArrayFeature {
            dtype: Some(DType::F32),
            shape: shape.into(),
            flexibility,
            default: None,
        }),
    };
    main_of(&mut p).input_features = vec![array(&[2, 3], ArrayFlexibility::Range(vec![(2, 2), (4, 8)]))];
    refused(&p, "its default size 3 of dimension 1 is not in the range 4..=8");
    main_of(&mut p).input_features = vec![array(&[2, 3], ArrayFlexibility::Enumerated(vec![vec![2, 4]]))];
    refused(&p, "its default size [2, 3] is not among its enumerated sizes");
    refused(
        &program(Opset::iOS17, f32s(&[0, 3]), |g, x| g.push(mb::relu(x))).unwrap(),
        "the input `x` has no elements: Tensor<f32, 0, 3>",
    );
    main_of(&mut p).input_features = vec![array(&[3, 2], ArrayFlexibility::Fixed)]; // row 16
    refused(&p, "it is described with size [3, 2], the function has [2, 3]");
}

/// States: iOS18, f16, fixed, not optional.
#[test]
fn row_7_states() {
    let with = |opset, ty: TensorType| {
        let mut g = Graph::new("main", opset);
        let x = g.input("x", f32s(&[2]));
        g.input("s", Type::State(ty));
        let y = g.push(mb::relu(&x)).unwrap();
        g.finish([("y", y)]).unwrap()
    };
    let f16 = |d| TensorType::new(DType::F16, [d]);
    refused(&with(Opset::iOS17, f16(2)), "the state `s` needs opset iOS18");
    refused(&with(Opset::iOS18, f32s(&[2])), "the state `s` must be of f16");
    refused(&with(Opset::iOS18, "Tensor<f16, N>".parse().unwrap()), "the state `s` must be of fixed size");
    let mut p = with(Opset::iOS18, f16(2));
    let array = ArrayFeature { dtype: Some(DType::F16), shape: vec![2], ..Default::default() };
    let kind = FeatureKind::State(array);
    main_of(&mut p).state_features =
        vec![Feature { name: "s".into(), description: String::new(), optional: true, kind }];
    refused(&p, "the state `s` is described as optional");
}

/// Several functions need iOS18, and a default one that exists.
#[test]
fn row_8_functions() {
    let mut p = sound(Opset::iOS17);
    let mut other = p.functions["main"].clone();
    other.name = "other".into();
    p.functions.insert("other".into(), other);
    p.multifunction = true;
    refused(&p, "several functions need opset iOS18, found iOS17");
    p.default_function = "third".into();
    refused(&p, "the default function `third` does not exist");
}

/// "Empty input is only valid in specification version >= 9".
#[test]
fn row_9_no_inputs() {
    let mut g = Graph::new("main", Opset::iOS17);
    let y = g.push(mb::add(Constant::vector(&[1f32]), 1.0)).unwrap();
    refused(&g.finish([("y", y)]).unwrap(), "a function without inputs needs opset iOS18");
}

/// "Unable to deserialize object".
#[test]
fn row_10_files_that_are_no_models() {
    let pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n";
    not_opened(MODEL, pointer, "is a Git LFS pointer and not the file itself: fetch it with `git lfs pull`");
    not_opened(WEIGHTS, pointer, "is a Git LFS pointer");
    not_opened(MODEL, b"", "is not a Core ML model");
}

/// "Required param 'perm' is missing"; "Output '0' has unexpected type".
#[test]
fn rows_12_and_13_what_the_reader_wants() {
    let reduced = program(Opset::iOS17, f32s(&[2, 3]), |g, x| g.push(mb::reduce_sum(x).axes([1]))).unwrap();
    let mut model = spec::encode(&reduced, &mut NoWeights).unwrap();
    first_op(&mut model, "reduce_sum").inputs.remove("keep_dims");
    let read = spec::decode(&model, &NoWeights).unwrap();
    refused(&read, "`keep_dims` is not written out");
    not_read(
        |model| {
            let ty = first_op(model, "add").outputs[0].r#type.as_mut().unwrap();
            let Some(mil::value_type::Type::TensorType(t)) = &mut ty.r#type else { panic!() };
            (t.rank, t.dimensions) = (0, vec![]);
        },
        "declared as Tensor<f32>",
    );
}

/// "Got 'tensor' when expecting token of type 'ID'".
#[test]
fn row_14_names() {
    let named = |name: &str| {
        let name = name.to_string();
        move |model: &mut spec::Model| {
            let op = first_op(model, "add");
            op.outputs[0].name = name.clone();
            let Some(spec::model::Type::MlProgram(p)) = &mut model.r#type else { panic!() };
            let block = p.functions.get_mut("main").unwrap().block_specializations.values_mut().next().unwrap();
            block.outputs[0] = name.clone();
            model.description.as_mut().unwrap().output[0].name = name;
        }
    };
    not_read(named("tensor"), "`tensor`");
    not_read(named("a b"), "`a b`");
    not_read(named("3d"), "`3d`");
}

/// "Operator does not match the operator defined by expected opset".
#[test]
fn row_15_ops_of_another_opset() {
    let attention =
        program(Opset::iOS17, f32s(&[1, 2, 3, 4]), |g, x| g.push(mb::scaled_dot_product_attention(x, x, x)));
    not_built(attention, "iOS18");
}

/// "Could not open weight.bin"; "Storage Reader expects file format version 2"; "cannot be loaded just from the model spec".
#[test]
fn rows_17_to_19_weight_files() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.mlpackage");
    let weights = Constant::vector(&[0.5f32; 64]);
    program(Opset::iOS17, f32s(&[64]), |g, x| g.push(mb::add(x, weights))).unwrap().save(&path).unwrap();
    let alone = dir.path().join("alone.mlmodel");
    fs::copy(path.join(MODEL), &alone).unwrap();
    let e = Program::load(&alone).unwrap_err().to_string();
    assert!(e.contains("an ML Program with weights is an .mlpackage, give that"), "{e}");
    fs::remove_file(path.join(WEIGHTS)).unwrap();
    let e = Program::load(&path).unwrap_err().to_string();
    assert!(e.contains("weight.bin") && e.contains("is missing"), "{e}");
    let mut header = [0u8; 128];
    header[4] = 1;
    not_opened(WEIGHTS, &header, "version at byte 4: found 1, expected 2");
}

/// "A valid manifest does not exist at path".
#[test]
fn row_20_manifests() {
    let dir = tempfile::tempdir().unwrap();
    let e = Program::load(dir.path()).unwrap_err().to_string();
    assert!(e.contains("without `Manifest.json`"), "{e}");
    not_opened("Manifest.json", b"{}", "Manifest.json");
}

/// "Invalid rank: 6"; "std::bad_cast".
#[test]
fn rows_21_and_22_ranks_and_open_sizes() {
    let mut p = program(Opset::iOS17, f32s(&[1, 2, 3, 4, 5]), |g, x| g.push(mb::expand_dims(x, [0]))).unwrap();
    refused(&p, "has rank 6, more than 5");
    p = program(Opset::iOS17, "Tensor<f32, 1, N>".parse::<TensorType>().unwrap(), |g, x| {
        g.push(mb::reduce_mean(x).axes([-1]))
    })
    .unwrap();
    warned(&p, "it reduces dimension 1 of Tensor<f32, 1, N>, whose size has no bound");
}

/// "Failed to build the model execution plan .. -14"; "Shapes are not compatible for broadcasting".
#[test]
fn rows_23_and_28_integer_products_and_broadcasting() {
    let ints = TensorType::new(DType::I32, [2, 2]);
    warned(&program(Opset::iOS17, ints, |g, x| g.push(mb::matmul(x, x))).unwrap(), "it multiplies i32");
    let wrong = program(Opset::iOS17, f32s(&[2, 3]), |g, x| g.push(mb::add(x, Constant::vector(&[0f32; 2]))));
    not_built(wrong, "cannot broadcast [2, 3] with [2]");
}

/// "Cannot retrieve vector from IRValue format int32".
#[test]
fn row_24_computed_where_a_constant_is_wanted() {
    let mut g = Graph::new("main", Opset::iOS17);
    let (x, axes) = (g.input("x", f32s(&[2, 3])), g.input("axes", TensorType::new(DType::I32, [1])));
    not_built(g.push(mb::reduce_sum(&x).axes(&axes)), "`axes`");
}

/// "Program Inference overflow".
#[test]
fn row_27_overflow() {
    let f16 = TensorType::new(DType::F16, [2]);
    let masked = program(Opset::iOS17, f16.clone(), |g, x| {
        g.push(mb::add(x, Constant::vector(&[half::f16::NEG_INFINITY, half::f16::ONE])))
    });
    warned(&masked.unwrap(), "1 of its 2 elements are infinite in f16");
    not_built(program(Opset::iOS17, f16, |g, x| g.push(mb::add(x, 1e6))), "does not fit `f16`");
}

/// A 1-D operand of matmul, where Core ML is wrong or crashes.
#[test]
fn row_29_products_of_vectors() {
    let matrix = Constant::new([3, 2], &[0.5f32; 6]).unwrap();
    let product = program(Opset::iOS17, f32s(&[3]), |g, x| g.push(mb::matmul(x, matrix)));
    warned(&product.unwrap(), "`x` is a vector, which Core ML may get wrong");
}

/// Weights and statistics that are computed; `axes` that is empty.
#[test]
fn row_30_computed_weights() {
    let mut g = Graph::new("main", Opset::iOS17);
    let (x, w) = (g.input("x", f32s(&[1, 2, 4, 4])), g.input("w", f32s(&[3, 2, 1, 1])));
    let y = g.push(mb::conv(&x, &w).bias(Constant::vector(&[0f32; 3]))).unwrap();
    warned(&g.finish([("y", y)]).unwrap(), "its weight is computed and it has a bias");
    let mut g = Graph::new("main", Opset::iOS17);
    let (x, m) = (g.input("x", f32s(&[1, 2, 4, 4])), g.input("m", f32s(&[2])));
    not_built(g.push(mb::batch_norm(&x, &m, Constant::vector(&[1f32; 2]))), "`mean`");
    not_built(g.push(mb::layer_norm(&x).gamma(&m)), "`gamma`");
    let none = Constant::from_bytes(DType::I32, [0], vec![]).unwrap();
    not_built(g.push(mb::layer_norm(&x).axes(none)), "axes");
}

/// Custom layers.
#[test]
fn row_32_custom_layers() {
    not_read(|model| first_op(model, "add").r#type = "custom_layer".into(), "convert the model without them");
}

/// "I/O contains unknown strides"; states that the Neural Engine refuses.
#[test]
fn rows_34_and_35_several_enumerated_inputs_and_many_states() {
    let two = |opset| {
        let mut g = Graph::new("main", opset);
        let ty: TensorType = "Tensor<f32, N>".parse().unwrap();
        let (x, z) = (g.input("x", ty.clone()), g.input("z", ty));
        let (y, w) = (g.push(mb::relu(&x)).unwrap(), g.push(mb::relu(&z)).unwrap());
        let mut p = g.finish([("y", y), ("w", w)]).unwrap();
        let sizes = |n: &[i64]| ArrayFeature {
            dtype: Some(DType::F32),
            shape: vec![n[0]],
            flexibility: ArrayFlexibility::Enumerated(n.iter().map(|n| vec![*n]).collect()),
            default: None,
        };
        let feature = |name: &str, array| Feature {
            name: name.into(),
            description: String::new(),
            optional: false,
            kind: FeatureKind::Array(array),
        };
        main_of(&mut p).input_features = vec![feature("x", sizes(&[2, 4])), feature("z", sizes(&[3, 5]))];
        (p, feature("z", sizes(&[3])))
    };
    refused(&two(Opset::iOS17).0, "the inputs `x` and `z` are of enumerated sizes, which several can be since iOS18");
    let (mut p, one) = two(Opset::iOS18);
    warned(&p, "the inputs `x` and `z` have enumerated sizes");
    main_of(&mut p).input_features[1] = one;
    refused(&p, "the input `x` has 2 enumerated sizes but `z` has 1");

    let mut g = Graph::new("main", Opset::iOS18);
    let x = g.input("x", f32s(&[2]));
    for name in ["a", "b", "c"] {
        g.input(name, Type::State(TensorType::new(DType::F16, [32])));
    }
    let y = g.push(mb::relu(&x)).unwrap();
    warned(&g.finish([("y", y)]).unwrap(), "3 states, and the Neural Engine may refuse more than 2");
}

/// What coremltools lets through, and Core ML does not.
#[test]
fn what_coremltools_accepts() {
    let ty = || f32s(&[2, 3]);
    not_built(
        program(Opset::iOS17, ty(), |g, x| g.push(mb::softmax(x).axis(5))),
        "`axis` is 5, out of range for rank 2",
    );
    not_built(program(Opset::iOS17, ty(), |g, x| g.push(mb::transpose(x, [0, 0]))), "transpose");
    not_built(program(Opset::iOS17, ty(), |g, x| g.push(mb::gather(x, [7]))), "gather");
    let statistics = || Constant::vector(&[1f32; 4]);
    let wrong =
        program(Opset::iOS17, f32s(&[1, 2, 3, 4]), |g, x| g.push(mb::batch_norm(x, statistics(), statistics())));
    not_built(wrong, "`mean` must have 2 elements, found 4");
    not_built(
        program(Opset::iOS17, TensorType::new(DType::I32, [2]), |g, x| g.push(mb::add(x, 3_000_000_000i64))),
        "does not fit `i32`",
    );
    let ints = Constant::scalar(3i64);
    not_built(program(Opset::iOS17, TensorType::new(DType::I32, [2]), |g, x| g.push(mb::add(x, ints))), "i64");
    not_built(program(Opset::iOS17, ty(), |g, x| g.push(mb::reshape(x, [4, 2]))), "reshape");
    let dtype = "Tensor<f32, 2>".parse::<TensorType>().unwrap();
    not_built(program(Opset::iOS17, dtype, |g, x| g.push(mb::cast(x, "float"))), "cast");
}
