//! Changing functions: the one tool that all passes use.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    graph::{Graph, Value},
    ir::{Binding, BlockId, Constant, Def, Function, Op, OpId, ValueData, ValueId},
    op::{Call, FromOutputs, Op as OpStruct, OpDef, OpError, Operand},
    types::{Opset, Type},
};

mod chains;
mod compact;
mod interface;
mod matching;
mod order;
#[cfg(test)]
mod tests;

use order::Order;

/// Who uses a value.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Use {
    /// An op, as an argument.
    Op(OpId),
    /// A block gives it; the function's body among them.
    Block(BlockId),
}

/// A function that is being changed: who uses what is known at any time, ops are inserted and erased anywhere, and all
/// that is inserted is inferred as the builder infers it.
///
/// Ids stay valid until [`finish`](Rewriter::finish), those of erased ops too: ask [`is_live`](Rewriter::is_live). Everything
/// takes time by what it touches, never by the size of the function, but for [`ops`](Rewriter::ops), `settle` and `finish`.
#[derive(Debug)]
pub struct Rewriter {
    graph: Graph,
    order: Order,
    /// By value: who uses it, and how often.
    uses: Vec<BTreeMap<Use, u32>>,
    /// Ops whose arguments are of other types than when they were inferred.
    stale: BTreeSet<OpId>,
    /// How many values the function had at first.
    old_values: usize,
    changed: bool,
}

impl Rewriter {
    /// Opens a function.
    pub fn new(function: Function) -> Rewriter {
        let old_values = function.values.len();
        let mut uses = vec![BTreeMap::new(); old_values];
        let mut add = |v: ValueId, by: Use| *uses[v.index()].entry(by).or_insert(0) += 1;
        for id in function.walk() {
            function.op(id).uses().for_each(|v| add(v, Use::Op(id)));
            for block in &function.op(id).blocks {
                function.block(*block).outputs.iter().for_each(|v| add(*v, Use::Block(*block)));
            }
        }
        function.outputs().iter().for_each(|v| add(*v, Use::Block(function.body)));
        let mut graph = Graph::open(function);
        let order = Order::take(graph.function_mut());
        Rewriter { graph, order, uses, stale: BTreeSet::new(), old_values, changed: false }
    }

    /// Ends it: infers what is stale, drops what was erased, and makes names differ that see each other.
    ///
    /// # Errors
    /// If an op cannot be any more with what it was given; the error says which op.
    pub fn finish(mut self) -> Result<Function, OpError> {
        self.settle()?;
        self.order.give_back(&mut self.graph.function_mut().blocks);
        if !self.changed {
            return Ok(self.graph.into_function());
        }
        compact::distinct_names(&mut self.graph);
        Ok(compact::compact(self.graph.into_function()))
    }

    /// Whether anything was changed so far.
    pub fn changed(&self) -> bool {
        self.changed
    }

    /// The opset.
    pub fn opset(&self) -> Opset {
        self.graph.opset()
    }

    /// The function, for its ops, values and descriptions. Its blocks do not list their ops while it is rewritten:
    /// [`ops`](Rewriter::ops) and [`ops_of`](Rewriter::ops_of) do.
    pub fn function(&self) -> &Function {
        self.graph.function()
    }

    /// All ops: depth first, in order of execution. Ask [`is_live`](Rewriter::is_live) of each if you erase on the way.
    pub fn ops(&self) -> Vec<OpId> {
        self.order.walk(self.function())
    }

    /// The ops of one block, in order.
    pub fn ops_of(&self, block: BlockId) -> Vec<OpId> {
        self.order.ops(block).collect()
    }

    /// The function's body.
    pub fn body(&self) -> BlockId {
        self.function().body
    }

    /// An op.
    pub fn op(&self, id: OpId) -> &Op {
        self.function().op(id)
    }

    /// Whether an op was not erased.
    pub fn is_live(&self, id: OpId) -> bool {
        self.order.block(id).is_some()
    }

    /// The block that an op stands in; `None` if it was erased.
    pub fn block_of(&self, id: OpId) -> Option<BlockId> {
        self.order.block(id)
    }

    /// The block that defines a value.
    pub fn home(&self, id: ValueId) -> BlockId {
        self.graph.home(id).unwrap_or(self.function().body)
    }

    /// Whether what `outer` defines is seen from `inner`: they are the same, or one is inside the other.
    pub fn encloses(&self, outer: BlockId, inner: BlockId) -> bool {
        let around = |b: &BlockId| self.order.owner(*b).and_then(|op| self.order.block(op));
        std::iter::successors(Some(inner), around).any(|b| b == outer)
    }

