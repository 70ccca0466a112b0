//! Inputs and outputs: what the model says of them, changed by what the user says.

use std::collections::BTreeMap;

use mil_core::{
    graph::{Value, identifier},
    ir::Constant,
    types::{DType, Dim, Domain, Shape, Symbol, TensorType},
};

use super::{ImportOptions, Lowering, Refusal, Tensor, carrier};

/// A size of an input as the model declares it.
#[derive(Clone, Debug)]
pub(crate) enum Declared {
    /// A number.
    Fixed(i64),
    /// A size that has a name: equal names are equal sizes.
    Named(String),
    /// A size that has a name, within bounds.
    Within(String, Domain),
    /// Any size.
    Open,
}

/// The inputs and outputs of the program that is made.
#[derive(Debug)]
pub(crate) struct Interface<'a> {
    options: &'a ImportOptions,
    /// What sizes are called that the model names.
    symbols: BTreeMap<String, Dim>,
    outputs: Vec<(String, Value)>,
    met: Vec<String>,
}

impl<'a> Interface<'a> {
    pub(crate) fn new(options: &'a ImportOptions) -> Interface<'a> {
        Interface { options, symbols: BTreeMap::new(), outputs: vec![], met: vec![] }
    }

    /// Declares an input of the model. `sizes` is `None` if the model does not even say the rank.
    ///
    /// # Errors
    /// If the dtype has no place in MIL, the rank is unknown, or the user's shape is of another rank or contradicts the model's.
    pub(crate) fn input(
        &mut self,
        l: &mut Lowering,
        name: &str,
        dtype: DType,
        sizes: Option<&[Declared]>,
    ) -> Result<Tensor, Refusal> {
        self.met.push(name.to_string());
        let Some(carried) = carrier(dtype) else {
            return Err(Refusal::new(format!("the input `{name}` is of {dtype}, of which MIL has no values")));
        };
        let given = self.options.shapes.iter().find(|s| s.name == name);
        let shape = self.shape(l, name, sizes, given.map(|g| &g.sizes[..]))?;
        if let Some((_, numbers)) = self.options.constants.iter().find(|(n, _)| n == name) {
            let constant = frozen(name, carried, &shape, numbers)?;
            return Ok(Tensor::new(l.constant(constant), dtype));
        }
        let value = l.graph().input(name, TensorType::new(carried, shape));
        Ok(Tensor::new(value, dtype))
    }

    fn shape(
        &mut self,
        l: &mut Lowering,
        name: &str,
        declared: Option<&[Declared]>,
        given: Option<&[Domain]>,
    ) -> Result<Shape, Refusal> {
        let remedy = format!("say it with `--input {name}=1,3,224,224`, or `{name}=1,3,64..=512,64..=512` for a range");
        let Some(rank) = declared.map(<[_]>::len).or(given.map(<[_]>::len)) else {
            return Err(Refusal::new(format!("the model does not say the shape of the input `{name}`")).remedy(remedy));
        };
        if let Some(given) = given.filter(|g| g.len() != rank) {
            let message = format!("`--input {name}=..` has {} sizes, the model's input has {rank}", given.len());
            return Err(Refusal::new(message));
        }
        (0..rank)
            .map(|axis| {
                let declared = declared.map_or(&Declared::Open, |d| &d[axis]);
                self.size(l, name, axis, declared, given.map(|g| &g[axis]))
            })
            .collect()
    }

    fn size(
        &mut self,
        l: &mut Lowering,
        name: &str,
        axis: usize,
        declared: &Declared,
        given: Option<&Domain>,
    ) -> Result<Dim, Refusal> {
        let fixed = |d: &Domain| match d.bounds() {
            (Some(min), Some(max)) if min == max => Some(min),
            _ => None,
        };
        let key = match declared {
            Declared::Fixed(n) => {
                if let Some(given) = given.filter(|g| fixed(g) != Some(*n)) {
                    let message = format!("`--input {name}=..` says {given} for the size {axis}, the model says {n}");
                    return Err(Refusal::new(message));
                }
                return Ok(Dim::from(*n));
            }
            Declared::Named(symbol) | Declared::Within(symbol, _) => symbol.clone(),
            Declared::Open => format!("{name}_{axis}"),
        };
        let dim = match given {
            Some(domain) => match fixed(domain) {
                Some(n) => Dim::from(n),
                None => Dim::symbol(Symbol::new(symbol_name(&key), domain.clone())),
            },
            None => match self.symbols.get(&key) {
                Some(dim) => return Ok(dim.clone()),
                None if let Declared::Within(_, domain) = declared => {
                    Dim::symbol(Symbol::new(symbol_name(&key), domain.clone()))
                }
                None => {
                    l.warn(format!(
                        "the size {axis} of the input `{name}` may be anything, which keeps the model off the Neural Engine; \
                         `--input {name}=..` can say a size or a range"
                    ));
                    Dim::symbol(Symbol::new(symbol_name(&key), Domain::Range { min: 1, max: None }))
                }
            },
        };
        match self.symbols.get(&key) {
            Some(before) if *before != dim => {
                Err(Refusal::new(format!("`--input {name}=..` says {dim} for `{key}`, which is {before} elsewhere"))
                    .remedy("give all inputs that share a size the same"))
            }
            _ => {
                self.symbols.insert(key, dim.clone());
                Ok(dim)
            }
        }
    }

    /// Declares an output of the model.
    pub(crate) fn output(&mut self, name: &str, value: Value) {
        self.outputs.push((name.to_string(), value));
    }

    /// Ends the program.
    ///
    /// # Errors
    /// If options name inputs that the model does not have, or the program cannot be ended.
    pub(crate) fn finish(self, l: Lowering) -> Result<super::Imported, Refusal> {
        let shapes = self.options.shapes.iter().map(|s| &s.name);
        for name in shapes.chain(self.options.constants.iter().map(|(n, _)| n)) {
            if !self.met.contains(name) {
                let has = self.met.join("`, `");
                return Err(Refusal::new(format!("the model has no input `{name}`")).remedy(format!("it has `{has}`")));
            }
        }
        let (graph, warnings) = l.finish();
        let mut taken: Vec<String> = vec![];
        let mut outputs = vec![];
        for (name, value) in self.outputs {
            let mut fresh = identifier(&name);
            while taken.contains(&fresh) {
                fresh.push('_');
            }
            taken.push(fresh.clone());
            outputs.push((fresh, value));
        }
        Ok(super::Imported { program: graph.finish(outputs)?, warnings })
    }
}

/// A name for a size; `?` is for those that have none.
fn symbol_name(name: &str) -> String {
    identifier(name)
}

/// An input's value, said by the user.
fn frozen(name: &str, dtype: DType, shape: &Shape, numbers: &[f64]) -> Result<Constant, Refusal> {
    let Some(shape) = shape.fixed() else {
        let message = format!("`--constant {name}=..` is for an input of a fixed shape, this has {shape}");
        return Err(Refusal::new(message).remedy(format!("say it with `--input {name}=..`")));
    };
    let count: usize = shape.iter().product();
    let all = match numbers {
        [one] => vec![*one; count],
        many if many.len() == count => many.to_vec(),
        many => {
            let message = format!("`--constant {name}=..` has {} numbers, the input has {count}", many.len());
            return Err(Refusal::new(message));
        }
    };
    use mil_core::ir::Literal;
    let leaves: Vec<Literal> = all
        .iter()
        .map(|n| match dtype {
            DType::Bool => Literal::Bool(*n != 0.0),
            d if d.is_int() => Literal::Int(*n as i64),
            _ => Literal::Float(*n),
        })
        .collect();
    Ok(Literal::constant_of(&leaves, shape, dtype)?)
}
