//! `.pt2`: what `torch.export.save` writes.
//!
//! Up to torch 2.7 an archive has `serialized_exported_program.json` and pickles of the tensors; since then `models/NAME.json` and a
//! file for each tensor. `schema.rs` has the JSON, `tensors.rs` finds tensors, `outputs.rs` names of outputs.

mod outputs;
mod schema;
mod tensors;

use mil_core::types::DType;

use self::{
    schema::{Argument, ExportedProgram, InputSpec, OptionalTensor, OutputSpec, Size, Symbolic},
    tensors::Tensors,
};
use super::{
    archive::Archive,
    dtype,
    graph::{Arg, Graph, Input, InputSize, Node, Output},
    mutation::Mutations,
};
use crate::import::Refusal;

/// The program of torch 2.7 and before.
const OLD: &str = "serialized_exported_program.json";
/// Versions of the schema that are read.
const MAJOR: std::ops::RangeInclusive<i64> = 5..=8;
/// Larger limits of sizes are none.
const UNLIMITED: i64 = i32::MAX as i64;

/// Whether an archive has an exported program.
pub(super) fn is_exported(archive: &Archive) -> bool {
    archive.has(OLD) || archive.has("archive_format")
}

/// The graph of an archive's only program.
pub(super) fn read(archive: &Archive) -> Result<Graph, Refusal> {
    let (entry, name) = if archive.has(OLD) {
        (OLD.to_string(), None)
    } else {
        let name = only_model(archive)?;
        (format!("models/{name}.json"), Some(name))
    };
    let (json, mut quoted) = (archive.text(&entry)?, String::new());
    let invalid = |e: String| {
        Refusal::new(format!("its entry `{entry}` is not valid: {e}")).remedy("export it again with torch 2.5 or later")
    };
    #[derive(serde::Deserialize)]
    struct Versioned {
        schema_version: schema::Version,
    }
    let version: Versioned = schema::parse(&json, &mut quoted).map_err(invalid)?;
    if !MAJOR.contains(&version.schema_version.major) {
        let (found, first, last) = (version.schema_version.major, MAJOR.start(), MAJOR.end());
        let message = format!("is an exported program of schema {found}, but {first} to {last} are read");
        return Err(Refusal::new(message).remedy("export it again with another version of torch"));
    }
    let program: ExportedProgram = schema::parse(&json, &mut quoted).map_err(invalid)?;
    let tensors = Tensors::new(archive, name.as_deref())?;
    Reader { program: &program, tensors, graph: Graph::default(), mutations: Mutations::default() }.read()
}

fn only_model(archive: &Archive) -> Result<String, Refusal> {
    let models = archive.names().filter_map(|n| n.strip_prefix("models/")?.strip_suffix(".json"));
    match models.collect::<Vec<_>>()[..] {
        [one] => Ok(one.to_string()),
        [] => Err(Refusal::new("has no exported program").remedy("save one by `torch.export.save(program, ..)`")),
        ref many => Err(Refusal::new(format!("has {} programs: {}", many.len(), many.join(", ")))
            .remedy("save each by `torch.export.save(program, ..)`")),
    }
}

struct Reader<'a> {
    program: &'a ExportedProgram,
    tensors: Tensors<'a>,
    graph: Graph,
    mutations: Mutations,
}

