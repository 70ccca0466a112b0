//! The shadow: the body restated in terms of the public API, with every `let` annotated with the inferred type and every
//! identifier carrying the user's span.
//!
//! It is never called and rustc never sees it; rust-analyzer, which sets `cfg(rust_analyzer)`, shows it: hover, completion,
//! go to definition, and the inferred shapes as inlay hints. That a stale shadow can do no harm to a build is the reason for
//! showing it to rust-analyzer only.

use std::collections::BTreeSet;

use mil_core::{
    ir::Literal,
    types::{DType, Dim, TensorType, Type},
};
use proc_macro2::{Ident, Span, TokenStream};
use quote::{format_ident, quote};

use crate::value::{Const, Val};

/// `quote!`, if there is a shadow to write.
macro_rules! restate {
    ($lower:ident, $($tokens:tt)*) => {
        if $lower.shadow.on { quote!($($tokens)*) } else { proc_macro2::TokenStream::new() }
    };
}
pub(crate) use restate;

/// Whether a compiler runs the macro, which would read the shadow only to drop it. Whoever is not known to be one gets it.
pub(crate) fn compiler_runs_us() -> bool {
    let exe = std::env::current_exe().ok();
    let name = exe.as_deref().and_then(|p| p.file_stem()).and_then(|n| n.to_str());
    matches!(name, Some("rustc" | "clippy-driver" | "rustdoc"))
}

/// The parts of the shadow that are collected on the way.
pub(crate) struct Shadow {
    /// Whether it is written at all: tokens cost more than all the rest of lowering.
    pub(crate) on: bool,
    /// Flexible dimensions: const parameters of the shadow.
    dims: std::cell::RefCell<BTreeSet<String>>,
    params: TokenStream,
    items: TokenStream,
    item_names: BTreeSet<String>,
    helpers: TokenStream,
    helper_names: BTreeSet<String>,
}

impl Shadow {
    pub(crate) fn new(on: bool) -> Shadow {
        Shadow {
            on,
            dims: Default::default(),
            params: TokenStream::new(),
            items: TokenStream::new(),
            item_names: BTreeSet::new(),
            helpers: TokenStream::new(),
            helper_names: BTreeSet::new(),
        }
    }

