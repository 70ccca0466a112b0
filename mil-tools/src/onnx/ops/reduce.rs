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
    /// A list of axes that is known when the model runs.
    Computed(Tensor),
}

/// The axes are an attribute up to a version, and an input from then on.
fn along(n: &mut Node<'_, '_>, rank: usize) -> Result<Along, Refusal> {
    let since = if n.op() == "ReduceSum" { 13 } else { 18 };
    let axes = if n.opset < since {
        n.ints_attr("axes")?
    } else {
        match n.optional(1)? {
            Some(t) if t.constant().is_none() => return Ok(Along::Computed(t)),
            Some(t) => t.ints(),
            None => None,
        }
    };
    Ok(match axes {
        Some(axes) if !axes.is_empty() => Along::Axes(n.axes(&axes, rank)?.into_iter().map(|a| a as i64).collect()),
        _ if n.opset >= since && n.int_or("noop_with_empty_axes", 0)? != 0 => Along::None,
        _ => Along::Axes((0..rank as i64).collect()),
    })
}

type Step = fn(&mut Node<'_, '_>, &Value) -> Result<Value, Refusal>;
type Reduce = fn(&mut Node<'_, '_>, &Value, Vec<i64>, bool) -> Result<Value, Refusal>;

/// A reduction in the ways that it can be said.
struct Reduction {
    /// Along axes.
    whole: Reduce,
    /// What is done with each element before, one axis after the other, and after.
    parts: (Step, Reduce, Step),
}

fn reduced(n: &mut Node<'_, '_>, reduction: &Reduction) -> Lowered {
    let x = n.input(0)?;
    let keep = n.int_or("keepdims", 1)? != 0;
    let flags = x.dtype == DType::Bool;
    // Bools are as 0 and 1; what is reduced of nothing is the least or the greatest number, which is 0 or 1 as well.
    let v = if flags { n.cast(&x.value, DType::I32)? } else { x.value.clone() };
    let (before, one_by_one, after) = reduction.parts;
    let y = match along(n, x.rank())? {
        Along::Axes(axes) if axes.is_empty() => {
            // MIL does not reduce scalars.
            let v = n.expand_dims(&v, &[0])?;
            (reduction.whole)(n, &v, vec![0], false)?
        }
        Along::Axes(axes) => (reduction.whole)(n, &v, axes, keep)?,
        Along::None => {
            let v = before(n, &v)?;
            after(n, &v)?
        }
        Along::Computed(axes) => {
            let (sizes, count) = (x.fixed(), axes.size(0).filter(|count| *count > 0 && axes.rank() == 1));
            let (Some(sizes), Some(count)) = (sizes, count) else { return Err(n.must_be_known(1, "axes")) };
            if count >= sizes.len() {
                // No axis is named twice: these are all.
                let all = (0..sizes.len() as i64).collect();
                (reduction.whole)(n, &v, all, keep)?
            } else {
                let chosen = chosen(n, &axes.value, sizes.len() as i64)?;
                let v = before(n, &v)?;
                let v = at_computed(n, v, &sizes, &chosen, one_by_one)?;
                let v = after(n, &v)?;
                if keep { v } else { without(n, &v, &sizes, &chosen, count)? }
            }
        }
    };
    let y = if flags { n.push(mb::greater(&y, 0))? } else { y };
    Ok(vec![Tensor::new(y, x.dtype)])
}

/// 1 for each axis that a list names, else 0.
fn chosen(n: &mut Node<'_, '_>, axes: &Value, rank: i64) -> Result<Value, Refusal> {
    let places = n.ints(&(0..rank).collect::<Vec<_>>())?;
    let places = n.expand_dims(&places, &[1])?;
    // MIL's `mod` is not negative here: -1 becomes the last axis.
    let axes = n.push(mb::mod_(axes, rank))?;
    let chosen = n.push(mb::equal(&places, &axes))?;
    let chosen = n.cast(&chosen, DType::I32)?;
    n.push(mb::reduce_max(&chosen).axes([1]).keep_dims(false))
}

/// Along the axes that are chosen when the model runs, which stay. Along each axis the reduced tensor is put behind the tensor,
/// and the one or the other taken.
fn at_computed(
    n: &mut Node<'_, '_>,
    mut y: Value,
    sizes: &[usize],
    chosen: &Value,
    reduce: Reduce,
) -> Result<Value, Refusal> {
    let rank = sizes.len() as i64;
    for axis in 0..rank {
        let of_axis = |number: i64| (0..rank).map(|a| if a == axis { number } else { 0 }).collect::<Vec<_>>();
        let others: Vec<bool> = (0..rank).map(|a| a != axis).collect();
        let size = sizes[axis as usize] as i64;
        let reduced = reduce(n, &y, vec![axis], true)?;
        let both = n.push(mb::concat([&y, &reduced], axis))?;
        let take = n.push(mb::slice_by_index(chosen, [axis], [axis + 1]))?;
        let begin = n.push(mb::mul(&take, of_axis(size)))?;
        let end = n.push(mb::mul(&take, of_axis(1)))?;
        let end = n.push(mb::add(&end, of_axis(size)))?;
        y = n.push(mb::slice_by_index(&both, &begin, &end).begin_mask(&others[..]).end_mask(&others[..]))?;
    }
    Ok(y)
}

