//! `gelu`, written out with `erf`.

use std::f64::consts::FRAC_1_SQRT_2;

use crate::{
    ir::{OpId, ValueId},
    mb,
    op::OpError,
};

use super::{
    Context, Pass, Report, Rewriter,
    fusion::{Product, close, each_op, float},
};

/// `0.5 * x * (1 + erf(x / sqrt(2)))`, in whatever order it is multiplied, is `gelu(x)`.
#[derive(Clone, Copy, Debug)]
pub struct FuseGeluExact;

impl Pass for FuseGeluExact {
    fn name(&self) -> &'static str {
        "fuse_gelu_exact"
    }

    fn doc(&self) -> &'static str {
        "makes gelu of 0.5 * x * (1 + erf(x / sqrt(2)))"
    }

    fn function(&self, rw: &mut Rewriter, _: &Context<'_>, report: &mut Report) -> Result<(), OpError> {
        each_op(rw, report, "fused gelu", |rw, op| {
            let Some(x) = matched(rw, op).map(|x| rw.value(x)) else { return Ok(None) };
            Ok(Some(rw.before(op).push(mb::gelu(&x).mode("EXACT"))?))
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
        let (erf, 1.0) = rw.with_number(sum)? else { return None };
        let erf = rw.made_for_by(erf, sum, "erf")?;
        let scaled = Product::of(rw, rw.made_for(rw.arg(erf, "x")?, erf)?)?;
        (scaled.is_power(x, 1) && close(scaled.number, FRAC_1_SQRT_2, dtype)).then_some(x)
    })
}

#[cfg(test)]
mod tests {
    use std::f64::consts::SQRT_2;

    use super::*;
    use crate::{
        graph::{Graph, Value},
        passes::testing::{constants, f32s, graph, ops, outputs, run},
    };

    /// `1 + erf(x / root)`.
    fn sum(g: &mut Graph, x: &Value, root: f64) -> Value {
        let v = g.push(mb::real_div(x, root)).unwrap();
        let v = g.push(mb::erf(&v)).unwrap();
        g.push(mb::add(1.0, &v)).unwrap()
    }

    #[test]
    fn in_any_order() {
        let mut g = graph();
        let x = g.input("x", f32s(&[2, 3]));
        let a = sum(&mut g, &x, SQRT_2);
        let a = g.push(mb::mul(&a, 0.5)).unwrap();
        let a = g.push(mb::mul(&x, &a)).unwrap();
        let b = sum(&mut g, &a, SQRT_2);
        let b = g.push(mb::mul(&a, &b)).unwrap();
        let b = g.push(mb::mul(0.5, &b)).unwrap();
        let half = g.push(mb::mul(&b, 0.5)).unwrap();
        let c = g.push(mb::mul(&b, FRAC_1_SQRT_2)).unwrap();
        let c = g.push(mb::erf(&c)).unwrap();
        let c = g.push(mb::add(&c, 1.0)).unwrap();
        let c = g.push(mb::mul(&half, &c)).unwrap();
        let mut p = g.finish([("c", c)]).unwrap();
        assert_eq!(run(&FuseGeluExact, &mut p).counts["fused gelu"], 3);
        assert_eq!((ops(&p), outputs(&p)), (vec!["gelu"; 3], vec!["c"]));
        assert_eq!(constants(&p, "gelu", &["mode"])[0].as_strings().unwrap(), ["EXACT"]);
    }

    #[test]
    fn other_formulas_stay() {
        let mut g = graph();
        let x = g.input("x", f32s(&[2, 3]));
        let z = g.input("z", f32s(&[2, 3]));
        let wrong = sum(&mut g, &x, 1.42);
        let a = g.push(mb::mul(&wrong, 0.5)).unwrap();
        let a = g.push(mb::mul(&x, &a)).unwrap();
        let shared = sum(&mut g, &x, SQRT_2);
        let b = g.push(mb::mul(&shared, 0.5)).unwrap();
        let b = g.push(mb::mul(&x, &b)).unwrap();
        let other = sum(&mut g, &x, SQRT_2);
        let c = g.push(mb::mul(&other, 0.5)).unwrap();
        let c = g.push(mb::mul(&z, &c)).unwrap();
        let whole = sum(&mut g, &x, SQRT_2);
        let d = g.push(mb::mul(&x, &whole)).unwrap();
        let mut p = g.finish([("a", a), ("shared", shared), ("b", b), ("c", c), ("d", d)]).unwrap();
        assert_eq!(run(&FuseGeluExact, &mut p).changes(), 0);
    }
}
