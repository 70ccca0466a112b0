//! Reshapings one after the other.

use crate::{
    ir::{OpId, ValueId},
    mb,
    op::OpError,
};

use super::{Context, Pass, Report, Rewriter};

/// Makes one `reshape` of ops one after the other that give their elements in the same order: `reshape`, `expand_dims`,
/// `squeeze`. All but one size of the result must be known.
#[derive(Clone, Copy, Debug)]
pub struct MergeConsecutiveReshapes;

/// Whether an op gives the elements of `x` in the order they are in.
pub(super) fn keeps_order(rw: &Rewriter, op: OpId) -> bool {
    matches!(rw.op(op).def.name, "reshape" | "expand_dims" | "squeeze" | "flatten2d")
}

impl Pass for MergeConsecutiveReshapes {
    fn name(&self) -> &'static str {
        "merge_consecutive_reshapes"
    }

    fn doc(&self) -> &'static str {
        "makes one reshape of reshapes, expand_dims and squeezes one after the other"
    }

    fn function(&self, rw: &mut Rewriter, _: &Context<'_>, report: &mut Report) -> Result<(), OpError> {
        // From the end, so that the last of a chain takes all before it.
        for op in rw.ops().into_iter().rev() {
            if !rw.is_live(op) || !keeps_order(rw, op) {
                continue;
            }
            let Some(out) = rw.output(op) else { continue };
            let Some((start, merged)) = start(rw, op) else { continue };
            let Some(shape) = shape(rw, out) else { continue };
            let x = rw.value(start);
            let Ok(one) = rw.before(op).push(mb::reshape(&x, shape)) else { continue };
            if one.ty() != rw.ty(out) {
                if let Some(op) = rw.producer(one.id()) {
                    rw.erase_unused(op);
                }
                continue;
            }
            rw.replace(op, &[one])?;
            report.count_by("merged", merged);
        }
        Ok(())
    }
}

/// So many are merged at a time: what cannot be merged is not looked at again by each op of a long chain.
const MAX_CHAIN: usize = 64;

/// Where a chain of reshapings that only this op uses starts, and how many there are before this one.
fn start(rw: &Rewriter, op: OpId) -> Option<(ValueId, usize)> {
    let mut x = rw.arg(op, "x")?;
    let mut merged = 0;
    let mut user = op;
    while merged < MAX_CHAIN
        && let Some(before) = rw.producer(x).filter(|p| keeps_order(rw, *p) && rw.only_user(x) == Some(user))
    {
        (x, user, merged) = (rw.arg(before, "x")?, before, merged + 1);
    }
    (merged > 0).then_some((x, merged))
}

/// The shape of a value as `reshape` takes it: one size may be left to be inferred.
fn shape(rw: &Rewriter, value: ValueId) -> Option<Vec<i32>> {
    let dims = &rw.ty(value).tensor()?.shape;
    // Size 0 would mean the size that is there.
    let size = |d: &crate::types::Dim| match d.value() {
        Some(n) => i32::try_from(n).ok().filter(|n| *n > 0),
        None => Some(-1),
    };
    let sizes = dims.iter().map(size).collect::<Option<Vec<i32>>>()?;
    (!sizes.is_empty() && sizes.iter().filter(|n| **n == -1).count() <= 1).then_some(sizes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        passes::testing::{graph, ops, run},
        types::TensorType,
    };

    #[test]
    fn chains_are_one_reshape() {
        let mut g = graph();
        let x = g.input("x", "Tensor<f32, H, 6>".parse::<TensorType>().unwrap());
        let a = g.push(mb::reshape(&x, [-1, 2, 3])).unwrap();
        let b = g.push(mb::expand_dims(&a, [0])).unwrap();
        let c = g.push(mb::reshape(&b, [1, -1, 6])).unwrap();
        let y = g.push(mb::exp(&c)).unwrap();
        let mut p = g.finish([("y", y)]).unwrap();
        assert_eq!(run(&MergeConsecutiveReshapes, &mut p).counts["merged"], 2);
        assert_eq!(ops(&p), ["reshape", "exp"]);
        assert_eq!(run(&MergeConsecutiveReshapes, &mut p).changes(), 0);
    }

    #[test]
    fn what_others_use_stays() {
        let mut g = graph();
        let x = g.input("x", "Tensor<f32, 4, 6>".parse::<TensorType>().unwrap());
        let a = g.push(mb::reshape(&x, [4, 2, 3])).unwrap();
        let b = g.push(mb::reshape(&a, [24])).unwrap();
        let mut p = g.finish([("a", a), ("b", b)]).unwrap();
        assert_eq!(run(&MergeConsecutiveReshapes, &mut p).changes(), 0);
    }
}
