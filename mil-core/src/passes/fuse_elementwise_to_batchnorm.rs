//! `mul` and `add` by channel.

use crate::{
    graph::Value,
    ir::{Constant, OpId},
    mb,
    op::OpError,
};

use super::{
    Context, Pass, Report, Rewriter,
    channels::{along, constant},
    fusion::{each_op, float},
};

/// `x * a + b` of rank 4 is `batch_norm(x)` with mean 0 and variance 1, if `a` and `b` are constants with a number for each
/// of several channels. If a convolution is before it, `fuse_conv_scale` and `fuse_conv_bias` have taken them already.
#[derive(Clone, Copy, Debug)]
pub struct FuseElementwiseToBatchnorm;

impl Pass for FuseElementwiseToBatchnorm {
    fn name(&self) -> &'static str {
        "fuse_elementwise_to_batchnorm"
    }

    fn doc(&self) -> &'static str {
        "makes batch_norm of mul and add by channel"
    }

    fn function(&self, rw: &mut Rewriter, _: &Context<'_>, report: &mut Report) -> Result<(), OpError> {
        each_op(rw, report, "fused mul and add", fuse)
    }
}

fn fuse(rw: &mut Rewriter, op: OpId) -> Result<Option<Value>, OpError> {
    let Some((x, [mean, variance, gamma, beta])) = matched(rw, op) else { return Ok(None) };
    // Variance 1 is all that is under the root.
    let call = mb::batch_norm(&x, mean, variance).gamma(gamma).beta(beta).epsilon(0.0);
    Ok(Some(rw.before(op).push(call)?))
}

/// The operand, and mean, variance, gamma and beta.
fn matched(rw: &Rewriter, op: OpId) -> Option<(Value, [Constant; 4])> {
    if rw.op(op).def.name != "add" {
        return None;
    }
    let dtype = float(rw, rw.output(op)?)?;
    let (product, beta, _) = rw.with_constant(op)?;
    let mul = rw.made_for_by(product, op, "mul")?;
    let (x, gamma, _) = rw.with_constant(mul)?;
    let shape = &rw.ty(x).tensor()?.shape;
    let channels = shape.get(1).filter(|_| shape.rank() == 4)?.fixed().filter(|c| *c > 1)?;
    // One number for all stays as it is: two ops on scalars are as cheap.
    let vector = |c: &Constant| {
        let numbers = along(c, 4, 1, channels).filter(|_| c.count() == channels)?;
        constant(dtype, &[channels], numbers)
    };
    let all = |n: f64| constant(dtype, &[channels], vec![n; channels]);
    Some((rw.value(x), [all(0.0)?, all(1.0)?, vector(&gamma)?, vector(&beta)?]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::passes::testing::{constants, f32s, graph, ops, run};

    fn vector() -> Constant {
        Constant::new([1, 2, 1, 1], &[3f32, 4.0]).unwrap()
    }

    #[test]
    fn by_channel() {
        let mut g = graph();
        let x = g.input("x", f32s(&[1, 2, 3, 3]));
        let v = g.push(mb::mul(&x, Constant::new([2, 1, 1], &[1f32, 2.0]).unwrap())).unwrap();
        let y = g.push(mb::add(&v, vector())).unwrap();
        let mut p = g.finish([("y", y)]).unwrap();
        run(&FuseElementwiseToBatchnorm, &mut p);
        assert_eq!(ops(&p), ["batch_norm"]);
        let all = constants(&p, "batch_norm", &["gamma", "beta", "epsilon"]);
        let all: Vec<_> = all.iter().map(|c| c.elements::<f32>().unwrap()).collect();
        assert_eq!(all, [vec![1.0, 2.0], vec![3.0, 4.0], vec![0.0]]);
    }

    #[test]
    fn others_stay() {
        let mut g = graph();
        let x = g.input("x", f32s(&[1, 2, 3, 2]));
        let a = g.push(mb::mul(&x, [1.0, 2.0])).unwrap();
        let a = g.push(mb::add(&a, vector())).unwrap();
        let b = g.push(mb::mul(&x, 2.0)).unwrap();
        let b = g.push(mb::add(&b, vector())).unwrap();
        let shared = g.push(mb::mul(&x, vector())).unwrap();
        let c = g.push(mb::add(&shared, vector())).unwrap();
        let mut p = g.finish([("a", a), ("b", b), ("shared", shared), ("c", c)]).unwrap();
        assert_eq!(run(&FuseElementwiseToBatchnorm, &mut p).changes(), 0);
    }
}
