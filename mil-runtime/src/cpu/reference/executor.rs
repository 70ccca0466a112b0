//! Runs a function op by op.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, atomic::AtomicU64},
};

use mil_core::{
    ir::{Binding, BlockId, Constant, Function, OpId, ValueId},
    types::{Dim, Symbol},
};

use super::{Bound, Cx, kernel};
use crate::{error::RunError, interface::check_type, tensor::AnyTensor};

/// A function made ready to run: constants loaded (shared, not copied; those of `constexpr_` ops unpacked once), kernels
/// bound.
pub struct Executor {
    function: Function,
    steps: Vec<Step>,
    constants: Vec<(ValueId, Arc<AnyTensor>)>,
    /// Per op, the values that nobody uses after it.
    dead: Vec<Vec<ValueId>>,
    /// How often bodies of loops may run, all together.
    max_rounds: Option<u64>,
    /// How often random numbers were drawn without a seed, in all runs.
    draws: AtomicU64,
}

enum Step {
    Const,
    Kernel(Box<dyn Bound>),
    Cond,
    While,
}

type Values = Vec<Option<Arc<AnyTensor>>>;

impl std::fmt::Debug for Executor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Executor({}, {} ops)", self.function.name, self.steps.len())
    }
}

impl Executor {
    /// Makes a function ready.
    ///
    /// # Errors
    /// If an op has no kernel or cannot be bound, a weight is not attached, or one cannot be unpacked; the error names the
    /// op.
    pub fn new(function: Function) -> Result<Executor, RunError> {
        let mut constants = unpacked(&function)?;
        let mut steps: BTreeMap<OpId, Step> = BTreeMap::new();
        let order = function.walk();
        for &id in &order {
            let op = function.op(id);
            let step = match op.def.name {
                "const" => {
                    let fail = |e: RunError| e.in_op(&op.name, "const");
                    // Only tensors are ever computed with; other constants are written in place.
                    if let (Some(c), Some(&out)) = (op.constant(), op.outputs.first()) {
                        constants.push((out, Arc::new(AnyTensor::from_constant(c).map_err(fail)?)));
                    }
                    Step::Const
                }
                _ if op.def.is_constexpr() => Step::Const,
                "cond" => Step::Cond,
                "while_loop" => Step::While,
                name => {
                    let missing = || RunError::new("this op cannot be run on the CPU yet").in_op(&op.name, name);
                    let bound = (kernel(name).ok_or_else(missing)?.bind)(&function.args(op));
                    Step::Kernel(bound.map_err(|e| RunError::from(e).in_op(&op.name, name))?)
                }
            };
            steps.insert(id, step);
        }
        let count = order.iter().map(|o| o.index() + 1).max().unwrap_or(0);
        let mut steps_by_index = Vec::with_capacity(count);
        steps_by_index.resize_with(count, || Step::Const);
        for (id, step) in steps {
            steps_by_index[id.index()] = step;
        }
        let dead = dead_after(&function, count);
        Ok(Executor { function, steps: steps_by_index, constants, dead, max_rounds: None, draws: AtomicU64::new(0) })
    }

    /// The same, but a run in which the bodies of `while_loop`s run more often than this, all together, is an error.
    ///
    /// Without a limit a loop runs as long as its condition holds, which may be for ever: set one for programs from
    /// people you do not trust.
    pub fn with_loop_limit(self, rounds: u64) -> Executor {
        Executor { max_rounds: Some(rounds), ..self }
    }

    /// The function that it runs.
    pub fn function(&self) -> &Function {
        &self.function
    }

    /// Runs the function on named inputs and gives its outputs by name.
    ///
    /// # Errors
    /// If an input is missing, unknown, or of another type; or an op fails, which the error names.
    pub fn run(&self, mut inputs: BTreeMap<String, AnyTensor>) -> Result<BTreeMap<String, AnyTensor>, RunError> {
        let mut values: Values = vec![None; self.function.value_count()];
        for (id, constant) in &self.constants {
            values[id.index()] = Some(constant.clone());
        }
        let mut sizes: BTreeMap<Symbol, i64> = BTreeMap::new();
        for &id in &self.function.inputs {
            let data = self.function.value(id);
            let given = inputs.remove(&data.name);
            let tensor = given.ok_or_else(|| RunError::new(format!("input `{}` is missing", data.name)))?;
            check_type(&data.name, &data.ty, &tensor, &mut sizes)?;
            values[id.index()] = Some(Arc::new(tensor));
        }
        if let Some(name) = inputs.keys().next() {
            return Err(RunError::new(format!("the function `{}` has no input `{name}`", self.function.name)));
        }
        let mut rounds = 0;
        self.run_block(self.function.body, &mut values, &mut rounds)?;
        let mut outputs = BTreeMap::new();
        for &id in self.function.outputs() {
            let data = self.function.value(id);
            let value = values[id.index()].clone();
            let value = value.ok_or_else(|| RunError::new(format!("output `{}` was not computed", data.name)))?;
            outputs.insert(data.name.clone(), Arc::unwrap_or_clone(value));
        }
        Ok(outputs)
    }

