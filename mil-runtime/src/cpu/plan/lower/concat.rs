//! `concat`, `stack`, `tile`.

use mil_core::{
    op::Op,
    ops::concat::{Concat, Stack, Tile},
};

use super::{
    super::{
        build::{Builder, Joined, Want},
        nodes::Node,
        tensor::{Layout, Tensor},
    },
    is_float, like,
    pick::split,
};

/// Plans a `concat`.
pub(super) fn concat(b: &mut Builder<'_>, node: &Node) -> Option<()> {
    let op = Concat::bind(&node.args).ok()?;
    if op.interleave || node.types[0].1.contains(&0) {
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
    joined(b, node, parts, axis)
}

/// Plans a `stack`.
pub(super) fn stack(b: &mut Builder<'_>, node: &Node) -> Option<()> {
    let op = Stack::bind(&node.args).ok()?;
    if node.types[0].1.contains(&0) {
        return None;
    }
    let axis = op.dimension().ok()?;
    let mut parts = vec![];
    for value in &op.values {
        parts.push(b.tensor(value.id?, &Want::Any)?.expanded(axis));
    }
    joined(b, node, parts, axis)
}

/// Copies the parts one behind the other.
fn joined(b: &mut Builder<'_>, node: &Node, parts: Vec<Tensor>, axis: usize) -> Option<()> {
    let (dtype, shape) = &node.types[0];
    if !is_float(*dtype) {
        return None;
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

/// Plans a `tile`: a copy of a view in which elements are repeated.
pub(super) fn tile(b: &mut Builder<'_>, node: &Node) -> Option<()> {
    let op = Tile::bind(&node.args).ok()?;
    let shape = &node.types[0].1;
    let x = super::input(b, &op.x, &Want::Any)?;
    if shape.contains(&0) {
        return None;
    }
    let y = like(b, node, &x);
    let (mut from, mut to) = (x.clone(), y.clone());
    for axis in (0..x.rank()).rev() {
        let size = x.shape[axis];
        to = split(&to, axis, size);
        from = from.expanded(axis);
        (from.shape[axis], from.strides[axis]) = (shape[axis] / size, 0);
    }
    super::moved(b, node, &from, &to, y)
}

#[cfg(test)]
mod tests {
    use mil_core::{mb, types::DType};
    use proptest::prelude::*;

    use super::super::super::testing::Case;

    proptest! {
        #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn many_become_one(
            shape in prop::collection::vec(1usize..6, 1..4), count in 1usize..4, axis in any::<prop::sample::Index>(),
            reps in prop::collection::vec(1i32..4, 4), half in any::<bool>(), seed in any::<u64>(),
        ) {
            let dtype = if half { DType::F16 } else { DType::F32 };
            let mut c = Case::new(seed);
            let mut parts: Vec<_> = (0..count).map(|_| c.input(dtype, &shape)).collect();
            parts.push(c.constant(dtype, &shape));
            let s = c.graph.push(mb::stack(parts.clone(), axis.index(shape.len() + 1) as i64)).unwrap();
            let j = c.graph.push(mb::concat(parts.clone(), axis.index(shape.len()) as i64)).unwrap();
            let t = c.graph.push(mb::tile(&parts[0], reps[..shape.len()].to_vec())).unwrap();
            // Of what lies otherwise.
            let perm: Vec<i32> = (0..shape.len() as i32).rev().collect();
            let turned = c.graph.push(mb::transpose(&parts[0], perm)).unwrap();
            let u = c.graph.push(mb::tile(&turned, reps[..shape.len()].to_vec())).unwrap();
            c.agrees(vec![s, j, t, u], 0.0, &[]).unwrap();
        }
    }
}
