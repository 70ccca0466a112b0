//! The ops of a block with the sizes of one run.

use std::collections::BTreeMap;

use mil_core::{
    ir::{BlockId, Constant, Function, Known, OpId, ValueId},
    op::{AnyArg, Args, Cx},
    types::{DType, TensorType, Type},
};

use crate::tensor::checked_count;

/// An op whose sizes are all numbers.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) op: OpId,
    /// What it is bound to: types without symbols, values as far as they are known.
    pub(crate) args: Args,
    pub(crate) outputs: Vec<ValueId>,
    /// The outputs' types, in order.
    pub(crate) types: Vec<(DType, Vec<usize>)>,
}

/// The ops from one on, as far as sizes can be foretold.
#[derive(Debug, Default)]
pub(crate) struct Nodes {
    pub(crate) nodes: Vec<Node>,
    /// The first op that is not among them.
    pub(crate) end: usize,
    /// What follows from sizes and constants alone.
    pub(crate) known: BTreeMap<ValueId, Constant>,
}

/// An argument that one may name; constants may be written in place.
fn is_open(ty: &Type) -> bool {
    ty.tensor().is_none_or(|t| t.shape.fixed().is_none())
}

/// Infers the ops of a block from `start` on with the shapes that its inputs have now. It ends before an op whose results' sizes depend on
/// data, or which computes with other things than tensors: the reference runs that one, and planning goes on behind it.
pub(crate) fn nodes(
    function: &Function,
    block: BlockId,
    start: usize,
    shapes: &BTreeMap<ValueId, Vec<usize>>,
) -> Nodes {
    let ops = &function.block(block).ops;
    let mut env: BTreeMap<ValueId, (TensorType, Option<Known>)> = BTreeMap::new();
    for (id, shape) in shapes {
        if let Some(ty) = function.value(*id).ty.tensor() {
            env.insert(*id, (TensorType::new(ty.dtype, &shape[..]), None));
        }
    }
    let mut found = Nodes { end: start, ..Nodes::default() };
    for (at, &id) in ops.iter().enumerate().skip(start) {
        let op = function.op(id);
        if op.def.is_const() || op.def.is_constexpr() {
            found.end = at + 1;
            continue;
        }
        if !op.blocks.is_empty() || matches!(op.def.name, "read_state" | "write_state") {
            return found;
        }
        let mut args = function.args(op);
        for param in 0..op.def.params.len() {
            let Some(bound) = args.get(param) else { continue };
            let actual = |a: &AnyArg| match a.id.and_then(|id| env.get(&id)) {
                Some((ty, known)) => {
                    let known = known.clone().or_else(|| a.known.clone());
                    AnyArg { ty: ty.clone().into(), known, ..a.clone() }
                }
                None => a.clone(),
            };
            let bound: Vec<AnyArg> = bound.iter().map(actual).collect();
            if bound.iter().any(|a| a.id.is_some() && is_open(&a.ty)) {
                return found;
            }
            args.set(param, bound);
        }
        let scope = op.outputs.first().map_or("", |v| &function.value(*v).name[..]);
        let Ok(inferred) = op.def.infer(&args, &mut Cx::new(function.opset, scope, &[]).reading()) else {
            return found;
        };
        let mut types = vec![];
        for (inferred, id) in inferred.iter().zip(&op.outputs) {
            // What a file declares is what the reference checks results against.
            let declared = function.value(*id).ty.tensor();
            let (Some(ty), Some(declared)) = (inferred.ty.tensor(), declared) else { return found };
            let Some(shape) = ty.shape.fixed() else { return found };
            if ty.dtype != declared.dtype
                || !ty.shape.compatible(&declared.shape)
                || checked_count(ty.dtype, &shape).is_err()
            {
                return found;
            }
            types.push((ty.dtype, shape));
        }
        if types.len() != op.outputs.len() {
            return found;
        }
        for (inferred, (id, (dtype, shape))) in inferred.into_iter().zip(op.outputs.iter().zip(&types)) {
            if let Some(Known::Constant(c)) = &inferred.known {
                found.known.insert(*id, c.clone());
            }
            env.insert(*id, (TensorType::new(*dtype, &shape[..]), inferred.known));
        }
        found.end = at + 1;
        // What is known need not be computed.
        if !op.outputs.iter().all(|o| found.known.contains_key(o)) || op.outputs.is_empty() {
            found.nodes.push(Node { op: id, args, outputs: op.outputs.clone(), types });
        }
    }
    found
}
