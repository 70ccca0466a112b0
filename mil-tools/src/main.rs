//! The `mil` command.

mod cli;

use std::{
    fmt::Write as _,
    io::{self, Write},
    num::NonZeroUsize,
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

use clap::{Args, Parser, Subcommand, ValueEnum};
use indicatif::{ProgressBar, ProgressStyle};
use mil_core::{ir::Program, types::Opset};
use mil_runtime::{Backend, Numerics, cpu::CpuOptions};
use mil_tools::{LoadOptions, ToolError, bench, check, copy, inspect, ops, optimize, run};
use serde::Serialize;

/// Look into Core ML models, check, copy, optimize, run and measure them
#[derive(Parser)]
#[command(name = "mil", version, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Say what a model takes and gives, and what is in it
    Inspect {
        /// A .mlpackage, .mlmodel, .mlmodelc or .mil
        model: PathBuf,
        /// Print the program as MIL text instead
        #[arg(long, conflicts_with = "json")]
        text: bool,
        /// Print JSON, for machines
        #[arg(long)]
        json: bool,
    },
    /// Read and validate a model; exit with 1 if anything is wrong with it
    Check {
        /// A .mlpackage, .mlmodel, .mlmodelc or .mil
        model: PathBuf,
        /// The oldest system that must read it: iOS15 to iOS26, or macOS12 to macOS26
        #[arg(long, value_parser = release)]
        target: Option<Opset>,
    },
    /// Read a model, validate it, and write it again
    Copy {
        /// A .mlpackage, .mlmodel, .mlmodelc or .mil
        from: PathBuf,
        /// Where to write the copy, which replaces what is there
        to: PathBuf,
    },
    /// Make a Core ML package of an ONNX or PyTorch model
    Convert(Box<cli::Convert>),
    /// Say what an op is, or list them all
    Ops {
        /// The op's MIL name [default: all, a line each]
        op: Option<String>,
        /// Print the reference page of all ops as Markdown
        #[arg(long, conflicts_with = "op")]
        markdown: bool,
    },
    /// Make a model smaller and faster, without changing what it computes
    Optimize {
        /// A .mlpackage or .mlmodel
        model: PathBuf,
        /// Where to write the result, which replaces what is there
        #[arg(short, long, value_name = "OUT")]
        output: PathBuf,
        /// `fp32` (dtypes stay), `fp16` (f32 becomes f16 where that is safe), or names of passes with commas between them
        #[arg(long, value_name = "PASSES", default_value = "fp32")]
        passes: String,
        /// Passes to leave out
        #[arg(long, value_name = "PASSES", value_delimiter = ',')]
        skip: Vec<String>,
        /// Say what each pass did
        #[arg(long)]
        report: bool,
    },
    /// Say which passes there are
    Passes,
    /// Run a model
    Run {
        /// A .mlpackage, .mlmodel, .mlmodelc or .mil
        model: PathBuf,
        /// Tensors by the names of the inputs; they are converted to the dtypes that the model declares
        #[arg(long, value_name = "FILE.safetensors")]
        inputs: PathBuf,
        /// Where to write the outputs; a classifier's label that is text is printed instead
        #[arg(long, value_name = "FILE.safetensors")]
        outputs: PathBuf,
        /// Predict so many times, with one state if the model has states, and write the last outputs
        #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
        repeat: u32,
        #[command(flatten)]
        engine: Engine,
    },
    /// Measure how fast a model runs: load time, latency, throughput, peak memory
    ///
    /// Inputs are made up where none are given: normally distributed numbers from a fixed seed, pixels for images, zeros for integers.
    Bench {
        /// A .mlpackage, .mlmodel, .mlmodelc or .mil
        model: PathBuf,
        /// Measure so many predictions [default: as many as --seconds has time for]
        #[arg(long, value_name = "N", conflicts_with = "seconds", value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
        iterations: Option<u32>,
        /// Measure so long, with at least 3 predictions and 100,000 at most
        #[arg(long, value_name = "S", default_value = "2", value_parser = seconds)]
        seconds: Duration,
        /// Do not count so many predictions after the first, which is always told apart
        #[arg(long, value_name = "N", default_value_t = 1)]
        warmup: u32,
        /// Tensors by the names of inputs; they are converted to the dtypes that the model declares
        #[arg(long, value_name = "FILE.safetensors")]
        inputs: Option<PathBuf>,
        /// The shape of an input that is made up, as x=1,3,224,224 [default: the model's default shape]
        #[arg(long = "shape", value_name = "NAME=SIZES", value_parser = shape)]
        shapes: Vec<(String, Vec<usize>)>,
        /// Say how long each op takes, in predictions of their own
        #[arg(long)]
        profile: bool,
        /// Print JSON, for machines
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        engine: Engine,
    },
}

