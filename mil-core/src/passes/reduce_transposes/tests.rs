use super::*;
use crate::{
    graph::Graph,
    ir::Program,
    passes::testing::{condition, constants, f32s, graph, ops, outputs, run},
    types::{DType, TensorType},
};

const LAST: [i64; 4] = [0, 2, 3, 1];
const FIRST: [i64; 4] = [0, 3, 1, 2];

fn x(g: &mut Graph) -> Value {
    g.input("x", f32s(&[2, 3, 4, 5]))
}

fn to(g: &mut Graph, x: &Value, perm: [i64; 4]) -> Value {
    g.push(mb::transpose(x, perm)).unwrap()
}

/// The ops after the pass.
#[track_caller]
fn reduced(g: Graph, outputs: Vec<Value>) -> Program {
    let mut p = g.finish(outputs).unwrap();
    run(&ReduceTransposes, &mut p);
    p
}

#[test]
fn what_cancels_goes() {
    let mut g = graph();
    let x = x(&mut g);
    let v = to(&mut g, &x, FIRST);
    let v = to(&mut g, &v, LAST);
    let v = g.push(mb::relu(&v)).unwrap();
    let v = to(&mut g, &v, LAST);
    let v = g.push(mb::cast(&v, "fp16")).unwrap();
    let v = g.push(mb::sigmoid(&v).name("half")).unwrap();
    let y = to(&mut g, &v, FIRST);
    let mut p = g.finish([("y", y)]).unwrap();
    let report = run(&ReduceTransposes, &mut p);
    assert_eq!(report.counts["removed transpose"], 4);
    assert_eq!((ops(&p), outputs(&p)), (vec!["relu", "cast", "sigmoid"], vec!["y"]));
}

#[test]
fn an_op_that_needs_the_order_gets_it() {
    let mut g = graph();
    let x = x(&mut g);
    let t = to(&mut g, &x, LAST);
    let r = g.push(mb::relu(&t)).unwrap();
    let pool = g.push(mb::max_pool(&r, [1, 1], "valid")).unwrap();
    let v = g.push(mb::exp(&r)).unwrap();
    let v = g.push(mb::tanh(&v)).unwrap();
    let back = to(&mut g, &v, FIRST);
    let p = reduced(g, vec![pool, back]);
    assert_eq!(ops(&p), ["relu", "transpose", "max_pool", "exp", "tanh"]);
}

#[test]
fn where_it_does_not_pay_nothing_happens() {
    let mut g = graph();
    let x = x(&mut g);
    let t = to(&mut g, &x, LAST);
    let a = g.push(mb::relu(&t)).unwrap();
    let b = g.push(mb::exp(&t)).unwrap();
    let c = g.push(mb::tanh(&t)).unwrap();
    let c = to(&mut g, &c, FIRST);
    let mut p = g.finish([("t", t), ("a", a), ("b", b), ("c", c)]).unwrap();
    let report = run(&ReduceTransposes, &mut p);
    assert_eq!(report.changes(), 0);
    assert_eq!(ops(&p), ["transpose", "relu", "exp", "tanh", "transpose"]);
}

#[test]
fn of_several_one_is_left() {
    let mut g = graph();
    let x = x(&mut g);
    let z = g.input("z", f32s(&[2, 3, 4, 5]));
    let a = to(&mut g, &x, LAST);
    let b = to(&mut g, &z, LAST);
    let b = g.push(mb::exp(&b)).unwrap();
    let c = g.push(mb::add(&a, &b).name("sum")).unwrap();
    let p = reduced(g, vec![c]);
    assert_eq!((ops(&p), outputs(&p)), (vec!["exp", "add", "transpose"], vec!["sum"]));
}

