//! Types, constants and inference.

use std::collections::{HashMap, HashSet};

use super::{report::Report, scope};
use crate::{
    ir::{Attribute, Constant, Function, ValueId},
    op::{BlockTypes, Cx, OpError},
    types::{Dim, Type},
};

/// Core ML: "Invalid rank: 6".
const MAX_RANK: usize = 5;

/// No size is negative.
pub(super) fn sizes(f: &Function, report: &mut Report<'_>) {
    for id in scope::defined(f) {
        let value = f.value(id);
        if has_negative_size(&value.ty) {
            let message = format!("`{}` has a negative size: {}", value.name.escape_debug(), value.ty);
            report.value(id, message, "sizes are 0 or more");
        }
    }
}

fn has_negative_size(ty: &Type) -> bool {
    let negative = |d: &Dim| d.value().is_some_and(|n| n < 0);
    match ty {
        Type::Tensor(t) | Type::State(t) => t.shape.iter().any(negative),
        Type::List(element, length) => negative(length) || has_negative_size(element),
        Type::Tuple(types) => types.iter().any(has_negative_size),
        Type::Dictionary(key, value) => has_negative_size(key) || has_negative_size(value),
    }
}

/// A `const` has the attribute `val` and one output, of the type of that value.
pub(super) fn constants(f: &Function, report: &mut Report<'_>) {
    for id in f.walk() {
        let op = f.op(id);
        if !op.def.is_const() {
            continue;
        }
        let (Some(value), [output]) = (op.attributes.get("val"), &op.outputs[..]) else {
            let message = format!("it has {} outputs and no attribute `val`", op.outputs.len());
            let message = if op.attributes.contains_key("val") {
                format!("it has one output, found {}", op.outputs.len())
            } else {
                message
            };
            report.op(id, OpError::new(message).note("make it with `Graph::constant`"));
            continue;
        };
        let (declared, ty) = (&f.value(*output).ty, value.ty());
        if *declared != ty {
            let message = format!("it is declared as {declared}, but its value is {ty}");
            report.op(id, OpError::new(message).note("declare the type that the value has"));
        }
    }
}

/// Every weight has its bytes: a program can be written and run only when they are attached.
pub(super) fn weights(f: &Function, report: &mut Report<'_>) {
    for id in f.walk() {
        let op = f.op(id);
        let inline = op.args.iter().flat_map(|a| &a.bindings).filter_map(|b| match b {
            crate::ir::Binding::Inline(value) => Some(value),
            crate::ir::Binding::Value(_) => None,
        });
        for constant in op.attributes.values().chain(inline).filter_map(missing) {
            let (name, ty) = (constant.weight_name().unwrap_or_default().escape_debug(), constant.ty());
            let message = format!("the weight `{name}` ({ty}) is not attached");
            report.op(id, OpError::new(message).note("call `attach_weights` on the program first"));
        }
    }
}

fn missing(value: &Attribute) -> Option<&Constant> {
    match value {
        Attribute::Tensor(c) => c.weight_name().is_some().then_some(c),
        Attribute::Tuple(items) | Attribute::List(_, items) => items.iter().find_map(missing),
        Attribute::Dictionary { entries, .. } => entries.iter().find_map(|(k, v)| missing(k).or_else(|| missing(v))),
    }
}

/// The op's own rule accepts its arguments, gives as many values as there are, and of compatible types.
///
/// Core ML: "Output '0' has unexpected type"; its reader infers again too.
pub(super) fn inference(f: &Function, report: &mut Report<'_>) {
    for id in f.walk() {
        let op = f.op(id);
        let mut seen = op.uses().chain(op.blocks.iter().flat_map(|b| f.block(*b).outputs.iter().copied()));
        // `constants` and `blocks` speak of those; a rule of an op may count on sizes being sizes.
        if op.def.is_const() || op.blocks.len() != op.def.blocks || seen.any(|v| has_negative_size(&f.value(v).ty)) {
            continue;
        }
        let types = |ids: &[ValueId]| ids.iter().map(|v| f.value(*v).ty.clone()).collect();
        let signature = |b: &crate::ir::BlockId| BlockTypes {
            inputs: types(&f.block(*b).inputs),
            outputs: types(&f.block(*b).outputs),
        };
        let blocks: Vec<BlockTypes> = op.blocks.iter().map(signature).collect();
        // The scope that builder and decoder use, so that unknown sizes are the same ones; and what a file may say.
        let scope = op.outputs.first().map_or(&op.name[..], |v| &f.value(*v).name);
        let inferred = match op.def.infer(&f.args(op), &mut Cx::new(f.opset, scope, &blocks).reading()) {
            Ok(inferred) => inferred,
            Err(error) => {
                report.op(id, error);
                continue;
            }
        };
        if inferred.len() != op.outputs.len() {
            let message = format!("it gives {} values, found {} outputs", inferred.len(), op.outputs.len());
            report.op(id, OpError::new(message).note("declare one output for each value"));
        }
        for (output, inferred) in op.outputs.iter().zip(&inferred) {
            let value = f.value(*output);
            if !value.ty.compatible(&inferred.ty) {
                let (name, declared) = (value.name.escape_debug(), &value.ty);
                let message = format!("output `{name}` is declared as {declared} but is {}", inferred.ty);
                report.op(id, OpError::new(message).note("declare the type that the op infers"));
            }
        }
    }
}

