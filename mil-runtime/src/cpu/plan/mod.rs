//! The planner: what the ops of a block become for one set of input shapes.
//!
//! A plan is a list of steps: fast kernels on f32 tensors in buffers of its own ([`build`], [`lower`]), and the reference kernel for any op
//! that no fast one is known for. It covers the ops of a block up to the first whose sizes depend on data, or which is control flow; the
//! executor runs that one and asks for another plan behind it. Plans are kept by the shapes of what comes in; packed weights by themselves, for
//! they do not depend on shapes.

use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use mil_core::ir::{BlockId, Function, OpId, ValueId};

use self::{
    build::Builder,
    lower::Packed,
    nodes::nodes,
    step::{Arena, Machine, PlanStep},
};
use super::{
    compressed::AllCompressed,
    kernels::{aligned::Aligned, pages::Pages, panels::Packer, simd::Isa, threads::Threads},
    options::{CpuOptions, Numerics, Packing},
    reference::value::Value,
};
use crate::tensor::AnyTensor;

mod build;
mod lower;
mod memory;
mod nodes;
mod run;
mod stage;
mod step;
mod tensor;
#[cfg(test)]
mod testing;

/// How many plans are kept, over all blocks of a function.
const MOST_PLANS: usize = 32;

/// How many bytes the buffers of plans have that do not run, before those of the plans that were used longest ago are given back.
const MOST_IDLE: usize = 64 << 20;

/// Makes plans, and keeps them.
pub(crate) struct Planner {
    pub(crate) isa: Isa,
    pub(crate) threads: Arc<Threads>,
    pub(crate) numerics: Numerics,
    pub(crate) packing: Packing,
    /// The function's constants.
    pub(crate) constants: BTreeMap<ValueId, Arc<AnyTensor>>,
    /// Those that are not unpacked.
    pub(crate) compressed: AllCompressed,
    /// The memory of packed weights, one behind the other in the order in which plans use them.
    pages: Pages,
    packed: Mutex<BTreeMap<(ValueId, Cow<'static, str>), Packed>>,
    plans: Mutex<VecDeque<(Key, Arc<Plan>)>>,
    /// What the ops of a block from one on use, and what the block gives.
    uses: Mutex<BTreeMap<(BlockId, usize), Uses>>,
}

/// The values that some ops use.
type Uses = Arc<BTreeSet<ValueId>>;

/// Block, first op, and the shapes of what comes in.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Key {
    block: BlockId,
    start: usize,
    shapes: Vec<(ValueId, Vec<usize>)>,
}

/// What to do for some ops.
pub(crate) struct Plan {
    steps: Vec<PlanStep>,
    /// The first op that is not done.
    pub(crate) end: usize,
    /// The slot of each buffer; constants have none.
    slots: Vec<Option<usize>>,
    sizes: Vec<usize>,
    constants: BTreeMap<tensor::BufferId, Arc<Aligned>>,
    /// Arenas that no run uses now.
    arenas: Mutex<Vec<Arena>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What is guarded is a cache: whole at any time.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Planner {
    /// Nothing planned yet.
    pub(crate) fn new(
        options: &CpuOptions,
        constants: BTreeMap<ValueId, Arc<AnyTensor>>,
        compressed: AllCompressed,
    ) -> Planner {
        Planner {
            isa: Isa::chosen(),
            threads: Threads::shared(options.thread_count()),
            numerics: options.numerics,
            packing: options.packing,
            constants,
            compressed,
            pages: Pages::default(),
            packed: Mutex::default(),
            plans: Mutex::default(),
            uses: Mutex::default(),
        }
    }

    pub(crate) fn machine(&self) -> Machine<'_> {
        Machine { isa: self.isa, threads: &self.threads }
    }

