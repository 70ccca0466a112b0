//! Transposes that cancel.

use std::collections::HashMap;

use crate::{
    graph::Value,
    ir::{BlockId, Constant, OpId, ValueId},
    mb,
    op::OpError,
};

use super::{Context, Pass, Report, Rewriter, Use};

mod passage;
#[cfg(test)]
mod tests;

use passage::{Other, Passage};

/// Moves transposes after the ops that work on each element by itself, or along axes, until they meet others that undo them, and
/// removes both; or until they meet others of their kind, where one is left of several.
///
/// First each value is told from what it would be if the transposes before it were left out; nothing is changed yet. Transposes
/// that are connected by ops are moved together or not at all: a transpose is needed for each value that is used as it was,
/// by an op that a transpose cannot pass or as an output, and they are moved if that makes fewer than there were. Then the ops
/// on the way are changed: axes, constants, and small operands that a `reshape` puts in order.
///
/// Unlike coremltools', it lets transposes pass through `cast`, `softmax`, `select`, comparisons, and reductions that drop their
/// axes, and makes one transpose for all that use a value.
#[derive(Clone, Copy, Debug)]
pub struct ReduceTransposes;

impl Pass for ReduceTransposes {
    fn name(&self) -> &'static str {
        "reduce_transposes"
    }

    fn doc(&self) -> &'static str {
        "moves transposes through other ops and removes those that cancel"
    }

    fn function(&self, rw: &mut Rewriter, _: &Context<'_>, report: &mut Report) -> Result<(), OpError> {
        let mut plan = Plan::of(rw);
        report.count_by("removed transpose", plan.decide(rw));
        plan.apply(rw)
    }
}

/// A value that is a transpose of what it would be without the transposes before it.
struct Lazy {
    /// As `transpose` takes it.
    perm: Vec<usize>,
    /// The transposes that it comes from, as a number in [`Groups`].
    group: usize,
    block: BlockId,
}

/// What an op does in a group.
enum Role {
    /// A transpose that may be left out.
    Start,
    /// A transpose that undoes those before.
    Cancel,
    /// An op that can work on what was not transposed.
    Pass(Passage),
}

#[derive(Default)]
struct Plan {
    ops: Vec<OpId>,
    lazy: HashMap<ValueId, Lazy>,
    roles: HashMap<OpId, (Role, usize)>,
    groups: Groups,
}

/// Transposes that are moved together: a union-find, with how many transposes less there are.
#[derive(Default)]
struct Groups {
    parent: Vec<usize>,
    /// By root: transposes that go, less those that come.
    gain: Vec<isize>,
}

impl Groups {
    fn add(&mut self) -> usize {
        self.parent.push(self.parent.len());
        self.gain.push(0);
        self.parent.len() - 1
    }

    fn root(&mut self, mut group: usize) -> usize {
        while self.parent[group] != group {
            self.parent[group] = self.parent[self.parent[group]];
            group = self.parent[group];
        }
        group
    }

    fn join(&mut self, a: usize, b: usize) -> usize {
        let (a, b) = (self.root(a), self.root(b));
        if a != b {
            self.parent[b] = a;
            self.gain[a] += self.gain[b];
        }
        a
    }

    fn gain(&mut self, group: usize, by: isize) {
        let root = self.root(group);
        self.gain[root] += by;
    }

    fn pays(&mut self, group: usize) -> bool {
        let root = self.root(group);
        self.gain[root] > 0
    }
}

impl Plan {
    /// What could be done.
    fn of(rw: &Rewriter) -> Plan {
        let mut plan = Plan { ops: rw.ops(), ..Plan::default() };
        for op in plan.ops.clone() {
            let Some(block) = rw.block_of(op) else { continue };
            if let Some(perm) = permutation(rw, op) {
                plan.transpose(rw, op, block, perm);
            } else {
                plan.other(rw, op, block);
            }
        }
        plan
    }

