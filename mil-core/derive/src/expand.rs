//! What follows from an op's struct.

use proc_macro2::TokenStream;
use quote::{format_ident, quote};
use syn::Ident;

use crate::{
    dtypes::ident,
    model::{Model, ParamModel},
};

pub(crate) fn expand(op: &Model<'_>) -> TokenStream {
    let calls = if op.constructor { calls(op) } else { TokenStream::new() };
    let implementation = implementation(op);
    quote!(#calls #implementation)
}

/// The constructor and the setters.
fn calls(op: &Model<'_>) -> TokenStream {
    let (ty, docs) = (op.ident, &op.docs);
    let name = match &op.name[..] {
        "mod" | "const" => format_ident!("{}_", op.name, span = ty.span()),
        name => Ident::new(name, ty.span()),
    };
    let required: Vec<&Ident> = op.params.iter().filter(|p| p.required()).map(|p| p.ident).collect();
    let names = required.iter().map(|i| i.to_string());
    let setters = op.params.iter().filter(|p| !p.required()).map(|p| {
        let (id, docs, text) = (p.ident, &p.docs, p.ident.to_string());
        quote!(#(#docs)* pub fn #id(self, value: impl Into<crate::op::Operand>) -> Self { self.with(#text, value) })
    });
    quote! {
        #(#docs)*
        #[allow(clippy::too_many_arguments)]
        pub fn #name(#(#required: impl Into<crate::op::Operand>),*) -> crate::op::Call<#ty> {
            crate::op::Call::new(vec![#((#names, #required.into())),*])
        }

        impl crate::op::Call<#ty> { #(#setters)* }
    }
}

fn implementation(op: &Model<'_>) -> TokenStream {
    let (ty, name, doc, since, blocks) = (op.ident, &op.name, &op.doc, &op.since, op.blocks);
    let params = op.params.iter().map(|p| param(p, op));
    let outputs = match op.outputs {
        Some(n) => quote!(crate::op::Outputs::Fixed(#n)),
        None => quote!(crate::op::Outputs::Variadic),
    };
    let value = quote!(crate::graph::Value);
    let given = match op.outputs {
        Some(1) => value,
        Some(2) => quote!((#value, #value)),
        Some(3) => quote!((#value, #value, #value)),
        _ => quote!(::std::vec::Vec<#value>),
    };
    // Required ones first: a default may use any of them, wherever it stands in the struct.
    let (required, others): (Vec<_>, Vec<_>) = op.params.iter().enumerate().partition(|(_, p)| p.required());
    let bind = required.into_iter().chain(others).map(|(index, p)| bind(index, p));
    let fields = op.params.iter().map(|p| p.ident);
    let forms = op.form.iter().flat_map(|f| f.steps());
    let forms = forms.map(|(since, form)| quote!((crate::types::Opset::#since, crate::op::Form::#form)));
    let materialize = match op.form {
        Some(_) => quote!(::core::option::Option::Some(
            |args| crate::op::Materialize::materialize(&<#ty as crate::op::Op>::bind(args)?)
        )),
        None => quote!(::core::option::Option::None),
    };
    let defaults = op.params.iter().filter(|p| p.default.is_some()).map(|p| {
        let (id, text) = (p.ident, p.ident.to_string());
        quote!(crate::op::Param::literal(&self.#id).map(|l| (#text, l)))
    });
    quote! {
        impl crate::op::Op for #ty {
            const DEF: &'static crate::op::OpDef = &crate::op::OpDef {
                name: #name,
                doc: #doc,
                since: crate::types::Opset::#since,
                params: &[#(#params),*],
                outputs: #outputs,
                blocks: #blocks,
                forms: &[#(#forms),*],
                materialize_fn: #materialize,
                infer_fn: |args, cx| crate::op::Infer::infer(&<#ty as crate::op::Op>::bind(args)?, cx),
                defaults_fn: |args| Ok(crate::op::Op::defaults(&<#ty as crate::op::Op>::bind(args)?)),
            };

            type Outputs = #given;

            #[allow(unused_variables, clippy::let_unit_value)]
            fn bind(args: &crate::op::Args) -> ::core::result::Result<Self, crate::op::OpError> {
                #(#bind)*
                Ok(#ty { #(#fields),* })
            }

            fn defaults(&self) -> ::std::vec::Vec<(&'static str, crate::ir::Literal)> {
                let all: &[::core::option::Option<(&'static str, crate::ir::Literal)>] = &[#(#defaults),*];
                all.iter().flatten().cloned().collect()
            }
        }
    }
}

fn param(p: &ParamModel<'_>, op: &Model<'_>) -> TokenStream {
    let (name, doc, ty) = (p.ident.to_string(), &p.doc, p.ty);
    let (required, has_default) = (p.required(), p.default.is_some());
    let since = p.since.clone().unwrap_or_else(|| ident("iOS15"));
    let until = match &p.until {
        Some(until) => quote!(::core::option::Option::Some(crate::types::Opset::#until)),
        None => quote!(::core::option::Option::None),
    };
    let (needed, in_place) = (p.needed, p.in_place);
    let dtypes = p.rule.as_ref().map_or(quote!(&[]), |r| r.tokens(&op.domains));
    let start = quote!(crate::types::Opset::iOS15);
    let constant = match &p.constant {
        Some(None) => quote!(&[(#start, true)]),
        Some(Some(until)) => quote!(&[(#start, true), (crate::types::Opset::#until, false)]),
        None => quote!(&[(#start, <#ty as crate::op::Param>::KIND.is_read())]),
    };
    quote!(crate::op::ParamDef {
        name: #name,
        doc: #doc,
        kind: <#ty as crate::op::Param>::KIND,
        required: #required,
        has_default: #has_default,
        since: crate::types::Opset::#since,
        until: #until,
        needed: #needed,
        in_place: #in_place,
        constant: #constant,
        dtypes: #dtypes,
    })
}

fn bind(index: usize, p: &ParamModel<'_>) -> TokenStream {
    let (id, ty, name) = (p.ident, p.ty, p.ident.to_string());
    let given = quote!(<#ty as crate::op::Param>::from_args(#name, given)?);
    let missing = match &p.default {
        Some(default) => quote!(#default),
        None if p.optional => quote!(::core::option::Option::None),
        None => quote!(return Err(crate::op::OpError::at(#name, concat!("`", #name, "` is missing")))),
    };
    let given = if p.optional { quote!(::core::option::Option::Some(#given)) } else { given };
    quote! {
        let #id = match args.get(#index) {
            ::core::option::Option::Some(given) => #given,
            ::core::option::Option::None => #missing,
        };
    }
}