/// Parameters with a default are written out: Core ML's reader wants them all, whatever its documentation calls optional.
///
/// Core ML: "Required param 'pad' is missing".
pub(super) fn defaults(f: &Function, report: &mut Report<'_>) {
    for id in f.walk() {
        let op = f.op(id);
        for (index, param) in op.def.params.iter().enumerate() {
            let bound = op.args.iter().any(|a| a.param == index);
            if param.has_default && param.exists(f.opset) && !bound {
                let error = OpError::at(param.name, format!("`{}` is not written out", param.name));
                report.op(id, error.note("bind it to its default, as `Graph::push` does"));
            }
        }
    }
}

/// A `constexpr_` op reads constants only, in place; from opset iOS18 also what another one gives.
///
/// Source: coremltools writes nothing else; Core ML unpacks these ops before anything runs.
pub(super) fn constexprs(f: &Function, report: &mut Report<'_>) {
    for id in f.walk() {
        let op = f.op(id);
        let form = op.def.form(f.opset);
        if !op.def.is_constexpr() {
            continue;
        }
        for argument in &op.args {
            let values = argument.bindings.iter().filter_map(|b| match b {
                crate::ir::Binding::Value(v) => Some(*v),
                crate::ir::Binding::Inline(_) => None,
            });
            for value in values.filter(|v| !f.is_named_by_constexpr(form, *v)) {
                let (param, name) = (op.def.params[argument.param].name, f.value(value).name.escape_debug());
                let error = OpError::at(param, format!("`{param}` is the value `{name}`, not a constant in place"));
                report.op(
                    id,
                    error.note(
                        "write the constant in place, or set `opset = iOS18` for what another `constexpr_` op gives",
                    ),
                );
            }
        }
    }
}

/// Inputs and outputs of ops have a rank of at most 5. Constants, and what `constexpr_` ops unpack, may exceed it as long
/// as only `constexpr_` ops read them (a table of `constexpr_lut_to_dense` has rank 6).
///
/// Source: coremltools' check before export; Core ML: "Invalid rank: 6", "std::bad_cast".
pub(super) fn ranks(f: &Function, report: &mut Report<'_>) {
    let constexpr = |op: crate::ir::OpId| f.op(op).def.is_constexpr();
    let mut readers: HashMap<ValueId, bool> = HashMap::new();
    let mut block_outputs: HashSet<ValueId> = f.outputs().iter().copied().collect();
    for op in f.walk() {
        f.op(op).uses().for_each(|v| *readers.entry(v).or_insert(true) &= constexpr(op));
        block_outputs.extend(f.op(op).blocks.iter().flat_map(|b| &f.block(*b).outputs));
    }
    for id in scope::defined(f) {
        let value = f.value(id);
        let (Type::Tensor(t) | Type::State(t)) = &value.ty else { continue };
        let unpacked = match value.def {
            crate::ir::Def::Op(op, _) => f.op(op).def.is_const() || constexpr(op),
            _ => false,
        };
        let allowed = unpacked && *readers.get(&id).unwrap_or(&true) && !block_outputs.contains(&id);
        if t.rank() > MAX_RANK && !allowed {
            let message = format!("`{}` has rank {}, more than {MAX_RANK}", value.name.escape_debug(), t.rank());
            report.value(id, message, "Core ML has tensors of rank 5 at most; merge dimensions with `mb::reshape`");
        }
    }
}
