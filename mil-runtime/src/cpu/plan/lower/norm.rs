//! Softmax and norms.

use mil_core::{op::Op, ops::activation::Softmax as SoftmaxOp, types::DType};

use super::super::{
    build::{Builder, Joined, Want},
    nodes::Node,
    step::{Machine, Work},
    tensor::{Layout, Tensor},
};
use crate::cpu::kernels::{softmax::Softmax, view};

/// Plans a softmax or a norm.
pub(super) fn lower(b: &mut Builder<'_>, node: &Node) -> Option<()> {
    if !matches!(node.types[0].0, DType::F16 | DType::F32) || node.types[0].1.contains(&0) {
        return None;
    }
    match node.args.def.name {
        "softmax" => softmax(b, node),
        _ => None,
    }
}

fn layout(t: &Tensor) -> view::Layout<'_> {
    view::Layout { offset: t.offset, strides: &t.strides }
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
    let axis = op.axis.rem_euclid(shape.len().max(1) as i64) as usize;
    if axis >= shape.len() {
        return None;
    }
    let x = b.tensor(op.x.id?, &Want::Any)?;
    let layout_of_x = Layout { order: x.order(), margins: vec![(0, 0); shape.len()] };
    let wanted = b.layout_for(node.outputs[0], layout_of_x);
    let to = b.new_tensor(shape, &wanted);
    let work = Softmaxed(Softmax::new(shape, axis, layout(&x), layout(&to), 1.0, *dtype == DType::F16));
    let joined = Joined { dtype: *dtype, stages: vec![], ops: vec![node.op] };
    b.kernel(&joined, "softmax", &to, vec![x.buffer], work);
    b.set(node, 0, to);
    Some(())
}
