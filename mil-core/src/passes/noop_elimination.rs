//! Ops that give what they take.

use crate::{
    ir::{OpId, ValueId},
    mb,
    op::OpError,
    ops::resize::SamplingMode,
    types::DType,
};

use super::{Context, Pass, Report, Rewriter, merge_consecutive_reshapes::keeps_order};

/// Removes ops that give their input unchanged: `identity`, `x + 0`, `x * 1`, a `reshape` to the shape that is there, a slice of
/// everything, `pad` by nothing, a `cast` to the same dtype, and reshapings one after the other that end with the shape of
/// the start.
///
/// A copy stays where Core ML needs one: an output of the function is neither an input nor a constant nor another output.
#[derive(Clone, Copy, Debug)]
pub struct NoopElimination;

impl Pass for NoopElimination {
    fn name(&self) -> &'static str {
        "noop_elimination"
    }

    fn doc(&self) -> &'static str {
        "removes ops that give their input unchanged"
    }

    fn function(&self, rw: &mut Rewriter, _: &Context<'_>, report: &mut Report) -> Result<(), OpError> {
        for op in rw.ops() {
            if !rw.is_live(op) {
                continue;
            }
            let Some(out) = rw.output(op) else { continue };
            let Some(x) = unchanged(rw, op, out) else { continue };
            let name = rw.op(op).def.name;
            if rw.ty(x) != rw.ty(out) || rw.ty(x).tensor().is_none() || !may_give(rw, out, x, name) {
                continue;
            }
            let x = rw.value(x);
            rw.replace(op, &[x])?;
            report.count(format!("removed {name}"));
        }
        Ok(())
    }
}

/// Whether the blocks that give `out` may give `x`. What else is removed leaves an `identity` if `x` cannot be an output of the
/// function; an `identity` would be replaced by itself.
fn may_give(rw: &Rewriter, out: ValueId, x: ValueId, name: &str) -> bool {
    let copy = name == "identity" && rw.is_output(out) && !rw.can_be_output(x);
    !copy && rw.may_stand_for(x, out)
}

/// The argument that the op gives unchanged, if its type is the output's.
fn unchanged(rw: &Rewriter, op: OpId, out: ValueId) -> Option<ValueId> {
    let x = || rw.arg(op, "x");
    let all = |param: &str, n: f64| rw.splat(op, param) == Some(n);
    let ints = |param: &str| rw.constant(op, param)?.ints();
    let either = |n: f64| if all("y", n) { x() } else { rw.arg(op, "y").filter(|_| all("x", n)) };
    let same = |v: ValueId| rw.ty(v) == rw.ty(out);
    match rw.op(op).def.name {
        "identity"
        | "cast"
        | "slice_by_size"
        | "crop"
        | "upsample_nearest_neighbor"
        | "upsample_bilinear"
        | "resize_nearest_neighbor"
        | "tile" => x(),
        _ if keeps_order(rw, op) => start_of_reshapes(rw, op, out),
        "resize_bilinear" => {
            // This mode leaves out half a step at the borders, whatever the sizes.
            let mode = rw.bind::<mb::ResizeBilinear>(op)?.sampling_mode;
            x().filter(|_| mode != SamplingMode::OffsetCorners)
        }
        "slice_by_index" => {
            let forwards = rw.bind::<mb::SliceByIndex>(op)?.stride.is_none_or(|s| s.iter().all(|s| *s > 0));
            x().filter(|_| forwards)
        }
        "pad" => x().filter(|_| ints("pad").is_some_and(|p| p.iter().all(|n| *n == 0))),
        "transpose" => {
            let perm = rw.bind::<mb::Transpose>(op)?.permutation().ok()?;
            x().filter(|_| perm.iter().enumerate().all(|(i, p)| i == *p))
        }
        "linear_activation" => x().filter(|_| all("alpha", 1.0) && all("beta", 0.0)),
        "concat" => match rw.op(op).uses().collect::<Vec<_>>()[..] {
            [value, ..] if rw.op(op).bindings("values").len() == 1 => Some(value),
            _ => None,
        },
        "add" => either(0.0).filter(|v| same(*v)),
        "mul" => either(1.0).filter(|v| same(*v)),
        "sub" => x().filter(|_| all("y", 0.0)),
        "real_div" | "pow" => x().filter(|_| all("y", 1.0)),
        // Of floats it is rounding down.
        "floor_div" => x().filter(|x| all("y", 1.0) && dtype(rw, *x).is_some_and(|d| !d.is_float())),
        _ => None,
    }
}

fn dtype(rw: &Rewriter, v: ValueId) -> Option<DType> {
    rw.ty(v).tensor().map(|t| t.dtype)
}

/// How far back reshapings are followed: longer chains are merged step by step.
const MAX_CHAIN: usize = 8;

