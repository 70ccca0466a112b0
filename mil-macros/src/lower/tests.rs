//! Lowering, looked at as a graph or as messages. What rustc shows of it is tested at the facade (`tests/ui`).

use mil_core::{ir::Function, types::DType};
use quote::quote;
use syn::visit_mut::VisitMut;

use super::{Lowering, Module, Output, ParseFormats, document, program::program_with};
use crate::{attr::ProgramAttr, diag::Diagnostics, item::ProgramItem, weights::WeightsFile};

fn lower(args: proc_macro2::TokenStream, item: proc_macro2::TokenStream) -> Lowering {
    lower_with(args, item, None)
}

fn lower_with(
    args: proc_macro2::TokenStream,
    item: proc_macro2::TokenStream,
    weights: Option<WeightsFile>,
) -> Lowering {
    let mut diag = Diagnostics::default();
    let mut item: ProgramItem = syn::parse2(item).unwrap();
    ParseFormats(&mut diag).visit_block_mut(&mut item.body);
    let attr = ProgramAttr::parse(args, &mut diag);
    program_with(&item, &attr, &Module::default(), weights, diag)
}

#[track_caller]
fn function(lowering: Lowering) -> Function {
    assert_eq!(lowering.diag.messages(), [""; 0]);
    lowering.program.unwrap().main().unwrap().clone()
}

/// The ops that run, without constants: `z = add(x, y)`.
fn ops(f: &Function) -> Vec<String> {
    let ops = f.walk().into_iter().map(|id| f.op(id)).filter(|op| !op.def.is_const());
    ops.map(|op| {
        let names = |ids: Vec<_>| ids.into_iter().map(|v| f.value(v).name.clone()).collect::<Vec<_>>().join(", ");
        format!("{} = {}({})", names(op.outputs.clone()), op.def.name, names(op.uses().collect()))
    })
    .collect()
}

#[track_caller]
fn errors(args: proc_macro2::TokenStream, item: proc_macro2::TokenStream, expected: &[&str]) {
    let found = lower(args, item).diag.messages();
    assert_eq!(found.len(), expected.len(), "{found:#?}");
    for (f, e) in found.iter().zip(expected) {
        assert!(f.contains(e), "expected {e:?} in {f:?}");
    }
}

#[test]
fn names_come_from_lets_and_outputs() {
    let l = lower(
        quote!(),
        quote!(
            fn f(x: Tensor<f32, 2>) -> _ {
                let y = x + 1.0;
                let y = y + 2.0;
                #[name = "third"]
                let a = mb::add(y, 3.0);
                let b = mb::add(a, 4.0, name = "fourth");
                (y, b, b + 5.0)
            }
        ),
    );
    assert_eq!(document(&l), "- `x: Tensor<f32, 2>`\n\nGives `(Tensor<f32, 2>, Tensor<f32, 2>, Tensor<f32, 2>)`.");
    let f = function(l);
    let outputs: Vec<_> = f.outputs().iter().map(|v| f.value(*v).name.as_str()).collect();
    assert_eq!(outputs, ["y", "b", "output_2"]);
    assert!(ops(&f)[2].starts_with("third = add(y, "), "{:?}", ops(&f));
}

#[test]
fn literals_take_the_dtype_of_the_other_operand() {
    let l = lower(
        quote!(opset = iOS17),
        quote!(
            fn f(x: Tensor<f16, 2>) -> Tensor<f16, 2> {
                const ONE: f32 = 1.0;
                (x + ONE) + 2.0f16
            }
        ),
    );
    let f = function(l);
    for id in f.walk() {
        if let Some(c) = f.op(id).constant() {
            assert_eq!(c.dtype(), DType::F16);
        }
    }
}

#[test]
fn loops_unroll_and_helpers_are_inlined() {
    let l = lower(
        quote!(),
        quote!(
            fn f(x: Tensor<f32, 2>) -> _ {
                const ROUNDS: usize = 3;
                fn twice(x: Tensor, by: f32) -> _ {
                    let y = x + by;
                    y + x
                }
                let mut h = x;
                for i in 0..ROUNDS {
                    if i != 1 {
                        h = twice(h, 0.5);
                    }
                }
                let [a, b] = [h, h + 1.0];
                a + b
            }
        ),
    );
    assert_eq!(ops(&function(l)).len(), 2 * 2 + 2);
}

#[test]
fn while_and_if_become_blocks() {
    let l = lower(
        quote!(),
        quote!(
            fn f(x: Tensor<f32, 2>, go: Tensor<i32>) -> _ {
                let go = mb::identity(go) as bool;
                let mut h = x;
                let mut i = 0;
                while go {
                    h = h + x;
                    i += 1;
                }
                let z = if go { h } else { 0.0 * x };
                z
            }
        ),
    );
    let f = function(l);
    let names: Vec<_> = f.walk().into_iter().map(|op| f.op(op).def.name).filter(|n| *n != "const").collect();
    assert_eq!(names, ["identity", "cast", "while_loop", "add", "add", "cond", "mul"]);
    let outputs: Vec<_> = f.outputs().iter().map(|v| f.value(*v).name.as_str()).collect();
    assert_eq!(outputs, ["z"]);
}

#[test]
fn unknown_values_are_silent_downstream() {
    errors(
        quote!(),
        quote!(
            fn f(x: Tensor<f32, 2>, y: Tensor<f32, 3>) -> Tensor<f32, 9> {
                let a = x + y;
                let b = mb::add(a, nope);
                let mut c = b;
                while c {
                    c = c + 1.0;
                }
                mb::identity(c)
            }
        ),
        &["add: cannot broadcast", "cannot find `nope`"],
    );
}