    /// The type that the IDE shows for a value.
    pub(crate) fn ty(&self, val: &Val) -> TokenStream {
        if !self.on {
            return TokenStream::new();
        }
        match val {
            Val::Value(v) => match v.ty() {
                Type::Tensor(t) => self.tensor("Tensor", t),
                _ => quote!(::mil::__private::Unknown),
            },
            Val::Weight(w) => self.tensor("Weight", &w.ty()),
            Val::State(_) => quote!(::mil::__private::Unknown),
            Val::Weights(_) => quote!(::mil::Weights),
            Val::Const(Const { literal, .. }) => match literal {
                Literal::Bool(_) => quote!(bool),
                Literal::Int(_) | Literal::List(_) => quote!(i64),
                Literal::Float(_) => quote!(f64),
                Literal::Str(_) => quote!(&'static str),
            },
            Val::List(_) => quote!(::mil::__private::List),
            Val::Tuple(items) => {
                let all = items.iter().map(|v| self.ty(v));
                quote!((#(#all,)*))
            }
            Val::Unit => quote!(()),
            Val::Poison => quote!(::mil::__private::Unknown),
        }
    }

    fn tensor(&self, word: &str, t: &TensorType) -> TokenStream {
        if t.rank() > 5 {
            return quote!(::mil::__private::Unknown);
        }
        let (rank, word) = (format_ident!("r{}", t.rank()), format_ident!("{word}"));
        let dtype = dtype_tokens(t.dtype);
        let dims = t.shape.iter().map(|d| self.dim(d));
        quote!(::mil::__shape::#rank::#word<#dtype #(, #dims)*>)
    }

    fn dim(&self, d: &Dim) -> TokenStream {
        match d.fixed() {
            Some(n) => {
                let n = proc_macro2::Literal::usize_unsuffixed(n);
                quote!(#n)
            }
            None => {
                let name = dim_name(d);
                let ident = Ident::new(&name, Span::call_site());
                self.dims.borrow_mut().insert(name);
                quote!(#ident)
            }
        }
    }

    /// A value of the type, from nowhere.
    pub(crate) fn any(&self, val: &Val) -> TokenStream {
        if !self.on {
            return TokenStream::new();
        }
        let ty = self.ty(val);
        quote!(::mil::__private::any::<#ty>())
    }

    /// The value of a call.
    pub(crate) fn of(&self, val: &Val, call: &TokenStream) -> TokenStream {
        if !self.on {
            return TokenStream::new();
        }
        let ty = self.ty(val);
        quote!(::mil::__private::of::<_, #ty>(#call))
    }

    pub(crate) fn param(&mut self, ident: &Ident, ty: TokenStream) {
        if !self.on {
            return;
        }
        self.params.extend(quote!(#ident: #ty,));
    }

    /// A `const` of the program.
    pub(crate) fn item(&mut self, ident: &Ident, item: TokenStream) {
        if self.on && self.item_names.insert(ident.to_string()) {
            self.items.extend(item);
        }
    }

    /// A function of the program, as it was first inlined.
    pub(crate) fn helper(&mut self, ident: &Ident, params: &[TokenStream], body: &TokenStream) {
        if self.on && self.helper_names.insert(ident.to_string()) {
            self.helpers.extend(quote!(fn #ident(#(#params),*) { #body; }));
        }
    }

    /// The items, for a `const _` block.
    pub(crate) fn finish(self, body: &TokenStream) -> TokenStream {
        if !self.on {
            return TokenStream::new();
        }
        let dims = self.dims.into_inner();
        let names: Vec<Ident> = dims.iter().map(|d| Ident::new(d, Span::call_site())).collect();
        let (params, items, helpers) = (self.params, self.items, self.helpers);
        // The names are not the user's: hover on the user's function must not show two.
        quote! {
            use ::mil::prelude::*;
            #items
            struct Shadow<#(const #names: usize),*>;
            impl<#(const #names: usize),*> Shadow<#(#names),*> {
                #helpers
                fn shadow(#params) { let _ = { #body }; }
            }
        }
    }
}

/// An identifier for a flexible dimension: `H`, `H_div_2`.
fn dim_name(d: &Dim) -> String {
    let text = d.to_string();
    if text.contains('?') {
        return "ANY".into();
    }
    let mut name = String::new();
    for word in text.split_whitespace() {
        match word {
            "+" => name.push_str("_plus_"),
            "-" => name.push_str("_minus_"),
            "*" => name.push_str("_times_"),
            "/" => name.push_str("_div_"),
            other => name.extend(other.chars().filter(|c| c.is_alphanumeric() || *c == '_')),
        }
    }
    if name.starts_with(|c: char| c.is_ascii_digit()) || name.is_empty() {
        name.insert_str(0, "D_");
    }
    name
}

/// The Rust type of an element.
pub(crate) fn dtype_tokens(dtype: DType) -> TokenStream {
    match dtype {
        DType::F16 => quote!(::mil::f16),
        DType::String => quote!(::std::string::String),
        d if d.is_sub_byte() || matches!(d, DType::BF16 | DType::F8E4M3FN | DType::F8E5M2) => {
            quote!(::mil::__private::Unknown)
        }
        d => {
            let ident = Ident::new(d.rust_name(), Span::call_site());
            quote!(#ident)
        }
    }
}

/// The function in `mb` of an op.
pub(crate) fn op_ident(name: &str, span: Span) -> Ident {
    match name {
        "mod" => Ident::new("mod_", span),
        other => Ident::new(other, span),
    }
}
