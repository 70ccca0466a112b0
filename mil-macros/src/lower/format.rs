//! `format!` at compile time: `format!("h.{i}")`, `format!("{}.{}", a, b)`.

use mil_core::ir::Literal;
use proc_macro2::Span;
use quote::quote;
use syn::{
    Expr, ExprCall, Lit, Token,
    parse::{Parse, ParseStream, Parser},
    punctuated::Punctuated,
    visit_mut::{self, VisitMut},
};

use super::{Lower, Lowered};
use crate::value::{Const, Val};

/// What `format!(..)` is called once its arguments are part of the syntax tree.
pub(super) const FORMAT: &str = "__mil_format";

/// Parses the arguments of every `format!`, which are mere tokens to `syn`.
pub(crate) struct ParseFormats<'d>(pub(crate) &'d mut crate::diag::Diagnostics);

impl VisitMut for ParseFormats<'_> {
    fn visit_expr_mut(&mut self, e: &mut Expr) {
        if let Expr::Macro(m) = e
            && let Some(call) = self.call(&m.mac)
        {
            *e = call;
        }
        visit_mut::visit_expr_mut(self, e);
    }

    fn visit_stmt_mut(&mut self, stmt: &mut syn::Stmt) {
        if let syn::Stmt::Macro(m) = stmt
            && let Some(call) = self.call(&m.mac)
        {
            *stmt = syn::Stmt::Expr(call, m.semi_token);
        }
        visit_mut::visit_stmt_mut(self, stmt);
    }
}

impl ParseFormats<'_> {
    fn call(&mut self, mac: &syn::Macro) -> Option<Expr> {
        if !mac.path.is_ident("format") {
            return None;
        }
        let args = |input: ParseStream<'_>| Punctuated::<Expr, Token![,]>::parse_terminated_with(input, Expr::parse);
        let args = match args.parse2(mac.tokens.clone()) {
            Ok(args) => args,
            Err(e) => {
                self.0.syntax(e);
                return None;
            }
        };
        let name = syn::Ident::new(FORMAT, mac.path.segments.first().map_or_else(Span::call_site, |s| s.ident.span()));
        syn::parse2(quote!(#name(#args))).ok()
    }
}

impl<'a> Lower<'a> {
    pub(super) fn format(&mut self, call: &'a ExprCall) -> Lowered {
        let val = self.formatted(call);
        Lowered { shadow: self.shadow.any(&val), val }
    }

    fn formatted(&mut self, call: &'a ExprCall) -> Val {
        let mut args = call.args.iter();
        let Some(Expr::Lit(syn::ExprLit { lit: Lit::Str(text), .. })) = args.next() else {
            return self.error(call, "expected `format!(\"..\", ..)`");
        };
        let (mut positional, mut named) = (vec![], vec![]);
        for arg in args {
            match arg {
                Expr::Assign(a) => match &*a.left {
                    Expr::Path(p) if p.path.get_ident().is_some() => {
                        let value = self.expr(&a.right, None).val;
                        named.push((p.path.segments[0].ident.to_string(), value));
                    }
                    other => return self.error(other, "expected a name"),
                },
                arg => positional.push(self.expr(arg, None).val),
            }
        }
        let template = text.value();
        let (mut out, mut rest, mut next) = (String::new(), &template[..], 0);
        while let Some(at) = rest.find(['{', '}']) {
            out.push_str(&rest[..at]);
            let brace = &rest[at..=at];
            rest = &rest[at + 1..];
            if rest.starts_with(brace) {
                out.push_str(brace);
                rest = &rest[1..];
                continue;
            }
            let Some((key, after)) = rest.split_once('}').filter(|_| brace == "{") else {
                return self.error(text, "a brace has no partner");
            };
            rest = after;
            let value = if key.is_empty() {
                next += 1;
                positional.get(next - 1).cloned()
            } else if let Ok(i) = key.parse::<usize>() {
                positional.get(i).cloned()
            } else if let Some((_, v)) = named.iter().find(|(n, _)| n == key) {
                Some(v.clone())
            } else if syn::parse_str::<syn::Ident>(key).is_ok() {
                let ident = syn::Ident::new(key, text.span());
                match self.env.find(key) {
                    Some(id) => Some(self.env.get(id).clone()),
                    None => return self.unknown_name(Some(&ident)),
                }
            } else {
                return self
                    .error(text, format!("`{{{key}}}`: only plain `{{}}`, `{{0}}` and `{{name}}` are supported here"));
            };
            match value.as_ref().map(|v| (v, print(v))) {
                Some((_, Some(v))) => out.push_str(&v),
                Some((Val::Poison, _)) => return Val::Poison,
                Some((v, None)) => {
                    return self.error(text, format!("`{{{key}}}` is no constant number or text: {}", v.describe()));
                }
                None => return self.error(text, format!("there is no argument for `{{{key}}}`")),
            }
        }
        out.push_str(rest);
        Const::text(out)
    }
}

fn print(val: &Val) -> Option<String> {
    match val {
        Val::Const(Const { literal: Literal::Str(s), .. }) => Some(s.clone()),
        Val::Const(Const { literal, .. }) => Some(literal.to_string()),
        _ => None,
    }
}
