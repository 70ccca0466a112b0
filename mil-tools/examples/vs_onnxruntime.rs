//! The half of `benches/vs_onnxruntime` that is in Rust: makes packages of the graphs that its Python exports, and times them.
//!
//! `vs_onnxruntime build NAME.json` reads a list of ops and, beside it, their weights in `NAME.safetensors`, and writes
//! `NAME.mlpackage` and `NAME.fp16.mlpackage`. The list is
//! `{"opset": .., "inputs": {NAME: SHAPE}, "ops": [{"op": .., "name": .., "args": {PARAMETER: ARGUMENT}}], "outputs": [[NAME, VALUE]]}`,
//! where an argument is `{"value": NAME}`, `{"weight": NAME}`, or a literal.
//!
//! `vs_onnxruntime time MODEL --inputs FILE.safetensors --threads N --seconds S` prints how long the CPU engine takes, as JSON.

use std::{
    collections::{BTreeMap, HashMap},
    fs,
    io::Write as _,
    num::NonZeroUsize,
    path::{Path, PathBuf},
    process::ExitCode,
    time::{Duration, Instant},
};

use clap::{Parser, Subcommand};
use mil_core::{
    graph::{Graph, Value},
    ir::{Constant, Literal, Program},
    op::Operand,
    ops,
    passes::{Context, Pipeline},
    types::{DType, Opset, TensorType},
    weights::SafeTensors,
};
use mil_runtime::{AnyTensor, Backend, Model, cpu::reference::Evaluator};
use serde::Deserialize;
use serde_json::json;

type Error = Box<dyn std::error::Error>;

#[derive(Parser)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Make a package, and one in f16, of a list of ops
    Build {
        /// The list; the weights are beside it, and the packages will be
        list: PathBuf,
    },
    /// Time a model on the CPU engine
    Time {
        /// A .mlpackage
        model: PathBuf,
        /// Its inputs
        #[arg(long, value_name = "FILE.safetensors")]
        inputs: PathBuf,
        /// Threads that a prediction may use
        #[arg(long)]
        threads: NonZeroUsize,
        /// How long to predict over and over; once at least
        #[arg(long, default_value_t = 0.7)]
        seconds: f64,
    },
}

/// A program as a list of ops.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct List {
    opset: String,
    inputs: BTreeMap<String, Vec<usize>>,
    ops: Vec<Entry>,
    outputs: Vec<(String, String)>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    op: String,
    name: String,
    args: BTreeMap<String, serde_json::Value>,
}

fn program(list: &List, weights: &SafeTensors) -> Result<Program, Error> {
    let opset = Opset::parse(&list.opset).ok_or_else(|| format!("`{}` is no opset", list.opset))?;
    let mut g = Graph::new("main", opset);
    let mut values = HashMap::new();
    for (name, shape) in &list.inputs {
        values.insert(name.clone(), g.input(name, TensorType::new(DType::F32, shape.as_slice())));
    }
    for entry in &list.ops {
        let about = |e: String| format!("op `{}` ({}): {e}", entry.name, entry.op);
        let def = ops::find(&entry.op).ok_or_else(|| about("there is no such op".into()))?;
        let mut operands = vec![];
        for (name, argument) in &entry.args {
            let param =
                def.params.iter().find(|p| p.name == name).ok_or_else(|| about(format!("no parameter `{name}`")))?;
            operands.push((param.name, operand(argument, &values, weights).map_err(about)?));
        }
        let outputs = g.push_op(def, operands, Some(&entry.name), None).map_err(|e| about(e.to_string()))?;
        let [output] = &outputs[..] else { return Err(about("has more than one output".into()).into()) };
        values.insert(entry.name.clone(), output.clone());
    }
    let mut outputs = vec![];
    for (name, value) in &list.outputs {
        let value = values.get(value).ok_or_else(|| format!("output `{name}`: there is no value `{value}`"))?;
        outputs.push((name.as_str(), value));
    }
    Ok(g.finish(outputs)?)
}

