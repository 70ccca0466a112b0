//! Tensors put together from elements of another, place by place.

use std::sync::Arc;

use mil_core::op::Arg;

use super::{
    super::{
        build::{Builder, Joined, Want},
        nodes::Node,
        step::{Machine, Work},
        tensor::Tensor,
    },
    like,
};
use crate::{
    cpu::kernels::pick::{NOWHERE, Pick, Places},
    tensor::{AnyTensor, Data},
};

pub(super) struct Picked(pub(super) Pick);

impl Work for Picked {
    fn run(&self, m: Machine<'_>, out: &mut [f32], inputs: &[&[f32]]) {
        self.0.run(m.threads, out, inputs[0]);
    }
}

/// A constant of floats, read as it is stored: it may be large, and little of it wanted.
pub(super) struct Stored(Arc<AnyTensor>);

impl Stored {
    /// The tensor, if it is of floats.
    pub(super) fn new(tensor: Arc<AnyTensor>) -> Option<Stored> {
        matches!(tensor.data(), Data::F16(_) | Data::F32(_)).then_some(Stored(tensor))
    }

    pub(super) fn pick(&self, m: Machine<'_>, pick: &Pick, out: &mut [f32]) {
        match self.0.data() {
            Data::F16(v) => pick.run(m.threads, out, v),
            Data::F32(v) => pick.run(m.threads, out, v),
            _ => unreachable!("checked when it was made"),
        }
    }
}

/// Plans a node whose output has the dimensions of its input: `from` says, for each, which place each new one has of the old; `None` for
/// those that are `fill`.
pub(super) fn pick(
    b: &mut Builder<'_>,
    node: &Node,
    x: &Arg,
    fill: f32,
    from: impl Fn(usize, usize) -> Option<usize>,
) -> Option<()> {
    let (dtype, shape) = &node.types[0];
    if !super::is_float(*dtype) || shape.contains(&0) || x.shape().iter().any(|d| d.is(0)) {
        return None;
    }
    let x = b.tensor(x.id?, &Want::Any)?;
    let to = like(b, node, &x);
    let places = |d: usize| {
        let offset = |i: usize| from(d, i).map_or(NOWHERE, |at| at * x.strides[d]);
        Places { stride: to.strides[d], from: (0..shape[d]).map(offset).collect() }
    };
    let work = Pick::new((0..shape.len()).map(places).collect(), [to.offset, x.offset], fill);
    let joined = Joined { dtype: *dtype, stages: vec![], ops: vec![node.op] };
    b.kernel(&joined, "pick", &to, vec![x.buffer], Picked(work));
    b.set(node, 0, to);
    Some(())
}

/// Two dimensions for one: the outer one of `size / inner` elements.
pub(super) fn split(t: &Tensor, axis: usize, inner: usize) -> Tensor {
    let mut t = t.clone();
    let (size, stride) = (t.shape[axis], t.strides[axis]);
    t.shape.splice(axis..=axis, [size / inner, inner]);
    t.strides.splice(axis..=axis, [stride * inner, stride]);
    t.margins.splice(axis..=axis, [(0, 0); 2]);
    t
}
