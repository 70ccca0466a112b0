//! The `mil` command.

use std::{
    fmt::Write as _,
    io::{self, Write},
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

use clap::{Parser, Subcommand, ValueEnum};
use mil_core::ir::Program;
use mil_runtime::Backend;
use mil_tools::{ToolError, check, copy, inspect, run};

/// Look into Core ML models, check, copy and run them
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
        /// A .mlpackage or .mlmodel
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
        /// A .mlpackage or .mlmodel
        model: PathBuf,
    },
    /// Read a model, validate it, and write it again
    Copy {
        /// A .mlpackage or .mlmodel
        from: PathBuf,
        /// Where to write the copy, which replaces what is there
        to: PathBuf,
    },
    /// Run a model
    Run {
        /// A .mlpackage or .mlmodel
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
            complain(&e.line());
            ExitCode::FAILURE
        }
    }
}

/// Whether all was well.
fn execute(command: Command) -> Result<bool, ToolError> {
    match command {
        Command::Inspect { model, text, json } => say(&described(&model, text, json)?)?,
        Command::Check { model } => {
            let diagnostics = check::check(&model);
            diagnostics.iter().for_each(|d| complain(d));
            return Ok(diagnostics.is_empty());
        }
        Command::Copy { from, to } => copy::copy(&from, &to)?,
        Command::Run { model, inputs, outputs, function, repeat, backend } => {
            let options = run::Options { function, repeat, backend: backend.into() };
            let report = run::run(&model, &inputs, &outputs, &options)?;
            say(&told(&report))?;
        }
    }
    Ok(true)
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

fn complain(line: &str) {
    // There is nobody left to tell if this fails.
    let _ = writeln!(io::stderr().lock(), "error: {line}");
}
