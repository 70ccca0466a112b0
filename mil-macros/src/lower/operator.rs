//! Operators: each is an op, or arithmetic at compile time if both sides are known.

use mil_core::{ir::Literal, types::DType};
use proc_macro2::Span;
use quote::quote;
use syn::{BinOp, spanned::Spanned};

use super::{Lower, Lowered, fold, operand::Given};
use crate::shadow::restate;
use crate::{
    diag::Place,
    value::{Const, Val},
};

/// The op of an operator on tensors, and its spelling.
fn op_of(op: &BinOp) -> Option<(&'static str, &'static str)> {
    Some(match op {
        BinOp::Add(_) | BinOp::AddAssign(_) => ("add", "+"),
        BinOp::Sub(_) | BinOp::SubAssign(_) => ("sub", "-"),
        BinOp::Mul(_) | BinOp::MulAssign(_) => ("mul", "*"),
        BinOp::Div(_) | BinOp::DivAssign(_) => ("real_div", "/"),
        BinOp::Rem(_) | BinOp::RemAssign(_) => ("mod", "%"),
        BinOp::Lt(_) => ("less", "<"),
        BinOp::Le(_) => ("less_equal", "<="),
        BinOp::Gt(_) => ("greater", ">"),
        BinOp::Ge(_) => ("greater_equal", ">="),
        BinOp::Eq(_) => ("equal", "=="),
        BinOp::Ne(_) => ("not_equal", "!="),
        BinOp::And(_) | BinOp::BitAnd(_) | BinOp::BitAndAssign(_) => ("logical_and", "&&"),
        BinOp::Or(_) | BinOp::BitOr(_) | BinOp::BitOrAssign(_) => ("logical_or", "||"),
        BinOp::BitXor(_) | BinOp::BitXorAssign(_) => ("logical_xor", "^"),
        _ => return None,
    })
}

fn is_assignment(op: &BinOp) -> bool {
    matches!(
        op,
        BinOp::AddAssign(_)
            | BinOp::SubAssign(_)
            | BinOp::MulAssign(_)
            | BinOp::DivAssign(_)
            | BinOp::RemAssign(_)
            | BinOp::BitAndAssign(_)
            | BinOp::BitOrAssign(_)
            | BinOp::BitXorAssign(_)
    )
}

