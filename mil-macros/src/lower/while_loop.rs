//! `while`: a `while_loop` over the variables that its body assigns.

use mil_core::{
    graph::Value,
    ir::Literal,
    op::{OpError, Operand},
};
use proc_macro2::TokenStream;
use quote::quote;
use syn::ExprWhile;

use super::{Lower, Lowered, assigned::assigned};
use crate::shadow::restate;
use crate::{
    diag::Place,
    env::VarId,
    value::{Const, Val},
};

/// A variable of the loop.
struct LoopVar {
    id: VarId,
    first: Value,
    /// What is assigned to it last.
    at: Place,
}

impl<'a> Lower<'a> {
    pub(super) fn while_loop(&mut self, w: &'a ExprWhile) -> Lowered {
        if w.label.is_some() {
            self.error(&w.label, "labels have no meaning in a program");
        }
        let (vars, others) = self.loop_vars(w);
        let first: Vec<Value> = vars.iter().map(|v| v.first.clone()).collect();

        let condition = self.graph.open_block();
        self.open_frame();
        let (go, condition_shadow) = self.in_block(condition, &vars, &first, |lower| {
            let go = lower.expr(&w.cond, None);
            (go.val, go.shadow)
        });
        self.close_frame();
        let go = match go.0 {
            Val::Const(Const { literal: Literal::Bool(false), .. }) => {
                let _ = self.graph.close_block(condition, vec![]);
                return Lowered { val: Val::Unit, shadow: restate!(self, { let _ = #condition_shadow; }) };
            }
            Val::Const(Const { literal: Literal::Bool(true), .. }) => {
                self.error(&w.cond, "this loop never ends: its condition depends on nothing that the body assigns");
                None
            }
            Val::Value(v) => Some(v),
            Val::Poison => None,
            other => {
                self.error(&w.cond, format!("a condition is a bool, found {}", other.describe()));
                None
            }
        };
        let condition_closed = self.graph.close_block(condition, go.iter().cloned().collect());

        let body = self.graph.open_block();
        self.open_frame();
        let ((_, next), body_shadow) = self.in_block(body, &vars, &first, |lower| {
            let body = lower.block(&w.body, None);
            if body.val != Val::Unit && !body.val.is_poison() {
                lower.error(&w.body, format!("the body of a loop gives no value, found {}", body.val.describe()));
            }
            (Val::Unit, body.shadow)
        });
        let next: Vec<Option<Value>> = vars
            .iter()
            .zip(next)
            .map(|(var, val)| match val {
                Val::Value(v) => Some(v),
                Val::Weight(weight) => Some(self.weight_value(&weight)),
                Val::Poison => None,
                val => self.constant_value(&val, var.first.dtype(), var.at),
            })
            .collect();
        self.close_frame();
        let next: Option<Vec<Value>> = next.into_iter().collect();
        let body_closed = self.graph.close_block(body, next.clone().unwrap_or_default());

        let mut values = None;
        if let (Some(_), Some(_)) = (&go, &next)
            && let Some(def) = self.find_op("while_loop", Place::of(&w.while_token))
        {
            let operands = vec![("loop_vars", Operand::from(first))];
            let pushed = condition_closed
                .and(body_closed)
                .and_then(|()| self.graph.push_blocks(def, operands, vec![condition, body], None, None));
            match pushed {
                Ok(v) => values = Some(v),
                Err(e) => self.loop_error(w, &vars, e),
            }
        }
        for (i, var) in vars.iter().enumerate() {
            let val = values.as_ref().and_then(|v| v.get(i)).map_or(Val::Poison, |v| Val::Value(v.clone()));
            self.env.assign(var.id, val);
        }
        others.into_iter().for_each(|id| self.env.assign(id, Val::Poison));
        Lowered { val: Val::Unit, shadow: restate!(self, { let _ = #condition_shadow; { #body_shadow }; }) }
    }

    /// The variables that the body assigns, and those of them that are poison.
    fn loop_vars(&mut self, w: &ExprWhile) -> (Vec<LoopVar>, Vec<VarId>) {
        let (mut vars, mut others): (Vec<LoopVar>, Vec<VarId>) = (vec![], vec![]);
        for (name, at) in assigned(&w.body) {
            let Some(id) = self.env.find(&name) else { continue }; // said where it is assigned
            if vars.iter().any(|v| v.id == id) || !self.env.is_mutable(id) {
                continue;
            }
            let val = self.env.get(id).clone();
            let first = match &val {
                Val::Value(v) => Some(v.clone()),
                Val::Weight(weight) => Some(self.weight_value(weight)),
                Val::Const(_) | Val::List(_) => self.loop_constant(&name, &val, at),
                Val::Poison => None,
                other => {
                    self.error_at(
                        at,
                        format!("`{name}` changes in the loop, so it must be a tensor, found {}", other.describe()),
                    );
                    None
                }
            };
            match first {
                Some(first) => vars.push(LoopVar { id, first, at }),
                None => others.push(id),
            }
        }
        (vars, others)
    }

    /// A constant that a loop changes becomes a tensor.
    fn loop_constant(&mut self, name: &str, val: &Val, at: Place) -> Option<Value> {
        let (literal, dtype) = val.typed_literal()?;
        match literal.constant(dtype.unwrap_or_else(|| literal.natural_dtype())) {
            Ok(c) => Some(self.graph.constant(&format!("{name}_0"), c)),
            Err(message) => {
                self.error_at(at, message);
                None
            }
        }
    }

    /// Lowers something inside a block of the loop; gives its value and the variables after it.
    fn in_block(
        &mut self,
        block: mil_core::ir::BlockId,
        vars: &[LoopVar],
        first: &[Value],
        lower: impl FnOnce(&mut Self) -> (Val, TokenStream),
    ) -> ((Val, Vec<Val>), TokenStream) {
        let existed = self.env.record();
        let inputs = self.graph.block_inputs(block, first);
        for (var, input) in vars.iter().zip(inputs) {
            self.env.assign(var.id, Val::Value(input));
        }
        let (val, shadow) = lower(self);
        let changes = self.env.undo(existed);
        let after = |var: &LoopVar| changes.iter().find(|(id, ..)| *id == var.id).map(|(_, _, new)| new.clone());
        let after = vars.iter().map(|v| after(v).unwrap_or(Val::Poison)).collect();
        ((val, after), shadow)
    }

    fn loop_error(&mut self, w: &ExprWhile, vars: &[LoopVar], e: OpError) {
        let (at, name) = match (e.param.as_deref(), e.index.and_then(|i| vars.get(i))) {
            (Some("loop_vars"), Some(var)) => (var.at, Some(self.env.name(var.id).to_string())),
            (Some(_), _) => (Place::of(&w.cond), None),
            (None, _) => (Place::of(&w.cond), None),
        };
        let note = name.map(|name| {
            let i = e.index.unwrap_or_default();
            format!("\nloop variable {i} is `{name}`")
        });
        self.error_at(at, format!("{e}{}", note.unwrap_or_default()));
    }
}
