//! A model that is ready to run.

use std::{collections::BTreeMap, num::NonZeroUsize, path::Path};

use mil_core::{
    error::FileError,
    ir::{Function, Program},
    package::{PackageKind, PackageReader},
};

use crate::{
    backend::{Backend, BackendChoice, Engine, Host, Plan, Results, VARIABLE, plan},
    cpu::{CpuOptions, Executor, Numerics, Packing},
    error::RunError,
    interface::{Fit, InputInfo, Interface, OutputInfo, StateInfo},
    outputs::Outputs,
    profile::Profile,
    state::ModelState,
    tensor::AnyTensor,
};

/// A function of a program, ready to run. It can be shared between threads.
///
/// ```
/// use mil_core::{graph::Graph, mb, types::{DType, Opset, TensorType}};
/// use mil_runtime::{AnyTensor, Model};
///
/// let mut g = Graph::new("main", Opset::iOS17);
/// let x = g.input("x", TensorType::new(DType::F32, [2]));
/// let y = g.push(mb::add(&x, 1.0))?;
/// let program = g.finish([("y", y)])?;
///
/// let model = Model::from_program(&program)?;
/// let y = model.predict([("x", AnyTensor::new([2], vec![1f32, 2.0])?)])?.single()?;
/// assert_eq!(y.as_slice::<f32>(), Some(&[2.0, 3.0][..]));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Model {
    interface: Interface,
    choice: BackendChoice,
    engine: Box<dyn Engine>,
}

/// How to load a model: [`Model::options`].
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ModelOptions {
    backend: Backend,
    function: Option<String>,
    cpu: CpuOptions,
}

impl Model {
    /// Loads the main function of a program, on the backend that [`Backend::Auto`] chooses.
    ///
    /// # Errors
    /// As [`ModelOptions::from_program`].
    pub fn from_program(program: &Program) -> Result<Model, RunError> {
        Model::options().from_program(program)
    }

    /// Loads the main function of a `.mlpackage`, `.mlmodel`, `.mlmodelc` or `.mil`, on the backend that [`Backend::Auto`] chooses.
    ///
    /// # Errors
    /// As [`ModelOptions::load`].
    pub fn load(path: impl AsRef<Path>) -> Result<Model, RunError> {
        Model::options().load(path)
    }

    /// Says first on which backend, or which function.
    pub fn options() -> ModelOptions {
        ModelOptions::default()
    }

    /// What runs it, and why.
    pub fn backend(&self) -> &BackendChoice {
        &self.choice
    }

    /// The name of the function.
    pub fn function(&self) -> &str {
        &self.interface.function
    }

    /// What it takes, in order.
    pub fn inputs(&self) -> &[InputInfo] {
        &self.interface.inputs
    }

    /// A shape for each input, in order, that fit together: those given by name, and of the others the shape that the model
    /// declares as default (where it declares none, the least that it takes), with sizes that must be equal made so.
    ///
    /// ```
    /// use mil_core::{graph::Graph, mb, types::{Opset, TensorType}};
    /// use mil_runtime::Model;
    ///
    /// let mut g = Graph::new("main", Opset::iOS17);
    /// let x = g.input("x", "Tensor<f32, 1, N>".parse::<TensorType>()?);
    /// let y = g.input("y", "Tensor<f32, N>".parse::<TensorType>()?);
    /// let z = g.push(mb::add(&x, &y))?;
    /// let model = Model::from_program(&g.finish([("z", z)])?)?;
    /// assert_eq!(model.input_shapes([("y", vec![8])])?, [vec![1, 8], vec![8]]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// If there is no input of a name, or a shape is not one that it may have; or there is no default.
    pub fn input_shapes<N: Into<String>>(
        &self,
        given: impl IntoIterator<Item = (N, Vec<usize>)>,
    ) -> Result<Vec<Vec<usize>>, RunError> {
        self.interface.shapes(given.into_iter().map(|(name, shape)| (name.into(), shape)))
    }

    /// What it gives, in order.
    pub fn outputs(&self) -> &[OutputInfo] {
        &self.interface.outputs
    }

    /// What it keeps between predictions, in order.
    pub fn states(&self) -> &[StateInfo] {
        &self.interface.states
    }

    /// A state to begin with: every tensor in it is zero. A model without states has one too, which holds nothing.
    ///
    /// # Errors
    /// If it cannot be made; the error names the state.
    pub fn new_state(&self) -> Result<ModelState, RunError> {
        let held = self.engine.new_state()?;
        Ok(ModelState { infos: self.interface.states.clone(), held, function: self.interface.function.clone() })
    }

