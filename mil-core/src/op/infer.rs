//! Inference: types and known values of what an op gives.

use std::borrow::Cow;

use crate::{
    ir::{Constant, Known},
    types::{Dim, Opset, TensorType, Type, scope_id},
};

use super::error::OpError;

/// What is inferred of one output.
#[derive(Clone, PartialEq, Debug)]
pub struct Inferred {
    /// Its type.
    pub ty: Type,
    /// What is known of it.
    pub known: Option<Known>,
}

impl Inferred {
    /// A type with a known value, if there is one.
    pub fn known(ty: impl Into<Type>, known: Option<Known>) -> Inferred {
        Inferred { ty: ty.into(), known }
    }
}

impl From<TensorType> for Inferred {
    fn from(ty: TensorType) -> Inferred {
        Inferred { ty: ty.into(), known: None }
    }
}

impl From<Type> for Inferred {
    fn from(ty: Type) -> Inferred {
        Inferred { ty, known: None }
    }
}

/// The signature of a nested block, as `cond` and `while_loop` see it.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct BlockTypes {
    /// Types of its inputs.
    pub inputs: Vec<Type>,
    /// Types of its outputs.
    pub outputs: Vec<Type>,
}

/// What inference may ask about its surroundings: the opset, nested blocks, and names for sizes nobody knows.
#[derive(Debug)]
pub struct Cx<'a> {
    /// The program's opset.
    pub opset: Opset,
    /// Signatures of the op's nested blocks.
    pub blocks: &'a [BlockTypes],
    /// Whether the op stands in a program already (a file was read), and is not about to be written: then what Core ML
    /// runs is accepted even if it could not be built.
    pub reading: bool,
    scope: Cow<'a, str>,
    fresh: usize,
}

impl<'a> Cx<'a> {
    /// A context. `scope` must be unique to the op in its function (its first output's name is): unknown sizes are
    /// named after it, so that inferring twice gives the same types.
    pub fn new(opset: Opset, scope: &'a str, blocks: &'a [BlockTypes]) -> Cx<'a> {
        Cx { opset, blocks, reading: false, scope: scope_id(scope), fresh: 0 }
    }

    /// The same for an op of a program that was read.
    pub fn reading(self) -> Cx<'a> {
        Cx { reading: true, ..self }
    }

    /// A size that depends on data.
    pub fn unknown(&mut self) -> Dim {
        self.fresh += 1;
        Dim::unknown(format_args!("{}.{}", self.scope, self.fresh))
    }
}

/// The rule of an op: its constraints and its result, together.
pub trait Infer {
    /// The outputs' types and known values. Dtype sets, dtype variables and opsets have been checked already.
    ///
    /// # Errors
    /// If the op cannot be with these arguments; the error names the parameter.
    fn infer(&self, cx: &mut Cx<'_>) -> Result<Vec<Inferred>, OpError>;
}

/// What a `constexpr_` op unpacks to.
pub trait Materialize {
    /// The outputs, exactly as Core ML has them. The arguments were inferred, and are known constants.
    ///
    /// # Errors
    /// If an argument is not known after all, or its bytes are not attached.
    fn materialize(&self) -> Result<Vec<Constant>, OpError>;
}
