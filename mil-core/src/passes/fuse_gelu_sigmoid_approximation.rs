//! `gelu`, written out with `sigmoid`.

use crate::{
    ir::{OpId, ValueId},
    mb,
    op::OpError,
};

use super::{
    Context, Pass, Report, Rewriter,
    fusion::{Product, close, each_op, float},
};

/// `x * sigmoid(1.702 * x)` is `gelu(x)` with mode `"SIGMOID_APPROXIMATION"`.
#[derive(Clone, Copy, Debug)]
pub struct FuseGeluSigmoidApproximation;

impl Pass for FuseGeluSigmoidApproximation {
    fn name(&self) -> &'static str {
        "fuse_gelu_sigmoid_approximation"
    }

    fn doc(&self) -> &'static str {
        "makes gelu of x * sigmoid(1.702 * x)"
    }

    fn function(&self, rw: &mut Rewriter, _: &Context<'_>, report: &mut Report) -> Result<(), OpError> {
        each_op(rw, report, "fused gelu", |rw, op| {
            let Some(x) = matched(rw, op).map(|x| rw.value(x)) else { return Ok(None) };
            Ok(Some(rw.before(op).push(mb::gelu(&x).mode("SIGMOID_APPROXIMATION"))?))
        })
    }
}

fn matched(rw: &Rewriter, op: OpId) -> Option<ValueId> {
    if rw.op(op).def.name != "mul" {
        return None;
    }
    let dtype = float(rw, rw.output(op)?)?;
    rw.both_ways(op).into_iter().find_map(|(x, sigmoid)| {
        let sigmoid = rw.made_for_by(sigmoid, op, "sigmoid")?;
        let scaled = Product::of(rw, rw.made_for(rw.arg(sigmoid, "x")?, sigmoid)?)?;
        (scaled.is_power(x, 1) && close(scaled.number, 1.702, dtype)).then_some(x)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        graph::{Graph, Value},
        passes::testing::{constants, f32s, graph, ops, run},
    };

    fn sigmoid(g: &mut Graph, x: &Value, c: f64) -> Value {
        let v = g.push(mb::mul(x, c)).unwrap();
        g.push(mb::sigmoid(&v)).unwrap()
    }

    #[test]
    fn is_fused() {
        let mut g = graph();
        let x = g.input("x", f32s(&[2, 3]));
        let s = sigmoid(&mut g, &x, 1.702);
        let y = g.push(mb::mul(&s, &x)).unwrap();
        let mut p = g.finish([("y", y)]).unwrap();
        run(&FuseGeluSigmoidApproximation, &mut p);
        assert_eq!(ops(&p), ["gelu"]);
        assert_eq!(constants(&p, "gelu", &["mode"])[0].as_strings().unwrap(), ["SIGMOID_APPROXIMATION"]);
    }

    #[test]
    fn other_formulas_stay() {
        let mut g = graph();
        let x = g.input("x", f32s(&[2, 3]));
        let z = g.input("z", f32s(&[2, 3]));
        let s = sigmoid(&mut g, &x, 1.7);
        let a = g.push(mb::mul(&x, &s)).unwrap();
        let s = sigmoid(&mut g, &x, 1.702);
        let b = g.push(mb::mul(&z, &s)).unwrap();
        let shared = sigmoid(&mut g, &x, 1.702);
        let c = g.push(mb::mul(&x, &shared)).unwrap();
        let mut p = g.finish([("a", a), ("b", b), ("shared", shared), ("c", c)]).unwrap();
        assert_eq!(run(&FuseGeluSigmoidApproximation, &mut p).changes(), 0);
    }
}
