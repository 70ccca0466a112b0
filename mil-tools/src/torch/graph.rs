//! A graph of ATen ops, whichever kind of file it is from.
//!
//! Exported programs (`.pt2`) and traced modules (TorchScript) are read into this; lowerings see nothing else.

use std::collections::HashSet;

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
    /// Names of what it gives; for a list of tensors (`split`) that is taken apart one [`Output::List`].
    pub(super) outputs: Vec<Output>,
    /// Where it is from, for errors: the module's path or a line of source.
    pub(super) place: String,
}

/// What a node gives.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Output {
    /// One value; the name is empty if there is none.
    One(String),
    /// A list of values that the file takes apart: each has a name. A list that it does not take apart is [`Output::One`].
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
    /// `torch.float32`. TorchScript has numbers instead, which are [`Arg::Int`] here: `dtype::of_script` knows them.
    DType(DType),
    /// A value by its name: a tensor, a symbolic integer, or a list of tensors that has a name.
    Value(String),
    /// A list or tuple.
    List(Vec<Arg>),
}

impl Graph {
    /// Removes nodes and constants that nothing needs: ops have no effects.
    pub(super) fn prune(&mut self) {
        let mut used = HashSet::new();
        self.outputs.iter().for_each(|(_, arg)| arg.values(&mut used));
        let mut kept = vec![];
        for node in std::mem::take(&mut self.nodes).into_iter().rev() {
            if node.outputs.iter().flat_map(Output::names).any(|name| used.contains(name)) {
                node.args.iter().for_each(|(_, arg)| arg.values(&mut used));
                kept.push(node);
            }
        }
        kept.reverse();
        self.nodes = kept;
        self.constants.retain(|(name, _)| used.contains(name));
    }
}

impl Output {
    /// The names in it; an empty one is of nothing.
    pub(super) fn names(&self) -> &[String] {
        match self {
            Output::One(name) => std::slice::from_ref(name),
            Output::List(names) => names,
        }
    }
}

impl Arg {
    /// Adds the names of values in it. Arguments are not nested deeply.
    fn values(&self, names: &mut HashSet<String>) {
        match self {
            Arg::Value(name) => {
                names.insert(name.clone());
            }
            Arg::List(all) => all.iter().for_each(|arg| arg.values(names)),
            _ => {}
        }
    }
}
