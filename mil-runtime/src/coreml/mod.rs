//! Core ML: Apple's own engine.
//!
//! A package is compiled to a temporary `.mlmodelc`, which is loaded with the compute units asked for and removed when
//! the model is dropped. Inputs are handed over without a copy; outputs, whose rows Core ML may pad, are copied row by
//! row ([`crate::strided`]). What Core ML raises as an exception (wrong names and shapes) has been checked before, by
//! [`crate::interface`].
//!
//! This module and those below are the only ones that call Objective-C.

mod array;
mod error;

use std::{
    collections::BTreeMap,
    fmt,
    path::{Path, PathBuf},
    ptr::NonNull,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use mil_core::ir::Program;
use objc2::{
    AnyThread,
    rc::{Retained, autoreleasepool},
    runtime::{AnyObject, ProtocolObject},
};
use objc2_core_ml::{
    MLComputeUnits, MLDictionaryFeatureProvider, MLFeatureProvider, MLFeatureValue, MLModel, MLModelConfiguration,
    MLMultiArray, MLState,
};
use objc2_foundation::{NSDictionary, NSProcessInfo, NSString, NSURL};

use crate::{
    backend::{ComputeUnits, Engine, Results},
    error::RunError,
    interface::{Interface, OutputInfo, StateInfo},
    outputs::Output,
    profile::Profile,
    state::Held,
    tensor::AnyTensor,
};

use self::error::core_ml_error;

/// The system's major version.
pub(crate) fn system_version() -> isize {
    NSProcessInfo::processInfo().operatingSystemVersion().majorVersion
}

/// A model that Core ML has loaded.
pub(crate) struct CoreMl {
    /// One prediction at a time: Apple's documentation allows an `MLModel` to be used by one thread at a time.
    model: Mutex<Loaded>,
    outputs: Vec<OutputInfo>,
    /// Whether the function has states: only systems of 2024 and later know of them.
    stateful: bool,
    /// Tells states of this model from those of others.
    id: u64,
    /// Dropped after the model, which reads from it.
    _compiled: Removed,
}

struct Loaded(Retained<MLModel>);

/// The states of a model that Core ML has loaded; `None` if it has none.
pub(crate) struct CoreMlState {
    state: Option<Retained<MLState>>,
    model: u64,
}

impl CoreMlState {
    /// A copy of what a state holds.
    pub(crate) fn get(&self, info: &StateInfo) -> Result<AnyTensor, RunError> {
        let missing = || RunError::new(format!("Core ML gave no array of the state `{}`", info.name));
        let state = self.state.as_ref().ok_or_else(missing)?;
        autoreleasepool(|_| {
            let result: Mutex<Option<Result<AnyTensor, RunError>>> = Mutex::new(None);
            let copy = |array: NonNull<MLMultiArray>| {
                // SAFETY: Core ML lends the array until the handler returns.
                let copied = array::to_tensor(&info.name, unsafe { array.as_ref() });
                if let Ok(mut result) = result.lock() {
                    *result = Some(copied);
                }
            };
            let handler = block2::StackBlock::new(copy);
            // SAFETY: the name is one that the model declares; the handler is called before the method returns; no prediction
            // is under way, which would have borrowed the state mutably.
            unsafe { state.getMultiArrayForStateNamed_handler(&NSString::from_str(&info.name), &handler) };
            result.lock().ok().and_then(|mut r| r.take()).unwrap_or_else(|| Err(missing()))
        })
    }
}

// SAFETY: an `MLModel` is bound to no thread, it must only not be used by two at once; the `Mutex` around the only
// `Loaded` there is sees to that.
unsafe impl Send for Loaded {}

impl fmt::Debug for CoreMl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CoreMl").field("compiled", &self._compiled.0).finish_non_exhaustive()
    }
}

/// A file or directory of our own that is removed when it is no longer needed.
struct Removed(PathBuf);

