use super::*;
use crate::{
    graph::Graph,
    ir::Program,
    passes::testing::{constants, f32s, graph, ops, run},
};

fn numbers(shape: &[usize]) -> Constant {
    let count = shape.iter().product::<usize>();
    Constant::new(shape, &(1..=count).map(|i| i as f32).collect::<Vec<_>>()).unwrap()
}

/// `x - mean`, and its variance with epsilon.
fn parts(g: &mut Graph, x: &Value, axes: &[i64]) -> (Value, Value) {
    let mean = g.push(mb::reduce_mean(x).axes(axes).keep_dims(true)).unwrap();
    let centered = g.push(mb::sub(x, &mean)).unwrap();
    let square = g.push(mb::square(&centered)).unwrap();
    let variance = g.push(mb::reduce_mean(&square).axes(axes).keep_dims(true)).unwrap();
    (centered, g.push(mb::add(&variance, 0.001)).unwrap())
}

fn normalized(g: &mut Graph, x: &Value, axes: &[i64]) -> Value {
    let (centered, variance) = parts(g, x, axes);
    let inverse = g.push(mb::rsqrt(&variance).epsilon(0.0)).unwrap();
    g.push(mb::mul(&centered, &inverse)).unwrap()
}

fn fused(g: Graph, y: Value) -> (Program, usize) {
    let mut p = g.finish([("y", y)]).unwrap();
    let changes = run(&FuseLayernormOrInstancenorm, &mut p).changes();
    (p, changes)
}

#[test]
fn layer_norm_over_the_last_dimensions() {
    let mut g = graph();
    let x = g.input("x", f32s(&[5, 2, 3]));
    let (centered, variance) = parts(&mut g, &x, &[-1, 1]);
    let root = g.push(mb::sqrt(&variance)).unwrap();
    let n = g.push(mb::real_div(&centered, &root)).unwrap();
    let n = g.push(mb::mul(&n, numbers(&[2, 3]))).unwrap();
    let y = g.push(mb::add(numbers(&[1, 2, 3]), &n)).unwrap();
    let (p, _) = fused(g, y);
    assert_eq!(ops(&p), ["layer_norm"]);
    let all = constants(&p, "layer_norm", &["axes", "gamma", "beta", "epsilon"]);
    assert_eq!(all[0].ints().unwrap(), [1, 2]);
    assert_eq!((&all[1], &all[2]), (&numbers(&[2, 3]), &numbers(&[2, 3])));
    assert_eq!(all[3].elements::<f32>().unwrap(), [0.001]);
}

#[test]
fn layer_norm_without_more_and_over_channels() {
    let mut g = graph();
    let x = g.input("x", f32s(&[5, 2, 1, 3]));
    let n = normalized(&mut g, &x, &[3]);
    let n = normalized(&mut g, &n, &[1]);
    let n = g.push(mb::add(&n, numbers(&[1, 2, 1, 1]))).unwrap();
    let y = g.push(mb::mul(&n, numbers(&[1, 2, 1, 1]))).unwrap();
    let (p, changes) = fused(g, y);
    assert_eq!((ops(&p), changes), (vec!["layer_norm"; 2], 2));
    let f = p.main().unwrap();
    let second = f.walk().into_iter().map(|op| f.op(op)).rfind(|op| op.def.name == "layer_norm").unwrap();
    let crate::ir::Binding::Value(beta) = second.bindings("beta")[0] else { panic!() };
    let beta = f.value(beta).known.as_ref().unwrap().constant().unwrap();
    assert_eq!(beta.elements::<f32>().unwrap(), [1.0, 4.0], "what is added before is multiplied by gamma");
}

#[test]
fn instance_norm_per_channel() {
    let mut g = graph();
    let x = g.input("x", f32s(&[1, 2, 4, 3]));
    let n = normalized(&mut g, &x, &[2, 3]);
    let n = g.push(mb::mul(&n, numbers(&[2, 1, 1]))).unwrap();
    let y = g.push(mb::add(&n, numbers(&[1, 2, 1, 1]))).unwrap();
    let (p, _) = fused(g, y);
    assert_eq!(ops(&p), ["instance_norm"]);
    assert_eq!(constants(&p, "instance_norm", &["gamma"])[0], numbers(&[2]));
}

