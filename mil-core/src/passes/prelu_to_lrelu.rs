//! `prelu` with one slope.

use crate::{
    ir::{OpId, ValueId},
    mb,
    op::OpError,
};

use super::{Context, Pass, Report, Rewriter, fusion::each_op};

/// `prelu` with the same slope for each channel is `leaky_relu`.
#[derive(Clone, Copy, Debug)]
pub struct PreluToLrelu;

impl Pass for PreluToLrelu {
    fn name(&self) -> &'static str {
        "prelu_to_lrelu"
    }

    fn doc(&self) -> &'static str {
        "makes leaky_relu of prelu with one slope for all channels"
    }

    fn function(&self, rw: &mut Rewriter, _: &Context<'_>, report: &mut Report) -> Result<(), OpError> {
        each_op(rw, report, "prelu to leaky_relu", |rw, op| {
            let Some((x, alpha)) = matched(rw, op) else { return Ok(None) };
            let x = rw.value(x);
            Ok(Some(rw.before(op).push(mb::leaky_relu(&x, alpha))?))
        })
    }
}

fn matched(rw: &Rewriter, op: OpId) -> Option<(ValueId, crate::ir::Constant)> {
    let prelu = rw.bind::<mb::Prelu>(op)?;
    let (alpha, slope) = (prelu.alpha.constant()?, rw.splat(op, "alpha")?);
    Some((prelu.x.id?, super::channels::constant(alpha.dtype(), &[], [slope])?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::passes::testing::{constants, f32s, graph, ops, run};

    #[test]
    fn only_if_all_are_the_same() {
        let mut g = graph();
        let x = g.input("x", f32s(&[1, 2, 3, 3]));
        let a = g.push(mb::prelu(&x, [0.25, 0.25])).unwrap();
        let b = g.push(mb::prelu(&a, [0.25, 0.5])).unwrap();
        let mut p = g.finish([("b", b)]).unwrap();
        run(&PreluToLrelu, &mut p);
        assert_eq!(ops(&p), ["leaky_relu", "prelu"]);
        assert_eq!(constants(&p, "leaky_relu", &["alpha"])[0].number(), Some(0.25));
    }
}
