//! What the macros leave behind: the typed function with the encoded program, its documentation, the shadow, the problems.

use mil_core::{
    ir::{Function, Program},
    types::{DType, TensorType, Type},
};
use proc_macro2::{Ident, Literal, TokenStream};
use quote::{ToTokens, quote};
use syn::{Item, ItemFn, ItemMod, Visibility, visit_mut::VisitMut};

use crate::{
    attr::ProgramAttr,
    diag::{Diagnostics, Place},
    embed,
    item::{ProgramItem, is_ours},
    lower::{self, Lowering, Module, Output, ParseFormats},
    shadow::dtype_tokens,
    suggest,
};

/// `#[mil_program] fn ..`, with the attribute's arguments.
pub(crate) fn function(mut item: ProgramItem, args: TokenStream) -> TokenStream {
    let mut diag = Diagnostics::default();
    ParseFormats(&mut diag).visit_block_mut(&mut item.body);
    let attr = ProgramAttr::parse(args, &mut diag);
    emit(&item, &attr, lower::program(&item, &attr, &Module::default(), diag))
}

/// A program of a `mil!{}`, whose attribute is still there.
pub(crate) fn bare_function(item: ProgramItem) -> TokenStream {
    let args = item.split_attrs().1.into_iter().next().unwrap_or_default();
    function(item, args)
}

