//! `w["name"]`, `parts[0]`, `pair.0`.

use mil_core::ir::Literal;
use proc_macro2::TokenStream;
use quote::quote;

use super::{Lower, Lowered};
use crate::shadow::restate;
use crate::value::{Const, Val};
use std::rc::Rc;

impl<'a> Lower<'a> {
    pub(super) fn index(&mut self, i: &'a syn::ExprIndex) -> Lowered {
        let (base, key) = (self.expr(&i.expr, None), self.expr(&i.index, None));
        let val = match (base.val, &key.val) {
            (Val::Poison, _) | (_, Val::Poison) => Val::Poison,
            (Val::Weights(prefix), Val::Const(Const { literal: Literal::Str(name), .. })) => {
                let full = if prefix.is_empty() { name.clone() } else { format!("{prefix}.{name}") };
                match self.weights.as_ref().map(|f| f.weight(&full)) {
                    Some(Ok(w)) => Val::Weight(Rc::new(w)),
                    Some(Err(message)) => self.error(&i.index, message),
                    None => Val::Poison, // said at the parameter
                }
            }
            (Val::Weights(_), found) => {
                self.error(&i.index, format!("a weight is taken by its name, found {}", found.describe()))
            }
            (Val::List(items) | Val::Tuple(items), index) => match index.as_int() {
                Some(n) => match usize::try_from(n).ok().and_then(|n| items.get(n)) {
                    Some(v) => v.clone(),
                    None => self.error(&i.index, format!("there is no element {n}: the list has {}", items.len())),
                },
                None => self.error(&i.index, format!("expected a constant index, found {}", index.describe())),
            },
            (Val::Value(_), _) => {
                self.error(i, "a tensor is not indexed; use `mb::slice_by_index`, `mb::slice_by_size` or `mb::gather`")
            }
            (Val::State(_), _) => self.error(&i.expr, "this is a state, not a tensor: read it with `*`"),
            (found, _) => self.error(&i.expr, format!("{} cannot be indexed", found.describe())),
        };
        Lowered { shadow: self.constant_shadow(&val, &[&base.shadow, &key.shadow]), val }
    }

    /// `w.at("layer")`: the weights whose names begin so.
    pub(super) fn weights_at(
        &mut self,
        m: &'a syn::ExprMethodCall,
        prefix: &str,
        key: &Lowered,
        receiver: &TokenStream,
    ) -> Lowered {
        let val = match &key.val {
            Val::Poison => Val::Poison,
            Val::Const(Const { literal: Literal::Str(name), .. }) => {
                let full = if prefix.is_empty() { name.clone() } else { format!("{prefix}.{name}") };
                match &self.weights {
                    Some(file) if !file.has_prefix(&full) => {
                        let message =
                            format!("no weight in `{}` has a name that begins with `{full}.`", file.written.value());
                        self.error(&m.args, message)
                    }
                    _ => Val::Weights(full),
                }
            }
            found => self.error(&m.args, format!("expected text, found {}", found.describe())),
        };
        let (method, tokens) = (&m.method, &key.shadow);
        let call = restate!(self, (#receiver).#method(#tokens));
        Lowered { shadow: if val.is_poison() { self.shadow.any(&val) } else { call }, val }
    }

    pub(super) fn field(&mut self, f: &'a syn::ExprField) -> Lowered {
        let base = self.expr(&f.base, None);
        let val = match (base.val, &f.member) {
            (Val::Poison, _) => Val::Poison,
            (Val::Tuple(items) | Val::List(items), syn::Member::Unnamed(i)) => match items.get(i.index as usize) {
                Some(v) => v.clone(),
                None => self.error(&f.member, format!("there are {} values", items.len())),
            },
            (Val::Value(_), syn::Member::Named(name)) if name == "shape" => {
                self.error(&f.member, "the shape of a tensor is an op: `mb::shape(x)`")
            }
            (found, member) => {
                let member = quote!(#member);
                self.error(&f.member, format!("{} has no field `{member}` in a program", found.describe()))
            }
        };
        Lowered { shadow: self.constant_shadow(&val, &[&base.shadow]), val }
    }
}