    /// How weights that are kept are packed.
    pub(crate) fn packer(&self) -> Packer<'_> {
        Packer { isa: self.isa, threads: &self.threads, pages: Some(&self.pages) }
    }

    /// The packed form of a constant, made once. `kind` says all on which it depends besides the constant. `None` if it cannot be made.
    pub(crate) fn packed(
        &self,
        id: Option<ValueId>,
        kind: impl Into<Cow<'static, str>>,
        make: impl FnOnce() -> Option<Packed>,
    ) -> Option<Packed> {
        let Some(id) = id else { return make() };
        let key = (id, kind.into());
        if let Some(found) = lock(&self.packed).get(&key) {
            return Some(found.clone());
        }
        // Two threads may both make it; the first one's is kept.
        let made = make()?;
        // What it was made of is read no more, but by ops that want it in another form.
        if let Some(constant) = self.constants.get(&id) {
            constant.release();
        }
        Some(lock(&self.packed).entry(key).or_insert(made).clone())
    }

    /// How much memory packed matrices take, in bytes.
    #[cfg(test)]
    pub(crate) fn packed_bytes(&self) -> usize {
        let bytes = |p: &Packed| match p {
            Packed::Panels(panels) => panels.iter().map(|p| p.bytes()).sum(),
            Packed::Depthwise(weights) => weights.len() * 4,
        };
        lock(&self.packed).values().map(bytes).sum()
    }

    /// The plan for the ops of a block from `start` on, with the values that are there now.
    pub(crate) fn plan(
        &self,
        function: &Function,
        block: BlockId,
        start: usize,
        values: &[Option<Value>],
    ) -> Arc<Plan> {
        let used = {
            let mut uses = lock(&self.uses);
            uses.entry((block, start)).or_insert_with(|| Arc::new(used_from(function, block, start))).clone()
        };
        let constant = |v: &ValueId| self.constants.contains_key(v) || self.compressed.contains_key(v);
        let shapes = used.iter().filter(|v| !constant(v)).filter_map(|v| {
            let Some(Some(Value::Tensor(t))) = values.get(v.index()) else { return None };
            Some((*v, t.shape().to_vec()))
        });
        let key = Key { block, start, shapes: shapes.collect() };
        {
            let mut plans = lock(&self.plans);
            if let Some(at) = plans.iter().position(|(k, _)| *k == key) {
                // The last used are kept longest.
                if let Some(found) = plans.remove(at) {
                    plans.push_back(found);
                }
                if let Some((_, plan)) = plans.back() {
                    return plan.clone();
                }
            }
        }
        let plan = Arc::new(self.make(function, &key));
        let mut plans = lock(&self.plans);
        if plans.len() >= MOST_PLANS {
            plans.pop_front();
        }
        plans.push_back((key, plan.clone()));
        plan
    }

    /// Sees to it that with so many bytes more there are no more than [`MOST_IDLE`] which no run uses, as far as that can be.
    pub(crate) fn make_room(&self, bytes: usize) {
        let plans = lock(&self.plans);
        let mut idle: usize = plans.iter().map(|(_, plan)| plan.bytes() * lock(&plan.arenas).len()).sum();
        for (_, plan) in plans.iter() {
            if idle.saturating_add(bytes) <= MOST_IDLE {
                return;
            }
            idle -= plan.bytes() * std::mem::take(&mut *lock(&plan.arenas)).len();
        }
    }

    fn make(&self, function: &Function, key: &Key) -> Plan {
        let shapes: BTreeMap<ValueId, Vec<usize>> = key.shapes.iter().cloned().collect();
        let nodes = nodes(function, key.block, key.start, &shapes);
        let escaping = used_from(function, key.block, nodes.end);
        // What a loop's body uses is used more than once.
        let packing = if key.block == function.body { self.packing } else { Packing::Kept };
        let mut builder = Builder::new(self, function, packing, &nodes, &shapes, escaping.clone());
        builder.build(true);
        if builder.failed {
            builder = Builder::new(self, function, packing, &nodes, &shapes, escaping);
            builder.build(false);
        }
        let lives = builder.lives();
        let dynamic: Vec<_> = lives.iter().flatten().cloned().collect();
        let (slots, sizes) = memory::slots(&dynamic);
        let mut slots = slots.into_iter();
        let slots = lives.iter().map(|l| l.as_ref().and_then(|_| slots.next())).collect();
        Plan {
            steps: builder.steps,
            end: nodes.end,
            slots,
            sizes,
            constants: builder.constants,
            arenas: Mutex::default(),
        }
    }
}

/// All values that ops of a block from `start` on use, in nested blocks too, and that the block gives.
fn used_from(function: &Function, block: BlockId, start: usize) -> BTreeSet<ValueId> {
    let mut used: BTreeSet<ValueId> = function.block(block).outputs.iter().copied().collect();
    let mut stack: Vec<OpId> = function.block(block).ops[start..].to_vec();
    while let Some(op) = stack.pop() {
        let op = function.op(op);
        used.extend(op.uses());
        for b in &op.blocks {
            let b = function.block(*b);
            used.extend(&b.outputs);
            stack.extend(&b.ops);
        }
    }
    used
}

#[cfg(test)]
mod tests {
    use mil_core::{
        graph::Graph,
        mb,
        types::{Opset, TensorType},
    };

    use super::*;
    use crate::cpu::Executor;

    fn softmax() -> Function {
        let mut g = Graph::new("main", Opset::iOS17);
        let x = g.input("x", "Tensor<f32, N>".parse::<TensorType>().unwrap());
        let y = g.push(mb::relu(&x)).unwrap();
        let y = g.push(mb::softmax(&y).axis(0)).unwrap();
        g.finish([("y", y)]).unwrap().main().unwrap().clone()
    }

    fn run(executor: &Executor, n: usize) {
        let x = AnyTensor::new([n], vec![0.5f32; n]).unwrap();
        let y = executor.run(BTreeMap::from([("x".to_string(), x)])).unwrap();
        assert!((y["y"].to_f32().unwrap()[n - 1] - 1.0 / n as f32).abs() < 1e-6);
    }

    #[test]
    fn no_more_plans_are_kept_than_some() {
        let executor = Executor::with_options(softmax(), &CpuOptions::default()).unwrap();
        let planner = executor.planner().unwrap();
        for n in 1..100 {
            run(&executor, n);
            assert_eq!(lock(&planner.plans).len(), n.min(MOST_PLANS));
        }
    }

    #[test]
    fn idle_buffers_are_given_back() {
        let executor = Executor::with_options(softmax(), &CpuOptions::default()).unwrap();
        let planner = executor.planner().unwrap();
        let idle = || lock(&planner.plans).iter().map(|(_, p)| lock(&p.arenas).len() * p.bytes()).sum::<usize>();
        for n in 0..8 {
            run(&executor, (4 << 20) + n);
            assert!(idle() > 0 && idle() <= MOST_IDLE, "{} bytes", idle());
        }
        assert_eq!(lock(&planner.plans).len(), 8);
        // One that is too large alone stays nevertheless: it is what runs.
        run(&executor, MOST_IDLE);
        assert!(
            idle() > MOST_IDLE && lock(&planner.plans).iter().filter(|(_, p)| !lock(&p.arenas).is_empty()).count() == 1
        );
    }
}
