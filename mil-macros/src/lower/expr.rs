//! Expressions.

use mil_core::ir::Literal;
use proc_macro2::TokenStream;
use quote::{ToTokens, quote};
use syn::{Expr, Lit, UnOp};

use super::{Lower, Lowered};
use crate::shadow::restate;
use crate::{
    diag::Place,
    sig::{TypeReader, Written},
    suggest,
    value::{Const, Val},
};

/// The most iterations that loops of one program unroll to, and the longest list.
pub(super) const MAX_ITEMS: usize = 1 << 16;

impl<'a> Lower<'a> {
    /// Lowers an expression. `hint` names the op that gives its value.
    pub(super) fn expr(&mut self, e: &'a Expr, hint: Option<&str>) -> Lowered {
        match e {
            Expr::Paren(p) => self.expr(&p.expr, hint),
            Expr::Group(g) => self.expr(&g.expr, hint),
            Expr::Reference(r) if r.mutability.is_none() => self.expr(&r.expr, hint),
            Expr::Path(p) => self.path(p),
            Expr::Lit(l) => {
                let val = self.literal(&l.lit);
                // A suffix such as `f16` is none that rustc knows.
                let shadow = if val.literal().is_some() { restate!(self, #l) } else { self.shadow.any(&val) };
                Lowered { val, shadow }
            }
            Expr::Array(a) => self.list(a.elems.iter(), false),
            Expr::Tuple(t) if t.elems.is_empty() => Lowered { val: Val::Unit, shadow: restate!(self, ()) },
            Expr::Tuple(t) => self.list(t.elems.iter(), true),
            Expr::Repeat(r) => self.repeat(r),
            Expr::Range(r) => self.range(r),
            Expr::Unary(u) => self.unary(u, hint),
            Expr::Binary(b) => self.binary(b, hint),
            Expr::Cast(c) => self.cast(c, hint),
            Expr::Call(_) | Expr::MethodCall(_) => self.call(e, hint),
            Expr::Index(i) => self.index(i),
            Expr::Field(f) => self.field(f),
            Expr::If(i) => self.if_else(i, hint),
            Expr::While(w) => self.while_loop(w),
            Expr::ForLoop(f) => self.for_loop(f),
            Expr::Block(b) if b.label.is_none() => {
                let Lowered { val, shadow } = self.block(&b.block, hint);
                Lowered { val, shadow: restate!(self, { #shadow }) }
            }
            Expr::Assign(a) => {
                let name = match &*a.left {
                    Expr::Path(p) => p.path.get_ident().map(|i| i.to_string()),
                    _ => None,
                };
                let right = self.expr(&a.right, name.as_deref());
                let tokens = &right.shadow;
                self.assign(&a.left, right.val);
                Lowered { val: Val::Unit, shadow: restate!(self, { let _ = #tokens; }) }
            }
            Expr::Macro(m) => self.macro_call(&m.mac),
            other => {
                let val = self.error(other, unsupported(other));
                Lowered { shadow: self.shadow.any(&val), val }
            }
        }
    }

    fn path(&mut self, p: &syn::ExprPath) -> Lowered {
        let Some(ident) = p.path.get_ident() else {
            let message = "a program sees its own parameters, variables and constants only; a `const` from elsewhere is unknown \
                           when macros run";
            let val = self.error(p, message);
            return Lowered { shadow: self.shadow.any(&val), val };
        };
        let name = ident.to_string();
        if let Some(id) = self.env.find(&name) {
            let val = self.env.get(id).clone();
            // What a loop or a branch assigns may have had another type where it was declared.
            let shadow = match val {
                _ if self.env.is_mutable(id) => {
                    let ty = self.shadow.ty(&val);
                    restate!(self, ::mil::__private::own::<_, #ty>(&#ident))
                }
                Val::Const(_) => restate!(self, #ident),
                _ => restate!(self, &#ident),
            };
            return Lowered { val, shadow };
        }
        let val = match self.dims.get(&name).cloned() {
            Some(dim) => match dim.value() {
                Some(n) => Const::int(n),
                None => self.symbol(&name, dim, Place::of(ident)),
            },
            None => self.unknown_name(Some(ident)),
        };
        let any = self.shadow.any(&val);
        Lowered { val, shadow: any }
    }

    /// A name that stands for nothing.
    pub(super) fn unknown_name(&mut self, ident: Option<&syn::Ident>) -> Val {
        let Some(ident) = ident else { return Val::Poison };
        let name = ident.to_string();
        if self.env.helper(&name).is_some() {
            return self.error(ident, format!("`{name}` is a function: call it, as in `{name}(..)`"));
        }
        let mut names: Vec<&str> = self.env.names().chain(self.dims.keys().map(String::as_str)).collect();
        names.sort_unstable();
        let hint = suggest::hint(&name, names);
        self.error(ident, format!("cannot find `{name}` in this program{hint}"))
    }

    fn literal(&mut self, lit: &Lit) -> Val {
        let (literal, suffix) = match lit {
            Lit::Bool(b) => (Literal::Bool(b.value), String::new()),
            Lit::Str(s) => (Literal::Str(s.value()), s.suffix().to_string()),
            Lit::Int(i) => {
                let parsed = if i.suffix().starts_with('f') || i.suffix() == "bf16" {
                    i.base10_digits().parse().map(Literal::Float).ok()
                } else {
                    i.base10_digits().parse().map(Literal::Int).ok()
                };
                match parsed {
                    Some(l) => (l, i.suffix().to_string()),
                    None => return self.error(lit, "this number does not fit 64 bits"),
                }
            }
            Lit::Float(f) => match f.base10_digits().parse() {
                Ok(v) => (Literal::Float(v), f.suffix().to_string()),
                Err(_) => return self.error(lit, "this is no number"),
            },
            other => return self.error(other, "a program has numbers, bools and text as literals, and no others"),
        };
        let dtype = match &suffix[..] {
            "" | "usize" | "isize" => None,
            s => match mil_core::types::DType::parse(s) {
                Some(d) => Some(d),
                None => return self.error(lit, format!("there is no element type `{s}`")),
            },
        };
        Val::Const(Const { literal, dtype })
    }

    fn list(&mut self, elems: impl Iterator<Item = &'a Expr>, tuple: bool) -> Lowered {
        let items: Vec<Lowered> = elems.map(|e| self.expr(e, None)).collect();
        let tokens = items.iter().map(|i| &i.shadow);
        let shadow = if tuple {
            let own = items.iter().map(|i| {
                let (tokens, ty) = (&i.shadow, self.shadow.ty(&i.val));
                restate!(self, ::mil::__private::own::<_, #ty>(#tokens))
            });
            restate!(self, (#(#own,)*))
        } else {
            restate!(self, ::mil::__private::List::new()#(.with(#tokens))*)
        };
        let vals = items.into_iter().map(|i| i.val).collect();
        Lowered { val: if tuple { Val::Tuple(vals) } else { Val::List(vals) }, shadow }
    }

    fn repeat(&mut self, r: &'a syn::ExprRepeat) -> Lowered {
        let item = self.expr(&r.expr, None);
        let len = self.expr(&r.len, None);
        let val = match (&len.val, len.val.as_int()) {
            (Val::Poison, _) => Val::Poison,
            (_, Some(n)) if (0..=MAX_ITEMS as i64).contains(&n) => Val::List(vec![item.val; n as usize]),
            _ => self.error(
                &r.len,
                format!("expected a constant length of at most {MAX_ITEMS}, found {}", len.val.describe()),
            ),
        };
        Lowered { shadow: self.shadow.any(&val), val }
    }

    fn range(&mut self, r: &'a syn::ExprRange) -> Lowered {
        let start = r.start.as_ref().map(|e| (e, self.expr(e, None)));
        let end = r.end.as_ref().map(|e| (e, self.expr(e, None)));
        let (mut bounds, mut poisoned) = ([0i64; 2], false);
        for (bound, found) in bounds.iter_mut().zip([&start, &end]) {
            match found {
                Some((_, l)) if l.val.is_poison() => poisoned = true,
                Some((e, l)) => match l.val.as_int() {
                    Some(n) => *bound = n,
                    None => {
                        let message = format!(
                            "a range has constant bounds, since its loop is unrolled; found {}",
                            l.val.describe()
                        );
                        self.error(*e, message);
                        poisoned = true;
                    }
                },
                None => {
                    self.error(r, "a range has two bounds here, such as `0..12`");
                    poisoned = true;
                }
            }
        }
        let last =
            if matches!(r.limits, syn::RangeLimits::Closed(_)) { bounds[1].saturating_add(1) } else { bounds[1] };
        let val = if poisoned {
            Val::Poison
        } else if last.saturating_sub(bounds[0]) > MAX_ITEMS as i64 {
            self.error(r, format!("this range has more than {MAX_ITEMS} numbers"))
        } else {
            Val::List((bounds[0]..last).map(Const::int).collect())
        };
        let used = start.iter().chain(&end).map(|(_, l)| &l.shadow);
        let any = self.shadow.any(&val);
        let shadow = restate!(self, { let _ = (#(#used,)*); #any });
        Lowered { val, shadow }
    }

    fn unary(&mut self, u: &'a syn::ExprUnary, hint: Option<&str>) -> Lowered {
        let inner = self.expr(&u.expr, None);
        match u.op {
            UnOp::Deref(_) => {
                let val = match inner.val {
                    Val::State(state) => self.read_state(state, hint, Place::of(u)),
                    Val::Poison => Val::Poison,
                    other => self.error(u, format!("`*` reads a state, found {}", other.describe())),
                };
                Lowered { shadow: self.shadow.any(&val), val }
            }
            UnOp::Neg(_) => self.negate(u, inner, hint),
            UnOp::Not(_) => self.not(u, inner, hint),
            _ => {
                let val = self.error(u, "this operator has no meaning in a program");
                Lowered { shadow: self.shadow.any(&val), val }
            }
        }
    }

    /// Any macro but `format!`, which is none any more when lowering begins.
    pub(super) fn macro_call(&mut self, mac: &syn::Macro) -> Lowered {
        let name = mac.path.to_token_stream();
        let val = self.error(&mac.path, format!("`{name}!` has no meaning in a program; only `format!` does"));
        Lowered { shadow: self.shadow.any(&val), val }
    }

    pub(super) fn read_type(&mut self, ty: &syn::Type) -> Option<Written> {
        let (dims, diag) = (&self.dims, &mut self.diag);
        let reader = TypeReader { dims: &|name| dims.get(name).cloned(), names: &|| dims.keys().cloned().collect() };
        reader.read(ty, diag)
    }

    /// The restatement of a constant expression: the names in it, so that they can be followed, and a value.
    pub(super) fn constant_shadow(&self, val: &Val, used: &[&TokenStream]) -> TokenStream {
        let any = self.shadow.any(val);
        restate!(self, { let _ = (#(#used,)*); #any })
    }
}

fn unsupported(e: &Expr) -> String {
    let message = match e {
        Expr::Return(_) => "`return` has no meaning in a program: write the value last",
        Expr::Break(_) | Expr::Continue(_) => {
            "`break` and `continue` have no meaning in a program: say it in the condition of the `while`"
        }
        Expr::Loop(_) => "`loop` never ends in a program: use `while` with a condition",
        Expr::Match(_) => "`match` has no meaning in a program: use `if` and `else`",
        Expr::Closure(_) => "a closure has no meaning in a program: use a nested `fn`",
        Expr::Try(_) => "`?` has no meaning in a program: what is wrong is found when it compiles",
        Expr::Await(_) | Expr::Async(_) => "a program is not asynchronous",
        Expr::Unsafe(_) => "`unsafe` has no meaning in a program",
        Expr::Struct(_) => "a program has tensors, numbers, bools and text as values, and no structs",
        Expr::Let(_) => "`if let` has no meaning in a program",
        Expr::Reference(_) => "`&mut` has no meaning here: assign to the variable",
        _ => "this Rust expression has no meaning in a program",
    };
    message.into()
}
