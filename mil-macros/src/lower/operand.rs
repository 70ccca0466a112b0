//! From values of the language to operands of ops.

use mil_core::{
    graph::Value,
    ir::{Constant, Literal},
    op::{Operand, ParamDef, ParamKind},
    types::{DType, Dim},
};

use super::{Frame, Lower};
use crate::{
    diag::Place,
    value::{Const, Val, Weight},
};

/// An argument as the user gave it.
pub(super) struct Given {
    pub(super) param: &'static str,
    pub(super) val: Val,
    pub(super) at: Place,
    /// The places of a list's elements.
    pub(super) elems: Vec<Place>,
}

impl Given {
    pub(super) fn new(param: &'static str, val: Val, e: &syn::Expr) -> Given {
        let elems = match e {
            syn::Expr::Array(a) => a.elems.iter().map(Place::of).collect(),
            syn::Expr::Tuple(t) => t.elems.iter().map(Place::of).collect(),
            _ => vec![],
        };
        Given { param, val, at: Place::of(e), elems }
    }

    /// The place of one element, or of all.
    pub(super) fn place(&self, index: Option<usize>) -> Place {
        index.and_then(|i| self.elems.get(i)).copied().unwrap_or(self.at)
    }
}

impl Lower<'_> {
    /// The operand, or `None` if there is none, which has then been said (or is silent, being poison).
    pub(super) fn operand(&mut self, param: &ParamDef, given: &Given) -> Option<Operand> {
        if given.val.is_poison() {
            return None;
        }
        match &given.val {
            Val::State(state) if param.kind == ParamKind::Any => Some(Operand::Value(state.clone())),
            Val::List(items) | Val::Tuple(items) => {
                if let Some(literal) = Val::List(items.clone()).literal() {
                    return Some(Operand::Literal(literal));
                }
                if param.kind.is_variadic() {
                    let all: Vec<_> =
                        items.iter().enumerate().map(|(i, v)| self.single(v, given.place(Some(i)))).collect();
                    return all.into_iter().collect::<Option<Vec<_>>>().map(Operand::List);
                }
                if let Val::Tuple(_) = given.val {
                    let message = format!(
                        "`{}` takes one value, found {}; take one out with `let (a, b) = ..`",
                        param.name,
                        given.val.describe()
                    );
                    self.error_at(given.at, message);
                    return None;
                }
                if given.val.typed_literal().is_some() {
                    return self.constant_value(&given.val, None, given.at).map(Operand::Value);
                }
                self.packed(items, given).map(Operand::Value)
            }
            one => self.single(one, given.at),
        }
    }

    fn single(&mut self, val: &Val, at: Place) -> Option<Operand> {
        let problem = match val {
            Val::Value(v) => return Some(Operand::Value(v.clone())),
            Val::Weight(w) => return Some(Operand::Value(self.weight_value(w))),
            Val::Const(Const { literal, dtype: None }) => return Some(Operand::Literal(literal.clone())),
            Val::Const(Const { literal, dtype: Some(d) }) => match literal.constant(*d) {
                Ok(c) => return Some(Operand::Constant(c)),
                Err(message) => message,
            },
            Val::State(_) => "this is a state, not a tensor: read it with `*`".into(),
            Val::Weights(_) => "expected one weight, found all of them; take one by name: `w[\"name\"]`".into(),
            Val::Unit => "this has no value".into(),
            Val::List(_) | Val::Tuple(_) => format!("expected a tensor, found {}", val.describe()),
            Val::Poison => return None,
        };
        self.error_at(at, problem);
        None
    }

    /// A list that holds computed numbers, as in `begin = [0, pos]`: their `stack`, as a tensor of rank 1.
    fn packed(&mut self, items: &[Val], given: &Given) -> Option<Value> {
        let mut operands = vec![];
        for (i, item) in items.iter().enumerate() {
            let at = given.place(Some(i));
            if let Val::Value(v) = item
                && v.shape().is_some_and(|s| s.rank() > 0)
            {
                self.error_at(at, format!("a list in this place holds numbers; found {}", item.describe()));
                return None;
            }
            operands.push(self.single(item, at)?);
        }
        let operands = vec![("values", Operand::List(operands)), ("axis", Operand::Literal(Literal::Int(0)))];
        self.push("stack", operands, given.at)
    }

    /// Pushes an op that the source does not name; problems are told at one place.
    pub(super) fn push(&mut self, op: &str, operands: Vec<(&'static str, Operand)>, at: Place) -> Option<Value> {
        let def = self.find_op(op, at)?;
        match self.graph.push_op(def, operands, None, None) {
            Ok(values) => values.into_iter().next(),
            Err(e) => {
                self.error_at(at, e);
                None
            }
        }
    }

    pub(super) fn find_op(&mut self, name: &str, at: Place) -> Option<&'static mil_core::op::OpDef> {
        let found = mil_core::ops::find(name);
        if found.is_none() {
            self.error_at(at, format!("this needs the op `{name}`, which is not supported"));
        }
        found
    }

    /// A constant as a value of the graph, of this dtype unless it says its own.
    pub(super) fn constant_value(&mut self, val: &Val, dtype: Option<DType>, at: Place) -> Option<Value> {
        let Some((literal, own)) = val.typed_literal() else {
            if !val.is_poison() {
                self.error_at(at, format!("expected a constant of one element type, found {}", val.describe()));
            }
            return None;
        };
        let dtype = own.or(dtype).unwrap_or_else(|| literal.natural_dtype());
        match literal.constant(dtype) {
            Ok(c) => Some(self.graph.constant("const", c)),
            Err(message) => {
                self.error_at(at, message);
                None
            }
        }
    }

    /// The weight's `const` op, made in the block that first uses it.
    pub(super) fn weight_value(&mut self, weight: &Weight) -> Value {
        if let Some(v) = self.frames.iter().rev().find_map(|f| f.weights.get(&weight.name)) {
            return v.clone();
        }
        let constant = Constant::weight(&weight.name[..], weight.dtype, &weight.shape[..]);
        let value = self.graph.constant(&weight.name, constant);
        if let Some(frame) = self.frames.last_mut() {
            frame.weights.insert(weight.name.clone(), value.clone());
        }
        value
    }

    /// A flexible dimension as a number: read off the shape of an input that has it.
    pub(super) fn symbol(&mut self, name: &str, dim: Dim, at: Place) -> Val {
        if let Some(v) = self.frames.iter().rev().find_map(|f| f.symbols.get(name)) {
            return Val::Value(v.clone());
        }
        let found =
            self.input_values.iter().find_map(|v| Some((v.clone(), v.shape()?.iter().position(|d| *d == dim)?)));
        let Some((input, axis)) = found else {
            return self
                .error_at(at, format!("no input has the dimension `{name}` alone, so its size is nowhere to be read"));
        };
        let Some(shape) = self.push("shape", vec![("x", Operand::Value(input))], at) else { return Val::Poison };
        let axis = axis as i64;
        let operands = vec![
            ("x", Operand::Value(shape)),
            ("indices", Literal::Int(axis).into()),
            ("axis", Literal::Int(0).into()),
        ];
        let Some(size) = self.push("gather", operands, at) else { return Val::Poison };
        if let Some(frame) = self.frames.last_mut() {
            frame.symbols.insert(name.to_string(), size.clone());
        }
        Val::Value(size)
    }

    pub(super) fn open_frame(&mut self) {
        self.frames.push(Frame::default());
    }

    pub(super) fn close_frame(&mut self) {
        self.frames.pop();
    }
}
