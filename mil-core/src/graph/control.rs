//! Ops with nested blocks: `cond` and `while_loop`.

use crate::{
    ir::{BlockId, Def, Loc, ValueId},
    op::{BlockTypes, OpError, Operand},
    types::{Dim, Type},
};

use super::{BuildError, Graph, Value};

impl Graph {
    /// `cond`: one of two blocks runs, by a scalar bool. Both give the same number of values, of the same types.
    ///
    /// # Errors
    /// If a block fails, or they do not agree.
    #[track_caller]
    pub fn cond(
        &mut self,
        pred: impl Into<Operand>,
        on_true: impl FnOnce(&mut Graph) -> Result<Vec<Value>, BuildError>,
        on_false: impl FnOnce(&mut Graph) -> Result<Vec<Value>, BuildError>,
    ) -> Result<Vec<Value>, BuildError> {
        let loc = Loc::caller();
        let fail = |error| BuildError::new(error, loc.clone());
        let yes = self.open_block();
        let values = on_true(self)?;
        self.close_block(yes, values).map_err(fail)?;
        let no = self.open_block();
        let values = on_false(self)?;
        self.close_block(no, values).map_err(fail)?;
        let operands = vec![("pred", pred.into())];
        self.push_blocks(crate::ops::cond_def(), operands, vec![yes, no], None, Some(loc.clone())).map_err(fail)
    }

    /// `while_loop`: `body` runs as long as `condition` gives true, over variables which both see; gives their last values.
    /// The blocks are built with the types of the first values; a size that the body changes becomes unknown afterwards.
    ///
    /// # Errors
    /// If a block fails, the condition gives no scalar bool, or the body changes a type.
    #[track_caller]
    pub fn while_loop(
        &mut self,
        loop_vars: Vec<Value>,
        condition: impl FnOnce(&mut Graph, &[Value]) -> Result<Value, BuildError>,
        body: impl FnOnce(&mut Graph, &[Value]) -> Result<Vec<Value>, BuildError>,
    ) -> Result<Vec<Value>, BuildError> {
        let loc = Loc::caller();
        let fail = |error| BuildError::new(error, loc.clone());
        let cond_block = self.open_block();
        let vars = self.block_inputs(cond_block, &loop_vars);
        let go = condition(self, &vars)?;
        self.close_block(cond_block, vec![go]).map_err(fail)?;
        let body_block = self.open_block();
        let vars = self.block_inputs(body_block, &loop_vars);
        let next = body(self, &vars)?;
        self.close_block(body_block, next).map_err(fail)?;
        let operands = vec![("loop_vars", Operand::from(loop_vars))];
        let blocks = vec![cond_block, body_block];
        self.push_blocks(crate::ops::while_loop_def(), operands, blocks, None, Some(loc.clone())).map_err(fail)
    }

    /// Opens a nested block: what is pushed from now on goes there. For those who cannot use closures.
    pub fn open_block(&mut self) -> BlockId {
        let block = self.function.add_block();
        self.open.push(block);
        block
    }

    /// Adds inputs to an open block, of the types and names of these values.
    pub fn block_inputs(&mut self, block: BlockId, like: &[Value]) -> Vec<Value> {
        let mut inputs = Vec::with_capacity(like.len());
        for (i, v) in like.iter().enumerate() {
            let name = self.function.value(v.id()).name.clone();
            inputs.push(self.define(&name, v.ty().clone(), Def::BlockInput(block, i), block));
        }
        self.function.blocks[block.index()].inputs = inputs.iter().map(Value::id).collect();
        inputs
    }

    /// Adds one more input to an open block, of this type. If the name is taken it gets a number.
    pub fn block_input(&mut self, block: BlockId, name: &str, ty: Type) -> Value {
        let position = self.function.block(block).inputs.len();
        let value = self.define(name, ty, Def::BlockInput(block, position), block);
        self.function.blocks[block.index()].inputs.push(value.id());
        value
    }

    /// Closes the innermost open block, which gives these values.
    ///
    /// # Errors
    /// If it is another block, or a value cannot be used in it.
    pub fn close_block(&mut self, block: BlockId, outputs: Vec<Value>) -> Result<(), OpError> {
        if self.open.len() < 2 || self.open.last() != Some(&block) {
            return Err(OpError::new("blocks are closed in the reverse order of opening").of("block"));
        }
        for (i, v) in outputs.iter().enumerate() {
            self.check_scope(v).map_err(|m| OpError::new(m).index(i).of("block"))?;
        }
        self.function.blocks[block.index()].outputs = outputs.iter().map(Value::id).collect();
        self.open.pop();
        Ok(())
    }

