//! Runs a function op by op.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, atomic::AtomicU64},
    time::Instant,
};

use mil_core::{
    ir::{Binding, BlockId, Constant, Function, OpId, ValueId},
    types::{Dim, Symbol, Type},
};

use super::{
    compressed::{AllCompressed, Compressed},
    options::CpuOptions,
    plan::Planner,
    reference::{Bound, Cx, kernel, value::Value},
};
use crate::{
    error::RunError,
    interface::check_type,
    outputs::Output,
    profile::Profile,
    tensor::{AnyTensor, checked_count, zeros},
};

/// A function made ready to run: constants loaded (shared, not copied; those of `constexpr_` ops unpacked once, when they are
/// first wanted), kernels bound.
pub struct Executor {
    function: Function,
    steps: Vec<Step>,
    constants: Dense,
    /// Constants that are not unpacked yet.
    compressed: AllCompressed,
    /// Per op, the values that nobody uses after it.
    dead: Vec<Vec<ValueId>>,
    /// How often bodies of loops may run, all together.
    max_rounds: Option<u64>,
    /// How often random numbers were drawn without a seed, in all runs.
    draws: AtomicU64,
    /// Makes blocks faster, if that is wanted.
    planner: Option<Planner>,
}

/// Constants as tensors.
type Dense = Vec<(ValueId, Arc<AnyTensor>)>;

enum Step {
    Const,
    Kernel(Box<dyn Bound>),
    Cond,
    While,
    ReadState,
    WriteState,
}

/// What the states of a function hold, by name.
pub type States = BTreeMap<String, Arc<AnyTensor>>;

/// A run: what the values are by now.
pub(super) struct Run {
    pub(super) values: Vec<Option<Value>>,
    states: BTreeMap<ValueId, Arc<AnyTensor>>,
    /// How often bodies of loops have run.
    rounds: u64,
    /// Where the time goes, if that is asked.
    pub(super) profile: Option<Profile>,
}

impl std::fmt::Debug for Executor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Executor({}, {} ops)", self.function.name, self.steps.len())
    }
}

impl Executor {
    /// Makes a function ready, to run on the fast kernels as [`CpuOptions`] say; ops that have none run on the reference kernels.
    ///
    /// # Errors
    /// As [`Executor::new`].
    pub fn with_options(function: Function, options: &CpuOptions) -> Result<Executor, RunError> {
        let executor = Executor::new(function)?;
        let constants = executor.constants.iter().cloned().collect();
        let planner = Planner::new(options, constants, executor.compressed.clone());
        Ok(Executor { planner: Some(planner), ..executor })
    }

