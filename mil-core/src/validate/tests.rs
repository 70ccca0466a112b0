//! One test per rule: it can fail, in these words.

use super::{
    testing::{finds, op, program_finds, sound, value},
    validate,
};
use crate::{
    graph::Graph,
    ir::{
        Attribute, Binding, Constant, Feature, Function, Program,
        feature::{ArrayFeature, ArrayFlexibility, ColorSpace, FeatureKind, ImageFeature},
    },
    mb,
    types::{DType, Dim, Opset, TensorType, Type},
};

fn f32s(shape: &[usize]) -> TensorType {
    TensorType::new(DType::F32, shape)
}

/// A program of one op over inputs of these types.
fn identity(opset: Opset, ty: impl Into<Type>) -> Program {
    let mut g = Graph::new("main", opset);
    let x = g.input("x", ty);
    let y = g.push(mb::identity(&x)).unwrap();
    g.finish([("y", y)]).unwrap()
}

mod report {
    use super::*;

    #[test]
    fn a_line_has_place_fault_and_remedy() {
        let mut program = sound();
        let f = program.functions.get_mut("main").unwrap();
        let sum = value(f, "sum");
        f.values[sum.index()].ty = f32s(&[3, 8]).into();
        let found = validate(&program).unwrap_err();
        let line = found.iter().next().unwrap().to_string();
        let (place, rest) = line.split_once(": function").unwrap();
        assert!(place.contains("testing.rs:"), "{line}");
        assert_eq!(
            rest,
            " `main`, op `sum` (add): output `sum` is declared as Tensor<f32, 3, 8> but is Tensor<f32, 2, H>; \
             declare the type that the op infers"
        );
        assert_eq!(found.to_string().lines().count(), found.iter().count());
    }
}

mod scope {
    use super::*;

    #[test]
    fn functions() {
        let mut program = sound();
        program.default_function = "other".into();
        program_finds(&program, &["program: the default function `other` does not exist; set `default_function`"]);
        program.default_function = "main".into();
        program.functions.get_mut("main").unwrap().name = "other".into();
        program_finds(&program, &["function `other` is listed as `main`"]);
        let f = program.functions.remove("main").unwrap();
        program.default_function = "a b".into();
        program.functions.insert("a b".into(), Function { name: "a b".into(), ..f });
        program_finds(&program, &["`a b` is no function name"]);
        program.functions.clear();
        program_finds(&program, &["there is no function"]);
    }

    #[test]
    fn value_names() {
        let rename = |from: &'static str, to: &'static str| {
            move |f: &mut Function| {
                let id = value(f, from);
                f.values[id.index()].name = to.into();
            }
        };
        finds(rename("sum", "a-b"), &[", op `sum` (add): `a-b` is no name for a value"]);
        finds(rename("x", "tensor"), &[": `tensor` is no name for a value"]);
        finds(rename("x", ""), &[": `` is no name for a value"]);
        finds(rename("twice", "c"), &[", op `twice` (mul): two values are named `c`"]);
        finds(rename("c", "x"), &[": two values are named `x`"]);
        // A later value of the block around it does not see it.
        finds(rename("twice", "y"), &[]);
    }

    #[test]
    fn definitions() {
        finds(
            |f| {
                let sum = value(f, "sum");
                let id = op(f, "twice");
                f.ops[id.index()].outputs = vec![sum];
            },
            // The block still gives `twice`, which nothing defines now; `sum` is used before in the block around it.
            &[", op `sum` (add): two values", "`sum` is defined twice", "`twice` is used where it is not defined"],
        );
        finds(
            |f| {
                let x = value(f, "x");
                f.values[x.index()].def = crate::ir::Def::Input(1);
            },
            &["`x` is defined at another place than it says"],
        );
    }

    #[test]
    fn uses() {
        // Before its definition.
        finds(
            |f| {
                let ops = &mut f.blocks[0].ops;
                let last = ops.len() - 1;
                ops.swap(last, last - 1);
            },
            &["op `y` (identity): `cond_0` is used where it is not defined; define it before"],
        );
        // Outside of the block that defines it.
        finds(
            |f| {
                let (twice, y) = (value(f, "twice"), op(f, "y"));
                f.ops[y.index()].args[0].bindings = vec![Binding::Value(twice)];
            },
            &["op `y` (identity): `twice` is used where it is not defined"],
        );
        finds(
            |f| {
                let twice = value(f, "twice");
                f.blocks[2].outputs = vec![twice];
            },
            &["op `cond_0` (cond): `twice` is used where it is not defined"],
        );
        finds(
            |f| {
                let twice = value(f, "twice");
                f.blocks[0].outputs.push(twice);
            },
            &[": `twice` is used where it is not defined"],
        );
    }