/// A tensor whose chosen axes, `count` of them, have become 1, without them.
fn without(n: &mut Node<'_, '_>, x: &Value, sizes: &[usize], chosen: &Value, count: usize) -> Result<Value, Refusal> {
    // The others come first if axes are sorted by whether they are chosen, and then by their places.
    let rank = sizes.len() as i64;
    let places = n.ints(&(0..rank).collect::<Vec<_>>())?;
    let keys = n.push(mb::mul(chosen, rank))?;
    let keys = n.push(mb::add(&keys, &places))?;
    let order = n.push(mb::argsort(&keys).ascending(true))?;
    let others = n.push(mb::slice_by_index(&order, [0], [rank - count as i64]))?;
    let sizes = n.ints(&sizes.iter().map(|s| *s as i64).collect::<Vec<_>>())?;
    let shape = n.push(mb::gather(&sizes, &others).axis(0))?;
    n.push(mb::reshape(x, &shape))
}

macro_rules! reductions {
    ($($name:ident = $op:ident, $before:expr, $each:ident, $after:expr;)*) => {$(
        fn $name(n: &mut Node<'_, '_>) -> Lowered {
            reduced(n, &Reduction {
                whole: |n, x, axes, keep| n.push(mb::$op(x).axes(axes).keep_dims(keep)),
                parts: ($before, |n, x, axes, keep| n.push(mb::$each(x).axes(axes).keep_dims(keep)), $after),
            })
        }
    )*};
}

fn as_is(_: &mut Node<'_, '_>, x: &Value) -> Result<Value, Refusal> {
    Ok(x.clone())
}

reductions! {
    l1 = reduce_l1_norm, |n, x| n.push(mb::abs(x)), reduce_sum, as_is;
    l2 = reduce_l2_norm, |n, x| n.push(mb::abs(x)), reduce_l2_norm, as_is;
    log_sum = reduce_log_sum, as_is, reduce_sum, |n, x| n.push(mb::log(x).epsilon(0.0));
    log_sum_exp = reduce_log_sum_exp, as_is, reduce_log_sum_exp, as_is;
    max = reduce_max, as_is, reduce_max, as_is;
    mean = reduce_mean, as_is, reduce_mean, as_is;
    min = reduce_min, as_is, reduce_min, as_is;
    prod = reduce_prod, as_is, reduce_prod, as_is;
    sum = reduce_sum, as_is, reduce_sum, as_is;
    sum_square = reduce_sum_square, |n, x| n.push(mb::square(x)), reduce_sum, as_is;
}

#[cfg(test)]
mod tests {
    use mil_core::{
        ir::Constant,
        types::DType::{F32, I64},
    };

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
    fn an_input_of_no_axes_is_left_out() {
        let net = Net::new(18).input("x", F32, &[2, 3]).input("axes", I64, &[0]);
        let program = net.node("ReduceMean", "x axes", "y", &[]).import("y").unwrap();
        let f = program.main().unwrap();
        let inputs: Vec<_> = f.inputs.iter().map(|v| f.value(*v).name.clone()).collect();
        assert_eq!(inputs, ["x"]);
        assert!(f.walk().into_iter().any(|op| f.op(op).def.name == "reduce_mean"));
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
    fn axes_may_be_computed() {
        let sums = |sizes: &[i64], axes: i64, keep| {
            let net = Net::new(18).input("x", F32, sizes).input("a", I64, &[axes]);
            let ops = net.node("ReduceSum", "x a", "y", &[int("keepdims", keep)]).ops("y");
            let count = |name: &str| ops.iter().filter(|op| **op == name).count();
            (count("reduce_sum"), count("reshape"))
        };
        assert_eq!(sums(&[2, 3], 1, 1), (2, 0));
        assert_eq!(sums(&[2, 3], 1, 0), (2, 1));
        assert_eq!(sums(&[2, 3], 2, 0), (1, 0));
        let net = Net::new(18).input("x", F32, &[2, -1]).input("a", I64, &[1]);
        let error = net.node("ReduceSum", "x a", "y", &[]).import("y").unwrap_err();
        assert!(error.contains("`--constant a=..`"), "{error}");
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
