//! Functions run op by op.

use super::*;
use mil_core::{
    graph::Graph,
    mb,
    types::{DType, Opset, TensorType},
};

fn vector(v: &[f32]) -> AnyTensor {
    AnyTensor::new([v.len()], v.to_vec()).unwrap()
}

#[test]
fn packed_constants_are_unpacked_once() {
    let mut g = Graph::new("main", Opset::iOS18);
    let x = g.input("x", "Tensor<f32, 1, 2, 2>".parse::<TensorType>().unwrap());
    // A sparse, palettized weight: [[0, 3], [2, 0]].
    let mask = Constant::integers(DType::U1, [2, 2, 1], &[0, 1, 1, 0]).unwrap();
    let indices = Constant::integers(DType::U1, [2], &[1, 0]).unwrap();
    let lut = Constant::new([1, 1, 1, 2, 1], &[2f32, 3.0]).unwrap();
    let (mask, values) = g.push(mb::constexpr_lut_to_sparse(mask, indices, lut)).unwrap();
    let w = g.push(mb::constexpr_sparse_to_dense(values, mask)).unwrap();
    let y = g.push(mb::conv(&x, &w)).unwrap();
    let p = g.finish([("y", y), ("w", w)]).unwrap();
    mil_core::validate::validate(&p).unwrap();
    let e = Executor::new(p.main().unwrap().clone()).unwrap();
    assert_eq!(e.constants.iter().filter(|(id, _)| e.function.value(*id).ty.tensor().unwrap().rank() == 3).count(), 1);
    for _ in 0..2 {
        let x = AnyTensor::new([1, 2, 2], vec![1f32, 10.0, 100.0, 1000.0]).unwrap();
        let out = e.run(BTreeMap::from([("x".to_string(), x)])).unwrap();
        assert_eq!(out["y"], AnyTensor::new([1, 2, 2], vec![300f32, 3000.0, 2.0, 20.0]).unwrap());
        assert_eq!(out["w"], AnyTensor::new([2, 2, 1], vec![0f32, 3.0, 2.0, 0.0]).unwrap());
    }
}

#[test]
fn models_of_one_program_share_its_mapped_weights() {
    let mut g = Graph::new("main", Opset::iOS17);
    let x = g.input("x", "Tensor<f32, 1, 64>".parse::<TensorType>().unwrap());
    let numbers: Vec<f32> = (0..64 * 64).map(|i| i as f32).collect();
    let y = g.push(mb::linear(&x, Constant::new([64, 64], &numbers).unwrap())).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x.mlpackage");
    g.finish([("y", y)]).unwrap().save(&path).unwrap();
    let program = mil_core::ir::Program::load(&path).unwrap();
    let main = program.main().unwrap();
    let make = || Executor::with_options(main.clone(), &CpuOptions::default()).unwrap();
    let (a, b) = (make(), make());
    let weights = |e: &Executor| {
        let of = |t: &AnyTensor| (t.count() == 64 * 64).then(|| t.bytes().unwrap().as_ptr_range());
        e.constants.iter().find_map(|(_, t)| of(t)).unwrap()
    };
    assert_eq!(weights(&a), weights(&b));
    // They are the file's bytes, and stay so when the kernels' own form of them is made.
    for e in [&a, &b] {
        let x = AnyTensor::new([1, 64], vec![1f32; 64]).unwrap();
        let y = e.run(BTreeMap::from([("x".to_string(), x)])).unwrap();
        assert_eq!(y["y"].to_f32().unwrap()[0], (0..64).sum::<usize>() as f32);
    }
    let constant = a.constants.iter().find(|(_, t)| t.count() == 64 * 64).unwrap();
    assert_eq!(constant.1.to_f32().unwrap()[..], numbers[..]);
}

#[test]
fn branches_and_inputs() {
    let mut g = Graph::new("main", Opset::iOS17);
    let x = g.input("x", "Tensor<f32, N>".parse::<TensorType>().unwrap());
    let go = g.input("go", TensorType::scalar(DType::Bool));
    let y = g.cond(&go, |g| Ok(vec![g.push(mb::add(&x, 1.0))?]), |_| Ok(vec![x.clone()])).unwrap();
    let p = g.finish([("y", y[0].clone())]).unwrap();
    let e = Executor::new(p.main().unwrap().clone()).unwrap();
    let run = |go: bool, x: AnyTensor| {
        let go = AnyTensor::bools([], &[go]).unwrap();
        e.run(BTreeMap::from([("x".to_string(), x), ("go".to_string(), go)]))
    };
    assert_eq!(run(true, vector(&[1.0, 2.0])).unwrap()["y"], vector(&[2.0, 3.0]));
    assert_eq!(run(false, vector(&[1.0])).unwrap()["y"], vector(&[1.0]));
    let wrong = run(true, AnyTensor::new([1, 1], vec![1f32]).unwrap()).unwrap_err();
    assert!(wrong.to_string().contains("input `x` must be Tensor<f32, N>, found Tensor<f32, 1, 1>"), "{wrong}");
    let loops = {
        let mut g = Graph::new("main", Opset::iOS17);
        let go = g.input("go", TensorType::scalar(DType::Bool));
        let n = g.constant("n", mil_core::ir::Constant::scalar(1i32));
        let body = |g: &mut Graph, v: &[mil_core::graph::Value]| Ok(vec![g.push(mb::add(&v[0], 1))?]);
        let out = g.while_loop(vec![n], |_, _| Ok(go.clone()), body).unwrap();
        let p = g.finish([("y", out[0].clone())]).unwrap();
        Executor::new(p.main().unwrap().clone()).unwrap().with_loop_limit(9)
    };
    let run = |go| loops.run(BTreeMap::from([("go".to_string(), AnyTensor::bools([], &[go]).unwrap())]));
    assert_eq!(run(false).unwrap()["y"], AnyTensor::scalar(1i32));
    assert!(run(true).unwrap_err().to_string().contains("loops ran 9 times, which is the limit"));
    let missing = e.run(BTreeMap::new()).unwrap_err();
    assert_eq!(missing.to_string(), "input `x` is missing");
}