impl<'a> Lower<'a> {
    pub(super) fn binary(&mut self, b: &'a syn::ExprBinary, hint: Option<&str>) -> Lowered {
        let assigned = is_assignment(&b.op).then(|| match &*b.left {
            syn::Expr::Path(p) => p.path.get_ident().map(|i| i.to_string()),
            _ => None,
        });
        let hint = match &assigned {
            Some(name) => name.as_deref(),
            None => hint,
        };
        // Rust reads `x ** y` as `x * (*y)`.
        if let (BinOp::Mul(_), syn::Expr::Unary(u)) = (&b.op, &*b.right)
            && matches!(u.op, syn::UnOp::Deref(_))
            && !matches!(self.expr(&u.expr, None).val, Val::State(_) | Val::Poison)
        {
            self.expr(&b.left, None);
            let val = self.error(b, "there is no operator `**`; write `mb::pow(x, y)`");
            return Lowered { shadow: self.shadow.any(&val), val };
        }
        let (left, right) = (self.expr(&b.left, None), self.expr(&b.right, None));
        let mut result = self.apply(b, left, right, hint);
        if assigned.is_some() {
            let tokens = &result.shadow;
            let shadow = restate!(self, { let _ = #tokens; });
            self.assign(&b.left, std::mem::replace(&mut result.val, Val::Unit));
            result.shadow = shadow;
        }
        result
    }

    fn apply(&mut self, b: &syn::ExprBinary, left: Lowered, right: Lowered, hint: Option<&str>) -> Lowered {
        let Some((name, symbol)) = op_of(&b.op) else {
            let val = self.error(&b.op, "this operator has no op; see `mb` for what there is");
            return Lowered { shadow: self.shadow.any(&val), val };
        };
        if let (Val::Const(l), Val::Const(r)) = (&left.val, &right.val) {
            let val = match fold::binary(symbol, l, r) {
                Ok(c) => Val::Const(c),
                Err(message) => self.error(b, message),
            };
            return Lowered { shadow: self.constant_shadow(&val, &[&left.shadow, &right.shadow]), val };
        }
        self.operator(name, b.op.span(), Place::of(&b.op), vec![(left, &b.left), (right, &b.right)], hint)
    }

    /// An op that an operator stands for: operands `x`, or `x` and `y`.
    fn operator(
        &mut self,
        name: &str,
        span: Span,
        at: Place,
        operands: Vec<(Lowered, &syn::Expr)>,
        hint: Option<&str>,
    ) -> Lowered {
        let Some(def) = self.find_op(name, at) else {
            return Lowered { shadow: self.shadow.any(&Val::Poison), val: Val::Poison };
        };
        let ident = crate::shadow::op_ident(name, span);
        let tokens: Vec<_> = operands.iter().map(|(l, _)| l.shadow.clone()).collect();
        let call = restate!(self, ::mil::mb::#ident(#(#tokens),*));
        let given = operands.into_iter().zip(["x", "y"]).map(|((l, e), param)| Given::new(param, l.val, e)).collect();
        self.op(def, given, at, hint, call)
    }

    pub(super) fn negate(&mut self, u: &'a syn::ExprUnary, inner: Lowered, hint: Option<&str>) -> Lowered {
        match &inner.val {
            Val::Const(c) => {
                let val = match fold::negate(c) {
                    Ok(c) => Val::Const(c),
                    Err(message) => self.error(u, message),
                };
                Lowered { shadow: self.constant_shadow(&val, &[&inner.shadow]), val }
            }
            _ => {
                let minus = Const { literal: Literal::Int(-1), dtype: None };
                let minus = Lowered { val: Val::Const(minus), shadow: restate!(self, -1) };
                self.operator("mul", u.op.span(), Place::of(&u.op), vec![(inner, &u.expr), (minus, &u.expr)], hint)
            }
        }
    }

    pub(super) fn not(&mut self, u: &'a syn::ExprUnary, inner: Lowered, hint: Option<&str>) -> Lowered {
        match &inner.val {
            Val::Const(Const { literal: Literal::Bool(b), .. }) => {
                let val = Const::bool(!b);
                Lowered { shadow: self.constant_shadow(&val, &[&inner.shadow]), val }
            }
            _ => self.operator("logical_not", u.op.span(), Place::of(&u.op), vec![(inner, &u.expr)], hint),
        }
    }

    /// `x as f16`.
    pub(super) fn cast(&mut self, c: &'a syn::ExprCast, hint: Option<&str>) -> Lowered {
        let inner = self.expr(&c.expr, None);
        let name = match &*c.ty {
            syn::Type::Path(p) => p.path.get_ident().map(|i| i.to_string()).unwrap_or_default(),
            _ => String::new(),
        };
        let any = |lower: &Self, val: Val, tokens| Lowered { shadow: lower.constant_shadow(&val, &[tokens]), val };
        // What counts things has no dtype of its own, and neither has a constant that is cast to it.
        if (name == "usize" || name == "isize") && inner.val.as_int().is_some() {
            return any(self, inner.val.clone(), &inner.shadow);
        }
        let Some(dtype) = DType::parse(&name) else {
            let val = self.error(&c.ty, "expected an element type, such as `f16`, `f32` or `i32`");
            return any(self, val, &inner.shadow);
        };
        match &inner.val {
            Val::Const(constant) => {
                let val = match fold::cast(constant, dtype) {
                    Ok(c) => Val::Const(c),
                    Err(message) => self.error(c, message),
                };
                any(self, val, &inner.shadow)
            }
            Val::Value(v) if v.dtype() == Some(dtype) => inner,
            _ => {
                let at = Place::of(&c.ty);
                let Some(def) = self.find_op("cast", at) else { return any(self, Val::Poison, &inner.shadow) };
                let tokens = &inner.shadow;
                let ident = crate::shadow::op_ident("cast", c.as_token.span);
                let text = dtype.mil_name();
                let call = restate!(self, ::mil::mb::#ident(#tokens, #text));
                let dtype = Given { param: "dtype", val: Const::text(text), at, elems: vec![] };
                self.op(def, vec![Given::new("x", inner.val, &c.expr), dtype], at, hint, call)
            }
        }
    }
}
