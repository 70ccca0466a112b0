//! Which engine runs a model, and why that one.

use std::{collections::BTreeMap, fmt, str::FromStr};

use mil_core::{ir::Function, types::Opset};

use crate::{
    cpu::{Executor, States},
    error::RunError,
    interface::{Interface, boundary_obstacle},
    outputs::Output,
    profile::Profile,
    state::Held,
    tensor::AnyTensor,
};

/// Which engine shall run a model.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Backend {
    /// Core ML on Apple systems, where it can run the program; else the CPU. The environment variable `MIL_BACKEND`
    /// (`cpu` or `coreml`) decides otherwise; what was chosen, and why, says [`Model::backend`](crate::Model::backend).
    #[default]
    Auto,
    /// The CPU engine of this crate, on every system.
    Cpu,
    /// Apple's Core ML.
    CoreMl {
        /// The processors it may use.
        compute_units: ComputeUnits,
    },
}

/// The processors that Core ML may use.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum ComputeUnits {
    /// CPU, GPU and Neural Engine.
    #[default]
    All,
    /// The CPU alone.
    CpuOnly,
    /// CPU and GPU.
    CpuAndGpu,
    /// CPU and Neural Engine.
    CpuAndNeuralEngine,
}

impl Backend {
    /// The best there is; see [`Backend::Auto`].
    pub const fn auto() -> Backend {
        Backend::Auto
    }

    /// Core ML on all processors.
    pub const fn core_ml() -> Backend {
        Backend::CoreMl { compute_units: ComputeUnits::All }
    }
}

impl FromStr for Backend {
    type Err = RunError;

    fn from_str(name: &str) -> Result<Backend, RunError> {
        match name {
            "auto" => Ok(Backend::Auto),
            "cpu" => Ok(Backend::Cpu),
            "coreml" => Ok(Backend::core_ml()),
            other => Err(RunError::new(format!("`{other}` is no backend; there are `auto`, `cpu` and `coreml`"))),
        }
    }
}

/// The engine that runs a model, and why that one.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BackendChoice {
    /// `CPU` or `Core ML`.
    pub name: &'static str,
    /// Why it was chosen.
    pub reason: String,
}

/// `CPU (not an Apple system)`.
impl fmt::Display for BackendChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.name, self.reason)
    }
}

/// What runs a function. Inputs have been checked and are complete.
pub(crate) trait Engine: Send + Sync + fmt::Debug {
    /// What the function's states are at first.
    fn new_state(&self) -> Result<Held, RunError>;

    /// Runs the function once and gives its outputs by name. The states, which this engine has made, are as they were
    /// before if that fails.
    fn predict(&self, inputs: BTreeMap<String, AnyTensor>, state: &mut Held) -> Result<Results, RunError>;

    /// The same, and how long each op took.
    fn predict_profiled(
        &self,
        inputs: BTreeMap<String, AnyTensor>,
        state: &mut Held,
    ) -> Result<(Results, Profile), RunError>;
}

/// Outputs by name.
pub(crate) type Results = BTreeMap<String, Output>;

impl Engine for Executor {
    fn new_state(&self) -> Result<Held, RunError> {
        self.new_states().map(Held::Cpu)
    }

    fn predict(&self, inputs: BTreeMap<String, AnyTensor>, state: &mut Held) -> Result<Results, RunError> {
        self.run_with(inputs, ours(state)?)
    }

    fn predict_profiled(
        &self,
        inputs: BTreeMap<String, AnyTensor>,
        state: &mut Held,
    ) -> Result<(Results, Profile), RunError> {
        self.run_profiled(inputs, ours(state)?)
    }
}

/// The states, if they are of this engine.
fn ours(state: &mut Held) -> Result<&mut States, RunError> {
    match state {
        Held::Cpu(states) => Ok(states),
        #[cfg(target_vendor = "apple")]
        Held::CoreMl(_) => Err(RunError::new("the state is of a model on Core ML, this one runs on the CPU")),
    }
}

