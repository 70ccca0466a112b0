//! Pools over channels-last data.

use mil_core::{
    ir::ValueId,
    op::Op,
    ops::pool::{self, AvgPool, L2Pool, MaxPool},
    types::DType,
};

use super::super::{
    build::{Builder, Joined, Want},
    nodes::Node,
    step::{Machine, Work},
    tensor::{Layout, Tensor},
};
use crate::cpu::{
    kernels::pool::{Area, Axis, Pool, Pooling},
    reference::window,
};

/// The op, whichever it is, and what it does to a window.
fn bind(node: &Node) -> Option<(Box<dyn pool::Pool>, Pooling)> {
    Some(match node.args.def.name {
        "max_pool" => (Box::new(MaxPool::bind(&node.args).ok()?), Pooling::Max),
        "l2_pool" => (Box::new(L2Pool::bind(&node.args).ok()?), Pooling::L2),
        "avg_pool" => {
            let op = AvgPool::bind(&node.args).ok()?;
            let exclude_padding = op.exclude_padding_from_average;
            (Box::new(op), Pooling::Average { exclude_padding })
        }
        _ => return None,
    })
}

/// A pool wants its input channels-last, and no margins: windows end where elements do.
pub(super) fn wanted_margins(node: &Node, value: ValueId) -> Option<Vec<(usize, usize)>> {
    let (op, _) = bind(node)?;
    let x = op.windows().x;
    (x.id == Some(value)).then(|| vec![(0, 0); x.rank() - 2])
}

/// Plans a pool.
pub(super) fn lower(b: &mut Builder<'_>, node: &Node) -> Option<()> {
    let (op, kind) = bind(node)?;
    let windows = op.windows();
    let (dtype, shape) = &node.types[0];
    let (id, rank) = (windows.x.id?, shape.len());
    let sizes = windows.x.ty.shape.fixed()?;
    if !matches!(dtype, DType::F16 | DType::F32)
        || shape.contains(&0)
        || sizes.contains(&0)
        || b.constant(windows.x).is_some()
    {
        return None;
    }
    let kernels: Vec<usize> = windows.kernel_sizes.iter().map(|k| usize::try_from(*k).ok()).collect::<Option<_>>()?;
    let ones = vec![1; kernels.len()];
    let axes =
        window::Axis::three(&sizes[2..], &shape[2..], &kernels, windows.strides, &ones, windows.pad_type, windows.pad);
    let axes = axes.map(|a| Axis { size: a.size, places: a.places, kernel: a.kernel, stride: a.stride, pad: a.pad });
    let x = b.tensor(id, &Want::ChannelsLast(vec![(0, 0); rank - 2]))?;
    let layout = b.layout_within(node.outputs[0], Layout::channels_last(rank), 1);
    let to = b.new_tensor(shape, &layout);
    let area = |t: &Tensor| {
        let mut strides = [0; 4];
        strides[0] = t.strides[0];
        strides[6 - rank..].copy_from_slice(&t.strides[2..]);
        Area { offset: t.offset, strides }
    };
    let pool = Pool {
        kind,
        images: shape[0],
        channels: shape[1],
        axes,
        input: area(&x),
        output: area(&to),
        half: *dtype == DType::F16,
    };
    let joined = Joined { dtype: *dtype, stages: vec![], ops: vec![node.op] };
    b.kernel(&joined, "pool", &to, vec![x.buffer], Pooled(pool));
    b.set(node, 0, to);
    Some(())
}

struct Pooled(Pool);

impl Work for Pooled {
    fn run(&self, m: Machine<'_>, out: &mut [f32], inputs: &[&[f32]]) {
        self.0.run(m.isa, m.threads, inputs[0], out);
    }
}
