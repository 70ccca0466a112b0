//! Models of other frameworks become packages.

use std::{
    fmt,
    path::Path,
    time::{Duration, Instant},
};

use mil_core::{
    ir::Program,
    passes::{Context, Report},
};
use mil_runtime::cpu::reference::Evaluator;

use crate::{
    ToolError, check, copy,
    import::{ImportOptions, Imported},
    memory::amount,
    onnx,
    optimize::{self, Size},
};

/// How a model is converted.
#[derive(Clone, Debug)]
pub struct ConvertOptions {
    /// How it is read.
    pub import: ImportOptions,
    /// `fp16` or `fp32`.
    pub precision: String,
    /// Names of passes to leave out.
    pub skip: Vec<String>,
}

impl Default for ConvertOptions {
    fn default() -> ConvertOptions {
        ConvertOptions { import: ImportOptions::default(), precision: "fp16".into(), skip: vec![] }
    }
}

/// What was done.
#[derive(Clone, Debug)]
pub struct Converted {
    /// What the user should know. A line each.
    pub warnings: Vec<String>,
    /// What each pass did.
    pub reports: Vec<Report>,
    /// The size of what was written.
    pub size: Size,
    /// How long it took.
    pub time: Duration,
}

/// Reads a model of another framework, says it in MIL, optimizes it, and writes it: whole, or not at all.
///
/// # Errors
/// If the model cannot be read or said in MIL, or the package cannot be written.
pub fn convert(from: &Path, to: &Path, options: &ConvertOptions) -> Result<Converted, ToolError> {
    let start = Instant::now();
    let kind = copy::destination_of_program(to)?;
    copy::separate(from, to)?;
    let Imported { mut program, warnings } = import(from, &options.import)?;
    let pipeline = optimize::pipeline(&options.precision, &options.skip)?;
    let failed = |e| ToolError::new(format!("`{}`: {e}", from.display()));
    let reports = pipeline.run(&mut program, &Context { evaluate: Some(&Evaluator) }).map_err(failed)?;
    checked(from, &program)?;
    copy::write_program(&program, kind, to)?;
    Ok(Converted { warnings, reports, size: Size::of(&program), time: start.elapsed() })
}

/// Reads a model of any framework that is known, told by its file.
///
/// # Errors
/// If it cannot be read, or not be said in MIL.
pub fn import(from: &Path, options: &ImportOptions) -> Result<Imported, ToolError> {
    onnx::import(from, options)
}

fn checked(from: &Path, program: &Program) -> Result<(), ToolError> {
    match &check::diagnostics(from, program)[..] {
        [] => Ok(()),
        [one] => Err(ToolError::new(one)),
        [first, more @ ..] => Err(ToolError::new(format!("{first}; and {} more", more.len()))),
    }
}

/// One line: what it has become.
impl fmt::Display for Converted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Size { ops, constants } = self.size;
        let time = self.time.as_secs_f64() * 1e3;
        writeln!(f, "converted in {time:.1} ms: {ops} ops, {} of constants", amount(constants as u64))
    }
}