    /// Makes a function ready, to run op by op with the reference kernels.
    ///
    /// # Errors
    /// If an op has no kernel or cannot be bound, a weight is not attached, or one cannot be unpacked; the error names the
    /// op.
    pub fn new(function: Function) -> Result<Executor, RunError> {
        let (mut constants, compressed) = unpacked(&function)?;
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
                "read_state" => Step::ReadState,
                "write_state" => Step::WriteState,
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
        Ok(Executor {
            function,
            steps: steps_by_index,
            constants,
            compressed,
            dead,
            max_rounds: None,
            draws: AtomicU64::new(0),
            planner: None,
        })
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

    #[cfg(test)]
    pub(super) fn planner(&self) -> Option<&Planner> {
        self.planner.as_ref()
    }

    /// Runs the function once, with states as they are at first, and gives its outputs, which are tensors.
    ///
    /// # Errors
    /// As [`Executor::run_with`]; or if an output is a dictionary.
    pub fn run(&self, inputs: BTreeMap<String, AnyTensor>) -> Result<BTreeMap<String, AnyTensor>, RunError> {
        let outputs = self.run_with(inputs, &mut self.new_states()?)?;
        let tensor = |(name, output)| match output {
            Output::Tensor(t) => Ok((name, t)),
            Output::Dictionary(_) => Err(RunError::new(format!("output `{name}` is a dictionary, not a tensor"))),
        };
        outputs.into_iter().map(tensor).collect()
    }

    /// What the function's states hold at first: zeros.
    ///
    /// # Errors
    /// If a state is not of fixed size, or too large.
    pub fn new_states(&self) -> Result<States, RunError> {
        let mut states = States::new();
        let mut elements = 0;
        for (_, name, ty) in self.states() {
            let at = |e: RunError| RunError::new(format!("state `{name}`: {e}"));
            let open = || RunError::new(format!("expected a fixed size, found {ty}"));
            let shape = ty.shape.fixed().ok_or_else(|| at(open()))?;
            // All together are no more than one tensor may be.
            elements += checked_count(ty.dtype, &shape).map_err(at)?;
            checked_count(ty.dtype, &[elements]).map_err(at)?;
            states.insert(name.to_string(), Arc::new(zeros(ty.dtype, &shape).map_err(at)?));
        }
        Ok(states)
    }

    fn states(&self) -> impl Iterator<Item = (ValueId, &str, &mil_core::types::TensorType)> {
        self.function.inputs.iter().filter_map(|&id| match &self.function.value(id) {
            data if let Type::State(ty) = &data.ty => Some((id, &data.name[..], ty)),
            _ => None,
        })
    }

    /// Runs the function once on named inputs, and gives its outputs by name. `states` are what the function's states hold,
    /// before and afterwards; when the run fails they are as before.
    ///
    /// # Errors
    /// If an input or a state is missing, unknown, or of another type; or an op fails, which the error names.
    pub fn run_with(
        &self,
        inputs: BTreeMap<String, AnyTensor>,
        states: &mut States,
    ) -> Result<BTreeMap<String, Output>, RunError> {
        Ok(self.run_from(self.new_run(None), inputs, states)?.0)
    }

    /// As [`Executor::run_with`], and says how long each op took.
    ///
    /// # Errors
    /// As [`Executor::run_with`].
    pub fn run_profiled(
        &self,
        inputs: BTreeMap<String, AnyTensor>,
        states: &mut States,
    ) -> Result<(BTreeMap<String, Output>, Profile), RunError> {
        let start = Instant::now();
        let (outputs, profile) = self.run_from(self.new_run(Some(Profile::default())), inputs, states)?;
        let mut profile = profile.unwrap_or_default();
        profile.end(start.elapsed());
        Ok((outputs, profile))
    }

    fn new_run(&self, profile: Option<Profile>) -> Run {
        Run { values: vec![None; self.function.value_count()], states: BTreeMap::new(), rounds: 0, profile }
    }

    fn run_from(
        &self,
        mut run: Run,
        mut inputs: BTreeMap<String, AnyTensor>,
        states: &mut States,
    ) -> Result<(BTreeMap<String, Output>, Option<Profile>), RunError> {
        for (id, constant) in &self.constants {
            run.values[id.index()] = Some(Value::Tensor(constant.clone()));
        }
        let mut sizes: BTreeMap<Symbol, i64> = BTreeMap::new();
        for &id in &self.function.inputs {
            let data = self.function.value(id);
            if let Type::State(_) = data.ty {
                let held = states.get(&data.name);
                let held = held.ok_or_else(|| RunError::new(format!("state `{}` is missing", data.name)))?;
                check_type("state", &data.name, &data.ty, held, &mut sizes)?;
                run.states.insert(id, held.clone());
                run.values[id.index()] = Some(Value::State(id));
                continue;
            }
            let given = inputs.remove(&data.name);
            let tensor = given.ok_or_else(|| RunError::new(format!("input `{}` is missing", data.name)))?;
            check_type("input", &data.name, &data.ty, &tensor, &mut sizes)?;
            run.values[id.index()] = Some(tensor.into());
        }
        if let Some(name) = inputs.keys().next() {
            return Err(RunError::new(format!("the function `{}` has no input `{name}`", self.function.name)));
        }
        self.run_block(self.function.body, &mut run)?;
        let mut outputs = BTreeMap::new();
        for &id in self.function.outputs() {
            let data = self.function.value(id);
            let value = run.values[id.index()].clone();
            let output = match value {
                Some(Value::Tensor(t)) => Output::Tensor(Arc::unwrap_or_clone(t)),
                Some(Value::Dictionary(d)) => Output::Dictionary(Arc::unwrap_or_clone(d)),
                Some(other) => {
                    let what = format!("output `{}` is {}, not a tensor", data.name, other.describe());
                    return Err(RunError::new(what));
                }
                None => return Err(RunError::new(format!("output `{}` was not computed", data.name))),
            };
            outputs.insert(data.name.clone(), output);
        }
        for (id, held) in run.states {
            states.insert(self.function.value(id).name.clone(), held);
        }
        Ok((outputs, run.profile))
    }

    fn run_block(&self, block: BlockId, run: &mut Run) -> Result<(), RunError> {
        let ops = &self.function.block(block).ops;
        let mut at = 0;
        while at < ops.len() {
            let mut end = at;
            if let Some(planner) = &self.planner {
                let plan = planner.plan(&self.function, block, at, &run.values);
                plan.run(self, planner, run)?;
                end = plan.end;
            }
            // What no plan can begin with.
            if end == at {
                self.run_op(ops[at], run)?;
                end += 1;
            }
            for value in ops[at..end].iter().flat_map(|id| &self.dead[id.index()]) {
                run.values[value.index()] = None;
            }
            at = end;
        }
        self.provide(self.function.block(block).outputs.iter().copied(), run)
    }

    /// Unpacks those of these values that are compressed constants.
    pub(super) fn provide(&self, values: impl IntoIterator<Item = ValueId>, run: &mut Run) -> Result<(), RunError> {
        for id in values {
            if let (None, Some(constant)) = (&run.values[id.index()], self.compressed.get(&id)) {
                run.values[id.index()] = Some(Value::Tensor(constant.dense()?));
            }
        }
        Ok(())
    }

    /// Runs one op on its reference kernel, or does what the executor does itself.
    pub(super) fn run_op(&self, id: OpId, run: &mut Run) -> Result<(), RunError> {
        let op = self.function.op(id);
        let fail = |e: RunError| e.in_op(&op.name, op.def.name);
        let step = &self.steps[id.index()];
        if !matches!(step, Step::Const) {
            self.provide(op.uses(), run)?;
        }
        // What has blocks is not timed: the ops in them are.
        let timed = run.profile.is_some() && !matches!(step, Step::Const | Step::Cond | Step::While);
        let start = timed.then(Instant::now);
        match step {
            Step::Const => {}
            Step::Kernel(kernel) => {
                let outputs = kernel.run(&Cx { values: &run.values, draws: &self.draws }).map_err(fail)?;
                for (id, out) in op.outputs.iter().zip(outputs) {
                    self.check_output(*id, &out).map_err(fail)?;
                    run.values[id.index()] = Some(out);
                }
            }
            Step::Cond => {
                let pred = self.value(id, "pred", 0, run)?;
                let pred = truth(&pred).map_err(fail)?;
                let branch = op.blocks[usize::from(!pred)];
                self.run_block(branch, run)?;
                self.copy(&self.function.block(branch).outputs, &op.outputs, run);
            }
            Step::While => self.run_while(id, run)?,
            Step::ReadState => {
                let held = self.held(id, run).map_err(fail)?.clone();
                if let Some(&out) = op.outputs.first() {
                    let value = Value::Tensor(held);
                    self.check_output(out, &value).map_err(fail)?;
                    run.values[out.index()] = Some(value);
                }
            }
            Step::WriteState => {
                let data = self.value(id, "data", 0, run)?.tensor().map_err(fail)?.clone();
                let held = self.held(id, run).map_err(fail)?;
                if held.ty() != data.ty() {
                    let what = format!("the state holds {}, but {} is written", held.ty(), data.ty());
                    return Err(fail(RunError::new(what)));
                }
                *held = data;
            }
        }
        if let (Some(start), Some(profile)) = (start, &mut run.profile) {
            profile.record(id, "reference", start.elapsed(), || (op.name.clone(), op.def.name.to_string()));
        }
        Ok(())
    }

    /// What the state of a `read_state` or `write_state` holds.
    fn held<'r>(&self, id: OpId, run: &'r mut Run) -> Result<&'r mut Arc<AnyTensor>, RunError> {
        match self.value(id, "input", 0, run)? {
            Value::State(state) => run.states.get_mut(&state).ok_or_else(|| RunError::new("there is no such state")),
            other => Err(RunError::new(format!("expected a state, found {}", other.describe()))),
        }
    }

    /// A file may declare a size as a number where inference leaves it open; what runs after relies on it.
    fn check_output(&self, id: ValueId, value: &Value) -> Result<(), RunError> {
        let data = self.function.value(id);
        let (Some(ty), Value::Tensor(tensor)) = (data.ty.tensor(), value) else { return Ok(()) };
        let sizes = ty.shape.iter().zip(tensor.shape());
        let fits = |(dim, size): (&Dim, &usize)| dim.value().is_none_or(|d| usize::try_from(d) == Ok(*size));
        if ty.dtype == tensor.dtype() && ty.rank() == tensor.rank() && sizes.into_iter().all(fits) {
            return Ok(());
        }
        Err(RunError::new(format!("output `{}` is declared as {ty} but is {}", data.name, tensor.ty())))
    }

    fn run_while(&self, id: OpId, run: &mut Run) -> Result<(), RunError> {
        let op = self.function.op(id);
        let [condition, body] = op.blocks[..] else { return Err(RunError::new("`while_loop` needs two blocks")) };
        let mut vars: Vec<Option<Value>> = vec![];
        for i in 0..op.bindings("loop_vars").len() {
            vars.push(Some(self.value(id, "loop_vars", i, run)?));
        }
        loop {
            self.set(&self.function.block(condition).inputs, &vars, run);
            self.run_block(condition, run)?;
            let go = self.function.block(condition).outputs.first().and_then(|v| run.values[v.index()].clone());
            let go = go.ok_or_else(|| RunError::new("the condition gives nothing"))?;
            if !truth(&go).map_err(|e| e.in_op(&op.name, op.def.name))? {
                self.set(&op.outputs, &vars, run);
                return Ok(());
            }
            self.set(&self.function.block(body).inputs, &vars, run);
            run.rounds += 1;
            if self.max_rounds.is_some_and(|max| run.rounds > max) {
                let message = format!("loops ran {} times, which is the limit", run.rounds - 1);
                return Err(RunError::new(message).in_op(&op.name, op.def.name));
            }
            self.run_block(body, run)?;
            vars = self.function.block(body).outputs.iter().map(|v| run.values[v.index()].clone()).collect();
        }
    }

    fn set(&self, ids: &[ValueId], to: &[Option<Value>], run: &mut Run) {
        for (id, value) in ids.iter().zip(to) {
            run.values[id.index()] = value.clone();
        }
    }

    fn copy(&self, from: &[ValueId], to: &[ValueId], run: &mut Run) {
        let copies: Vec<_> = from.iter().map(|v| run.values[v.index()].clone()).collect();
        self.set(to, &copies, run);
    }

    fn value(&self, op: OpId, param: &str, index: usize, run: &Run) -> Result<Value, RunError> {
        let op = self.function.op(op);
        let found = match op.bindings(param).get(index) {
            Some(Binding::Value(v)) => run.values[v.index()].clone(),
            _ => None,
        };
        found.ok_or_else(|| RunError::new(format!("`{param}` has no value")).in_op(&op.name, op.def.name))
    }
}

fn truth(value: &Value) -> Result<bool, RunError> {
    let t = value.tensor()?;
    match t.to_i64()?[..] {
        [one] => Ok(one != 0),
        _ => Err(RunError::new(format!("expected one bool, found {}", t.ty()))),
    }
}

/// What `constexpr_` ops give to other ops: unpacked where it is made of what others of them give (which is not kept), else left
/// compressed.
fn unpacked(function: &Function) -> Result<(Dense, AllCompressed), RunError> {
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
    let mut compressed = AllCompressed::new();
    for (at, op) in ops().enumerate().filter(|(_, op)| op.def.is_constexpr()) {
        let fail = |e: RunError| e.in_op(&op.name, op.def.name);
        let alone = || op.uses().all(|v| function.arg(v).known.is_some());
        if let [out] = op.outputs[..]
            && !last.contains_key(&out)
            && alone()
        {
            compressed.insert(out, Arc::new(Compressed::of(function, op)?));
            continue;
        }
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
    Ok((kept, compressed))
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
mod tests;