/// The nearest value of the output's type that this op and reshapings before it are made of.
fn start_of_reshapes(rw: &Rewriter, op: OpId, out: ValueId) -> Option<ValueId> {
    let mut x = rw.arg(op, "x")?;
    for _ in 0..MAX_CHAIN {
        if rw.ty(x) == rw.ty(out) {
            return Some(x);
        }
        let before = rw.producer(x)?;
        if !keeps_order(rw, before) {
            return None;
        }
        x = rw.arg(before, "x")?;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        graph::{Graph, Value},
        ir::Constant,
        op::{Call, Op},
        passes::testing::{condition, graph, ops, outputs, run},
        types::TensorType,
    };

    /// What is left of an op between two others.
    #[track_caller]
    fn left<O: Op<Outputs = Value>>(ty: &str, call: impl FnOnce(&mut Graph, &Value) -> Call<O>) -> Vec<&'static str> {
        let mut g = graph();
        let x = g.input("x", ty.parse::<TensorType>().unwrap());
        let x = g.push(mb::abs(&x)).unwrap();
        let call = call(&mut g, &x);
        let same = g.push(call).unwrap();
        let y = g.push(mb::sign(&same)).unwrap();
        let mut p = g.finish([("y", y)]).unwrap();
        run(&NoopElimination, &mut p);
        ops(&p).into_iter().filter(|o| !["abs", "sign"].contains(o)).collect()
    }

    const T: &str = "Tensor<f32, 1, 2, 4, 6>";

    #[test]
    fn what_changes_nothing_goes() {
        let none: [&str; 0] = [];
        assert_eq!(left(T, |_, x| mb::identity(x)), none);
        assert_eq!(left(T, |_, x| mb::add(x, 0.0)), none);
        assert_eq!(left(T, |_, x| mb::add(0.0, x)), none);
        assert_eq!(left(T, |_, x| mb::mul(x, 1.0)), none);
        assert_eq!(left(T, |g, x| mb::mul(x, g.constant("w", Constant::vector(&[1f32; 6])))), none);
        assert_eq!(left(T, |_, x| mb::sub(x, 0.0)), none);
        assert_eq!(left(T, |_, x| mb::real_div(x, 1.0)), none);
        assert_eq!(left(T, |_, x| mb::pow(x, 1.0)), none);
        assert_eq!(left("Tensor<i32, 4>", |_, x| mb::floor_div(x, 1)), none);
        assert_eq!(left(T, |_, x| mb::reshape(x, [1, 2, 4, 6])), none);
        assert_eq!(left(T, |_, x| mb::transpose(x, [0, 1, -2, 3])), none);
        assert_eq!(left(T, |_, x| mb::cast(x, "fp32")), none);
        assert_eq!(left(T, |_, x| mb::pad(x, [0, 0, 0, 0])), none);
        assert_eq!(left(T, |_, x| mb::slice_by_index(x, [0, 0, 0, 0], [1, 2, 4, 6])), none);
        assert_eq!(left(T, |_, x| mb::concat([x], 1)), none);
        assert_eq!(left("Tensor<f32, H, 2>", |_, x| mb::tile(x, [1, 1])), none);
    }

    #[test]
    fn what_changes_something_stays() {
        assert_eq!(left(T, |_, x| mb::add(x, 1e-9)), ["add"]);
        assert_eq!(left(T, |_, x| mb::sub(0.0, x)), ["sub"]);
        assert_eq!(left(T, |_, x| mb::floor_div(x, 1.0)), ["floor_div"]);
        assert_eq!(left("Tensor<f32, 1>", |g, x| mb::add(x, g.constant("z", Constant::vector(&[0f32; 3])))), ["add"]);
        let reverse = |_: &mut Graph, x: &Value| {
            mb::slice_by_index(x, [0, 0, 0, 5], [1, 2, 4, 0])
                .stride([1, 1, 1, -1])
                .end_mask([false, false, false, true])
        };
        assert_eq!(left(T, reverse), ["slice_by_index"]);
        assert_eq!(left("Tensor<f32, 2, 2>", |_, x| mb::transpose(x, [1, 0])), ["transpose"]);
        assert_eq!(left("Tensor<f32, 2, 2>", |_, x| mb::reshape(x, [4])), ["reshape"]);
    }

    #[test]
    fn reshapings_that_lead_back_go() {
        let mut g = graph();
        let x = g.input("x", "Tensor<f32, H, 2>".parse::<TensorType>().unwrap());
        let a = g.push(mb::expand_dims(&x, [0])).unwrap();
        let b = g.push(mb::squeeze(&a).axes([0])).unwrap();
        let y = g.push(mb::exp(&b)).unwrap();
        let mut p = g.finish([("y", y)]).unwrap();
        assert_eq!(run(&NoopElimination, &mut p).counts["removed squeeze"], 1);
        assert_eq!(ops(&p), ["exp"]);
    }

    #[test]
    fn outputs_stay_distinct_and_keep_their_names() {
        let mut g = graph();
        let x = g.input("x", T.parse::<TensorType>().unwrap());
        let a = g.push(mb::exp(&x)).unwrap();
        let b = g.push(mb::add(&a, 0.0)).unwrap();
        let c = g.push(mb::identity(&a)).unwrap();
        let d = g.push(mb::mul(&x, 1.0)).unwrap();
        let mut p = g.finish([("a", a), ("b", b), ("c", c), ("d", d)]).unwrap();
        run(&NoopElimination, &mut p);
        assert_eq!((ops(&p), outputs(&p)), (vec!["exp", "identity", "identity", "identity"], vec!["a", "b", "c", "d"]));
        let again = p.clone();
        assert_eq!(run(&NoopElimination, &mut p).changes(), 0);
        assert_eq!(p, again);
    }

    #[test]
    fn blocks_give_what_is_made_in_them() {
        let mut g = graph();
        let go = condition(&mut g);
        let x = g.input("x", T.parse::<TensorType>().unwrap());
        let yes = |g: &mut Graph| Ok(vec![g.push(mb::identity(&x))?]);
        let no = |g: &mut Graph| {
            let a = g.push(mb::exp(&x))?;
            Ok(vec![g.push(mb::mul(&a, 1.0))?])
        };
        let y = g.cond(&go, yes, no).unwrap();
        let mut p = g.finish([("y", y[0].clone())]).unwrap();
        run(&NoopElimination, &mut p);
        assert_eq!(ops(&p), ["cond", "identity", "exp"]);
    }
}