    fn run_block(&self, block: BlockId, values: &mut Values, rounds: &mut u64) -> Result<(), RunError> {
        for &id in &self.function.block(block).ops {
            let op = self.function.op(id);
            let fail = |e: RunError| e.in_op(&op.name, op.def.name);
            match &self.steps[id.index()] {
                Step::Const => {}
                Step::Kernel(kernel) => {
                    let outputs = kernel.run(&Cx { values, draws: &self.draws }).map_err(fail)?;
                    for (id, out) in op.outputs.iter().zip(outputs) {
                        self.check_output(*id, &out).map_err(fail)?;
                        values[id.index()] = Some(Arc::new(out));
                    }
                }
                Step::Cond => {
                    let pred = self.value(id, "pred", 0, values)?;
                    let pred = truth(&pred).map_err(fail)?;
                    let branch = op.blocks[usize::from(!pred)];
                    self.run_block(branch, values, rounds)?;
                    self.copy(&self.function.block(branch).outputs, &op.outputs, values);
                }
                Step::While => self.run_while(id, values, rounds)?,
            }
            for value in &self.dead[id.index()] {
                values[value.index()] = None;
            }
        }
        Ok(())
    }

    /// A file may declare a size as a number where inference leaves it open; what runs after relies on it.
    fn check_output(&self, id: ValueId, tensor: &AnyTensor) -> Result<(), RunError> {
        let data = self.function.value(id);
        let Some(ty) = data.ty.tensor() else { return Ok(()) };
        let sizes = ty.shape.iter().zip(tensor.shape());
        let fits = |(dim, size): (&Dim, &usize)| dim.value().is_none_or(|d| usize::try_from(d) == Ok(*size));
        if ty.dtype == tensor.dtype() && ty.rank() == tensor.rank() && sizes.into_iter().all(fits) {
            return Ok(());
        }
        Err(RunError::new(format!("output `{}` is declared as {ty} but is {}", data.name, tensor.ty())))
    }

    fn run_while(&self, id: OpId, values: &mut Values, rounds: &mut u64) -> Result<(), RunError> {
        let op = self.function.op(id);
        let [condition, body] = op.blocks[..] else { return Err(RunError::new("`while_loop` needs two blocks")) };
        let mut vars: Vec<Option<Arc<AnyTensor>>> = vec![];
        for i in 0..op.bindings("loop_vars").len() {
            vars.push(Some(self.value(id, "loop_vars", i, values)?));
        }
        loop {
            self.set(&self.function.block(condition).inputs, &vars, values);
            self.run_block(condition, values, rounds)?;
            let go = self.function.block(condition).outputs.first().and_then(|v| values[v.index()].clone());
            let go = go.ok_or_else(|| RunError::new("the condition gives nothing"))?;
            if !truth(&go).map_err(|e| e.in_op(&op.name, op.def.name))? {
                self.set(&op.outputs, &vars, values);
                return Ok(());
            }
            self.set(&self.function.block(body).inputs, &vars, values);
            *rounds += 1;
            if self.max_rounds.is_some_and(|max| *rounds > max) {
                let message = format!("loops ran {} times, which is the limit", *rounds - 1);
                return Err(RunError::new(message).in_op(&op.name, op.def.name));
            }
            self.run_block(body, values, rounds)?;
            vars = self.function.block(body).outputs.iter().map(|v| values[v.index()].clone()).collect();
        }
    }

    fn set(&self, ids: &[ValueId], to: &[Option<Arc<AnyTensor>>], values: &mut Values) {
        for (id, value) in ids.iter().zip(to) {
            values[id.index()] = value.clone();
        }
    }

    fn copy(&self, from: &[ValueId], to: &[ValueId], values: &mut Values) {
        let copies: Vec<_> = from.iter().map(|v| values[v.index()].clone()).collect();
        self.set(to, &copies, values);
    }