#[test]
fn other_operands_are_put_in_order() {
    let mut g = graph();
    let x = x(&mut g);
    let z = g.input("z", f32s(&[3]));
    let v = to(&mut g, &x, LAST);
    // [2, 4, 5, 3] with constants of [3] and [5, 1], a number, and a vector.
    let v = g.push(mb::mul(&v, [1.0, 2.0, 3.0])).unwrap();
    let v = g.push(mb::sub([[1.0], [2.0], [3.0], [4.0], [5.0]], &v)).unwrap();
    let v = g.push(mb::add(&v, 1.0)).unwrap();
    let v = g.push(mb::maximum(&z, &v)).unwrap();
    let c = g.push(mb::less(&v, 0.5)).unwrap();
    let v = g.push(mb::select(&c, &v, 0.0)).unwrap();
    let y = to(&mut g, &v, FIRST);
    let p = reduced(g, vec![y]);
    assert_eq!(ops(&p), ["mul", "sub", "add", "reshape", "maximum", "less", "select"]);
    assert_eq!(constants(&p, "mul", &["y"])[0], Constant::new([1, 3, 1, 1], &[1f32, 2.0, 3.0]).unwrap());
    assert_eq!(constants(&p, "sub", &["x"])[0].shape(), [1, 1, 1, 5]);
    assert_eq!(constants(&p, "reshape", &["shape"])[0].ints().unwrap(), [1, 3, 1, 1]);
}

#[test]
fn operands_that_a_reshape_does_not_order_stop_it() {
    let mut g = graph();
    let x = x(&mut g);
    let z = g.input("z", f32s(&[5, 3]));
    let v = to(&mut g, &x, LAST);
    let v = g.push(mb::mul(&v, &z)).unwrap();
    let y = to(&mut g, &v, FIRST);
    let p = reduced(g, vec![y]);
    assert_eq!(ops(&p), ["transpose", "mul", "transpose"]);
}

#[test]
fn constants_are_transposed() {
    let c = Constant::new([2, 3], &[1i32, 2, 3, 4, 5, 6]).unwrap();
    // What is c when its dimensions (1, 2, 3) go to (2, 1, 0).
    let order = |shape: &[usize], perm: &[usize], c: &Constant| {
        let mut g = graph();
        let value = g.constant("c", c.clone());
        let shape: Vec<i64> = shape.iter().map(|d| *d as i64).collect();
        let full = g.push(mb::reshape(&value, shape)).unwrap();
        let perm: Vec<i64> = perm.iter().map(|d| *d as i64).collect();
        g.push(mb::transpose(&full, perm)).unwrap()
    };
    // Inference transposes small integers as well: by the inverse it gives the same.
    let expected = order(&[1, 2, 3], &[2, 1, 0], &c);
    let mut g = graph();
    let x = g.input("x", TensorType::new(DType::I32, [3, 2, 4]));
    let t = g.push(mb::transpose(&x, [2, 1, 0])).unwrap();
    let sum = g.push(mb::add(&t, &c)).unwrap();
    let y = g.push(mb::transpose(&sum, [2, 1, 0])).unwrap();
    let p = reduced(g, vec![y]);
    assert_eq!(ops(&p), ["add"]);
    assert_eq!(Some(&constants(&p, "add", &["y"])[0]), expected.known().and_then(|k| k.constant()));
}

#[test]
fn axes_follow() {
    let mut g = graph();
    let x = x(&mut g);
    let v = to(&mut g, &x, LAST);
    let v = g.push(mb::softmax(&v).axis(-1)).unwrap();
    let parts = g.push(mb::split(&v, 1).split_sizes([1, 3])).unwrap();
    let v = g.push(mb::concat([&parts[1], &parts[0]], 1)).unwrap();
    let v = g.push(mb::pad(&v, [1, 2, 3, 4])).unwrap();
    let m = g.push(mb::reduce_max(&v).axes([-1]).keep_dims(true)).unwrap();
    let v = g.push(mb::sub(&v, &m)).unwrap();
    let y = to(&mut g, &v, FIRST);
    let p = reduced(g, vec![y]);
    assert_eq!(ops(&p), ["softmax", "split", "concat", "pad", "reduce_max", "sub"]);
    let int = |op, param| constants(&p, op, &[param])[0].ints().unwrap();
    assert_eq!((int("softmax", "axis"), int("split", "axis"), int("concat", "axis")), (vec![1], vec![2], vec![2]));
    assert_eq!(int("pad", "pad"), [0, 0, 3, 4, 0, 0, 1, 2]);
    assert_eq!(int("reduce_max", "axes"), [1]);
}

