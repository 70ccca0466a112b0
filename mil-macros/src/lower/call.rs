//! Calls: `mb::conv(x, w, strides = [2, 2])`, `mb::conv(x, w).strides([2, 2])`, and methods of lists and weights.

use mil_core::op::{OpDef, OpError};
use proc_macro2::TokenStream;
use quote::quote;
use syn::{Expr, ExprCall, ExprMethodCall, Path};

use super::{Lower, Lowered, format::FORMAT, operand::Given};
use crate::shadow::restate;
use crate::{
    diag::Place,
    suggest,
    value::{Const, Val},
};

impl<'a> Lower<'a> {
    pub(super) fn call(&mut self, e: &'a Expr, hint: Option<&str>) -> Lowered {
        // `mb::conv(x, w).strides(..).groups(..)` from the outside in.
        let (mut setters, mut inner) = (vec![], e);
        while let Expr::MethodCall(m) = inner {
            setters.push(m);
            inner = &m.receiver;
        }
        setters.reverse();
        if let Expr::Call(c) = inner
            && let Expr::Path(p) = &*c.func
        {
            if let Some(name) = op_name(&p.path) {
                return self.op_call(c, &p.path, &name, &setters, hint);
            }
            if setters.is_empty() && p.path.is_ident(FORMAT) {
                return self.format(c);
            }
            if setters.is_empty() {
                return self.helper_call(c, &p.path, hint);
            }
        }
        match e {
            Expr::MethodCall(m) => self.method(m),
            Expr::Call(c) => {
                let val = self.error(&c.func, "expected an op, such as `mb::relu`, or a function of this program");
                Lowered { shadow: self.shadow.any(&val), val }
            }
            _ => Lowered { val: Val::Poison, shadow: self.shadow.any(&Val::Poison) },
        }
    }

