//! The reference executor: every op as a plain loop. It is the meaning of the ops here.
//!
//! f16 is stored as f16, computed in f32, and rounded at each op's output; f32 is computed in f32; integers wrap.
//! Speed is not its business. Files are named as in `mil_core::ops`; each has a list of kernels, and a test finds ops
//! without one.

use std::{
    borrow::Cow,
    sync::atomic::{AtomicU64, Ordering},
};

use mil_core::{
    ir::ValueId,
    op::{AnyArg, Arg, Args, Op, OpError},
    types::DType,
};

use crate::{error::RunError, tensor::AnyTensor};

mod activation;
mod attention;
mod band_part;
mod broadcast;
mod cast;
mod classify;
mod compare;
mod concat;
mod control;
mod conv;
mod crop_resize;
mod cumsum;
mod einsum;
mod elementwise_binary;
mod elementwise_unary;
mod evaluate;
mod gather;
mod generate;
mod list;
mod matmul;
mod movement;
mod non_maximum_suppression;
mod non_zero;
mod norm;
pub(crate) mod pad;
mod pool;
mod quantize;
mod random;
mod rearrange;
mod recurrent;
mod reduce;
mod resample;
mod reshape_like;
pub(crate) mod resize;
mod reverse;
mod scatter;
mod select;
mod shape;
mod shapes;
mod slice;
mod slice_update;
mod split;
mod topk;
mod upsample;
pub(crate) mod value;
pub(crate) mod window;

use value::Value;

pub use evaluate::Evaluator;

const LISTS: &[&[KernelDef]] = &[
    activation::KERNELS,
    attention::KERNELS,
    band_part::KERNELS,
    cast::KERNELS,
    classify::KERNELS,
    compare::KERNELS,
    concat::KERNELS,
    control::KERNELS,
    conv::KERNELS,
    cumsum::KERNELS,
    crop_resize::KERNELS,
    einsum::KERNELS,
    elementwise_binary::KERNELS,
    elementwise_unary::KERNELS,
    gather::KERNELS,
    generate::KERNELS,
    list::KERNELS,
    matmul::KERNELS,
    non_maximum_suppression::KERNELS,
    non_zero::KERNELS,
    norm::KERNELS,
    pad::KERNELS,
    pool::KERNELS,
    rearrange::KERNELS,
    recurrent::KERNELS,
    quantize::KERNELS,
    reduce::KERNELS,
    reshape_like::KERNELS,
    random::KERNELS,
    resample::KERNELS,
    resize::KERNELS,
    reverse::KERNELS,
    scatter::KERNELS,
    select::KERNELS,
    shape::KERNELS,
    slice::KERNELS,
    slice_update::KERNELS,
    split::KERNELS,
    topk::KERNELS,
    upsample::KERNELS,
];

/// Ops that the executor runs itself: they have no kernel.
const OWN: &[&str] = &["const", "cond", "while_loop", "read_state", "write_state"];

/// How an op runs: implemented for the op's own struct, whose fields say which values and parameters.
pub(crate) trait Kernel: Op + Send + Sync {
    /// Computes the outputs, in order.
    fn run(&self, cx: &Cx<'_>) -> Result<Vec<AnyTensor>, RunError>;
}

/// How an op runs that takes or gives other values than tensors.
pub(crate) trait ValueKernel: Op + Send + Sync {
    /// Computes the outputs, in order.
    fn run(&self, cx: &Cx<'_>) -> Result<Vec<Value>, RunError>;
}

/// A bound op that can run.
pub(crate) trait Bound: Send + Sync {
    fn run(&self, cx: &Cx<'_>) -> Result<Vec<Value>, RunError>;
}

struct OnTensors<K>(K);

impl<K: Kernel> Bound for OnTensors<K> {
    fn run(&self, cx: &Cx<'_>) -> Result<Vec<Value>, RunError> {
        Ok(self.0.run(cx)?.into_iter().map(Value::from).collect())
    }
}

struct OnValues<K>(K);

impl<K: ValueKernel> Bound for OnValues<K> {
    fn run(&self, cx: &Cx<'_>) -> Result<Vec<Value>, RunError> {
        self.0.run(cx)
    }
}

/// A kernel by the name of its op.
pub(crate) struct KernelDef {
    pub(crate) op: &'static str,
    pub(crate) bind: fn(&Args) -> Result<Box<dyn Bound>, OpError>,
}

impl KernelDef {
    pub(crate) const fn of<K: Kernel>() -> KernelDef {
        KernelDef { op: K::DEF.name, bind: |args| Ok(Box::new(OnTensors(K::bind(args)?))) }
    }

