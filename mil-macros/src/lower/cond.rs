//! `if`: at compile time if the condition is known, else `cond`. And `for`, which unrolls.

use std::collections::BTreeMap;

use mil_core::{
    graph::Value,
    ir::{BlockId, Literal},
    types::DType,
};
use proc_macro2::TokenStream;
use quote::quote;
use syn::{Expr, ExprIf, Stmt};

use super::{Lower, Lowered, assigned::assigned, expr::MAX_ITEMS};
use crate::shadow::restate;
use crate::{
    diag::Place,
    env::VarId,
    value::{Const, Val},
};

/// A branch, lowered into a block that is still open for constants.
struct Branch {
    block: BlockId,
    val: Val,
    shadow: TokenStream,
    /// Variables of outside: before and after.
    assigned: BTreeMap<VarId, (Val, Val)>,
    /// What its block gives; `None` if something is wrong, which has been said.
    values: Option<Vec<Value>>,
}

impl<'a> Lower<'a> {
    pub(super) fn if_else(&mut self, i: &'a ExprIf, hint: Option<&str>) -> Lowered {
        let pred = self.expr(&i.cond, None);
        let known = match &pred.val {
            Val::Const(Const { literal: Literal::Bool(b), .. }) => Some(*b),
            Val::Value(v) if v.dtype() == Some(DType::Bool) => {
                v.known().and_then(|k| k.constant()).and_then(|c| c.ints()).filter(|v| v.len() == 1).map(|v| v[0] != 0)
            }
            _ => None,
        };
        if let Some(taken) = known {
            let tokens = &pred.shadow;
            let branch = match (&i.else_branch, taken) {
                (_, true) => self.block(&i.then_branch, hint),
                (Some((_, e)), false) => self.expr(e, hint),
                (None, false) => Lowered { val: Val::Unit, shadow: restate!(self, ()) },
            };
            let shadow = branch.shadow;
            return Lowered { val: branch.val, shadow: restate!(self, { let _ = #tokens; #shadow }) };
        }
        let pred_value = match &pred.val {
            Val::Value(v) => Some(v.clone()),
            Val::Poison => None,
            other => {
                self.error(&i.cond, format!("a condition is a bool, found {}", other.describe()));
                None
            }
        };
        // A branch that gives a bare number takes its dtype from the other, which therefore goes first.
        let else_first = matches!(i.then_branch.stmts.last(), Some(Stmt::Expr(Expr::Lit(_) | Expr::Unary(_), None)));
        let mut order = [true, false];
        if else_first {
            order.reverse();
        }
        // The first branch cannot know which variables the second assigns; the source says it.
        let vars = self.assigned_by(i);
        let mut done: Vec<Branch> = vec![];
        for then in order {
            let block = self.graph.open_block();
            self.open_frame();
            let mut branch = self.branch(block, |lower| match (then, &i.else_branch) {
                (true, _) => lower.block(&i.then_branch, None),
                (false, Some((_, e))) => lower.expr(e, None),
                (false, None) => Lowered { val: Val::Unit, shadow: restate!(lower, ()) },
            });
            let place = if then { Place::of(&i.then_branch) } else { Place::of(i) };
            branch.values = self.branch_values(&branch, &vars, done.first(), place);
            self.close_frame();
            if let Err(e) = self.graph.close_block(block, branch.values.clone().unwrap_or_default()) {
                self.error_at(place, e);
            }
            done.push(branch);
        }
        if else_first {
            done.reverse();
        }
        let Ok([then_branch, else_branch]) = <[Branch; 2]>::try_from(done) else {
            return Lowered { val: Val::Poison, shadow: self.shadow.any(&Val::Poison) };
        };
        let same_structure = count(&then_branch.val) == count(&else_branch.val);
        if !same_structure && !then_branch.val.is_poison() && !else_branch.val.is_poison() {
            let message = format!(
                "the branches give different values: {} and {}",
                then_branch.val.describe(),
                else_branch.val.describe()
            );
            self.error_at(Place::of(&i.if_token), message);
        }
        let values = match (pred_value, &then_branch.values, &else_branch.values) {
            (Some(pred), Some(a), Some(b)) if same_structure && !(a.is_empty() && b.is_empty()) => {
                self.push_cond(i, pred, [then_branch.block, else_branch.block], hint)
            }
            (Some(_), Some(a), Some(b)) if same_structure && a.is_empty() && b.is_empty() => Some(vec![]),
            _ => None,
        };
        let (val, rest) = match values {
            Some(mut values) => {
                let own = values.len().saturating_sub(vars.len());
                let rest: Vec<Val> = values.split_off(own).into_iter().map(Val::Value).collect();
                let mut own = values.into_iter();
                (rebuild(&then_branch.val, &mut own), rest)
            }
            None => (if then_branch.val == Val::Unit { Val::Unit } else { Val::Poison }, vec![Val::Poison; vars.len()]),
        };
        for (var, value) in vars.iter().zip(rest) {
            self.env.assign(*var, value);
        }
        let (p, a, b) = (&pred.shadow, &then_branch.shadow, &else_branch.shadow);
        let any = self.shadow.any(&val);
        Lowered { shadow: restate!(self, { let _ = #p; { #a }; { #b }; #any }), val }
    }

    /// The variables of outside that either branch assigns.
    fn assigned_by(&self, i: &ExprIf) -> Vec<VarId> {
        let mut names = assigned(&i.then_branch);
        let mut rest = &i.else_branch;
        while let Some((_, e)) = rest {
            match &**e {
                Expr::If(i) => {
                    names.extend(assigned(&i.then_branch));
                    rest = &i.else_branch;
                }
                Expr::Block(b) => {
                    names.extend(assigned(&b.block));
                    rest = &None;
                }
                _ => rest = &None,
            }
        }
        let mut vars: Vec<VarId> = vec![];
        for (name, _) in names {
            if let Some(id) = self.env.find(&name)
                && self.env.is_mutable(id)
                && !vars.contains(&id)
            {
                vars.push(id);
            }
        }
        vars
    }

    /// Lowers a branch and undoes what it assigned.
    fn branch(&mut self, block: BlockId, lower: impl FnOnce(&mut Self) -> Lowered) -> Branch {
        let existed = self.env.record();
        let Lowered { val, shadow } = lower(self);
        let assigned = self.env.undo(existed).into_iter().map(|(id, old, new)| (id, (old, new))).collect();
        Branch { block, val, shadow, assigned, values: None }
    }

    /// What a branch's block gives: its value, then the variables. `None` if something is wrong, which has been said.
    fn branch_values(
        &mut self,
        branch: &Branch,
        vars: &[VarId],
        other: Option<&Branch>,
        at: Place,
    ) -> Option<Vec<Value>> {
        let mut all = vec![];
        flatten(&branch.val, &mut all);
        let own = all.len();
        for var in vars {
            all.push(branch.assigned.get(var).map_or_else(|| self.env.get(*var).clone(), |(_, new)| new.clone()));
        }
        let like = |i: usize| -> Option<DType> { other?.values.as_ref()?.get(i)?.dtype() };
        let mut values = vec![];
        let mut wrong = false;
        for (i, val) in all.into_iter().enumerate() {
            let before = i.checked_sub(own).and_then(|n| match self.env.get(vars[n]) {
                Val::Value(v) => v.dtype(),
                _ => None,
            });
            let value = match &val {
                Val::Value(v) => Some(v.clone()),
                Val::Weight(w) => Some(self.weight_value(w)),
                Val::Const(_) | Val::List(_) => self.constant_value(&val, like(i).or(before), at),
                Val::Poison => None,
                found => {
                    self.error_at(at, format!("a branch gives tensors, found {}", found.describe()));
                    None
                }
            };
            wrong |= value.is_none();
            values.extend(value);
        }
        (!wrong).then_some(values)
    }

    fn push_cond(&mut self, i: &ExprIf, pred: Value, blocks: [BlockId; 2], hint: Option<&str>) -> Option<Vec<Value>> {
        let def = self.find_op("cond", Place::of(&i.if_token))?;
        match self.graph.push_blocks(def, vec![("pred", pred.into())], blocks.to_vec(), hint, None) {
            Ok(values) => Some(values),
            Err(e) => {
                let at = if e.param.is_some() { Place::of(&i.cond) } else { Place::of(&i.if_token) };
                self.error_at(at, e);
                None
            }
        }
    }

    /// `for i in 0..12 { .. }`.
    pub(super) fn for_loop(&mut self, f: &'a syn::ExprForLoop) -> Lowered {
        let list = self.expr(&f.expr, None);
        let items = match list.val {
            Val::List(items) | Val::Tuple(items) => items,
            Val::Poison => vec![Val::Poison],
            other => {
                let message =
                    format!("`for` unrolls over a constant range or a list, found {}; use `while`", other.describe());
                self.error(&f.expr, message);
                vec![Val::Poison]
            }
        };
        if f.label.is_some() {
            self.error(&f.label, "labels have no meaning in a program");
        }
        let mut first = None;
        for item in items {
            self.unrolled += 1;
            if self.unrolled > MAX_ITEMS {
                self.error(&f.for_token, format!("the loops of this program unroll to more than {MAX_ITEMS} rounds"));
                break;
            }
            let before = self.diag.count();
            let ty = self.shadow.ty(&item);
            self.env.open();
            self.bind(&f.pat, item);
            let body = self.block(&f.body, None);
            self.env.close();
            if body.val != Val::Unit && !body.val.is_poison() {
                self.error(&f.body, format!("the body of a loop gives no value, found {}", body.val.describe()));
            }
            first.get_or_insert((ty, body.shadow));
            if self.diag.count() > before {
                // The other rounds would tell the same again, or follow from it.
                for (name, _) in assigned(&f.body) {
                    if let Some(id) = self.env.find(&name) {
                        self.env.assign(id, Val::Poison);
                    }
                }
                break;
            }
        }
        let tokens = &list.shadow;
        let (pat, body) = (&f.pat, first);
        let round = body.map(|(ty, body)| restate!(self, let #pat: #ty = ::mil::__private::any(); { #body };));
        Lowered { val: Val::Unit, shadow: restate!(self, { let _ = #tokens; #round }) }
    }
}

/// How many values it is made of.
fn count(val: &Val) -> usize {
    match val {
        Val::Tuple(items) => items.iter().map(count).sum(),
        Val::Unit => 0,
        _ => 1,
    }
}

fn flatten(val: &Val, out: &mut Vec<Val>) {
    match val {
        Val::Tuple(items) => items.iter().for_each(|v| flatten(v, out)),
        Val::Unit => {}
        one => out.push(one.clone()),
    }
}

/// The same structure of other values.
fn rebuild(like: &Val, values: &mut impl Iterator<Item = Value>) -> Val {
    match like {
        Val::Tuple(items) => Val::Tuple(items.iter().map(|v| rebuild(v, values)).collect()),
        Val::Unit => Val::Unit,
        _ => values.next().map_or(Val::Poison, Val::Value),
    }
}
