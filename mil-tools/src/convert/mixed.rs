//! Which ops must be of f32, found by measurement.
//!
//! What f16 does to an output is the sum of what it does at each op, and some nets make it larger on the way: a net may lose nothing by one
//! op in f16 and much by two hundred. No rule on single ops finds out, so ops are tried out. Pieces of the program, each some ops in a row,
//! are put into f16 one by one while all else is f32. Those that do least harm go first, as many as the tolerance has room for; the
//! pieces that are left are halved and tried again. Ops in a row, since a number that goes from an op in f32 to one in f16 is rounded on
//! the way all the same.

use std::{
    collections::BTreeSet,
    fmt,
    time::{Duration, Instant},
};

use mil_core::{
    ir::Program,
    passes::{AddFp16Cast, Context, Pipeline, Report},
};
use mil_runtime::Outputs;

use super::{
    Difference, Precision,
    compare::differences,
    ms,
    samples::Sample,
    validate::{makes_random_numbers, once, pairs},
};
use crate::ToolError;

/// How many pieces a program is cut into at first.
const PIECES: usize = 24;

/// How often pieces are halved.
const HALVINGS: usize = 2;

/// How many conversions are tried at most; each runs the model on each sample.
const TRIALS: usize = 120;

/// How many pieces one after another may be too much before no more are tried.
const FAILURES: usize = 4;

/// What part of the tolerance the samples may take: other inputs differ by more or less. Of nets that add up many small errors it was up to
/// 1.5 times as much, with three samples.
const MARGIN: f64 = 0.6;

/// How much larger the largest difference is taken to be than their root mean square, where that cannot be measured: all is infinite.
const PEAK: f64 = 10.0;

/// What was found.
#[derive(Clone, PartialEq, Debug)]
pub struct Mixed {
    /// Ops that are of f32, by their names. None if all may be of f16.
    pub full: BTreeSet<String>,
    /// How many ops there are, constants not counted.
    pub ops: usize,
    /// How far the outputs are from the model's if all ops are of f16 that can be, relative to their scale.
    pub all_half: f64,
    /// How often a conversion was tried.
    pub trials: usize,
    /// How long it took.
    pub time: Duration,
}

/// The passes before and behind the one that makes f16.
///
/// # Errors
/// If nothing can be measured.
pub(super) fn around(pipeline: Pipeline, imported: &Program) -> Result<[Pipeline; 2], ToolError> {
    if makes_random_numbers(imported) {
        let message = "`--precision mixed` compares what the model gives, but it makes random numbers, which are others each time";
        return Err(ToolError::new(message));
    }
    let missing = "`--precision mixed` is about what the pass `add_fp16_cast` does, which is left out";
    pipeline.around("add_fp16_cast").ok_or_else(|| ToolError::new(missing))
}

/// Converts a program so that as many ops are of f16 as can be while the outputs stay near the model's. `around` are the passes before and
/// behind the one that makes f16.
///
/// # Errors
/// If a pass fails, or the model cannot be run.
pub(super) fn convert(
    imported: &Program,
    [before, behind]: &[Pipeline; 2],
    tolerance: f64,
    samples: &[Sample],
    cx: &Context<'_>,
    progress: &mut dyn FnMut(&'static str, f64),
) -> Result<(Program, Vec<Report>, Mixed), ToolError> {
    let start = Instant::now();
    let failed = |e| ToolError::new(format!("{e}"));
    let (prepared, mut reports) = before.run_owned(imported.clone(), cx, &mut |_, _| {}).map_err(failed)?;
    let pairs = pairs(imported, &once().from_program(&prepared)?, samples)?.map_err(|why| {
        ToolError::new(format!(
            "`--precision mixed` compares what the model gives, which cannot be run on made-up inputs; give it \
             `--samples FILE.safetensors` ({why})"
        ))
    })?;
    let names = names(&prepared);
    let mut trials = Trials { prepared: &prepared, behind, cx, pairs, names: &names, peaks: vec![], count: 0 };
    let all_half = trials.of_all()?;
    let target = MARGIN * tolerance;
    let enough = all_half <= target;
    let mut half = vec![enough; names.len()];
    if !enough {
        search(&mut half, target, |half| {
            progress("trying f16", trials.count as f64 / TRIALS as f64);
            (trials.count < TRIALS).then(|| trials.score(half)).transpose()
        })?;
    }
    let full: BTreeSet<String> = trials.full(&half);
    let (ops, count) = (names.len(), trials.count);
    let (program, last) = apply(&prepared, &full, behind, cx)?;
    reports.extend(last);
    Ok((program, reports, Mixed { full, ops, all_half, trials: count, time: start.elapsed() }))
}

/// The names of all ops but constants, in order of execution.
fn names(program: &Program) -> Vec<String> {
    let mut names = vec![];
    for f in program.functions.values() {
        for op in f.walk().into_iter().map(|op| f.op(op)).filter(|op| !op.def.is_const()) {
            // As passes call an op that has none.
            let output = || op.outputs.first().map(|v| f.value(*v).name.clone()).unwrap_or_default();
            names.push(if op.name.is_empty() { output() } else { op.name.clone() });
        }
    }
    names
}

/// Puts ops into f16, all but these.
fn apply(
    prepared: &Program,
    full: &BTreeSet<String>,
    behind: &Pipeline,
    cx: &Context<'_>,
) -> Result<(Program, Vec<Report>), ToolError> {
    let failed = |e| ToolError::new(format!("{e}"));
    let mut cast = Pipeline::default();
    cast.push(AddFp16Cast { keep_named: full.clone(), ..AddFp16Cast::default() });
    let (program, mut reports) = cast.run_owned(prepared.clone(), cx, &mut |_, _| {}).map_err(failed)?;
    let (program, more) = behind.run_owned(program, cx, &mut |_, _| {}).map_err(failed)?;
    reports.extend(more);
    Ok((program, reports))
}

/// Conversions that are tried.
struct Trials<'a> {
    prepared: &'a Program,
    behind: &'a Pipeline,
    cx: &'a Context<'a>,
    /// Samples, and what the model gives for them.
    pairs: Vec<(Sample, Outputs)>,
    names: &'a [String],
    /// By output: how much larger the largest difference is than their root mean square.
    peaks: Vec<f64>,
    count: usize,
}

