//! `#[mil_program]` and `mil!{}`: Rust functions that become Core ML programs while they compile.
//!
//! The user's documentation is at `mil`, which re-exports both. Here tokens become a `mil_core` graph; every rule about ops,
//! types and shapes is `mil-core`'s. This is the only crate that knows `syn`.

mod attr;
mod diag;
mod embed;
mod env;
mod expand;
mod item;
mod lower;
mod shadow;
mod sig;
mod suggest;
mod value;
mod weights;

use proc_macro::TokenStream;
use syn::parse::{ParseStream, Parser};

#[allow(missing_docs)] // documented where `mil` re-exports it
#[proc_macro_attribute]
pub fn mil_program(args: TokenStream, item: TokenStream) -> TokenStream {
    let (args, item): (proc_macro2::TokenStream, proc_macro2::TokenStream) = (args.into(), item.into());
    if let Ok(module) = syn::parse2::<syn::ItemMod>(item.clone()) {
        return expand::module(module, args).into();
    }
    match syn::parse2(item.clone()) {
        Ok(function) => expand::function(function, args).into(),
        Err(e) => expand::unreadable(e, item).into(),
    }
}

#[allow(missing_docs)] // documented where `mil` re-exports it
#[proc_macro]
pub fn mil(input: TokenStream) -> TokenStream {
    let input: proc_macro2::TokenStream = input.into();
    let expanded = expand_mil.parse2(input);
    expanded.unwrap_or_else(|e| e.to_compile_error()).into()
}

/// A closure, or any number of functions and modules.
fn expand_mil(input: ParseStream<'_>) -> syn::Result<proc_macro2::TokenStream> {
    let ahead = input.fork();
    ahead.call(syn::Attribute::parse_outer)?;
    if ahead.peek(syn::Token![|]) || ahead.peek(syn::Token![||]) || ahead.peek(syn::Token![move]) {
        let expr: syn::Expr = input.parse()?;
        let syn::Expr::Closure(closure) = expr else {
            return Err(syn::Error::new_spanned(expr, "expected a closure, such as `|x: Tensor<f32, 4>| x * 2.0`"));
        };
        return item::ProgramItem::from_closure(&closure).map(expand::closure);
    }
    let mut expanded = proc_macro2::TokenStream::new();
    while !input.is_empty() {
        let ahead = input.fork();
        ahead.call(syn::Attribute::parse_outer)?;
        ahead.parse::<syn::Visibility>()?;
        if ahead.peek(syn::Token![mod]) {
            let module: syn::ItemMod = input.parse()?;
            let ours = module.attrs.iter().find(|a| item::is_ours(a));
            let args = match ours.map(|a| &a.meta) {
                Some(syn::Meta::List(list)) => list.tokens.clone(),
                _ => proc_macro2::TokenStream::new(),
            };
            expanded.extend(expand::module(module, args));
        } else {
            expanded.extend(expand::bare_function(input.parse()?));
        }
    }
    Ok(expanded)
}
