//! `layer_norm` and `instance_norm`, written out.

use crate::{
    graph::Value,
    ir::{Constant, OpId},
    mb,
    op::OpError,
};

use super::{
    Context, Pass, Report, Rewriter, Use,
    channels::{along, constant},
    fusion::{each_op, float},
};

mod formula;
#[cfg(test)]
mod tests;

use formula::{Formula, Normalized};

/// `gamma * (x - mean) / sqrt(variance + epsilon) + beta` is `layer_norm(x)` or `instance_norm(x)`, in the ways in which
/// frameworks write it:
///
/// - `(x - mean)` times `rsqrt` of, or divided by the root (or power of 0.5) of `variance + epsilon`; then, if at all, `* gamma`,
///   `+ beta`, or `+ beta` before `* gamma`;
/// - `x * s + (beta - mean * s)` with `s = gamma * rsqrt(variance + epsilon)`, or without `gamma` and `beta`;
/// - the variance as mean of the squares of `x - mean`, or as the mean of the squares of `x` less the square of the mean; means as
///   `reduce_mean`, or as `reduce_sum` divided by the number of elements.
///
/// It is `layer_norm` over the last dimensions with `gamma` and `beta` of their sizes, or over the second of four. It is
/// `instance_norm` over the last two of four dimensions with `gamma` and `beta` per channel, or, between transposes, over the two
/// in the middle. If something in between is used elsewhere, nothing is gained, and nothing happens.
#[derive(Clone, Copy, Debug)]
pub struct FuseLayernormOrInstancenorm;

impl Pass for FuseLayernormOrInstancenorm {
    fn name(&self) -> &'static str {
        "fuse_layernorm_or_instancenorm"
    }

    fn doc(&self) -> &'static str {
        "makes layer_norm and instance_norm of the formula"
    }

    fn function(&self, rw: &mut Rewriter, _: &Context<'_>, report: &mut Report) -> Result<(), OpError> {
        each_op(rw, report, "fused norm", fuse)
    }
}

fn fuse(rw: &mut Rewriter, op: OpId) -> Result<Option<Value>, OpError> {
    let Some((formula, norm)) = matched(rw, op).filter(|_| !goes_on(rw, op)) else { return Ok(None) };
    let epsilon = formula.normalized.epsilon;
    let mut x = rw.value(formula.normalized.x);
    let mut at = rw.before(op);
    let with = |gamma: Option<Constant>, beta: Option<Constant>| {
        let given = [("gamma", gamma), ("beta", beta)];
        given.into_iter().filter_map(|(param, c)| Some((param, c?.into()))).collect::<Vec<_>>()
    };
    match norm {
        Norm::Layer { axes, gamma, beta } => {
            let mut operands = with(gamma, beta);
            operands.extend([("x", x.into()), ("axes", axes.into()), ("epsilon", epsilon.into())]);
            Ok(at.push_op(<mb::LayerNorm as crate::op::Op>::DEF, operands, None)?.pop())
        }
        Norm::Instance { gamma, beta, last } => {
            if last {
                x = at.push(mb::transpose(&x, [0, 3, 1, 2]))?;
            }
            let mut operands = with(gamma, beta);
            operands.extend([("x", x.into()), ("epsilon", epsilon.into())]);
            let normed = at.push_op(<mb::InstanceNorm as crate::op::Op>::DEF, operands, None)?.pop();
            match normed {
                Some(normed) if last => Ok(Some(at.push(mb::transpose(&normed, [0, 2, 3, 1]))?)),
                normed => Ok(normed),
            }
        }
    }
}

/// The formula that ends with an op, if what is in between is there for it alone.
fn matched(rw: &Rewriter, end: OpId) -> Option<(Formula, Norm)> {
    let formula = Formula::ending(rw, end)?;
    float(rw, formula.normalized.x)?;
    let inside = |by: Use| matches!(by, Use::Op(op) if formula.ops.contains(&op));
    let alone = |op: &OpId| *op == end || rw.op(*op).outputs.iter().all(|v| rw.uses(*v).all(|(by, _)| inside(by)));
    let here = |op: &OpId| rw.block_of(*op) == rw.block_of(end);
    if !formula.ops.iter().all(|op| alone(op) && here(op)) {
        return None;
    }
    let norm = Norm::of(rw, &formula)?;
    Some((formula, norm))
}

/// Whether the next op ends a longer formula with this one in it.
fn goes_on(rw: &Rewriter, end: OpId) -> bool {
    let next = rw.output(end).and_then(|v| rw.only_user(v));
    next.is_some_and(|next| matched(rw, next).is_some_and(|(longer, _)| longer.ops.contains(&end)))
}

/// What is made of a formula.
enum Norm {
    Layer {
        axes: Vec<i64>,
        gamma: Option<Constant>,
        beta: Option<Constant>,
    },
    /// Of an input whose channels are the last dimension, or the second.
    Instance {
        gamma: Option<Constant>,
        beta: Option<Constant>,
        last: bool,
    },
}

impl Norm {
    fn of(rw: &Rewriter, formula: &Formula) -> Option<Norm> {
        let Normalized { x, axes, epsilon } = &formula.normalized;
        let x = rw.ty(*x).tensor()?;
        let (rank, dtype) = (x.rank(), x.dtype);
        if axes.is_empty() || !(0.0..=1.0).contains(epsilon) {
            return None;
        }
        let sizes = axes.iter().map(|a| x.shape[*a].fixed()).collect::<Option<Vec<_>>>();
        // As the sizes of the normalized dimensions, or along one.
        let over = |c: &Option<Constant>| match c {
            None => Some(None),
            Some(c) => {
                let sizes = sizes.as_ref()?;
                let ones = c.shape().len().checked_sub(sizes.len())?;
                let same = c.shape()[ones..] == sizes[..] && c.shape()[..ones].iter().all(|d| *d == 1);
                let same = same && c.shape().len() <= rank;
                Some(Some(constant(dtype, sizes, c.floats().filter(|_| same)?)?))
            }
        };
        let single = |c: &Option<Constant>, axis: usize| match c {
            None => Some(None),
            Some(c) => {
                let size = x.shape[axis].fixed()?;
                Some(Some(constant(dtype, &[size], along(c, rank, axis, size)?)?))
            }
        };
        let (gamma, beta) = (&formula.gamma, &formula.beta);
        let plain = gamma.is_none() && beta.is_none();
        let axes_of = |axes: &[usize]| axes.iter().map(|a| *a as i64).collect();
        if rank == 4 && axes[..] == [1] {
            let (gamma, beta) = (single(gamma, 1)?, single(beta, 1)?);
            return Some(Norm::Layer { axes: vec![1], gamma, beta });
        }
        let trailing = axes.iter().rev().enumerate().all(|(i, a)| a + i + 1 == rank);
        let instance = rank == 4 && axes.len() == 2 && (axes[..] == [2, 3] || axes[..] == [1, 2]);
        if trailing
            && !(instance && plain)
            && let (Some(gamma), Some(beta)) = (over(gamma), over(beta))
        {
            return Some(Norm::Layer { axes: axes_of(axes), gamma, beta });
        }
        let last = axes[..] == [1, 2];
        let channel = if last { 3 } else { 1 };
        let (gamma, beta) = (single(gamma, channel)?, single(beta, channel)?);
        instance.then_some(Norm::Instance { gamma, beta, last })
    }
}