    /// Runs it once on named inputs: `[("x", x)]`, a vector of pairs, a map. Owned tensors and arrays are not copied.
    ///
    /// # Errors
    /// If an input is missing, unknown, given twice, or of another dtype or shape than declared (nothing is converted);
    /// or if an op fails on these values. The error names the input or the op. A model with states is refused: without
    /// them each prediction would forget the one before; see [`Model::predict_with_state`].
    pub fn predict<N, T>(&self, inputs: impl IntoIterator<Item = (N, T)>) -> Result<Outputs, RunError>
    where
        N: Into<String>,
        T: Into<AnyTensor>,
    {
        self.run_stateless(inputs, Fit::Exactly)
    }

    /// As [`Model::predict`], with what was kept from predictions before; what is kept for the next is there afterwards.
    ///
    /// ```
    /// use mil_core::{graph::Graph, mb, types::{DType, Opset, TensorType, Type}};
    /// use mil_runtime::{AnyTensor, Model};
    ///
    /// let mut g = Graph::new("main", Opset::iOS18);
    /// let sum = g.input("sum", Type::State(TensorType::new(DType::F16, [1])));
    /// let x = g.input("x", TensorType::new(DType::F16, [1]));
    /// let old = g.push(mb::read_state(&sum))?;
    /// let new = g.push(mb::add(&old, &x))?;
    /// let y = g.coreml_update_state(&sum, &new)?;
    /// let model = Model::from_program(&g.finish([("y", y)])?)?;
    ///
    /// let mut state = model.new_state()?;
    /// for expected in [2.0, 4.0, 6.0] {
    ///     let x = AnyTensor::new([1], vec![half::f16::from_f32(2.0)])?;
    ///     let y = model.predict_with_state([("x", x)], &mut state)?.single()?;
    ///     assert_eq!(y.to_f32()?[0], expected);
    /// }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// As [`Model::predict`]; and if the state is of another function. The state is then as before.
    pub fn predict_with_state<N, T>(
        &self,
        inputs: impl IntoIterator<Item = (N, T)>,
        state: &mut ModelState,
    ) -> Result<Outputs, RunError>
    where
        N: Into<String>,
        T: Into<AnyTensor>,
    {
        self.run(inputs, Fit::Exactly, state)
    }

    /// [`Model::predict_with_state`] with inputs as [`Model::predict_converting`] takes them.
    ///
    /// # Errors
    /// As both.
    pub fn predict_converting_with_state<N, T>(
        &self,
        inputs: impl IntoIterator<Item = (N, T)>,
        state: &mut ModelState,
    ) -> Result<Outputs, RunError>
    where
        N: Into<String>,
        T: Into<AnyTensor>,
    {
        self.run(inputs, Fit::Converting, state)
    }

    /// As [`Model::predict`], but each input becomes of the declared dtype first ([`AnyTensor::converted`]), and where
    /// a scalar is declared `[1]` will do, and the other way round.
    ///
    /// # Errors
    /// As [`Model::predict`], but of dtypes only where a number does not fit the declared one.
    pub fn predict_converting<N, T>(&self, inputs: impl IntoIterator<Item = (N, T)>) -> Result<Outputs, RunError>
    where
        N: Into<String>,
        T: Into<AnyTensor>,
    {
        self.run_stateless(inputs, Fit::Converting)
    }

    /// As [`Model::predict`], and says how long each op took. Asking the clock costs time itself, little beside all but the
    /// smallest ops.
    ///
    /// ```
    /// use mil_core::{graph::Graph, mb, types::{DType, Opset, TensorType}};
    /// use mil_runtime::{AnyTensor, Backend, Model};
    ///
    /// let mut g = Graph::new("main", Opset::iOS17);
    /// let x = g.input("x", TensorType::new(DType::F32, [2]));
    /// let y = g.push(mb::exp(&x))?;
    /// let model = Model::options().backend(Backend::Cpu).from_program(&g.finish([("y", y)])?)?;
    ///
    /// let (_, profile) = model.predict_profiled([("x", AnyTensor::new([2], vec![0f32, 1.0])?)])?;
    /// for entry in profile.entries() {
    ///     println!("{} ({}, {}): {:?}", entry.name, entry.op, entry.kernel, entry.time);
    /// }
    /// # assert_eq!(profile.entries()[0].op, "exp");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// As [`Model::predict`]; and on Core ML, which does not say how long its ops take.
    pub fn predict_profiled<N, T>(
        &self,
        inputs: impl IntoIterator<Item = (N, T)>,
    ) -> Result<(Outputs, Profile), RunError>
    where
        N: Into<String>,
        T: Into<AnyTensor>,
    {
        self.stateless("predict_profiled_with_state")?;
        self.predict_profiled_with_state(inputs, &mut self.new_state()?)
    }