    pub(crate) const fn of_values<K: ValueKernel>() -> KernelDef {
        KernelDef { op: K::DEF.name, bind: |args| Ok(Box::new(OnValues(K::bind(args)?))) }
    }
}

/// The kernel of an op.
pub(crate) fn kernel(op: &str) -> Option<&'static KernelDef> {
    LISTS.iter().flat_map(|l| l.iter()).find(|k| k.op == op)
}

/// Whether the executor runs it: it has a kernel, or is one of those that the executor does itself.
pub(crate) fn runs(op: &str) -> bool {
    OWN.contains(&op) || kernel(op).is_some() || mil_core::ops::find(op).is_some_and(|d| d.is_constexpr())
}

/// What a kernel sees of the running function: the values of its arguments.
pub(crate) struct Cx<'a> {
    pub(crate) values: &'a [Option<Value>],
    /// How often random numbers were drawn without a seed.
    pub(crate) draws: &'a AtomicU64,
}

impl Cx<'_> {
    /// The tensor that an argument has now.
    pub(crate) fn get(&self, arg: &Arg) -> Result<Cow<'_, AnyTensor>, RunError> {
        match (arg.id, arg.constant()) {
            (Some(id), _) => Ok(Cow::Borrowed(self.find(id)?.tensor()?)),
            (None, Some(c)) => AnyTensor::from_constant(c).map(Cow::Owned),
            (None, None) => Err(RunError::new("an argument has no value")),
        }
    }

    /// What an argument is now that need not be a tensor.
    pub(crate) fn value(&self, arg: &AnyArg) -> Result<&Value, RunError> {
        self.find(arg.id.ok_or_else(|| RunError::new("an argument has no value"))?)
    }

    /// The number of this draw of random numbers without a seed, counted since the program was made ready.
    pub(crate) fn draw(&self) -> u64 {
        self.draws.fetch_add(1, Ordering::Relaxed)
    }

    fn find(&self, id: ValueId) -> Result<&Value, RunError> {
        let value = self.values.get(id.index()).and_then(Option::as_ref);
        value.ok_or_else(|| RunError::new("an argument has no value"))
    }
}

/// One output of floats, rounded to the dtype.
pub(crate) fn floats(dtype: DType, shape: impl Into<Vec<usize>>, v: Vec<f32>) -> Result<Vec<AnyTensor>, RunError> {
    Ok(vec![AnyTensor::from_f32(dtype, shape, v)?])
}

/// How the kernels' tests speak: run one op on constants.
#[cfg(test)]
pub(crate) mod testing {
    use std::collections::BTreeMap;

    use mil_core::{
        graph::{Graph, Value},
        op::{Call, FromOutputs, Op},
        types::Opset,
    };

    use crate::cpu::Executor;
    use crate::tensor::AnyTensor;

    /// A graph under test whose inputs have values.
    pub(crate) struct Test {
        pub(crate) graph: Graph,
        inputs: BTreeMap<String, AnyTensor>,
    }

    impl Test {
        pub(crate) fn input(&mut self, tensor: AnyTensor) -> Value {
            let v = self.graph.input(&format!("in{}", self.inputs.len()), tensor.ty());
            self.inputs.insert(self.graph.function().value(v.id()).name.clone(), tensor);
            v
        }

        /// An f32 input.
        pub(crate) fn f32(&mut self, shape: &[usize], v: &[f32]) -> Value {
            self.input(AnyTensor::new(shape, v.to_vec()).unwrap())
        }

        /// An i32 input.
        pub(crate) fn i32(&mut self, shape: &[usize], v: &[i32]) -> Value {
            self.input(AnyTensor::new(shape, v.to_vec()).unwrap())
        }
    }

    /// Runs one op in the newest opset and gives its outputs.
    #[track_caller]
    pub(crate) fn run<O: Op>(call: impl FnOnce(&mut Test) -> Call<O>) -> Vec<AnyTensor>
    where
        O::Outputs: IntoValues,
    {
        run_in(Opset::iOS18, call)
    }

    // What is generic over closures is small: each test's is a type of its own.