    #[test]
    fn blocks() {
        finds(
            |f| {
                let id = op(f, "cond_0");
                f.ops[id.index()].blocks.pop();
            },
            &["op `cond_0` (cond): it has 2 nested blocks, found 1"],
        );
    }

    #[test]
    fn loops_are_sound() {
        let mut g = Graph::new("main", Opset::iOS15);
        let (x, go) = (g.input("x", f32s(&[2])), g.constant("go", Constant::scalar(false)));
        let out = g.while_loop(vec![x], |_, _| Ok(go.clone()), |g, v| Ok(vec![g.push(mb::add(&v[0], 1.0))?])).unwrap();
        let mut program = g.finish([("y", &out[0])]).unwrap();
        validate(&program).unwrap_or_else(|e| panic!("{e}"));
        // A loop variable of the body is not visible in the condition.
        let f = program.functions.get_mut("main").unwrap();
        let body = f.blocks[2].inputs[0];
        f.blocks[1].outputs = vec![body];
        let expected =
            ["is used where it is not defined", "the condition must give a scalar bool, found Tensor<f32, 2>"];
        program_finds(&program, &expected);
    }
}

mod types {
    use super::*;

    #[test]
    fn sizes() {
        finds(
            |f| {
                for name in ["x", "c"] {
                    let id = value(f, name);
                    f.values[id.index()].ty = TensorType::new(DType::F32, [Dim::from(2), Dim::from(-1)]).into();
                }
            },
            &["`x` has a negative size: Tensor<f32, 2, -1>", "`c` has a negative size"],
        );
    }

    #[test]
    fn constants() {
        let with = |val: Option<Attribute>| {
            move |f: &mut Function| {
                let id = op(f, "go");
                f.ops[id.index()].attributes = val.into_iter().map(|v| ("val".to_string(), v)).collect();
            }
        };
        finds(with(None), &["op `go` (const): it has 1 outputs and no attribute `val`"]);
        finds(
            with(Some(Attribute::Tensor(Constant::vector(&[true])))),
            &["op `go` (const): it is declared as Tensor<bool>, but its value is Tensor<bool, 1>"],
        );
        finds(
            |f| {
                let (id, y) = (op(f, "go"), value(f, "go"));
                f.ops[id.index()].outputs = vec![y, y];
            },
            &["two values are named `go`", "`go` is defined twice", "it has one output, found 2"],
        );
    }

    #[test]
    fn weights() {
        let mut g = Graph::new("main", Opset::iOS17);
        let x = g.input("x", f32s(&[2]));
        let y = g.push(mb::add(&x, Constant::weight("layer.bias", DType::F32, [2]))).unwrap();
        let mut program = g.finish([("y", y)]).unwrap();
        program_finds(&program, &["the weight `layer.bias` (Tensor<f32, 2>) is not attached; call `attach_weights`"]);
        program.attach_weights(&|_| Some(Constant::vector(&[1f32, 2.0]))).unwrap();
        program_finds(&program, &[]);
        // Written in place, inside a list.
        let f = program.functions.get_mut("main").unwrap();
        let list = Attribute::List(
            f32s(&[9]).into(),
            vec![Attribute::Tensor(Constant::weight("w", DType::F32, [usize::MAX, 2]))],
        );
        let id = op(f, "y");
        f.ops[id.index()].attributes.insert("extra".into(), list);
        program_finds(&program, &["the weight `w`"]);
    }

    #[test]
    fn inference() {
        finds(
            |f| {
                let id = op(f, "sum");
                f.ops[id.index()].args.pop();
            },
            &["op `sum` (add): `add` needs `y`"],
        );
        finds(
            |f| {
                let id = value(f, "sum");
                f.values[id.index()].ty = TensorType::new(DType::F32, [Dim::from(2), Dim::from(7)]).into();
            },
            // 7 is not in 8..=64.
            &["`sum` is declared as Tensor<f32, 2, 7> but is Tensor<f32, 2, H>", "op `twice`"],
        );
        finds(
            |f| {
                let id = op(f, "y");
                f.ops[id.index()].outputs.clear();
                let x = value(f, "sum");
                f.blocks[0].outputs = vec![x];
            },
            &["op `y` (identity): it gives 1 values, found 0 outputs"],
        );
    }

