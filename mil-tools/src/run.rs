//! Runs a model on the tensors of a file.

use std::{path::Path, time::Duration, time::Instant};

use mil_core::{
    types::DType,
    weights::{SafeDType, TensorView, write_safetensors},
};
use mil_runtime::{AnyTensor, BackendChoice, Label, Outputs, cpu::Packing};

use crate::{LoadOptions, ToolError, inputs::read};

/// How to run.
#[derive(Clone, Debug)]
pub struct Options {
    /// What to load.
    pub load: LoadOptions,
    /// How often to predict; the outputs are those of the last time.
    pub repeat: u32,
}

/// What was done.
#[derive(Clone, Debug)]
pub struct Report {
    /// The function that ran.
    pub function: String,
    /// What ran it.
    pub backend: BackendChoice,
    /// How long the model took to load.
    pub load: Duration,
    /// How long each prediction took.
    pub predictions: Vec<Duration>,
    /// The class that a classifier predicted.
    pub label: Option<Label>,
}

/// Predicts with the tensors of one `.safetensors` file, which are converted to the dtypes that the model declares, and
/// writes the outputs to another: whole, or not at all. A classifier's probabilities are written as f64, in the order in which
/// the model has the classes; a label that is text cannot be written and is only reported.
///
/// All predictions share one state.
///
/// # Errors
/// If a file cannot be read or written, the model cannot be run, or an input does not fit.
pub fn run(model: &Path, inputs: &Path, outputs: &Path, options: &Options) -> Result<Report, ToolError> {
    let given = read(inputs)?;
    let start = Instant::now();
    let mut how = options.load.clone();
    if options.repeat <= 1 {
        // What is packed is used once.
        how.cpu.packing = Packing::AtUse;
    }
    let loaded = how.load(model)?;
    let load = start.elapsed();

    let mut predictions = vec![];
    let mut last = None;
    let mut state = loaded.new_state()?;
    for _ in 0..options.repeat.max(1) {
        let start = Instant::now();
        last = Some(loaded.predict_converting_with_state(given.iter().cloned(), &mut state)?);
        predictions.push(start.elapsed());
    }
    let label = last.as_ref().and_then(Outputs::label);
    if let Some(last) = last {
        write(outputs, last)?;
    }
    let (function, backend) = (loaded.function().to_string(), loaded.backend().clone());
    Ok(Report { function, backend, load, predictions, label })
}

fn write(path: &Path, outputs: Outputs) -> Result<(), ToolError> {
    let is_label =
        |tensor: &AnyTensor| outputs.label().is_some() && tensor.rank() == 0 && tensor.as_strings().is_some();
    let probabilities = outputs.dictionaries().map(|(name, d)| {
        let bytes: Vec<u8> = d.iter().flat_map(|(_, p)| p.to_le_bytes()).collect();
        (name, [d.len()], bytes)
    });
    let probabilities: Vec<_> = probabilities.collect();
    let mut views = vec![];
    for (name, shape, bytes) in &probabilities {
        views.push(TensorView { name, dtype: SafeDType::F64, shape, bytes });
    }
    for (name, tensor) in outputs.iter().filter(|(_, t)| !is_label(t)) {
        let found = (safe_dtype(tensor.dtype()), tensor.bytes());
        let (Some(dtype), Some(bytes)) = found else {
            let what = format!("output `{name}` is {}, which `{}` cannot hold", tensor.ty(), path.display());
            return Err(ToolError::new(what));
        };
        views.push(TensorView { name, dtype, shape: tensor.shape(), bytes });
    }
    Ok(write_safetensors(path, views)?)
}

fn safe_dtype(dtype: DType) -> Option<SafeDType> {
    SafeDType::ALL.iter().copied().find(|s| s.dtype() == Some(dtype))
}
