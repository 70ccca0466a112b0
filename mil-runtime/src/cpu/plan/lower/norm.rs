//! Softmax and norms. `batch_norm` is elementwise.

use mil_core::{
    op::{Arg, Op},
    ops::{
        activation::Softmax as SoftmaxOp,
        norm::{InstanceNorm, L2Norm, LayerNorm, LocalResponseNorm},
    },
    types::DType,
};

use super::super::{
    build::{Builder, Joined, Want},
    nodes::Node,
    step::{Machine, Work},
    tensor::{Layout, Tensor},
};
use super::like;
use crate::cpu::kernels::{
    norm::{
        Groups, Norm, Normalization,
        local_response::{LocalResponse, Parameters},
    },
    softmax::Softmax,
    view,
};

/// Plans a softmax or a norm.
pub(super) fn lower(b: &mut Builder<'_>, node: &Node) -> Option<()> {
    if !matches!(node.types[0].0, DType::F16 | DType::F32) || node.types[0].1.contains(&0) {
        return None;
    }
    match node.args.def.name {
        "softmax" => softmax(b, node),
        "layer_norm" => layer_norm(b, node),
        "instance_norm" => instance_norm(b, node),
        "l2_norm" => l2_norm(b, node),
        "local_response_norm" => local_response_norm(b, node),
        _ => None,
    }
}

fn layout(t: &Tensor) -> view::Layout<'_> {
    view::Layout { offset: t.offset, strides: &t.strides }
}

fn finish(b: &mut Builder<'_>, node: &Node, name: &str, x: &Tensor, to: Tensor, work: impl Work + 'static) {
    let joined = Joined { dtype: node.types[0].0, stages: vec![], ops: vec![node.op] };
    b.kernel(&joined, name, &to, vec![x.buffer], work);
    b.set(node, 0, to);
}

struct Softmaxed(Softmax);

impl Work for Softmaxed {
    fn run(&self, m: Machine<'_>, out: &mut [f32], inputs: &[&[f32]]) {
        self.0.run(m.isa, m.threads, inputs[0], out);
    }
}

fn softmax(b: &mut Builder<'_>, node: &Node) -> Option<()> {
    let op = SoftmaxOp::bind(&node.args).ok()?;
    let (dtype, shape) = &node.types[0];
    let axis = usize::try_from(op.axis.rem_euclid(shape.len().max(1) as i64)).ok().filter(|a| *a < shape.len())?;
    let x = b.tensor(op.x.id?, &Want::Any)?;
    let to = like(b, node, &x);
    let work = Softmax::new(shape, axis, layout(&x), layout(&to), 1.0, *dtype == DType::F16);
    finish(b, node, "softmax", &x, to, Softmaxed(work));
    Some(())
}

struct Normed {
    norm: Norm,
    gamma: Option<Vec<f32>>,
    beta: Option<Vec<f32>>,
}

impl Work for Normed {
    fn run(&self, m: Machine<'_>, out: &mut [f32], inputs: &[&[f32]]) {
        self.norm.run(m.isa, m.threads, inputs[0], [self.gamma.as_deref(), self.beta.as_deref()], out);
    }
}

/// A group's dimensions, where its parameters are, and the parameters.
struct Standard<'a> {
    kind: Normalization,
    within: Vec<bool>,
    parameters: Vec<usize>,
    gamma: &'a Option<Arg>,
    beta: &'a Option<Arg>,
    epsilon: f32,
}

fn standard(b: &mut Builder<'_>, node: &Node, x: &Arg, s: Standard<'_>) -> Option<()> {
    let (gamma, beta) = (super::numbers(b, s.gamma)?, super::numbers(b, s.beta)?);
    let x = b.tensor(x.id?, &Want::Any)?;
    let to = like(b, node, &x);
    let groups = Groups {
        shape: &x.shape,
        within: &s.within,
        input: layout(&x),
        output: layout(&to),
        parameters: &s.parameters,
    };
    let norm = Norm::new(s.kind, groups, s.epsilon, node.types[0].0 == DType::F16);
    finish(b, node, "norm", &x, to, Normed { norm, gamma, beta });
    Some(())
}

fn layer_norm(b: &mut Builder<'_>, node: &Node) -> Option<()> {
    let op = LayerNorm::bind(&node.args).ok()?;
    let shape = &node.types[0].1;
    let axes: Vec<usize> = op.axes.iter().map(|a| a.rem_euclid(shape.len().max(1) as i64) as usize).collect();
    // The parameters are in the order of the axes: another than the elements' is for the reference.
    if axes.windows(2).any(|w| w[0] >= w[1]) || axes.iter().any(|a| *a >= shape.len()) {
        return None;
    }
    let (mut within, mut parameters, mut stride) = (vec![false; shape.len()], vec![0; shape.len()], 1);
    for axis in axes.into_iter().rev() {
        (within[axis], parameters[axis]) = (true, stride);
        stride *= shape[axis];
    }
    let (gamma, beta, epsilon) = (&op.gamma, &op.beta, op.epsilon);
    standard(b, node, &op.x, Standard { kind: Normalization::Standard, within, parameters, gamma, beta, epsilon })
}

fn instance_norm(b: &mut Builder<'_>, node: &Node) -> Option<()> {
    let op = InstanceNorm::bind(&node.args).ok()?;
    let rank = node.types[0].1.len();
    let within = (0..rank).map(|d| d >= 2).collect();
    let parameters = (0..rank).map(|d| usize::from(d == 1)).collect();
    let (gamma, beta, epsilon) = (&op.gamma, &op.beta, op.epsilon);
    standard(b, node, &op.x, Standard { kind: Normalization::Standard, within, parameters, gamma, beta, epsilon })
}

fn l2_norm(b: &mut Builder<'_>, node: &Node) -> Option<()> {
    let op = L2Norm::bind(&node.args).ok()?;
    let rank = node.types[0].1.len();
    let within = (0..rank).map(|d| d + 3 >= rank).collect();
    let (kind, epsilon) = (Normalization::Length, op.epsilon);
    let none = Standard { kind, within, parameters: vec![0; rank], gamma: &None, beta: &None, epsilon };
    standard(b, node, &op.x, none)
}

struct LocalResponses(LocalResponse);

impl Work for LocalResponses {
    fn run(&self, m: Machine<'_>, out: &mut [f32], inputs: &[&[f32]]) {
        self.0.run(m.isa, m.threads, inputs[0], out);
    }
}

fn local_response_norm(b: &mut Builder<'_>, node: &Node) -> Option<()> {
    let op = LocalResponseNorm::bind(&node.args).ok()?;
    let (dtype, shape) = &node.types[0];
    if shape.len() < 4 {
        return None;
    }
    let x = b.tensor(op.x.id?, &Want::ChannelsLast(vec![(0, 0); shape.len() - 2]))?;
    let layout_of_out = b.layout_within(node.outputs[0], Layout::channels_last(shape.len()), 1);
    let to = b.new_tensor(shape, &layout_of_out);
    let perm: Vec<usize> = [0].into_iter().chain(2..shape.len()).chain([1]).collect();
    let (from, out) = (x.transposed(&perm), to.transposed(&perm));
    let size = usize::try_from(op.size).ok().filter(|s| *s > 0)?;
    let parameters = Parameters { size, alpha: op.alpha, beta: op.beta, k: op.k };
    let work = LocalResponse::new(parameters, &from.shape, layout(&from), layout(&out), *dtype == DType::F16);
    finish(b, node, "local response", &x, to, LocalResponses(work));
    Some(())
}
