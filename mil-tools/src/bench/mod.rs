//! Measures how fast a model runs.

mod report;

use std::{
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use mil_runtime::{AnyTensor, Model, ModelState, Profile, RunError};

use crate::{
    LoadOptions, ToolError,
    inputs::{made_up, read},
    memory,
};

pub use report::{Input, Latency, OpShare, Profiled, Report};

/// What to measure, and for how long.
#[derive(Clone, Debug)]
pub struct Options {
    /// What to load.
    pub load: LoadOptions,
    /// A `.safetensors` file of inputs, by name; those that it lacks are made up.
    pub inputs: Option<PathBuf>,
    /// Shapes of inputs that are made up, by name; else the default ones of the model.
    pub shapes: Vec<(String, Vec<usize>)>,
    /// How long to measure.
    pub length: Length,
    /// How many predictions after the first are not counted; one more if there is a profile.
    pub warmup: u32,
    /// Whether to say how long each op takes.
    pub profile: bool,
}

/// How long to measure.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Length {
    /// So many predictions.
    Iterations(u32),
    /// So long, with at least 3 predictions and 100,000 at most.
    Time(Duration),
}

impl Length {
    /// What part is done.
    fn done(self, iterations: usize, time: Duration) -> f64 {
        match self {
            Length::Iterations(all) => iterations as f64 / f64::from(all.max(1)),
            // What is noted of each prediction shall not weigh in the peak of memory.
            Length::Time(_) if iterations >= 100_000 => 1.0,
            Length::Time(all) => {
                let part = if all.is_zero() { 1.0 } else { time.as_secs_f64() / all.as_secs_f64() };
                part.min(iterations as f64 / 3.0)
            }
        }
    }
}

/// Loads a model, predicts again and again, and says how long that took. `progress` is told what is being done and what part of
/// it is done, between predictions, so that it takes no time of them.
///
/// All predictions share one state, and have the same inputs: those of a file, and made-up ones for the rest, normally distributed
/// numbers from a fixed seed, pixels for images, and zeros for integers.
///
/// The profile is of predictions of its own, after the others: to look at the clock for each op takes time.
///
/// # Errors
/// If a file cannot be read, the model cannot be run, an input does not fit, or a profile is asked for that Core ML does not give.
pub fn bench(model: &Path, options: &Options, progress: &mut dyn FnMut(&str, f64)) -> Result<Report, ToolError> {
    let given = options.inputs.as_deref().map(read).transpose()?.unwrap_or_default();
    progress("loading", 0.0);
    let start = Instant::now();
    let loaded = options.load.load(model)?;
    let load = start.elapsed();

    let (inputs, described) = inputs(&loaded, given, options)?;
    let mut bench = Bench { state: loaded.new_state()?, model: loaded, inputs };
    progress("first prediction", 0.0);
    let first = bench.predict().map_err(|e| with_inputs(e, &described))?;
    if options.profile {
        // Whether there is one shall not be known only after all else.
        bench.profile()?;
    }
    for done in 0..options.warmup {
        progress("warming up", f64::from(done) / f64::from(options.warmup));
        bench.predict()?;
    }
    let times = repeated(options.length, &mut |done| progress("measuring", done), &mut || bench.predict())?;
    let peak_memory = memory::peak();

    let mut profile = Profile::default();
    if options.profile {
        let length = match options.length {
            // No more than are needed to say where the time goes.
            Length::Iterations(all) => Length::Iterations(all.min(20)),
            time => time,
        };
        repeated(length, &mut |done| progress("profiling", done), &mut || {
            profile.merge(&bench.profile()?);
            Ok(profile.total())
        })?;
    }

    let loaded = &bench.model;
    // Core ML decides these itself.
    let cpu = (loaded.backend().name == "CPU").then_some(options.load.cpu);
    let latency = Latency::of(first, &times);
    Ok(Report {
        model: model.display().to_string(),
        function: loaded.function().to_string(),
        backend: loaded.backend().name.to_string(),
        backend_reason: loaded.backend().reason.clone(),
        threads: cpu.map(|c| c.thread_count()),
        numerics: cpu.map(|c| c.numerics.to_string()),
        inputs: described,
        load_ms: report::ms(load),
        throughput_per_s: if latency.mean > 0.0 { 1e3 / latency.mean } else { 0.0 },
        latency_ms: latency,
        warmup: options.warmup,
        iterations: times.len(),
        peak_memory_bytes: peak_memory,
        profile: options.profile.then(|| Profiled::of(&profile)),
    })
}