impl Reader<'_> {
    fn read(mut self) -> Result<Graph, Refusal> {
        let module = &self.program.graph_module;
        for spec in &module.signature.input_specs {
            self.input(spec)?;
        }
        for node in &module.graph.nodes {
            self.node(node)?;
        }
        let mut given = vec![];
        for spec in &module.signature.output_specs {
            self.output(spec, &mut given)?;
        }
        given.iter_mut().try_for_each(|arg| self.mutations.update(arg))?;
        let names = outputs::names(&module.module_call_graph, &given);
        self.graph.outputs = names.into_iter().zip(given).collect();
        Ok(self.graph)
    }

    fn input(&mut self, spec: &InputSpec) -> Result<(), Refusal> {
        let (name, tensor) = match spec {
            InputSpec::Parameter { arg, parameter_name } => (&arg.name, self.tensors.weight(parameter_name)?),
            InputSpec::Buffer { arg, buffer_name, persistent: Some(false) } => {
                (&arg.name, self.tensors.constant(buffer_name)?)
            }
            InputSpec::Buffer { arg, buffer_name, .. } => (&arg.name, self.tensors.weight(buffer_name)?),
            InputSpec::TensorConstant { arg, tensor_constant_name } => {
                (&arg.name, self.tensors.constant(tensor_constant_name)?)
            }
            InputSpec::UserInput { arg } => return self.user_input(arg),
            // An argument of `forward` that is no tensor: its value went into the graph when it was exported.
            InputSpec::ConstantInput { .. } => return Ok(()),
            InputSpec::CustomObj { arg } | InputSpec::Token { arg } => {
                let message = format!("its input `{}` is an object of a class, which is no tensor", arg.name);
                return Err(Refusal::new(message));
            }
        };
        self.mutations.constant(name);
        self.graph.constants.push((name.clone(), tensor));
        Ok(())
    }

    fn user_input(&mut self, arg: &Argument) -> Result<(), Refusal> {
        let name = match arg {
            Argument::AsTensor(named) => &named.name,
            Argument::AsNone(_) | Argument::AsInt(_) | Argument::AsFloat(_) => return Ok(()),
            Argument::AsBool(_) | Argument::AsString(_) => return Ok(()),
            Argument::AsSymInt(Symbolic::AsName(name)) => {
                let input = Input { name: name.clone(), dtype: Some(DType::I64), sizes: Some(vec![]) };
                self.graph.inputs.push(input);
                return Ok(());
            }
            other => return Err(Refusal::new(format!("has an input that is no tensor: {other:?}"))),
        };
        let Some(meta) = self.program.graph_module.graph.tensor_values.get(name) else {
            return Err(Refusal::new(format!("does not say of which shape its input `{name}` is")));
        };
        let dtype = exported_dtype(meta.dtype).map_err(|what| Refusal::new(format!("its input `{name}` {what}")))?;
        let sizes = meta.sizes.iter().enumerate().map(|(axis, size)| self.size(name, axis, size)).collect();
        self.graph.inputs.push(Input { name: name.clone(), dtype: Some(dtype), sizes: Some(sizes) });
        Ok(())
    }

    fn size(&self, input: &str, axis: usize, size: &Size) -> InputSize {
        let text = match size {
            Size::AsInt(n) => return InputSize::Fixed(*n),
            Size::AsExpr(e) => e.expr_str.trim(),
        };
        let Some(symbol) = symbol(text) else {
            // A sum or a product of symbols; sizes are checked when the model runs.
            return InputSize::Symbol(format!("{input}_{axis}"), None, None);
        };
        let range = self.program.range_constraints.get(symbol);
        let min = range.and_then(|r| r.min_val.as_i64()).filter(|n| *n > 0);
        let max = range.and_then(|r| r.max_val.as_i64()).filter(|n| *n < UNLIMITED);
        InputSize::Symbol(symbol.to_string(), min, max)
    }

    fn node(&mut self, node: &schema::Node) -> Result<(), Refusal> {
        let (op, overload) = op(&node.target);
        if CHECKS.contains(&&op[..]) {
            return Ok(());
        }
        let place = place(node, &op);
        let at = |e: Refusal| Refusal { message: format!("{place}: {}", e.message), ..e };
        let mut args = vec![];
        for input in &node.inputs {
            let value = arg(&input.arg).map_err(at)?;
            // Files that do not say which arguments are by name say all names.
            args.push(((input.kind != Some(1)).then(|| input.name.clone()), value));
        }
        let outputs = node.outputs.iter().map(output).collect::<Result<_, _>>().map_err(at)?;
        let mut node = Node { op, overload, args, outputs, place: place.clone() };
        self.mutations.apply(&mut node).map_err(at)?;
        self.graph.nodes.push(node);
        Ok(())
    }

    fn output(&self, spec: &OutputSpec, given: &mut Vec<Arg>) -> Result<(), Refusal> {
        let changed = |what: &str, name: &str| {
            Err(Refusal::new(format!("changes its {what} `{name}`, which a package cannot"))
                .remedy("call `model.eval()` before exporting, or give the new value as an output"))
        };
        match spec {
            OutputSpec::UserOutput { arg: Argument::AsNone(_) } => {}
            OutputSpec::UserOutput { arg: value } => given.push(arg(value)?),
            OutputSpec::LossOutput { arg } => given.push(Arg::Value(arg.name.clone())),
            // What is given back as it came changes nothing.
            OutputSpec::BufferMutation { arg, buffer_name } => {
                if !self.unchanged(&arg.name) {
                    return changed("buffer", buffer_name);
                }
            }
            OutputSpec::ParameterMutation { arg, parameter_name } => {
                if !self.unchanged(&arg.name) {
                    return changed("parameter", parameter_name);
                }
            }
            OutputSpec::UserInputMutation { arg, user_input_name } => {
                if arg.name != *user_input_name {
                    return changed("input", user_input_name);
                }
            }
            OutputSpec::GradientToParameter(_) | OutputSpec::GradientToUserInput(_) => {
                return Err(Refusal::new("computes gradients: it is exported for training")
                    .remedy("export the model for inference"));
            }
            OutputSpec::Token(_) => {}
        }
        Ok(())
    }

    fn unchanged(&self, name: &str) -> bool {
        self.graph.constants.iter().any(|(constant, _)| constant == name)
    }
}

