//! Runs plans.

use std::{sync::Arc, time::Instant};

use half::f16;
use mil_core::types::DType;

use super::{
    Plan, Planner, lock,
    step::{Arena, KernelStep, PlanStep},
    tensor::{BufferId, Tensor},
};
use crate::{
    cpu::{
        executor::{Executor, Run},
        kernels::{aligned::Aligned, copy},
        reference::value::Value,
    },
    error::RunError,
    tensor::{AnyTensor, Data},
};

impl Plan {
    /// Runs all steps on the values of a run.
    pub(crate) fn run(&self, executor: &Executor, planner: &Planner, run: &mut Run) -> Result<(), RunError> {
        let mut arena = lock(&self.arenas).pop().unwrap_or_else(|| {
            let slots = self.sizes.iter().map(|len| Aligned::zeros(*len)).collect();
            Arena { slots }
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
                self.kernel(planner, k, arena);
                if let (Some(start), Some(profile), Some(op)) = (start, &mut run.profile, k.op) {
                    let name = || executor.function().op(op).name.clone();
                    profile.record(op, &k.kernel, start.elapsed(), || (name(), k.label.clone()));
                }
            }
            PlanStep::Import { value, to } => {
                let Some(Some(Value::Tensor(t))) = run.values.get(value.index()) else {
                    return Err(RunError::new(format!("value {value:?} is not there")));
                };
                let out = self.slot(arena, to.buffer);
                let (machine, view) = (planner.machine(), to.view());
                match t.data() {
                    Data::F32(v) => copy::import(machine.isa, machine.threads, &to.shape, &view, out, v),
                    Data::F16(v) => copy::import_f16(machine.isa, machine.threads, &to.shape, &view, out, v),
                    other => return Err(RunError::new(format!("a tensor of {} cannot be planned for", other.dtype()))),
                }
            }
            PlanStep::Export { from, dtype, value } => {
                run.values[value.index()] = Some(self.export(planner, arena, from, *dtype)?.into());
            }
            PlanStep::Reference(op) => executor.run_op(*op, run)?,
            PlanStep::Set(value, tensor) => run.values[value.index()] = Some(Value::Tensor(Arc::clone(tensor))),
        }
        Ok(())
    }

    fn slot<'a>(&self, arena: &'a mut Arena, buffer: BufferId) -> &'a mut [f32] {
        match self.slots[buffer.0] {
            Some(slot) => &mut arena.slots[slot],
            // Constants are never written.
            None => &mut [],
        }
    }

    fn kernel(&self, planner: &Planner, k: &KernelStep, arena: &mut Arena) {
        let Some(slot) = self.slots[k.writes.0] else { return };
        let mut out = std::mem::take(&mut arena.slots[slot]);
        let inputs: Vec<&[f32]> = k
            .reads
            .iter()
            .map(|read| match (self.constants.get(read), self.slots[read.0]) {
                (Some(constant), _) => &constant[..],
                (None, Some(slot)) => &arena.slots[slot][..],
                (None, None) => &[],
            })
            .collect();
        k.work.run(planner.machine(), &mut out, &inputs);
        arena.slots[slot] = out;
    }

    fn export(&self, planner: &Planner, arena: &Arena, from: &Tensor, dtype: DType) -> Result<AnyTensor, RunError> {
        let data: &[f32] = match (self.constants.get(&from.buffer), self.slots[from.buffer.0]) {
            (Some(constant), _) => constant,
            (None, Some(slot)) => &arena.slots[slot],
            (None, None) => &[],
        };
        let (machine, view) = (planner.machine(), from.view());
        match dtype {
            DType::F16 => {
                let mut v = vec![f16::ZERO; from.count()];
                copy::export_f16(machine.isa, machine.threads, &from.shape, &view, &mut v, data);
                AnyTensor::new(&from.shape[..], v)
            }
            _ => {
                let mut v = vec![0f32; from.count()];
                copy::export(machine.isa, machine.threads, &from.shape, &view, &mut v, data);
                AnyTensor::new(&from.shape[..], v)
            }
        }
    }
}
