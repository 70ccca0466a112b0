//! `gelu`, written out with `tanh`.

use std::f64::consts::{FRAC_1_SQRT_2, FRAC_2_SQRT_PI};

use crate::{
    ir::{OpId, ValueId},
    mb,
    op::OpError,
    types::DType,
};

use super::{
    Context, Pass, Report, Rewriter,
    fusion::{Product, close, each_op, float},
};

/// `0.5 * x * (1 + tanh(sqrt(2 / pi) * (x + 0.044715 * x^3)))`, in whatever order it is multiplied, is `gelu(x)` with mode
/// `"TANH_APPROXIMATION"`; and so it is with `x * (1 + 0.044715 * x^2)` inside.
#[derive(Clone, Copy, Debug)]
pub struct FuseGeluTanhApproximation;

impl Pass for FuseGeluTanhApproximation {
    fn name(&self) -> &'static str {
        "fuse_gelu_tanh_approximation"
    }

    fn doc(&self) -> &'static str {
        "makes gelu of 0.5 * x * (1 + tanh(sqrt(2 / pi) * (x + 0.044715 * x^3)))"
    }

    fn function(&self, rw: &mut Rewriter, _: &Context<'_>, report: &mut Report) -> Result<(), OpError> {
        each_op(rw, report, "fused gelu", |rw, op| {
            let Some(x) = matched(rw, op).map(|x| rw.value(x)) else { return Ok(None) };
            Ok(Some(rw.before(op).push(mb::gelu(&x).mode("TANH_APPROXIMATION"))?))
        })
    }
}

fn matched(rw: &Rewriter, op: OpId) -> Option<ValueId> {
    let product = Product::of(rw, op)?;
    let dtype = float(rw, rw.output(op)?)?;
    if !close(product.number, 0.5, dtype) {
        return None;
    }
    product.two().into_iter().find_map(|[(x, _), (sum, user)]| {
        let sum = rw.made_for_by(sum, user, "add")?;
        let (tanh, 1.0) = rw.with_number(sum)? else { return None };
        let tanh = rw.made_for_by(tanh, sum, "tanh")?;
        let inner = Product::of(rw, rw.made_for(rw.arg(tanh, "x")?, tanh)?)?;
        let root = FRAC_2_SQRT_PI * FRAC_1_SQRT_2;
        (close(inner.number, root, dtype) && is_polynomial(rw, &inner, x, dtype)).then_some(x)
    })
}

/// Whether the factors are `x + 0.044715 * x^3`, or `x` and `1 + 0.044715 * x^2`.
fn is_polynomial(rw: &Rewriter, inner: &Product, x: ValueId, dtype: DType) -> bool {
    let power = |v: ValueId, user: OpId, n: usize| {
        let product = rw.made_for(v, user).and_then(|op| Product::of(rw, op));
        product.is_some_and(|p| close(p.number, 0.044715, dtype) && p.is_power(x, n))
    };
    if let Some((sum, user)) = inner.single() {
        let Some(sum) = rw.made_for_by(sum, user, "add") else { return false };
        return rw.both_ways(sum).into_iter().any(|(a, b)| a == x && power(b, sum, 3));
    }
    inner.two().into_iter().any(|[(first, _), (sum, user)]| {
        let sum = rw.made_for_by(sum, user, "add").filter(|_| first == x);
        sum.is_some_and(|sum| rw.with_number(sum).is_some_and(|(v, n)| n == 1.0 && power(v, sum, 2)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        graph::{Graph, Value},
        passes::testing::{constants, f32s, graph, ops, run},
    };

    /// `1 + tanh(0.797884 * (x + c * x^3))`.
    fn sum(g: &mut Graph, x: &Value, c: f64) -> Value {
        let v = g.push(mb::pow(x, 3.0)).unwrap();
        let v = g.push(mb::mul(c, &v)).unwrap();
        let v = g.push(mb::add(x, &v)).unwrap();
        let v = g.push(mb::mul(0.7978845834732056, &v)).unwrap();
        let v = g.push(mb::tanh(&v)).unwrap();
        g.push(mb::add(1.0, &v)).unwrap()
    }

    #[test]
    fn in_any_order() {
        let mut g = graph();
        let x = g.input("x", f32s(&[2, 3]));
        let a = sum(&mut g, &x, 0.044714998453855515);
        let a = g.push(mb::mul(0.5, &a)).unwrap();
        let a = g.push(mb::mul(&a, &x)).unwrap();
        let half = g.push(mb::mul(0.5, &a)).unwrap();
        let b = sum(&mut g, &a, 0.044715);
        let b = g.push(mb::mul(&half, &b)).unwrap();
        // x * (1 + 0.044715 * x * x), as large language models have it.
        let square = g.push(mb::mul(&b, &b)).unwrap();
        let c = g.push(mb::mul(0.044715, &square)).unwrap();
        let c = g.push(mb::add(1.0, &c)).unwrap();
        let scaled = g.push(mb::mul(&b, 0.79788456)).unwrap();
        let c = g.push(mb::mul(&scaled, &c)).unwrap();
        let c = g.push(mb::tanh(&c)).unwrap();
        let c = g.push(mb::add(&c, 1.0)).unwrap();
        let c = g.push(mb::mul(&b, &c)).unwrap();
        let c = g.push(mb::mul(&c, 0.5)).unwrap();
        let mut p = g.finish([("c", c)]).unwrap();
        assert_eq!(run(&FuseGeluTanhApproximation, &mut p).counts["fused gelu"], 3);
        assert_eq!(ops(&p), ["gelu"; 3]);
        assert_eq!(constants(&p, "gelu", &["mode"])[0].as_strings().unwrap(), ["TANH_APPROXIMATION"]);
    }

    #[test]
    fn other_formulas_stay() {
        let mut g = graph();
        let x = g.input("x", f32s(&[2, 3]));
        let wrong = sum(&mut g, &x, 0.0447);
        let a = g.push(mb::mul(0.5, &wrong)).unwrap();
        let a = g.push(mb::mul(&a, &x)).unwrap();
        let b = sum(&mut g, &x, 0.044715);
        let b = g.push(mb::mul(&b, &x)).unwrap();
        let shared = sum(&mut g, &x, 0.044715);
        let c = g.push(mb::mul(0.5, &shared)).unwrap();
        let c = g.push(mb::mul(&c, &x)).unwrap();
        let mut p = g.finish([("a", a), ("b", b), ("shared", shared), ("c", c)]).unwrap();
        assert_eq!(run(&FuseGeluTanhApproximation, &mut p).changes(), 0);
    }
}