    /// [`Model::predict_profiled`] with a state as [`Model::predict_with_state`] takes it.
    ///
    /// # Errors
    /// As both.
    pub fn predict_profiled_with_state<N, T>(
        &self,
        inputs: impl IntoIterator<Item = (N, T)>,
        state: &mut ModelState,
    ) -> Result<(Outputs, Profile), RunError>
    where
        N: Into<String>,
        T: Into<AnyTensor>,
    {
        let inputs = self.accepted(inputs, Fit::Exactly, state)?;
        let (given, profile) = self.engine.predict_profiled(inputs, &mut state.held)?;
        Ok((self.ordered(given)?, profile))
    }

    fn run_stateless<N, T>(&self, inputs: impl IntoIterator<Item = (N, T)>, fit: Fit) -> Result<Outputs, RunError>
    where
        N: Into<String>,
        T: Into<AnyTensor>,
    {
        self.stateless("predict_with_state")?;
        self.run(inputs, fit, &mut self.new_state()?)
    }

    /// Refuses a model with states, for which there is this method.
    fn stateless(&self, method: &str) -> Result<(), RunError> {
        let Some(state) = self.interface.states.first() else { return Ok(()) };
        let what = format!("function `{}` has states (`{}`)", self.interface.function, state.name);
        Err(RunError::new(what).with_hint(&format!("make one with `new_state` and predict with `{method}`")))
    }

    fn run<N, T>(
        &self,
        inputs: impl IntoIterator<Item = (N, T)>,
        fit: Fit,
        state: &mut ModelState,
    ) -> Result<Outputs, RunError>
    where
        N: Into<String>,
        T: Into<AnyTensor>,
    {
        let given = self.engine.predict(self.accepted(inputs, fit, state)?, &mut state.held)?;
        self.ordered(given)
    }

    /// The inputs, checked and complete; the state is checked too.
    fn accepted<N, T>(
        &self,
        inputs: impl IntoIterator<Item = (N, T)>,
        fit: Fit,
        state: &ModelState,
    ) -> Result<BTreeMap<String, AnyTensor>, RunError>
    where
        N: Into<String>,
        T: Into<AnyTensor>,
    {
        let same = |(a, b): (&StateInfo, &StateInfo)| a.name == b.name && a.ty == b.ty;
        let (ours, theirs) = (&self.interface.states, &state.infos);
        if ours.len() != theirs.len() || !ours.iter().zip(theirs).all(same) {
            let what = format!("the state is of function `{}` of another model", state.function);
            return Err(RunError::new(what).with_hint("make one with `new_state` of this model"));
        }
        self.interface.accept(inputs.into_iter().map(|(n, t)| (n.into(), t.into())), fit)
    }

    /// What an engine gave, in the order in which the model declares it.
    fn ordered(&self, mut given: Results) -> Result<Outputs, RunError> {
        let mut outputs = Vec::with_capacity(self.interface.outputs.len());
        for output in &self.interface.outputs {
            let value = given.remove(&output.name);
            let value = value.ok_or_else(|| RunError::new(format!("output `{}` was not computed", output.name)))?;
            outputs.push((output.name.clone(), value));
        }
        Ok(Outputs::new(outputs, self.interface.predicted.clone()))
    }
}

/// Where the program comes from; Core ML compiles the package itself where there is one.
struct Source<'a> {
    program: &'a Program,
    #[cfg_attr(not(target_vendor = "apple"), expect(dead_code, reason = "Core ML alone reads packages again"))]
    package: Option<&'a Path>,
}

impl ModelOptions {
    /// On this backend.
    #[must_use]
    pub fn backend(mut self, backend: Backend) -> ModelOptions {
        self.backend = backend;
        self
    }

    /// The function of that name, instead of the default one.
    #[must_use]
    pub fn function(mut self, name: impl Into<String>) -> ModelOptions {
        self.function = Some(name.into());
        self
    }

    /// With so many threads for a prediction on the CPU engine, the caller's included; else as many as the machine has. Results do not
    /// depend on it. Core ML decides for itself.
    #[must_use]
    pub fn threads(mut self, threads: NonZeroUsize) -> ModelOptions {
        self.cpu.threads = Some(threads);
        self
    }

    /// How freely the CPU engine may compute.
    #[must_use]
    pub fn numerics(mut self, numerics: Numerics) -> ModelOptions {
        self.cpu.numerics = numerics;
        self
    }

    /// How long the CPU engine keeps packed weights.
    #[must_use]
    pub fn packing(mut self, packing: Packing) -> ModelOptions {
        self.cpu.packing = packing;
        self
    }

