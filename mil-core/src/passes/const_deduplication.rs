//! Equal weights are one.

use std::{
    collections::HashMap,
    hash::{DefaultHasher, Hash, Hasher},
};

use crate::{
    ir::{Constant, OpId, Program},
    op::OpError,
    types::DType,
};

use super::{Context, Pass, PassError, Report, Rewriter};

/// Makes one of constants with the same dtype, shape and bytes; in different functions they share their bytes, so that a
/// file has them once.
///
/// All bytes count: two weights that differ in their last bit stay two. Constants below 64 bytes stay, since they are written
/// in place.
#[derive(Clone, Copy, Debug)]
pub struct ConstDeduplication;

/// Smaller constants are not worth it.
const MIN_BYTES: usize = 64;

/// This much from the start of a constant tells most apart; only those that begin alike are hashed as a whole.
const BEGINNING: usize = 256;

impl Pass for ConstDeduplication {
    fn name(&self) -> &'static str {
        "const_deduplication"
    }

    fn doc(&self) -> &'static str {
        "makes one of constants that are equal to the last byte"
    }

    fn function(&self, rw: &mut Rewriter, _: &Context<'_>, report: &mut Report) -> Result<(), OpError> {
        let all: Vec<OpId> = rw.ops().into_iter().filter(|op| rw.op(*op).constant().is_some_and(counts)).collect();
        let constants: Vec<&Constant> = all.iter().filter_map(|op| rw.op(*op).constant()).collect();
        for group in equal(&constants) {
            merge(rw, &group.into_iter().map(|i| all[i]).collect::<Vec<_>>(), report)?;
        }
        Ok(())
    }

    fn program(&self, program: &mut Program, cx: &Context<'_>, report: &mut Report) -> Result<(), PassError> {
        super::each_function(program, self.name(), |rw| self.function(rw, cx, report))?;
        if program.functions.len() > 1 {
            share(program, report);
        }
        Ok(())
    }
}

fn counts(c: &Constant) -> bool {
    c.bytes().is_some_and(|b| b.len() >= MIN_BYTES)
}

/// The indices of equal constants, in groups of two or more, in order.
fn equal(all: &[&Constant]) -> Vec<Vec<usize>> {
    let mut groups = vec![];
    for alike in classes((0..all.len()).collect(), |i| key(all[i], BEGINNING)) {
        // Most often these are the same memory, which is seen without reading it.
        if alike[1..].iter().all(|i| same_memory(all[alike[0]], all[*i])) {
            groups.push(alike);
            continue;
        }
        for same_hash in classes(alike, |i| key(all[i], usize::MAX)) {
            let mut distinct: Vec<Vec<usize>> = vec![];
            for i in same_hash {
                match distinct.iter_mut().find(|g| all[g[0]] == all[i]) {
                    Some(group) => group.push(i),
                    None => distinct.push(vec![i]),
                }
            }
            groups.extend(distinct.into_iter().filter(|g| g.len() > 1));
        }
    }
    groups.sort();
    groups
}

fn same_memory(a: &Constant, b: &Constant) -> bool {
    matches!((a.bytes(), b.bytes()), (Some(a), Some(b)) if std::ptr::eq::<[u8]>(&**a, &**b))
}

/// Items with the same key, where there are two or more.
fn classes<K: Hash + Eq>(items: Vec<usize>, key: impl Fn(usize) -> K) -> Vec<Vec<usize>> {
    let mut by_key: HashMap<K, Vec<usize>> = HashMap::new();
    for i in items {
        by_key.entry(key(i)).or_default().push(i);
    }
    by_key.into_values().filter(|c| c.len() > 1).collect()
}

/// Dtype, shape, and a hash of the first bytes, as many as are wanted.
fn key(c: &Constant, bytes: usize) -> (DType, Vec<usize>, u64) {
    let mut hasher = DefaultHasher::new();
    let all = c.bytes().map_or(&[][..], |b| b);
    all[..bytes.min(all.len())].hash(&mut hasher);
    (c.dtype(), c.shape().to_vec(), hasher.finish())
}

