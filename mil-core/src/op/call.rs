//! Calls: an op with the operands that the user gave, before it is pushed.

use std::{fmt, marker::PhantomData};

use crate::{
    graph::Value,
    ir::{Constant, Literal},
};

use super::Op;

/// What a user gives for a parameter.
#[derive(Clone, Debug)]
pub enum Operand {
    /// A value of the graph.
    Value(Value),
    /// A constant of a certain dtype.
    Constant(Constant),
    /// Numbers or text whose dtype the op decides.
    Literal(Literal),
    /// Several, for a variadic parameter; literals among them stay untyped.
    List(Vec<Operand>),
}

impl From<Value> for Operand {
    fn from(v: Value) -> Operand {
        Operand::Value(v)
    }
}

impl From<&Value> for Operand {
    fn from(v: &Value) -> Operand {
        Operand::Value(v.clone())
    }
}

impl From<Constant> for Operand {
    fn from(c: Constant) -> Operand {
        Operand::Constant(c)
    }
}

impl From<&Constant> for Operand {
    fn from(c: &Constant) -> Operand {
        Operand::Constant(c.clone())
    }
}

impl From<Literal> for Operand {
    fn from(l: Literal) -> Operand {
        Operand::Literal(l)
    }
}

macro_rules! literal_operands {
    ($($t:ty),*) => {$(
        impl From<$t> for Operand { fn from(v: $t) -> Operand { Operand::Literal(v.into()) } }
        impl<const N: usize> From<[$t; N]> for Operand { fn from(v: [$t; N]) -> Operand { Operand::Literal(v.into()) } }
        impl<const N: usize, const M: usize> From<[[$t; M]; N]> for Operand {
            fn from(v: [[$t; M]; N]) -> Operand { Operand::Literal(v.into()) }
        }
        impl From<Vec<$t>> for Operand { fn from(v: Vec<$t>) -> Operand { Operand::Literal(v.into()) } }
        impl From<&[$t]> for Operand { fn from(v: &[$t]) -> Operand { Operand::Literal(v.into()) } }
    )*};
}
literal_operands!(bool, i32, i64, f32, f64, usize, &str, String, crate::types::DType);

impl From<Vec<Value>> for Operand {
    fn from(v: Vec<Value>) -> Operand {
        Operand::List(v.into_iter().map(Operand::Value).collect())
    }
}

impl From<&[Value]> for Operand {
    fn from(v: &[Value]) -> Operand {
        Operand::List(v.iter().map(Operand::from).collect())
    }
}

impl From<Vec<Operand>> for Operand {
    fn from(v: Vec<Operand>) -> Operand {
        Operand::List(v)
    }
}

impl<const N: usize> From<[Value; N]> for Operand {
    fn from(v: [Value; N]) -> Operand {
        Operand::List(v.into_iter().map(Operand::Value).collect())
    }
}

impl<const N: usize> From<[&Value; N]> for Operand {
    fn from(v: [&Value; N]) -> Operand {
        Operand::List(v.into_iter().map(Operand::from).collect())
    }
}

/// An op with its operands: plain data until [`Graph::push`](crate::graph::Graph::push) infers and checks it.
///
/// `mb::conv(x, w)` makes one; the setters of the optional parameters (`.strides([2, 2])`) are on `Call<Conv>`.
pub struct Call<O> {
    pub(crate) operands: Vec<(&'static str, Operand)>,
    pub(crate) name: Option<String>,
    op: PhantomData<O>,
}

impl<O: Op> Call<O> {
    /// A call with the required operands. The constructors in [`crate::mb`] are the way to make one.
    #[doc(hidden)]
    pub fn new(operands: Vec<(&'static str, Operand)>) -> Call<O> {
        Call { operands, name: None, op: PhantomData }
    }

    /// Sets an optional parameter. The setters named after the parameters are the way to do it.
    #[doc(hidden)]
    pub fn with(mut self, param: &'static str, operand: impl Into<Operand>) -> Call<O> {
        self.operands.retain(|(p, _)| *p != param);
        self.operands.push((param, operand.into()));
        self
    }

    /// Names the op, and its output after it.
    pub fn name(mut self, name: impl Into<String>) -> Call<O> {
        self.name = Some(name.into());
        self
    }
}

impl<O> Clone for Call<O> {
    fn clone(&self) -> Call<O> {
        Call { operands: self.operands.clone(), name: self.name.clone(), op: PhantomData }
    }
}

impl<O: Op> fmt::Debug for Call<O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut s = f.debug_struct(O::DEF.name);
        for (param, operand) in &self.operands {
            s.field(param, operand);
        }
        s.finish()
    }
}

/// What pushing a call gives.
pub trait FromOutputs: Sized {
    /// From the op's outputs; `None` if their number is another.
    fn from_outputs(values: Vec<Value>) -> Option<Self>;
}

impl FromOutputs for Value {
    fn from_outputs(values: Vec<Value>) -> Option<Value> {
        <[Value; 1]>::try_from(values).ok().map(|[v]| v)
    }
}

impl FromOutputs for (Value, Value) {
    fn from_outputs(values: Vec<Value>) -> Option<Self> {
        <[Value; 2]>::try_from(values).ok().map(Into::into)
    }
}

impl FromOutputs for (Value, Value, Value) {
    fn from_outputs(values: Vec<Value>) -> Option<Self> {
        <[Value; 3]>::try_from(values).ok().map(Into::into)
    }
}

impl FromOutputs for Vec<Value> {
    fn from_outputs(values: Vec<Value>) -> Option<Self> {
        Some(values)
    }
}