/// Which function runs, and on what.
#[derive(Args)]
struct Engine {
    /// The function to run [default: the model's default function]
    #[arg(long, value_name = "NAME")]
    function: Option<String>,
    /// What to run it on
    #[arg(long, value_enum, default_value_t = BackendName::Auto)]
    backend: BackendName,
    /// How many threads a prediction may use on the CPU [default: as many as there are processors]
    #[arg(long, value_name = "N")]
    threads: Option<NonZeroUsize>,
    /// How freely the CPU may compute: `strict` takes no algorithm that computes something else on the way
    #[arg(long, value_enum, default_value_t = NumericsName::Fast)]
    numerics: NumericsName,
}

impl From<Engine> for LoadOptions {
    fn from(engine: Engine) -> LoadOptions {
        let Engine { function, backend, threads, numerics } = engine;
        LoadOptions {
            function,
            backend: backend.into(),
            cpu: CpuOptions { threads, numerics: numerics.into(), ..CpuOptions::default() },
        }
    }
}

#[derive(Clone, Copy, ValueEnum)]
enum NumericsName {
    Fast,
    Strict,
}

impl From<NumericsName> for Numerics {
    fn from(name: NumericsName) -> Numerics {
        match name {
            NumericsName::Fast => Numerics::Fast,
            NumericsName::Strict => Numerics::Strict,
        }
    }
}

#[derive(Clone, Copy, ValueEnum)]
enum BackendName {
    Auto,
    Cpu,
    Coreml,
}

impl From<BackendName> for Backend {
    fn from(name: BackendName) -> Backend {
        match name {
            BackendName::Auto => Backend::auto(),
            BackendName::Cpu => Backend::Cpu,
            BackendName::Coreml => Backend::core_ml(),
        }
    }
}

fn main() -> ExitCode {
    match execute(Cli::parse().command) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(e) => {
            complain("error", &e.line());
            ExitCode::FAILURE
        }
    }
}

/// Whether all was well.
fn execute(command: Command) -> Result<bool, ToolError> {
    match command {
        Command::Inspect { model, text, json } => say(&described(&model, text, json)?)?,
        Command::Check { model, target } => {
            let verdict = check::check(&model, target);
            verdict.errors.iter().for_each(|e| complain("error", e));
            verdict.warnings.iter().for_each(|w| complain("warning", w));
            return Ok(verdict.errors.is_empty());
        }
        Command::Ops { op: Some(op), .. } => say(&ops::describe(&op)?)?,
        Command::Ops { op: None, markdown } => say(&if markdown { ops::markdown() } else { ops::list() })?,
        Command::Copy { from, to } => copy::copy(&from, &to)?,
        Command::Convert(convert) => say(&convert.run()?)?,
        Command::Optimize { model, output, passes, skip, report } => {
            let optimized = optimize::optimize(&model, &output, &optimize::pipeline(&passes, &skip)?)?;
            say(&if report { optimized.full() } else { optimized.to_string() })?;
        }
        Command::Passes => say(&optimize::passes())?,
        Command::Run { model, inputs, outputs, repeat, engine } => {
            let options = run::Options { load: engine.into(), repeat };
            let report = run::run(&model, &inputs, &outputs, &options)?;
            say(&told(&report))?;
        }
        Command::Bench { model, iterations, seconds, warmup, inputs, shapes, profile, json, engine } => {
            let length = iterations.map_or(bench::Length::Time(seconds), bench::Length::Iterations);
            let options = bench::Options { load: engine.into(), inputs, shapes, length, warmup, profile };
            let (bar, tell) = progress_bar();
            let report = bench::bench(&model, &options, &mut |what, done| tell(&bar, what, done));
            bar.finish_and_clear();
            let report = report?;
            say(&if json { as_json(&report)? } else { report.to_string() })?;
        }
    }
    Ok(true)
}