    /// Loads a function of a program. Its constants are shared, not copied.
    ///
    /// # Errors
    /// If there is no such function, a weight is not attached, an op cannot be run, or the backend
    /// that was asked for cannot be had.
    pub fn from_program(&self, program: &Program) -> Result<Model, RunError> {
        self.open(Source { program, package: None })
    }

    /// Loads a function of a `.mlpackage`, `.mlmodel`, `.mlmodelc` or `.mil`. Its weights are mapped into memory, not read.
    ///
    /// # Errors
    /// If the file cannot be read as an ML Program, and those of [`ModelOptions::from_program`].
    pub fn load(&self, path: impl AsRef<Path>) -> Result<Model, RunError> {
        let failed = |e: FileError| RunError::with_source(e.to_string(), e);
        let package = PackageReader::open(path).map_err(failed)?;
        let program = Program::from_package(&package).map_err(failed)?;
        // Core ML compiles these; of the others a package is written for it.
        let compiles = matches!(package.kind(), PackageKind::Mlpackage | PackageKind::Mlmodel);
        self.open(Source { program: &program, package: compiles.then_some(package.path()) })
    }

    fn open(&self, source: Source<'_>) -> Result<Model, RunError> {
        let function = find(source.program, self.function.as_deref())?;
        let interface = Interface::of(function)?;
        let variable = std::env::var(VARIABLE).ok().filter(|v| !v.is_empty());
        let (engine, choice) = match plan(self.backend, variable.as_deref(), host(), function, &interface)? {
            Plan::Cpu { reason } => on_cpu(function, reason, &self.cpu)?,
            #[cfg(target_vendor = "apple")]
            Plan::CoreMl { compute_units, reason, or_cpu } => {
                // Models of one function are loaded without naming it: only systems of 2024 and later can name one.
                let named = source.program.multifunction.then_some(&interface.function[..]);
                let loaded =
                    crate::coreml::CoreMl::load(source.program, source.package, named, compute_units, &interface);
                match loaded {
                    Ok(engine) => (Box::new(engine) as Box<dyn Engine>, BackendChoice { name: "Core ML", reason }),
                    Err(e) if or_cpu => on_cpu(function, format!("Core ML refused the program: {e}"), &self.cpu)?,
                    Err(e) => return Err(e),
                }
            }
            // Not planned for where there is none.
            #[cfg(not(target_vendor = "apple"))]
            Plan::CoreMl { reason, compute_units, or_cpu } => {
                let what = format!("there is no Core ML here ({reason}, {compute_units:?}, {or_cpu})");
                return Err(RunError::new(what));
            }
        };
        Ok(Model { interface, choice, engine })
    }
}

fn on_cpu(
    function: &Function,
    reason: String,
    options: &CpuOptions,
) -> Result<(Box<dyn Engine>, BackendChoice), RunError> {
    let engine = Executor::with_options(function.clone(), options)?;
    Ok((Box::new(engine), BackendChoice { name: "CPU", reason }))
}

fn host() -> Host {
    #[cfg(target_vendor = "apple")]
    {
        Host::Apple(crate::backend::newest_opset(std::env::consts::OS, crate::coreml::system_version()))
    }
    #[cfg(not(target_vendor = "apple"))]
    {
        Host::Other
    }
}

fn find<'a>(program: &'a Program, name: Option<&str>) -> Result<&'a Function, RunError> {
    let Some(name) = name else {
        return program.main().ok_or_else(|| RunError::new("the program has no function"));
    };
    program.functions.get(name).ok_or_else(|| {
        let names: Vec<_> = program.functions.keys().map(|n| format!("`{n}`")).collect();
        RunError::new(format!("there is no function `{name}`; the program has {}", names.join(", ")))
    })
}

#[cfg(test)]
mod tests {
    use mil_core::{
        graph::Graph,
        mb,
        types::{DType, Opset, TensorType},
    };

    use super::*;

    fn program(opset: Opset) -> Program {
        let mut g = Graph::new("main", opset);
        let x = g.input("x", TensorType::new(DType::F32, [2]));
        let k = g.input("k", TensorType::scalar(DType::F32));
        let sum = g.push(mb::add(&x, &k)).unwrap();
        let more = g.push(mb::add(&sum, 1.0)).unwrap();
        g.finish([("sum", sum), ("more", more)]).unwrap()
    }

    fn vector(v: [f32; 2]) -> AnyTensor {
        AnyTensor::new([2], v.to_vec()).unwrap()
    }

    fn cpu(program: &Program) -> Result<Model, RunError> {
        Model::options().backend(Backend::Cpu).from_program(program)
    }

