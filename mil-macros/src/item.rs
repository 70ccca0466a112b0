//! What the macros are given: functions whose parameters may have no type.

use proc_macro2::TokenStream;
use quote::quote;
use syn::ext::IdentExt as _;
use syn::{
    Attribute, Block, Ident, LitStr, Pat, Result, ReturnType, Token, Type, Visibility, parenthesized,
    parse::{Parse, ParseStream},
    punctuated::Punctuated,
};

use crate::lower::ImageAttr;

/// One parameter.
pub(crate) struct ParamItem {
    /// `#[weight("a.b")]`.
    pub(crate) weight: Option<LitStr>,
    /// `#[image(RGB, ..)]`.
    pub(crate) image: Option<ImageAttr>,
    /// `#[default(0.5)]`.
    pub(crate) default: Option<syn::Expr>,
    /// Attributes that a parameter cannot have.
    pub(crate) others: Vec<Attribute>,
    pub(crate) mutable: bool,
    pub(crate) ident: Ident,
    /// `None`: untyped, or `_`.
    pub(crate) ty: Option<Type>,
}

/// One program as it is written.
pub(crate) struct ProgramItem {
    pub(crate) attrs: Vec<Attribute>,
    pub(crate) vis: Visibility,
    pub(crate) ident: Ident,
    pub(crate) params: Vec<ParamItem>,
    pub(crate) output: ReturnType,
    pub(crate) body: Block,
}

impl Parse for ParamItem {
    fn parse(input: ParseStream<'_>) -> Result<ParamItem> {
        let attrs = input.call(Attribute::parse_outer)?;
        if input.peek(Token![self]) || input.peek(Token![&]) {
            return Err(input.error("a program is a free function: its parameters are the model's inputs and weights"));
        }
        let mutable = input.parse::<Option<Token![mut]>>()?.is_some();
        let ident = input.parse()?;
        let ty = input.parse::<Option<Token![:]>>()?.map(|_| input.parse()).transpose()?;
        let ty = ty.filter(|t| !matches!(t, Type::Infer(_)));
        ParamItem::new(attrs, mutable, ident, ty)
    }
}

impl ParamItem {
    fn new(attrs: Vec<Attribute>, mutable: bool, ident: Ident, ty: Option<Type>) -> Result<ParamItem> {
        let mut param = ParamItem { weight: None, image: None, default: None, others: vec![], mutable, ident, ty };
        for attr in attrs {
            if attr.path().is_ident("weight") {
                param.weight = Some(attr.parse_args()?);
            } else if attr.path().is_ident("image") {
                param.image = Some(ImageAttr::parse(&attr)?);
            } else if attr.path().is_ident("default") {
                param.default = Some(attr.parse_args()?);
            } else if !attr.path().is_ident("doc") {
                param.others.push(attr);
            }
        }
        Ok(param)
    }
}

impl Parse for ProgramItem {
    fn parse(input: ParseStream<'_>) -> Result<ProgramItem> {
        let attrs = input.call(Attribute::parse_outer)?;
        let vis = input.parse()?;
        for word in ["async", "unsafe", "const", "extern"] {
            if input.peek(syn::Ident::peek_any) && input.fork().call(syn::Ident::parse_any)? == word {
                return Err(input.error(format!("a program is a plain `fn`, not `{word}`")));
            }
        }
        if !input.peek(Token![fn]) {
            return Err(
                input.error("expected a function, an inline module or, in `mil!`, a closure: `|x: Tensor<f32, 4>| ..`")
            );
        }
        input.parse::<Token![fn]>()?;
        let ident = input.parse()?;
        if input.peek(Token![<]) {
            let message =
                "a program has no generic parameters; declare sizes in the attribute: `#[mil_program(H in 64..=512)]`";
            return Err(input.error(message));
        }
        let list;
        parenthesized!(list in input);
        let params = Punctuated::<ParamItem, Token![,]>::parse_terminated(&list)?;
        let output = input.parse()?;
        if input.peek(Token![where]) {
            return Err(input.error("a program has no `where` clause"));
        }
        let body = input.parse()?;
        Ok(ProgramItem { attrs, vis, ident, params: params.into_iter().collect(), output, body })
    }
}

impl ProgramItem {
    /// From a function of a module.
    ///
    /// # Errors
    /// If it has what a program cannot have.
    pub(crate) fn from_fn(f: &syn::ItemFn) -> Result<ProgramItem> {
        syn::parse2(quote!(#f))
    }

    /// From a closure: `|x: Tensor<f32, 4>| x * 2.0`.
    ///
    /// # Errors
    /// If it has what a program cannot have.
    pub(crate) fn from_closure(c: &syn::ExprClosure) -> Result<ProgramItem> {
        if let Some(word) = c.asyncness.as_ref().map(|t| quote!(#t)).or(c.capture.as_ref().map(|t| quote!(#t))) {
            return Err(syn::Error::new_spanned(word, "a program is a plain closure: `|x: Tensor<f32, 4>| ..`"));
        }
        let mut params = vec![];
        for input in &c.inputs {
            let (pat, ty) = match input {
                Pat::Type(p) => (&*p.pat, Some((*p.ty).clone())),
                other => (other, None),
            };
            let Pat::Ident(name) = pat else {
                return Err(syn::Error::new_spanned(pat, "expected a name"));
            };
            let attrs = match input {
                Pat::Type(p) => [&p.attrs[..], &name.attrs[..]].concat(),
                _ => name.attrs.clone(),
            };
            let ty = ty.filter(|t| !matches!(t, Type::Infer(_)));
            params.push(ParamItem::new(attrs, name.mutability.is_some(), name.ident.clone(), ty)?);
        }
        let body = match &*c.body {
            syn::Expr::Block(b) if b.label.is_none() && b.attrs.is_empty() => b.block.clone(),
            body => syn::parse2(quote!({ #body }))?,
        };
        Ok(ProgramItem {
            attrs: c.attrs.clone(),
            vis: Visibility::Inherited,
            ident: Ident::new("program", proc_macro2::Span::mixed_site()),
            params,
            output: c.output.clone(),
            body,
        })
    }

    /// The attributes that are not ours, to put on what is emitted; and the arguments of ours, if it is there
    /// (inside `mil!{}` nobody has taken it away).
    pub(crate) fn split_attrs(&self) -> (Vec<&Attribute>, Vec<TokenStream>) {
        let (ours, others): (Vec<_>, Vec<_>) = self.attrs.iter().partition(|a| is_ours(a));
        let arguments = ours.into_iter().map(|a| match &a.meta {
            syn::Meta::List(list) => list.tokens.clone(),
            _ => TokenStream::new(),
        });
        (others, arguments.collect())
    }
}

/// Whether this is `#[mil_program]`.
pub(crate) fn is_ours(attr: &Attribute) -> bool {
    attr.path().segments.last().is_some_and(|s| s.ident == "mil_program")
}
