//! `relu` of `relu`.

use crate::op::OpError;

use super::{Context, Pass, Report, Rewriter, fusion::each_op};

/// `relu(relu(x))` is `relu(x)`, and so is `relu` of what cannot be less than 0 otherwise: `relu6`, `sigmoid`, `abs`, `exp`, `square`.
#[derive(Clone, Copy, Debug)]
pub struct MergeConsecutiveRelus;

impl Pass for MergeConsecutiveRelus {
    fn name(&self) -> &'static str {
        "merge_consecutive_relus"
    }

    fn doc(&self) -> &'static str {
        "removes relu of what is at least 0"
    }

    fn function(&self, rw: &mut Rewriter, _: &Context<'_>, report: &mut Report) -> Result<(), OpError> {
        each_op(rw, report, "removed relu", |rw, op| {
            let x = rw.arg(op, "x").filter(|_| rw.op(op).def.name == "relu");
            let made_by = |v| rw.producer(v).map(|op| rw.op(op).def.name);
            let x = x.filter(|x| made_by(*x).is_some_and(|name| POSITIVE.contains(&name)));
            // What a branch or loop gives is made in it.
            let inside = |v| rw.home(v) == rw.block_of(op).unwrap_or(rw.body());
            Ok(x.filter(|x| inside(*x)).map(|x| rw.value(x)))
        })
    }
}

/// Ops that give nothing below 0.
const POSITIVE: &[&str] = &["relu", "relu6", "sigmoid", "abs", "exp", "square"];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        mb,
        passes::testing::{f32s, graph, ops, outputs, run},
    };

    #[test]
    fn the_first_is_enough() {
        let mut g = graph();
        let x = g.input("x", f32s(&[2]));
        let a = g.push(mb::relu(&x)).unwrap();
        let b = g.push(mb::relu(&a)).unwrap();
        let c = g.push(mb::relu(&b)).unwrap();
        let d = g.push(mb::tanh(&c)).unwrap();
        let d = g.push(mb::relu(&d)).unwrap();
        let mut p = g.finish([("c", c), ("d", d)]).unwrap();
        assert_eq!(run(&MergeConsecutiveRelus, &mut p).counts["removed relu"], 2);
        assert_eq!((ops(&p), outputs(&p)), (vec!["relu", "tanh", "relu"], vec!["c", "d"]));
    }
}
