//! The end of rewriting: arenas without what was erased, and names that differ where they see each other.

use std::collections::{HashMap, HashSet};

use crate::{
    graph::Graph,
    ir::{Binding, Block, BlockId, Def, Function, Op, OpId, ValueData, ValueId},
};

/// The function with fresh arenas that hold what is reachable, numbered in order of execution.
pub(super) fn compact(f: Function) -> Function {
    let order = f.walk();
    let mut new = Renumbered::default();
    f.inputs.iter().for_each(|v| new.value(*v));
    new.block(f.body);
    for &id in &order {
        new.ops.insert(id, OpId::new(new.ops.len()));
        let op = f.op(id);
        for block in &op.blocks {
            new.block(*block);
            f.block(*block).inputs.iter().for_each(|v| new.value(*v));
        }
        op.outputs.iter().for_each(|v| new.value(*v));
    }
    let Function { values, ops, blocks, locs, .. } = f;
    let mut values: Vec<Option<ValueData>> = values.into_iter().map(Some).collect();
    let mut ops: Vec<Option<Op>> = ops.into_iter().map(Some).collect();
    let mut blocks: Vec<Option<Block>> = blocks.into_iter().map(Some).collect();
    let value = |mut v: ValueData| {
        v.def = match v.def {
            Def::Input(i) => Def::Input(i),
            Def::BlockInput(b, i) => Def::BlockInput(new.blocks[&b], i),
            Def::Op(op, i) => Def::Op(new.ops[&op], i),
        };
        v
    };
    let op = |mut op: Op| {
        for binding in op.args.iter_mut().flat_map(|a| &mut a.bindings) {
            if let Binding::Value(v) = binding {
                *v = new.values[v];
            }
        }
        op.blocks.iter_mut().for_each(|b| *b = new.blocks[b]);
        op.outputs.iter_mut().for_each(|v| *v = new.values[v]);
        op
    };
    let block = |mut b: Block| {
        b.inputs.iter_mut().chain(&mut b.outputs).for_each(|v| *v = new.values[v]);
        b.ops.iter_mut().for_each(|o| *o = new.ops[o]);
        b
    };
    Function {
        name: f.name,
        opset: f.opset,
        inputs: f.inputs.iter().map(|v| new.values[v]).collect(),
        body: new.blocks[&f.body],
        input_features: f.input_features,
        output_features: f.output_features,
        state_features: f.state_features,
        predicted_feature: f.predicted_feature,
        predicted_probabilities: f.predicted_probabilities,
        attributes: f.attributes,
        values: new.value_order.iter().filter_map(|v| values[v.index()].take()).map(value).collect(),
        ops: order.iter().filter_map(|o| ops[o.index()].take()).map(op).collect(),
        blocks: new.block_order.iter().filter_map(|b| blocks[b.index()].take()).map(block).collect(),
        locs: locs.into_iter().filter_map(|(op, loc)| Some((*new.ops.get(&op)?, loc))).collect(),
    }
}

#[derive(Default)]
struct Renumbered {
    values: HashMap<ValueId, ValueId>,
    ops: HashMap<OpId, OpId>,
    blocks: HashMap<BlockId, BlockId>,
    value_order: Vec<ValueId>,
    block_order: Vec<BlockId>,
}

impl Renumbered {
    fn value(&mut self, id: ValueId) {
        self.values.insert(id, ValueId::new(self.value_order.len()));
        self.value_order.push(id);
    }

    fn block(&mut self, id: BlockId) {
        self.blocks.insert(id, BlockId::new(self.block_order.len()));
        self.block_order.push(id);
    }
}

/// Gives new names to values which have the name of another that they see. Blocks side by side may name values alike;
/// when a value outside takes such a name, those inside must yield. Names of inputs and outputs stay. Gives how many got one.
pub(super) fn distinct_names(graph: &mut Graph) -> usize {
    let f = graph.function();
    let mut visible: HashMap<&str, ValueId> = HashMap::new();
    let mut clashes = vec![];
    visible.extend(f.inputs.iter().map(|id| (&f.value(*id).name[..], *id)));
    names(f, f.body, &mut visible, &mut clashes);
    let fixed: HashSet<ValueId> = f.inputs.iter().chain(f.outputs()).copied().collect();
    let count = clashes.len();
    for (old, new) in clashes {
        let id = if fixed.contains(&new) { old } else { new };
        let fresh = graph.fresh_name(&graph.function().value(id).name.clone());
        graph.set_name(id, fresh);
    }
    count
}

/// Walks a block as values become visible, and collects each two that see each other and have one name.
fn names<'a>(
    f: &'a Function,
    block: BlockId,
    visible: &mut HashMap<&'a str, ValueId>,
    clashes: &mut Vec<(ValueId, ValueId)>,
) {
    let block = f.block(block);
    let mut here: Vec<&str> = vec![];
    for id in &block.inputs {
        here.extend(take(f, *id, visible, clashes));
    }
    for op in &block.ops {
        for nested in &f.op(*op).blocks {
            names(f, *nested, visible, clashes);
        }
        for id in &f.op(*op).outputs {
            here.extend(take(f, *id, visible, clashes));
        }
    }
    for name in here {
        visible.remove(name);
    }
}

/// The name, if it was free.
fn take<'a>(
    f: &'a Function,
    id: ValueId,
    visible: &mut HashMap<&'a str, ValueId>,
    clashes: &mut Vec<(ValueId, ValueId)>,
) -> Option<&'a str> {
    let name = &f.value(id).name[..];
    match visible.get(name) {
        Some(old) => {
            clashes.push((*old, id));
            None
        }
        None => {
            visible.insert(name, id);
            Some(name)
        }
    }
}
