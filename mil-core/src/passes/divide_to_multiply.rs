//! Division by constants.

use crate::{
    ir::{Constant, OpId, ValueId},
    mb,
    op::OpError,
};

use super::{
    Context, Pass, Report, Rewriter,
    channels::constant,
    fusion::{each_op, float},
};

/// `x / c` of floats is `x * (1 / c)`, which is faster, if `c` is a constant. The reciprocal is rounded; where it would be
/// infinite or lose digits because it is very small, the division stays.
#[derive(Clone, Copy, Debug)]
pub struct DivideToMultiply;

impl Pass for DivideToMultiply {
    fn name(&self) -> &'static str {
        "divide_to_multiply"
    }

    fn doc(&self) -> &'static str {
        "makes mul of real_div by a constant"
    }

    fn function(&self, rw: &mut Rewriter, _: &Context<'_>, report: &mut Report) -> Result<(), OpError> {
        each_op(rw, report, "real_div to mul", |rw, op| {
            let Some((x, reciprocal)) = matched(rw, op) else { return Ok(None) };
            let x = rw.value(x);
            Ok(Some(rw.before(op).push(mb::mul(&x, reciprocal))?))
        })
    }
}

fn matched(rw: &Rewriter, op: OpId) -> Option<(ValueId, Constant)> {
    if rw.op(op).def.name != "real_div" {
        return None;
    }
    let dtype = float(rw, rw.output(op)?)?;
    let (x, c, false) = rw.with_constant(op)? else { return None };
    // The greatest divisor whose reciprocal is a normal number.
    let most = if dtype == crate::types::DType::F16 { 2f64.powi(14) } else { 2f64.powi(126) };
    let numbers = c.floats()?;
    if numbers.iter().any(|c| !c.is_finite() || c.abs() > most) {
        return None;
    }
    Some((x, constant(c.dtype(), c.shape(), numbers.into_iter().map(|c| 1.0 / c))?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        passes::testing::{constants, f32s, graph, ops, run},
        types::{DType, TensorType},
    };

    #[test]
    fn of_floats_by_constants() {
        let mut g = graph();
        let x = g.input("x", f32s(&[2]));
        let y = g.push(mb::real_div(&x, [4.0, 0.5])).unwrap();
        let mut p = g.finish([("y", y)]).unwrap();
        run(&DivideToMultiply, &mut p);
        assert_eq!(ops(&p), ["mul"]);
        assert_eq!(constants(&p, "mul", &["y"])[0].elements::<f32>().unwrap(), [0.25, 2.0]);
    }

    #[test]
    fn other_divisions_stay() {
        let mut g = graph();
        let x = g.input("x", f32s(&[2]));
        let h = g.input("h", TensorType::new(DType::F16, [2]));
        let i = g.input("i", TensorType::new(DType::I32, [2]));
        let a = g.push(mb::real_div(&x, [4.0, 0.0])).unwrap();
        let b = g.push(mb::real_div(1.0, &x)).unwrap();
        let c = g.push(mb::real_div(&i, 2)).unwrap();
        let d = g.push(mb::real_div(&h, 60000.0)).unwrap();
        let e = g.push(mb::real_div(&x, 1e-39)).unwrap();
        let mut p = g.finish([("a", a), ("b", b), ("c", c), ("d", d), ("e", e)]).unwrap();
        assert_eq!(run(&DivideToMultiply, &mut p).changes(), 0);
    }
}
