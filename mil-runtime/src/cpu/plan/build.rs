//! Makes a plan from nodes: decides where values are, how they lie in memory, and which ops run as one.
//!
//! An op that is fast to do is not emitted at once but pends on its output ([`Group`]): the ops behind it may join, as long as nobody else
//! wants the value between. What pends is emitted when someone needs it.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use mil_core::{
    ir::{Constant, Function, OpId, ValueId},
    op::Arg,
    types::DType,
};

use super::{
    Planner, lower,
    memory::{Geometry, Life},
    nodes::{Node, Nodes},
    stage::Stage,
    step::{HostWork, Job, KernelStep, PlanStep, Work},
    tensor::{BufferId, Layout, Tensor},
};
use crate::{
    cpu::{
        kernels::{aligned::Aligned, copy::Copy, view::View},
        options::Packing,
    },
    tensor::AnyTensor,
};

/// What gives a value of the plan: a convolution, a product, or an elementwise chain.
pub(crate) trait Producer {
    /// The order in which it would rather write its output.
    fn layout(&self, b: &mut Builder<'_>, shape: &[usize]) -> Layout;

    /// The dimension whose elements it writes one behind the other.
    fn innermost(&self, shape: &[usize]) -> Option<usize>;

    /// Emits the step that computes the output into `to`, and gives back the stages that it could not do. `None` if it cannot be done at all.
    fn emit(self: Box<Self>, b: &mut Builder<'_>, to: &Tensor, joined: &Joined) -> Option<Vec<Stage>>;
}

/// Ops that run as one.
#[derive(Clone, Debug)]
pub(crate) struct Joined {
    pub(crate) dtype: DType,
    /// What happens to each element, in order. In f16 each op ends with a rounding.
    pub(crate) stages: Vec<Stage>,
    pub(crate) ops: Vec<OpId>,
}

/// What pends on a value.
pub(crate) struct Group {
    pub(crate) producer: Box<dyn Producer>,
    pub(crate) joined: Joined,
}

/// A value, and where it is by now.
pub(crate) struct State {
    pub(crate) dtype: DType,
    pub(crate) shape: Vec<usize>,
    /// Whether the function's value is there.
    host: bool,
    /// The same numbers, perhaps in several layouts.
    tensors: Vec<Tensor>,
    pending: Option<Group>,
    known: Option<Constant>,
}

/// What a user of a tensor wants of it.
#[derive(Clone, Debug)]
pub(crate) enum Want {
    /// Anything.
    Any,
    /// In this order, if it has to be made; anything will do.
    Rather(Layout),
    /// Row-major without gaps.
    Dense,
    /// The last dimension's elements one behind the other.
    Rows,
    /// `[N, C, spatial..]` with the channels one behind the other, and margins at least as large, per spatial dimension.
    ChannelsLast(Vec<(usize, usize)>),
}

impl Want {
    fn fits(&self, t: &Tensor) -> bool {
        let unit = |d: usize| t.shape[d] == 1 || t.strides[d] == 1;
        match self {
            Want::Any | Want::Rather(_) => true,
            Want::Dense => t.is_dense(),
            Want::Rows => t.rank() == 0 || unit(t.rank() - 1),
            Want::ChannelsLast(margins) => {
                t.rank() > 2 && unit(1) && t.margins[2..].iter().zip(margins).all(|(h, w)| h.0 >= w.0 && h.1 >= w.1)
            }
        }
    }

    fn layout(&self, rank: usize) -> Layout {
        match self {
            Want::Rather(layout) => layout.clone(),
            Want::ChannelsLast(margins) => Layout::channels_last(rank).with_margins(margins),
            Want::Any | Want::Dense | Want::Rows => Layout::plain(rank),
        }
    }
}

/// A plan in the making.
pub(crate) struct Builder<'a> {
    pub(crate) planner: &'a Planner,
    pub(crate) function: &'a Function,
    /// How long packed weights are kept, by what runs this.
    pub(crate) packing: Packing,
    pub(crate) values: BTreeMap<ValueId, State>,
    /// The nodes that use a value.
    consumers: BTreeMap<ValueId, Vec<usize>>,
    nodes: &'a [Node],
    /// Values that are wanted when the plan has run.
    escaping: BTreeSet<ValueId>,
    pub(crate) buffers: Vec<(usize, Option<Geometry>)>,
    pub(crate) constants: BTreeMap<BufferId, Arc<Aligned>>,
    pub(crate) steps: Vec<PlanStep>,
    /// Tensors that a constant has become.
    uploaded: BTreeMap<ValueId, Tensor>,
    /// Whether something could not be done after all: the plan is worth nothing then.
    pub(crate) failed: bool,
}

impl<'a> Builder<'a> {
    /// Nothing yet but what is there before.
    pub(crate) fn new(
        planner: &'a Planner,
        function: &'a Function,
        packing: Packing,
        nodes: &'a Nodes,
        inputs: &BTreeMap<ValueId, Vec<usize>>,
        escaping: BTreeSet<ValueId>,
    ) -> Builder<'a> {
        let mut values = BTreeMap::new();
        for (id, shape) in inputs {
            let Some(ty) = function.value(*id).ty.tensor() else { continue };
            let state = State {
                dtype: ty.dtype,
                shape: shape.clone(),
                host: true,
                tensors: vec![],
                pending: None,
                known: None,
            };
            values.insert(*id, state);
        }
        for (id, constant) in &nodes.known {
            let (dtype, shape, known) = (constant.dtype(), constant.shape().to_vec(), Some(constant.clone()));
            values.insert(*id, State { dtype, shape, host: false, tensors: vec![], pending: None, known });
        }
        let mut consumers: BTreeMap<ValueId, Vec<usize>> = BTreeMap::new();
        for (at, node) in nodes.nodes.iter().enumerate() {
            for value in function.op(node.op).uses() {
                consumers.entry(value).or_default().push(at);
            }
        }
        Builder {
            planner,
            function,
            packing,
            values,
            consumers,
            nodes: &nodes.nodes,
            escaping,
            buffers: vec![],
            constants: BTreeMap::new(),
            steps: vec![],
            uploaded: BTreeMap::new(),
            failed: false,
        }
    }

