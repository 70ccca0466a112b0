//! `silu`, written out.

use crate::{
    ir::{OpId, ValueId},
    mb,
    op::OpError,
};

use super::{
    Context, Pass, Report, Rewriter,
    fusion::{each_op, float},
};

/// `x * sigmoid(x)` is `silu(x)`.
#[derive(Clone, Copy, Debug)]
pub struct FuseSilu;

impl Pass for FuseSilu {
    fn name(&self) -> &'static str {
        "fuse_silu"
    }

    fn doc(&self) -> &'static str {
        "makes silu of x * sigmoid(x)"
    }

    fn function(&self, rw: &mut Rewriter, _: &Context<'_>, report: &mut Report) -> Result<(), OpError> {
        each_op(rw, report, "fused silu", |rw, op| {
            let Some(x) = matched(rw, op).map(|x| rw.value(x)) else { return Ok(None) };
            Ok(Some(rw.before(op).push(mb::silu(&x))?))
        })
    }
}

fn matched(rw: &Rewriter, op: OpId) -> Option<ValueId> {
    if rw.op(op).def.name != "mul" {
        return None;
    }
    float(rw, rw.output(op)?)?;
    rw.both_ways(op).into_iter().find_map(|(x, sigmoid)| {
        let sigmoid = rw.made_for_by(sigmoid, op, "sigmoid")?;
        (rw.arg(sigmoid, "x") == Some(x)).then_some(x)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::passes::testing::{f32s, graph, ops, outputs, run};

    #[test]
    fn is_fused() {
        let mut g = graph();
        let x = g.input("x", f32s(&[2, 3]));
        let s = g.push(mb::sigmoid(&x)).unwrap();
        let a = g.push(mb::mul(&x, &s)).unwrap();
        let s = g.push(mb::sigmoid(&a)).unwrap();
        let y = g.push(mb::mul(&s, &a)).unwrap();
        let mut p = g.finish([("y", y)]).unwrap();
        run(&FuseSilu, &mut p);
        assert_eq!((ops(&p), outputs(&p)), (vec!["silu"; 2], vec!["y"]));
    }

    #[test]
    fn other_products_stay() {
        let mut g = graph();
        let x = g.input("x", f32s(&[2, 3]));
        let z = g.input("z", f32s(&[2, 3]));
        let s = g.push(mb::sigmoid(&x)).unwrap();
        let a = g.push(mb::mul(&z, &s)).unwrap();
        let shared = g.push(mb::sigmoid(&x)).unwrap();
        let b = g.push(mb::mul(&x, &shared)).unwrap();
        let mut p = g.finish([("a", a), ("shared", shared), ("b", b)]).unwrap();
        assert_eq!(run(&FuseSilu, &mut p).changes(), 0);
    }
}