/// `mil!(|x: Tensor<f32, 4>| x * 2.0)`: an expression.
pub(crate) fn closure(mut item: ProgramItem) -> TokenStream {
    let mut diag = Diagnostics::default();
    ParseFormats(&mut diag).visit_block_mut(&mut item.body);
    let args = item.split_attrs().1.into_iter().next().unwrap_or_default();
    let attr = ProgramAttr::parse(args, &mut diag);
    let lowering = lower::program(&item, &attr, &Module::default(), diag);
    let (ty, problems) = (program_type(&lowering), lowering.diag.tokens());
    let body = body(&attr, &lowering);
    let shadow = shadow(&attr, &lowering);
    quote!({ #problems; #shadow let program: #ty = { #body }; program })
}

/// `#[mil_program] mod ..`: public functions are programs, the others are inlined.
pub(crate) fn module(mut item: ItemMod, args: TokenStream) -> TokenStream {
    let mut diag = Diagnostics::default();
    let Some((_, items)) = &mut item.content else {
        diag.error(Place::of(&item), "the module's body must stand here: macros do not see other files");
        let problems = diag.tokens();
        return quote!(#problems);
    };
    for i in items.iter_mut() {
        ParseFormats(&mut diag).visit_item_mut(i);
    }
    let attr = ProgramAttr::parse(args, &mut diag);
    let functions: Vec<&ItemFn> =
        items.iter().filter_map(|i| if let Item::Fn(f) = i { Some(f) } else { None }).collect();
    let public: Vec<&ItemFn> = functions.iter().copied().filter(|f| !matches!(f.vis, Visibility::Inherited)).collect();
    if public.is_empty() {
        let message =
            "the module has no program: its `pub` functions are programs, the others are inlined where they are called";
        diag.error(Place::of(&item.ident), message);
    }
    let consts = items.iter().filter_map(|i| if let Item::Const(c) = i { Some(c) } else { None });
    let context = Module { consts: consts.collect(), helpers: functions };
    let mut programs = vec![];
    for f in public {
        match ProgramItem::from_fn(f) {
            Ok(p) => programs.push(p),
            Err(e) => diag.syntax(e),
        }
    }
    let mut emitted = TokenStream::new();
    let (mut all, mut weights) = (vec![], None);
    // Problems of the attribute and of the constants are met with every program and told with the first.
    for p in &programs {
        let mut lowering = lower::program(p, &attr, &context, diag);
        diag = lowering.diag.next();
        // A module imports `mb` or does not: nothing in it needs the import, since all of it is restated.
        lowering.op_paths.clear();
        all.push(Part { name: p.ident.clone(), program: lowering.program.clone(), signature: signature(&lowering) });
        weights = weights.or_else(|| embed::weights_of(&attr, &lowering));
        emitted.extend(emit(p, &attr, lowering));
    }
    if let Some(default) = &attr.default {
        emitted.extend(together(all, default, weights, &attr));
    }
    let problems = programs.is_empty().then(|| diag.tokens());
    let kept = items.iter().filter(|i| !matches!(i, Item::Fn(_)));
    let kept = kept.map(|i| match i {
        Item::Const(_) => quote!(#[allow(dead_code)] #i),
        Item::Use(_) => quote!(#[allow(unused_imports)] #i),
        i => i.to_token_stream(),
    });
    let (attrs, vis, ident) = (item.attrs.iter().filter(|a| !is_ours(a)), &item.vis, &item.ident);
    quote!(#(#attrs)* #vis mod #ident { #problems #(#kept)* #emitted })
}

/// One function of a module.
struct Part {
    name: Ident,
    /// `None` if there are problems.
    program: Option<Program>,
    signature: TokenStream,
}

/// `default = main`: a function `program` that gives all programs of the module as one of several functions.
fn together(parts: Vec<Part>, default: &Ident, weights: Option<TokenStream>, attr: &ProgramAttr) -> TokenStream {
    let mut diag = Diagnostics::default();
    let names: Vec<String> = parts.iter().map(|p| p.name.to_string()).collect();
    if !names.contains(&default.to_string()) {
        let hint = suggest::hint(&default.to_string(), names.iter().map(String::as_str));
        diag.error(Place::of(default), format!("the module has no program `{default}`{hint}"));
    }
    for part in parts.iter().filter(|p| p.name == "program") {
        diag.error(Place::of(&part.name), "`program` is the name of the program that has all functions");
    }
    let signatures: Vec<_> = parts.iter().map(|p| &p.signature).collect();
    let ty = quote!(::mil::Program<(#(#signatures,)*)>);
    let functions: Option<Vec<Function>> = parts
        .iter()
        .map(|part| {
            let mut function = part.program.as_ref()?.main()?.clone();
            function.name = part.name.to_string();
            Some(function)
        })
        .collect();
    let body = match functions {
        Some(functions) if diag.is_empty() => {
            let made = Program::of_functions(functions, &default.to_string()).and_then(|mut program| {
                attr.describe(Some(&mut program));
                embed::to_bytes(&program)
            });
            match made {
                Ok(bytes) => {
                    let bytes = Literal::byte_string(&bytes);
                    let weights = weights.unwrap_or_else(|| quote!(::mil::__private::Embedded::None));
                    quote!(::mil::__private::program(#bytes, #weights))
                }
                Err(message) => {
                    diag.error(Place::of(default), message);
                    quote!(::mil::__private::failed())
                }
            }
        }
        _ => quote!(::mil::__private::failed()),
    };
    let doc = format!(
        "All functions as one program: {}.",
        names.iter().map(|n| format!("[`{n}`]")).collect::<Vec<_>>().join(", ")
    );
    let (problems, doc) = (diag.tokens(), format!("{doc} `{default}` runs when none is named."));
    quote!(#problems #[doc = #doc] pub fn program() -> #ty { #body })
}

/// What is left of something that `syn` cannot read: the problem; a function of that name, so that its callers see no problem
/// of their own; and for the IDE the thing itself, whose names are real.
pub(crate) fn unreadable(error: syn::Error, item: TokenStream) -> TokenStream {
    let mut diag = Diagnostics::default();
    diag.syntax(error);
    let problems = diag.tokens();
    let mut after_fn = item.clone().into_iter().skip_while(|t| t.to_string() != "fn").skip(1);
    let stand_in = match after_fn.next() {
        Some(proc_macro2::TokenTree::Ident(name)) => quote! {
            #[allow(dead_code)]
            pub(crate) fn #name() -> ::mil::Program<fn() -> ::mil::__private::Unknown> { ::mil::__private::failed() }
        },
        _ => quote!(),
    };
    quote! {
        #problems
        #stand_in
        #[allow(unexpected_cfgs)]
        const _: () = {
            #[cfg(rust_analyzer)]
            #item
        };
    }
}

fn emit(item: &ProgramItem, attr: &ProgramAttr, lowering: Lowering) -> TokenStream {
    let (others, _) = item.split_attrs();
    let (vis, ident) = (&item.vis, &item.ident);
    let ty = program_type(&lowering);
    let problems = lowering.diag.tokens();
    let body = body(attr, &lowering);
    let shadow = shadow(attr, &lowering);
    let doc = lower::document(&lowering);
    quote! {
        #problems
        #(#others)*
        #[doc = ""]
        #[doc = #doc]
        #vis fn #ident() -> #ty { #body }
        #shadow
    }
}

/// The function's body: the encoded program, or nothing that runs if there are problems.
fn body(attr: &ProgramAttr, lowering: &Lowering) -> TokenStream {
    let Some(program) = &lowering.program else { return quote!(::mil::__private::failed()) };
    let bytes = match embed::to_bytes(program) {
        Ok(bytes) => Literal::byte_string(&bytes),
        Err(message) => {
            let message = format!("the program cannot be encoded: {message}");
            return quote!(::core::compile_error!(#message));
        }
    };
    let weights = embed::weights(attr, lowering);
    quote!(::mil::__private::program(#bytes, #weights))
}

fn shadow(attr: &ProgramAttr, lowering: &Lowering) -> TokenStream {
    let (items, ops) = (&lowering.shadow, &lowering.op_paths);
    // Empty where a compiler runs us: it would drop the shadow.
    let guard = if attr.check_shadow { quote!() } else { quote!(#[cfg(rust_analyzer)]) };
    quote! {
        #[allow(unused, unexpected_cfgs, non_upper_case_globals, non_snake_case, clippy::all, missing_docs)]
        const _: () = {
            // The ops that the source names: its imports are used.
            #(use #ops as _;)*
            #guard
            const _: () = { #items };
        };
    }
}

/// `Program<fn(Tensor<f32, 2>) -> Tensor<f32, 2>>`.
fn program_type(lowering: &Lowering) -> TokenStream {
    let signature = signature(lowering);
    quote!(::mil::Program<#signature>)
}

/// `fn(Tensor<f32, 2>, &mut State<f16, 2>) -> Tensor<f32, 2>`.
fn signature(lowering: &Lowering) -> TokenStream {
    let unknown = quote!(::mil::__private::Unknown);
    let inputs = lowering.inputs.iter().map(|input| match (&input.ty, input.state) {
        (None, _) => unknown.clone(),
        (Some(t), false) => tensor("Tensor", t),
        (Some(t), true) => {
            let state = tensor("State", t);
            quote!(&mut #state)
        }
    });
    let output = match &lowering.output {
        Output::Unknown => unknown.clone(),
        Output::Single(t) => value(t),
        Output::Tuple(all) => {
            let all = all.iter().map(value);
            quote!((#(#all,)*))
        }
    };
    quote!(fn(#(#inputs),*) -> #output)
}

/// What an output is.
fn value(ty: &Type) -> TokenStream {
    match ty {
        Type::Tensor(t) if t.rank() == 0 && t.dtype == DType::String => quote!(::mil::Label),
        Type::Tensor(t) => tensor("Tensor", t),
        Type::Dictionary(..) => quote!(::mil::Dictionary),
        _ => quote!(::mil::__private::Unknown),
    }
}

fn tensor(word: &str, t: &TensorType) -> TokenStream {
    if t.rank() > 5 {
        return quote!(::mil::__private::Unknown);
    }
    let dtype = dtype_tokens(t.dtype);
    let dims = t.shape.iter().map(|d| match d.fixed() {
        Some(n) => Literal::usize_unsuffixed(n).into_token_stream(),
        None => quote!({ ::mil::DYN }),
    });
    let word = Ident::new(word, proc_macro2::Span::call_site());
    quote!(::mil::#word<#dtype #(, #dims)*>)
}
