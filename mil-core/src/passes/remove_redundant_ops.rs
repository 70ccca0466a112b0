//! What was computed before is not computed again.

use std::collections::HashMap;

use crate::{
    ir::{Binding, Constant, OpId, ValueId},
    op::OpError,
    types::DType,
};

use super::{Context, Pass, Report, Rewriter};

/// Replaces an op by an earlier one of the same kind with the same arguments, in its block or one around it (common
/// subexpressions). Random numbers, ops on states and ops with blocks are not merged.
#[derive(Clone, Copy, Debug)]
pub struct RemoveRedundantOps;

/// Constants of at most this many bytes are compared by value; larger ones are merged by `const_deduplication`.
const SMALL: usize = 256;

/// Of ops alike, in blocks that do not see each other, so many are remembered.
const REMEMBERED: usize = 8;

impl Pass for RemoveRedundantOps {
    fn name(&self) -> &'static str {
        "remove_redundant_ops"
    }

    fn doc(&self) -> &'static str {
        "computes once what is computed several times from the same arguments"
    }

    fn function(&self, rw: &mut Rewriter, _: &Context<'_>, report: &mut Report) -> Result<(), OpError> {
        let mut seen: HashMap<Key, Vec<OpId>> = HashMap::new();
        for op in rw.ops() {
            let data = rw.op(op);
            let name = data.def.name;
            // A copy is there for its name.
            let kept = name == "identity" || !data.blocks.is_empty() || name == "const";
            if !rw.is_live(op) || kept || !rw.is_pure(op) {
                continue;
            }
            let Some(key) = key(rw, op) else { continue };
            let alike = seen.entry(key).or_default();
            match alike.iter().rev().copied().find(|earlier| may_replace(rw, op, *earlier)) {
                Some(earlier) => {
                    let values: Vec<_> = rw.op(earlier).outputs.iter().map(|v| rw.value(*v)).collect();
                    rw.replace(op, &values)?;
                    report.count(format!("merged {name}"));
                }
                None => {
                    if alike.len() == REMEMBERED {
                        alike.remove(0);
                    }
                    alike.push(op);
                }
            }
        }
        Ok(())
    }
}

/// Whether an op can be replaced by an earlier one of the same kind and arguments.
fn may_replace(rw: &Rewriter, op: OpId, earlier: OpId) -> bool {
    let (Some(here), Some(there)) = (rw.block_of(op), rw.block_of(earlier)) else { return false };
    let (now, before) = (&rw.op(op).outputs, &rw.op(earlier).outputs);
    let same = |(a, b): (&ValueId, &ValueId)| rw.ty(*a) == rw.ty(*b) && rw.may_stand_for(*b, *a);
    rw.encloses(there, here) && now.len() == before.len() && now.iter().zip(before).all(same)
}

/// What ops alike have alike.
#[derive(PartialEq, Eq, Hash)]
struct Key(&'static str, Vec<(usize, Vec<Bound>)>);

#[derive(PartialEq, Eq, Hash)]
enum Bound {
    Value(ValueId),
    Small(DType, Vec<usize>, Vec<u8>),
    Strings(Vec<usize>, Vec<String>),
}

fn key(rw: &Rewriter, op: OpId) -> Option<Key> {
    let data = rw.op(op);
    let mut params = Vec::with_capacity(data.args.len());
    for argument in &data.args {
        let bound: Option<Vec<Bound>> = argument.bindings.iter().map(|b| bound(rw, b)).collect();
        params.push((argument.param, bound?));
    }
    Some(Key(data.def.name, params))
}

fn bound(rw: &Rewriter, binding: &Binding) -> Option<Bound> {
    let small = |c: &Constant| match (c.bytes(), c.as_strings()) {
        (Some(b), _) if b.len() <= SMALL => Some(Bound::Small(c.dtype(), c.shape().to_vec(), b.to_vec())),
        (None, Some(s)) => Some(Bound::Strings(c.shape().to_vec(), s.to_vec())),
        _ => None,
    };
    match binding {
        Binding::Value(v) => Some(rw.known(*v).and_then(small).unwrap_or(Bound::Value(*v))),
        Binding::Inline(crate::ir::Attribute::Tensor(c)) => small(c),
        Binding::Inline(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        graph::Graph,
        mb,
        passes::testing::{condition, graph, ops, outputs, run},
        types::TensorType,
    };

    fn f32s() -> TensorType {
        TensorType::new(DType::F32, [2, 3])
    }

    #[test]
    fn chains_of_the_same_ops_are_one() {
        let mut g = graph();
        let x = g.input("x", f32s());
        let chain = |g: &mut Graph, n: f32| {
            let a = g.push(mb::add(&x, n)).unwrap();
            g.push(mb::softmax(&a).axis(1)).unwrap()
        };
        let (a, b, c) = (chain(&mut g, 1.0), chain(&mut g, 1.0), chain(&mut g, 2.0));
        let d = g.push(mb::add(&a, &b)).unwrap();
        let y = g.push(mb::mul(&d, &c)).unwrap();
        let mut p = g.finish([("y", y)]).unwrap();
        assert_eq!(run(&RemoveRedundantOps, &mut p).changes(), 2);
        assert_eq!(ops(&p), ["add", "softmax", "add", "softmax", "add", "mul"]);
    }

    #[test]
    fn outputs_that_are_equal_stay_two() {
        let mut g = graph();
        let x = g.input("x", f32s());
        let (a, b) = (g.push(mb::exp(&x)).unwrap(), g.push(mb::exp(&x)).unwrap());
        let mut p = g.finish([("a", a), ("b", b)]).unwrap();
        run(&RemoveRedundantOps, &mut p);
        assert_eq!((ops(&p), outputs(&p)), (vec!["exp", "identity"], vec!["a", "b"]));
        assert_eq!(run(&RemoveRedundantOps, &mut p).changes(), 0);
    }

    #[test]
    fn blocks_use_what_is_around_them_but_not_beside_them() {
        let mut g = graph();
        let go = condition(&mut g);
        let x = g.input("x", f32s());
        let outside = g.push(mb::exp(&x)).unwrap();
        let branch = |g: &mut Graph| {
            let a = g.push(mb::exp(&x))?;
            let b = g.push(mb::sin(&x))?;
            Ok(vec![g.push(mb::add(&a, &b))?])
        };
        let inside = g.cond(&go, branch, branch).unwrap();
        let y = g.push(mb::add(&outside, &inside[0])).unwrap();
        let z = g.push(mb::sin(&x)).unwrap();
        let mut p = g.finish([("y", y), ("z", z)]).unwrap();
        run(&RemoveRedundantOps, &mut p);
        assert_eq!(ops(&p), ["exp", "cond", "sin", "add", "sin", "add", "add", "sin"]);
    }
}
