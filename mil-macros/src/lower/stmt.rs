//! Statements: `let`, assignments, nested items.

use proc_macro2::TokenStream;
use quote::{ToTokens, quote};
use syn::{Block, Expr, Item, Local, Pat, Stmt};

use super::{ImageAttr, Lower, Lowered};
use crate::shadow::restate;
use crate::{
    diag::Place,
    sig::Written,
    value::{Const, Val},
};

impl<'a> Lower<'a> {
    /// A block in a scope of its own.
    pub(super) fn block(&mut self, block: &'a Block, hint: Option<&str>) -> Lowered {
        self.env.open();
        let lowered = self.statements(&block.stmts, hint);
        self.env.close();
        lowered
    }

    /// Statements in the scope that is open.
    pub(super) fn statements(&mut self, stmts: &'a [Stmt], hint: Option<&str>) -> Lowered {
        let mut shadow = self.items(stmts);
        let mut val = Val::Unit;
        for (i, stmt) in stmts.iter().enumerate() {
            let last = i + 1 == stmts.len();
            match stmt {
                Stmt::Local(local) => shadow.extend(self.local(local)),
                Stmt::Expr(e, None) if last => {
                    let tail = self.expr(e, hint);
                    let tokens = tail.shadow;
                    val = tail.val;
                    shadow.extend(tokens);
                }
                Stmt::Expr(e, _) => {
                    let tokens = self.expr(e, None).shadow;
                    shadow.extend(restate!(self, let _ = #tokens;));
                }
                Stmt::Item(_) => {}
                Stmt::Macro(m) if last && m.semi_token.is_none() => {
                    let tail = self.macro_call(&m.mac);
                    val = tail.val;
                    shadow.extend(tail.shadow);
                }
                Stmt::Macro(m) => {
                    let name = m.mac.path.to_token_stream();
                    self.error(
                        &m.mac.path,
                        format!("`{name}!` does nothing in a program: it would run only when it compiles"),
                    );
                }
            }
        }
        Lowered { val, shadow }
    }

    /// Constants and functions of a block are in scope in all of it.
    fn items(&mut self, stmts: &'a [Stmt]) -> TokenStream {
        let mut shadow = TokenStream::new();
        let items = || stmts.iter().filter_map(|s| if let Stmt::Item(item) = s { Some(item) } else { None });
        for item in items() {
            match item {
                Item::Fn(f) => self.env.declare_helper(&f.sig.ident.to_string(), f),
                Item::Const(_) => {}
                Item::Use(_) => shadow.extend(item.to_token_stream()),
                other => {
                    self.error(other, "a program may hold `const`, `fn` and `use` items, and no others");
                }
            }
        }
        for item in items() {
            if let Item::Const(c) = item {
                self.const_item(c);
            }
        }
        shadow
    }

    /// `const N: usize = 12;`
    pub(super) fn const_item(&mut self, c: &'a syn::ItemConst) {
        let before = self.diag.count();
        let val = self.expr(&c.expr, None).val;
        let val = if self.diag.count() > before || is_known(&val) {
            val
        } else {
            self.error(&c.expr, format!("a constant is known at compile time, found {}", val.describe()))
        };
        self.shadow.item(&c.ident, restate!(self, #c));
        self.env.declare_item(&c.ident.to_string(), val);
    }

    fn local(&mut self, local: &'a Local) -> TokenStream {
        let (pat, written) = match &local.pat {
            Pat::Type(t) => (&*t.pat, Some(&*t.ty)),
            pat => (pat, None),
        };
        let (name, image) = self.local_attributes(&local.attrs);
        let name = name.or_else(|| binding_name(pat));
        let Some(init) = &local.init else {
            self.error(local, "give the variable a value where it is declared");
            self.bind(pat, Val::Poison);
            return TokenStream::new();
        };
        if let Some((_, diverge)) = &init.diverge {
            self.error(&**diverge, "`let .. else` has no meaning in a program");
        }
        let mut lowered = self.expr(&init.expr, name.as_deref());
        if let Some(ty) = written {
            let before = self.diag.count();
            let found = self.read_type(ty);
            lowered.val = match found {
                Some(written) => self.ascribe(lowered.val, &written, Place::of(&init.expr), Place::of(ty)),
                None => Val::Poison,
            };
            if self.diag.count() > before {
                lowered.val = Val::Poison;
            }
        }
        if let Some(image) = image {
            self.output_image(&image, &lowered.val, Place::of(pat));
        }
        let (tokens, ty) = (&lowered.shadow, self.shadow.ty(&lowered.val));
        let target = if self.shadow.on { pattern_shadow(pat) } else { TokenStream::new() };
        let shadow = restate!(self, let #target: #ty = ::mil::__private::own::<_, #ty>(#tokens););
        self.bind(pat, lowered.val);
        shadow
    }

    /// `#[name = "c1"]`, `#[image(RGB)]`.
    fn local_attributes(&mut self, attrs: &[syn::Attribute]) -> (Option<String>, Option<ImageAttr>) {
        let (mut name, mut image) = (None, None);
        for attr in attrs {
            match &attr.meta {
                syn::Meta::NameValue(nv) if nv.path.is_ident("name") => match &nv.value {
                    Expr::Lit(syn::ExprLit { lit: syn::Lit::Str(s), .. }) => name = self.checked_name(s),
                    other => {
                        self.error(other, "expected text, such as `#[name = \"conv1\"]`");
                    }
                },
                meta if meta.path().is_ident("image") => match ImageAttr::parse(attr) {
                    Ok(found) => image = Some(found),
                    Err(e) => self.diag.syntax(e),
                },
                meta if meta.path().is_ident("allow") || meta.path().is_ident("doc") => {}
                meta => {
                    self.error(
                        meta,
                        "a statement has the attributes `#[name = \"..\"]` and `#[image(..)]`, and no others",
                    );
                }
            }
        }
        (name, image)
    }

    /// A name that MIL takes.
    pub(super) fn checked_name(&mut self, text: &syn::LitStr) -> Option<String> {
        let name = text.value();
        if mil_core::graph::is_identifier(&name) {
            return Some(name);
        }
        self.error(text, format!("`{name}` is no name: letters, digits and `_`, not starting with a digit"));
        None
    }

    /// Binds a pattern to a value.
    pub(super) fn bind(&mut self, pat: &Pat, val: Val) {
        match pat {
            Pat::Ident(p) if p.by_ref.is_none() && p.subpat.is_none() => {
                if val == Val::Unit {
                    self.error(p, "this has no value");
                }
                let val = if val == Val::Unit { Val::Poison } else { val };
                self.env.declare(&p.ident.to_string(), val, p.mutability.is_some());
            }
            Pat::Type(p) => self.bind(&p.pat, val),
            Pat::Paren(p) => self.bind(&p.pat, val),
            Pat::Wild(_) => {}
            Pat::Tuple(syn::PatTuple { elems, .. }) | Pat::Slice(syn::PatSlice { elems, .. }) => {
                let items = match val {
                    Val::Tuple(items) | Val::List(items) if items.len() == elems.len() => items,
                    Val::Value(_) if elems.len() == 1 => vec![val],
                    Val::Poison => vec![Val::Poison; elems.len()],
                    Val::Tuple(items) | Val::List(items) => {
                        self.error(
                            pat,
                            format!("expected {} names, one per value, found {}", items.len(), elems.len()),
                        );
                        vec![Val::Poison; elems.len()]
                    }
                    other => {
                        self.error(pat, format!("expected one name: the value is {}", other.describe()));
                        vec![Val::Poison; elems.len()]
                    }
                };
                for (p, v) in elems.iter().zip(items) {
                    self.bind(p, v);
                }
            }
            other => {
                self.error(other, "expected a name, `_` or a tuple of those");
            }
        }
    }

    /// `left = val`.
    pub(super) fn assign(&mut self, left: &'a Expr, val: Val) -> TokenStream {
        match left {
            Expr::Paren(p) => self.assign(&p.expr, val),
            Expr::Infer(_) => TokenStream::new(),
            Expr::Path(p) if p.path.get_ident().is_some() => {
                let name = p.path.to_token_stream().to_string();
                match self.env.find(&name) {
                    Some(id) if self.env.is_item(id) => {
                        self.error(left, format!("`{name}` is a constant and cannot be assigned"));
                    }
                    Some(id) if matches!(self.env.get(id), Val::State(_)) => {
                        self.error(left, format!("`{name}` is a state: write it with `*{name} = ..`"));
                    }
                    Some(id) if !self.env.is_mutable(id) => {
                        self.error(left, format!("`{name}` cannot be assigned; declare it with `let mut {name}`"));
                        self.env.assign(id, if val == Val::Unit { Val::Poison } else { val });
                    }
                    Some(id) => {
                        if val == Val::Unit {
                            self.error(left, format!("what is assigned to `{name}` has no value"));
                        }
                        let ty = self.shadow.ty(&val);
                        self.env.assign(id, if val == Val::Unit { Val::Poison } else { val });
                        return ty;
                    }
                    None => {
                        self.unknown_name(p.path.get_ident());
                    }
                }
                TokenStream::new()
            }
            Expr::Tuple(t) => {
                let items = match val {
                    Val::Tuple(items) | Val::List(items) if items.len() == t.elems.len() => items,
                    Val::Poison => vec![Val::Poison; t.elems.len()],
                    other => {
                        self.error(left, format!("expected a place for {}", other.describe()));
                        vec![Val::Poison; t.elems.len()]
                    }
                };
                for (e, v) in t.elems.iter().zip(items) {
                    self.assign(e, v);
                }
                TokenStream::new()
            }
            Expr::Unary(syn::ExprUnary { op: syn::UnOp::Deref(_), expr, .. }) => {
                match self.expr(expr, None).val {
                    Val::State(state) => self.write_state(state, val, Place::of(left)),
                    Val::Poison => {}
                    other => {
                        self.error(left, format!("only a state is written with `*`, found {}", other.describe()));
                    }
                }
                TokenStream::new()
            }
            Expr::Index(_) => {
                self.error(left, "a value does not change in place; make a new one, as with `mb::scatter`");
                TokenStream::new()
            }
            other => {
                self.error(other, "this cannot be assigned");
                TokenStream::new()
            }
        }
    }

    /// A value as the type that is written says it: checked, or, for literals, given that dtype.
    pub(super) fn ascribe(&mut self, val: Val, written: &Written, at: Place, written_at: Place) -> Val {
        use crate::sig::{describe, matches, matches_state};
        let mismatch = |lower: &mut Self, expected: String, val: &Val| {
            lower.error_at(written_at, format!("expected {expected}, found {}", val.describe()))
        };
        match (written, val) {
            (_, Val::Poison) => Val::Poison,
            (Written::Infer, val) => val,
            (Written::Tensor(dtype, dims), val) => {
                let val = match val {
                    Val::Const(_) | Val::List(_) => match self.constant_value(&val, Some(*dtype), at) {
                        Some(v) => Val::Value(v),
                        None => return Val::Poison,
                    },
                    other => other,
                };
                let fits = match &val {
                    Val::Value(v) => matches(*dtype, dims, v.ty()),
                    Val::Weight(w) => matches(*dtype, dims, &w.ty().into()),
                    _ => false,
                };
                if fits { val } else { mismatch(self, describe("Tensor", *dtype, dims), &val) }
            }
            (Written::Weight(dtype, dims), val) => match &val {
                Val::Weight(w) if matches(*dtype, dims, &w.ty().into()) => val,
                _ => mismatch(self, describe("Weight", *dtype, dims), &val),
            },
            (Written::AnyTensor, val @ (Val::Value(_) | Val::Const(_) | Val::Weight(_))) => val,
            (Written::AnyWeight, val @ Val::Weight(_)) => val,
            (Written::Weights, val @ Val::Weights(_)) => val,
            (Written::AnyTensor, val) => mismatch(self, "a tensor".into(), &val),
            (Written::AnyWeight, val) => mismatch(self, "a weight".into(), &val),
            (Written::Weights, val) => mismatch(self, "`Weights`".into(), &val),
            (Written::State(dtype, dims, _), Val::State(v)) if matches_state(*dtype, dims, v.ty()) => Val::State(v),
            (Written::State(dtype, dims, _), val) => mismatch(self, describe("State", *dtype, dims), &val),
            (Written::Constant(name), val) => {
                let kind = |c: &Const| match &c.literal {
                    mil_core::ir::Literal::Bool(_) => name == "bool",
                    mil_core::ir::Literal::Str(_) => name == "str" || name == "String",
                    mil_core::ir::Literal::Float(_) => name.starts_with('f'),
                    _ => name != "bool" && name != "str" && name != "String",
                };
                match &val {
                    Val::Const(c) if kind(c) => val,
                    _ => mismatch(self, format!("a constant of `{name}`"), &val),
                }
            }
            (Written::Tuple(types), Val::Tuple(items)) if types.len() == items.len() => {
                let pairs = types.iter().zip(items);
                Val::Tuple(pairs.map(|(t, v)| self.ascribe(v, t, at, written_at)).collect())
            }
            (Written::Tuple(types), val) => mismatch(self, format!("{} values", types.len()), &val),
            (Written::List(ty), Val::List(items) | Val::Tuple(items)) => {
                Val::List(items.into_iter().map(|v| self.ascribe(v, ty, at, written_at)).collect())
            }
            (Written::List(_), val) => mismatch(self, "a list".into(), &val),
        }
    }
}

/// Whether all of it is known at compile time.
fn is_known(val: &Val) -> bool {
    match val {
        Val::Const(_) => true,
        Val::List(items) | Val::Tuple(items) => items.iter().all(is_known),
        _ => false,
    }
}

/// The name that a `let` gives to the op of its value: that of its only binding.
fn binding_name(pat: &Pat) -> Option<String> {
    match pat {
        Pat::Ident(p) => Some(p.ident.to_string()),
        Pat::Paren(p) => binding_name(&p.pat),
        _ => None,
    }
}

/// The pattern without types (which the shadow writes itself).
fn pattern_shadow(pat: &Pat) -> TokenStream {
    match pat {
        Pat::Type(p) => pattern_shadow(&p.pat),
        Pat::Ident(p) => {
            let ident = &p.ident;
            quote!(#ident)
        }
        Pat::Tuple(t) => {
            let elems = t.elems.iter().map(pattern_shadow);
            quote!((#(#elems,)*))
        }
        Pat::Slice(_) => quote!(_),
        other => quote!(#other),
    }
}