/// Makes one `const` op of several that are equal; the first where all see it, else a new one at the function's start.
fn merge(rw: &mut Rewriter, equal: &[OpId], report: &mut Report) -> Result<(), OpError> {
    let outputs: Vec<_> = equal.iter().filter_map(|op| rw.output(*op)).collect();
    // A constant that is an output of the function stays by itself: outputs are distinct.
    let outputs: Vec<_> = outputs.into_iter().filter(|v| !rw.is_output(*v)).collect();
    let [first, others @ ..] = &outputs[..] else { return Ok(()) };
    let (mut kept, mut replaced) = (*first, others.to_vec());
    let home = rw.home(kept);
    if others.iter().any(|v| !rw.encloses(home, rw.home(*v))) {
        let (name, Some(constant)) = (rw.data(kept).name.clone(), rw.known(kept).cloned()) else { return Ok(()) };
        let body = rw.body();
        let top = rw.at_start(body).constant(&name, constant).id();
        replaced.push(std::mem::replace(&mut kept, top));
        report.count("moved out of block");
    }
    for v in replaced {
        rw.replace_uses(v, kept)?;
        if let Some(op) = rw.producer(v) {
            rw.erase_unused(op);
        }
        report.count("merged constant");
    }
    Ok(())
}

/// Lets equal constants of different functions share their bytes.
fn share(program: &mut Program, report: &mut Report) {
    let mut places = vec![];
    let mut constants = vec![];
    for (name, f) in &program.functions {
        for op in f.walk() {
            if let Some(c) = f.op(op).constant().filter(|c| counts(c)) {
                places.push((name.clone(), op));
                constants.push(c.clone());
            }
        }
    }
    for group in equal(&constants.iter().collect::<Vec<_>>()) {
        let shared = &constants[group[0]];
        for i in group[1..].iter().filter(|i| !same_memory(shared, &constants[**i])) {
            let (name, op) = &places[*i];
            if let Some(f) = program.functions.get_mut(name) {
                f.set_constant(*op, shared.clone());
                report.count("shared between functions");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        graph::{Graph, Value},
        mb,
        passes::testing::{condition, graph, ops, run},
        types::TensorType,
    };

    fn weight(last: f32) -> Constant {
        let mut v = vec![0.5f32; 1000];
        v[999] = last;
        Constant::new([1000], &v).unwrap()
    }

    fn constants(p: &Program, name: &str) -> Vec<Constant> {
        let f = &p.functions[name];
        f.walk().into_iter().filter_map(|o| f.op(o).constant().filter(|c| counts(c)).cloned()).collect()
    }

    fn sum(g: &mut Graph, x: &Value, weights: &[Constant]) -> Value {
        weights.iter().fold(x.clone(), |x, w| g.push(mb::add(&x, w)).unwrap())
    }

    #[test]
    fn equal_to_the_last_byte_is_one() {
        let mut g = graph();
        let x = g.input("x", TensorType::new(DType::F32, [1000]));
        let square = Constant::new([1000, 1], &vec![0.5f32; 1000]).unwrap();
        let y = sum(&mut g, &x, &[weight(1.0), weight(2.0), weight(1.0), square.clone(), weight(1.0)]);
        let mut p = g.finish([("y", y)]).unwrap();
        assert_eq!(run(&ConstDeduplication, &mut p).counts["merged constant"], 2);
        assert_eq!(constants(&p, "main"), [weight(1.0), weight(2.0), square]);
        assert_eq!(ops(&p), ["add"; 5]);
    }

    #[test]
    fn blocks_side_by_side_share_one_outside() {
        let mut g = graph();
        let go = condition(&mut g);
        let x = g.input("x", TensorType::new(DType::F32, [1000]));
        let branch = |g: &mut Graph| Ok(vec![sum(g, &x, &[weight(1.0)])]);
        let y = g.cond(&go, branch, branch).unwrap();
        let z = sum(&mut g, &y[0], &[weight(1.0)]);
        let mut p = g.finish([("z", z)]).unwrap();
        assert_eq!(run(&ConstDeduplication, &mut p).counts["merged constant"], 3);
        assert_eq!(constants(&p, "main").len(), 1);
    }

    #[test]
    fn functions_share_bytes() {
        let function = |name: &str| {
            let mut g = Graph::new(name, crate::types::Opset::iOS18);
            let x = g.input("x", TensorType::new(DType::F32, [1000]));
            let y = sum(&mut g, &x, &[weight(1.0)]);
            g.finish_function(vec![y.into()]).unwrap()
        };
        let mut p = Program::single(function("a"));
        p.functions.insert("b".into(), function("b"));
        p.multifunction = true;
        assert_eq!(run(&ConstDeduplication, &mut p).counts["shared between functions"], 1);
        assert!(same_memory(&constants(&p, "a")[0], &constants(&p, "b")[0]));
        assert_eq!(run(&ConstDeduplication, &mut p).changes(), 0);
    }
}
