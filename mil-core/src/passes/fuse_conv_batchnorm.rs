//! `batch_norm` after convolutions.

use crate::{
    graph::Value,
    ir::OpId,
    mb,
    op::{Arg, OpError},
};

use super::{
    Context, Pass, Report, Rewriter,
    channels::{ConvBefore, vector},
    fusion::each_op,
};

/// `batch_norm(conv(x))` is a `conv` with other weights, and so with `conv_transpose`. What is computed is rounded once, to the
/// weight's dtype.
///
/// Nothing happens if the weight is no constant, or shared bytes that are compressed; if the convolution's output is used
/// elsewhere; or if a weight would not be finite.
#[derive(Clone, Copy, Debug)]
pub struct FuseConvBatchnorm;

impl Pass for FuseConvBatchnorm {
    fn name(&self) -> &'static str {
        "fuse_conv_batchnorm"
    }

    fn doc(&self) -> &'static str {
        "puts batch_norm into the weights of the convolution before it"
    }

    fn function(&self, rw: &mut Rewriter, _: &Context<'_>, report: &mut Report) -> Result<(), OpError> {
        each_op(rw, report, "fused conv and batch_norm", fuse)
    }
}

fn fuse(rw: &mut Rewriter, op: OpId) -> Result<Option<Value>, OpError> {
    let Some((conv, scale, shift)) = matched(rw, op) else { return Ok(None) };
    let bias: Vec<f64> = conv.bias.iter().zip(scale.iter().zip(&shift)).map(|(b, (s, t))| b * s + t).collect();
    conv.remade(rw, op, |channel| scale[channel], &bias)
}

