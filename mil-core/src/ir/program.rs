//! Programs: functions of one opset, and what the model says of itself.

use std::collections::BTreeMap;

use crate::types::{DType, Opset, TensorType, Type};

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

    /// A program of several functions (since iOS18), one of which runs when none is named. Constants that share their bytes
    /// are written once.
    ///
    /// # Errors
    /// If there is none, two have one name, one is of another opset, that is older than iOS18, or the default is not among them.
    pub fn of_functions(functions: impl IntoIterator<Item = Function>, default: &str) -> Result<Program, String> {
        let mut all: BTreeMap<String, Function> = BTreeMap::new();
        let mut opset = None;
        for function in functions {
            let first = *opset.get_or_insert(function.opset);
            if function.opset != first {
                let name = &function.name;
                return Err(format!(
                    "function `{name}` is of opset {}, the ones before are of {first}",
                    function.opset
                ));
            }
            if let Some(same) = all.insert(function.name.clone(), function) {
                return Err(format!("two functions are named `{}`", same.name));
            }
        }
        let opset = opset.ok_or("a program has at least one function")?;
        if opset < Opset::iOS18 {
            return Err(format!("a program of several functions needs opset iOS18, found {opset}"));
        }
        if !all.contains_key(default) {
            let names: Vec<_> = all.keys().map(|n| format!("`{n}`")).collect();
            return Err(format!("the default function `{default}` is not among {}", names.join(", ")));
        }
        Ok(Program {
            opset,
            version: 1,
            default_function: default.to_string(),
            multifunction: true,
            attributes: BTreeMap::new(),
            metadata: Metadata::default(),
            functions: all,
        })
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
    /// The list of scalars that a constant of rank 1 is; `None` if its elements cannot be written alone.
    pub fn list_of(constant: &Constant) -> Option<Attribute> {
        let scalars: Option<Vec<Constant>> = match (constant.as_strings(), constant.bytes()) {
            (Some(strings), _) => Some(strings.iter().map(Constant::string).collect()),
            (None, Some(bytes)) if !constant.dtype().is_sub_byte() => {
                let each = bytes.chunks_exact((constant.dtype().bits() / 8).max(1));
                each.map(|b| Constant::from_bytes(constant.dtype(), [], b.to_vec()).ok()).collect()
            }
            _ => None,
        };
        let items = scalars.filter(|s| constant.shape() == [s.len()])?;
        let element = TensorType::scalar(constant.dtype()).into();
        Some(Attribute::List(element, items.into_iter().map(Attribute::Tensor).collect()))
    }

    /// A list of scalars as one constant of rank 1; a tensor as itself.
    pub fn known(&self) -> Option<Constant> {
        let (element, items) = match self {
            Attribute::Tensor(c) => return Some(c.clone()),
            Attribute::List(Type::Tensor(element), items) => (element, items),
            _ => return None,
        };
        let scalars = items.iter().map(|i| match i {
            Attribute::Tensor(c) if c.dtype() == element.dtype && c.shape().is_empty() => Some(c),
            _ => None,
        });
        let scalars = scalars.collect::<Option<Vec<&Constant>>>()?;
        if element.dtype == DType::String {
            let strings = scalars.iter().map(|c| c.as_strings()?.first().cloned()).collect::<Option<Vec<_>>>()?;
            return Constant::strings([strings.len()], strings).ok();
        }
        let mut bytes = Vec::new();
        for c in &scalars {
            bytes.extend_from_slice(c.bytes()?);
        }
        Constant::from_bytes(element.dtype, [scalars.len()], bytes).ok()
    }

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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{graph::Graph, mb};

    fn function(name: &str, opset: Opset, weight: &Constant) -> Function {
        let mut g = Graph::new(name, opset);
        let x = g.input("x", TensorType::new(DType::F32, [16]));
        let y = g.push(mb::add(&x, weight)).unwrap();
        g.finish_function(vec![("y", y).into()]).unwrap()
    }

    #[test]
    fn functions_share_a_package_and_their_weights() {
        let weight = Constant::vector(&[0.5f32; 16]);
        let both = || ["prefill", "decode"].map(|name| function(name, Opset::iOS18, &weight));
        let p = Program::of_functions(both(), "prefill").unwrap();
        crate::validate::validate(&p).unwrap();
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("p.mlpackage");
        p.save(&path).unwrap();
        let again = Program::load(&path).unwrap();
        assert_eq!((again.functions.len(), &again.default_function[..], again.multifunction), (2, "prefill", true));
        let weights = std::fs::metadata(path.join("Data/com.apple.CoreML/weights/weight.bin")).unwrap().len();
        assert_eq!(weights, 64 + 64 + 64, "the constant is written once");
    }

    #[test]
    fn functions_that_do_not_go_together_are_refused() {
        let weight = Constant::vector(&[0.5f32; 16]);
        let f = |name, opset| function(name, opset, &weight);
        let fails = |functions: Vec<Function>, text: &str| {
            let e = Program::of_functions(functions, "a").unwrap_err();
            assert!(e.contains(text), "{e}");
        };
        fails(vec![], "at least one function");
        fails(vec![f("a", Opset::iOS18), f("a", Opset::iOS18)], "two functions are named `a`");
        fails(vec![f("a", Opset::iOS18), f("b", Opset::iOS26)], "`b` is of opset iOS26, the ones before are of iOS18");
        fails(vec![f("a", Opset::iOS17)], "needs opset iOS18, found iOS17");
        fails(vec![f("b", Opset::iOS18)], "the default function `a` is not among `b`");
    }
}
