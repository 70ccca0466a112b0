//! What changing a finished function needs of the builder: see [`crate::passes::Rewriter`].

use std::collections::{BTreeMap, HashMap, HashSet};

use crate::{
    ir::{BlockId, Function, OpId, ValueId},
    op::{BlockTypes, Cx, OpError},
    types::{Dim, Type, scope_id},
};

use super::{Graph, NEXT_GRAPH, Ordering, Value};

impl Graph {
    /// Opens a function again. Its ops stay as they are; what is pushed goes to the end of the block that
    /// [`Graph::enter`] chose, and gets names that nothing in the function has.
    pub(crate) fn open(function: Function) -> Graph {
        let mut home = HashMap::with_capacity(function.values.len());
        home.extend(function.inputs.iter().map(|v| (*v, function.body)));
        for (i, block) in function.blocks.iter().enumerate() {
            let id = BlockId::new(i);
            home.extend(block.inputs.iter().map(|v| (*v, id)));
            home.extend(block.ops.iter().flat_map(|op| &function.op(*op).outputs).map(|v| (*v, id)));
        }
        let names: HashSet<String> = function.values.iter().map(|v| v.name.clone()).collect();
        Graph {
            id: NEXT_GRAPH.fetch_add(1, Ordering::Relaxed),
            open: vec![function.body],
            function,
            home,
            names,
            numbered: HashMap::new(),
            counters: BTreeMap::new(),
            reopened: true,
            in_place: HashSet::new(),
            folding: super::fold::Folding::default(),
            described: BTreeMap::new(),
        }
    }

    /// The function, to be changed in place.
    pub(crate) fn function_mut(&mut self) -> &mut Function {
        &mut self.function
    }

    /// The function.
    pub(crate) fn into_function(self) -> Function {
        self.function
    }

    /// Chooses the block that is pushed to, by the blocks around it, outermost first.
    pub(crate) fn enter(&mut self, blocks: Vec<BlockId>) {
        self.open = blocks;
    }

    /// A value of the function, to be given to ops.
    pub(crate) fn value(&self, id: ValueId) -> Value {
        let v = self.function.value(id);
        Value { graph: self.id, id, ty: v.ty.clone(), known: v.known.clone(), is_const: v.is_const }
    }

    /// The block that defines a value.
    pub(crate) fn home(&self, id: ValueId) -> Option<BlockId> {
        self.home.get(&id).copied()
    }

    /// Gives one value's name to another; the first gets a new one.
    pub(crate) fn pass_name(&mut self, from: ValueId, to: ValueId) {
        let name = self.function.value(from).name.clone();
        let fresh = self.fresh(&name);
        self.set_name(from, fresh);
        // The other's old name stays taken: blocks side by side may have given it to several values.
        self.set_name(to, name);
    }

    /// Names a value, and its op if it is named after the value.
    pub(crate) fn set_name(&mut self, id: ValueId, name: String) {
        self.names.insert(name.clone());
        let data = &mut self.function.values[id.index()];
        let old = std::mem::replace(&mut data.name, name.clone());
        if let crate::ir::Def::Op(op, _) = data.def {
            let op = &mut self.function.ops[op.index()];
            if op.name == old {
                op.name = name;
            }
        }
    }

    /// A name like this one that nothing in the function has.
    pub(crate) fn fresh_name(&mut self, like: &str) -> String {
        self.fresh(&super::identifier(like))
    }

    /// Infers an op of the function again, nested blocks and all if it is a loop; gives the outputs whose type or known
    /// value is now another.
    pub(crate) fn infer_op(&mut self, id: OpId) -> Result<Vec<ValueId>, OpError> {
        let op = self.function.op(id).clone();
        if op.def.is_const() {
            return Ok(vec![]);
        }
        if let ([condition, body], true) = (&op.blocks[..], op.def == crate::ops::while_loop_def()) {
            let blocks = [*condition, *body];
            for (i, var) in op.uses().enumerate() {
                let ty = self.start_type(*body, i, var);
                self.set_input(blocks, i, ty);
            }
            blocks.into_iter().try_for_each(|b| self.infer_again(b))?;
            self.widen(blocks)?;
        }
        let types: Vec<BlockTypes> = op.blocks.iter().map(|b| self.block_types(*b)).collect();
        let args = self.function.args(&op);
        // The scope that the decoder and validation use, so that unknown sizes are the same ones.
        let scope = op.outputs.first().map_or(op.name.clone(), |v| self.function.value(*v).name.clone());
        let cx = Cx::new(self.opset(), &scope, &types);
        let inferred = op.def.infer(&args, &mut if self.reopened { cx.reading() } else { cx })?;
        let is_const = op.blocks.is_empty() && !op.def.params.is_empty() && args.all_const();
        let mut changed = vec![];
        for (value, one) in op.outputs.iter().zip(inferred) {
            let data = &mut self.function.values[value.index()];
            let ty = if self.reopened { keep_numbers(&data.ty, one.ty, &scope) } else { one.ty };
            if (&data.ty, &data.known, data.is_const) != (&ty, &one.known, is_const) {
                (data.ty, data.known, data.is_const) = (ty, one.known, is_const);
                changed.push(*value);
            }
        }
        Ok(changed)
    }
}

/// The inferred type, but with the sizes that a file declares where the op's inference does not know them.
fn keep_numbers(declared: &Type, inferred: Type, scope: &str) -> Type {
    let (Type::Tensor(old), Type::Tensor(mut new)) = (declared, inferred.clone()) else { return inferred };
    if old.rank() != new.rank() {
        return inferred;
    }
    let own = format!("?{}.", scope_id(scope));
    let unknown = |d: &Dim| d.as_symbol().is_some_and(|s| s.is_anonymous() && s.name().starts_with(&own));
    for (new, old) in new.shape.dims_mut().iter_mut().zip(old.shape.iter()) {
        if unknown(new) && old.value().is_some() {
            *new = old.clone();
        }
    }
    Type::Tensor(new)
}
