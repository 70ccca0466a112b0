//! `leaky_relu`, written out.

use crate::{
    ir::{OpId, ValueId},
    mb,
    op::OpError,
};

use super::{
    Context, Pass, Report, Rewriter,
    fusion::{each_op, float},
};

/// `max(x, alpha * x)` is `leaky_relu(x)`, if `alpha` is 0 to 1.
#[derive(Clone, Copy, Debug)]
pub struct FuseLeakyRelu;

impl Pass for FuseLeakyRelu {
    fn name(&self) -> &'static str {
        "fuse_leaky_relu"
    }

    fn doc(&self) -> &'static str {
        "makes leaky_relu of max(x, alpha * x)"
    }

    fn function(&self, rw: &mut Rewriter, _: &Context<'_>, report: &mut Report) -> Result<(), OpError> {
        each_op(rw, report, "fused leaky_relu", |rw, op| {
            let Some((x, alpha)) = matched(rw, op) else { return Ok(None) };
            let x = rw.value(x);
            Ok(Some(rw.before(op).push(mb::leaky_relu(&x, alpha))?))
        })
    }
}

fn matched(rw: &Rewriter, op: OpId) -> Option<(ValueId, f64)> {
    if rw.op(op).def.name != "maximum" {
        return None;
    }
    float(rw, rw.output(op)?)?;
    rw.both_ways(op).into_iter().find_map(|(x, scaled)| {
        let (of, alpha) = rw.with_number(rw.made_for_by(scaled, op, "mul")?)?;
        (of == x && (0.0..=1.0).contains(&alpha)).then_some((x, alpha))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        passes::testing::{constants, f32s, graph, ops, run},
        types::{DType, TensorType},
    };

    #[test]
    fn is_fused() {
        let mut g = graph();
        let x = g.input("x", f32s(&[2, 3]));
        let v = g.push(mb::mul(&x, 0.25)).unwrap();
        let y = g.push(mb::maximum(&v, &x)).unwrap();
        let mut p = g.finish([("y", y)]).unwrap();
        run(&FuseLeakyRelu, &mut p);
        assert_eq!(ops(&p), ["leaky_relu"]);
        assert_eq!(constants(&p, "leaky_relu", &["alpha"])[0].number(), Some(0.25));
    }

    #[test]
    fn other_maxima_stay() {
        let mut g = graph();
        let x = g.input("x", f32s(&[2, 3]));
        let z = g.input("z", f32s(&[2, 3]));
        let i = g.input("i", TensorType::new(DType::I32, [2]));
        let v = g.push(mb::mul(&x, 1.5)).unwrap();
        let a = g.push(mb::maximum(&v, &x)).unwrap();
        let v = g.push(mb::mul(&x, 0.5)).unwrap();
        let b = g.push(mb::maximum(&v, &z)).unwrap();
        let shared = g.push(mb::mul(&x, 0.5)).unwrap();
        let c = g.push(mb::maximum(&shared, &x)).unwrap();
        let v = g.push(mb::mul(&i, 0)).unwrap();
        let d = g.push(mb::maximum(&v, &i)).unwrap();
        let mut p = g.finish([("a", a), ("b", b), ("shared", shared), ("c", c), ("d", d)]).unwrap();
        assert_eq!(run(&FuseLeakyRelu, &mut p).changes(), 0);
    }
}