    #[test]
    fn defaults() {
        let mut g = Graph::new("main", Opset::iOS17);
        let x = g.input("x", f32s(&[1, 3, 8]));
        let y = g.push(mb::conv(&x, Constant::new([4, 3, 1], &[0f32; 12]).unwrap())).unwrap();
        let mut program = g.finish([("y", y)]).unwrap();
        program_finds(&program, &[]);
        let f = program.functions.get_mut("main").unwrap();
        let id = op(f, "y");
        f.ops[id.index()].args.retain(|a| a.param < 2);
        let params = ["strides", "pad_type", "pad", "dilations", "groups"];
        let expected = params.map(|p| format!("op `y` (conv): `{p}` is not written out; bind it to its default"));
        program_finds(&program, &expected.each_ref().map(|e| &e[..]));
    }

    #[test]
    fn ranks() {
        let program = identity(Opset::iOS17, f32s(&[1; 6]));
        program_finds(&program, &[": `x` has rank 6, more than 5", "op `y` (identity): `y` has rank 6, more than 5"]);
        program_finds(&identity(Opset::iOS17, f32s(&[1; 5])), &[]);
        // A constant that nobody but a `constexpr_` op reads may; one that another op reads may not.
        let mut g = Graph::new("main", Opset::iOS17);
        let x = g.input("x", f32s(&[2]));
        let c = g.constant("table", Constant::new([1; 6], &[1f32]).unwrap());
        let y = g.push(mb::identity(&x)).unwrap();
        let mut program = g.finish([("y", y)]).unwrap();
        program_finds(&program, &[]);
        let f = program.functions.get_mut("main").unwrap();
        let y = op(f, "y");
        f.ops[y.index()].args[0].bindings = vec![Binding::Value(c.id())];
        program_finds(&program, &["is declared as Tensor<f32, 2> but is", "op `table` (const): `table` has rank 6"]);
    }
}

mod opset {
    use super::*;

    fn in_opset(opset: Opset) -> impl FnOnce(&mut Function) {
        move |f| f.opset = opset
    }

    #[test]
    fn opsets() {
        finds(in_opset(Opset::iOS18), &["program: function `main` is of opset iOS18, the program of iOS17"]);
    }

    #[test]
    fn multifunction() {
        let mut program = sound();
        let other = Function { name: "other".into(), ..program.functions["main"].clone() };
        program.functions.insert("other".into(), other);
        program_finds(
            &program,
            &["several functions need opset iOS18, found iOS17", "2 functions, but the program is not marked"],
        );
        program.multifunction = true;
        program.opset = Opset::iOS18;
        program.functions.values_mut().for_each(|f| f.opset = Opset::iOS18);
        program_finds(&program, &[]);
    }

    #[test]
    fn constant_dtypes() {
        let program = |opset, constant: Constant| {
            let mut g = Graph::new("main", opset);
            let x = g.input("x", f32s(&[2]));
            g.constant("c", constant);
            let y = g.push(mb::identity(&x)).unwrap();
            g.finish([("y", y)]).unwrap()
        };
        let narrow = || Constant::from_bytes(DType::U4, [2], vec![0x21]).unwrap();
        program_finds(&program(Opset::iOS17, narrow()), &["op `c` (const): constants of u4 need opset iOS18"]);
        program_finds(&program(Opset::iOS18, narrow()), &[]);
        program_finds(&program(Opset::iOS15, Constant::scalar(1i16)), &["constants of i16 need opset iOS16"]);
        program_finds(&program(Opset::iOS16, Constant::scalar(1i16)), &[]);
    }

    #[test]
    fn states() {
        let program = |opset, state: TensorType| {
            let mut g = Graph::new("main", opset);
            g.input("cache", Type::State(state));
            let x = g.input("x", f32s(&[2]));
            let y = g.push(mb::identity(&x)).unwrap();
            g.finish([("y", y)]).unwrap()
        };
        let f16s = TensorType::new(DType::F16, [1, 8]);
        program_finds(&program(Opset::iOS18, f16s.clone()), &[]);
        program_finds(&program(Opset::iOS17, f16s.clone()), &["the state `cache` needs opset iOS18, found iOS17"]);
        let wide = f16s.with_dtype(DType::F32);
        program_finds(&program(Opset::iOS18, wide), &["the state `cache` must be of f16, found f32"]);
        let open = f16s.with_shape([Dim::unknown(0)]);
        program_finds(&program(Opset::iOS18, open), &["the state `cache` must be of fixed size, found [?]"]);
    }

