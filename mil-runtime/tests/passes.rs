//! Passes keep the numbers: programs run before and after, on random inputs.

use std::collections::BTreeMap;

use mil_core::{
    graph::{BuildError, Graph, Value},
    ir::{Constant, Program},
    mb,
    passes::{Context, Pass, Pipeline, all},
    types::{DType, Opset, TensorType, Type},
};
use mil_runtime::{
    AnyTensor,
    cpu::{Executor, reference::Evaluator},
};

/// Random numbers, the same at each run of the tests.
struct Random(u64);

impl Random {
    fn next(&mut self) -> f32 {
        // xorshift64*
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let bits = self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 40;
        bits as f32 / (1u32 << 23) as f32 - 1.0
    }

    fn floats(&mut self, n: usize) -> Vec<f32> {
        (0..n).map(|_| self.next()).collect()
    }

    fn tensor(&mut self, ty: &TensorType) -> AnyTensor {
        // Open sizes are 4 here.
        let shape: Vec<usize> = ty.shape.iter().map(|d| d.fixed().unwrap_or(4)).collect();
        let n = shape.iter().product();
        match ty.dtype {
            DType::I32 => AnyTensor::new(shape, (0..n).map(|_| (self.next() * 4.0) as i32).collect()).unwrap(),
            dtype => AnyTensor::from_f32(dtype, shape, self.floats(n)).unwrap(),
        }
    }
}

fn run(program: &Program, seed: u64) -> BTreeMap<String, AnyTensor> {
    let f = program.main().unwrap();
    let mut random = Random(seed);
    let mut inputs = BTreeMap::new();
    for id in &f.inputs {
        let Type::Tensor(ty) = &f.value(*id).ty else { panic!() };
        inputs.insert(f.value(*id).name.clone(), random.tensor(ty));
    }
    Executor::new(f.clone()).unwrap().with_loop_limit(1000).run(inputs).unwrap_or_else(|e| panic!("{e}\n{program}"))
}

/// The same outputs: to the last bit, or within a tolerance relative to the greatest.
#[track_caller]
fn same(program: &Program, changed: &Program, tolerance: f32, what: &str) {
    for seed in 1..4 {
        let (before, after) = (run(program, seed), run(changed, seed));
        assert_eq!(before.keys().collect::<Vec<_>>(), after.keys().collect::<Vec<_>>(), "{what}");
        for (name, tensor) in &before {
            let other = &after[name];
            assert_eq!(tensor.ty(), other.ty(), "{what}: `{name}`\n{changed}");
            if tolerance == 0.0 || !tensor.dtype().is_float() {
                assert_eq!(tensor.bytes(), other.bytes(), "{what}: `{name}`\n{changed}");
                continue;
            }
            let (x, y) = (tensor.to_f32().unwrap(), other.to_f32().unwrap());
            let greatest = x.iter().fold(1f32, |m, v| m.max(v.abs()));
            let near =
                |(x, y): (&f32, &f32)| x == y || (x - y).abs() <= tolerance * greatest || (x.is_nan() && y.is_nan());
            assert!(x.iter().zip(y.iter()).all(near), "{what}: `{name}`: {x:?} became {y:?}\n{changed}");
        }
    }
}

/// How far a pass may change numbers: what it computes in another order rounds otherwise.
fn tolerance(pass: &str) -> f32 {
    match pass {
        "add_fp16_cast" => 2e-2,
        "divide_to_multiply" => 1e-5,
        name if name.starts_with("fuse_") => 1e-5,
        _ => 0.0,
    }
}