    /// The lazy values that an op uses, each once, if they are of its block; those of others it uses as they are.
    fn inputs(&self, rw: &Rewriter, op: OpId, block: BlockId) -> Vec<ValueId> {
        let mut inputs: Vec<ValueId> = rw.op(op).uses().collect();
        inputs.sort_unstable();
        inputs.dedup();
        inputs.retain(|v| self.lazy.get(v).is_some_and(|l| l.block == block));
        inputs
    }

    fn transpose(&mut self, rw: &Rewriter, op: OpId, block: BlockId, perm: Vec<usize>) {
        let (Some(x), Some(out)) = (rw.arg(op, "x"), rw.output(op)) else { return };
        if let Some(before) = self.lazy.get(&x).filter(|l| l.block == block)
            && perm.iter().enumerate().all(|(i, p)| before.perm[*p] == i)
        {
            let group = before.group;
            self.groups.gain(group, 1);
            self.roles.insert(op, (Role::Cancel, group));
            return;
        }
        let group = self.groups.add();
        self.groups.gain(group, 1);
        self.roles.insert(op, (Role::Start, group));
        self.lazy.insert(out, Lazy { perm, group, block });
    }

    fn other(&mut self, rw: &Rewriter, op: OpId, block: BlockId) {
        let inputs = self.inputs(rw, op, block);
        let Some(first) = inputs.first().map(|v| &self.lazy[v]) else { return };
        if inputs.iter().any(|v| self.lazy[v].perm != first.perm) {
            return;
        }
        let Some(passage) = Passage::of(rw, op, &first.perm, &|v| inputs.contains(&v)) else { return };
        let mut group = first.group;
        for v in &inputs {
            group = self.groups.join(group, self.lazy[v].group);
        }
        // What is in order again, or has no order, is as it was.
        if passage.perm.iter().enumerate().any(|(i, p)| i != *p) {
            for out in &rw.op(op).outputs {
                self.lazy.insert(*out, Lazy { perm: passage.perm.clone(), group, block });
            }
        }
        self.roles.insert(op, (Role::Pass(passage), group));
    }

    /// Whether this use of a lazy value takes it as it would be without transposes, if its group is moved.
    fn takes_lazily(&self, rw: &Rewriter, by: Use, lazy: &Lazy) -> bool {
        let Use::Op(op) = by else { return false };
        let role = self.roles.get(&op).filter(|_| rw.block_of(op) == Some(lazy.block));
        matches!(role, Some((Role::Cancel | Role::Pass(_), _)))
    }

    fn used_plainly(&self, rw: &Rewriter, v: ValueId, lazy: &Lazy) -> bool {
        rw.uses(v).any(|(by, _)| !self.takes_lazily(rw, by, lazy))
    }

    /// Decides which groups are moved: gives how many transposes less there will be.
    fn decide(&mut self, rw: &Rewriter) -> usize {
        let needed = self.lazy.iter().filter(|(v, l)| self.used_plainly(rw, **v, l));
        let needed: Vec<usize> = needed.map(|(_, l)| l.group).collect();
        needed.into_iter().for_each(|group| self.groups.gain(group, -1));
        let roots = (0..self.groups.parent.len()).filter(|g| self.groups.parent[*g] == *g);
        roots.map(|g| self.groups.gain[g].max(0) as usize).sum()
    }

    /// Changes the ops in order; an op keeps its place and its output, which is what it is without the transposes.
    fn apply(&mut self, rw: &mut Rewriter) -> Result<(), OpError> {
        let mut moved: HashMap<ValueId, ValueId> = HashMap::new();
        let mut starts = vec![];
        for op in std::mem::take(&mut self.ops) {
            let Some((_, group)) = self.roles.get(&op) else { continue };
            if !self.groups.pays(*group) {
                continue;
            }
            let Some((role, _)) = self.roles.get(&op) else { continue };
            match role {
                Role::Start => {
                    if let (Some(x), Some(out)) = (rw.arg(op, "x"), rw.output(op)) {
                        moved.insert(out, x);
                        starts.push(op);
                    }
                }
                Role::Cancel => {
                    let Some(x) = rw.arg(op, "x").and_then(|x| moved.get(&x)) else { continue };
                    let value = given(rw, op, *x)?;
                    rw.replace(op, &[value])?;
                }
                Role::Pass(passage) => {
                    let Some(block) = rw.block_of(op) else { continue };
                    for old in self.inputs(rw, op, block) {
                        if let Some(new) = moved.get(&old) {
                            rw.rebind(op, old, *new);
                        }
                    }
                    change(rw, op, passage)?;
                    rw.infer(op)?;
                    for out in rw.op(op).outputs.clone() {
                        if let Some(lazy) = self.lazy.get(&out) {
                            moved.insert(out, out);
                            self.materialize(rw, op, out, lazy)?;
                        }
                    }
                }
            }
        }
        for op in starts.into_iter().rev() {
            rw.erase_unused(op);
        }
        Ok(())
    }