    #[test]
    fn interface_dtypes() {
        let check = |opset, dtype, expected: &[&str]| {
            program_finds(&identity(opset, TensorType::new(dtype, [2])), expected);
        };
        check(Opset::iOS15, DType::I32, &[]);
        check(Opset::iOS16, DType::F16, &[]);
        check(Opset::iOS26, DType::I8, &[]);
        check(
            Opset::iOS15,
            DType::F16,
            &["the input `x` is of f16, which needs opset iOS16, found iOS15", "the output `y` is of f16"],
        );
        check(Opset::iOS18, DType::I8, &["which needs opset iOS26", "which needs opset iOS26"]);
        check(
            Opset::iOS18,
            DType::Bool,
            &["the input `x` is of bool, which a model cannot take or give", "op `y` (identity): the output `y`"],
        );
    }

    #[test]
    fn no_inputs() {
        let program = |opset| {
            let mut g = Graph::new("main", opset);
            let c = g.constant("c", Constant::vector(&[1f32]));
            g.finish([("y", c)]).unwrap()
        };
        program_finds(&program(Opset::iOS18), &[]);
        program_finds(&program(Opset::iOS17), &[": a function without inputs needs opset iOS18, found iOS17"]);
    }
}

mod outputs {
    use super::*;

    #[test]
    fn at_least_one() {
        finds(|f| f.blocks[0].outputs.clear(), &[": it has no output; name the values"]);
    }

    #[test]
    fn kinds() {
        let mut program = sound();
        program.opset = Opset::iOS18;
        let f = program.functions.get_mut("main").unwrap();
        f.opset = Opset::iOS18;
        let x = value(f, "x");
        let id = f.add_value("cache".into(), Type::State(TensorType::new(DType::F16, [2])), crate::ir::Def::Input(2));
        f.inputs.push(id);
        f.blocks[0].outputs.push(id);
        assert!(f.value(x).ty.tensor().is_some());
        program_finds(&program, &["`cache` is State<f16, 2>, not a tensor", "the output `cache` is an input"]);
    }

    #[test]
    fn distinct() {
        finds(
            |f| {
                let y = f.blocks[0].outputs[0];
                f.blocks[0].outputs.push(y);
            },
            &["op `y` (identity): `y` is an output twice; give a copy"],
        );
    }

    #[test]
    fn made() {
        finds(
            |f| {
                let x = value(f, "x");
                f.blocks[0].outputs.push(x);
            },
            &[": the output `x` is an input; give a copy"],
        );
    }
}

mod features {
    use super::*;

    fn array(name: &str, shape: &[i64], flexibility: ArrayFlexibility) -> Feature {
        let array = ArrayFeature { dtype: Some(DType::F32), shape: shape.into(), flexibility, default: None };
        Feature { name: name.into(), description: String::new(), optional: false, kind: FeatureKind::Array(array) }
    }

    fn range() -> ArrayFlexibility {
        ArrayFlexibility::Range(vec![(2, 2), (8, 64)])
    }

    /// The sound program with these descriptions of `x` and `c`.
    #[track_caller]
    fn inputs_find(x: Feature, expected: &[&str]) {
        finds(|f| f.input_features = vec![x, array("c", &[2, 8], range())], expected);
    }

    #[test]
    fn names() {
        inputs_find(array("x", &[2, 8], range()), &[]);
        inputs_find(
            array("z", &[2, 8], range()),
            &["the description has the input `z`, the function does not", "the input `x` is not described"],
        );
        inputs_find(array("c", &[2, 8], range()), &["the input `c` is described twice", "`x` is not described"]);
        finds(
            |f| f.output_features = vec![array("z", &[], ArrayFlexibility::Fixed)],
            &["has the output `z`", "the output `y` is not described"],
        );
    }

