//! Runs plans.

use std::{sync::Arc, time::Instant};

use half::f16;
use mil_core::{ir::ValueId, types::DType};

use super::{
    Plan, Planner, lock,
    step::{Arena, Job, KernelStep, PlanStep},
    tensor::BufferId,
};
use crate::{
    cpu::{
        executor::{Executor, Run},
        kernels::{aligned::Aligned, pages::Pages},
        reference::value::Value,
    },
    error::RunError,
    tensor::{AnyTensor, Data},
};

impl Plan {
    /// The size of its buffers.
    pub(super) fn bytes(&self) -> usize {
        self.sizes.iter().sum::<usize>().saturating_mul(size_of::<f32>())
    }

    /// Runs all steps on the values of a run.
    pub(crate) fn run(&self, executor: &Executor, planner: &Planner, run: &mut Run) -> Result<(), RunError> {
        let idle = lock(&self.arenas).pop();
        let mut arena = idle.unwrap_or_else(|| {
            planner.make_room(self.bytes());
            let lines = self.sizes.iter().map(|len| len.saturating_mul(size_of::<f32>()).saturating_add(63));
            let pages = Pages::of(lines.fold(0, usize::saturating_add));
            Arena { slots: self.sizes.iter().map(|len| Aligned::zeros_in(Some(&pages), *len)).collect() }
        });
        let done = self.steps.iter().try_for_each(|step| self.step(executor, planner, step, &mut arena, run));
        lock(&self.arenas).push(arena);
        done
    }

    fn step(
        &self,
        executor: &Executor,
        planner: &Planner,
        step: &PlanStep,
        arena: &mut Arena,
        run: &mut Run,
    ) -> Result<(), RunError> {
        let start = run.profile.is_some().then(Instant::now);
        match step {
            PlanStep::Kernel(k) => {
                executor.provide(k.values.iter().map(|(id, _)| *id), run)?;
                let fail = |e: RunError| match k.op.map(|op| executor.function().op(op)) {
                    Some(op) => e.in_op(&op.name, op.def.name),
                    None => e,
                };
                self.kernel(planner, k, arena, run).map_err(fail)?;
                if let (Some(start), Some(profile), Some(op)) = (start, &mut run.profile, k.op) {
                    let name = || executor.function().op(op).name.clone();
                    profile.record(op, &k.kernel, start.elapsed(), || (name(), k.label.clone()));
                }
            }
            PlanStep::Import { value, to, copy } => {
                let Some(Some(Value::Tensor(t))) = run.values.get(value.index()) else {
                    return Err(RunError::new(format!("value {value:?} is not there")));
                };
                let Some(slot) = self.slots[to.0] else { return Ok(()) };
                let (out, m) = (&mut arena.slots[slot], planner.machine());
                match t.data() {
                    Data::F32(v) => copy.run(m.isa, m.threads, out, v),
                    Data::F16(v) => copy.load_halves(m.isa, m.threads, out, v),
                    other => return Err(RunError::new(format!("a tensor of {} cannot be planned for", other.dtype()))),
                }
            }
            PlanStep::Export { from, copy, shape, dtype, value } => {
                let (data, m) = (self.input(arena, *from), planner.machine());
                let count = shape.iter().product();
                let tensor = if *dtype == DType::F16 {
                    let mut v = vec![f16::ZERO; count];
                    copy.store_halves(m.isa, m.threads, &mut v, data);
                    AnyTensor::new(&shape[..], v)
                } else {
                    let mut v = vec![0f32; count];
                    copy.run(m.isa, m.threads, &mut v, data);
                    AnyTensor::new(&shape[..], v)
                };
                run.values[value.index()] = Some(tensor?.into());
            }
            PlanStep::Reference(op) => executor.run_op(*op, run)?,
            PlanStep::Set(value, tensor) => run.values[value.index()] = Some(Value::Tensor(Arc::clone(tensor))),
        }
        Ok(())
    }

    fn input<'a>(&'a self, arena: &'a Arena, buffer: BufferId) -> &'a [f32] {
        match (self.constants.get(&buffer), self.slots[buffer.0]) {
            (Some(constant), _) => constant,
            (None, Some(slot)) => &arena.slots[slot],
            (None, None) => &[],
        }
    }

    fn kernel(&self, planner: &Planner, k: &KernelStep, arena: &mut Arena, run: &Run) -> Result<(), RunError> {
        let Some(slot) = self.slots[k.writes.0] else { return Ok(()) };
        let value = |(id, shape): &(ValueId, Vec<usize>)| match run.values.get(id.index()) {
            Some(Some(Value::Tensor(t))) if t.shape() == shape => Ok(&**t),
            _ => Err(RunError::new(format!("value {id:?} is not there, or not of shape {shape:?}"))),
        };
        let values = k.values.iter().map(value).collect::<Result<Vec<&AnyTensor>, _>>()?;
        let mut out = std::mem::take(&mut arena.slots[slot]);
        let inputs: Vec<&[f32]> = k.reads.iter().map(|read| self.input(arena, *read)).collect();
        let done = match &k.job {
            Job::Plain(work) => {
                work.run(planner.machine(), &mut out, &inputs);
                Ok(())
            }
            Job::Host(work) => work.run(planner.machine(), &mut out, &inputs, &values),
        };
        arena.slots[slot] = out;
        done
    }
}