    fn op_call(
        &mut self,
        call: &'a ExprCall,
        path: &'a Path,
        name: &syn::Ident,
        setters: &[&'a ExprMethodCall],
        hint: Option<&str>,
    ) -> Lowered {
        let mil_name = mil_name(name);
        let Some(def) = mil_core::ops::find(&mil_name).filter(|d| d.blocks == 0 && !d.is_const()) else {
            let message = match &mil_name[..] {
                "cond" => "`cond` is written as `if` and `else`".into(),
                "while_loop" => "`while_loop` is written as `while`".into(),
                "const" => "a constant is written as itself: `0.5`, `[1, 2]`".into(),
                "coreml_update_state" => "a state is written with `*state = ..`, and read with `*state`".into(),
                _ => {
                    format!("there is no op `{name}`{}", suggest::hint(&mil_name, mil_core::ops::all().map(|d| d.name)))
                }
            };
            let val = self.error(name, message);
            let args = call.args.iter().map(|a| match a {
                Expr::Assign(k) => &*k.right,
                a => a,
            });
            let args: Vec<_> =
                args.chain(setters.iter().flat_map(|s| &s.args)).map(|a| self.expr(a, None).shadow).collect();
            return Lowered {
                val,
                shadow: restate!(self, { let _ = #path; let _ = (#(#args,)*); ::mil::__private::Unknown }),
            };
        };
        self.op_paths.entry(mil_name).or_insert_with(|| quote!(#path));
        let required: Vec<_> = def.params.iter().filter(|p| p.required).collect();
        let mut parts =
            Parts { named: hint.map(String::from), positional: vec![None; required.len()], ..Parts::default() };
        let mut position = 0;
        for arg in &call.args {
            match arg {
                Expr::Assign(k) => match &*k.left {
                    Expr::Path(p) if p.path.get_ident().is_some() => {
                        let key = p.path.segments[0].ident.clone();
                        self.keyword(def, &key, &k.right, &mut parts);
                    }
                    other => {
                        self.error(other, "expected the name of a parameter");
                        parts.poisoned = true;
                    }
                },
                arg if position < required.len() => {
                    let v = self.expr(arg, None);
                    parts.positional[position] = Some(v.shadow);
                    parts.given.push(Given::new(required[position].name, v.val, arg));
                    position += 1;
                }
                arg => self.excess(def, arg, required.len(), &mut parts),
            }
        }
        for setter in setters {
            let [arg] = &setter.args.iter().collect::<Vec<_>>()[..] else {
                self.error(&setter.method, format!("`{}` takes one value", setter.method));
                parts.poisoned = true;
                continue;
            };
            if let Some(position) = required.iter().position(|p| setter.method == p.name) {
                let name = required[position].name;
                self.error(
                    &setter.method,
                    format!("`{name}` is required, so it stands between the parentheses of `{}`", def.name),
                );
                parts.poisoned = true;
                continue;
            }
            self.keyword(def, &setter.method, arg, &mut parts);
        }
        let missing: Vec<_> = required.iter().filter(|p| !parts.given.iter().any(|g| g.param == p.name)).collect();
        if !missing.is_empty() && !parts.poisoned {
            let names: Vec<_> = missing.iter().map(|p| format!("`{}`", p.name)).collect();
            self.error_at(
                Place::at(call.paren_token.span.close()),
                format!("{}: missing argument {}", def.name, names.join(", ")),
            );
            parts.poisoned = true;
        }
        let Parts { given, positional, chain, named, poisoned } = parts;
        let positional = positional.into_iter().map(|p| p.unwrap_or_else(|| restate!(self, 0)));
        let shadow = restate!(self, #path(#(#positional),*)#chain);
        if poisoned {
            let val = Val::Poison;
            return Lowered { shadow: self.shadow.of(&val, &shadow), val };
        }
        self.op(def, given, Place::of(name), named.as_deref(), shadow)
    }

    /// `key = value` in the parentheses, or `.key(value)` behind them.
    fn keyword(&mut self, def: &'static OpDef, key: &syn::Ident, value: &'a Expr, parts: &mut Parts) {
        let text = key.to_string().trim_start_matches("r#").to_string();
        if text == "name" && def.param("name").is_none() {
            match value {
                Expr::Lit(syn::ExprLit { lit: syn::Lit::Str(s), .. }) => {
                    if let Some(name) = self.checked_name(s) {
                        parts.named = Some(name);
                    }
                }
                other => match self.expr(other, None).val {
                    Val::Const(Const { literal: mil_core::ir::Literal::Str(name), .. }) => parts.named = Some(name),
                    Val::Poison => {}
                    found => {
                        self.error(other, format!("a name is text, found {}", found.describe()));
                    }
                },
            }
            return;
        }
        let v = self.expr(value, None);
        let tokens = &v.shadow;
        let Some(param) = def.params.iter().find(|p| p.name == text) else {
            parts.poisoned = true;
            parts.chain.extend(restate!(self, .#key(#tokens)));
            let hint = suggest::hint(&text, def.params.iter().map(|p| p.name));
            let all = if hint.is_empty() { format!("; it takes {}", list_params(def)) } else { hint };
            self.error(key, format!("`{}` has no parameter `{text}`{all}", def.name));
            return;
        };
        if parts.given.iter().any(|g| g.param == param.name) {
            parts.poisoned = true;
            self.error(key, format!("{}: `{text}` is given twice", def.name));
            return;
        }
        match def.params.iter().filter(|p| p.required).position(|p| p.name == text) {
            Some(position) => parts.positional[position] = Some(v.shadow),
            None => {
                let key = syn::Ident::new(param.name, key.span());
                parts.chain.extend(restate!(self, .#key(#tokens)));
            }
        }
        parts.given.push(Given::new(param.name, v.val, value));
    }

    /// One positional argument too many.
    fn excess(&mut self, def: &'static OpDef, arg: &'a Expr, required: usize, parts: &mut Parts) {
        parts.poisoned = true;
        let optional = def.params.iter().find(|p| !p.required && !parts.given.iter().any(|g| g.param == p.name));
        let advice = optional.map_or(String::new(), |p| format!("; name the others, as in `{} = ..`", p.name));
        let count = match required {
            1 => "one argument".into(),
            n => format!("{n} arguments"),
        };
        let message = format!("`{}` takes {count} by position{advice}", def.name);
        // An unknown name is most likely the beginning of a keyword: shown to the IDE as a setter, it is completed.
        if let Expr::Path(p) = arg
            && let Some(ident) = p.path.get_ident()
            && self.env.find(&ident.to_string()).is_none()
        {
            parts.chain.extend(restate!(self, .#ident()));
        } else {
            self.expr(arg, None);
        }
        self.error(arg, message);
    }

    /// Pushes an op; what is wrong is told at the argument concerned.
    pub(super) fn op(
        &mut self,
        def: &'static OpDef,
        given: Vec<Given>,
        at: Place,
        hint: Option<&str>,
        call: TokenStream,
    ) -> Lowered {
        let mut operands = Vec::with_capacity(given.len());
        for g in &given {
            if let Some(index) = def.param(g.param)
                && let Some(operand) = self.operand(&def.params[index], g)
            {
                operands.push((g.param, operand));
            }
        }
        let val = if operands.len() < given.len() {
            Val::Poison
        } else {
            match self.graph.push_op(def, operands, hint, None) {
                Ok(values) => Val::outputs(values),
                Err(e) => self.op_error(e, &given, at),
            }
        };
        Lowered { shadow: self.shadow.of(&val, &call), val }
    }

    /// An op's error, at the argument concerned or else at the op.
    pub(super) fn op_error(&mut self, e: OpError, given: &[Given], at: Place) -> Val {
        let found = e.param.as_deref().and_then(|p| given.iter().find(|g| g.param == p));
        let place = found.map_or(at, |g| g.place(e.index));
        self.error_at(place, e)
    }

    /// `xs.len()`, `(0..4).rev()`, `w.at("layer")`.
    fn method(&mut self, m: &'a ExprMethodCall) -> Lowered {
        let receiver = self.expr(&m.receiver, None);
        let args: Vec<Lowered> = m.args.iter().map(|a| self.expr(a, None)).collect();
        let (name, tokens) = (m.method.to_string(), &receiver.shadow);
        let val = match (receiver.val, &name[..], &args[..]) {
            (Val::Poison, ..) => Val::Poison,
            (Val::Weights(prefix), "at", [key]) => return self.weights_at(m, &prefix, key, tokens),
            (Val::List(items) | Val::Tuple(items), "len", []) => Const::int(items.len() as i64),
            (Val::List(items), "iter" | "into_iter", []) => Val::List(items),
            (Val::List(mut items), "rev", []) => {
                items.reverse();
                Val::List(items)
            }
            (Val::List(items), "enumerate", []) => {
                let pair = |(i, v)| Val::Tuple(vec![Const::int(i as i64), v]);
                Val::List(items.into_iter().enumerate().map(pair).collect())
            }
            (Val::List(items), "step_by", [step]) => match step.val.as_int() {
                Some(n) if n > 0 => Val::List(items.into_iter().step_by(n as usize).collect()),
                _ => self.error(&m.args[0], "expected a positive constant"),
            },
            (Val::Value(_) | Val::Weight(_) | Val::Const(_), method, _) if mil_core::ops::find(method).is_some() => {
                self.error(&m.method, format!("an op is called by its name: `mb::{method}(..)`"))
            }
            (found, method, _) => {
                self.error(&m.method, format!("{} has no method `{method}` in a program", found.describe()))
            }
        };
        let used: Vec<_> = std::iter::once(tokens).chain(args.iter().map(|a| &a.shadow)).collect();
        Lowered { shadow: self.constant_shadow(&val, &used), val }
    }
}

/// A call as it is being read.
#[derive(Default)]
struct Parts {
    given: Vec<Given>,
    /// The restatement: required arguments in their order, and setters.
    positional: Vec<Option<TokenStream>>,
    chain: TokenStream,
    named: Option<String>,
    poisoned: bool,
}

/// The op that a path names: `mb::relu`, `mil::mb::relu`.
fn op_name(path: &Path) -> Option<syn::Ident> {
    let segments: Vec<_> = path.segments.iter().collect();
    match &segments[..] {
        [.., module, op] if module.ident == "mb" => Some(op.ident.clone()),
        _ => None,
    }
}

/// MIL's name for what Rust must spell otherwise: `mod_`, `r#mod`.
fn mil_name(ident: &syn::Ident) -> String {
    let text = ident.to_string();
    let text = text.trim_start_matches("r#");
    match text {
        "mod_" => "mod".into(),
        "const_" => "const".into(),
        other => other.into(),
    }
}

fn list_params(def: &OpDef) -> String {
    let names: Vec<_> = def.params.iter().map(|p| format!("`{}`", p.name)).collect();
    if names.is_empty() { "none".into() } else { names.join(", ") }
}