impl Trials<'_> {
    fn full(&self, half: &[bool]) -> BTreeSet<String> {
        self.names.iter().zip(half).filter(|(_, half)| !**half).map(|(name, _)| name.clone()).collect()
    }

    /// How far all outputs are from the model's, over all samples.
    fn differences(&mut self, full: &BTreeSet<String>) -> Result<Vec<Difference>, ToolError> {
        self.count += 1;
        let (program, _) = apply(self.prepared, full, self.behind, self.cx)?;
        let model = once().from_program(&program)?;
        let mut all = vec![];
        for (sample, expected) in &self.pairs {
            let found = model.predict_converting(sample.clone())?;
            let least = Precision::F16.least();
            Difference::merge(&mut all, differences(expected, &found, least)?);
        }
        Ok(all)
    }

    /// The largest difference if all ops are of f16.
    fn of_all(&mut self) -> Result<f64, ToolError> {
        let all = self.differences(&BTreeSet::new())?;
        let peak = |d: &Difference| Some(d.error / d.rms).filter(|p| p.is_finite()).unwrap_or(PEAK);
        self.peaks = all.iter().map(peak).collect();
        Ok(all.iter().map(|d| d.error).fold(0.0, f64::max))
    }

    /// The largest difference of an output that is to be expected with these ops in f16: the largest that was found, or, where that was
    /// small by chance, the largest that belongs to the root mean square, as it did when all ops were of f16. A few samples have few
    /// largest differences, and other inputs have others.
    fn score(&mut self, half: &[bool]) -> Result<f64, ToolError> {
        let all = self.differences(&self.full(half))?;
        let expected = all.iter().zip(&self.peaks).map(|(d, peak)| d.error.max(d.rms * peak));
        Ok(expected.fold(0.0, f64::max))
    }
}