    #[test]
    fn arrays() {
        let mut other = array("x", &[2, 8], range());
        if let FeatureKind::Array(a) = &mut other.kind {
            a.dtype = Some(DType::I32);
        }
        inputs_find(other, &["the input `x`: it is described as of i32, the function has f32"]);
        let other = Feature { kind: FeatureKind::String, ..array("x", &[], range()) };
        inputs_find(other, &["the input `x`: it is described as another kind of thing than Tensor<f32, 2, H>"]);
        inputs_find(array("x", &[2, 8, 1], range()), &["described with size [2, 8, 1], the function has [2, H]"]);
        inputs_find(array("x", &[2, 65], range()), &["described with size [2, 65]"]);
        inputs_find(array("x", &[2, 8], ArrayFlexibility::Fixed), &["the fixed size [2, 8], the function has [2, H]"]);
        let sizes = |list: &[[i64; 2]]| ArrayFlexibility::Enumerated(list.iter().map(|s| s.to_vec()).collect());
        inputs_find(array("x", &[2, 8], sizes(&[[2, 8], [2, 9]])), &[]);
        inputs_find(array("x", &[2, 8], sizes(&[[2, 9]])), &["[2, 8] is not among its enumerated sizes"]);
        inputs_find(array("x", &[2, 8], sizes(&[[2, 8], [3, 9]])), &["the enumerated size [3, 9] does not fit"]);
        let ranges = |list: &[(u64, i64)]| ArrayFlexibility::Range(list.into());
        inputs_find(array("x", &[2, 8], ranges(&[(2, 2)])), &["it has 1 ranges for 2 dimensions"]);
        inputs_find(array("x", &[2, 8], ranges(&[(2, 2), (9, 8)])), &["the range 9..=8 of dimension 1 is empty"]);
        inputs_find(array("x", &[2, 8], ranges(&[(2, 2), (9, 64)])), &["size 8 of dimension 1 is not in the range 9"]);
        inputs_find(array("x", &[2, 8], ranges(&[(2, 2), (8, -1)])), &["the range 8.. of dimension 1 is wider"]);
        inputs_find(array("x", &[2, 8], ranges(&[(1, 2), (8, 64)])), &["the range 1..=2 of dimension 0 is wider"]);
        finds(|f| f.output_features = vec![array("y", &[], ArrayFlexibility::Fixed)], &[]);
        finds(
            |f| f.output_features = vec![array("y", &[2, 7], ArrayFlexibility::Fixed)],
            &["the output `y`: it is described with size [2, 7]"],
        );
    }

    #[test]
    fn enumerated() {
        let program = |opset, sizes: [&[i64]; 2]| {
            let mut g = crate::graph::Graph::new("main", opset);
            let inputs = sizes.map(|s| {
                let symbol = crate::types::Symbol::new(format!("S{}", s.len()), crate::types::Domain::OneOf(s.into()));
                g.input("x", TensorType::new(DType::F32, [crate::types::Dim::from(symbol)]))
            });
            let y = inputs.map(|x| g.push(crate::mb::add(x, 1.0)).unwrap());
            g.finish(y).unwrap()
        };
        program_finds(&program(Opset::iOS18, [&[2, 3], &[2, 3]]), &[]);
        let old = "the inputs `x` and `x_0` are of enumerated sizes, which several can be since iOS18";
        program_finds(&program(Opset::iOS17, [&[2, 3], &[2, 3]]), &[old]);
        let counts = "the input `x` has 2 enumerated sizes but `x_0` has 3";
        program_finds(&program(Opset::iOS18, [&[2, 3], &[2, 3, 4]]), &[counts]);
    }

    #[test]
    fn default_sizes_are_positive() {
        let mut program = identity(Opset::iOS17, f32s(&[0]));
        program.functions.get_mut("main").unwrap().input_features = vec![array("x", &[0], ArrayFlexibility::Fixed)];
        let expected =
            ["the input `x`: its default size [0] is not positive", "the input `x` has no elements: Tensor<f32, 0>"];
        program_finds(&program, &expected);
        // A described size is derived where none is given, so that the type itself is looked at.
        program_finds(&identity(Opset::iOS17, f32s(&[0])), &["the input `x` has no elements"]);
    }

    #[test]
    fn images() {
        let check = |opset, shape: &[usize], image: ImageFeature, expected: &[&str]| {
            let mut program = identity(opset, f32s(shape));
            let f = program.functions.get_mut("main").unwrap();
            f.input_features = vec![Feature { kind: FeatureKind::Image(image), ..array("x", &[], range()) }];
            program_finds(&program, expected);
        };
        let image = |color| ImageFeature { width: 5, height: 4, color, ..ImageFeature::default() };
        check(Opset::iOS15, &[1, 3, 4, 5], image(ColorSpace::Rgb), &[]);
        check(
            Opset::iOS15,
            &[1, 3, 5, 4],
            image(ColorSpace::Rgb),
            &["the image input `x`: it is described with size [1, 3, 4, 5], the function has [1, 3, 5, 4]"],
        );
        check(Opset::iOS15, &[1, 3, 4, 5], image(ColorSpace::Grayscale), &["described with size [1, 1, 4, 5]"]);
        check(Opset::iOS15, &[1, 3, 4, 5], image(ColorSpace::Unspecified), &["its color layout is not described"]);
        check(Opset::iOS15, &[1, 1, 4, 5], image(ColorSpace::GrayscaleF16), &["16-bit gray needs opset iOS16"]);
    }
}