    /// Runs one op in an opset and gives its outputs.
    #[track_caller]
    pub(crate) fn run_in<O: Op>(opset: Opset, call: impl FnOnce(&mut Test) -> Call<O>) -> Vec<AnyTensor>
    where
        O::Outputs: IntoValues,
    {
        let mut test = Test { graph: Graph::new("main", opset), inputs: BTreeMap::new() };
        let call = call(&mut test);
        pushed(test, call).outputs()
    }

    /// The op can be built, but running it gives an error that contains the text.
    #[track_caller]
    pub(crate) fn fails<O: Op>(call: impl FnOnce(&mut Test) -> Call<O>, text: &str)
    where
        O::Outputs: IntoValues,
    {
        let mut test = Test { graph: Graph::new("main", Opset::iOS18), inputs: BTreeMap::new() };
        let call = call(&mut test);
        pushed(test, call).fails(text);
    }

    #[track_caller]
    fn pushed<O: Op>(mut test: Test, call: Call<O>) -> Pushed
    where
        O::Outputs: IntoValues,
    {
        let values = test.graph.push(call).unwrap_or_else(|e| panic!("{e}")).into_values();
        Pushed { test, values }
    }

    struct Pushed {
        test: Test,
        values: Vec<Value>,
    }

    impl Pushed {
        #[track_caller]
        fn outputs(self) -> Vec<AnyTensor> {
            let program = self.test.graph.finish(self.values).unwrap();
            let function = program.main().unwrap();
            let executor = Executor::new(function.clone()).unwrap();
            let mut outputs = executor.run(self.test.inputs).unwrap_or_else(|e| panic!("{e}"));
            let names: Vec<_> = function.outputs().iter().map(|v| function.value(*v).name.clone()).collect();
            let outputs: Vec<_> = names.iter().map(|n| outputs.remove(n).unwrap()).collect();
            for (out, v) in outputs.iter().zip(function.outputs()) {
                let declared = &function.value(*v).ty;
                assert!(declared.compatible(&out.ty().into()), "inferred {declared}, computed {}", out.ty());
            }
            outputs
        }

        #[track_caller]
        fn fails(self, text: &str) {
            let program = self.test.graph.finish(self.values).unwrap();
            let executor = Executor::new(program.main().unwrap().clone()).unwrap();
            let error = executor.run(self.test.inputs).unwrap_err().to_string();
            assert!(error.starts_with("op ") && error.contains(text), "{error}");
        }
    }

    /// Outputs of a push as a list.
    pub(crate) trait IntoValues: FromOutputs {
        fn into_values(self) -> Vec<Value>;
    }
    impl IntoValues for Value {
        fn into_values(self) -> Vec<Value> {
            vec![self]
        }
    }
    impl IntoValues for (Value, Value) {
        fn into_values(self) -> Vec<Value> {
            vec![self.0, self.1]
        }
    }
    impl IntoValues for (Value, Value, Value) {
        fn into_values(self) -> Vec<Value> {
            vec![self.0, self.1, self.2]
        }
    }
    impl IntoValues for Vec<Value> {
        fn into_values(self) -> Vec<Value> {
            self
        }
    }

    /// The only output's floats are these, within `tolerance` absolute.
    #[track_caller]
    pub(crate) fn close(outputs: &[AnyTensor], shape: &[usize], expected: &[f32], tolerance: f32) {
        assert_eq!(outputs[0].shape(), shape);
        let got = outputs[0].to_f32().unwrap();
        assert_eq!(got.len(), expected.len());
        for (i, (g, e)) in got.iter().zip(expected).enumerate() {
            let same = g == e || (g.is_nan() && e.is_nan()) || (g - e).abs() <= tolerance;
            assert!(same, "element {i}: got {g}, expected {e}\n{got:?}");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    /// Constants, `constexpr_` ops, control flow and states are the executor's own; every other op has exactly one kernel, and no kernel is
    /// for an op that does not exist.
    #[test]
    fn every_op_has_one_kernel() {
        let ops: BTreeSet<&str> = mil_core::ops::all()
            .filter(|d| !d.is_constexpr() && !super::OWN.contains(&d.name))
            .map(|d| d.name)
            .collect();
        let listed: Vec<&str> = super::LISTS.iter().flat_map(|l| l.iter()).map(|k| k.op).collect();
        let kernels: BTreeSet<&str> = listed.iter().copied().collect();
        assert_eq!(kernels.len(), listed.len(), "an op has two kernels");
        assert_eq!(kernels, ops);
    }
}