fn release(name: &str) -> Result<Opset, String> {
    Opset::parse(name).ok_or_else(|| format!("expected one of {}", Opset::ALL.map(Opset::name).join(", ")))
}

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds = text.parse::<f64>().ok().and_then(|s| Duration::try_from_secs_f64(s).ok());
    seconds.ok_or_else(|| "expected a number of seconds, 0 or more".to_string())
}

/// `x=1,3,224,224`; nothing after `=` for a scalar.
fn shape(text: &str) -> Result<(String, Vec<usize>), String> {
    let expected = || "expected the name of an input and its sizes: x=1,3,224,224".to_string();
    let (name, sizes) = text.rsplit_once('=').filter(|(name, _)| !name.is_empty()).ok_or_else(expected)?;
    let sizes = sizes.split(',').filter(|_| !sizes.is_empty()).map(|s| s.trim().parse().map_err(|_| expected()));
    Ok((name.to_string(), sizes.collect::<Result<_, _>>()?))
}

fn described(model: &Path, text: bool, json: bool) -> Result<String, ToolError> {
    if text {
        return Ok(Program::load(model)?.to_string());
    }
    let summary = inspect::inspect(model)?;
    if json { as_json(&summary) } else { Ok(summary.to_string()) }
}

fn as_json(what: &impl Serialize) -> Result<String, ToolError> {
    let text = serde_json::to_string_pretty(what);
    text.map(|t| t + "\n").map_err(|e| ToolError::new(format!("the result cannot be written as JSON: {e}")))
}

/// The length of the bar.
const PROGRESS: u64 = 1000;

const BAR: &str = "{msg:17} [{bar:40}] {elapsed}";

/// Drawn on stderr, if that is a terminal; and how it is told what is being done, and what part of it is done.
fn progress_bar() -> (ProgressBar, fn(&ProgressBar, &str, f64)) {
    let style = ProgressStyle::with_template(BAR);
    // The template is a constant: it is right, or a test finds it wrong.
    let bar = ProgressBar::new(PROGRESS).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    let tell = |bar: &ProgressBar, what: &str, done: f64| {
        bar.set_message(what.to_string());
        bar.set_position((done * PROGRESS as f64) as u64);
    };
    (bar, tell)
}

fn told(report: &run::Report) -> String {
    let mut text = format!("ran `{}` on {}: loaded in {}", report.function, report.backend, time(report.load));
    // Writing to a string does not fail.
    let _ = match (&report.predictions[..], report.predictions.iter().min(), report.predictions.iter().max()) {
        ([one], ..) => writeln!(text, ", predicted in {}", time(*one)),
        (all, Some(min), Some(max)) => {
            writeln!(text, ", predicted {} times in {} to {}", all.len(), time(*min), time(*max))
        }
        _ => writeln!(text),
    };
    if let Some(label) = &report.label {
        let _ = writeln!(text, "label: {}", label.to_string().escape_debug());
    }
    text
}

fn time(d: Duration) -> String {
    format!("{:.3} ms", d.as_secs_f64() * 1e3)
}

fn say(text: &str) -> Result<(), ToolError> {
    match io::stdout().lock().write_all(text.as_bytes()) {
        // Whoever reads has seen enough: `mil inspect .. | head`.
        Err(e) if e.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        other => other.map_err(|e| ToolError::new(format!("the result cannot be printed: {e}"))),
    }
}

fn complain(kind: &str, line: &str) {
    // There is nobody left to tell if this fails.
    let _ = writeln!(io::stderr().lock(), "{kind}: {line}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bar_has_a_template() {
        assert!(ProgressStyle::with_template(BAR).is_ok());
    }

    #[test]
    fn shapes_and_seconds_are_read() {
        assert_eq!(shape("x=1,3, 8"), Ok(("x".into(), vec![1, 3, 8])));
        assert_eq!(shape("x="), Ok(("x".into(), vec![])));
        assert_eq!(shape("a=b=2"), Ok(("a=b".into(), vec![2])));
        for wrong in ["x", "=1", "x=1,", "x=-1", "x=1x2"] {
            assert!(shape(wrong).is_err(), "{wrong}");
        }
        assert_eq!(seconds("0.5"), Ok(Duration::from_millis(500)));
        for wrong in ["-1", "NaN", "inf", "1e300", "two"] {
            assert!(seconds(wrong).is_err(), "{wrong}");
        }
    }
}
