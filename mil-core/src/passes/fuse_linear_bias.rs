//! Addition after `linear`.

use crate::{
    graph::Value,
    ir::OpId,
    mb,
    op::{OpError, Operand},
};

use super::{
    Context, Pass, Report, Rewriter,
    channels::{along, constant, scaled, vector},
    fusion::each_op,
};

/// `linear(x) + c`, `linear(x) - c` and `c - linear(x)` are a `linear` with another bias (and in the last case the negative of its
/// weight), if `c` is a constant with one number, or one per row of the weight.
#[derive(Clone, Copy, Debug)]
pub struct FuseLinearBias;

impl Pass for FuseLinearBias {
    fn name(&self) -> &'static str {
        "fuse_linear_bias"
    }

    fn doc(&self) -> &'static str {
        "puts add and sub of a constant into the bias of linear"
    }

    fn function(&self, rw: &mut Rewriter, _: &Context<'_>, report: &mut Report) -> Result<(), OpError> {
        each_op(rw, report, "fused linear and bias", fuse)
    }
}

fn fuse(rw: &mut Rewriter, op: OpId) -> Result<Option<Value>, OpError> {
    let Some((x, weight, bias)) = matched(rw, op) else { return Ok(None) };
    Ok(Some(rw.before(op).push(mb::linear(&x, weight).bias(bias))?))
}

/// The operands of the new `linear`.
fn matched(rw: &Rewriter, op: OpId) -> Option<(Value, Operand, Operand)> {
    let adds = match rw.op(op).def.name {
        "add" => true,
        "sub" => false,
        _ => return None,
    };
    let (value, added, constant_first) = rw.with_constant(op)?;
    let (_, linear) = rw.made_for_op::<mb::Linear>(value, op)?;
    let (rows, dtype, rank) = (linear.weight.dim(0).fixed()?, linear.weight.dtype(), linear.x.rank());
    let bias = vector(linear.bias.constant()?, rows)?;
    let added = along(&added, rank, rank - 1, rows)?;
    let (scale, sign) = match (adds, constant_first) {
        (true, _) => (1.0, 1.0),
        (false, false) => (1.0, -1.0),
        (false, true) => (-1.0, 1.0),
    };
    let bias = constant(dtype, &[rows], bias.iter().zip(added).map(|(b, c)| scale * b + sign * c))?;
    let weight = if scale == 1.0 {
        linear.weight.id.map(|w| Operand::from(rw.value(w))).or_else(|| linear.weight.constant().map(Operand::from))?
    } else {
        let weight = rw.stored(linear.weight.id, linear.weight.constant())?;
        scaled(&weight, weight.count(), |_| -1.0)?.into()
    };
    Some((rw.value(linear.x.id?), weight, bias.into()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        ir::Constant,
        passes::testing::{constants, f32s, graph, ops, run},
        types::{DType, TensorType},
    };

    #[test]
    fn constants_are_added_to_the_bias() {
        let mut g = graph();
        let x = g.input("x", f32s(&[4, 1]));
        let w = Constant::new([2, 1], &[1f32, 2.0]).unwrap();
        let a = g.push(mb::linear(&x, w).bias([1.0, 2.0])).unwrap();
        let a = g.push(mb::add(&a, [[3.0, 5.0]])).unwrap();
        let a = g.push(mb::sub(&a, 0.5)).unwrap();
        let a = g.push(mb::sub([1.0, 2.0], &a)).unwrap();
        let mut p = g.finish([("a", a)]).unwrap();
        assert_eq!(run(&FuseLinearBias, &mut p).counts["fused linear and bias"], 3);
        assert_eq!(ops(&p), ["linear"]);
        let all = constants(&p, "linear", &["weight", "bias"]);
        assert_eq!(all[0].elements::<f32>().unwrap(), [-1.0, -2.0]);
        assert_eq!(all[1].elements::<f32>().unwrap(), [-2.5, -4.5]);
    }

    #[test]
    fn other_additions_stay() {
        let mut g = graph();
        let x = g.input("x", f32s(&[2, 1]));
        let w = g.constant("w", Constant::new([2, 1], &[1f32, 2.0]).unwrap());
        let a = g.push(mb::linear(&x, &w)).unwrap();
        let a = g.push(mb::add(&a, [[3.0], [5.0]])).unwrap();
        let between = g.push(mb::linear(&x, &w)).unwrap();
        let b = g.push(mb::add(&between, 1.0)).unwrap();
        let i = g.input("i", TensorType::new(DType::I32, [2, 1]));
        let c = g.push(mb::linear(&i, Constant::new([2, 1], &[1i32, 2]).unwrap())).unwrap();
        let c = g.push(mb::add(&c, 1)).unwrap();
        let mut p = g.finish([("a", a), ("between", between), ("b", b), ("c", c)]).unwrap();
        assert_eq!(run(&FuseLinearBias, &mut p).changes(), 0);
    }
}
