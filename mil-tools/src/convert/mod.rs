//! Models of other frameworks become packages.
//!
//! A model is read and said in MIL ([`import`]), optimized, checked, written beside its place, read again and compared with what was
//! imported ([`validate`](Validation)), and only then put where the user wants it: an error leaves everything as it was.

mod compare;
mod mixed;
mod samples;
mod validate;

use std::{
    fmt::{self, Write as _},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use mil_core::{
    passes::{Context, Report},
    weights,
};
use mil_runtime::cpu::reference::Evaluator;

use crate::{
    ToolError, check, copy,
    import::{ImportOptions, Imported},
    memory::amount,
    onnx,
    optimize::{self, Size},
    torch,
};

pub use compare::Difference;
pub use mixed::Mixed;
pub use validate::{Validated, Validation};

/// What numbers are computed in.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub enum Precision {
    /// f16, but for ops that cannot be of it or would lose what they are for ([`AddFp16Cast`](mil_core::passes::AddFp16Cast) says
    /// which): as small and fast as can be.
    #[default]
    F16,
    /// f32.
    F32,
    /// f16, but for as many ops as it takes to have all outputs near the model's, which is measured on the samples.
    Mixed {
        /// How far an output may be from the model's ([`Difference::error`]): 1e-2, say. More than 1e-4, which f32 may differ.
        tolerance: f64,
    },
}

/// How a model is converted.
#[derive(Clone, Debug, Default)]
pub struct ConvertOptions {
    /// How it is read.
    pub import: ImportOptions,
    /// What the package computes in.
    pub precision: Precision,
    /// Names of passes to leave out.
    pub skip: Vec<String>,
    /// Whether the package is run and compared before it is put in its place. With [`Precision::Mixed`] it is in any case.
    pub validation: Validation,
    /// `.safetensors` files with inputs, by their names in the package: what the package is validated on. Made-up inputs where there is
    /// none.
    pub samples: Vec<PathBuf>,
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
    /// With [`Precision::Mixed`]: what was found.
    pub mixed: Option<Mixed>,
    /// What the comparison said; `None` if nobody asked for one.
    pub validated: Option<Validated>,
    /// What was done and how long it took, in order. The whole is their sum, nearly.
    pub times: Vec<(&'static str, Duration)>,
}

/// What f16 may differ before the user is told that there is [`Precision::Mixed`].
const NEAR: f64 = 1e-2;

/// Reads a model of another framework, says it in MIL, optimizes it, checks it, and writes it: whole, or not at all. `progress` is told
/// what is being done, and what part of all is done, roughly.
///
/// # Errors
/// If the model cannot be read or said in MIL, the package cannot be written, or it computes other things than the model. What was at
/// `to` is then still there.
pub fn convert(
    from: &Path,
    to: &Path,
    options: &ConvertOptions,
    progress: &mut dyn FnMut(&str, f64),
) -> Result<Converted, ToolError> {
    copy::destination_of_program(to)?;
    copy::separate(from, to)?;
    let precision = &options.precision;
    let pipeline = optimize::pipeline(if *precision == Precision::F32 { "fp32" } else { "fp16" }, &options.skip)?;
    let samples = samples::read_all(&options.samples)?;
    let mut watch = Watch::new();

    progress("reading", 0.0);
    let Imported { program: imported, mut warnings } = import(from, &options.import)?;
    watch.lap("reading");

    let failed = |e| ToolError::new(format!("`{}`: {e}", from.display()));
    let cx = Context { evaluate: Some(&Evaluator) };
    let told = &mut |pass: &'static str, part: f64| progress(pass, 0.1 + 0.5 * part);
    // What the package shall compute, if that will be asked.
    let (wanted, reference, (mut program, reports), mixed) = match *precision {
        Precision::F16 | Precision::F32 => {
            let wanted = validate::plan(options.validation, &imported);
            let reference = wanted.is_ok().then(|| imported.clone());
            (wanted, reference, pipeline.run_owned(imported, &cx, told).map_err(failed)?, None)
        }
        Precision::Mixed { tolerance } => {
            let around = mixed::around(pipeline, &imported)?;
            let (program, reports, mixed) = mixed::convert(&imported, &around, tolerance, &samples, &cx, told)?;
            (Ok(()), Some(imported), (program, reports), Some(mixed))
        }
    };
    program.metadata.user_defined.insert("mil.version".into(), env!("CARGO_PKG_VERSION").into());
    // There is no file yet that `mil check` could tell more of.
    check::valid(from, &program, "")?;
    let size = Size::of(&program);
    watch.lap("passes");

    progress("writing", 0.6);
    let (mut validated, mut times) = (None, vec![]);
    program.save_checked(to, |written| {
        watch.lap("writing");
        times = std::mem::take(&mut watch.laps);
        // Constants that are in the file now, and nowhere else, are not needed twice.
        if let Some(reference) = &reference {
            progress("validating", 0.8);
            validated = Some(validate::validate(reference, written, precision, &samples)?);
            watch.lap("validating");
            times.append(&mut watch.laps);
        }
        Ok::<_, ToolError>(())
    })?;
    if let Err(Some(why)) = wanted {
        warnings.push(why);
    }
    if mixed.is_some() && samples.is_empty() {
        let why =
            "what must be of f32 was found on made-up inputs; real ones, with `--samples FILE.safetensors`, say more";
        warnings.push(why.into());
    }
    if *precision == Precision::F16
        && let Some(d) =
            validated.iter().flat_map(|v: &Validated| &v.differences).find(|d| !d.integers && d.error > NEAR)
    {
        warnings.push(format!("in f16 {d} from the model's; `--precision mixed` keeps those ops in f32 that need it"));
    }
    Ok(Converted { warnings, reports, size, mixed, validated, times })
}

/// Reads a model of any framework that is known, told by what the file begins with.
///
/// # Errors
/// If it cannot be read, or not be said in MIL.
pub fn import(from: &Path, options: &ImportOptions) -> Result<Imported, ToolError> {
    if torch::is_torch(&weights::Bytes::map_file(from)?) {
        torch::import(from, options)
    } else {
        onnx::import(from, options)
    }
}

/// Notes how long each thing took.
struct Watch {
    since: Instant,
    laps: Vec<(&'static str, Duration)>,
}

impl Watch {
    fn new() -> Watch {
        Watch { since: Instant::now(), laps: vec![] }
    }

    fn lap(&mut self, what: &'static str) {
        self.laps.push((what, self.since.elapsed()));
        self.since = Instant::now();
    }
}

fn ms(d: Duration) -> String {
    format!("{:.1} ms", d.as_secs_f64() * 1e3)
}

/// One line: what it has become; one on what stays f32, with mixed precision; and one on what the comparison said.
impl fmt::Display for Converted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Size { ops, constants } = self.size;
        let time = self.times.iter().filter(|(what, _)| *what != "validating").map(|(_, d)| *d).sum();
        writeln!(f, "converted in {}: {ops} ops, {} of constants", ms(time), amount(constants as u64))?;
        if let Some(mixed) = &self.mixed {
            writeln!(f, "{mixed}")?;
        }
        match &self.validated {
            Some(validated) => writeln!(f, "{validated}"),
            None => Ok(()),
        }
    }
}

impl Converted {
    /// What each pass did and how long everything took, a line each.
    pub fn full(&self) -> String {
        let mut text = String::new();
        for (what, time) in &self.times {
            // Writing to a string does not fail.
            let _ = writeln!(text, "{:>12}  {what}", ms(*time));
            if *what == "passes" {
                text += &optimize::told(&self.reports);
            }
        }
        text
    }
}