    #[test]
    fn inputs_are_anything_named() {
        let model = cpu(&program(Opset::iOS17)).unwrap();
        let expected = [("sum", vector([2.0, 3.0])), ("more", vector([3.0, 4.0]))];
        let check = |outputs: Outputs| {
            let got: Vec<_> = outputs.iter().map(|(n, t)| (n.to_string(), t.clone())).collect();
            assert_eq!(got, expected.clone().map(|(n, t)| (n.to_string(), t)));
        };
        check(model.predict([("x", vector([1.0, 2.0])), ("k", AnyTensor::scalar(1f32))]).unwrap());
        check(
            model.predict(vec![("x".to_string(), vector([1.0, 2.0])), ("k".into(), AnyTensor::scalar(1f32))]).unwrap(),
        );
        check(model.predict(BTreeMap::from([("x", vector([1.0, 2.0])), ("k", AnyTensor::scalar(1f32))])).unwrap());
        let (x, k) = (ndarray::arr1(&[1f32, 2.0]).into_dyn(), ndarray::arr0(1f32).into_dyn());
        check(model.predict([("x", x), ("k", k)]).unwrap());
        let borrowed = [("x", &vector([1.0, 2.0])), ("k", &AnyTensor::scalar(1f32))];
        check(model.predict(borrowed).unwrap());
    }

    #[test]
    fn conversion_is_explicit() {
        let model = cpu(&program(Opset::iOS17)).unwrap();
        let inputs = || {
            let k = AnyTensor::new([1], vec![true as u8]).unwrap();
            [("x", AnyTensor::new([2], vec![1i32, 2]).unwrap()), ("k", k)]
        };
        let e = model.predict(inputs()).unwrap_err().to_string();
        assert!(e.contains("input `x` must be Tensor<f32, 2>, found Tensor<i32, 2>"), "{e}");
        assert_eq!(model.predict_converting(inputs()).unwrap()["sum"], vector([2.0, 3.0]));
    }

    #[test]
    fn the_interface_is_told() {
        let model = cpu(&program(Opset::iOS17)).unwrap();
        let inputs: Vec<_> = model.inputs().iter().map(|i| format!("{}: {}", i.name, i.ty)).collect();
        assert_eq!(inputs, ["x: Tensor<f32, 2>", "k: Tensor<f32>"]);
        assert_eq!(model.outputs().iter().map(|o| &o.name[..]).collect::<Vec<_>>(), ["sum", "more"]);
        assert_eq!((model.function(), model.backend().to_string()), ("main", "CPU (asked for)".to_string()));
    }

    #[test]
    fn functions_are_found_by_name() {
        let e = Model::options().function("train").from_program(&program(Opset::iOS17)).unwrap_err().to_string();
        assert_eq!(e, "there is no function `train`; the program has `main`");
        let main = Model::options().function("main").backend(Backend::Cpu);
        assert_eq!(main.from_program(&program(Opset::iOS17)).unwrap().function(), "main");
    }

    #[test]
    fn packages_are_loaded() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("p.mlpackage");
        program(Opset::iOS17).save(&path).unwrap();
        let options = Model::options().backend(Backend::Cpu);
        let model = options.load(&path).unwrap();
        // Core ML has no scalars at a model's boundary: both say the same here.
        let k = AnyTensor::scalar(1f32);
        assert_eq!(model.predict([("x", vector([1.0, 2.0])), ("k", k)]).unwrap()["sum"], vector([2.0, 3.0]));
        let e = options.load(dir.path().join("missing.mlpackage")).unwrap_err().to_string();
        assert!(e.contains("missing.mlpackage`: cannot be read"), "{e}");
    }

    #[cfg(not(target_vendor = "apple"))]
    #[test]
    fn off_apple_there_is_no_core_ml() {
        let e = Model::options().backend(Backend::core_ml()).from_program(&program(Opset::iOS17)).unwrap_err();
        assert!(e.to_string().starts_with("Core ML cannot run this: not an Apple system"), "{e}");
    }

    #[test]
    fn threads_share_a_model() {
        let model = cpu(&program(Opset::iOS17)).unwrap();
        let predict = |k: f32| {
            let inputs = [("x", vector([1.0, 2.0])), ("k", AnyTensor::scalar(k))];
            model.predict(inputs).unwrap().take("sum").unwrap()
        };
        std::thread::scope(|scope| {
            let other = scope.spawn(|| predict(5.0));
            assert_eq!(predict(1.0), vector([2.0, 3.0]));
            assert_eq!(other.join().unwrap(), vector([6.0, 7.0]));
        });
    }
}
