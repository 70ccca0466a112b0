//! Ops that move elements: mostly another view of the same memory.

use mil_core::{
    op::{Arg, Op},
    ops::{
        cast::Cast,
        concat::Concat,
        shape::{ExpandDims, Squeeze, Transpose},
        slice::{SliceByIndex, SliceBySize},
        split::Split,
    },
    types::DType,
};

use super::super::{
    build::{Builder, Joined, Want},
    nodes::Node,
    stage::Stage,
    tensor::{Layout, Tensor},
};

/// Plans an op that moves elements.
pub(super) fn lower(b: &mut Builder<'_>, node: &Node) -> Option<()> {
    match b.function.op(node.op).def.name {
        "transpose" => {
            let op = Transpose::bind(&node.args).ok()?;
            let perm = op.permutation().ok()?;
            let t = input(b, &op.x, &Want::Any)?.transposed(&perm);
            b.set(node, 0, t);
        }
        "reshape" | "flatten2d" | "reshape_like" => reshape(b, node)?,
        "squeeze" | "expand_dims" => dims(b, node)?,
        "identity" => {
            let x = first(node)?;
            let t = input(b, &x, &Want::Any)?;
            b.set(node, 0, t);
        }
        "cast" => cast(b, node)?,
        "slice_by_index" | "slice_by_size" => slice(b, node)?,
        "split" => split(b, node)?,
        "concat" => concat(b, node)?,
        _ => return None,
    }
    Some(())
}

/// An op's first argument, as a tensor.
fn first(node: &Node) -> Option<Arg> {
    let a = node.args.get(0)?.first()?;
    Some(Arg { id: a.id, ty: a.ty.tensor()?.clone(), known: a.known.clone(), is_const: a.is_const })
}

fn is_float(dtype: DType) -> bool {
    matches!(dtype, DType::F16 | DType::F32)
}

/// The tensor of an argument that is of floats and not a constant.
fn input(b: &mut Builder<'_>, arg: &Arg, want: &Want) -> Option<Tensor> {
    if !is_float(arg.dtype()) || arg.shape().iter().any(|d| d.is(0)) {
        return None;
    }
    b.tensor(arg.id?, want)
}

fn reshape(b: &mut Builder<'_>, node: &Node) -> Option<()> {
    let x = first(node)?;
    let shape = &node.types[0].1;
    let t = input(b, &x, &Want::Any)?;
    let t = match t.reshaped(shape) {
        Some(t) => t,
        // What lies in no order is copied once.
        None => b.tensor(x.id?, &Want::Dense)?.reshaped(shape)?,
    };
    b.set(node, 0, t);
    Some(())
}

fn dims(b: &mut Builder<'_>, node: &Node) -> Option<()> {
    let x = first(node)?;
    let (from, to) = (x.rank() as i64, node.types[0].1.len() as i64);
    let mut t = input(b, &x, &Want::Any)?;
    if to >= from {
        let op = ExpandDims::bind(&node.args).ok()?;
        let mut axes: Vec<usize> = op.axes.iter().map(|a| a.rem_euclid(to.max(1)) as usize).collect();
        axes.sort_unstable();
        for axis in axes {
            t = t.expanded(axis);
        }
    } else {
        for axis in Squeeze::bind(&node.args).ok()?.removed().ok()?.into_iter().rev() {
            t = t.squeezed(axis);
        }
    }
    (t.shape == node.types[0].1).then(|| b.set(node, 0, t))
}

/// Between floats a cast is a rounding, or nothing.
fn cast(b: &mut Builder<'_>, node: &Node) -> Option<()> {
    let op = Cast::bind(&node.args).ok()?;
    let to = node.types[0].0;
    if !is_float(to) || !is_float(op.x.dtype()) {
        return None;
    }
    if to == DType::F32 || op.x.dtype() == DType::F16 {
        let t = input(b, &op.x, &Want::Any)?;
        b.set(node, 0, t);
        return Some(());
    }
    super::elementwise::stage(b, node, &op.x, Stage::Half)
}

fn slice(b: &mut Builder<'_>, node: &Node) -> Option<()> {
    let x = first(node)?;
    let t = input(b, &x, &Want::Any)?;
    let name = b.function.op(node.op).def.name;
    let spans = if name == "slice_by_index" {
        let op = SliceByIndex::bind(&node.args).ok()?;
        op.spans(&t.shape, &op.begin.known_ints()?, &op.end.known_ints()?).ok()?
    } else {
        let op = SliceBySize::bind(&node.args).ok()?;
        op.spans(&t.shape, &op.begin.known_ints()?, &op.size.known_ints()?).ok()?
    };
    let mut t = t;
    for (axis, span) in spans.iter().enumerate() {
        // Backwards is for the reference.
        t = t.sliced(axis, span.start, usize::try_from(span.step).ok()?, span.count);
    }
    for axis in (0..spans.len()).rev().filter(|a| spans[*a].squeeze) {
        t = t.squeezed(axis);
    }
    (t.shape == node.types[0].1 && t.count() > 0).then(|| b.set(node, 0, t))
}

fn split(b: &mut Builder<'_>, node: &Node) -> Option<()> {
    let op = Split::bind(&node.args).ok()?;
    let axis = op.dimension().ok()?;
    let t = input(b, &op.x, &Want::Any)?;
    let mut at = 0;
    for i in 0..node.outputs.len() {
        let size = node.types[i].1[axis];
        b.set(node, i, t.sliced(axis, at, 1, size));
        at += size;
    }
    Some(())
}

fn concat(b: &mut Builder<'_>, node: &Node) -> Option<()> {
    let op = Concat::bind(&node.args).ok()?;
    let (dtype, shape) = &node.types[0];
    if op.interleave || !is_float(*dtype) || shape.contains(&0) {
        return None;
    }
    let axis = op.dimension().ok()?;
    // All before anything is emitted: if one cannot be had, the reference computes the op.
    let mut parts = vec![];
    for value in &op.values {
        if !value.shape().iter().any(|d| d.is(0)) {
            let part = b.tensor(value.id?, &Want::Any)?;
            // Scalars are joined to a vector.
            parts.push(if part.rank() == 0 { part.expanded(0) } else { part });
        }
    }
    let largest = parts.iter().max_by_key(|t| t.count())?;
    let natural = Layout { order: largest.order(), margins: vec![(0, 0); shape.len()] };
    let layout = b.layout_for(node.outputs[0], natural);
    let to = b.new_tensor(shape, &layout);
    let joined = Joined { dtype: *dtype, stages: vec![], ops: vec![node.op] };
    let mut at = 0;
    for part in parts {
        let size = part.shape[axis];
        super::copy(b, &joined, &part, &to.sliced(axis, at, 1, size));
        at += size;
    }
    b.set(node, 0, to);
    Some(())
}