fn operand(
    argument: &serde_json::Value,
    values: &HashMap<String, Value>,
    weights: &SafeTensors,
) -> Result<Operand, String> {
    let Some(reference) = argument.as_object() else { return Ok(literal(argument)?.into()) };
    let name = |key: &str| reference.get(key).and_then(|n| n.as_str());
    if let Some(name) = name("value") {
        return Ok(values.get(name).ok_or_else(|| format!("there is no value `{name}`"))?.into());
    }
    let name = name("weight").ok_or_else(|| format!("{argument} is neither a value nor a weight"))?;
    let entry = weights.get(name).ok_or_else(|| format!("there is no weight `{name}`"))?;
    let dtype = entry.dtype.dtype().ok_or_else(|| format!("weight `{name}` is of {}", entry.dtype))?;
    Ok(Constant::from_bytes(dtype, entry.shape, entry.bytes)?.into())
}

fn literal(argument: &serde_json::Value) -> Result<Literal, String> {
    use serde_json::Value as Json;
    Ok(match argument {
        Json::Bool(b) => Literal::Bool(*b),
        Json::String(s) => Literal::Str(s.clone()),
        Json::Array(items) => Literal::List(items.iter().map(literal).collect::<Result<_, _>>()?),
        Json::Number(n) => match (n.as_i64(), n.as_f64()) {
            (Some(i), _) => Literal::Int(i),
            (None, Some(f)) => Literal::Float(f),
            (None, None) => return Err(format!("{n} is out of range")),
        },
        other => return Err(format!("{other} is no literal")),
    })
}

fn build(path: &Path) -> Result<(), Error> {
    let list: List = serde_json::from_slice(&fs::read(path)?)?;
    let mut program = program(&list, &SafeTensors::open(path.with_extension("safetensors"))?)?;
    program.save(path.with_extension("mlpackage"))?;
    Pipeline::fp16().run(&mut program, &Context { evaluate: Some(&Evaluator) })?;
    Ok(program.save(path.with_extension("fp16.mlpackage"))?)
}

/// What `mil bench --json` says of latencies, in the same words.
fn time(model: &Path, inputs: &Path, threads: NonZeroUsize, seconds: f64) -> Result<serde_json::Value, Error> {
    let file = SafeTensors::open(inputs)?;
    let mut inputs = vec![];
    for name in file.names() {
        let Some(entry) = file.get(name) else { continue };
        let dtype = entry.dtype.dtype().ok_or_else(|| format!("input `{name}` is of {}", entry.dtype))?;
        inputs.push((name.to_string(), AnyTensor::from_bytes(dtype, entry.shape, entry.bytes)?));
    }
    let start = Instant::now();
    let model = Model::options().backend(Backend::Cpu).threads(threads).load(model)?;
    let load = start.elapsed();
    let predict = || -> Result<Duration, Error> {
        // A prediction takes its inputs; to make them is no part of it.
        let inputs = inputs.clone();
        let start = Instant::now();
        let outputs = model.predict_converting(inputs)?;
        let taken = start.elapsed();
        drop(outputs);
        Ok(taken)
    };
    let first = predict()?;
    // What comes first pays for plans, page faults and clock rates; an engine that takes longer than this is warm by then.
    let warm = Instant::now();
    while warm.elapsed() < Duration::from_secs_f64((seconds / 4.0).min(0.3)).saturating_sub(first) {
        predict()?;
    }
    let mut times = vec![];
    let start = Instant::now();
    while times.is_empty() || start.elapsed().as_secs_f64() < seconds {
        times.push(predict()?.as_secs_f64() * 1e3);
    }
    times.sort_by(f64::total_cmp);
    let (median, min) = (times[times.len() / 2], times[0]);
    Ok(json!({
        "load_ms": load.as_secs_f64() * 1e3,
        "iterations": times.len(),
        "latency_ms": {"first": first.as_secs_f64() * 1e3, "median": median, "min": min},
    }))
}

fn main() -> ExitCode {
    let done = match Cli::parse().command {
        Command::Build { list } => build(&list),
        Command::Time { model, inputs, threads, seconds } => {
            time(&model, &inputs, threads, seconds).and_then(|times| Ok(writeln!(std::io::stdout(), "{times}")?))
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            let _ = writeln!(std::io::stderr(), "error: {e}");
            ExitCode::FAILURE
        }
    }
}
