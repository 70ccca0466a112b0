//! Which ops the fast kernels compute, a file per concept, named as in `mil_core::ops`.

use std::sync::Arc;

use mil_core::{
    ir::ValueId,
    op::{Arg, Op},
    ops::shape::Transpose,
    types::DType,
};

use super::{
    build::{Builder, Joined, Want},
    nodes::Node,
    step::{Machine, Work},
    tensor::{Layout, Tensor},
};
use crate::cpu::kernels::{copy::Copy, panels::Panels};

mod attention;
mod concat;
mod conv;
mod conv_transpose;
mod depthwise;
mod elementwise;
mod epilogue;
mod gather;
mod matmul;
mod matrices;
mod norm;
mod pad;
mod pick;
mod pool;
mod rearrange;
mod recurrent;
mod reduce;
mod resize;
mod select;
mod shape;
mod weight;
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
        "conv_transpose" => conv_transpose::conv_transpose(b, node),
        "lstm" | "gru" | "rnn" => recurrent::lower(b, node),
        "scaled_dot_product_attention" => attention::attention(b, node),
        "linear" => matmul::linear(b, node),
        "matmul" => matmul::matmul(b, node),
        "max_pool" | "avg_pool" | "l2_pool" => pool::lower(b, node),
        "softmax" | "layer_norm" | "instance_norm" | "l2_norm" | "local_response_norm" => norm::lower(b, node),
        name if name.starts_with("reduce_") => reduce::lower(b, node),
        "concat" => concat::concat(b, node),
        "stack" => concat::stack(b, node),
        "tile" => concat::tile(b, node),
        "gather" => gather::gather(b, node),
        "select" => select::select(b, node),
        "pad" => pad::pad(b, node),
        "crop" => pad::crop(b, node),
        "depth_to_space" | "space_to_depth" | "pixel_shuffle" | "pixel_unshuffle" => rearrange::lower(b, node),
        "upsample_nearest_neighbor"
        | "upsample_bilinear"
        | "resize_nearest_neighbor"
        | "resize_bilinear"
        | "resize" => resize::lower(b, node),
        _ => shape::lower(b, node).or_else(|| elementwise::lower(b, node)),
    };
    lowered.is_some()
}

/// The margins of zeros that a node wants around the spatial dimensions of a value, if it wants it channels-last at all.
pub(super) fn wanted_margins(b: &Builder<'_>, node: &Node, value: ValueId) -> Option<Vec<(usize, usize)>> {
    match b.function.op(node.op).def.name {
        "conv" => conv::wanted_margins(b, node, value),
        "conv_transpose" => conv_transpose::wanted_margins(b, node, value),
        "max_pool" | "avg_pool" | "l2_pool" => pool::wanted_margins(node, value),
        _ => None,
    }
}

/// Whether dimensions of these sizes may have these margins: not if they were mostly memory beside the `plain` elements of input or output.
fn are_worth_it(dims: impl Iterator<Item = (usize, (usize, usize))>, plain: usize) -> bool {
    let padded = dims.map(|(size, (before, after))| size + before + after).try_fold(1usize, usize::checked_mul);
    padded.is_some_and(|padded| padded <= 4096 + 8 * plain)
}

/// The numbers of an optional argument. `None` if it is there but no constant.
fn numbers(b: &Builder<'_>, arg: &Option<Arg>) -> Option<Option<Vec<f32>>> {
    let Some(arg) = arg else { return Some(None) };
    Some(Some(b.constant(arg)?.to_f32().ok()?.into_owned()))
}

/// How a node transposes its input, if that is what it does.
pub(super) fn transposition(node: &Node) -> Option<Vec<usize>> {
    if node.args.def.name != "transpose" {
        return None;
    }
    Transpose::bind(&node.args).ok()?.permutation().ok()
}

/// Whether a plan has tensors of it.
pub(super) fn is_float(dtype: DType) -> bool {
    matches!(dtype, DType::F16 | DType::F32)
}

/// The tensor of an argument that is of floats and not a constant.
pub(super) fn input(b: &mut Builder<'_>, arg: &Arg, want: &Want) -> Option<Tensor> {
    if !is_float(arg.dtype()) || arg.shape().iter().any(|d| d.is(0)) {
        return None;
    }
    b.tensor(arg.id?, want)
}

/// A tensor for the output that lies as the input does, or as its users want it.
pub(super) fn like(b: &mut Builder<'_>, node: &Node, x: &Tensor) -> Tensor {
    let natural = Layout { order: x.order(), margins: vec![(0, 0); x.rank()] };
    let layout = b.layout_for(node.outputs[0], natural);
    b.new_tensor(&node.types[0].1, &layout)
}

struct Copying(Copy);

impl Work for Copying {
    fn run(&self, m: Machine<'_>, out: &mut [f32], inputs: &[&[f32]]) {
        self.0.run(m.isa, m.threads, out, inputs[0]);
    }
}

/// Makes `y` a node's output by a copy from one view to another, which is one of `y`. `None` if their shapes differ.
fn moved(b: &mut Builder<'_>, node: &Node, from: &Tensor, to: &Tensor, y: Tensor) -> Option<()> {
    if from.shape != to.shape {
        return None;
    }
    let joined = Joined { dtype: node.types[0].0, stages: vec![], ops: vec![node.op] };
    copy(b, &joined, from, to);
    b.set(node, 0, y);
    Some(())
}

/// Copies a tensor to another of the same shape.
pub(super) fn copy(b: &mut Builder<'_>, joined: &Joined, from: &Tensor, to: &Tensor) {
    let work = Copying(Copy::new(&to.shape, to.view(), from.view()));
    b.kernel(joined, "copy", to, vec![from.buffer], work);
}
