//! What an expression of a program is while it is being lowered.

use std::rc::Rc;

use mil_core::{
    graph::Value,
    ir::Literal,
    types::{DType, TensorType},
};

/// A number, bool or text known at compile time.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Const {
    /// Never a list.
    pub(crate) literal: Literal,
    /// The dtype, if the source says one (`0.5f16`, `2 as f32`); else it takes that of the other operand.
    pub(crate) dtype: Option<DType>,
}

impl Const {
    pub(crate) fn int(n: i64) -> Val {
        Val::Const(Const { literal: Literal::Int(n), dtype: None })
    }

    pub(crate) fn text(s: impl Into<String>) -> Val {
        Val::Const(Const { literal: Literal::Str(s.into()), dtype: None })
    }

    pub(crate) fn bool(b: bool) -> Val {
        Val::Const(Const { literal: Literal::Bool(b), dtype: None })
    }
}

/// One weight of the program.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Weight {
    pub(crate) name: String,
    pub(crate) dtype: DType,
    pub(crate) shape: Vec<usize>,
}

impl Weight {
    pub(crate) fn ty(&self) -> TensorType {
        TensorType::new(self.dtype, &self.shape[..])
    }
}

/// The value of an expression.
#[derive(Clone, PartialEq, Debug)]
pub(crate) enum Val {
    /// A value of the graph.
    Value(Value),
    /// Known at compile time.
    Const(Const),
    /// A weight; it becomes a `const` op where it is first used.
    Weight(Rc<Weight>),
    /// All weights whose names begin with this prefix (empty, or without the final dot).
    Weights(String),
    /// A state, not what it holds.
    State(Value),
    /// `[a, b]`, a range, the outputs of an op that gives any number.
    List(Vec<Val>),
    /// `(a, b)`, the outputs of an op that gives several.
    Tuple(Vec<Val>),
    /// No value.
    Unit,
    /// The value of something wrong. It silences everything downstream.
    Poison,
}

impl Val {
    /// From the outputs of an op.
    pub(crate) fn outputs(mut values: Vec<Value>) -> Val {
        match values.len() {
            0 => Val::Unit,
            1 => Val::Value(values.remove(0)),
            _ => Val::Tuple(values.into_iter().map(Val::Value).collect()),
        }
    }

    pub(crate) fn is_poison(&self) -> bool {
        match self {
            Val::Poison => true,
            Val::List(items) | Val::Tuple(items) => items.iter().any(Val::is_poison),
            _ => false,
        }
    }

    /// The literal, if all of it is known and none of it has a dtype of its own.
    pub(crate) fn literal(&self) -> Option<Literal> {
        match self {
            Val::Const(Const { literal, dtype: None }) => Some(literal.clone()),
            Val::List(items) => items.iter().map(Val::literal).collect::<Option<_>>().map(Literal::List),
            _ => None,
        }
    }

    /// The literal, and the dtype that its parts say, if all of it is known; `None` also if they say different ones.
    pub(crate) fn typed_literal(&self) -> Option<(Literal, Option<DType>)> {
        match self {
            Val::Const(c) => Some((c.literal.clone(), c.dtype)),
            Val::List(items) => {
                let mut dtype = None;
                let mut literals = Vec::with_capacity(items.len());
                for item in items {
                    let (literal, own) = item.typed_literal()?;
                    if dtype.is_some() && own.is_some() && dtype != own {
                        return None;
                    }
                    dtype = dtype.or(own);
                    literals.push(literal);
                }
                Some((Literal::List(literals), dtype))
            }
            _ => None,
        }
    }

    /// The integer, if it is a known one.
    pub(crate) fn as_int(&self) -> Option<i64> {
        match self {
            Val::Const(Const { literal: Literal::Int(n), .. }) => Some(*n),
            _ => None,
        }
    }

    /// As a message says it.
    pub(crate) fn describe(&self) -> String {
        let list = |items: &[Val]| items.iter().map(Val::describe).collect::<Vec<_>>().join(", ");
        match self {
            Val::Value(v) => v.ty().to_string(),
            Val::Const(Const { literal, dtype: None }) => format!("the constant {literal}"),
            Val::Const(Const { literal, dtype: Some(d) }) => format!("the {d} constant {literal}"),
            Val::Weight(w) => w.ty().to_string().replacen("Tensor", "Weight", 1),
            Val::Weights(_) => "all weights".into(),
            Val::State(v) => v.ty().to_string(),
            Val::List(items) => match self.literal() {
                Some(literal) => format!("the constant {literal}"),
                None => format!("[{}]", list(items)),
            },
            Val::Tuple(items) => format!("({})", list(items)),
            Val::Unit => "()".into(),
            Val::Poison => "an unknown value".into(),
        }
    }
}
