//! `stack` that is undone.

use crate::{
    ir::{OpId, ValueId},
    mb,
    op::OpError,
    ops::rules,
};

use super::{Context, Pass, Report, Rewriter, Use};

/// `squeeze` of each part of a `split` of a `stack` along the same axis is what was stacked.
#[derive(Clone, Copy, Debug)]
pub struct FuseStackSplit;

impl Pass for FuseStackSplit {
    fn name(&self) -> &'static str {
        "fuse_stack_split"
    }

    fn doc(&self) -> &'static str {
        "gives what was stacked where it is split again"
    }

    fn function(&self, rw: &mut Rewriter, _: &Context<'_>, report: &mut Report) -> Result<(), OpError> {
        for op in rw.ops() {
            let Some((op, value)) = rw.is_live(op).then(|| matched(rw, op)).flatten() else { continue };
            let value = rw.value(value);
            rw.replace(op, &[value])?;
            report.count("undone stack");
        }
        Ok(())
    }
}

/// A squeeze, and what it gives.
fn matched(rw: &Rewriter, op: OpId) -> Option<(OpId, ValueId)> {
    let squeeze = rw.bind::<mb::Squeeze>(op)?;
    let part = squeeze.x.id?;
    let (at, split) = rw.made_by_op::<mb::Split>(part)?;
    let (_, stack) = rw.made_by_op::<mb::Stack>(split.x.id?)?;
    let rank = split.x.rank();
    let axis = rules::axis(stack.axis, rank, "axis").ok()?;
    let parts = &rw.op(at).outputs;
    let axes = rules::axes(squeeze.axes.as_ref()?, rank, "axes").ok()?;
    let same = rules::axis(split.axis, rank, "axis").ok()? == axis && axes == [axis];
    // As many parts as there were values: each has size 1, unless some are empty.
    let ones = parts.iter().all(|v| rw.ty(*v).tensor().is_some_and(|t| t.shape[axis].is(1)));
    if !same || !ones || parts.len() != stack.values.len() {
        return None;
    }
    let value = stack.values[parts.iter().position(|v| *v == part)?].id?;
    let out = rw.output(op)?;
    // What a branch or loop gives is made in it.
    let outputs = rw.uses(out).all(|(by, _)| match by {
        Use::Op(_) => true,
        Use::Block(block) => block == rw.body() || (rw.home(value) == block && rw.producer(value).is_some()),
    });
    (outputs && rw.ty(value) == rw.ty(out)).then_some((op, value))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::passes::testing::{f32s, graph, ops, outputs, run};

    #[test]
    fn is_undone_for_one_axis() {
        let mut g = graph();
        let x = g.input("x", f32s(&[2, 2]));
        let y = g.push(mb::exp(&x)).unwrap();
        let stack = g.push(mb::stack([&x, &y], -1)).unwrap();
        let parts = g.push(mb::split(&stack, 2).num_splits(2)).unwrap();
        let a = g.push(mb::squeeze(&parts[0]).axes([2])).unwrap();
        let a = g.push(mb::tanh(&a)).unwrap();
        let b = g.push(mb::squeeze(&parts[1]).axes([-1])).unwrap();
        let other = g.push(mb::stack([&x, &y], 0)).unwrap();
        let parts = g.push(mb::split(&other, 1).num_splits(2)).unwrap();
        let c = g.push(mb::squeeze(&parts[0]).axes([1])).unwrap();
        let mut p = g.finish([("a", a), ("b", b), ("c", c)]).unwrap();
        assert_eq!(run(&FuseStackSplit, &mut p).counts["undone stack"], 2);
        assert_eq!(ops(&p), ["exp", "tanh", "stack", "split", "squeeze"]);
        assert_eq!(outputs(&p), ["a", "b", "c"]);
    }
}
