//! A graph of ATen ops, whichever kind of file it is from.
//!
//! Exported programs (`.pt2`) and traced modules (TorchScript) are read into this; lowerings see nothing else.

use mil_core::{ir::Constant, types::DType};

/// A model: straight-line code.
#[derive(Clone, Debug, Default)]
pub(super) struct Graph {
    /// What the user gives, in order.
    pub(super) inputs: Vec<Input>,
    /// Parameters, buffers and constants by the names that nodes use; bytes stay in the mapped file.
    pub(super) constants: Vec<(String, Constant)>,
    /// The ops, in the order of their execution.
    pub(super) nodes: Vec<Node>,
    /// What the model gives: names of values, with the names that the outputs shall have.
    pub(super) outputs: Vec<(String, Arg)>,
}

/// An input.
#[derive(Clone, Debug)]
pub(super) struct Input {
    /// The name that nodes use, which is also the input's.
    pub(super) name: String,
    /// Its dtype; `None` where the file does not say (TorchScript does not): `f32` then.
    pub(super) dtype: Option<DType>,
    /// Its sizes; `None` where the file does not say.
    pub(super) sizes: Option<Vec<InputSize>>,
}

/// A size of an input.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum InputSize {
    /// A number.
    Fixed(i64),
    /// A symbol (`s0`), with its least and greatest value where the file says them.
    Symbol(String, Option<i64>, Option<i64>),
}

/// A call of an op.
#[derive(Clone, Debug)]
pub(super) struct Node {
    /// `aten::conv2d`, `prim::NumToTensor`, `_operator::mul`: namespace and name, without overload.
    pub(super) op: String,
    /// `default`, `Tensor`, `dim_IntList`; empty where the file does not say (TorchScript does not).
    pub(super) overload: String,
    /// Arguments by position, or by name.
    pub(super) args: Vec<(Option<String>, Arg)>,
    /// Names of what it gives; a list of tensors (`split`) that is taken apart is one [`Output::List`].
    pub(super) outputs: Vec<Output>,
    /// Where it is from, for errors: the module's path or a line of source.
    pub(super) place: String,
}

/// What a node gives.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Output {
    /// One value.
    One(String),
    /// A list that is taken apart: each value has a name.
    List(Vec<String>),
}

/// An argument.
#[derive(Clone, PartialEq, Debug)]
pub(super) enum Arg {
    /// `None`.
    None,
    /// A number.
    Int(i64),
    /// A number.
    Float(f64),
    /// `True` or `False`.
    Bool(bool),
    /// Text, devices among it.
    Str(String),
    /// `torch.float32`, or TorchScript's number of it.
    DType(DType),
    /// A value by its name: a tensor, a symbolic integer, or a list of tensors that has a name.
    Value(String),
    /// A list or tuple.
    List(Vec<Arg>),
}