/// Puts as much into f16 as a tolerance allows. `score` tells how far the outputs are then, or `None` if there were trials enough.
fn search<E>(
    half: &mut [bool],
    tolerance: f64,
    mut score: impl FnMut(&[bool]) -> Result<Option<f64>, E>,
) -> Result<(), E> {
    let n = half.len();
    let cut = PIECES.min(n);
    let mut pieces: Vec<std::ops::Range<usize>> = (0..cut).map(|i| n * i / cut..n * (i + 1) / cut).collect();
    let mut with = |half: &[bool], pieces: &[(f64, std::ops::Range<usize>)]| {
        let mut tried = half.to_vec();
        pieces.iter().for_each(|(_, piece)| tried[piece.clone()].fill(true));
        Ok(score(&tried)?.map(|score| (score, tried)))
    };
    for _ in 0..=HALVINGS {
        let mut scored = vec![];
        for piece in &pieces {
            let alone = [(0.0, piece.clone())];
            let Some((score, _)) = with(half, &alone)? else { return Ok(()) };
            scored.push((score, piece.clone()));
        }
        scored.sort_by(|a, b| a.0.total_cmp(&b.0));
        // What is too much alone is too much with others.
        let possible = scored.partition_point(|(score, _)| *score <= tolerance);
        // The most of them that are not too much together.
        let (mut good, mut bad) = (0, possible + 1);
        while bad - good > 1 {
            let middle = good + (bad - good) / 2;
            let Some((score, _)) = with(half, &scored[..middle])? else { return Ok(()) };
            match score <= tolerance {
                true => good = middle,
                false => bad = middle,
            }
        }
        scored[..good].iter().for_each(|(_, piece)| half[piece.clone()].fill(true));
        let mut left: Vec<_> = scored[good..].to_vec();
        let mut failures = 0;
        for candidate in scored[good..possible].iter().skip(1) {
            if failures == FAILURES {
                break;
            }
            let Some((score, tried)) = with(half, std::slice::from_ref(candidate))? else { return Ok(()) };
            match score <= tolerance {
                true => {
                    half.copy_from_slice(&tried);
                    left.retain(|l| l != candidate);
                }
                false => failures += 1,
            }
        }
        left.retain(|(_, piece)| piece.len() > 1);
        if left.is_empty() {
            return Ok(());
        }
        left.sort_by_key(|(_, piece)| piece.start);
        let halves = |p: std::ops::Range<usize>| {
            let middle = p.start + p.len() / 2;
            [p.start..middle, middle..p.end]
        };
        pieces = left.into_iter().flat_map(|(_, piece)| halves(piece)).collect();
    }
    Ok(())
}

/// One line.
impl fmt::Display for Mixed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Mixed { full, ops, all_half, trials, time } = self;
        match full.len() {
            0 => write!(f, "all ops may be of f16")?,
            n => {
                write!(f, "{n} of {ops} ops stay f32; all in f16 would differ by {all_half:.1e} of the outputs' scale")?
            }
        }
        write!(f, " (conversions tried: {trials}, in {})", ms(*time))
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use super::*;

    /// The ops that are put into f16 if each does some harm, and harms add up as independent errors do; and the number of trials.
    fn found(harms: &[f64], tolerance: f64, most: usize) -> (Vec<bool>, usize) {
        let (mut half, mut count) = (vec![false; harms.len()], 0);
        let done = search(&mut half, tolerance, |half| {
            count += 1;
            let sum: f64 = harms.iter().zip(half).filter(|(_, h)| **h).map(|(harm, _)| harm * harm).sum();
            Ok::<_, Infallible>((count <= most).then(|| sum.sqrt()))
        });
        done.unwrap();
        (half, count)
    }

    fn sum(harms: &[f64], half: &[bool]) -> f64 {
        harms.iter().zip(half).filter(|(_, h)| **h).map(|(harm, _)| harm * harm).sum::<f64>().sqrt()
    }

    #[test]
    fn harmful_ops_stay_f32() {
        let mut harms = vec![1e-4; 240];
        harms[7] = 1.0;
        harms[130..134].fill(0.3);
        let (half, trials) = found(&harms, 1e-2, TRIALS);
        assert!(sum(&harms, &half) <= 1e-2 && !half[7] && half[130..134].iter().all(|h| !h));
        // Pieces of ten ops are cut into five, and these into two and three.
        let full = half.iter().filter(|h| !**h).count();
        assert!(full <= 3 + 2 * 3, "{full}");
        assert!(trials <= TRIALS, "{trials}");
    }

    #[test]
    fn harms_that_add_up_are_chosen_by_their_size() {
        let harms: Vec<f64> = (0..96).map(|i| if i < 48 { 2e-3 } else { 4e-4 }).collect();
        let (half, _) = found(&harms, 5e-3, TRIALS);
        assert!(sum(&harms, &half) <= 5e-3 && half[48..].iter().all(|h| *h));
        assert!(half[..48].iter().any(|h| *h), "there is room for some");
    }

    #[test]
    fn what_cannot_be_stays_f32_and_trials_end() {
        let (half, _) = found(&[1.0; 100], 1e-2, TRIALS);
        assert!(half.iter().all(|h| !h));
        assert!(found(&[], 1e-2, TRIALS).0.is_empty());
        assert_eq!(found(&[1e-9], 1e-2, TRIALS).0, [true]);
        // What was found before the trials ended is kept.
        let mut harms = vec![1e-5; 48];
        harms[0] = 1.0;
        let (half, trials) = found(&harms, 1e-2, 40);
        assert!(trials <= 41 && sum(&harms, &half) <= 1e-2 && half.iter().any(|h| *h), "{trials}");
        assert!(found(&harms, 1e-2, 3).0.iter().all(|h| !h));
    }
}