impl Drop for Removed {
    fn drop(&mut self) {
        // It may not have been written yet. What remains lies in the system's temporary directory.
        let _ = match self.0.is_dir() {
            true => std::fs::remove_dir_all(&self.0),
            false => std::fs::remove_file(&self.0),
        };
    }
}

impl CoreMl {
    /// Compiles and loads a program: the package it was read from, or one written for the purpose.
    pub(crate) fn load(
        program: &Program,
        package: Option<&Path>,
        function: Option<&str>,
        compute_units: ComputeUnits,
        interface: &Interface,
    ) -> Result<CoreMl, RunError> {
        autoreleasepool(|_| {
            let compiled = match package {
                Some(path) => compile(path)?,
                None => {
                    let written = Removed(temporary_package());
                    program.save(&written.0).map_err(|e| RunError::with_source(e.to_string(), e))?;
                    compile(&written.0)?
                }
            };
            let model = load(&compiled.0, function, compute_units)?;
            Ok(CoreMl {
                model: Mutex::new(Loaded(model)),
                outputs: interface.outputs.clone(),
                stateful: !interface.states.is_empty(),
                id: counted(),
                _compiled: compiled,
            })
        })
    }
}

/// A number that no other call has given.
fn counted() -> u64 {
    static COUNTER: AtomicU64 = AtomicU64::new(0);
    COUNTER.fetch_add(1, Ordering::Relaxed)
}

fn temporary_package() -> PathBuf {
    let n = counted();
    std::env::temp_dir().join(format!("mil-{}-{n}.mlpackage", std::process::id()))
}

fn url(path: &Path) -> Result<Retained<NSURL>, RunError> {
    let url = if path.is_dir() { NSURL::from_directory_path(path) } else { NSURL::from_file_path(path) };
    url.ok_or_else(|| RunError::new(format!("`{}` cannot be written as a URL", path.display())))
}

fn compile(package: &Path) -> Result<Removed, RunError> {
    let from = url(package)?;
    // The asynchronous variant does the same with a block more, and is of macOS 13.
    #[expect(deprecated, reason = "waiting is what is wanted here")]
    // SAFETY: a class method without preconditions; the URL is valid for the call.
    let compiled = unsafe { MLModel::compileModelAtURL_error(&from) };
    let compiled =
        compiled.map_err(|e| core_ml_error(&format!("`{}` could not be compiled", package.display()), &e))?;
    let path = compiled.to_file_path();
    path.map(Removed).ok_or_else(|| RunError::new("Core ML gave no path of the compiled model"))
}

fn load(compiled: &Path, function: Option<&str>, units: ComputeUnits) -> Result<Retained<MLModel>, RunError> {
    let units = match units {
        ComputeUnits::All => MLComputeUnits::All,
        ComputeUnits::CpuOnly => MLComputeUnits::CPUOnly,
        ComputeUnits::CpuAndGpu => MLComputeUnits::CPUAndGPU,
        ComputeUnits::CpuAndNeuralEngine => MLComputeUnits::CPUAndNeuralEngine,
    };
    let from = url(compiled)?;
    // SAFETY: `new` and the setters have no preconditions; `setFunctionName` is of macOS 15 and iOS 18, where alone Core
    // ML loads models of several functions, and the plan has checked that it does; the path is of a compiled model.
    let loaded = unsafe {
        let configuration = MLModelConfiguration::new();
        configuration.setComputeUnits(units);
        if let Some(function) = function {
            configuration.setFunctionName(Some(&NSString::from_str(function)));
        }
        MLModel::modelWithContentsOfURL_configuration_error(&from, &configuration)
    };
    loaded.map_err(|e| core_ml_error("the compiled model could not be loaded", &e))
}

impl Engine for CoreMl {
    fn new_state(&self) -> Result<Held, RunError> {
        let state = self.stateful.then(|| {
            let model = self.model.lock().unwrap_or_else(PoisonError::into_inner);
            // SAFETY: no preconditions; of macOS 15 and iOS 18, where alone Core ML loads models with states.
            unsafe { model.0.newState() }
        });
        Ok(Held::CoreMl(CoreMlState { state, model: self.id }))
    }