/// The environment variable that decides for [`Backend::Auto`].
pub(crate) const VARIABLE: &str = "MIL_BACKEND";

/// Where this runs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(dead_code)] // each system constructs one
pub(crate) enum Host {
    /// Not on an Apple system.
    Other,
    /// On an Apple system whose Core ML knows this opset and all before it; `None` if it is too old for ML Programs.
    Apple(Option<Opset>),
}

/// What to try.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Plan {
    Cpu {
        reason: String,
    },
    /// Core ML; if it refuses the program, the CPU, unless Core ML was asked for.
    CoreMl {
        compute_units: ComputeUnits,
        reason: String,
        or_cpu: bool,
    },
}

/// Decides by what is asked for, by the value of `MIL_BACKEND`, and by what Core ML here could not do with the function.
pub(crate) fn plan(
    asked: Backend,
    variable: Option<&str>,
    host: Host,
    function: &Function,
    interface: &Interface,
) -> Result<Plan, RunError> {
    let (backend, reason) = match (asked, variable) {
        (Backend::Auto, Some(name)) => {
            let backend = name.parse::<Backend>().map_err(|e| RunError::new(format!("{VARIABLE}: {e}")))?;
            (backend, format!("{VARIABLE}={name} set"))
        }
        (asked, _) => (asked, "asked for".to_string()),
    };
    let obstacle = obstacle(host, function, interface);
    match (backend, obstacle) {
        (Backend::Cpu, _) => Ok(Plan::Cpu { reason }),
        (Backend::CoreMl { compute_units }, None) => Ok(Plan::CoreMl { compute_units, reason, or_cpu: false }),
        (Backend::CoreMl { .. }, Some(why)) => {
            Err(RunError::new(format!("Core ML cannot run this: {why}; use the CPU backend, or let it be chosen")))
        }
        (Backend::Auto, Some(why)) => Ok(Plan::Cpu { reason: why }),
        (Backend::Auto, None) => {
            let reason = "an Apple system whose Core ML knows the program's opset".to_string();
            Ok(Plan::CoreMl { compute_units: ComputeUnits::All, reason, or_cpu: true })
        }
    }
}

fn obstacle(host: Host, function: &Function, interface: &Interface) -> Option<String> {
    let newest = match host {
        Host::Other => return Some("not an Apple system".into()),
        Host::Apple(newest) => newest,
    };
    if newest.is_none_or(|newest| function.opset > newest) {
        let known = newest.map_or("no ML Programs".to_string(), |o| format!("opsets up to {o}"));
        return Some(format!("the program is of opset {}, Core ML of this system knows {known}", function.opset));
    }
    if let Some(image) = interface.inputs.iter().find(|i| i.image.is_some()) {
        return Some(format!("input `{}` is an image, which is not handed to Core ML yet", image.name));
    }
    if let Some(image) = interface.outputs.iter().find(|o| o.image.is_some()) {
        return Some(format!("output `{}` is an image, which is not taken from Core ML yet", image.name));
    }
    if let Some(predicted) = &interface.predicted {
        return Some(format!("output `{}` is a class, which is not taken from Core ML yet", predicted.label));
    }
    let inputs = interface.inputs.iter().map(|i| (&i.name, &i.ty));
    let mut boundary = inputs.chain(interface.outputs.iter().filter_map(|o| Some((&o.name, o.ty.tensor()?))));
    boundary.find_map(|(name, ty)| boundary_obstacle(name, ty))
}

/// The newest opset that Core ML of a system knows, by the system's name (`std::env::consts::OS`) and major version
/// (source: the availability notes of `MLModel` and coremltools' deployment targets).
#[cfg_attr(not(any(target_vendor = "apple", test)), expect(dead_code, reason = "asked on Apple systems only"))]
pub(crate) fn newest_opset(system: &str, major: isize) -> Option<Opset> {
    // Since 2025 all systems count alike.
    if major >= 26 {
        return Some(Opset::iOS26);
    }
    let first = match system {
        "macos" => 12,
        "watchos" => 8,
        "visionos" => -1,
        _ => 15,
    };
    [Opset::iOS15, Opset::iOS16, Opset::iOS17, Opset::iOS18].into_iter().rev().find(|o| major >= first + *o as isize)
}

