//! Runs passes on a model.

use std::{
    fmt::{self, Write as _},
    path::Path,
    time::{Duration, Instant},
};

use mil_core::{
    ir::Program,
    package::PackageReader,
    passes::{Context, Pipeline, Report},
};
use mil_runtime::cpu::reference::Evaluator;

use crate::{ToolError, check, copy, memory::amount};

/// What was done.
#[derive(Clone, Debug)]
pub struct Optimized {
    /// What each pass reports, in order.
    pub reports: Vec<Report>,
    /// Size before and after.
    pub sizes: [Size; 2],
    /// How long the passes took together.
    pub time: Duration,
}

/// How large a program is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Size {
    /// Ops, constants not counted.
    pub ops: usize,
    /// Bytes of constants; those that share memory count once.
    pub constants: usize,
    /// Those of them that are in memory, and not in a mapped file.
    pub in_memory: usize,
}

impl Size {
    /// The size of a program.
    pub fn of(program: &Program) -> Size {
        let mut size = Size::default();
        let mut seen = std::collections::HashSet::new();
        for f in program.functions.values() {
            for op in f.walk() {
                let op = f.op(op);
                size.ops += usize::from(!op.def.is_const());
                if let Some(bytes) = op.constant().and_then(|c| c.bytes())
                    && (bytes.len() < 64 || seen.insert((bytes.as_ptr(), bytes.len())))
                {
                    size.constants += bytes.len();
                    size.in_memory += if bytes.is_mapped() { 0 } else { bytes.len() };
                }
            }
        }
        size
    }
}

/// The passes that a user asks for, without those that shall be left out.
///
/// # Errors
/// If there is no pass of a name.
pub fn pipeline(passes: &str, skip: &[String]) -> Result<Pipeline, ToolError> {
    let pipeline = Pipeline::parse(passes).and_then(|p| p.skip(skip.iter().map(|s| s.trim())));
    pipeline.map_err(|e| ToolError::new(format!("{e}; or `fp32`, `fp16`; see `mil passes`")))
}

/// Reads a program, runs the passes on it, checks it, and writes it: whole, or not at all.
///
/// # Errors
/// If the model cannot be read or written or is no ML Program, a pass fails, or the result is not valid, which it may only be if the
/// model was not.
pub fn optimize(from: &Path, to: &Path, pipeline: &Pipeline) -> Result<Optimized, ToolError> {
    let package = PackageReader::open(from)?;
    let kind = copy::destination(&package, to)?;
    copy::separate(from, to)?;
    let mut program = Program::from_package(&package)?;
    let before = Size::of(&program);
    let start = Instant::now();
    let failed = |e| ToolError::new(format!("`{}`: {e}", from.display()));
    let reports = pipeline.run(&mut program, &Context { evaluate: Some(&Evaluator) }).map_err(failed)?;
    let time = start.elapsed();
    // What was wrong with the model may be so still: names, dtypes of inputs and outputs are what passes mend.
    check::valid(from, &program, ", see `mil check`")?;
    copy::write_program(&program, kind, to)?;
    Ok(Optimized { reports, sizes: [before, Size::of(&program)], time })
}

/// A line for each pass that there is.
pub fn passes() -> String {
    let width = mil_core::passes::all().map(|p| p.name().len()).max().unwrap_or(0);
    mil_core::passes::all().map(|p| format!("{:width$}  {}\n", p.name(), p.doc())).collect()
}

/// One line: what it was and what it is.
impl fmt::Display for Optimized {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [before, after] = self.sizes;
        let changes: usize = self.reports.iter().map(Report::changes).sum();
        let (passes, time) = (self.reports.len(), self.time.as_secs_f64() * 1e3);
        writeln!(
            f,
            "{passes} passes made {changes} changes in {time:.1} ms: {} ops before, {} after; {} of constants before, {} after",
            before.ops,
            after.ops,
            amount(before.constants as u64),
            amount(after.constants as u64),
        )
    }
}

impl Optimized {
    /// A line for each pass, what it has to say, and the summary.
    pub fn full(&self) -> String {
        told(&self.reports) + &self.to_string()
    }
}

/// A line for each pass, and what it has to say.
pub(crate) fn told(reports: &[Report]) -> String {
    let mut text = String::new();
    for report in reports {
        let said = report.to_string().replace('\n', "\n           ");
        // Writing to a string does not fail.
        let _ = writeln!(text, "{:8.3} ms  {said}", report.time.as_secs_f64() * 1e3);
    }
    text
}
