//! Running what was accepted. (Only where the runtime is at hand.)

#[path = "../../../mil-runtime/tests/engine/compare.rs"]
pub mod compare;

use std::collections::BTreeMap;

use mil_core::{
    ir::Function,
    op::Cx,
    types::{Dim, TensorType, Type},
};
use mil_runtime::{Numerics, cpu::States, outputs::Output, tensor::AnyTensor};

use self::compare::{Engines, options, run};

/// More elements than this are not tried: a program may take as long as it is large.
const LARGE: i64 = 1 << 14;

/// What there is of outputs, and of what type.
fn types((outputs, _): &(BTreeMap<String, Output>, States)) -> Vec<(String, Option<TensorType>)> {
    let ty = |o: &Output| if let Output::Tensor(t) = o { Some(t.ty()) } else { None };
    outputs.iter().map(|(name, o)| (name.clone(), ty(o))).collect()
}

/// Runs a function on zeros, with the reference kernels and with the fast ones, which must end alike: well, or with the same error.
pub fn run_on_zeros(function: &Function) -> Result<(), String> {
    // Symbols are as small as they can be; sizes that depend on data have no number here.
    let size = |d: &Dim| d.eval(&|s| s.domain().bounds().0.map(|n| n.max(1)));
    let large = |ty: &Type| {
        ty.tensor().is_some_and(|t| {
            let least = t.shape.volume().bounds().0;
            least.is_none_or(|n| n > LARGE)
                || t.shape.iter().try_fold(1i64, |n, d| size(d)?.checked_mul(n)) > Some(LARGE)
        })
    };
    let ids = function.walk().into_iter().flat_map(|o| function.op(o).outputs.clone());
    if ids.chain(function.inputs.clone()).any(|v| large(&function.value(v).ty)) {
        return Err("too large to try".into());
    }
    // A file may leave a size open that follows from the op.
    for op in function.walk().into_iter().map(|o| function.op(o)).filter(|op| op.blocks.is_empty()) {
        let mut cx = Cx::new(function.opset, &op.name, &[]).reading();
        let inferred = op.def.infer(&function.args(op), &mut cx).unwrap_or_default();
        if inferred.iter().any(|i| large(&i.ty)) {
            return Err("too large to try".into());
        }
    }
    let engines = Engines::new(function, &[options(Numerics::Fast, 1)], 10).map_err(|e| e.to_string())?;
    let mut inputs = BTreeMap::new();
    for &id in &function.inputs {
        let value = function.value(id);
        if let Type::State(_) = value.ty {
            continue; // begins as zeros
        }
        let Some(ty) = value.ty.tensor() else { return Err("an input is no tensor".into()) };
        let shape: Option<Vec<usize>> = ty.shape.iter().map(|d| usize::try_from(size(d)?).ok()).collect();
        let count = |s: &[usize]| s.iter().try_fold(1usize, |n, d| n.checked_mul(*d));
        let shape = shape.filter(|s| count(s).is_some_and(|n| n <= LARGE as usize)).ok_or("an input is too large")?;
        let bytes = vec![0; count(&shape).and_then(|n| ty.dtype.packed_len(n)).unwrap_or(0)];
        let tensor = AnyTensor::from_bytes(ty.dtype, shape, bytes).map_err(|e| e.to_string())?;
        inputs.insert(value.name.clone(), tensor);
    }
    let states: States = engines.reference.new_states().map_err(|e| e.to_string())?;
    let outcome = run(&engines.reference, &inputs, &states);
    for (_, engine) in &engines.planned {
        // Again, on buffers that are not empty.
        for _ in 0..2 {
            let planned = run(engine, &inputs, &states);
            let (reference, planned) = (outcome.as_ref().map(types), planned.as_ref().map(types));
            assert_eq!(reference, planned, "the reference and the plan end differently");
        }
    }
    outcome.map(drop)
}
