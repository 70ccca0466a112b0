//! What nobody uses goes.

use crate::op::OpError;

use super::{Context, Pass, Report, Rewriter};

/// Erases ops whose values nobody uses, constants among them. What writes a state stays, and so do the function's inputs,
/// which are its interface.
#[derive(Clone, Copy, Debug)]
pub struct DeadCodeElimination;

impl Pass for DeadCodeElimination {
    fn name(&self) -> &'static str {
        "dead_code_elimination"
    }

    fn doc(&self) -> &'static str {
        "erases ops and constants whose values nobody uses"
    }

    fn function(&self, rw: &mut Rewriter, _: &Context<'_>, report: &mut Report) -> Result<(), OpError> {
        for op in rw.ops().into_iter().rev() {
            let is_const = rw.op(op).def.is_const();
            let erased = rw.erase_unused(op);
            report.count_by("erased op", erased);
            report.count_by("erased constant", usize::from(is_const && !rw.is_live(op)));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        graph::Graph,
        mb,
        passes::testing::{condition, graph, ops, run},
        types::{DType, TensorType},
    };

    #[test]
    fn chains_and_branches_that_nobody_uses_go() {
        let mut g = graph();
        let go = condition(&mut g);
        let x = g.input("x", TensorType::new(DType::F32, [2]));
        let a = g.push(mb::add(&x, 1.0)).unwrap();
        g.push(mb::exp(&a)).unwrap();
        let yes = |g: &mut Graph| {
            g.push(mb::sin(&x))?;
            Ok(vec![g.push(mb::add(&x, 2.0))?])
        };
        let used = g.cond(&go, yes, |g| Ok(vec![g.push(mb::cos(&x))?])).unwrap();
        g.cond(&go, |g| Ok(vec![g.push(mb::tan(&x))?]), |_| Ok(vec![x.clone()])).unwrap();
        let mut p = g.finish([("y", used[0].clone())]).unwrap();
        let report = run(&DeadCodeElimination, &mut p);
        assert_eq!(ops(&p), ["cond", "add", "cos"]);
        assert_eq!(report.counts["erased op"], 4);
        assert_eq!(p.main().unwrap().inputs.len(), 2);
        assert_eq!(run(&DeadCodeElimination, &mut p).changes(), 0);
    }
}