/// Ops that check and compute nothing.
const CHECKS: &[&str] = &[
    "aten::_assert_scalar",
    "aten::_assert_async",
    "aten::_assert_tensor_metadata",
    "aten::sym_constrain_range",
    "aten::sym_constrain_range_for_size",
];

/// Namespace and name, and the overload: of `torch.ops.aten.add.Tensor`, `_operator.mul`, `torch.sym_float` or `math.trunc`.
fn op(target: &str) -> (String, String) {
    let parts: Vec<&str> = target.strip_prefix("torch.ops.").unwrap_or(target).split('.').collect();
    match parts[..] {
        [namespace, name, overload] => (format!("{namespace}::{name}"), overload.to_string()),
        [namespace, name] => (format!("{namespace}::{name}"), String::new()),
        _ => (target.to_string(), String::new()),
    }
}

/// The module that calls it, if the file says one.
fn place(node: &schema::Node, op: &str) -> String {
    // key,path,class;key,path,class: the last is the innermost.
    let innermost = node.metadata.nn_module_stack.rsplit(';').next().unwrap_or_default();
    match innermost.split(',').nth(1).map(str::trim).filter(|p| !p.is_empty() && !p.starts_with("_empty")) {
        Some(path) => format!("`{op}` in `{path}`"),
        None => format!("`{op}`"),
    }
}

fn exported_dtype(number: i64) -> Result<DType, String> {
    dtype::of_export(number).ok_or_else(|| format!("is of PyTorch's dtype number {number}, which MIL does not have"))
}

/// The name of a size that is a symbol alone: `s0`, or as sympy writes it.
fn symbol(text: &str) -> Option<&str> {
    let name = match text.strip_prefix("Symbol('") {
        Some(rest) => rest.strip_suffix(')')?.split_once('\'').filter(|(_, more)| !more.contains('('))?.0,
        None => text,
    };
    let identifier = name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    (identifier && name.starts_with(|c: char| !c.is_ascii_digit())).then_some(name)
}

fn arg(argument: &Argument) -> Result<Arg, Refusal> {
    use Argument as A;
    let named = |n: &schema::Named| Arg::Value(n.name.clone());
    let ints = |all: &Vec<i64>| Arg::List(all.iter().map(|v| Arg::Int(*v)).collect());
    let floats = |all: &Vec<schema::Float>| Arg::List(all.iter().map(|v| Arg::Float(v.0)).collect());
    let symbolics = |all: &Vec<Symbolic>| Arg::List(all.iter().map(symbolic).collect());
    let text = |text: &str| Arg::Str(text.to_string());
    Ok(match argument {
        A::AsNone(_) => Arg::None,
        A::AsTensor(t) => named(t),
        A::AsTensors(all) => Arg::List(all.iter().map(named).collect()),
        A::AsInt(v) => Arg::Int(*v),
        A::AsInts(all) => ints(all),
        A::AsFloat(v) => Arg::Float(v.0),
        A::AsFloats(all) => floats(all),
        A::AsString(s) | A::AsOperator(s) => text(s),
        A::AsStrings(all) => Arg::List(all.iter().map(|s| text(s)).collect()),
        A::AsSymInt(v) | A::AsSymFloat(v) | A::AsSymBool(v) => symbolic(v),
        A::AsSymInts(all) | A::AsSymFloats(all) | A::AsSymBools(all) => symbolics(all),
        A::AsScalarType(number) => {
            Arg::DType(exported_dtype(*number).map_err(|what| Refusal::new(format!("its dtype {what}")))?)
        }
        A::AsMemoryFormat(n) => text(match n {
            1 => "contiguous_format",
            2 => "channels_last",
            3 => "channels_last_3d",
            _ => "preserve_format",
        }),
        A::AsLayout(7) => text("strided"),
        A::AsLayout(_) => return Err(Refusal::new("makes a tensor that is not dense")),
        A::AsDevice(device) => text(&device.kind),
        A::AsBool(v) => Arg::Bool(*v),
        A::AsBools(all) => Arg::List(all.iter().map(|v| Arg::Bool(*v)).collect()),
        A::AsOptionalTensor(t) => optional(t),
        A::AsOptionalTensors(all) => Arg::List(all.iter().map(optional).collect()),
        A::AsNestedTensors(all) => {
            Arg::List(all.iter().map(|list| Arg::List(list.iter().map(named).collect())).collect())
        }
        A::AsIntLists(all) => Arg::List(all.iter().map(ints).collect()),
        A::AsFloatLists(all) => Arg::List(all.iter().map(floats).collect()),
        A::AsGraph(graph) => {
            return Err(Refusal::new(format!(
                "has a branch or a loop, `{}`, whose course depends on data",
                graph.name
            ))
            .remedy("say it with `torch.where`, or export the branch that is taken"));
        }
        A::AsCustomObj(object) => {
            return Err(Refusal::new(format!("takes `{}`, which is no tensor", object.name)));
        }
        A::AsComplex(_) => return Err(Refusal::new("takes a complex number, which MIL does not have")),
        A::AsStringToArgument(_) => return Err(Refusal::new("takes a dict")),
    })
}

