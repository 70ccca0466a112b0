//! Transposes of transposes.

use crate::{
    ir::{OpId, ValueId},
    mb,
    op::OpError,
};

use super::{Context, Pass, Report, Rewriter, fusion::each_op};

/// `transpose(transpose(x))` is one `transpose`, if nothing else uses the first.
#[derive(Clone, Copy, Debug)]
pub struct MergeConsecutiveTransposes;

impl Pass for MergeConsecutiveTransposes {
    fn name(&self) -> &'static str {
        "merge_consecutive_transposes"
    }

    fn doc(&self) -> &'static str {
        "makes one transpose of two"
    }

    fn function(&self, rw: &mut Rewriter, _: &Context<'_>, report: &mut Report) -> Result<(), OpError> {
        each_op(rw, report, "merged transpose", |rw, op| {
            let Some((x, perm)) = matched(rw, op) else { return Ok(None) };
            let x = rw.value(x);
            Ok(Some(rw.before(op).push(mb::transpose(&x, perm))?))
        })
    }
}

fn matched(rw: &Rewriter, op: OpId) -> Option<(ValueId, Vec<i64>)> {
    let outer = rw.bind::<mb::Transpose>(op)?;
    let (_, inner) = rw.made_for_op::<mb::Transpose>(outer.x.id?, op)?;
    let first = inner.permutation().ok()?;
    let perm = outer.permutation().ok()?.into_iter().map(|p| first[p] as i64).collect();
    Some((inner.x.id?, perm))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::passes::testing::{constants, f32s, graph, ops, run};

    #[test]
    fn of_three_and_of_a_shared_one() {
        let mut g = graph();
        let x = g.input("x", f32s(&[2, 3, 4]));
        let a = g.push(mb::transpose(&x, [1, 2, 0])).unwrap();
        let a = g.push(mb::transpose(&a, [0, 2, -2])).unwrap();
        let a = g.push(mb::transpose(&a, [2, 1, 0])).unwrap();
        let shared = g.push(mb::transpose(&x, [1, 2, 0])).unwrap();
        let b = g.push(mb::transpose(&shared, [1, 2, 0])).unwrap();
        let mut p = g.finish([("a", a), ("shared", shared), ("b", b)]).unwrap();
        assert_eq!(run(&MergeConsecutiveTransposes, &mut p).counts["merged transpose"], 2);
        assert_eq!(ops(&p), ["transpose"; 3]);
        assert_eq!(constants(&p, "transpose", &["perm"])[0].ints().unwrap(), [2, 0, 1]);
    }
}
