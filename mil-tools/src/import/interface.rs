//! Inputs and outputs: what the model says of them, changed by what the user says.

use std::collections::BTreeMap;

use mil_core::{
    graph::{Value, identifier, is_identifier},
    ir::Constant,
    types::{DType, Dim, Domain, Shape, Symbol, TensorType},
};

use super::{ImportOptions, Lowering, Refusal, Rename, Tensor, carrier, ending, pixels::Pixels};

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

impl Declared {
    /// What the size is known by, if it is no number: equal keys are equal sizes.
    fn key(&self, input: &str, axis: usize) -> Option<String> {
        match self {
            Declared::Fixed(_) => None,
            Declared::Named(symbol) | Declared::Within(symbol, _) => Some(symbol.clone()),
            Declared::Open => Some(format!("{input}_{axis}")),
        }
    }
}

/// The inputs and outputs of the program that is made.
#[derive(Debug)]
pub(crate) struct Interface<'a> {
    options: &'a ImportOptions,
    /// What sizes are called that the model names.
    symbols: BTreeMap<String, Dim>,
    outputs: Vec<(String, Value)>,
    /// All inputs of the model.
    met: Vec<String>,
    /// Those that are no constants now.
    inputs: Vec<String>,
    /// The input that an option meant which names none.
    pictured: Option<String>,
    normalized: Option<String>,
}

impl<'a> Interface<'a> {
    pub(crate) fn new(options: &'a ImportOptions) -> Interface<'a> {
        let (symbols, outputs, met, inputs) = Default::default();
        Interface { options, symbols, outputs, met, inputs, pictured: None, normalized: None }
    }

    /// Declares an input of the model. `sizes` is `None` if the model does not even say the rank.
    ///
    /// # Errors
    /// If the dtype has no place in MIL, the rank is unknown, or what the user says of the input contradicts the model.
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
        let constant = self.options.constants.iter().find(|(n, _)| n == name);
        let named = |i: &Option<String>| i.as_deref() == Some(name);
        let image = self.options.images.iter().any(|i| named(&i.input));
        if given.is_none() && (image || self.options.images.iter().any(|i| i.input.is_none())) {
            self.one_picture(name, sizes.unwrap_or_default());
        }
        let shape = self.shape(l, name, sizes, given.map(|g| &g.sizes[..]))?;
        if let Some((_, numbers)) = constant {
            if image || self.options.normalizations.iter().any(|n| named(&n.input)) {
                return Err(Refusal::new(format!("the input `{name}` is to be a constant, and a picture")));
            }
            return Ok(Tensor::new(l.constant(frozen(name, carried, &shape, numbers)?), dtype));
        }
        if carried == DType::I32 && shape.rank() == 1 && shape.fixed().is_some_and(|s| s == [0]) {
            // A list of no axes or sizes says what it says, and Core ML has no inputs like it.
            l.warn(format!("the input `{name}` has no elements: it is left out"));
            return Ok(Tensor::new(l.constant(frozen(name, carried, &shape, &[])?), dtype));
        }
        let called = self.name_of_input(name)?;
        self.inputs.push(name.to_string());
        let pixels = self.pixels(name, &shape)?;
        l.set_name(&called);
        let value = if pixels.image.is_some() || pixels.normalization.is_some() {
            pixels.declare(l, (name, &called), carried, &shape)?
        } else if shape.rank() == 0 {
            // Core ML has no inputs of rank 0.
            let one = l.graph().input(&called, TensorType::new(carried, [1]));
            l.squeeze(&one, &[0])?
        } else {
            l.graph().input(&called, TensorType::new(carried, shape))
        };
        Ok(Tensor::new(value, dtype))
    }

