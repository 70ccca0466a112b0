//! Pads of pads.

use crate::{
    graph::Value,
    ir::OpId,
    mb,
    op::{Op, OpError},
    ops::pad::PadMode,
};

use super::{Context, Pass, Report, Rewriter, fusion::each_op};

/// `pad(pad(x))` is one `pad`, if both put the same number around, or both mirror or both repeat borders and no border is
/// extended twice.
#[derive(Clone, Copy, Debug)]
pub struct MergeConsecutivePaddings;

impl Pass for MergeConsecutivePaddings {
    fn name(&self) -> &'static str {
        "merge_consecutive_paddings"
    }

    fn doc(&self) -> &'static str {
        "makes one pad of two"
    }

    fn function(&self, rw: &mut Rewriter, _: &Context<'_>, report: &mut Report) -> Result<(), OpError> {
        each_op(rw, report, "merged pad", merge)
    }
}

fn merge(rw: &mut Rewriter, op: OpId) -> Result<Option<Value>, OpError> {
    let Some((inner, pad)) = matched(rw, op) else { return Ok(None) };
    let mut operands = rw.operands(inner);
    operands.retain(|(param, _)| *param != "pad");
    operands.push(("pad", pad.into()));
    Ok(rw.before(op).push_op(mb::Pad::DEF, operands, None)?.pop())
}

fn matched(rw: &Rewriter, op: OpId) -> Option<(OpId, Vec<i64>)> {
    let outer = rw.bind::<mb::Pad>(op)?;
    let (at, inner) = rw.made_for_op::<mb::Pad>(outer.x.id?, op)?;
    // A file may have the number in another dtype than the op takes when it is made.
    if rw.constant(at, "constant_val").is_some_and(|c| c.dtype() != inner.x.dtype()) {
        return None;
    }
    let (a, b) = (inner.pad.constant()?.ints()?, outer.pad.constant()?.ints()?);
    let length = a.len().max(b.len());
    let full = |p: Vec<i64>| [vec![0; length - p.len()], p].concat();
    let (a, b) = (full(a), full(b));
    let fits = match (inner.mode, outer.mode) {
        (PadMode::Constant, PadMode::Constant) => inner.constant_val.to_bits() == outer.constant_val.to_bits(),
        // A mirrored dimension is mirrored as it was; the same dimension twice is another picture.
        (x, y) => x == y && a.chunks(2).zip(b.chunks(2)).all(|(a, b)| a == [0, 0] || b == [0, 0]),
    };
    let sum = a.iter().zip(b).map(|(a, b)| a.checked_add(b)).collect::<Option<_>>()?;
    fits.then_some((at, sum))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::passes::testing::{constants, f32s, graph, ops, run};

    #[test]
    fn amounts_are_added() {
        let mut g = graph();
        let x = g.input("x", f32s(&[1, 1, 3, 3]));
        let v = g.push(mb::pad(&x, [1, 2])).unwrap();
        let v = g.push(mb::pad(&v, [1, 0, 3, 0])).unwrap();
        let y = g.push(mb::pad(&v, [0, 1])).unwrap();
        let mut p = g.finish([("y", y)]).unwrap();
        assert_eq!(run(&MergeConsecutivePaddings, &mut p).counts["merged pad"], 2);
        assert_eq!(ops(&p), ["pad"]);
        assert_eq!(constants(&p, "pad", &["pad"])[0].ints().unwrap(), [1, 0, 4, 3]);
    }

    #[test]
    fn mirrored_dimensions_are_merged_if_they_differ() {
        let mut g = graph();
        let x = g.input("x", f32s(&[1, 1, 3, 3]));
        let v = g.push(mb::pad(&x, [1, 2]).mode("reflect")).unwrap();
        let v = g.push(mb::pad(&v, [1, 1, 0, 0]).mode("reflect")).unwrap();
        let a = g.push(mb::pad(&v, [0, 1]).mode("reflect")).unwrap();
        let v = g.push(mb::pad(&x, [1, 2])).unwrap();
        let b = g.push(mb::pad(&v, [1, 2]).constant_val(1.0)).unwrap();
        let shared = g.push(mb::pad(&x, [1, 2])).unwrap();
        let c = g.push(mb::pad(&shared, [1, 2])).unwrap();
        let mut p = g.finish([("a", a), ("b", b), ("shared", shared), ("c", c)]).unwrap();
        run(&MergeConsecutivePaddings, &mut p);
        assert_eq!(ops(&p), ["pad"; 6]);
        assert_eq!(constants(&p, "pad", &["pad"])[0].ints().unwrap(), [1, 1, 1, 2]);
    }
}
