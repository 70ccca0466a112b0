//! Does the package compute what the model does?

use std::{
    fmt,
    path::Path,
    time::{Duration, Instant},
};

use mil_core::ir::Program;
use mil_runtime::{Backend, Model, ModelOptions, Numerics, Outputs, cpu::Packing};

use super::{
    Difference, Precision,
    compare::differences,
    ms,
    samples::{Sample, made_up_samples},
};
use crate::{ToolError, memory::amount, optimize::Size};

/// How far outputs may be from the model's: see [`Difference::error`]. f16 has 11 bits, of which a deep net loses some.
const F32: f64 = 1e-4;
const F16: f64 = 5e-2;

impl Precision {
    /// The scale of an output that is nearly nothing: below it f32, or f16, has no digits left to compare.
    pub(super) fn least(&self) -> f64 {
        if *self == Precision::F32 { 1e-6 } else { 1e-3 }
    }
}

/// What part of integers may differ in f32: where numbers are nearly equal, the greater may be another.
const INTEGERS: f64 = 0.01;

/// Models that have more bytes of weights than this in memory, and not in a mapped file, are validated only when that is asked for: they
/// must be kept beside those of the package until it is compared.
const LARGE: usize = 512 << 20;

/// Whether a package is compared with the model before it is put in its place.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Validation {
    /// Unless that takes much more memory (512 MiB of weights had to be changed to be said in MIL), or the model is made to give other
    /// numbers each time.
    #[default]
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// What a comparison said.
#[derive(Clone, PartialEq, Debug)]
pub struct Validated {
    /// How far each output was, at worst.
    pub differences: Vec<Difference>,
    /// Of how many samples; 0 if the model itself could not be run on made-up inputs.
    pub samples: usize,
    /// Of a classifier: for how many samples the label was the same.
    pub same_label: Option<usize>,
    /// Why nothing could be compared.
    pub impossible: Option<String>,
    /// How long it took.
    pub time: Duration,
}

/// Whether to compare; if not, what to tell the user about it.
pub(super) fn plan(validation: Validation, program: &Program) -> Result<(), Option<String>> {
    match validation {
        Validation::Never => Err(None),
        Validation::Always => Ok(()),
        Validation::Auto if makes_random_numbers(program) => {
            Err(Some("not validated: the model makes random numbers, which are others each time".into()))
        }
        Validation::Auto => match Size::of(program).in_memory {
            large @ LARGE.. => {
                let size = amount(large as u64);
                Err(Some(format!(
                    "not validated: {size} of changed weights would have to be kept beside the package's; `--validate` does it"
                )))
            }
            _ => Ok(()),
        },
    }
}

/// Whether a program gives other numbers each time.
pub(super) fn makes_random_numbers(program: &Program) -> bool {
    let mut functions = program.functions.values();
    functions.any(|f| f.walk().iter().any(|op| f.op(*op).def.name.starts_with("random_")))
}

/// How a model is run to be compared: strictly, so that nothing but the conversion is, and with weights that are packed as they are used. The
/// largest is in memory then, and not all of them twice.
pub(super) fn once() -> ModelOptions {
    Model::options().backend(Backend::Cpu).numerics(Numerics::Strict).packing(Packing::AtUse)
}

/// Runs the program that was imported and the package, and compares what they give.
///
/// # Errors
/// If the package cannot be read or run, or its outputs are too far from the model's.
pub(super) fn validate(
    imported: &Program,
    written: &Path,
    precision: &Precision,
    samples: &[Sample],
) -> Result<Validated, ToolError> {
    let start = Instant::now();
    let package = once().load(written)?;
    let mut validated =
        Validated { differences: vec![], samples: 0, same_label: None, impossible: None, time: Duration::ZERO };
    let pairs = match pairs(imported, &package, samples)? {
        Ok(pairs) => pairs,
        Err(why) => {
            validated.impossible = Some(why);
            validated.time = start.elapsed();
            return Ok(validated);
        }
    };
    for (sample, expected) in pairs {
        let found = package.predict_converting(sample)?;
        Difference::merge(&mut validated.differences, differences(&expected, &found, precision.least())?);
        if let (Some(a), Some(b)) = (expected.label(), found.label()) {
            *validated.same_label.get_or_insert(0) += usize::from(a == b);
        }
        validated.samples += 1;
    }
    validated.time = start.elapsed();
    let allowed = |d: &Difference| match (d.integers, precision) {
        (true, Precision::F16) => f64::INFINITY,
        (true, Precision::F32) => INTEGERS,
        (_, Precision::Mixed { tolerance }) => *tolerance,
        (false, Precision::F16) => F16,
        (false, Precision::F32) => F32,
    };
    match validated.differences.iter().find(|d| d.error > allowed(d)) {
        None => Ok(validated),
        Some(d) => {
            let way = match precision {
                Precision::F16 => "`--precision mixed` keeps those ops in f32 that need it, `--precision fp32` all; ",
                Precision::Mixed { .. } => "`--precision fp32` keeps all digits; ",
                Precision::F32 => "",
            };
            Err(ToolError::new(format!(
                "the package computes other things than the model: {d}, where {:e} is allowed; {way}\
                 `--samples FILE.safetensors` compares on real inputs, `--no-validate` not at all",
                allowed(d)
            )))
        }
    }
}