type Named = (String, AnyTensor);

struct Bench {
    model: Model,
    inputs: Vec<Named>,
    state: ModelState,
}

impl Bench {
    /// How long a prediction takes.
    fn predict(&mut self) -> Result<Duration, RunError> {
        let inputs = self.inputs.clone();
        let start = Instant::now();
        let outputs = self.model.predict_with_state(inputs, &mut self.state)?;
        let time = start.elapsed();
        drop(outputs);
        Ok(time)
    }

    fn profile(&mut self) -> Result<Profile, RunError> {
        Ok(self.model.predict_profiled_with_state(self.inputs.iter().cloned(), &mut self.state)?.1)
    }
}

fn repeated(
    length: Length,
    progress: &mut dyn FnMut(f64),
    run: &mut dyn FnMut() -> Result<Duration, RunError>,
) -> Result<Vec<Duration>, RunError> {
    let (start, mut times) = (Instant::now(), vec![]);
    loop {
        times.push(run()?);
        let done = length.done(times.len(), start.elapsed());
        if done >= 1.0 {
            return Ok(times);
        }
        progress(done);
    }
}

/// All inputs, and what to say of them.
fn inputs(model: &Model, given: Vec<Named>, options: &Options) -> Result<(Vec<Named>, Vec<Input>), ToolError> {
    if let Some((name, _)) = options.shapes.iter().find(|(name, _)| given.iter().any(|(g, _)| g == name)) {
        let file = options.inputs.as_deref().unwrap_or(Path::new("")).display();
        return Err(ToolError::new(format!("`{file}` has the input `{name}`; give it no shape, or take it out there")));
    }
    let mut fitted = vec![];
    for (name, tensor) in given {
        // Those that are unknown are refused below.
        let info = model.inputs().iter().find(|i| i.name == name);
        let tensor = info.map_or(Ok(tensor.clone()), |i| i.fitted(tensor))?;
        fitted.push((name, tensor));
    }
    let shapes = fitted.iter().map(|(name, t)| (name.clone(), t.shape().to_vec()));
    let shapes = model.input_shapes(shapes.chain(options.shapes.iter().cloned()))?;
    let (mut inputs, mut described) = (vec![], vec![]);
    for (at, (info, shape)) in model.inputs().iter().zip(shapes).enumerate() {
        let found = fitted.iter().position(|(name, _)| *name == info.name);
        let tensor = match found {
            Some(found) => fitted.swap_remove(found).1,
            None => made_up(info, &shape, at as u64)?,
        };
        described.push(Input { name: info.name.clone(), r#type: tensor.ty().to_string(), made_up: found.is_none() });
        inputs.push((info.name.clone(), tensor));
    }
    Ok((inputs, described))
}

/// An op may need other values, or larger sizes, than were made up.
fn with_inputs(error: RunError, inputs: &[Input]) -> ToolError {
    let error = ToolError::from(error);
    let made_up: Vec<_> = inputs.iter().filter(|i| i.made_up).map(|i| format!("`{}`: {}", i.name, i.r#type)).collect();
    match made_up.is_empty() {
        true => error,
        false => ToolError::new(format!(
            "{}; made up were {}: if the model needs others, say `--shape` or `--inputs`",
            error.line(),
            made_up.join(", ")
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths() {
        let run = |length| {
            let mut calls = 0;
            let mut parts = vec![];
            let times = repeated(length, &mut |done| parts.push(done), &mut || {
                calls += 1;
                Ok(Duration::from_millis(calls))
            });
            assert!(parts.is_sorted() && parts.iter().all(|p| (0.0..1.0).contains(p)));
            times.unwrap()
        };
        assert_eq!(run(Length::Iterations(2)), [1, 2].map(Duration::from_millis));
        assert_eq!(run(Length::Time(Duration::ZERO)).len(), 3);
        assert!(run(Length::Time(Duration::from_millis(5))).len() > 3);
        assert_eq!(Length::Time(Duration::from_secs(9)).done(100_000, Duration::ZERO), 1.0);
        let e = repeated(Length::Iterations(2), &mut |_| {}, &mut || Err(RunError::new("no"))).unwrap_err();
        assert_eq!(e.to_string(), "no");
    }
}
