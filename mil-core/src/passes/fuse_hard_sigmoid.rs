//! `sigmoid_hard`, written out.

use crate::{
    ir::{OpId, ValueId},
    mb,
    op::OpError,
};

use super::{
    Context, Pass, Report, Rewriter,
    channels::constant,
    fusion::{Product, close, each_op, float},
};

/// `relu6(x + 3) / 6`, or with `clip(.., 0, 6)`, and `clip(a * x + b, 0, 1)` are `sigmoid_hard(x)`.
#[derive(Clone, Copy, Debug)]
pub struct FuseHardSigmoid;

impl Pass for FuseHardSigmoid {
    fn name(&self) -> &'static str {
        "fuse_hard_sigmoid"
    }

    fn doc(&self) -> &'static str {
        "makes sigmoid_hard of relu6(x + 3) / 6 and clip(a * x + b, 0, 1)"
    }

    fn function(&self, rw: &mut Rewriter, _: &Context<'_>, report: &mut Report) -> Result<(), OpError> {
        each_op(rw, report, "fused sigmoid_hard", |rw, op| {
            let Some((x, alpha, beta)) = matched(rw, op) else { return Ok(None) };
            let number = |n: f64| constant(float(rw, x)?, &[], [n]);
            let (Some(alpha), Some(beta)) = (number(alpha), number(beta)) else { return Ok(None) };
            let x = rw.value(x);
            Ok(Some(rw.before(op).push(mb::sigmoid_hard(&x, alpha, beta))?))
        })
    }
}

/// The operand, the slope and the offset.
fn matched(rw: &Rewriter, op: OpId) -> Option<(ValueId, f64, f64)> {
    let dtype = float(rw, rw.output(op)?)?;
    // Divided by where it is cut off.
    if matches!(rw.op(op).def.name, "mul" | "real_div") {
        let product = Product::of(rw, op)?;
        let (cut, user) = product.single()?;
        let (inner, top) = cut_at(rw, rw.made_for(cut, user)?)?;
        let (x, alpha, beta) = line(rw, inner, rw.made_for(cut, user)?)?;
        // f16 has 1 / 6 with three digits; then it is 1 / 6 that was meant.
        return close(product.number, 1.0 / top, dtype).then_some((x, alpha / top, beta / top));
    }
    let (inner, 1.0) = cut_at(rw, op)? else { return None };
    line(rw, inner, op)
}

/// The operand of an op that gives it, but at least 0 and at most a number; and the number.
fn cut_at(rw: &Rewriter, op: OpId) -> Option<(ValueId, f64)> {
    if rw.op(op).def.name == "relu6" {
        return Some((rw.arg(op, "x")?, 6.0));
    }
    let clip = rw.bind::<mb::Clip>(op).filter(|clip| clip.alpha == 0.0 && clip.beta > 0.0)?;
    Some((clip.x.id?, f64::from(clip.beta)))
}

/// A value that is a multiple of another and a number: the other, its factor, and the number.
fn line(rw: &Rewriter, v: ValueId, user: OpId) -> Option<(ValueId, f64, f64)> {
    let add = rw.made_for(v, user)?;
    let (scaled, beta) = match rw.op(add).def.name {
        "add" => rw.with_number(add)?,
        "sub" => (rw.arg(add, "x")?, -rw.number(add, "y")?),
        _ => return None,
    };
    let product = rw.made_for(scaled, add).and_then(|op| Product::of(rw, op));
    match product.as_ref().and_then(|p| Some((p.single()?.0, p.number))) {
        Some((x, alpha)) => Some((x, alpha, beta)),
        None => Some((scaled, 1.0, beta)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::passes::testing::{constants, f32s, graph, ops, run};

    #[test]
    fn in_its_forms() {
        let mut g = graph();
        let x = g.input("x", f32s(&[2, 3]));
        let v = g.push(mb::add(&x, 3.0)).unwrap();
        let v = g.push(mb::relu6(&v)).unwrap();
        let a = g.push(mb::real_div(&v, 6.0)).unwrap();
        let v = g.push(mb::mul(&a, 0.2)).unwrap();
        let v = g.push(mb::add(0.5, &v)).unwrap();
        let b = g.push(mb::clip(&v, 0.0, 1.0)).unwrap();
        let mut p = g.finish([("b", b)]).unwrap();
        assert_eq!(run(&FuseHardSigmoid, &mut p).counts["fused sigmoid_hard"], 2);
        assert_eq!(ops(&p), ["sigmoid_hard"; 2]);
        let [alpha, beta] = &constants(&p, "sigmoid_hard", &["alpha", "beta"])[..] else { panic!() };
        assert_eq!((alpha.elements::<f32>().unwrap()[0], beta.elements::<f32>().unwrap()[0]), (1.0 / 6.0, 0.5));
    }

    #[test]
    fn other_lines_stay() {
        let mut g = graph();
        let x = g.input("x", f32s(&[2, 3]));
        let v = g.push(mb::add(&x, 3.0)).unwrap();
        let v = g.push(mb::relu6(&v)).unwrap();
        let a = g.push(mb::real_div(&v, 5.0)).unwrap();
        let v = g.push(mb::add(&x, 0.5)).unwrap();
        let b = g.push(mb::clip(&v, 0.1, 1.0)).unwrap();
        let shared = g.push(mb::add(&x, 0.5)).unwrap();
        let c = g.push(mb::clip(&shared, 0.0, 1.0)).unwrap();
        let mut p = g.finish([("a", a), ("b", b), ("shared", shared), ("c", c)]).unwrap();
        assert_eq!(run(&FuseHardSigmoid, &mut p).changes(), 0);
    }
}