    fn predict(&self, inputs: BTreeMap<String, AnyTensor>, state: &mut Held) -> Result<Results, RunError> {
        let state = match state {
            Held::CoreMl(state) if state.model == self.id => state.state.as_ref(),
            Held::CoreMl(_) | Held::Cpu(_) => {
                return Err(RunError::new(
                    "the state was made by another model; make one with `new_state` of this one",
                ));
            }
        };
        // Threads of Rust have no pool of their own: without this one, what a prediction makes is never freed.
        autoreleasepool(|_| {
            let provider = provider(inputs)?;
            let features = ProtocolObject::from_ref(&*provider);
            // Nothing of the model is left half done when another prediction panicked.
            let model = self.model.lock().unwrap_or_else(PoisonError::into_inner);
            // SAFETY: names, dtypes and shapes of the inputs are those that the model declares, and no other thread uses
            // the model while the lock is held, nor the state, which this model has made and which is borrowed mutably.
            let outputs = unsafe {
                match state {
                    Some(state) => model.0.predictionFromFeatures_usingState_error(features, state),
                    None => model.0.predictionFromFeatures_error(features),
                }
            };
            let outputs = outputs.map_err(|e| core_ml_error("the prediction failed", &e))?;
            // Outputs may be computed when they are read: the lock is held until they are copied.
            self.outputs.iter().map(|info| Ok((info.name.clone(), Output::Tensor(read(&outputs, info)?)))).collect()
        })
    }

    fn predict_profiled(
        &self,
        _inputs: BTreeMap<String, AnyTensor>,
        _state: &mut Held,
    ) -> Result<(Results, Profile), RunError> {
        Err(RunError::new(
            "Core ML does not say how long each op takes; profile on the CPU backend, or with Instruments (the Core ML template)",
        ))
    }
}

fn provider(inputs: BTreeMap<String, AnyTensor>) -> Result<Retained<MLDictionaryFeatureProvider>, RunError> {
    let mut names = Vec::with_capacity(inputs.len());
    let mut values: Vec<Retained<AnyObject>> = Vec::with_capacity(inputs.len());
    for (name, tensor) in inputs {
        let array = array::from_tensor(&name, tensor)?;
        names.push(NSString::from_str(&name));
        // SAFETY: a class method without preconditions.
        let value = unsafe { MLFeatureValue::featureValueWithMultiArray(&array) };
        values.push(value.into());
    }
    let names: Vec<&NSString> = names.iter().map(|n| &**n).collect();
    let dictionary = NSDictionary::from_retained_objects(&names, &values);
    // SAFETY: keys are strings, values are `MLFeatureValue`s, as the method wants them.
    let provider = unsafe {
        MLDictionaryFeatureProvider::initWithDictionary_error(MLDictionaryFeatureProvider::alloc(), &dictionary)
    };
    provider.map_err(|e| core_ml_error("the inputs were not accepted", &e))
}

fn read(outputs: &ProtocolObject<dyn MLFeatureProvider>, info: &OutputInfo) -> Result<AnyTensor, RunError> {
    let name = NSString::from_str(&info.name);
    // SAFETY: the methods have no preconditions, and give nothing where there is nothing.
    let array = unsafe { outputs.featureValueForName(&name).and_then(|v| v.multiArrayValue()) };
    let array = array.ok_or_else(|| RunError::new(format!("Core ML gave no array for the output `{}`", info.name)))?;
    let tensor = array::to_tensor(&info.name, &array)?;
    // The plan has seen to it that no output is something else.
    let ty = info.ty.tensor().ok_or_else(|| RunError::new(format!("output `{}` is {}", info.name, info.ty)))?;
    // Core ML has no scalars: it gives them as `[1]`.
    let tensor = if ty.rank() == 0 && tensor.count() == 1 { tensor.reshaped([])? } else { tensor };
    tensor.converted(ty.dtype)
}
