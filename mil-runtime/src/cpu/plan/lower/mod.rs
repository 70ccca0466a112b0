//! Which ops the fast kernels compute, a file per concept, named as in `mil_core::ops`.

use std::sync::Arc;

use mil_core::{ir::ValueId, op::Op, ops::shape::Transpose};

use super::{
    build::{Builder, Joined},
    nodes::Node,
    step::{Machine, Work},
    tensor::Tensor,
};
use crate::cpu::kernels::{copy::Copy, panels::Panels};

mod conv;
mod depthwise;
mod elementwise;
mod epilogue;
mod matmul;
mod norm;
mod pool;
mod reduce;
mod shape;
mod winograd;

pub(super) use elementwise::in_place;

/// A constant as a kernel wants it.
#[derive(Clone)]
pub(crate) enum Packed {
    /// Matrices: one per group of a convolution, or per element of a transformed kernel.
    Panels(Arc<[Panels]>),
    /// Weights of a depthwise convolution.
    Depthwise(Arc<[f32]>),
}

/// Plans a node on the fast kernels; whether there is one for it.
pub(super) fn lower(b: &mut Builder<'_>, node: &Node) -> bool {
    let lowered = match b.function.op(node.op).def.name {
        "conv" => conv::conv(b, node),
        "linear" => matmul::linear(b, node),
        "matmul" => matmul::matmul(b, node),
        "max_pool" | "avg_pool" | "l2_pool" => pool::lower(b, node),
        "softmax" | "layer_norm" | "instance_norm" | "l2_norm" | "local_response_norm" => norm::lower(b, node),
        name if name.starts_with("reduce_") => reduce::lower(b, node),
        _ => shape::lower(b, node).or_else(|| elementwise::lower(b, node)),
    };
    lowered.is_some()
}

/// The margins of zeros that a node wants around the spatial dimensions of a value, if it wants it channels-last at all.
pub(super) fn wanted_margins(b: &Builder<'_>, node: &Node, value: ValueId) -> Option<Vec<(usize, usize)>> {
    match b.function.op(node.op).def.name {
        "conv" => conv::wanted_margins(b, node, value),
        "max_pool" | "avg_pool" | "l2_pool" => pool::wanted_margins(node, value),
        _ => None,
    }
}

/// How a node transposes its input, if that is what it does.
pub(super) fn transposition(node: &Node) -> Option<Vec<usize>> {
    if node.args.def.name != "transpose" {
        return None;
    }
    Transpose::bind(&node.args).ok()?.permutation().ok()
}

struct Copying(Copy);

impl Work for Copying {
    fn run(&self, m: Machine<'_>, out: &mut [f32], inputs: &[&[f32]]) {
        self.0.run(m.isa, m.threads, out, inputs[0]);
    }
}

/// Copies a tensor to another of the same shape.
pub(super) fn copy(b: &mut Builder<'_>, joined: &Joined, from: &Tensor, to: &Tensor) {
    let work = Copying(Copy::new(&to.shape, to.view(), from.view()));
    b.kernel(joined, "copy", to, vec![from.buffer], work);
}