#[test]
fn reductions_that_drop_axes_may_put_things_in_order() {
    let mut g = graph();
    let x = x(&mut g);
    let v = to(&mut g, &x, LAST);
    let mean = g.push(mb::reduce_mean(&v).axes([1, 2])).unwrap();
    let v = to(&mut g, &x, LAST);
    let best = g.push(mb::reduce_argmax(&v).axis(1).keep_dims(false)).unwrap();
    let best = g.push(mb::transpose(&best, [0, 2, 1])).unwrap();
    let p = reduced(g, vec![mean, best]);
    assert_eq!(ops(&p), ["reduce_mean", "reduce_argmax"]);
    assert_eq!(constants(&p, "reduce_mean", &["axes"])[0].ints().unwrap(), [2, 3]);
    assert_eq!(constants(&p, "reduce_argmax", &["axis"])[0].ints().unwrap(), [2]);
}

#[test]
fn mirrored_borders_stay_in_the_last_dimensions() {
    let mut g = graph();
    let x = x(&mut g);
    let v = to(&mut g, &x, LAST);
    let v = g.push(mb::pad(&v, [1, 1, 0, 0]).mode("reflect")).unwrap();
    let a = to(&mut g, &v, FIRST);
    let v = to(&mut g, &x, LAST);
    let v = g.push(mb::pad(&v, [1, 1]).mode("reflect")).unwrap();
    let b = to(&mut g, &v, FIRST);
    let p = reduced(g, vec![a, b]);
    assert_eq!(ops(&p), ["pad", "transpose", "pad", "transpose"]);
    assert_eq!(constants(&p, "pad", &["pad"])[0].ints().unwrap(), [0, 0, 1, 1]);
}

#[test]
fn branches_are_rewritten_by_themselves() {
    let mut g = graph();
    let go = condition(&mut g);
    let x = x(&mut g);
    let t = to(&mut g, &x, LAST);
    let yes = |g: &mut Graph| {
        // The first is used as it was made, outside; the second and third cancel.
        let v = g.push(mb::transpose(&t, FIRST))?;
        let v = g.push(mb::transpose(&v, LAST))?;
        Ok(vec![g.push(mb::transpose(&v, FIRST))?])
    };
    let no = |g: &mut Graph| {
        let v = g.push(mb::transpose(&x, LAST))?;
        Ok(vec![g.push(mb::transpose(&v, FIRST))?])
    };
    let out = g.cond(&go, yes, no).unwrap();
    let p = reduced(g, out);
    assert_eq!(ops(&p), ["transpose", "cond", "transpose", "identity"]);
}

#[test]
fn long_chains_take_time_by_their_length() {
    let mut g = graph();
    let x = x(&mut g);
    let mut v = to(&mut g, &x, LAST);
    let start = v.clone();
    for _ in 0..4000 {
        v = g.push(mb::exp(&v)).unwrap();
        v = g.push(mb::add(&v, &start)).unwrap();
    }
    let y = to(&mut g, &v, FIRST);
    let mut p = g.finish([("y", y)]).unwrap();
    let start = std::time::Instant::now();
    let mut report = Report::new("reduce_transposes");
    ReduceTransposes.program(&mut p, &Context::default(), &mut report).unwrap();
    assert_eq!(report.counts["removed transpose"], 2);
    assert!(start.elapsed().as_secs() < 20, "{:?}", start.elapsed());
}