fn symbolic(value: &Symbolic) -> Arg {
    match value {
        Symbolic::AsName(name) => Arg::Value(name.clone()),
        Symbolic::AsInt(v) => Arg::Int(*v),
        Symbolic::AsFloat(v) => Arg::Float(v.0),
        Symbolic::AsBool(v) => Arg::Bool(*v),
    }
}

fn optional(tensor: &OptionalTensor) -> Arg {
    match tensor {
        OptionalTensor::AsTensor(t) => Arg::Value(t.name.clone()),
        OptionalTensor::AsNone(_) => Arg::None,
    }
}

/// What is given has a name, or is nothing, which has the empty one.
fn output(argument: &Argument) -> Result<Output, Refusal> {
    let optional = |t: &OptionalTensor| match t {
        OptionalTensor::AsTensor(t) => t.name.clone(),
        OptionalTensor::AsNone(_) => String::new(),
    };
    Ok(match argument {
        Argument::AsTensor(t) => Output::One(t.name.clone()),
        Argument::AsTensors(all) => Output::List(all.iter().map(|t| t.name.clone()).collect()),
        Argument::AsOptionalTensor(t) => Output::One(optional(t)),
        Argument::AsOptionalTensors(all) => Output::List(all.iter().map(optional).collect()),
        Argument::AsSymInt(Symbolic::AsName(name))
        | Argument::AsSymFloat(Symbolic::AsName(name))
        | Argument::AsSymBool(Symbolic::AsName(name)) => Output::One(name.clone()),
        // A number that came out the same whatever the input: who uses it has the number itself.
        Argument::AsNone(_) | Argument::AsInt(_) | Argument::AsFloat(_) | Argument::AsBool(_) => {
            Output::One(String::new())
        }
        Argument::AsSymInt(_) | Argument::AsSymFloat(_) | Argument::AsSymBool(_) => Output::One(String::new()),
        other => return Err(Refusal::new(format!("gives what is no tensor: {other:?}"))),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn symbols_are_told_from_expressions() {
        assert_eq!(symbol("s0"), Some("s0"));
        assert_eq!(symbol("Symbol('s77', positive=True, integer=True)"), Some("s77"));
        assert_eq!(symbol("Symbol('a')*Symbol('b')"), None);
        assert_eq!(symbol("Mul(Integer(2), Symbol('s0', integer=True))"), None);
        assert_eq!((symbol("2*s0"), symbol("4"), symbol("Symbol('")), (None, None, None));
    }

    #[test]
    fn targets_are_taken_apart() {
        let op = |t| {
            let (op, overload) = op(t);
            format!("{op} {overload}")
        };
        assert_eq!(op("torch.ops.aten.add.Tensor"), "aten::add Tensor");
        assert_eq!(op("_operator.mul"), "_operator::mul ");
        assert_eq!(op("torch.sym_float"), "torch::sym_float ");
        assert_eq!(op("torch.ops.higher_order.cond"), "higher_order::cond ");
    }
}
