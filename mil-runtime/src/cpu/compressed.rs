//! Constants that `constexpr_` ops give, unpacked only where somebody wants their numbers.

use std::{
    collections::BTreeMap,
    sync::{Arc, OnceLock},
};

use mil_core::{
    ir::{self, Constant, Known, ValueId},
    op::{AnyArg, Args, Op},
    types::{DType, Opset},
};

use crate::{error::RunError, tensor::AnyTensor};

/// The one output of a `constexpr_` op on constants.
#[derive(Debug)]
pub(crate) struct Compressed {
    /// What the op is called.
    name: String,
    args: Args,
    opset: Opset,
    dtype: DType,
    shape: Vec<usize>,
    /// The numbers, once they are wanted for longer.
    dense: OnceLock<Arc<AnyTensor>>,
}

/// Those of a function.
pub(crate) type AllCompressed = BTreeMap<ValueId, Arc<Compressed>>;

impl Compressed {
    /// What an op of a function gives.
    ///
    /// # Errors
    /// If it cannot be unpacked; the error names the op.
    pub(crate) fn of(function: &ir::Function, op: &ir::Op) -> Result<Compressed, RunError> {
        let fail = |e: RunError| e.in_op(&op.name, op.def.name);
        let args = function.args(op);
        let types = op.def.unpacked_types(&args, function.opset).map_err(|e| fail(e.into()))?;
        let shape = types.first().and_then(|ty| Some((ty.dtype, ty.shape.fixed()?)));
        let (dtype, shape) = shape.ok_or_else(|| fail(RunError::new("it gives no tensor")))?;
        Ok(Compressed { name: op.name.clone(), args, opset: function.opset, dtype, shape, dense: OnceLock::new() })
    }

    /// The op, if it is this one.
    pub(crate) fn bind<O: Op>(&self) -> Option<O> {
        if self.args.def.name == O::DEF.name { O::bind(&self.args).ok() } else { None }
    }

    /// The dtype of the numbers.
    pub(crate) fn dtype(&self) -> DType {
        self.dtype
    }

    /// Sizes, outermost first.
    pub(crate) fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// The constant that an argument of the op is.
    pub(crate) fn constant(&self, param: &str) -> Option<&Constant> {
        match self.args.get(self.args.def.param(param)?)? {
            [AnyArg { known: Some(Known::Constant(c)), .. }] => Some(c),
            _ => None,
        }
    }

    /// The numbers, unpacked for the caller if they are not there.
    ///
    /// # Errors
    /// If they cannot be unpacked; the error names the op.
    pub(crate) fn transient(&self) -> Result<Arc<AnyTensor>, RunError> {
        if let Some(dense) = self.dense.get() {
            return Ok(dense.clone());
        }
        let fail = |e: RunError| e.in_op(&self.name, self.args.def.name);
        let constants = self.args.def.materialize(&self.args, self.opset).map_err(|e| fail(e.into()))?;
        let constant = constants.first().ok_or_else(|| fail(RunError::new("it gives nothing")))?;
        AnyTensor::from_constant(constant).map(Arc::new).map_err(fail)
    }

    /// The numbers, unpacked once and kept.
    ///
    /// # Errors
    /// As [`Compressed::transient`].
    pub(crate) fn dense(&self) -> Result<Arc<AnyTensor>, RunError> {
        // Two threads may both unpack; the first one's is kept.
        let dense = self.transient()?;
        Ok(self.dense.get_or_init(|| dense).clone())
    }

    /// Whether the numbers are kept.
    #[cfg(test)]
    pub(crate) fn is_dense(&self) -> bool {
        self.dense.get().is_some()
    }
}