    /// Plans all nodes, and hands out what is wanted afterwards; on the reference kernels alone if not `fast`.
    pub(crate) fn build(&mut self, fast: bool) {
        let nodes = self.nodes;
        for node in nodes {
            if !fast || !lower::lower(self, node) {
                self.reference(node);
            }
        }
        for value in self.escaping.clone() {
            if self.values.contains_key(&value) {
                self.host(value);
            }
        }
    }

    /// The nodes that use a value.
    pub(crate) fn consumers(&self, value: ValueId) -> impl Iterator<Item = &'a Node> {
        let nodes = self.nodes;
        self.consumers.get(&value).into_iter().flatten().map(move |at| &nodes[*at])
    }

    /// Whether nobody but one op uses a value.
    pub(crate) fn is_used_once(&self, value: ValueId) -> bool {
        !self.escaping.contains(&value) && self.consumers.get(&value).is_some_and(|c| c.len() == 1)
    }

    /// The constant that an argument is, packed ones unpacked.
    pub(crate) fn constant(&self, arg: &Arg) -> Option<Arc<AnyTensor>> {
        match (arg.id, arg.constant()) {
            (Some(id), _) if self.planner.constants.contains_key(&id) => self.planner.constants.get(&id).cloned(),
            (Some(id), _) if self.planner.compressed.contains_key(&id) => {
                self.planner.compressed.get(&id)?.dense().ok()
            }
            (_, Some(c)) => AnyTensor::from_constant(c).ok().map(Arc::new),
            _ => None,
        }
    }

    /// Whether an argument is a constant; packed ones stay packed.
    pub(crate) fn is_constant(&self, arg: &Arg) -> bool {
        let held = |id| self.planner.constants.contains_key(&id) || self.planner.compressed.contains_key(&id);
        arg.id.is_some_and(held) || arg.constant().is_some_and(|c| c.weight_name().is_none())
    }

    /// What pends on the value of an argument, if this argument is its only use.
    pub(crate) fn take_pending(&mut self, arg: &Arg) -> Option<Group> {
        let id = arg.id.filter(|id| self.is_used_once(*id))?;
        self.values.get_mut(&id)?.pending.take()
    }

    /// Whether something pends on the value of an argument that may be taken.
    pub(crate) fn is_pending(&self, arg: &Arg) -> bool {
        let state = arg.id.filter(|id| self.is_used_once(*id)).and_then(|id| self.values.get(&id));
        state.is_some_and(|s| s.pending.is_some())
    }

    /// What begins with a producer, whose own op is still to be named; in f16 its results are rounded.
    pub(crate) fn group(&self, dtype: DType, producer: Box<dyn Producer>) -> Group {
        Group { producer, joined: Joined { dtype, stages: vec![], ops: vec![] } }
    }

    /// Lets a node's own computation pend on its only output.
    pub(crate) fn pend_new(&mut self, node: &Node, producer: Box<dyn Producer>) {
        let mut group = self.group(node.types[0].0, producer);
        group.joined.ops.push(node.op);
        if group.joined.dtype == DType::F16 {
            group.joined.stages.push(Stage::Half);
        }
        self.pend(node, group);
    }

    /// Lets a group pend on a node's only output.
    pub(crate) fn pend(&mut self, node: &Node, group: Group) {
        self.define(node, 0, vec![], Some(group));
    }

    /// A node's output is this tensor.
    pub(crate) fn set(&mut self, node: &Node, output: usize, tensor: Tensor) {
        debug_assert_eq!(tensor.shape, node.types[output].1);
        self.define(node, output, vec![tensor], None);
    }

    fn define(&mut self, node: &Node, output: usize, tensors: Vec<Tensor>, pending: Option<Group>) {
        let (dtype, shape) = node.types[output].clone();
        let state = State { dtype, shape, host: false, tensors, pending, known: None };
        self.values.insert(node.outputs[output], state);
    }

    /// The order in which a value lies, or would.
    pub(crate) fn order_of(&mut self, value: ValueId, shape: &[usize]) -> Layout {
        let plain = Layout::plain(shape.len());
        let Some(state) = self.values.get_mut(&value) else { return plain };
        if state.shape.len() != shape.len() {
            return plain;
        }
        if let Some(t) = state.tensors.first() {
            return Layout { order: t.order(), ..plain };
        }
        if let Some(group) = state.pending.take() {
            let shape = state.shape.clone();
            let natural = group.producer.layout(self, &shape);
            let order = self.layout_for(value, natural).order;
            if let Some(state) = self.values.get_mut(&value) {
                state.pending = Some(group);
            }
            return Layout { order, ..plain };
        }
        plain
    }

    /// Numbers as a tensor of the plan.
    pub(crate) fn constant_tensor(&mut self, numbers: &[f32], shape: &[usize]) -> Tensor {
        let to = self.new_tensor(shape, &Layout::plain(shape.len()));
        let mut data = Aligned::zeros(numbers.len());
        data.copy_from_slice(numbers);
        self.constants.insert(to.buffer, Arc::new(data));
        to
    }

    /// A new buffer for a tensor.
    pub(crate) fn new_tensor(&mut self, shape: &[usize], layout: &Layout) -> Tensor {
        let id = BufferId(self.buffers.len());
        let geometry = layout.margins.iter().any(|m| *m != (0, 0)).then(|| {
            let sorted: Vec<usize> = layout.order.iter().map(|d| shape[*d]).collect();
            (sorted, layout.order.iter().map(|d| layout.margins[*d]).collect())
        });
        self.buffers.push((layout.len(shape).unwrap_or(usize::MAX), geometry));
        layout.tensor(id, shape)
    }

    /// Adds a kernel that writes `to`.
    pub(crate) fn kernel(
        &mut self,
        joined: &Joined,
        kernel: impl Into<String>,
        to: &Tensor,
        reads: Vec<BufferId>,
        work: impl Work + 'static,
    ) {
        self.step(joined, kernel.into(), to, reads, vec![], Job::Plain(Box::new(work)));
    }

    /// Adds a kernel that reads values of the function besides; they are made to be there.
    pub(crate) fn host_kernel(
        &mut self,
        joined: &Joined,
        kernel: impl Into<String>,
        to: &Tensor,
        reads: Vec<BufferId>,
        values: &[ValueId],
        work: impl HostWork + 'static,
    ) {
        values.iter().for_each(|v| self.host(*v));
        let shape = |v: &ValueId| match (self.planner.constants.get(v), self.planner.compressed.get(v)) {
            (Some(c), _) => c.shape().to_vec(),
            (None, Some(c)) => c.shape().to_vec(),
            (None, None) => self.values.get(v).map_or(vec![], |s| s.shape.clone()),
        };
        let values = values.iter().map(|v| (*v, shape(v))).collect();
        self.step(joined, kernel.into(), to, reads, values, Job::Host(Box::new(work)));
    }

    fn step(
        &mut self,
        joined: &Joined,
        kernel: String,
        to: &Tensor,
        reads: Vec<BufferId>,
        values: Vec<(ValueId, Vec<usize>)>,
        job: Job,
    ) {
        let label: Vec<&str> = joined.ops.iter().map(|op| self.function.op(*op).def.name).collect();
        self.steps.push(PlanStep::Kernel(KernelStep {
            job,
            reads,
            values,
            writes: to.buffer,
            op: joined.ops.last().copied(),
            label: label.join(" + "),
            kernel,
        }));
    }

    /// How a value shall lie that has yet to be written: as those want it who use it, else as `natural`.
    pub(crate) fn layout_for(&self, value: ValueId, natural: Layout) -> Layout {
        let rank = natural.order.len();
        let mut margins: Option<Vec<(usize, usize)>> = None;
        for node in self.consumers(value) {
            let Some(wanted) = lower::wanted_margins(self, node, value) else { continue };
            let margins = margins.get_or_insert_with(|| vec![(0, 0); rank - 2]);
            for (m, w) in margins.iter_mut().zip(wanted) {
                *m = (m.0.max(w.0), m.1.max(w.1));
            }
        }
        if let Some(margins) = margins {
            return Layout::channels_last(rank).with_margins(&margins);
        }
        // In the order in which what is transposed next is row-major.
        let mut consumers = self.consumers(value);
        match (consumers.next().and_then(lower::transposition), consumers.next()) {
            (Some(order), None) if order.len() == rank => Layout { order, ..natural },
            _ => natural,
        }
    }

    /// As [`Builder::layout_for`], but with the elements of dimension `innermost` one behind the other, as a kernel must write them.
    pub(crate) fn layout_within(&self, value: ValueId, natural: Layout, innermost: usize) -> Layout {
        let wanted = self.layout_for(value, natural.clone());
        if wanted.order.last() == Some(&innermost) { wanted } else { natural }
    }

    /// The value as a tensor that fits; emits whatever is needed for it.
    pub(crate) fn tensor(&mut self, value: ValueId, want: &Want) -> Option<Tensor> {
        self.emit(value);
        if let Some(c) = self.planner.constants.get(&value).cloned() {
            return self.upload(value, &c, want);
        }
        if let Some(c) = self.planner.compressed.get(&value) {
            let dense = c.dense().ok()?;
            return self.upload(value, &dense, want);
        }
        let state = self.values.get(&value)?;
        if !matches!(state.dtype, DType::F32 | DType::F16) {
            return None;
        }
        if let Some(c) = state.known.clone() {
            return self.upload(value, &Arc::new(AnyTensor::from_constant(&c).ok()?), want);
        }
        if let Some(t) = state.tensors.iter().find(|t| want.fits(t)) {
            return Some(t.clone());
        }
        let (shape, from) = (state.shape.clone(), state.tensors.first().cloned());
        let mut layout = self.layout_for(value, want.layout(shape.len()));
        if !want.fits(&layout.tensor(BufferId(0), &shape)) {
            layout = want.layout(shape.len());
        }
        let to = self.new_tensor(&shape, &layout);
        match from {
            Some(from) => self.copy(value, &from, &to),
            None => {
                let copy = Copy::new(&shape, to.view(), View::contiguous(&shape));
                self.steps.push(PlanStep::Import { value, to: to.buffer, copy });
            }
        }
        self.values.get_mut(&value)?.tensors.push(to.clone());
        Some(to)
    }

    fn copy(&mut self, value: ValueId, from: &Tensor, to: &Tensor) {
        let op = match self.function.value(value).def {
            mil_core::ir::Def::Op(op, _) => vec![op],
            _ => vec![],
        };
        let joined = Joined { dtype: DType::F32, stages: vec![], ops: op };
        lower::copy(self, &joined, from, to);
    }

    /// A constant as a tensor, once per plan.
    fn upload(&mut self, value: ValueId, c: &AnyTensor, want: &Want) -> Option<Tensor> {
        if let Some(t) = self.uploaded.get(&value).filter(|t| want.fits(t)) {
            return Some(t.clone());
        }
        let numbers = c.to_f32().ok()?;
        let to = self.constant_tensor(&numbers, c.shape());
        self.uploaded.insert(value, to.clone());
        if want.fits(&to) {
            return Some(to);
        }
        let copy = self.new_tensor(c.shape(), &want.layout(c.rank()));
        self.copy(value, &to, &copy);
        Some(copy)
    }

    /// Emits what pends on a value.
    pub(crate) fn emit(&mut self, value: ValueId) {
        let Some(state) = self.values.get_mut(&value) else { return };
        let Some(group) = state.pending.take() else { return };
        let shape = state.shape.clone();
        let natural = group.producer.layout(self, &shape);
        let layout = match group.producer.innermost(&shape) {
            Some(innermost) => self.layout_within(value, natural, innermost),
            None => self.layout_for(value, natural),
        };
        let to = self.new_tensor(&shape, &layout);
        let done = match group.producer.emit(self, &to, &group.joined) {
            Some(rest) if !rest.is_empty() => {
                let joined = Joined { stages: rest, ..group.joined };
                lower::in_place(self, &joined, &to)
            }
            rest => rest.map(drop),
        };
        self.failed |= done.is_none();
        if let Some(state) = self.values.get_mut(&value) {
            state.tensors.push(to);
        }
    }

    /// Makes a value one of the function's.
    fn host(&mut self, value: ValueId) {
        self.emit(value);
        let Some(state) = self.values.get_mut(&value) else { return };
        if std::mem::replace(&mut state.host, true) {
            return;
        }
        let dtype = state.dtype;
        if let Some(c) = &state.known {
            if let Ok(t) = AnyTensor::from_constant(c) {
                self.steps.push(PlanStep::Set(value, Arc::new(t)));
            }
        } else if let Some(from) = state.tensors.first().cloned() {
            let copy = Copy::new(&from.shape, View::contiguous(&from.shape), from.view());
            self.steps.push(PlanStep::Export { from: from.buffer, copy, shape: from.shape, dtype, value });
        }
    }

    /// The reference kernel computes the node.
    fn reference(&mut self, node: &Node) {
        for value in self.function.op(node.op).uses() {
            self.host(value);
        }
        self.steps.push(PlanStep::Reference(node.op));
        for (value, (dtype, shape)) in node.outputs.iter().zip(&node.types) {
            let (dtype, shape) = (*dtype, shape.clone());
            self.values.insert(*value, State { dtype, shape, host: true, tensors: vec![], pending: None, known: None });
        }
    }

    /// From which step to which each buffer is used; constants are not there.
    pub(crate) fn lives(&self) -> Vec<Option<Life>> {
        let mut lives: Vec<Option<Life>> = vec![None; self.buffers.len()];
        let mut touch = |buffer: BufferId, at: usize| {
            if self.constants.contains_key(&buffer) {
                return;
            }
            let (len, geometry) = &self.buffers[buffer.0];
            let new = || Life { len: *len, geometry: geometry.clone(), first: at, last: at };
            lives[buffer.0].get_or_insert_with(new).last = at;
        };
        for (at, step) in self.steps.iter().enumerate() {
            match step {
                PlanStep::Kernel(k) => {
                    touch(k.writes, at);
                    k.reads.iter().for_each(|r| touch(*r, at));
                }
                PlanStep::Import { to, .. } => touch(*to, at),
                PlanStep::Export { from, .. } => touch(*from, at),
                PlanStep::Reference(_) | PlanStep::Set(..) => {}
            }
        }
        lives
    }
}
