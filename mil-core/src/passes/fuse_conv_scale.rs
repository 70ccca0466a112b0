//! Multiplication after convolutions.

use crate::{graph::Value, ir::OpId, op::OpError};

use super::{
    Context, Pass, Report, Rewriter,
    channels::{ConvBefore, along},
    fusion::each_op,
};

/// `conv(x) * c` and `conv(x) / c` are a `conv` with other weights, if `c` is a constant with one number, or one per output
/// channel. So with `conv_transpose`.
#[derive(Clone, Copy, Debug)]
pub struct FuseConvScale;

impl Pass for FuseConvScale {
    fn name(&self) -> &'static str {
        "fuse_conv_scale"
    }

    fn doc(&self) -> &'static str {
        "puts mul and real_div by a constant into the weights of the convolution before"
    }

    fn function(&self, rw: &mut Rewriter, _: &Context<'_>, report: &mut Report) -> Result<(), OpError> {
        each_op(rw, report, "fused conv and scale", fuse)
    }
}

fn fuse(rw: &mut Rewriter, op: OpId) -> Result<Option<Value>, OpError> {
    let Some((conv, scale)) = matched(rw, op) else { return Ok(None) };
    let bias: Vec<f64> = conv.bias.iter().zip(&scale).map(|(b, s)| b * s).collect();
    conv.remade(rw, op, |channel| scale[channel], &bias)
}

fn matched(rw: &Rewriter, op: OpId) -> Option<(ConvBefore, Vec<f64>)> {
    let divides = match rw.op(op).def.name {
        "mul" => false,
        "real_div" => true,
        _ => return None,
    };
    let (value, constant, constant_first) = rw.with_constant(op)?;
    if divides && constant_first {
        return None;
    }
    let conv = ConvBefore::find(rw, value, op)?;
    let mut scale = along(&constant, conv.rank(), 1, conv.channels)?;
    if divides {
        scale.iter_mut().for_each(|s| *s = 1.0 / *s);
    }
    scale.iter().all(|s| s.is_finite()).then_some((conv, scale))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        ir::Constant,
        mb,
        passes::testing::{constants, f32s, graph, ops, run},
    };

    #[test]
    fn numbers_and_vectors_are_multiplied_into_the_weights() {
        let mut g = graph();
        let x = g.input("x", f32s(&[1, 1, 4]));
        let w = g.constant("w", Constant::new([2, 1, 1], &[1f32, 2.0]).unwrap());
        let a = g.push(mb::conv(&x, &w)).unwrap();
        let a = g.push(mb::mul([[3.0], [5.0]], &a)).unwrap();
        let a = g.push(mb::real_div(&a, 2.0)).unwrap();
        let b = g.push(mb::conv_transpose(&a, Constant::new([2, 1, 1], &[1f32, 2.0]).unwrap()).bias([6.0])).unwrap();
        let b = g.push(mb::real_div(&b, 4.0)).unwrap();
        let mut p = g.finish([("b", b)]).unwrap();
        assert_eq!(run(&FuseConvScale, &mut p).counts["fused conv and scale"], 3);
        assert_eq!(ops(&p), ["conv", "conv_transpose"]);
        let all = constants(&p, "conv", &["weight", "bias"]);
        assert_eq!(all[0].elements::<f32>().unwrap(), [1.5, 5.0]);
        assert_eq!(all[1].elements::<f32>().unwrap(), [0.0, 0.0]);
        let all = constants(&p, "conv_transpose", &["weight", "bias"]);
        assert_eq!(all[0].elements::<f32>().unwrap(), [0.25, 0.5]);
        assert_eq!(all[1].elements::<f32>().unwrap(), [1.5]);
    }

    #[test]
    fn other_scales_stay() {
        let mut g = graph();
        let x = g.input("x", f32s(&[1, 1, 2]));
        let w = g.constant("w", Constant::new([2, 1, 1], &[1f32, 2.0]).unwrap());
        let conv = |g: &mut crate::graph::Graph| g.push(mb::conv(&x, &w)).unwrap();
        // Along the last axis; divided by zero; the other way round; not constant; of more dimensions; an output between.
        let v = conv(&mut g);
        let a = g.push(mb::mul(&v, [3.0, 5.0])).unwrap();
        let v = conv(&mut g);
        let b = g.push(mb::real_div(&v, [[0.0], [1.0]])).unwrap();
        let v = conv(&mut g);
        let c = g.push(mb::real_div(2.0, &v)).unwrap();
        let v = conv(&mut g);
        let d = g.push(mb::mul(&v, &x)).unwrap();
        let v = conv(&mut g);
        let four = Constant::new([1, 1, 1, 1], &[2f32]).unwrap();
        let e = g.push(mb::mul(&v, four)).unwrap();
        let between = conv(&mut g);
        let f = g.push(mb::mul(&between, 2.0)).unwrap();
        let outputs = [("a", a), ("b", b), ("c", c), ("d", d), ("e", e), ("between", between), ("f", f)];
        let mut p = g.finish(outputs).unwrap();
        assert_eq!(run(&FuseConvScale, &mut p).changes(), 0);
    }
}
