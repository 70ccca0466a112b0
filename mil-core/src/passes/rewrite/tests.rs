use crate::{
    graph::{BuildError, Graph, Value},
    ir::{Constant, Function, OpId, Program},
    mb,
    passes::testing::{condition, graph, ops, outputs},
    types::{DType, TensorType},
    validate::validate,
};

use super::{Rewriter, Use};

fn f32s(shape: &[usize]) -> TensorType {
    TensorType::new(DType::F32, shape)
}

fn find(rw: &Rewriter, name: &str) -> OpId {
    rw.ops().into_iter().find(|op| rw.op(*op).def.name == name).unwrap()
}

/// Rewrites a program of one function, which is valid before and after.
#[track_caller]
fn rewritten(program: Program, rewrite: impl FnOnce(&mut Rewriter)) -> Program {
    validate(&program).unwrap_or_else(|e| panic!("before: {e}"));
    let mut rw = Rewriter::new(program.main().unwrap().clone());
    rewrite(&mut rw);
    let program = Program::single(rw.finish().unwrap());
    validate(&program).unwrap_or_else(|e| panic!("after: {e}\n{program}"));
    program
}

fn value_name(f: &Function, op: usize) -> &str {
    &f.value(f.op(f.walk()[op]).outputs[0]).name
}

#[test]
fn what_is_not_changed_is_the_same() {
    let (program, _) = nested();
    let same = rewritten(program.clone(), |rw| assert!(!rw.changed()));
    assert_eq!(same, program);
}

#[test]
fn ops_are_inserted_where_they_are_wanted_with_their_constants() {
    let mut g = graph();
    let x = g.input("x", f32s(&[2]));
    let a = g.push(mb::exp(&x)).unwrap();
    let y = g.push(mb::sqrt(&a)).unwrap();
    let program = rewritten(g.finish([("y", y)]).unwrap(), |rw| {
        let sqrt = find(rw, "sqrt");
        let a = rw.arg(sqrt, "x").unwrap();
        let value = rw.value(a);
        let mut at = rw.before(sqrt);
        let b = at.push(mb::mul(&value, 3)).unwrap();
        let c = at.push(mb::tanh(&b)).unwrap();
        rw.rebind(sqrt, a, c.id());
        assert_eq!(rw.users(a).len(), 1);
        assert_eq!(rw.only_user(c.id()), Some(sqrt));
        let start = rw.body();
        let x = rw.function().inputs[0];
        let x = rw.value(x);
        rw.at_start(start).push(mb::relu(&x)).unwrap();
        rw.after(sqrt).push(mb::sin(&x)).unwrap();
    });
    assert_eq!(ops(&program), ["relu", "exp", "mul", "tanh", "sqrt", "sin"]);
    let f = program.main().unwrap();
    let three = f.walk().into_iter().find_map(|op| f.op(op).constant()).unwrap();
    assert_eq!(three, &Constant::scalar(3f32), "a literal has the dtype of the other operand");
}

#[test]
fn an_output_keeps_its_name() {
    let mut g = graph();
    let x = g.input("x", f32s(&[2]));
    let a = g.push(mb::exp(&x)).unwrap();
    let b = g.push(mb::identity(&a)).unwrap();
    let c = g.push(mb::identity(&a)).unwrap();
    let d = g.push(mb::identity(&x)).unwrap();
    let program = g.finish([("b", b), ("c", c), ("d", d)]).unwrap();
    let program = rewritten(program, |rw| {
        for op in rw.ops() {
            if rw.op(op).def.name == "identity" {
                let x = rw.arg(op, "x").unwrap();
                let x = rw.value(x);
                rw.replace(op, &[x]).unwrap();
            }
        }
    });
    // The first takes the name; the others need a copy: of an output, and of an input.
    assert_eq!(outputs(&program), ["b", "c", "d"]);
    assert_eq!(ops(&program), ["exp", "identity", "identity"]);
}

/// A branch whose blocks use what is around them, and a loop.
fn nested() -> (Program, [String; 2]) {
    let mut g = graph();
    let go = condition(&mut g);
    let x = g.input("x", f32s(&[2]));
    let a = g.push(mb::exp(&x).name("a")).unwrap();
    let yes = |g: &mut Graph| Ok(vec![g.push(mb::add(&a, 1.0))?]);
    let no = |_: &mut Graph| Ok(vec![a.clone()]);
    let out = g.cond(&go, yes, no).unwrap();
    let body = |g: &mut Graph, v: &[Value]| -> Result<Vec<Value>, BuildError> { Ok(vec![g.push(mb::mul(&v[0], &a))?]) };
    let last = g.while_loop(out, |_, _| Ok(go.clone()), body).unwrap();
    let program = g.finish([("y", last[0].clone())]).unwrap();
    (program, ["a".into(), "y".into()])
}

#[test]
fn uses_in_nested_blocks_are_replaced_too() {
    let (program, _) = nested();
    let program = rewritten(program, |rw| {
        let exp = find(rw, "exp");
        let a = rw.output(exp).unwrap();
        let uses: Vec<Use> = rw.uses(a).map(|(by, _)| by).collect();
        assert_eq!(uses.iter().filter(|u| matches!(u, Use::Op(_))).count(), 2);
        assert_eq!(uses.iter().filter(|u| matches!(u, Use::Block(_))).count(), 1);
        assert_eq!(rw.only_user(a), None);
        let x = rw.arg(exp, "x").unwrap();
        let x = rw.value(x);
        let sin = rw.before(exp).push(mb::sin(&x)).unwrap();
        rw.replace(exp, &[sin]).unwrap();
        assert!(!rw.is_live(exp));
    });
    assert_eq!(ops(&program), ["sin", "cond", "add", "while_loop", "mul"]);
    assert_eq!(value_name(program.main().unwrap(), 2), "a", "what replaces a value has its name");
}