/// The convolution, and by what each channel is multiplied, and what is added.
fn matched(rw: &Rewriter, op: OpId) -> Option<(ConvBefore, Vec<f64>, Vec<f64>)> {
    let norm = rw.bind::<mb::BatchNorm>(op)?;
    let conv = ConvBefore::find(rw, norm.x.id?, op)?;
    let channels = conv.channels;
    let given = |arg: &Arg| vector(arg.constant()?, channels);
    let or = |arg: &Option<Arg>, n: f64| arg.as_ref().map_or(Some(vec![n; channels]), given);
    let (mean, variance) = (given(&norm.mean)?, given(&norm.variance)?);
    let (gamma, beta) = (or(&norm.gamma, 1.0)?, or(&norm.beta, 0.0)?);
    let epsilon = f64::from(norm.epsilon);
    let scale: Vec<f64> = gamma.iter().zip(&variance).map(|(g, v)| g / (v + epsilon).sqrt()).collect();
    let shift: Vec<f64> = beta.iter().zip(mean.iter().zip(&scale)).map(|(b, (m, s))| b - m * s).collect();
    scale.iter().all(|s| s.is_finite()).then_some((conv, scale, shift))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        graph::Graph,
        ir::Constant,
        passes::testing::{constants, f32s, graph, ops, outputs, run},
        types::{DType, TensorType},
    };

    fn weight(g: &mut Graph, shape: [usize; 4]) -> Value {
        let count = shape.iter().product::<usize>();
        g.constant("w", Constant::new(shape, &(1..=count).map(|i| i as f32).collect::<Vec<_>>()).unwrap())
    }

    fn norm(g: &mut Graph, x: &Value) -> Value {
        let call = mb::batch_norm(x, [1.0, 2.0], [3.0, 8.0]).gamma([2.0, 9.0]).beta([0.5, 1.0]).epsilon(1.0);
        g.push(call).unwrap()
    }

    #[test]
    fn conv_takes_the_norm() {
        let mut g = graph();
        let x = g.input("x", f32s(&[1, 1, 4, 4]));
        let w = weight(&mut g, [2, 1, 1, 1]);
        let c = g.push(mb::conv(&x, &w).bias([3.0, 4.0]).strides([2, 1])).unwrap();
        let y = norm(&mut g, &c);
        let mut p = g.finish([("y", y)]).unwrap();
        let report = run(&FuseConvBatchnorm, &mut p);
        assert_eq!(report.counts["fused conv and batch_norm"], 1);
        assert_eq!((ops(&p), outputs(&p)), (vec!["conv"], vec!["y"]));
        // Scales 2 / 2 and 9 / 3; (3 - 1) * 1 + 0.5 and (4 - 2) * 3 + 1.
        let [weight, .., bias] = &constants(&p, "conv", &["weight", "strides", "bias"])[..] else { panic!() };
        assert_eq!(weight.elements::<f32>().unwrap(), [1.0, 6.0]);
        assert_eq!(bias.elements::<f32>().unwrap(), [2.5, 7.0]);
        assert_eq!(constants(&p, "conv", &["strides"])[0].ints().unwrap(), [2, 1]);
    }

    #[test]
    fn groups_of_conv_transpose_have_their_own_channels() {
        let mut g = graph();
        let x = g.input("x", f32s(&[1, 4, 2, 2]));
        let w = weight(&mut g, [4, 1, 1, 2]);
        let c = g.push(mb::conv_transpose(&x, &w).groups(2)).unwrap();
        let y = norm(&mut g, &c);
        let mut p = g.finish([("y", y)]).unwrap();
        run(&FuseConvBatchnorm, &mut p);
        assert_eq!(ops(&p), ["conv_transpose"]);
        let weight = constants(&p, "conv_transpose", &["weight"])[0].elements::<f32>().unwrap();
        assert_eq!(weight, [1.0, 2.0, 3.0, 4.0, 15.0, 18.0, 21.0, 24.0]);
    }

    #[test]
    fn what_others_use_stays() {
        let mut g = graph();
        let x = g.input("x", f32s(&[1, 1, 4, 4]));
        let w = weight(&mut g, [2, 1, 1, 1]);
        let shared = g.push(mb::conv(&x, &w)).unwrap();
        let a = norm(&mut g, &shared);
        let b = g.push(mb::relu(&shared)).unwrap();
        let given = g.push(mb::conv(&x, &w)).unwrap();
        let c = norm(&mut g, &given);
        let mut p = g.finish([("a", a), ("b", b), ("given", given), ("c", c)]).unwrap();
        assert_eq!(run(&FuseConvBatchnorm, &mut p).changes(), 0);
    }

    #[test]
    fn weights_that_are_computed_or_would_overflow_stay() {
        let mut g = graph();
        let x = g.input("x", f32s(&[1, 1, 4, 4]));
        let w = g.input("w", f32s(&[2, 1, 1, 1]));
        let a = g.push(mb::conv(&x, &w)).unwrap();
        let a = norm(&mut g, &a);
        let big = g.constant("big", Constant::new([2, 1, 1, 1], &[3e38f32; 2]).unwrap());
        let b = g.push(mb::conv(&x, &big)).unwrap();
        let b = norm(&mut g, &b);
        let mut p = g.finish([("a", a), ("b", b)]).unwrap();
        assert_eq!(run(&FuseConvBatchnorm, &mut p).changes(), 0);
    }

    #[test]
    fn the_weights_dtype_stays() {
        let mut g = graph();
        let x = g.input("x", TensorType::new(DType::F16, [1, 1, 4, 4]));
        let w = g.constant("w", Constant::new([2, 1, 1, 1], &[half::f16::ONE; 2]).unwrap());
        let c = g.push(mb::conv(&x, &w)).unwrap();
        let y = norm(&mut g, &c);
        let mut p = g.finish([("y", y)]).unwrap();
        run(&FuseConvBatchnorm, &mut p);
        let weight = &constants(&p, "conv", &["weight"])[0];
        assert_eq!((weight.dtype(), weight.floats().unwrap()), (DType::F16, vec![1.0, 3.0]));
    }
}
