//! Means, written as sums.

use crate::{ir::OpId, mb, op::OpError};

use super::{
    Context, Pass, Report, Rewriter,
    fusion::{Product, close, each_op, float},
};

/// `reduce_sum(x) / n` and `reduce_sum(x) * (1 / n)`, where `n` is how many elements are added, are `reduce_mean(x)`.
#[derive(Clone, Copy, Debug)]
pub struct FuseReduceMean;

impl Pass for FuseReduceMean {
    fn name(&self) -> &'static str {
        "fuse_reduce_mean"
    }

    fn doc(&self) -> &'static str {
        "makes reduce_mean of reduce_sum divided by the number of elements"
    }

    fn function(&self, rw: &mut Rewriter, _: &Context<'_>, report: &mut Report) -> Result<(), OpError> {
        each_op(rw, report, "fused reduce_mean", |rw, op| {
            let Some(sum) = matched(rw, op) else { return Ok(None) };
            let operands = rw.operands(sum);
            Ok(rw.before(op).push_op(<mb::ReduceMean as crate::op::Op>::DEF, operands, None)?.pop())
        })
    }
}

/// The sum.
fn matched(rw: &Rewriter, op: OpId) -> Option<OpId> {
    if !matches!(rw.op(op).def.name, "mul" | "real_div") {
        return None;
    }
    let product = Product::of(rw, op)?;
    let (sum, user) = product.single()?;
    let (at, sum) = rw.made_for_op::<mb::ReduceSum>(sum, user)?;
    let dtype = float(rw, sum.x.id?)?;
    close(product.number, 1.0 / super::fusion::elements(&sum.x, sum.axes.as_deref())?, dtype).then_some(at)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::passes::testing::{f32s, graph, ops, run};

    #[test]
    fn only_by_the_number_of_elements() {
        let mut g = graph();
        let x = g.input("x", f32s(&[2, 3, 4]));
        let a = g.push(mb::reduce_sum(&x).axes([-1, 1]).keep_dims(true)).unwrap();
        let a = g.push(mb::mul(&a, 1.0 / 12.0)).unwrap();
        let b = g.push(mb::reduce_sum(&x)).unwrap();
        let b = g.push(mb::real_div(&b, 24.0)).unwrap();
        let c = g.push(mb::reduce_sum(&x).axes([0])).unwrap();
        let c = g.push(mb::real_div(&c, 3.0)).unwrap();
        let shared = g.push(mb::reduce_sum(&x).axes([0])).unwrap();
        let d = g.push(mb::real_div(&shared, 2.0)).unwrap();
        let mut p = g.finish([("a", a), ("b", b), ("c", c), ("shared", shared), ("d", d)]).unwrap();
        run(&FuseReduceMean, &mut p);
        assert_eq!(ops(&p), ["reduce_mean", "reduce_mean", "reduce_sum", "real_div", "reduce_sum", "real_div"]);
    }
}