#[test]
fn an_op_is_erased_with_what_is_inside_and_what_only_it_used() {
    let (program, _) = nested();
    let program = rewritten(program, |rw| {
        let (cond, body) = (find(rw, "cond"), rw.body());
        assert!(!rw.erase(cond), "its output is used");
        let [out] = rw.op(cond).outputs[..] else { panic!() };
        let x = rw.function().inputs[1];
        rw.replace_uses(out, x).unwrap();
        assert_eq!(rw.erase_unused(cond), 1, "`exp` is used by the loop");
        assert_eq!(rw.ops_of(body).len(), 4, "the condition with its dtype, `exp`, the loop");
    });
    assert_eq!(ops(&program), ["exp", "while_loop", "mul"]);
}

#[test]
fn types_follow_a_change_into_loops_and_branches() {
    let (program, _) = nested();
    let program = rewritten(program, |rw| {
        // The whole becomes f16 when `x` does, but for the constant, which is changed as well.
        let exp = find(rw, "exp");
        let x = rw.arg(exp, "x").unwrap();
        let value = rw.value(x);
        let half = rw.before(exp).push(mb::cast(&value, "fp16")).unwrap();
        rw.rebind(exp, x, half.id());
        let add = find(rw, "add");
        let y = rw.arg(add, "y").unwrap();
        let constant = rw.producer(y).unwrap();
        rw.set_constant(constant, Constant::scalar(half::f16::ONE));
    });
    let f = program.main().unwrap();
    for op in f.walk() {
        for v in &f.op(op).outputs {
            let dtype = f.value(*v).ty.tensor().unwrap().dtype;
            assert_ne!(dtype, DType::F32, "{}", f.value(*v).name);
        }
    }
}

#[test]
fn an_op_that_cannot_be_any_more_is_told() {
    let mut g = graph();
    let x = g.input("x", f32s(&[2]));
    let y = g.input("y", f32s(&[3]));
    let a = g.push(mb::exp(&x)).unwrap();
    let sum = g.push(mb::add(&a, &x).name("sum")).unwrap();
    let program = g.finish([("sum", sum), ("y", y)]).unwrap();
    let mut rw = Rewriter::new(program.main().unwrap().clone());
    let y = rw.function().inputs[1];
    rw.replace_uses(a.id(), y).unwrap();
    let error = rw.finish().unwrap_err().to_string();
    assert!(error.contains("cannot broadcast [3] with [2]") && error.contains("in op `sum`"), "{error}");
}

#[test]
fn names_that_meet_are_told_apart() {
    let mut g = graph();
    let go = condition(&mut g);
    let x = g.input("x", f32s(&[2]));
    let out = g.cond(&go, |g| Ok(vec![g.push(mb::exp(&x))?]), |g| Ok(vec![g.push(mb::sin(&x))?])).unwrap();
    let early = g.push(mb::relu(&out[0])).unwrap();
    let y = g.push(mb::identity(&early)).unwrap();
    let mut program = g.finish([("y", y)]).unwrap();
    // As a file may have it: a value in a branch is named as an output that comes later.
    let f = program.functions.get_mut("main").unwrap();
    let exp = f.walk().into_iter().find(|op| f.op(*op).def.name == "exp").unwrap();
    let inner = f.op(exp).outputs[0];
    f.values[inner.index()].name = "y".into();
    let program = rewritten(program, |rw| {
        // A value from before the branch is the output now.
        let (cond, identity) = (find(rw, "cond"), find(rw, "identity"));
        let x = rw.function().inputs[1];
        let x = rw.value(x);
        let tanh = rw.before(cond).push(mb::tanh(&x)).unwrap();
        let y = rw.output(identity).unwrap();
        rw.replace_uses(y, tanh.id()).unwrap();
    });
    assert_eq!(outputs(&program), ["y"]);
}

#[test]
fn a_rewritten_function_has_no_holes() {
    let mut g = graph();
    let x = g.input("x", f32s(&[2]));
    let unused = g.push(mb::exp(&x)).unwrap();
    let y = g.push(mb::sqrt(&x)).unwrap();
    let program = rewritten(g.finish([("y", y)]).unwrap(), |rw| {
        let op = rw.producer(unused.id()).unwrap();
        assert_eq!(rw.erase_unused(op), 1);
    });
    let f = program.main().unwrap();
    assert_eq!((f.value_count(), f.ops.len(), f.locs.len()), (2, 1, 1));
    assert!(f.loc(f.walk()[0]).unwrap().file.ends_with("tests.rs"));
}

#[test]
fn every_op_of_a_long_function_is_replaced() {
    let mut g = graph();
    let x = g.input("x", f32s(&[2]));
    let one = g.constant("one", Constant::scalar(1f32));
    let mut y = x.clone();
    for _ in 0..2_000 {
        y = g.push(mb::add(&y, &one)).unwrap();
    }
    let program = g.finish([("y", y)]).unwrap();
    let mut rw = Rewriter::new(program.main().unwrap().clone());
    for op in rw.ops() {
        if let Some(x) = rw.arg(op, "x") {
            let x = rw.value(x);
            let new = rw.before(op).push(mb::sub(&x, -1.0)).unwrap();
            rw.replace(op, &[new]).unwrap();
        }
    }
    let f = rw.finish().unwrap();
    assert_eq!(f.walk().len(), 4_000);
}