    fn value(&self, op: OpId, param: &str, index: usize, values: &Values) -> Result<Arc<AnyTensor>, RunError> {
        let op = self.function.op(op);
        let found = match op.bindings(param).get(index) {
            Some(Binding::Value(v)) => values[v.index()].clone(),
            _ => None,
        };
        found.ok_or_else(|| RunError::new(format!("`{param}` has no value")).in_op(&op.name, op.def.name))
    }
}

fn truth(t: &AnyTensor) -> Result<bool, RunError> {
    match t.to_i64()?[..] {
        [one] => Ok(one != 0),
        _ => Err(RunError::new(format!("expected one bool, found {}", t.ty()))),
    }
}

/// What `constexpr_` ops give to other ops, unpacked. What they give to each other is not kept.
fn unpacked(function: &Function) -> Result<Vec<(ValueId, Arc<AnyTensor>)>, RunError> {
    let order = function.walk();
    let ops = || order.iter().map(|id| function.op(*id));
    let mut wanted: BTreeSet<ValueId> = function.outputs().iter().copied().collect();
    wanted.extend(ops().filter(|op| !op.def.is_constexpr()).flat_map(|op| op.uses()));
    wanted.extend(ops().flat_map(|op| &op.blocks).flat_map(|b| &function.block(*b).outputs));
    let mut last: BTreeMap<ValueId, usize> = BTreeMap::new();
    ops()
        .enumerate()
        .filter(|(_, op)| op.def.is_constexpr())
        .for_each(|(at, op)| last.extend(op.uses().map(|v| (v, at))));
    let (mut kept, mut between): (_, BTreeMap<ValueId, Constant>) = (vec![], BTreeMap::new());
    for (at, op) in ops().enumerate().filter(|(_, op)| op.def.is_constexpr()) {
        let fail = |e: RunError| e.in_op(&op.name, op.def.name);
        let constants = function.materialize(op, &|id| between.get(&id).cloned());
        for (id, constant) in op.outputs.iter().zip(constants.map_err(|e| fail(e.into()))?) {
            if wanted.contains(id) {
                kept.push((*id, Arc::new(AnyTensor::from_constant(&constant).map_err(fail)?)));
            }
            if last.get(id).is_some_and(|last| *last > at) {
                between.insert(*id, constant);
            }
        }
        op.uses().filter(|v| last.get(v) == Some(&at)).for_each(|v| drop(between.remove(&v)));
    }
    Ok(kept)
}

/// For each op, the values whose last use it is. A use inside a nested block counts for the op that has the block;
/// values of a block that is run again and again (a loop's) are kept, since the next round overwrites them.
fn dead_after(function: &Function, count: usize) -> Vec<Vec<ValueId>> {
    let mut last: BTreeMap<ValueId, OpId> = BTreeMap::new();
    for &id in &function.block(function.body).ops {
        let mut stack = vec![id];
        while let Some(inner) = stack.pop() {
            let op = function.op(inner);
            last.extend(op.uses().chain(op.outputs.iter().copied()).map(|v| (v, id)));
            for b in &op.blocks {
                let block = function.block(*b);
                last.extend(block.outputs.iter().map(|v| (*v, id)));
                stack.extend(&block.ops);
            }
        }
    }
    let outputs: BTreeSet<ValueId> = function.outputs().iter().copied().collect();
    let mut dead = vec![vec![]; count];
    for (value, op) in last {
        if !outputs.contains(&value) && !matches!(function.value(value).known, Some(mil_core::ir::Known::Constant(_))) {
            dead[op.index()].push(value);
        }
    }
    dead
}

#[cfg(test)]
mod tests {
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
        assert_eq!(
            e.constants.iter().filter(|(id, _)| e.function.value(*id).ty.tensor().unwrap().rank() == 3).count(),
            1
        );
        for _ in 0..2 {
            let x = AnyTensor::new([1, 2, 2], vec![1f32, 10.0, 100.0, 1000.0]).unwrap();
            let out = e.run(BTreeMap::from([("x".to_string(), x)])).unwrap();
            assert_eq!(out["y"], AnyTensor::new([1, 2, 2], vec![300f32, 3000.0, 2.0, 20.0]).unwrap());
            assert_eq!(out["w"], AnyTensor::new([2, 2, 1], vec![0f32, 3.0, 2.0, 0.0]).unwrap());
        }
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
}