    /// A value's data: name, type, what is known of it.
    pub fn data(&self, id: ValueId) -> &ValueData {
        self.function().value(id)
    }

    /// A value's type.
    pub fn ty(&self, id: ValueId) -> &Type {
        &self.data(id).ty
    }

    /// A value, to be given to ops.
    pub fn value(&self, id: ValueId) -> Value {
        self.graph.value(id)
    }

    /// Who uses a value, and how often.
    pub fn uses(&self, id: ValueId) -> impl Iterator<Item = (Use, u32)> + '_ {
        self.uses.get(id.index()).into_iter().flatten().map(|(by, n)| (*by, *n))
    }

    /// The ops that use a value, each once.
    pub fn users(&self, id: ValueId) -> Vec<OpId> {
        let op = |(by, _)| match by {
            Use::Op(op) => Some(op),
            Use::Block(_) => None,
        };
        self.uses(id).filter_map(op).collect()
    }

    /// Whether a value is an output of the function.
    pub fn is_output(&self, id: ValueId) -> bool {
        self.uses[id.index()].contains_key(&Use::Block(self.body()))
    }

    /// Whether a value may become an output: an op other than `const` makes it in the body, and it is none already.
    pub fn can_be_output(&self, id: ValueId) -> bool {
        let made = matches!(self.data(id).def, Def::Op(op, _) if !self.op(op).def.is_const());
        made && self.home(id) == self.body() && !self.is_output(id)
    }

    /// Whether an op only gives values, and those that its arguments say: not what reads or writes a state, not random numbers, and
    /// not what makes or changes a list, which Core ML may do in place. What is not pure is not merged with its like.
    pub fn is_pure(&self, id: OpId) -> bool {
        let op = self.op(id);
        let mut values = op.uses().chain(op.outputs.iter().copied());
        let kept = values.any(|v| matches!(self.ty(v), Type::State(_) | Type::List(..)));
        let inner = |b: &BlockId| self.order.ops(*b).all(|op| self.is_pure(op));
        !kept && !op.def.name.starts_with("random_") && !op.outputs.is_empty() && op.blocks.iter().all(inner)
    }

    /// Whether an op may go when nobody uses its outputs: it writes no state, and nothing inside it does.
    pub fn is_removable(&self, id: OpId) -> bool {
        let op = self.op(id);
        let state = op.def.name != "read_state" && op.uses().any(|v| matches!(self.ty(v), Type::State(_)));
        let inner = |b: &BlockId| self.order.ops(*b).all(|op| self.is_removable(op));
        // A loop carries states along, and writes them only if something inside does.
        let writes = state && op.blocks.is_empty();
        !writes && !op.outputs.is_empty() && op.blocks.iter().all(inner)
    }

    /// Inserts before an op, in its block.
    pub fn before(&mut self, op: OpId) -> Inserter<'_> {
        let block = self.order.block(op).unwrap_or(self.body());
        let loc = self.function().loc(op).cloned();
        let before = self.is_live(op).then_some(op);
        Inserter { rewriter: self, block, before, loc }
    }

    /// Inserts after an op, in its block; what is pushed stands in the order of pushing.
    pub fn after(&mut self, op: OpId) -> Inserter<'_> {
        let block = self.order.block(op).unwrap_or(self.body());
        let loc = self.function().loc(op).cloned();
        let before = self.is_live(op).then(|| self.order.next(op)).flatten();
        Inserter { rewriter: self, block, before, loc }
    }

    /// Inserts right after what defines a value: its op, or the start of the block whose input it is.
    pub fn after_value(&mut self, value: ValueId) -> Inserter<'_> {
        match self.data(value).def {
            Def::Op(op, _) => self.after(op),
            Def::Input(_) | Def::BlockInput(..) => {
                let block = self.home(value);
                self.at_start(block)
            }
        }
    }

    /// Inserts at the start of a block.
    pub fn at_start(&mut self, block: BlockId) -> Inserter<'_> {
        let before = self.order.first(block);
        Inserter { rewriter: self, block, before, loc: None }
    }

    /// Inserts at the end of a block.
    pub fn at_end(&mut self, block: BlockId) -> Inserter<'_> {
        Inserter { rewriter: self, block, before: None, loc: None }
    }

    /// Whoever uses `old` uses `new` instead, blocks and nested blocks included, but for the op that makes `new`. `new` must be
    /// defined before each of these uses.
    ///
    /// If `old` is an output of the function, `new` takes its name, which is the model's interface; or, if `new` cannot be an
    /// output (it is an input, a constant, or an output already), a copy of it does.
    ///
    /// # Errors
    /// If that copy cannot be made, which would be a bug.
    pub fn replace_uses(&mut self, old: ValueId, new: ValueId) -> Result<(), OpError> {
        let maker = self.producer(new);
        self.replace_uses_where(old, new, |by| Some(by) != maker.map(Use::Op))
    }

    /// [`Rewriter::replace_uses`] for those uses that `wanted` says.
    ///
    /// # Errors
    /// As there.
    pub fn replace_uses_where(
        &mut self,
        old: ValueId,
        new: ValueId,
        mut wanted: impl FnMut(Use) -> bool,
    ) -> Result<(), OpError> {
        if old == new {
            return Ok(());
        }
        let users: Vec<Use> = self.uses(old).map(|(by, _)| by).filter(|by| wanted(*by)).collect();
        for by in users {
            match by {
                Use::Op(op) => self.rebind(op, old, new),
                Use::Block(block) if block == self.body() => self.replace_output(old, new)?,
                Use::Block(block) => self.replace_given(block, old, new),
            }
        }
        Ok(())
    }

    fn replace_output(&mut self, old: ValueId, new: ValueId) -> Result<(), OpError> {
        let body = self.body();
        let mut given = new;
        if !self.can_be_output(new) {
            let x = self.value(new);
            given = self.at_end(body).push(crate::ops::control::identity(x))?.id();
        }
        self.graph.pass_name(old, given);
        self.replace_given(body, old, given);
        Ok(())
    }

    fn replace_given(&mut self, block: BlockId, old: ValueId, new: ValueId) {
        let mut count = 0;
        for v in self.graph.function_mut().blocks[block.index()].outputs.iter_mut().filter(|v| **v == old) {
            (*v, count) = (new, count + 1);
        }
        self.moved(Use::Block(block), old, new, count);
    }

    /// An op uses `new` wherever it uses `old`.
    pub fn rebind(&mut self, op: OpId, old: ValueId, new: ValueId) {
        let mut count = 0;
        let bindings = self.graph.function_mut().ops[op.index()].args.iter_mut().flat_map(|a| &mut a.bindings);
        for binding in bindings.filter(|b| **b == Binding::Value(old)) {
            (*binding, count) = (Binding::Value(new), count + 1);
        }
        self.moved(Use::Op(op), old, new, count);
    }

    /// Binds a parameter of an op that takes one argument to a value that is defined before it. Its outputs are inferred
    /// when the rewriter settles.
    ///
    /// # Errors
    /// If there is no such parameter.
    pub fn set_arg(&mut self, op: OpId, param: &str, value: ValueId) -> Result<(), OpError> {
        let def = self.op(op).def;
        let unknown = || OpError::at(param, format!("there is no parameter `{param}`")).of(def.name);
        let param = def.param(param).ok_or_else(unknown)?;
        let old: Vec<ValueId> = self.op(op).uses().collect();
        let args = &mut self.graph.function_mut().ops[op.index()].args;
        let bindings = vec![Binding::Value(value)];
        match args.iter_mut().find(|a| a.param == param) {
            Some(argument) => argument.bindings = bindings,
            None => {
                args.push(crate::ir::Argument { param, bindings });
                args.sort_by_key(|a| a.param);
            }
        }
        old.into_iter().for_each(|v| self.forget_use(v, Use::Op(op), 1));
        let now: Vec<ValueId> = self.op(op).uses().collect();
        now.into_iter().for_each(|v| self.note_use(v, Use::Op(op), 1));
        self.stale.insert(op);
        self.changed = true;
        Ok(())
    }

    /// Gives a `const` op another value, of any type; its users are inferred again when the rewriter settles.
    pub fn set_constant(&mut self, op: OpId, constant: Constant) {
        let f = self.graph.function_mut();
        if !f.op(op).def.is_const() {
            return;
        }
        let outputs = f.op(op).outputs.clone();
        outputs.iter().for_each(|v| f.values[v.index()].ty = constant.ty().into());
        f.set_constant(op, constant);
        outputs.into_iter().for_each(|v| self.make_stale(v));
        self.changed = true;
    }

    /// Erases an op with all inside it, if nobody uses its outputs; else nothing happens. Gives whether it was erased.
    pub fn erase(&mut self, op: OpId) -> bool {
        if !self.is_live(op) || self.op(op).outputs.iter().any(|v| self.uses(*v).next().is_some()) {
            return false;
        }
        let mut inside = vec![op];
        while let Some(op) = inside.pop() {
            for v in self.op(op).uses().collect::<Vec<_>>() {
                self.forget_use(v, Use::Op(op), 1);
            }
            for block in self.op(op).blocks.clone() {
                for v in std::mem::take(&mut self.graph.function_mut().blocks[block.index()].outputs) {
                    self.forget_use(v, Use::Block(block), 1);
                }
                inside.extend(self.order.ops(block));
            }
            self.order.remove(op);
            self.stale.remove(&op);
            self.forget_constant(op);
        }
        self.changed = true;
        true
    }

    /// Lets go of what an erased constant holds: the weights of a large model are not there twice.
    fn forget_constant(&mut self, op: OpId) {
        let f = self.graph.function_mut();
        if f.op(op).def.is_const() {
            f.ops[op.index()].attributes.clear();
            for v in f.ops[op.index()].outputs.clone() {
                f.values[v.index()].known = None;
            }
        }
    }

    /// Erases an op if nobody uses its outputs and it writes no state, and then likewise the ops whose values only it used.
    /// Gives how many ops are gone, constants not counted.
    pub fn erase_unused(&mut self, op: OpId) -> usize {
        let mut erased = 0;
        let mut candidates = vec![op];
        while let Some(op) = candidates.pop() {
            if !self.is_live(op) || !self.is_removable(op) {
                continue;
            }
            let used = self.used_within(op);
            let is_const = self.op(op).def.is_const();
            if self.erase(op) {
                erased += usize::from(!is_const);
                candidates.extend(used.into_iter().filter_map(|v| self.producer(v)));
            }
        }
        erased
    }

    /// All values that an op or something inside it uses.
    fn used_within(&self, op: OpId) -> Vec<ValueId> {
        let mut used = vec![];
        let mut inside = vec![op];
        while let Some(op) = inside.pop() {
            used.extend(self.op(op).uses());
            for block in &self.op(op).blocks {
                used.extend(&self.function().block(*block).outputs);
                inside.extend(self.order.ops(*block));
            }
        }
        used
    }

    /// Replaces an op by values that say the same: [`replace_uses`](Rewriter::replace_uses) of each output, then
    /// [`erase_unused`](Rewriter::erase_unused). A value that was inserted takes the name of the one that it replaces.
    ///
    /// # Errors
    /// If there are not as many values as outputs; and as `replace_uses`.
    pub fn replace(&mut self, op: OpId, values: &[Value]) -> Result<(), OpError> {
        let outputs = self.op(op).outputs.clone();
        if outputs.len() != values.len() {
            let message = format!("gives {} values, but is replaced by {}", outputs.len(), values.len());
            return Err(OpError::new(message).of(self.op(op).def.name));
        }
        for (old, new) in outputs.iter().zip(values.iter().map(Value::id)) {
            let named = self.is_output(*old);
            self.replace_uses(*old, new)?;
            if !named && new.index() >= self.old_values {
                self.graph.pass_name(*old, new);
            }
        }
        self.erase_unused(op);
        Ok(())
    }

    /// Infers the ops whose arguments have changed, and those that follow from them.
    ///
    /// # Errors
    /// If an op cannot be any more; the error's note says which.
    pub fn settle(&mut self) -> Result<(), OpError> {
        if self.stale.is_empty() {
            return Ok(());
        }
        self.order.give_back(&mut self.graph.function_mut().blocks);
        let settled = self.settle_block(self.body());
        self.graph.function_mut().blocks.iter_mut().for_each(|b| b.ops.clear());
        settled?;
        self.stale.clear();
        Ok(())
    }

    /// Infers one op now, if it is stale; those that follow from it stay stale. For passes that go through the ops in order and
    /// need each one's type: `settle` walks the whole function.
    ///
    /// # Errors
    /// As [`settle`](Rewriter::settle).
    pub fn infer(&mut self, op: OpId) -> Result<(), OpError> {
        if !self.op(op).blocks.is_empty() {
            return self.settle();
        }
        if !self.stale.remove(&op) {
            return Ok(());
        }
        let changed = self.graph.infer_op(op);
        let changed = changed.map_err(|e| e.note(format!("in op `{}`", self.name_of(op))))?;
        changed.into_iter().for_each(|v| self.make_stale(v));
        Ok(())
    }

    fn settle_block(&mut self, block: BlockId) -> Result<(), OpError> {
        let mut next = self.order.first(block);
        while let Some(op) = next {
            next = self.order.next(op);
            // A loop whose variables changed is inferred as a whole, with its blocks.
            let whole = self.op(op).def == crate::ops::while_loop_def() && self.stale.contains(&op);
            if !whole {
                for block in self.op(op).blocks.clone() {
                    self.settle_block(block)?;
                }
            }
            if self.stale.remove(&op) {
                let changed = self.graph.infer_op(op);
                let changed = changed.map_err(|e| e.note(format!("in op `{}`", self.name_of(op))))?;
                changed.into_iter().for_each(|v| self.make_stale(v));
            }
        }
        Ok(())
    }

    /// An op's name, or its first output's if it has none.
    pub fn name_of(&self, op: OpId) -> String {
        let op = self.op(op);
        let output = || op.outputs.first().map(|v| self.data(*v).name.clone()).unwrap_or_default();
        if op.name.is_empty() { output() } else { op.name.clone() }
    }

    fn make_stale(&mut self, value: ValueId) {
        for (by, _) in self.uses.get(value.index()).into_iter().flatten() {
            match by {
                Use::Op(op) => drop(self.stale.insert(*op)),
                Use::Block(block) => self.stale.extend(self.order.owner(*block)),
            }
        }
    }

    fn moved(&mut self, by: Use, old: ValueId, new: ValueId, count: u32) {
        if count == 0 {
            return;
        }
        self.changed = true;
        self.forget_use(old, by, count);
        self.note_use(new, by, count);
        let (was, is) = (self.data(old), self.data(new));
        if (&was.ty, &was.known, was.is_const) != (&is.ty, &is.known, is.is_const) {
            match by {
                Use::Op(op) => drop(self.stale.insert(op)),
                Use::Block(block) => self.stale.extend(self.order.owner(block)),
            }
        }
    }

    fn note_use(&mut self, value: ValueId, by: Use, count: u32) {
        if self.uses.len() <= value.index() {
            self.uses.resize(value.index() + 1, BTreeMap::new());
        }
        *self.uses[value.index()].entry(by).or_insert(0) += count;
    }

    fn forget_use(&mut self, value: ValueId, by: Use, count: u32) {
        if let Some(n) = self.uses[value.index()].get_mut(&by) {
            *n = n.saturating_sub(count);
            if *n == 0 {
                self.uses[value.index()].remove(&by);
            }
        }
    }
}

