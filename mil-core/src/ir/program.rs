//! Programs: functions of one opset, and what the model says of itself.

use std::collections::BTreeMap;

use crate::types::{Opset, Type};

use super::{constant::Constant, function::Function};

/// A value in an attribute: a tensor, or tensors in lists, tuples and dictionaries (proto: `Value`).
#[derive(Clone, PartialEq, Debug)]
pub enum Attribute {
    /// A tensor or scalar.
    Tensor(Constant),
    /// A tuple.
    Tuple(Vec<Attribute>),
    /// A list with its element type.
    List(Type, Vec<Attribute>),
    /// A dictionary with its key and value types.
    Dictionary {
        /// Type of the keys.
        key: Type,
        /// Type of the values.
        value: Type,
        /// Entries in file order.
        entries: Vec<(Attribute, Attribute)>,
    },
}

/// What the model says of itself to people (proto: `Metadata`).
#[derive(Clone, PartialEq, Eq, Debug, Default)]
#[allow(missing_docs)] // named after the proto's fields
pub struct Metadata {
    pub description: String,
    pub version: String,
    pub author: String,
    pub license: String,
    pub user_defined: BTreeMap<String, String>,
}

/// A model: one or more functions.
#[derive(Clone, PartialEq, Debug)]
pub struct Program {
    /// The opset that all functions speak.
    pub opset: Opset,
    /// `Program.version` of the format; always 1 so far.
    pub version: i64,
    /// Functions by name. A program that is not multi-function has exactly one.
    pub functions: BTreeMap<String, Function>,
    /// The function that runs when none is named, in a multi-function model.
    pub default_function: String,
    /// Whether the description lists functions separately (since iOS18); else the single function's features are the model's.
    pub multifunction: bool,
    /// Attributes of the program, such as `buildInfo`.
    pub attributes: BTreeMap<String, Attribute>,
    /// What the model says of itself.
    pub metadata: Metadata,
}

impl Program {
    /// A program of one function.
    pub fn single(function: Function) -> Program {
        Program {
            opset: function.opset,
            version: 1,
            default_function: function.name.clone(),
            multifunction: false,
            attributes: BTreeMap::new(),
            metadata: Metadata::default(),
            functions: BTreeMap::from([(function.name.clone(), function)]),
        }
    }

    /// The function that runs when none is named.
    pub fn main(&self) -> Option<&Function> {
        self.functions.get(&self.default_function).or_else(|| self.functions.values().next())
    }

    /// Replaces every [`Constant::weight`] by what `find` has under its name.
    ///
    /// # Errors
    /// If `find` has none, or one of another dtype or shape; the message names the weight.
    pub fn attach_weights(&mut self, find: &dyn Fn(&str) -> Option<Constant>) -> Result<(), String> {
        for function in self.functions.values_mut() {
            function.attach_weights(find)?;
        }
        Ok(())
    }
}

impl Attribute {
    /// Its type.
    pub fn ty(&self) -> Type {
        match self {
            Attribute::Tensor(c) => c.ty().into(),
            Attribute::Tuple(items) => Type::Tuple(items.iter().map(Attribute::ty).collect()),
            Attribute::List(element, items) => Type::List(Box::new(element.clone()), items.len().into()),
            Attribute::Dictionary { key, value, .. } => {
                Type::Dictionary(Box::new(key.clone()), Box::new(value.clone()))
            }
        }
    }
}