#[test]
fn calls_are_checked_by_name() {
    errors(
        quote!(),
        quote!(
            fn f(x: Tensor<f32, 1, 3, 8, 8>, w: Weight<f32, 4, 3, 3, 3>) -> _ {
                let a = mb::conv(x, w, stride = [2, 2]);
                let b = mb::conv(x, w, strides = [2]);
                let c = mb::conv(x);
                let d = mb::cnov(x, w);
                let e = mb::conv(x, w, [2, 2]);
                let g = mb::conv(x, w).strides([1, 1]).strides([1, 1]);
                let h = conv(x, w);
                let i = mb::conv(x, weight = w, weight = w);
                let j = x.relu();
                let k = mb::add(x, x, name = "1a");
                x
            }
        ),
        &[
            "did you mean `strides`",
            "conv: `strides` must have 2 elements",
            "missing argument `weight`",
            "did you mean `conv`",
            "2 arguments by position; name the others, as in `bias = ..`",
            "`strides` is given twice",
            "an op is called as `mb::conv(..)`",
            "`weight` is given twice",
            "an op is called by its name: `mb::relu(..)`",
            "no name",
        ],
    );
}

#[test]
fn parameters_are_checked() {
    errors(
        quote!(H in 1..=8, z: Tensor<f32, 2>, q: Tensor<f32, 2>),
        quote!(
            fn f(
                a: Tensor<f32, W>,
                b: Tensor<f12, 1>,
                c: Tensor<f16, 1>,
                d: State<f16, 1>,
                e: &mut State<f16, 1>,
                g,
                h: Tensor<f32, _>,
                i: Weights,
                j: usize,
                z,
            ) -> _ {
                z
            }
        ),
        &[
            "no parameter `q`",
            "the dimension `W` is not declared",
            "did you mean `f16`",
            "needs opset iOS16",
            "&mut State<f16, 1>",
            "needs opset iOS18",
            "the type of `g` is missing",
            "all said",
            "needs the weights file",
            "a parameter of a program is",
        ],
    );
}

#[test]
fn weights_come_from_the_file() {
    let file = || {
        Some(WeightsFile::for_tests(&[
            ("conv1.weight", DType::F32, &[4, 3, 3, 3]),
            ("conv1.bias", DType::F32, &[4]),
            ("scale", DType::F32, &[]),
        ]))
    };
    let item = quote!(
        fn f(x: Tensor<f32, 1, 3, 8, 8>, w: Weights, #[weight("conv1.bias")] b: Weight<f32, 4>, scale: Weight) -> _ {
            let layer = w.at(format!("conv{}", 1));
            let y = mb::conv(x, layer["weight"], bias = b);
            (y + scale) + w["conv1"]
        }
    );
    let l = lower_with(quote!(), item, file());
    let messages = l.diag.messages();
    assert_eq!(messages.len(), 1, "{messages:?}");
    assert!(messages[0].contains("there is no weight `conv1` in `test.safetensors`"), "{messages:?}");
    let item = quote!(
        fn f(
            x: Tensor<f32, 1, 3, 8, 8>,
            w: Weights,
            #[weight("conv1.biass")] b: Weight<f32, 4>,
            scale: Weight<f16>,
        ) -> _ {
            mb::conv(x, w.at("conv2")["weight"])
        }
    );
    let messages = lower_with(quote!(), item, file()).diag.messages();
    assert_eq!(messages.len(), 3, "{messages:?}");
    assert!(messages[0].contains("did you mean `conv1.bias`"), "{messages:?}");
    assert!(messages[1].contains("is Weight<f32>, not Weight<f16>\nto convert"), "{messages:?}");
    assert!(messages[2].contains("begins with `conv2.`"), "{messages:?}");
}

#[test]
fn written_types_are_checked() {
    let item = quote!(
        fn f(x: Tensor<f32, 1, H>) -> Tensor<f32, 1, { H + 1 }> {
            let y: Tensor<f32, 1, _> = x + 1.0;
            y
        }
    );
    errors(quote!(H in 1..=8), item, &["expected Tensor<f32, 1, H + 1>, found Tensor<f32, 1, H>"]);
    let item = quote!(
        fn f(x: Tensor<f32, 1, H>) {
            x + 1.0;
        }
    );
    errors(quote!(H in 1..=8), item, &["without this `;`"]);
}

#[test]
fn rust_without_meaning_is_refused() {
    let item = quote!(
        fn f(x: Tensor<f32, 2>) -> _ {
            let a = match x {
                _ => x,
            };
            let b = loop {
                break;
            };
            let c = |v| v;
            let d = x[0];
            let e = x.shape;
            let g = other::CONST;
            let h = helper(x);
            x = x + 1.0;
            println!("{}", x);
            let i = x * *x;
            let (j, k) = x;
            let l = 1 / 0;
            for m in x {}
            return x;
        }
    );
    errors(
        quote!(),
        item,
        &[
            "`match`",
            "`loop`",
            "a closure",
            "slice_by_index",
            "mb::shape",
            "a `const` from elsewhere",
            "no function of this program",
            "declare it with `let mut x`",
            "`println!`",
            "no operator `**`",
            "expected one name",
            "division by zero",
            "use `while`",
            "`return`",
        ],
    );
}

#[test]
fn an_output_that_is_an_input_is_named_after_it() {
    let l = lower(
        quote!(),
        quote!(
            fn f(x: Tensor<f32, 2>) -> _ {
                let x = x + 1.0;
                x
            }
        ),
    );
    assert!(matches!(l.output, Output::Single(_)));
    let f = function(l);
    assert_eq!(f.value(f.outputs()[0]).name, "x_out");
    let f = function(lower(
        quote!(),
        quote!(
            fn f(x: Tensor<f32, 2>) -> _ {
                x
            }
        ),
    ));
    assert_eq!(f.value(f.outputs()[0]).name, "x_out");
}
