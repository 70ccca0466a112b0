//! Reductions.

use mil_core::{graph::Value, mb, types::DType};

use super::{Entry, Lowered, Node};
use crate::import::{Refusal, Tensor};

pub(super) const OPS: &[Entry] = &[
    Entry::new("ReduceL1", l1),
    Entry::new("ReduceL2", l2),
    Entry::new("ReduceLogSum", log_sum),
    Entry::new("ReduceLogSumExp", log_sum_exp),
    Entry::new("ReduceMax", max),
    Entry::new("ReduceMean", mean),
    Entry::new("ReduceMin", min),
    Entry::new("ReduceProd", prod),
    Entry::new("ReduceSum", sum),
    Entry::new("ReduceSumSquare", sum_square),
];

/// What a reduction is along.
enum Along {
    /// These axes, at least one.
    Axes(Vec<i64>),
    /// None: each element is reduced by itself.
    None,
}

/// The axes are an attribute up to a version, and an input from then on.
fn along(n: &mut Node<'_, '_>, rank: usize) -> Result<Along, Refusal> {
    let since = if n.op() == "ReduceSum" { 13 } else { 18 };
    let axes = if n.opset < since { n.ints_attr("axes")? } else { n.known_ints(1, "axes")? };
    Ok(match axes {
        Some(axes) if !axes.is_empty() => Along::Axes(n.axes(&axes, rank)?.into_iter().map(|a| a as i64).collect()),
        _ if n.opset >= since && n.int_or("noop_with_empty_axes", 0)? != 0 => Along::None,
        _ => Along::Axes((0..rank as i64).collect()),
    })
}

/// A reduction: `many` along axes, `one` of an element by itself.
fn reduced(
    n: &mut Node<'_, '_>,
    many: impl Fn(&mut Node<'_, '_>, &Value, Vec<i64>, bool) -> Result<Value, Refusal>,
    one: impl Fn(&mut Node<'_, '_>, &Value) -> Result<Value, Refusal>,
) -> Lowered {
    let x = n.input(0)?;
    let keep = n.int_or("keepdims", 1)? != 0;
    let flags = x.dtype == DType::Bool;
    // Bools are as 0 and 1; what is reduced of nothing is the least or the greatest number, which is 0 or 1 as well.
    let v = if flags { n.cast(&x.value, DType::I32)? } else { x.value.clone() };
    let y = match along(n, x.rank())? {
        Along::Axes(axes) if axes.is_empty() => {
            // MIL does not reduce scalars.
            let v = n.expand_dims(&v, &[0])?;
            many(n, &v, vec![0], false)?
        }
        Along::Axes(axes) => many(n, &v, axes, keep)?,
        Along::None => one(n, &v)?,
    };
    let y = if flags { n.push(mb::greater(&y, 0))? } else { y };
    Ok(vec![Tensor::new(y, x.dtype)])
}

macro_rules! reductions {
    ($($name:ident = $op:ident, $one:expr;)*) => {$(
        fn $name(n: &mut Node<'_, '_>) -> Lowered {
            reduced(n, |n, x, axes, keep| n.push(mb::$op(x).axes(axes).keep_dims(keep)), $one)
        }
    )*};
}

reductions! {
    l1 = reduce_l1_norm, |n, x| n.push(mb::abs(x));
    l2 = reduce_l2_norm, |n, x| n.push(mb::abs(x));
    log_sum = reduce_log_sum, |n, x| n.push(mb::log(x).epsilon(0.0));
    log_sum_exp = reduce_log_sum_exp, |_, x| Ok(x.clone());
    max = reduce_max, |_, x| Ok(x.clone());
    mean = reduce_mean, |_, x| Ok(x.clone());
    min = reduce_min, |_, x| Ok(x.clone());
    prod = reduce_prod, |_, x| Ok(x.clone());
    sum = reduce_sum, |_, x| Ok(x.clone());
    sum_square = reduce_sum_square, |n, x| n.push(mb::square(x));
}

#[cfg(test)]
mod tests {
    use mil_core::{ir::Constant, types::DType::F32};

    use crate::onnx::testing::{Net, int, ints};

    #[test]
    fn axes_are_where_the_version_has_them() {
        let net = Net::new(11).input("x", F32, &[2, 3]).node("ReduceMean", "x", "y", &[ints("axes", &[1])]);
        assert_eq!(net.ops("y"), ["reduce_mean"]);
        let net = Net::new(18).input("x", F32, &[2, 3]).constant("axes", Constant::vector(&[1i64]));
        assert_eq!(net.node("ReduceMean", "x axes", "y", &[]).ops("y"), ["reduce_mean"]);
        // An attribute of old means nothing in the new version: all axes are reduced.
        let x = Constant::new([2, 2], &[1f32, 2.0, 3.0, 4.0]).unwrap();
        let net = Net::new(18).constant("x", x).node("ReduceSum", "x", "y", &[ints("axes", &[1])]);
        assert_eq!(net.numbers("y"), [10.0]);
    }

    #[test]
    fn no_axes_may_mean_none() {
        let x = || Constant::vector(&[-1f32, 2.0]);
        let net = |op| Net::new(18).constant("x", x()).node(op, "x", "y", &[int("noop_with_empty_axes", 1)]);
        assert_eq!(net("ReduceSum").numbers("y"), [-1.0, 2.0]);
        assert_eq!(net("ReduceL2").numbers("y"), [1.0, 2.0]);
        assert_eq!(net("ReduceSumSquare").numbers("y"), [1.0, 4.0]);
    }

    #[test]
    fn scalars_and_bools_are_reduced() {
        let net = Net::new(18).constant("x", Constant::scalar(-3f32)).node("ReduceL1", "x", "y", &[]);
        assert_eq!(net.numbers("y"), [3.0]);
        let x = Constant::new([2, 2], &[true, false, true, true]).unwrap();
        let net = Net::new(20).constant("x", x).constant("a", Constant::vector(&[1i64]));
        let net = net.node("ReduceMin", "x a", "y", &[int("keepdims", 0)]);
        assert_eq!(net.numbers("y"), [0.0, 1.0]);
    }
}
