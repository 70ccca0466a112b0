//! Reductions.

use mil_core::{
    op::{Arg, Op},
    ops::reduce::*,
    types::DType,
};

use super::super::{
    build::{Builder, Joined, Want},
    nodes::Node,
    step::{Machine, Work},
    tensor::Layout,
};
use crate::cpu::kernels::reduce::{Input, Reduce, Reducing};

/// The op's input, its axes, and what it does to the elements.
fn bind(node: &Node) -> Option<(Arg, Vec<usize>, Reducing)> {
    macro_rules! ops {
        ($($name:literal: $op:ident => $reducing:ident;)*) => {
            match node.args.def.name {
                $($name => {
                    let op = $op::bind(&node.args).ok()?;
                    let axes = op.reduced_axes().ok()?;
                    Some((op.x, axes, Reducing::$reducing))
                })*
                _ => None,
            }
        };
    }
    ops! {
        "reduce_l1_norm": ReduceL1Norm => L1Norm; "reduce_l2_norm": ReduceL2Norm => L2Norm; "reduce_log_sum": ReduceLogSum => LogSum;
        "reduce_log_sum_exp": ReduceLogSumExp => LogSumExp; "reduce_max": ReduceMax => Max; "reduce_mean": ReduceMean => Mean;
        "reduce_min": ReduceMin => Min; "reduce_prod": ReduceProd => Prod; "reduce_sum": ReduceSum => Sum;
        "reduce_sum_square": ReduceSumSquare => SumSquare;
    }
}

struct Reduced(Reduce);

impl Work for Reduced {
    fn run(&self, m: Machine<'_>, out: &mut [f32], inputs: &[&[f32]]) {
        self.0.run(m.isa, m.threads, inputs[0], out);
    }
}

/// Plans a reduction.
pub(super) fn lower(b: &mut Builder<'_>, node: &Node) -> Option<()> {
    let (arg, axes, op) = bind(node)?;
    let (dtype, shape) = &node.types[0];
    if !matches!(dtype, DType::F16 | DType::F32) || arg.shape().iter().any(|d| d.is(0)) {
        return None;
    }
    let x = b.tensor(arg.id?, &Want::Any)?;
    let mut reduced = vec![false; x.rank()];
    axes.iter().for_each(|a| reduced[*a] = true);
    let layout = b.layout_for(node.outputs[0], Layout::plain(shape.len()));
    let to = b.new_tensor(shape, &layout);
    // Of the output, the dimensions that are kept: with `keep_dims` the others are there too, of size 1.
    let strides: Vec<usize> = if shape.len() == x.rank() && !axes.is_empty() {
        (0..x.rank()).filter(|d| !reduced[*d]).map(|d| to.strides[d]).collect()
    } else {
        to.strides.clone()
    };
    let input = Input { offset: x.offset, shape: &x.shape, strides: &x.strides, reduced: &reduced };
    let work = Reduced(Reduce::new(op, input, to.offset, &strides, *dtype == DType::F16));
    let joined = Joined { dtype: *dtype, stages: vec![], ops: vec![node.op] };
    b.kernel(&joined, "reduce", &to, vec![x.buffer], work);
    b.set(node, 0, to);
    Some(())
}