    /// Makes the transpose that some users of a value need.
    fn materialize(&self, rw: &mut Rewriter, op: OpId, out: ValueId, lazy: &Lazy) -> Result<(), OpError> {
        if !self.used_plainly(rw, out, lazy) {
            return Ok(());
        }
        let plain: Vec<Use> = rw.uses(out).map(|(by, _)| by).filter(|by| !self.takes_lazily(rw, *by, lazy)).collect();
        let value = rw.value(out);
        let perm: Vec<i64> = lazy.perm.iter().map(|p| *p as i64).collect();
        let transposed = rw.after(op).push(mb::transpose(&value, perm))?;
        rw.replace_uses_where(out, transposed.id(), |by| plain.contains(&by))
    }
}

/// The permutation of a transpose.
fn permutation(rw: &Rewriter, op: OpId) -> Option<Vec<usize>> {
    rw.bind::<mb::Transpose>(op)?.permutation().ok()
}

/// What replaces an op: a value; or a copy of it, if a branch or loop gives it and it is not made there.
fn given(rw: &mut Rewriter, op: OpId, value: ValueId) -> Result<Value, OpError> {
    let made_in = rw.producer(value).map(|_| rw.home(value));
    let body = rw.body();
    let outputs: Vec<Use> = rw.op(op).outputs.iter().flat_map(|v| rw.uses(*v)).map(|(by, _)| by).collect();
    let foreign = |by: &Use| matches!(by, Use::Block(block) if *block != body && made_in != Some(*block));
    let copied = outputs.iter().any(foreign);
    let value = rw.value(value);
    if copied { rw.before(op).push(mb::identity(&value)) } else { Ok(value) }
}

/// Makes an op one of what was not transposed; its other inputs are bound already.
fn change(rw: &mut Rewriter, op: OpId, passage: &Passage) -> Result<(), OpError> {
    let name = rw.name_of(op);
    for (param, constant) in &passage.set {
        set(rw, op, param, &name, constant.clone())?;
    }
    for (param, other) in &passage.others {
        match other {
            Other::Constant(order) => {
                let Some(c) = rw.constant(op, param).and_then(|c| order.transposed(c)) else { continue };
                set(rw, op, param, &name, c)?;
            }
            Other::Reshape(shape) => {
                let Some(value) = rw.arg(op, param).map(|v| rw.value(v)) else { continue };
                let reshaped = rw.before(op).push(mb::reshape(&value, &shape[..]))?;
                rw.set_arg(op, param, reshaped.id())?;
            }
        }
    }
    for (old, order) in &passage.constants {
        let Some(c) = rw.known(*old).and_then(|c| order.transposed(c)) else { continue };
        let new = rw.before(op).constant(&format!("{name}_transposed"), c);
        rw.rebind(op, *old, new.id());
        if let Some(unused) = rw.producer(*old) {
            rw.erase_unused(unused);
        }
    }
    Ok(())
}

fn set(rw: &mut Rewriter, op: OpId, param: &str, name: &str, constant: Constant) -> Result<(), OpError> {
    let old = rw.arg(op, param);
    let new = rw.before(op).constant(&format!("{name}_{param}_0"), constant);
    rw.set_arg(op, param, new.id())?;
    if let Some(unused) = old.and_then(|v| rw.producer(v)) {
        rw.erase_unused(unused);
    }
    Ok(())
}