/// Samples, and what the model gives for them, computing strictly; or why the model cannot be run. `package` says what inputs are called
/// and how large they may be.
///
/// # Errors
/// If the model does not take a sample of the user's.
pub(super) fn pairs(
    imported: &Program,
    package: &Model,
    samples: &[Sample],
) -> Result<Result<Vec<(Sample, Outputs)>, String>, ToolError> {
    let reference = match once().from_program(imported) {
        Ok(reference) => reference,
        Err(e) => return Ok(Err(e.to_string())),
    };
    if samples.is_empty() {
        return Ok(made_up_pair(&reference, package).map(|pair| vec![pair]));
    }
    let all = samples.iter().map(|sample| Ok((sample.clone(), expected(&reference, package, sample)?)));
    all.collect::<Result<_, ToolError>>().map(Ok)
}

/// The first made-up sample that the model takes, and what it gives.
fn made_up_pair(reference: &Model, package: &Model) -> Result<(Sample, Outputs), String> {
    let mut first = None;
    for sample in made_up_samples(package) {
        let tried = sample.and_then(|s| expected(reference, package, &s).map(|e| (s, e)));
        let tried = tried.and_then(|(s, e)| match says_something(&e)? {
            true => Ok((s, e)),
            false => Err(ToolError::new("it gives nothing but NaN and infinity for them")),
        });
        match tried {
            Ok(pair) => return Ok(pair),
            Err(e) => first = first.or(Some(e.line())),
        }
    }
    Err(first.unwrap_or_default())
}

/// Whether each output of floats has a number.
fn says_something(outputs: &Outputs) -> Result<bool, ToolError> {
    for (_, t) in outputs.iter().filter(|(_, t)| t.dtype().is_float() && t.count() > 0) {
        if !t.to_f32()?.iter().any(|v| v.is_finite()) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// What the model gives. Its inputs stand in the order of the package's, whose names are cleaner.
fn expected(reference: &Model, package: &Model, sample: &Sample) -> Result<Outputs, ToolError> {
    let theirs = |name: &str| {
        let at = package.inputs().iter().position(|i| i.name == name);
        at.and_then(|at| reference.inputs().get(at)).map_or(name, |i| &i.name[..]).to_string()
    };
    Ok(reference.predict_converting(sample.iter().map(|(name, t)| (theirs(name), t.clone())))?)
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Difference { output, error, integers, .. } = self;
        match integers {
            true => write!(f, "`{output}` differs in {:.1} % of its integers", error * 100.0),
            false => write!(f, "`{output}` differs by {error:.1e} of its scale"),
        }
    }
}

/// One line.
impl fmt::Display for Validated {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(why) = &self.impossible {
            return write!(
                f,
                "not validated: the model cannot be run on made-up inputs; give it `--samples FILE.safetensors` ({why})"
            );
        }
        write!(f, "validated in {}", ms(self.time))?;
        if self.samples > 1 {
            write!(f, " on {} samples", self.samples)?;
        }
        f.write_str(": ")?;
        // A model may have very many.
        for (i, d) in self.differences.iter().take(SHOWN).enumerate() {
            write!(f, "{}{d}", if i == 0 { "" } else { ", " })?;
        }
        match self.differences.len() {
            0 => f.write_str("there is nothing to compare")?,
            n if n > SHOWN => write!(f, ", and {} more", n - SHOWN)?,
            _ => {}
        }
        match self.same_label {
            Some(n) => write!(f, "; the label is the same for {n} of {}", self.samples),
            None => Ok(()),
        }
    }
}

/// How many outputs are told of.
const SHOWN: usize = 4;
