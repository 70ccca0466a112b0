//! Functions that the macro can see: inlined where they are called.

use quote::quote;
use syn::{Expr, ExprCall, FnArg, Pat, Path};

use super::{Lower, Lowered};
use crate::shadow::restate;
use crate::{diag::Place, suggest, value::Val};

/// Deeper calls than this are taken for endless ones.
const MAX_DEPTH: usize = 64;

impl<'a> Lower<'a> {
    pub(super) fn helper_call(&mut self, call: &'a ExprCall, path: &'a Path, hint: Option<&str>) -> Lowered {
        let args: Vec<(&Expr, Lowered)> = call.args.iter().map(|a| (a, self.expr(a, None))).collect();
        let name = path.get_ident().map(|i| i.to_string()).unwrap_or_default();
        let used: Vec<_> = args.iter().map(|(_, l)| l.shadow.clone()).collect();
        let Some(helper) = self.env.helper(&name) else {
            let message = if mil_core::ops::find(&name).is_some() {
                format!("an op is called as `mb::{name}(..)`")
            } else {
                let near = suggest::hint(&name, self.env.helper_names());
                let advice = "; a program calls ops (`mb::..`) and functions written inside it, since macros see no others: \
                              move the function in, or build the graph in plain Rust with `mil::graph::Graph`";
                let advice = if near.is_empty() { advice } else { &near };
                format!("`{}` is no function of this program{advice}", quote!(#path).to_string().replace(' ', ""))
            };
            let val = self.error(path, message);
            return Lowered { shadow: self.constant_shadow(&val, &used.iter().collect::<Vec<_>>()), val };
        };
        let poison = |lower: &Self| {
            let val = Val::Poison;
            Lowered { shadow: lower.constant_shadow(&val, &used.iter().collect::<Vec<_>>()), val }
        };
        if self.calls.contains(&name) || self.calls.len() >= MAX_DEPTH {
            self.error(path, format!("`{name}` calls itself, and would be inlined without end"));
            return poison(self);
        }
        if let Some(word) = unsupported(helper) {
            self.error_at(word.0, word.1);
            return poison(self);
        }
        let params: Vec<&'a FnArg> = helper.sig.inputs.iter().collect();
        if params.len() != args.len() {
            let message = format!("`{name}` takes {} arguments, found {}", params.len(), args.len());
            self.error(call, message);
            return poison(self);
        }
        let mut bound = vec![];
        for (param, (arg, lowered)) in params.iter().zip(args) {
            let FnArg::Typed(p) = param else { continue }; // `self` has been refused
            let val = match self.read_type(&p.ty) {
                Some(written) => self.ascribe(lowered.val, &written, Place::of(arg), Place::of(arg)),
                None => Val::Poison,
            };
            bound.push((&*p.pat, val));
        }
        let header: Vec<_> = bound
            .iter()
            .map(|(pat, val)| {
                let ty = self.shadow.ty(val);
                let pat = match pat {
                    Pat::Ident(p) => {
                        let ident = &p.ident;
                        restate!(self, #ident)
                    }
                    _ => restate!(self, _),
                };
                restate!(self, #pat: #ty)
            })
            .collect();
        self.calls.push(name.clone());
        self.env.open_function();
        for (pat, val) in bound {
            self.bind(pat, val);
        }
        let mut body = self.block(&helper.block, hint);
        self.env.close();
        self.calls.pop();
        if let syn::ReturnType::Type(_, ty) = &helper.sig.output {
            body.val = match self.read_type(ty) {
                Some(written) => self.ascribe(body.val, &written, Place::of(&helper.block), Place::of(ty)),
                None => Val::Poison,
            };
        }
        let ident = &path.segments[0].ident;
        self.shadow.helper(&helper.sig.ident, &header, &body.shadow);
        let any = self.shadow.any(&body.val);
        Lowered { shadow: restate!(self, { let _ = Self::#ident; let _ = (#(#used,)*); #any }), val: body.val }
    }
}

/// What a helper cannot have.
fn unsupported(f: &syn::ItemFn) -> Option<(Place, &'static str)> {
    if !f.sig.generics.params.is_empty() {
        return Some((
            Place::of(&f.sig.generics),
            "a function of a program has no generic parameters: leave types open as `x: Tensor`",
        ));
    }
    if let Some(FnArg::Receiver(r)) = f.sig.inputs.first() {
        return Some((Place::of(r), "a function of a program has no `self`"));
    }
    let word = f.sig.asyncness.as_ref().map(Place::of).or(f.sig.unsafety.as_ref().map(Place::of));
    word.map(|place| (place, "a function of a program is a plain `fn`"))
}