/// `x * s + (beta - mean * s)`.
fn distributed(g: &mut Graph, x: &Value, axes: &[i64], affine: Option<Constant>) -> Value {
    let mean = g.push(mb::reduce_mean(x).axes(axes).keep_dims(true)).unwrap();
    let centered = g.push(mb::sub(x, &mean)).unwrap();
    let square = g.push(mb::square(&centered)).unwrap();
    let variance = g.push(mb::reduce_mean(&square).axes(axes).keep_dims(true)).unwrap();
    let variance = g.push(mb::add(&variance, 0.001)).unwrap();
    let mut s = g.push(mb::rsqrt(&variance)).unwrap();
    if let Some(gamma) = &affine {
        s = g.push(mb::mul(&s, gamma)).unwrap();
    }
    let product = g.push(mb::mul(x, &s)).unwrap();
    let means = g.push(mb::mul(&mean, &s)).unwrap();
    let shift = match affine {
        Some(beta) => g.push(mb::sub(beta, &means)).unwrap(),
        None => g.push(mb::mul(&means, -1.0)).unwrap(),
    };
    g.push(mb::add(&product, &shift)).unwrap()
}

#[test]
fn distributed_over_the_difference() {
    let mut g = graph();
    let x = g.input("x", f32s(&[1, 4, 3, 2]));
    // With the channels last: between transposes.
    let a = distributed(&mut g, &x, &[1, 2], Some(numbers(&[2])));
    let b = distributed(&mut g, &a, &[-2, -1], None);
    let c = distributed(&mut g, &b, &[-1], Some(numbers(&[2])));
    let (p, changes) = fused(g, c);
    assert_eq!(changes, 3);
    assert_eq!(ops(&p), ["transpose", "instance_norm", "transpose", "instance_norm", "layer_norm"]);
}

#[test]
fn variance_as_difference_of_means_and_means_as_sums() {
    let mut g = graph();
    let x = g.input("x", f32s(&[1, 2, 4, 3]));
    let mean = |g: &mut Graph, v: &Value| {
        let sum = g.push(mb::reduce_sum(v).axes([2, 3]).keep_dims(true)).unwrap();
        g.push(mb::mul(&sum, 1.0 / 12.0)).unwrap()
    };
    let m = mean(&mut g, &x);
    let squares = g.push(mb::mul(&x, &x)).unwrap();
    let squares = mean(&mut g, &squares);
    let square = g.push(mb::mul(&m, &m)).unwrap();
    let variance = g.push(mb::sub(&squares, &square)).unwrap();
    let variance = g.push(mb::add(&variance, 0.001)).unwrap();
    let s = g.push(mb::rsqrt(&variance)).unwrap();
    let s = g.push(mb::mul(&s, numbers(&[1, 2, 1, 1]))).unwrap();
    let a = g.push(mb::mul(&x, &s)).unwrap();
    let b = g.push(mb::mul(&m, &s)).unwrap();
    let b = g.push(mb::sub(numbers(&[1, 2, 1, 1]), &b)).unwrap();
    let y = g.push(mb::add(&a, &b)).unwrap();
    let (p, _) = fused(g, y);
    assert_eq!(ops(&p), ["instance_norm"]);
}

#[test]
fn other_formulas_stay() {
    let stays = |build: &dyn Fn(&mut Graph, &Value) -> Vec<Value>| {
        let mut g = graph();
        let x = g.input("x", f32s(&[1, 2, 4, 3]));
        let outputs = build(&mut g, &x);
        let mut p = g.finish(outputs).unwrap();
        assert_eq!(run(&FuseLayernormOrInstancenorm, &mut p).changes(), 0, "{p}");
    };
    // Over other dimensions.
    stays(&|g, x| vec![normalized(g, x, &[0, 2])]);
    // The variance of something else, or over something else.
    stays(&|g, x| {
        let (centered, _) = parts(g, x, &[3]);
        let other = g.push(mb::exp(x)).unwrap();
        let (_, variance) = parts(g, &other, &[3]);
        let inverse = g.push(mb::rsqrt(&variance)).unwrap();
        vec![g.push(mb::mul(&centered, &inverse)).unwrap()]
    });
    // What is in between is used elsewhere.
    stays(&|g, x| {
        let (centered, variance) = parts(g, x, &[3]);
        let inverse = g.push(mb::rsqrt(&variance)).unwrap();
        vec![g.push(mb::mul(&centered, &inverse)).unwrap(), variance]
    });
    // A power that is no root.
    stays(&|g, x| {
        let (centered, variance) = parts(g, x, &[3]);
        let root = g.push(mb::pow(&variance, 0.4)).unwrap();
        vec![g.push(mb::real_div(&centered, &root)).unwrap()]
    });
}