    /// What is done with the pixels of this input. An option that names no input is for the only one that may be a picture.
    fn pixels(&mut self, name: &str, shape: &Shape) -> Result<Pixels<'a>, Refusal> {
        let named = |i: &Option<String>| i.as_deref() == Some(name);
        let options = self.options;
        let mut pixels = Pixels {
            image: options.images.iter().find(|i| named(&i.input)),
            normalization: options.normalizations.iter().find(|n| named(&n.input)),
        };
        let image = options.images.iter().find(|i| i.input.is_none());
        let normalization = options.normalizations.iter().find(|n| n.input.is_none());
        if let Some(image) = image.filter(|_| pixels.image.is_none()) {
            let would = Pixels { image: Some(image), ..pixels };
            if would.fit(shape) {
                only("--image", &mut self.pictured, name)?;
                pixels = would;
            }
        }
        if let Some(normalization) = normalization.filter(|_| pixels.normalization.is_none()) {
            let would = Pixels { normalization: Some(normalization), ..pixels };
            // Where there are images, it is for them.
            let meant = options.images.is_empty() || pixels.image.is_some();
            if meant && would.fit(shape) {
                only("--normalize", &mut self.normalized, name)?;
                pixels = would;
            }
        }
        Ok(pixels)
    }

    /// A batch of any size is of one, where it is an image.
    fn one_picture(&mut self, name: &str, sizes: &[Declared]) {
        let channels = |size: &Declared| matches!(size, Declared::Fixed(1 | 3));
        if let [batch, first, _, last] = sizes
            && (channels(first) || channels(last))
            && let Some(key) = batch.key(name, 0)
        {
            self.symbols.insert(key, Dim::from(1));
        }
    }

    /// What an input shall be called.
    fn name_of_input(&self, name: &str) -> Result<String, Refusal> {
        let new = self.options.input_names.iter().find(|r| r.from.as_deref().is_none_or(|f| f == name));
        match new {
            Some(new) if !is_identifier(&new.to) => Err(no_name(&new.to)),
            Some(new) => Ok(new.to.clone()),
            None => Ok(name.to_string()),
        }
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
        if let Declared::Fixed(n) = declared {
            if let Some(given) = given.filter(|g| fixed(g) != Some(*n)) {
                let message = format!("`--input {name}=..` says {given} for the size {axis}, the model says {n}");
                return Err(Refusal::new(message));
            }
            return Ok(Dim::from(*n));
        }
        let key = declared.key(name, axis).unwrap_or_default();
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
    /// If options name inputs or outputs that the model does not have, an option is for models of another kind, or the program
    /// cannot be ended.
    pub(crate) fn finish(mut self, mut l: Lowering) -> Result<super::Imported, Refusal> {
        self.check_inputs()?;
        let o = self.options;
        let given: Vec<&str> = self.outputs.iter().map(|(name, _)| &name[..]).collect();
        for Rename { from, to } in &o.output_names {
            match from {
                Some(from) => there_is("output", from, &given)?,
                None if given.len() == 1 => {}
                None => return Err(not_one("--rename-output", "old=new", &given)),
            }
            if !is_identifier(to) {
                return Err(no_name(to));
            }
        }
        let called: Vec<String> = given.iter().map(|name| self.name_of_output(name)).collect();
        for Rename { to, .. } in &o.output_names {
            if called.iter().filter(|name| *name == to).count() > 1 {
                return Err(Refusal::new(format!("two outputs would be called `{to}`")));
            }
        }
        let ending = if o.softmax { "--softmax" } else { "--classes" };
        if (o.softmax || o.classes.is_some()) && given.len() != 1 {
            return Err(not_one(ending, "a model of one output", &given));
        }
        if o.softmax {
            for (name, value) in &mut self.outputs {
                *value = ending::softmax(&mut l, name, value)?;
            }
        }
        let mut taken: Vec<String> = vec![];
        let mut outputs = vec![];
        for ((name, value), called) in self.outputs.into_iter().zip(called) {
            if let Some(classes) = &o.classes {
                let (label, probabilities) = ending::classifier(&mut l, &name, &value, classes)?;
                outputs.push(("classLabel".to_string(), label));
                let called = if o.output_names.is_empty() { "classLabel_probs".to_string() } else { called };
                outputs.push((called, probabilities));
                continue;
            }
            let mut fresh = called;
            while taken.contains(&fresh) {
                fresh.push('_');
            }
            taken.push(fresh.clone());
            outputs.push((fresh, value));
        }
        let (graph, warnings) = l.finish();
        Ok(super::Imported { program: graph.finish(outputs)?, warnings })
    }

    /// What an output shall be called.
    fn name_of_output(&self, name: &str) -> String {
        let new = self.options.output_names.iter().find(|r| r.from.as_deref().is_none_or(|f| f == name));
        new.map_or_else(|| identifier(name), |new| new.to.clone())
    }

    /// Whether what the user says of inputs is of inputs that there are.
    fn check_inputs(&self) -> Result<(), Refusal> {
        let o = self.options;
        let met: Vec<&str> = self.met.iter().map(|n| &n[..]).collect();
        let inputs: Vec<&str> = self.inputs.iter().map(|n| &n[..]).collect();
        let shapes = o.shapes.iter().map(|s| &s.name);
        for name in shapes.chain(o.constants.iter().map(|(n, _)| n)) {
            there_is("input", name, &met)?;
        }
        let images = o.images.iter().filter_map(|i| i.input.as_ref());
        let normalizations = o.normalizations.iter().filter_map(|n| n.input.as_ref());
        let names = o.input_names.iter().filter_map(|r| r.from.as_ref());
        for name in images.chain(normalizations).chain(names) {
            there_is("input", name, &inputs)?;
        }
        let pictures = [
            ("--image", o.images.iter().any(|i| i.input.is_none()), &self.pictured),
            ("--normalize", o.normalizations.iter().any(|n| n.input.is_none()), &self.normalized),
        ];
        for (option, asked, met) in pictures {
            if asked && met.is_none() {
                let message =
                    format!("`{option}` is for an input [1, channels, height, width] or [1, height, width, channels]");
                let remedy = format!("the model has the inputs `{}`; name the one that is meant", inputs.join("`, `"));
                return Err(Refusal::new(message).remedy(remedy));
            }
        }
        if o.input_names.iter().any(|r| r.from.is_none()) && inputs.len() != 1 {
            return Err(not_one("--rename-input", "old=new", &inputs));
        }
        let called = inputs.iter().map(|name| self.name_of_input(name)).collect::<Result<Vec<_>, _>>()?;
        for Rename { to, .. } in &o.input_names {
            if called.iter().filter(|name| *name == to).count() > 1 {
                return Err(Refusal::new(format!("two inputs would be called `{to}`")));
            }
        }
        Ok(())
    }
}

/// An option that names no input is for one input.
fn only(option: &str, met: &mut Option<String>, name: &str) -> Result<(), Refusal> {
    match met.replace(name.to_string()) {
        None => Ok(()),
        Some(first) => Err(Refusal::new(format!("`{option}` may be for the input `{first}` or `{name}`"))
            .remedy(format!("say which: `{option} {name}:..`"))),
    }
}

fn there_is(what: &str, name: &str, all: &[&str]) -> Result<(), Refusal> {
    if all.contains(&name) {
        return Ok(());
    }
    let message = format!("the model has no {what} `{}`", name.escape_debug());
    Err(Refusal::new(message).remedy(format!("it has `{}`", all.join("`, `"))))
}

fn not_one(option: &str, way: &str, all: &[&str]) -> Refusal {
    Refusal::new(format!("`{option}` must say which is meant, of `{}`: {way}", all.join("`, `")))
}

fn no_name(name: &str) -> Refusal {
    Refusal::new(format!("`{}` is no name: letters, digits and `_`, not starting with a digit", name.escape_debug()))
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
