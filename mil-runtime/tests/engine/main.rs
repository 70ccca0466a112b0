//! The fast CPU engine against the reference kernels, and how it behaves: threads, callers, memory.

#[path = "../../../mil-core/tests/hostile/mod.rs"]
mod hostile;
use hostile::run::compare;

mod behaviour;
mod graphs;

use std::collections::BTreeMap;

use compare::{Engines, Random, Tolerance, options};
use mil_core::{
    ir::Program,
    types::{DType, Dim, Type},
};
use mil_runtime::{AnyTensor, Numerics, cpu::States};
use proptest::prelude::*;

/// Random inputs of a function; open dimensions are as `sizes` say, by symbol.
fn inputs(program: &Program, sizes: &[i64], random: &mut Random) -> Option<BTreeMap<String, AnyTensor>> {
    let f = program.main()?;
    let mut inputs = BTreeMap::new();
    for id in &f.inputs {
        let value = f.value(*id);
        let Type::Tensor(ty) = &value.ty else { continue };
        let size = |d: &Dim| {
            usize::try_from(d.eval(&|s| sizes.get(usize::from(s.name().as_bytes()[0] - b'A')).copied())?).ok()
        };
        let shape: Vec<usize> = ty.shape.iter().map(size).collect::<Option<_>>()?;
        let count = shape.iter().product();
        let tensor = match ty.dtype {
            DType::F16 | DType::F32 => AnyTensor::from_f32(ty.dtype, shape, random.floats(count, 1.0)),
            dtype => AnyTensor::from_i64(dtype, shape, (0..count).map(|_| i64::from(random.bits() % 3)).collect()),
        };
        inputs.insert(value.name.clone(), tensor.ok()?);
    }
    Some(inputs)
}

/// Chains of ops make small differences larger: a bug's are larger still.
fn of_graphs(program: &Program) -> impl Fn(Numerics) -> Tolerance + use<> {
    let halves = program.to_text().contains("fp16");
    move |numerics| match (halves, numerics) {
        (true, _) => Tolerance { relative: 0.03, ulps: 8.0 },
        (_, Numerics::Fast) => Tolerance { relative: 1e-4, ulps: 0.0 },
        (_, Numerics::Strict) => Tolerance { relative: 3e-5, ulps: 0.0 },
    }
}

/// Runs a program again and again, with other numbers and sizes; says whether any run got to the end.
fn check(program: &Program) -> Result<bool, String> {
    let kinds = [options(Numerics::Fast, 1), options(Numerics::Strict, 2)];
    let engines = Engines::new(program.main().ok_or("no main")?, &kinds, 100).map_err(|e| e.to_string())?;
    let mut random = Random(99);
    let mut ran = false;
    let mut states = engines.reference.new_states().map_err(|e| e.to_string())?;
    // The first sizes come again: the plan is there already, and its buffers are not empty.
    for sizes in [[2, 5, 7, 6], [1, 3, 4, 9], [2, 5, 7, 6]] {
        let Some(inputs) = inputs(program, &sizes, &mut random) else { continue };
        let outcome = engines.check(&inputs, &states, of_graphs(program))?;
        if let Ok((_, after)) = outcome {
            (states, ran) = (States::from_iter(after), true);
        }
    }
    Ok(ran)
}

fn cases() -> u32 {
    std::env::var("PROPTEST_CASES").ok().and_then(|n| n.parse().ok()).unwrap_or(96)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(), failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn random_graphs(bytes in prop::collection::vec(any::<u8>(), 16..160)) {
        if let Some(program) = graphs::program(&bytes, 12) {
            check(&program).map_err(|e| TestCaseError::fail(format!("{e}\n{program}")))?;
        }
    }
}

/// The test above tests something: most of what is made up runs, and all kinds of ops are among it.
#[test]
fn random_graphs_are_of_all_kinds() {
    let mut random = Random(5);
    let (mut made, mut ran, mut ops) = (0, 0, BTreeMap::<&str, usize>::new());
    for _ in 0..80 {
        let bytes: Vec<u8> = (0..160).map(|_| random.bits() as u8).collect();
        let Some(program) = graphs::program(&bytes, 12) else { continue };
        made += 1;
        ran += usize::from(check(&program).unwrap_or_else(|e| panic!("{e}\n{program}")));
        let main = program.main().unwrap();
        main.walk().into_iter().for_each(|op| *ops.entry(main.op(op).def.name).or_default() += 1);
    }
    assert!(made > 40 && ran * 10 > made * 8, "{made} made, {ran} ran");
    for op in [
        "conv",
        "linear",
        "matmul",
        "add",
        "concat",
        "split",
        "slice_by_index",
        "transpose",
        "reshape",
        "while_loop",
        "cond",
    ] {
        assert!(ops.get(op).is_some_and(|n| *n > 2), "{op}: {ops:?}");
    }
}
