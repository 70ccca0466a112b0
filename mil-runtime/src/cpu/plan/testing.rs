//! How plans are tested: a function runs on the reference kernels and on plans, which must agree.

use std::{collections::BTreeMap, num::NonZeroUsize};

use half::f16;
use mil_core::{
    graph::{Graph, Value},
    types::{DType, Opset},
};

use crate::{
    cpu::{CpuOptions, Executor, Numerics, Packing},
    outputs::Output,
    tensor::AnyTensor,
};

/// A function under test: a graph whose inputs have values.
pub(crate) struct Case {
    pub(crate) graph: Graph,
    inputs: BTreeMap<String, AnyTensor>,
    /// Where random numbers come from.
    seed: u64,
}

/// What a function gives, in the order of its outputs.
pub(crate) type Outputs = Vec<AnyTensor>;

impl Case {
    /// Nothing yet; numbers are those of the seed.
    pub(crate) fn new(seed: u64) -> Case {
        Case { graph: Graph::new("main", Opset::iOS18), inputs: BTreeMap::new(), seed }
    }

    /// Numbers in steps of 1/64 from -2 to 2: f16 has them all.
    pub(crate) fn numbers(&mut self, count: usize) -> Vec<f32> {
        let mut next = || {
            self.seed = self.seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            ((self.seed >> 33) % 257) as f32 / 64.0 - 2.0
        };
        (0..count).map(|_| next()).collect()
    }

    /// A tensor of random numbers.
    pub(crate) fn tensor(&mut self, dtype: DType, shape: &[usize]) -> AnyTensor {
        let numbers = self.numbers(shape.iter().product());
        AnyTensor::from_f32(dtype, shape, numbers).unwrap()
    }

    /// An input with a value.
    pub(crate) fn given(&mut self, tensor: AnyTensor) -> Value {
        let v = self.graph.input(&format!("in{}", self.inputs.len()), tensor.ty());
        self.inputs.insert(self.graph.function().value(v.id()).name.clone(), tensor);
        v
    }

    /// An input of random numbers.
    pub(crate) fn input(&mut self, dtype: DType, shape: &[usize]) -> Value {
        let tensor = self.tensor(dtype, shape);
        self.given(tensor)
    }

    /// A constant of random numbers.
    pub(crate) fn constant(&mut self, dtype: DType, shape: &[usize]) -> Value {
        let tensor = self.tensor(dtype, shape);
        self.fixed(&tensor)
    }

    /// A constant.
    pub(crate) fn fixed(&mut self, tensor: &AnyTensor) -> Value {
        let constant =
            mil_core::ir::Constant::from_bytes(tensor.dtype(), tensor.shape(), tensor.bytes().unwrap().to_vec());
        self.graph.constant("c", constant.unwrap())
    }

    /// Runs the function on the reference and, with one thread and with two, fast and strictly, with weights kept and not, on plans. They must agree but for rounding
    /// of `tolerance` of the largest number, or fail with the same message; and no op may have run on the reference kernels in a plan but
    /// those named. Gives what the reference gave.
    #[track_caller]
    pub(crate) fn agrees(self, outputs: Vec<Value>, tolerance: f32, unplanned: &[&str]) -> Result<Outputs, String> {
        let names: Vec<String> = outputs.iter().map(|v| self.graph.function().value(v.id()).name.clone()).collect();
        let program = self.graph.finish(outputs).unwrap();
        let function = program.main().unwrap();
        let in_order = |mut all: BTreeMap<String, AnyTensor>| -> Outputs {
            names.iter().map(|n| all.remove(n).unwrap()).collect()
        };
        let expected = Executor::new(function.clone()).unwrap().run(self.inputs.clone());
        let expected = expected.map(in_order).map_err(|e| e.to_string());
        for (threads, numerics, packing) in [
            (1, Numerics::Fast, Packing::Kept),
            (2, Numerics::Fast, Packing::AtUse),
            (1, Numerics::Strict, Packing::AtUse),
            (2, Numerics::Strict, Packing::Kept),
        ] {
            let options = CpuOptions { threads: NonZeroUsize::new(threads), numerics, packing };
            let executor = Executor::with_options(function.clone(), &options).unwrap();
            // Twice: what is left in buffers does no harm.
            for _ in 0..2 {
                let states = &mut executor.new_states().unwrap();
                let got = executor.run_profiled(self.inputs.clone(), states);
                let (got, profile) = match (got, &expected) {
                    (Ok(got), _) => got,
                    (Err(e), Err(expected)) => {
                        assert_eq!(&e.to_string(), expected);
                        continue;
                    }
                    (Err(e), Ok(_)) => panic!("{e}"),
                };
                for entry in profile.entries() {
                    let planned = entry.kernel != "reference" || unplanned.contains(&&entry.op[..]);
                    assert!(planned, "`{}` is not planned", entry.op);
                }
                let tensor = |output| match output {
                    Output::Tensor(t) => t,
                    Output::Dictionary(_) => panic!("no op under test gives one"),
                };
                let tensors = got.into_iter().map(|(name, output)| (name, tensor(output))).collect();
                let expected = expected.as_ref().expect("the reference fails as well");
                for (at, (got, expected)) in in_order(tensors).iter().zip(expected).enumerate() {
                    close(
                        got,
                        expected,
                        tolerance,
                        &format!("output {at}, {threads} threads, {numerics}, {packing:?}"),
                    );
                }
            }
        }
        expected
    }
}

/// What a dtype rounds, as part of the largest number: sums of f32 may be taken in another order, and of f16 a result may be rounded to
/// the neighbour therefore.
pub(crate) fn rounding(dtype: DType) -> f32 {
    if dtype == DType::F16 { f16::EPSILON.to_f32() } else { 1e-5 }
}

#[track_caller]
fn close(got: &AnyTensor, expected: &AnyTensor, tolerance: f32, what: &str) {
    assert_eq!(got.ty(), expected.ty(), "{what}");
    if !expected.dtype().is_float() {
        assert_eq!(got, expected, "{what}");
        return;
    }
    let (got, expected) = (got.to_f32().unwrap(), expected.to_f32().unwrap());
    let largest = expected.iter().filter(|v| v.is_finite()).fold(0f32, |a, v| a.max(v.abs()));
    for (i, (g, e)) in got.iter().zip(&*expected).enumerate() {
        let same = g == e || (g.is_nan() && e.is_nan()) || (g - e).abs() <= tolerance * largest;
        assert!(same, "{what}: element {i} is {g}, not {e}\n{got:?}\n{expected:?}");
    }
}
