//! Addition after convolutions.

use crate::{graph::Value, ir::OpId, mb, op::OpError};

use super::{
    Context, Pass, Report, Rewriter,
    channels::{ConvBefore, along},
    fusion::each_op,
};

/// `conv(x) + c`, `conv(x) - c` and `c - conv(x)` are a `conv` with another bias (and in the last case other weights), if `c` is a
/// constant with one number, or one per output channel. So with `conv_transpose`; and there may be a `transpose` between.
#[derive(Clone, Copy, Debug)]
pub struct FuseConvBias;

impl Pass for FuseConvBias {
    fn name(&self) -> &'static str {
        "fuse_conv_bias"
    }

    fn doc(&self) -> &'static str {
        "puts add and sub of a constant into the bias of the convolution before"
    }

    fn function(&self, rw: &mut Rewriter, _: &Context<'_>, report: &mut Report) -> Result<(), OpError> {
        each_op(rw, report, "fused conv and bias", fuse)
    }
}

fn fuse(rw: &mut Rewriter, op: OpId) -> Result<Option<Value>, OpError> {
    let Some(Match { conv, scale, bias, perm }) = matched(rw, op) else { return Ok(None) };
    let Some(conv) = conv.remade(rw, op, |_| scale, &bias)? else { return Ok(None) };
    match perm {
        Some(perm) => Ok(Some(rw.before(op).push(mb::transpose(&conv, perm))?)),
        None => Ok(Some(conv)),
    }
}

struct Match {
    conv: ConvBefore,
    scale: f64,
    bias: Vec<f64>,
    /// The transpose between.
    perm: Option<Vec<i64>>,
}

fn matched(rw: &Rewriter, op: OpId) -> Option<Match> {
    let adds = match rw.op(op).def.name {
        "add" => true,
        "sub" => false,
        _ => return None,
    };
    let (value, constant, constant_first) = rw.with_constant(op)?;
    let (conv, axis, perm) = match rw.made_for_op::<mb::Transpose>(value, op) {
        Some((at, transpose)) => {
            let perm = transpose.permutation().ok()?;
            let axis = perm.iter().position(|p| *p == 1)?;
            (ConvBefore::find(rw, transpose.x.id?, at)?, axis, Some(transpose.perm))
        }
        None => (ConvBefore::find(rw, value, op)?, 1, None),
    };
    let added = along(&constant, conv.rank(), axis, conv.channels)?;
    // The sign of the convolution, and that of the constant.
    let (scale, sign) = match (adds, constant_first) {
        (true, _) => (1.0, 1.0),
        (false, false) => (1.0, -1.0),
        (false, true) => (-1.0, 1.0),
    };
    let bias = conv.bias.iter().zip(added).map(|(b, c)| scale * b + sign * c).collect();
    Some(Match { conv, scale, bias, perm })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        ir::Constant,
        passes::testing::{constants, f32s, graph, ops, run},
    };

    #[test]
    fn constants_are_added_to_the_bias() {
        let mut g = graph();
        let x = g.input("x", f32s(&[1, 1, 4]));
        let w = g.constant("w", Constant::new([2, 1, 1], &[1f32, 2.0]).unwrap());
        let a = g.push(mb::conv(&x, &w).bias([1.0, 1.0])).unwrap();
        let a = g.push(mb::add(&a, [[3.0], [5.0]])).unwrap();
        let a = g.push(mb::sub(&a, 0.5)).unwrap();
        let a = g.push(mb::sub(10.0, &a)).unwrap();
        let mut p = g.finish([("a", a)]).unwrap();
        assert_eq!(run(&FuseConvBias, &mut p).counts["fused conv and bias"], 3);
        assert_eq!(ops(&p), ["conv"]);
        let all = constants(&p, "conv", &["weight", "bias"]);
        assert_eq!(all[0].elements::<f32>().unwrap(), [-1.0, -2.0]);
        assert_eq!(all[1].elements::<f32>().unwrap(), [6.5, 4.5]);
    }

    #[test]
    fn a_transpose_may_be_between_and_weights_stay_shared() {
        let mut g = graph();
        let x = g.input("x", f32s(&[1, 1, 4, 2]));
        let w = g.constant("w", Constant::new([2, 1, 1, 1], &[1f32, 2.0]).unwrap());
        let a = g.push(mb::conv(&x, &w)).unwrap();
        let t = g.push(mb::transpose(&a, [0, 2, 3, 1])).unwrap();
        let b = g.push(mb::add(&t, [3.0, 5.0])).unwrap();
        let mut p = g.finish([("b", b)]).unwrap();
        let bytes = |p: &crate::ir::Program| constants(p, "conv", &["weight"])[0].bytes().unwrap().as_ptr();
        let before = bytes(&p);
        run(&FuseConvBias, &mut p);
        assert_eq!(ops(&p), ["conv", "transpose"]);
        assert_eq!(constants(&p, "conv", &["bias"])[0].elements::<f32>().unwrap(), [3.0, 5.0]);
        assert_eq!(bytes(&p), before);
    }

    #[test]
    fn other_additions_stay() {
        let mut g = graph();
        let x = g.input("x", f32s(&[1, 1, 2]));
        let w = g.constant("w", Constant::new([2, 1, 1], &[1f32, 2.0]).unwrap());
        let v = g.push(mb::conv(&x, &w)).unwrap();
        let a = g.push(mb::add(&v, [3.0, 5.0])).unwrap();
        let between = g.push(mb::conv(&x, &w)).unwrap();
        let b = g.push(mb::add(&between, 1.0)).unwrap();
        let v = g.push(mb::conv(&x, &w)).unwrap();
        let t = g.push(mb::transpose(&v, [0, 2, 1])).unwrap();
        let c = g.push(mb::add(&t, [[3.0], [5.0]])).unwrap();
        let mut p = g.finish([("a", a), ("between", between), ("b", b), ("c", c)]).unwrap();
        assert_eq!(run(&FuseConvBias, &mut p).changes(), 0);
    }
}
