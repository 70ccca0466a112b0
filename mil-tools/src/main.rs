//! The `mil` command.

use std::{
    fmt::Write as _,
    io::{self, Write},
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

use clap::{Parser, Subcommand, ValueEnum};
use mil_core::{ir::Program, types::Opset};
use mil_runtime::Backend;
use mil_tools::{ToolError, check, copy, inspect, ops, optimize, run};

/// Look into Core ML models, check, copy, optimize and run them
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
        /// The function to run [default: the model's default function]
        #[arg(long, value_name = "NAME")]
        function: Option<String>,
        /// Predict so many times, with one state if the model has states, and write the last outputs
        #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
        repeat: u32,
        /// What to run it on
        #[arg(long, value_enum, default_value_t = BackendName::Auto)]
        backend: BackendName,
    },
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
        Command::Optimize { model, output, passes, skip, report } => {
            let optimized = optimize::optimize(&model, &output, &optimize::pipeline(&passes, &skip)?)?;
            say(&if report { optimized.full() } else { optimized.to_string() })?;
        }
        Command::Passes => say(&optimize::passes())?,
        Command::Run { model, inputs, outputs, function, repeat, backend } => {
            let options = run::Options { function, repeat, backend: backend.into() };
            let report = run::run(&model, &inputs, &outputs, &options)?;
            say(&told(&report))?;
        }
    }
    Ok(true)
}

fn release(name: &str) -> Result<Opset, String> {
    Opset::parse(name).ok_or_else(|| format!("expected one of {}", Opset::ALL.map(Opset::name).join(", ")))
}

fn described(model: &Path, text: bool, json: bool) -> Result<String, ToolError> {
    if text {
        return Ok(Program::load(model)?.to_string());
    }
    let summary = inspect::inspect(model)?;
    if json {
        let text = serde_json::to_string_pretty(&summary);
        return text.map(|t| t + "\n").map_err(|e| ToolError::new(format!("the summary cannot be written: {e}")));
    }
    Ok(summary.to_string())
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