#[cfg(test)]
mod tests {
    use super::*;
    use mil_core::{
        graph::Graph,
        mb,
        types::{DType, TensorType},
    };

    fn decide(asked: Backend, variable: Option<&str>, host: Host, dtype: DType) -> Result<Plan, String> {
        let mut g = Graph::new("main", Opset::iOS17);
        let x = g.input("x", TensorType::new(dtype, [2]));
        let y = g.push(mb::identity(&x)).unwrap();
        let p = g.finish([("y", y)]).unwrap();
        let f = p.main().unwrap();
        plan(asked, variable, host, f, &Interface::of(f).unwrap()).map_err(|e| e.to_string())
    }

    const MAC: Host = Host::Apple(Some(Opset::iOS18));

    fn cpu(reason: &str) -> Result<Plan, String> {
        Ok(Plan::Cpu { reason: reason.into() })
    }

    #[test]
    fn auto_says_why() {
        let auto = |variable, host, dtype| decide(Backend::Auto, variable, host, dtype);
        assert_eq!(auto(None, Host::Other, DType::F32), cpu("not an Apple system"));
        assert_eq!(auto(Some("cpu"), MAC, DType::F32), cpu("MIL_BACKEND=cpu set"));
        assert!(matches!(auto(None, MAC, DType::F32), Ok(Plan::CoreMl { or_cpu: true, .. })));
        assert!(matches!(auto(Some("coreml"), MAC, DType::F32), Ok(Plan::CoreMl { or_cpu: false, .. })));
        let old = "the program is of opset iOS17, Core ML of this system knows opsets up to iOS16";
        assert_eq!(auto(None, Host::Apple(Some(Opset::iOS16)), DType::F32), cpu(old));
        let ancient = "the program is of opset iOS17, Core ML of this system knows no ML Programs";
        assert_eq!(auto(None, Host::Apple(None), DType::F32), cpu(ancient));
        let bools = "`x` is Tensor<bool, 2>, and Core ML's arrays are of f16, f32, f64, i32 or i8";
        assert_eq!(auto(None, MAC, DType::Bool), cpu(bools));
        let e = auto(Some("gpu"), MAC, DType::F32).unwrap_err();
        assert_eq!(e, "MIL_BACKEND: `gpu` is no backend; there are `auto`, `cpu` and `coreml`");
    }

    #[test]
    fn what_is_asked_for_is_given_or_refused() {
        assert_eq!(decide(Backend::Cpu, Some("coreml"), MAC, DType::F32), cpu("asked for"));
        let e = decide(Backend::core_ml(), None, Host::Other, DType::F32).unwrap_err();
        assert!(e.starts_with("Core ML cannot run this: not an Apple system; use the CPU backend"), "{e}");
        let units = Backend::CoreMl { compute_units: ComputeUnits::CpuAndNeuralEngine };
        let Ok(Plan::CoreMl { compute_units, .. }) = decide(units, None, MAC, DType::F16) else { panic!() };
        assert_eq!(compute_units, ComputeUnits::CpuAndNeuralEngine);
    }

    #[test]
    fn systems_know_opsets() {
        assert_eq!(newest_opset("macos", 11), None);
        assert_eq!(newest_opset("macos", 12), Some(Opset::iOS15));
        assert_eq!(newest_opset("macos", 15), Some(Opset::iOS18));
        assert_eq!(newest_opset("macos", 16), Some(Opset::iOS18));
        assert_eq!(newest_opset("macos", 26), Some(Opset::iOS26));
        assert_eq!(newest_opset("ios", 17), Some(Opset::iOS17));
        assert_eq!(newest_opset("visionos", 1), Some(Opset::iOS17));
        assert_eq!(newest_opset("watchos", 11), Some(Opset::iOS18));
    }
}