/// A part of a program: its ops, and its outputs by name.
type Part = fn(&mut Graph) -> Result<Vec<(&'static str, Value)>, BuildError>;

fn programs() -> Vec<(&'static str, Program)> {
    let build = |f: Part| {
        let mut g = Graph::new("main", Opset::iOS18);
        let outputs = f(&mut g).unwrap();
        g.finish(outputs).unwrap()
    };
    vec![
        ("shapes", build(shapes)),
        ("casts", build(casts)),
        ("constants", build(constants)),
        ("blocks", build(blocks)),
        ("outputs", build(outputs)),
    ]
}

fn input(g: &mut Graph, ty: &str) -> Value {
    g.input("x", ty.parse::<TensorType>().unwrap())
}

/// Reshapings by known and by computed shapes, of open size.
fn shapes(g: &mut Graph) -> Result<Vec<(&'static str, Value)>, BuildError> {
    let x = input(g, "Tensor<f32, H, 6>");
    let a = g.push(mb::reshape(&x, [-1, 2, 3]))?;
    let b = g.push(mb::expand_dims(&a, [0]))?;
    let c = g.push(mb::reshape(&b, [-1, 6]))?;
    let d = g.push(mb::transpose(&c, [0, 1]))?;
    let shape = g.push(mb::shape(&x))?;
    let last = g.push(mb::slice_by_index(&shape, [1], [2]))?;
    let rest = g.constant("rest", Constant::vector(&[-1i32]));
    let wanted = g.push(mb::concat([&rest, &last], 0))?;
    let e = g.push(mb::reshape(&d, &wanted))?;
    let f = g.push(mb::pad(&e, [0, 0, 0, 0]))?;
    let y = g.push(mb::tile(&f, [1, 2]))?;
    Ok(vec![("y", y), ("shape", shape)])
}

fn casts(g: &mut Graph) -> Result<Vec<(&'static str, Value)>, BuildError> {
    let x = input(g, "Tensor<f32, 5, 7>");
    let half = g.push(mb::cast(&x, "fp16"))?;
    let back = g.push(mb::cast(&half, "fp32"))?;
    let again = g.push(mb::cast(&back, "fp16"))?;
    let int = g.push(mb::mul(&x, 100.0))?;
    let int = g.push(mb::cast(&int, "int8"))?;
    let wide = g.push(mb::cast(&int, "int32"))?;
    let y = g.push(mb::cast(&wide, "fp32"))?;
    let same = g.push(mb::cast(&y, "fp32"))?;
    Ok(vec![("again", again), ("y", y), ("same", same), ("back", back)])
}

/// Weights that follow from others, equal ones, and some too large to fold.
fn constants(g: &mut Graph) -> Result<Vec<(&'static str, Value)>, BuildError> {
    let x = input(g, "Tensor<f32, 3, 32>");
    let mut random = Random(7);
    let weight = Constant::new([32, 32], &random.floats(1024)).unwrap();
    let w = g.constant("w", weight.clone());
    let t = g.push(mb::transpose(&w, [1, 0]))?;
    let s = g.push(mb::mul(&t, 0.5))?;
    let p = g.push(mb::softmax(&s).axis(0))?;
    let a = g.push(mb::matmul(&x, &p))?;
    let copy =
        g.constant("copy", Constant::from_bytes(DType::F32, [32, 32], weight.bytes().unwrap().to_vec()).unwrap());
    let b = g.push(mb::matmul(&a, &copy))?;
    let c = g.push(mb::matmul(&a, &w))?;
    let d = g.push(mb::add(&b, &c))?;
    let row = g.constant("row", Constant::new([1, 32], &random.floats(32)).unwrap());
    let large = g.push(mb::tile(&row, [3000, 1]))?;
    let some = g.push(mb::slice_by_index(&large, [0, 0], [3, 32]))?;
    let y = g.push(mb::add(&d, &some))?;
    g.push(mb::exp(&y))?;
    Ok(vec![("y", y), ("constant", t)])
}

/// The same expressions around, inside and beside nested blocks.
fn blocks(g: &mut Graph) -> Result<Vec<(&'static str, Value)>, BuildError> {
    let x = input(g, "Tensor<f32, 2, 3>");
    let n = g.input("n", TensorType::scalar(DType::I32));
    let go = g.push(mb::greater(&n, 0))?;
    let outside = g.push(mb::exp(&x))?;
    let branch = |g: &mut Graph| {
        let a = g.push(mb::exp(&x))?;
        let b = g.push(mb::mul(&a, 1.0))?;
        let c = g.push(mb::sin(&x))?;
        Ok(vec![g.push(mb::add(&b, &c))?, g.push(mb::identity(&x))?])
    };
    let inside = g.cond(&go, branch, |g| Ok(vec![g.push(mb::sin(&x))?, g.push(mb::cos(&x))?]))?;
    let zero = g.constant("zero", Constant::scalar(0i32));
    let body = |g: &mut Graph, v: &[Value]| {
        let next = g.push(mb::add(&v[0], 1))?;
        let a = g.push(mb::exp(&x))?;
        let b = g.push(mb::mul(&a, 0.25))?;
        let sum = g.push(mb::add(&v[1], &b))?;
        Ok(vec![next, g.push(mb::reshape(&sum, [2, 3]))?])
    };
    let looped = g.while_loop(vec![zero, inside[0].clone()], |g, v| g.push(mb::less(&v[0], 3)), body)?;
    let sum = g.push(mb::add(&outside, &looped[1]))?;
    let y = g.push(mb::add(&sum, &inside[1]))?;
    Ok(vec![("y", y), ("rounds", looped[0].clone())])
}

/// Outputs that are equal, inputs, or known.
fn outputs(g: &mut Graph) -> Result<Vec<(&'static str, Value)>, BuildError> {
    let x = input(g, "Tensor<f32, 2, 3>");
    let (a, b) = (g.push(mb::exp(&x))?, g.push(mb::exp(&x))?);
    let c = g.push(mb::add(&x, 0.0))?;
    let d = g.push(mb::identity(&a))?;
    let shape = g.push(mb::shape(&x))?;
    let e = g.push(mb::reshape(&a, [2, 3]))?;
    Ok(vec![("a", a), ("b", b), ("c", c), ("d", d), ("shape", shape), ("e", e)])
}

#[test]
fn each_pass_keeps_the_numbers() {
    let cx = Context { evaluate: Some(&Evaluator) };
    for pass in all() {
        for (name, program) in programs() {
            let mut changed = program.clone();
            let mut pipeline = Pipeline::default();
            pipeline.push(pass);
            pipeline.run(&mut changed, &cx).unwrap_or_else(|e| panic!("{name}: {e}"));
            same(&program, &changed, tolerance(pass.name()), &format!("{} of {name}", pass.name()));
        }
    }
}

#[test]
fn the_default_pipeline_keeps_the_numbers_and_is_done_at_once() {
    let cx = Context { evaluate: Some(&Evaluator) };
    for (name, program) in programs() {
        let mut changed = program.clone();
        let reports = Pipeline::fp32().run(&mut changed, &cx).unwrap_or_else(|e| panic!("{name}: {e}"));
        assert!(reports.iter().any(|r| r.changes() > 0), "{name}");
        same(&program, &changed, 1e-5, name);
        let again = Pipeline::fp32().run(&mut changed.clone(), &cx).unwrap();
        assert!(again.iter().all(|r| r.changes() == 0), "{name}: {again:?}\n{changed}");
    }
}

#[test]
fn constants_that_are_not_changed_are_not_copied() {
    let (_, program) = programs().into_iter().find(|(name, _)| *name == "constants").unwrap();
    let place = |p: &Program| {
        let f = p.main().unwrap();
        let large = |c: &&Constant| c.count() == 1024;
        let w =
            f.walk().into_iter().filter(|op| f.op(*op).name == "w").find_map(|op| f.op(op).constant().filter(large));
        w.map(|c| c.bytes().unwrap().as_ptr())
    };
    let mut changed = program.clone();
    Pipeline::fp32().run(&mut changed, &Context { evaluate: Some(&Evaluator) }).unwrap();
    assert!(place(&program).is_some());
    assert_eq!(place(&program), place(&changed));
}

#[test]
fn folding_computes_with_the_kernels() {
    let (_, mut program) = programs().into_iter().find(|(name, _)| *name == "constants").unwrap();
    let fold: Pipeline = Pipeline::named(["const_elimination"]).unwrap();
    let reports = fold.run(&mut program, &Context { evaluate: Some(&Evaluator) }).unwrap();
    let folded = &reports[0].counts;
    assert_eq!((folded["folded transpose"], folded["folded mul"], folded["folded softmax"]), (1, 1, 1));
    assert!(!folded.contains_key("folded tile"), "3000 times as large");
    let pass = all().find(|p| p.name() == "const_elimination").map(Pass::doc);
    assert!(pass.is_some());
}