/// A place in a function where ops are pushed, as [`Graph`] pushes them: inferred, literals typed, defaults written out.
#[derive(Debug)]
pub struct Inserter<'a> {
    rewriter: &'a mut Rewriter,
    block: BlockId,
    /// What is pushed goes before this op, or to the end of the block.
    before: Option<OpId>,
    /// The line of Rust, if it is known, that wrote the op which this is about.
    loc: Option<crate::ir::Loc>,
}

impl Inserter<'_> {
    /// Inserts an op.
    ///
    /// # Errors
    /// If the op cannot be; then nothing was inserted.
    pub fn push<O: OpStruct>(&mut self, call: Call<O>) -> Result<O::Outputs, OpError> {
        let outputs = self.push_op(O::DEF, call.operands, call.name.as_deref())?;
        let count = outputs.len();
        let wrong = || OpError::new(format!("gives {count} values here; use `push_op`")).of(O::DEF.name);
        O::Outputs::from_outputs(outputs).ok_or_else(wrong)
    }

    /// Inserts an op by its definition.
    ///
    /// # Errors
    /// If the op cannot be; then nothing was inserted.
    pub fn push_op(
        &mut self,
        def: &'static OpDef,
        operands: Vec<(&'static str, Operand)>,
        name: Option<&str>,
    ) -> Result<Vec<Value>, OpError> {
        let around = self.rewriter.order.around(self.block);
        self.rewriter.graph.enter(around);
        let values = self.rewriter.graph.push_op(def, operands, name, self.loc.clone())?;
        self.link();
        Ok(values)
    }

    /// Inserts a constant.
    pub fn constant(&mut self, name: &str, constant: impl Into<Constant>) -> Value {
        let around = self.rewriter.order.around(self.block);
        self.rewriter.graph.enter(around);
        let value = self.rewriter.graph.constant(name, constant);
        self.link();
        value
    }

    /// Moves the ops that the graph has pushed to their place.
    fn link(&mut self) {
        let r = &mut *self.rewriter;
        let pushed = std::mem::take(&mut r.graph.function_mut().blocks[self.block.index()].ops);
        for op in pushed {
            r.order.insert(op, self.block, self.before);
            for v in r.op(op).uses().collect::<Vec<_>>() {
                r.note_use(v, Use::Op(op), 1);
            }
        }
        let count = r.function().value_count();
        r.uses.resize(count, BTreeMap::new());
        r.changed = true;
    }
}
