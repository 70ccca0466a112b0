//! Joining tensors.

use mil_core::{graph::Value, mb};

use super::{Entry, Lowered, Node};
use crate::{
    import::{Refusal, Tensor},
    torch::val::{Val, result_type},
};

pub(super) const OPS: &[Entry] = &[
    Entry::new("aten::cat", cat),
    Entry::new("aten::concat", cat),
    Entry::new("aten::concatenate", cat),
    Entry::new("aten::hstack", |n| side_by_side(n, 1)),
    Entry::new("aten::stack", stack),
    Entry::new("aten::vstack", |n| side_by_side(n, 0)),
];

/// Of the dtype that they have together, and how it is called in the model.
fn alike(n: &mut Node<'_, '_>) -> Result<Vec<Tensor>, Refusal> {
    let all = n.tensors(0, "tensors")?;
    let vals: Vec<Val> = all.iter().map(|t| t.clone().into()).collect();
    let dtype = result_type(&vals.iter().collect::<Vec<_>>());
    let mut same = vec![];
    for t in &all {
        // A list `[0]` counts as nothing, whatever the others are.
        if t.size(0) == Some(0) && t.rank() == 1 && all.len() > 1 {
            continue;
        }
        same.push(n.convert(t, dtype)?);
    }
    if same.is_empty() { Err(Refusal::new("joins nothing")) } else { Ok(same) }
}

fn joined(n: &mut Node<'_, '_>, all: &[Tensor], axis: usize) -> Lowered {
    if let [one] = all {
        return Ok(vec![one.clone().into()]);
    }
    let values: Vec<Value> = all.iter().map(|t| t.value.clone()).collect();
    let y = n.push(mb::concat(values, axis as i64))?;
    n.one(y, all[0].dtype)
}

fn cat(n: &mut Node<'_, '_>) -> Lowered {
    let all = alike(n)?;
    let dim = n.int_or(1, "dim|axis", 0)?;
    let axis = all[0].axis(dim)?;
    joined(n, &all, axis)
}

fn stack(n: &mut Node<'_, '_>) -> Lowered {
    let all = alike(n)?;
    let dim = n.int_or(1, "dim", 0)?;
    let rank = all[0].rank() as i64 + 1;
    let axis = if dim < 0 { dim + rank } else { dim };
    if !(0..rank).contains(&axis) {
        return Err(Refusal::new(format!("there is no axis {dim} in a tensor of rank {rank}")));
    }
    let values: Vec<Value> = all.iter().map(|t| t.value.clone()).collect();
    let y = n.push(mb::stack(values, axis))?;
    n.one(y, all[0].dtype)
}

/// Along the second dimension, or the only one; `vstack` makes rows of vectors.
fn side_by_side(n: &mut Node<'_, '_>, axis: usize) -> Lowered {
    let mut all = alike(n)?;
    for t in &mut all {
        let least = if axis == 0 { 2 } else { 1 };
        while t.rank() < least {
            t.value = n.expand_dims(&t.value, &[0])?;
        }
    }
    let axis = axis.min(all[0].rank() - 1);
    joined(n, &all, axis)
}

#[cfg(test)]
mod tests {
    use crate::torch::testing::Net;

    #[test]
    fn tensors_are_joined_by_one_op() {
        let net = |call: &str| Net::new().input("a", &[2, 3]).input("b", &[2, 3]).node(&format!("y = aten::{call}"));
        assert_eq!(net("cat([a, b], -1)").form("y"), ["concat(values=a b, axis=1, interleave=false)"]);
        assert_eq!(net("stack([a, b], 1)").form("y"), ["stack(values=a b, axis=1)"]);
        assert_eq!(net("cat([a], 0)").ops("y"), ["identity"]);
        assert!(net("stack([a, b], 3)").refusal("y").contains("there is no axis 3 in a tensor of rank 3"));
        assert!(net("cat([], 0)").refusal("y").contains("joins nothing"));
    }
}
