//! What a plan does, one thing after the other.

use std::{fmt, sync::Arc};

use mil_core::{
    ir::{OpId, ValueId},
    types::DType,
};

use super::tensor::BufferId;
use crate::{
    cpu::kernels::{aligned::Aligned, copy::Copy, simd::Isa, threads::Threads},
    error::RunError,
    tensor::AnyTensor,
};

/// With what kernels compute.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Machine<'a> {
    pub(crate) isa: Isa,
    pub(crate) threads: &'a Threads,
}

/// A kernel with all that it needs but the buffers.
pub(crate) trait Work: Send + Sync {
    /// Computes from `inputs`, in the order of [`KernelStep::reads`], into `out`. An input that is `out` itself is empty.
    fn run(&self, machine: Machine<'_>, out: &mut [f32], inputs: &[&[f32]]);
}

/// A kernel that reads values of the function as well: indices, conditions. What they are is known when the plan runs.
pub(crate) trait HostWork: Send + Sync {
    /// As [`Work::run`]; `values` are those of [`KernelStep::values`], of the shapes that were planned for.
    ///
    /// # Errors
    /// If a value is none that the op takes.
    fn run(
        &self,
        machine: Machine<'_>,
        out: &mut [f32],
        inputs: &[&[f32]],
        values: &[&AnyTensor],
    ) -> Result<(), RunError>;
}

/// What a step runs.
pub(crate) enum Job {
    /// On tensors of the plan alone.
    Plain(Box<dyn Work>),
    /// On values of the function too.
    Host(Box<dyn HostWork>),
}

/// One step.
pub(crate) enum PlanStep {
    /// A kernel.
    Kernel(KernelStep),
    /// A value of the function becomes a tensor of the plan.
    Import { value: ValueId, to: BufferId, copy: Copy },
    /// A tensor of the plan becomes a value of the function.
    Export { from: BufferId, copy: Copy, shape: Vec<usize>, dtype: DType, value: ValueId },
    /// The reference kernel of an op, on values of the function.
    Reference(OpId),
    /// A value that is known.
    Set(ValueId, Arc<AnyTensor>),
}

/// A kernel of a plan.
pub(crate) struct KernelStep {
    pub(crate) job: Job,
    pub(crate) reads: Vec<BufferId>,
    /// Values of the function that are read, with the shapes they must have.
    pub(crate) values: Vec<(ValueId, Vec<usize>)>,
    pub(crate) writes: BufferId,
    /// The op that it computes; of several, the last. None if it copies an input.
    pub(crate) op: Option<OpId>,
    /// The ops by their types, joined by ` + `.
    pub(crate) label: String,
    /// What the kernel is called.
    pub(crate) kernel: String,
}

impl fmt::Debug for PlanStep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PlanStep::Kernel(k) => write!(f, "{} ({}) {:?} -> {:?}", k.label, k.kernel, k.reads, k.writes),
            PlanStep::Import { value, to, .. } => write!(f, "import {value:?} -> {to:?}"),
            PlanStep::Export { from, value, .. } => write!(f, "export {from:?} -> {value:?}"),
            PlanStep::Reference(op) => write!(f, "reference {op:?}"),
            PlanStep::Set(value, _) => write!(f, "set {value:?}"),
        }
    }
}

/// The buffers of one run.
#[derive(Debug, Default)]
pub(crate) struct Arena {
    pub(crate) slots: Vec<Aligned>,
}
