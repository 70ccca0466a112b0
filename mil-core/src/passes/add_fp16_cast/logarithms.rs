//! Logarithms of numbers that f16 does not hold.

use std::collections::HashSet;

use crate::{
    ir::{Binding, OpId},
    passes::Rewriter,
};

/// The least f16 that has all its digits, 2^-14: what is below loses them one by one, and from 2^-25 on it is 0.
const LEAST_NORMAL: f64 = 6.103_515_625e-5;

/// The logarithms that must stay f32, and the ops from where numbers may be too small for f16 to there.
///
/// A logarithm is of the order of 10 for all numbers, however small, so that it tells how small they are, which nothing else in a net does.
/// f16 has no number below 6e-8, and few digits below 6e-5. What may be that small: a power, which has twice the decades of what it is
/// a power of, a probability, and the sum with an epsilon, or the clamping to one, that f16 has no digits for. From there on all ops that
/// work number by number, or add up, stay f32; the rest of what a logarithm is of may be of f16.
pub(super) fn logarithms(rw: &Rewriter) -> HashSet<OpId> {
    let ops = rw.ops();
    // What logarithms are computed from, back to where sizes of numbers are mixed: a convolution, say.
    let mut reached = HashSet::new();
    for op in ops.iter().rev() {
        if matches!(rw.op(*op).def.name, "log" | "reduce_log_sum") {
            reached.insert(*op);
        }
        if reached.contains(op) && !is_probability(rw.op(*op).def.name) {
            let before = rw.op(*op).uses().filter_map(|v| rw.producer(v));
            reached.extend(before.filter(|o| keeps_numbers(rw.op(*o).def.name)));
        }
    }
    // Of these, what has small numbers before it. Ops stand behind what they use.
    let mut small = HashSet::new();
    for op in ops.into_iter().filter(|op| reached.contains(op)) {
        let before = || rw.op(op).uses().filter_map(|v| rw.producer(v)).any(|o| small.contains(&o));
        if makes_small(rw, op) || before() {
            small.insert(op);
        }
    }
    small
}

/// Ops whose results are as small as their operands may be, or smaller.
fn keeps_numbers(name: &str) -> bool {
    let by_number = matches!(
        name,
        "abs"
            | "add"
            | "clip"
            | "exp"
            | "exp2"
            | "maximum"
            | "minimum"
            | "mul"
            | "pow"
            | "real_div"
            | "sigmoid"
            | "sqrt"
            | "square"
            | "sub"
    );
    let adds_up =
        matches!(name, "reduce_max" | "reduce_mean" | "reduce_min" | "reduce_sum" | "reduce_sum_square" | "softmax");
    let moves = matches!(
        name,
        "concat"
            | "expand_dims"
            | "identity"
            | "reshape"
            | "slice_by_index"
            | "slice_by_size"
            | "split"
            | "squeeze"
            | "stack"
            | "transpose"
    );
    by_number || adds_up || moves
}

/// Ops that give small numbers whatever they are of: what they are of may be of f16.
fn is_probability(name: &str) -> bool {
    matches!(name, "exp" | "exp2" | "sigmoid" | "softmax")
}

/// Whether numbers may get too small for f16 here.
fn makes_small(rw: &Rewriter, op: OpId) -> bool {
    let epsilon = |param| rw.number(op, param).is_some_and(|n| n != 0.0 && n.abs() < LEAST_NORMAL);
    match rw.op(op).def.name {
        "square" | "reduce_sum_square" => true,
        "mul" => {
            rw.op(op).bindings("x") == rw.op(op).bindings("y") && matches!(rw.op(op).bindings("x"), [Binding::Value(_)])
        }
        "pow" => rw.number(op, "y").is_some_and(|n| n >= 2.0),
        "add" | "sub" | "maximum" => epsilon("x") || epsilon("y"),
        "clip" => epsilon("alpha"),
        name => is_probability(name),
    }
}

#[cfg(test)]
mod tests {
    use crate::{
        graph::{BuildError, Graph, Value},
        mb,
        passes::{
            AddFp16Cast,
            testing::{f32s, graph, ops, run},
        },
    };

    /// The ops that stay f32 of what a function makes of a convolution's or a product's result.
    #[track_caller]
    fn full(make: impl FnOnce(&mut Graph, &Value) -> Result<Value, BuildError>) -> Vec<String> {
        let mut g = graph();
        let x = g.input("x", f32s(&[2, 3]));
        let x = g.push(mb::relu(&x)).unwrap();
        let y = make(&mut g, &x).unwrap();
        let y = g.push(mb::relu(&y)).unwrap();
        let mut p = g.finish([("y", y)]).unwrap();
        let report = run(&AddFp16Cast::default(), &mut p);
        assert_eq!(ops(&p).iter().filter(|o| **o == "relu").count(), 2);
        let kinds = report.notes.iter().filter(|n| n.contains("stays f32: a logarithm"));
        kinds.map(|n| n[n.find('(').unwrap() + 1..n.find(')').unwrap()].to_string()).collect()
    }

    #[test]
    fn of_powers() {
        let spectrum = full(|g, x| {
            let scaled = g.push(mb::mul(x, 0.5))?;
            let power = g.push(mb::mul(&scaled, &scaled))?;
            let sum = g.push(mb::reduce_sum(&power).axes([1]).keep_dims(true))?;
            let magnitude = g.push(mb::sqrt(&sum))?;
            let safe = g.push(mb::add(&magnitude, 1e-3))?;
            let log = g.push(mb::log(&safe))?;
            g.push(mb::mul(&log, 4.3))
        });
        assert_eq!(
            spectrum,
            ["mul", "reduce_sum", "sqrt", "add", "log"],
            "not what comes before the power, nor behind the logarithm"
        );
    }

    #[test]
    fn of_epsilons_and_probabilities() {
        let add = full(|g, x| {
            let safe = g.push(mb::add(x, 1e-10))?;
            g.push(mb::log(&safe))
        });
        assert_eq!(add, ["add", "log"]);
        let clipped = full(|g, x| {
            let safe = g.push(mb::clip(x, 1e-5f32, 1.0f32))?;
            g.push(mb::log(&safe))
        });
        assert_eq!(clipped, ["clip", "log"]);
        let softmax = full(|g, x| {
            let twice = g.push(mb::mul(x, x))?;
            let p = g.push(mb::softmax(&twice).axis(-1))?;
            g.push(mb::log(&p))
        });
        assert_eq!(softmax, ["softmax", "log"], "the softmax of a power is no smaller than that of others");
    }

    #[test]
    fn others_are_of_f16() {
        let large = full(|g, x| {
            let above_one = g.push(mb::add(x, 1.0))?;
            g.push(mb::log(&above_one))
        });
        assert!(large.is_empty(), "{large:?}");
        let no_logarithm = full(|g, x| {
            let power = g.push(mb::mul(x, x))?;
            let safe = g.push(mb::add(&power, 1e-10))?;
            g.push(mb::sqrt(&safe))
        });
        assert!(no_logarithm.is_empty(), "{no_logarithm:?}");
        // Behind a product of matrices numbers are sums of many.
        let mixed = full(|g, x| {
            let power = g.push(mb::mul(x, x))?;
            let w = g.constant("w", crate::ir::Constant::new([3, 3], &[0.5f32; 9]).unwrap());
            let mixed = g.push(mb::matmul(&power, &w))?;
            g.push(mb::log(&mixed))
        });
        assert!(mixed.is_empty(), "{mixed:?}");
    }
}