    /// Pushes an op over closed blocks.
    ///
    /// # Errors
    /// If the op cannot be.
    pub fn push_blocks(
        &mut self,
        def: &'static crate::op::OpDef,
        operands: Vec<(&'static str, Operand)>,
        blocks: Vec<BlockId>,
        name: Option<&str>,
        loc: Option<Loc>,
    ) -> Result<Vec<Value>, OpError> {
        if blocks.len() != def.blocks {
            return Err(OpError::new(format!("has {} blocks, found {}", def.blocks, blocks.len())).of(def.name));
        }
        if def == crate::ops::while_loop_def() {
            self.widen([blocks[0], blocks[1]])?;
        }
        self.push_with_blocks(def, operands, blocks, name, loc)
    }

    /// Makes the sizes of loop variables unknown that change from round to round, and infers the blocks again with that,
    /// until the body keeps what it takes.
    pub(super) fn widen(&mut self, blocks: [BlockId; 2]) -> Result<(), OpError> {
        loop {
            // Each round makes at least one more size unknown, so there is a last one.
            let types = self.block_types(blocks[1]);
            let mut changed = false;
            for (i, (taken, next)) in types.inputs.iter().zip(&types.outputs).enumerate() {
                let (Type::Tensor(taken), Type::Tensor(next)) = (taken, next) else { continue };
                let mut wide = taken.clone();
                for (axis, (size, next)) in wide.shape.dims_mut().iter_mut().zip(next.shape.iter()).enumerate() {
                    if size != next {
                        *size = self.changing(blocks[1], i, axis);
                    }
                }
                if wide.dtype == next.dtype && wide.rank() == next.rank() && wide != *taken {
                    changed = true;
                    self.set_input(blocks, i, wide.into());
                }
            }
            if !changed {
                return Ok(());
            }
            blocks.into_iter().try_for_each(|b| self.infer_again(b))?;
        }
    }

    /// The size, of which nothing is known, that a variable of a loop has along an axis.
    fn changing(&self, body: BlockId, input: usize, axis: usize) -> Dim {
        let id = self.function.block(body).inputs[input];
        Dim::unknown(format_args!("{}.{axis}", self.function.value(id).name))
    }

    pub(super) fn set_input(&mut self, blocks: [BlockId; 2], input: usize, ty: Type) {
        for block in blocks {
            if let Some(id) = self.function.block(block).inputs.get(input).copied() {
                self.function.values[id.index()].ty = ty.clone();
            }
        }
    }

    /// Infers the ops of a closed block again, whose inputs have got other types.
    pub(super) fn infer_again(&mut self, block: BlockId) -> Result<(), OpError> {
        for id in self.function.block(block).ops.clone() {
            let op = self.function.op(id);
            if op.def != crate::ops::while_loop_def() {
                op.blocks.clone().into_iter().try_for_each(|b| self.infer_again(b))?;
            }
            self.infer_op(id)?;
        }
        Ok(())
    }

    /// The type that a loop's variable has in its blocks: that of its first value, but for sizes that change.
    pub(super) fn start_type(&self, body: BlockId, input: usize, first: ValueId) -> Type {
        let mut ty = self.function.value(first).ty.clone();
        let taken = self.function.block(body).inputs.get(input).map(|v| &self.function.value(*v).ty);
        if let (Type::Tensor(ty), Some(Type::Tensor(taken))) = (&mut ty, taken) {
            for (axis, (size, taken)) in ty.shape.dims_mut().iter_mut().zip(taken.shape.iter()).enumerate() {
                let changing = self.changing(body, input, axis);
                if *taken == changing {
                    *size = changing;
                }
            }
        }
        ty
    }

    pub(super) fn block_types(&self, block: BlockId) -> BlockTypes {
        let types = |ids: &[crate::ir::ValueId]| ids.iter().map(|v| self.function.value(*v).ty.clone()).collect();
        let block = self.function.block(block);
        BlockTypes { inputs: types(&block.inputs), outputs: types(&block.outputs) }
    }
}
