//! `prelu`, written out.

use crate::{
    graph::Value,
    ir::{Constant, OpId, ValueId},
    mb,
    op::OpError,
};

use super::{
    Context, Pass, Report, Rewriter,
    channels::{along, constant},
    fusion::{each_op, float},
};

/// `relu(x) + a * relu(-x)` is `prelu(x)` with slopes `-a`, if `x` has rank 4 and `a` is a constant with a number for each
/// channel. After a `transpose` that puts the channels last, and then with numbers for the last dimension, the
/// `transpose` goes after the `prelu`.
#[derive(Clone, Copy, Debug)]
pub struct FusePrelu;

impl Pass for FusePrelu {
    fn name(&self) -> &'static str {
        "fuse_prelu"
    }

    fn doc(&self) -> &'static str {
        "makes prelu of relu(x) + a * relu(-x)"
    }

    fn function(&self, rw: &mut Rewriter, _: &Context<'_>, report: &mut Report) -> Result<(), OpError> {
        each_op(rw, report, "fused prelu", fuse)
    }
}

fn fuse(rw: &mut Rewriter, op: OpId) -> Result<Option<Value>, OpError> {
    let Some((x, relus, slopes)) = matched(rw, op) else { return Ok(None) };
    if let Some((x, perm, alpha)) = last(rw, x, relus, &slopes) {
        let x = rw.value(x);
        let prelu = rw.before(op).push(mb::prelu(&x, alpha))?;
        return Ok(Some(rw.before(op).push(mb::transpose(&prelu, perm))?));
    }
    let Some(alpha) = per_channel(rw, x, 1, &slopes) else { return Ok(None) };
    let x = rw.value(x);
    Ok(Some(rw.before(op).push(mb::prelu(&x, alpha))?))
}

/// The operand, the two ops on it, and the factor of its negative part.
fn matched(rw: &Rewriter, op: OpId) -> Option<(ValueId, [OpId; 2], Constant)> {
    if rw.op(op).def.name != "add" {
        return None;
    }
    float(rw, rw.output(op)?)?;
    rw.both_ways(op).into_iter().find_map(|(positive, negative)| {
        let relu = rw.made_for_by(positive, op, "relu")?;
        let mul = rw.made_for_by(negative, op, "mul")?;
        let (negative, slopes, _) = rw.with_constant(mul)?;
        let inner = rw.made_for_by(negative, mul, "relu")?;
        let minus = rw.made_for_by(rw.arg(inner, "x")?, inner, "mul")?;
        let (x, -1.0) = rw.with_number(minus)? else { return None };
        let rank = rw.ty(x).tensor()?.rank();
        (rw.arg(relu, "x") == Some(x) && rank == 4).then_some((x, [relu, minus], slopes))
    })
}

/// The slopes as `prelu` takes them, if they are along this dimension.
fn per_channel(rw: &Rewriter, x: ValueId, axis: usize, slopes: &Constant) -> Option<Constant> {
    let size = rw.ty(x).tensor()?.shape[axis].fixed()?;
    let numbers = along(slopes, 4, axis, size)?;
    constant(slopes.dtype(), &[size], numbers.into_iter().map(|a| -a))
}

/// What a transpose that puts channels last is of, if it is there for the two ops alone, with its `perm` and the slopes.
fn last(rw: &Rewriter, x: ValueId, mut users: [OpId; 2], slopes: &Constant) -> Option<(ValueId, Vec<i64>, Constant)> {
    let transpose = rw.bind::<mb::Transpose>(rw.producer(x)?)?;
    users.sort();
    let alone = rw.uses(x).count() == 2 && rw.users(x) == users;
    if !alone || transpose.permutation().ok()? != [0, 2, 3, 1] {
        return None;
    }
    Some((transpose.x.id?, transpose.perm, per_channel(rw, x, 3, slopes)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        graph::Graph,
        op::Operand,
        passes::testing::{constants, f32s, graph, ops, run},
    };

    fn formula(g: &mut Graph, x: &Value, a: impl Into<Operand>) -> Value {
        let positive = g.push(mb::relu(x)).unwrap();
        let v = g.push(mb::mul(x, -1.0)).unwrap();
        let v = g.push(mb::relu(&v)).unwrap();
        let v = g.push(mb::mul(&v, a)).unwrap();
        g.push(mb::add(&positive, &v)).unwrap()
    }

    #[test]
    fn is_fused() {
        let mut g = graph();
        let x = g.input("x", f32s(&[1, 2, 3, 3]));
        let y = formula(&mut g, &x, Constant::new([2, 1, 1], &[0.5f32, -0.25]).unwrap());
        let mut p = g.finish([("y", y)]).unwrap();
        run(&FusePrelu, &mut p);
        assert_eq!(ops(&p), ["prelu"]);
        assert_eq!(constants(&p, "prelu", &["alpha"])[0].elements::<f32>().unwrap(), [-0.5, 0.25]);
    }

    #[test]
    fn a_transpose_goes_after_it() {
        let mut g = graph();
        let x = g.input("x", f32s(&[1, 2, 3, 3]));
        let t = g.push(mb::transpose(&x, [0, 2, 3, 1])).unwrap();
        let y = formula(&mut g, &t, [0.5, -0.25]);
        let mut p = g.finish([("y", y)]).unwrap();
        run(&FusePrelu, &mut p);
        assert_eq!(ops(&p), ["prelu", "transpose"]);
    }

    #[test]
    fn other_sums_stay() {
        let mut g = graph();
        let x = g.input("x", f32s(&[1, 2, 3, 3]));
        let flat = g.input("flat", f32s(&[1, 2, 3]));
        let a = formula(&mut g, &x, [0.5, 0.25, 1.0]);
        let b = formula(&mut g, &flat, [[0.5], [0.25]]);
        let z = g.input("z", f32s(&[1, 2, 3, 3]));
        let positive = g.push(mb::relu(&z)).unwrap();
        let v = g.push(mb::mul(&x, -1.0)).unwrap();
        let v = g.push(mb::relu(&v)).unwrap();
        let v = g.push(mb::mul(&v, 0.5)).unwrap();
        let c = g.push(mb::add(&positive, &v)).unwrap();
        let mut p = g.finish([("a", a), ("b", b), ("c", c)]).unwrap();
        assert_eq!(run(&FusePrelu, &mut p).changes(), 0);
    }
}
