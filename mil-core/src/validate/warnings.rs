//! What some Apple systems refuse, or get wrong, though the format allows it.
//!
//! Each rule stands on reports from users of Core ML, not on its documentation: a program that breaks one may well run. So they are
//! told beside the verdict of [`validate`](super::validate) and never change it.

use std::collections::HashSet;

use super::report::Report;
use crate::{
    ir::{Attribute, Binding, Constant, Function, Program, feature::ArrayFlexibility, feature::FeatureKind},
    op::OpError,
    types::{DType, Type},
};

/// The most bytes of weights that Core ML is known to load from one file: "Error in declaring network", "std::bad_cast".
const MAX_WEIGHTS: u64 = i32::MAX as u64;

/// More states than that are refused by the Neural Engine: "ANEProgramProcessRequestDirect .. 0x1d".
const MAX_STATES: usize = 2;

/// All weights together are below 2 GiB.
pub(super) fn large_weights(program: &Program, report: &mut Report<'_>) {
    let mut seen = HashSet::new();
    let mut total = 0u64;
    for f in program.functions.values() {
        for id in f.walk() {
            for bytes in constants(f, id).filter_map(Constant::bytes) {
                if seen.insert((bytes.as_ptr(), bytes.len())) {
                    total = total.saturating_add(bytes.len() as u64);
                }
            }
        }
    }
    if total > MAX_WEIGHTS {
        let message = format!("the weights take {total} bytes, and Core ML may fail to load more than {MAX_WEIGHTS}");
        report.whole(message, "compress the weights, or split the model into several");
    }
}

/// The constants in an op: its value, if it is a `const`, and those written in place.
fn constants(f: &Function, id: crate::ir::OpId) -> impl Iterator<Item = &Constant> {
    let op = f.op(id);
    let inline = op.args.iter().flat_map(|a| &a.bindings).filter_map(|b| match b {
        Binding::Inline(value) => Some(value),
        Binding::Value(_) => None,
    });
    op.attributes.values().chain(inline).filter_map(|a| match a {
        Attribute::Tensor(c) => Some(c),
        _ => None,
    })
}

/// No constant of f16 is infinite: it comes of a number that f16 does not hold, and gives NaN on the GPU and the Neural Engine.
///
/// Core ML: "Program Inference overflow".
pub(super) fn f16_overflow(f: &Function, report: &mut Report<'_>) {
    for id in f.walk() {
        for constant in constants(f, id).filter(|c| c.dtype() == DType::F16) {
            let Some(bytes) = constant.bytes() else { continue };
            // Infinity is all ones in the exponent and zeros in the fraction.
            let infinite = bytes.chunks_exact(2).filter(|b| b[0] == 0 && b[1] & 0x7f == 0x7c).count();
            if infinite > 0 {
                let message = format!("{infinite} of its {} elements are infinite in f16", constant.count());
                let error = OpError::new(message);
                report.op(id, error.note("f16 ends at 65504; use that, or -1e4 in a mask that softmax reads"));
            }
        }
    }
}

/// No `matmul` of integers.
///
/// Core ML: "Failed to build the model execution plan .. error code: -14".
pub(super) fn integer_matmul(f: &Function, report: &mut Report<'_>) {
    for id in f.walk().into_iter().filter(|id| f.op(*id).def.name == "matmul") {
        let dtype = |v: crate::ir::ValueId| f.value(v).ty.tensor().map(|t| t.dtype);
        if let Some(dtype) = f.op(id).uses().filter_map(dtype).find(|d| d.is_int()) {
            let message = format!("it multiplies {dtype}, for which Core ML may fail to build a plan");
            report.op(id, OpError::new(message).note("convert to f16 or f32 with `mb::cast` first"));
        }
    }
}

/// No `matmul` of a vector, with which Core ML is known to crash or to be wrong.
pub(super) fn vector_matmul(f: &Function, report: &mut Report<'_>) {
    for id in f.walk().into_iter().filter(|id| f.op(*id).def.name == "matmul") {
        for param in ["x", "y"] {
            let Some(Binding::Value(v)) = f.op(id).bindings(param).first() else { continue };
            if f.value(*v).ty.tensor().is_some_and(|t| t.rank() == 1) {
                let error = OpError::at(param, format!("`{param}` is a vector, which Core ML may get wrong"));
                report.op(id, error.note("make it a matrix with `mb::expand_dims`, and `mb::squeeze` the result"));
            }
        }
    }
}

/// A convolution whose weight is computed has no bias.
///
/// Core ML: "Error in declaring network".
pub(super) fn computed_weight(f: &Function, report: &mut Report<'_>) {
    for id in f.walk().into_iter().filter(|id| matches!(f.op(*id).def.name, "conv" | "conv_transpose")) {
        let op = f.op(id);
        let computed = |b: &Binding| matches!(b, Binding::Value(v) if !f.value(*v).is_const);
        if op.bindings("weight").iter().any(computed) && !op.bindings("bias").is_empty() {
            let error = OpError::at("bias", "its weight is computed and it has a bias, which Core ML may refuse");
            report.op(id, error.note("add the bias with `mb::add` afterwards"));
        }
    }
}

/// Nothing is reduced over a dimension that may be of any size.
///
/// Core ML: "MIL->EIR translation .. std::bad_cast".
pub(super) fn unbounded_reduction(f: &Function, report: &mut Report<'_>) {
    for id in f.walk().into_iter().filter(|id| f.op(*id).def.name.starts_with("reduce_")) {
        let op = f.op(id);
        let Some(Binding::Value(x)) = op.bindings("x").first() else { continue };
        let Some(t) = f.value(*x).ty.tensor() else { continue };
        let axes = |param| match op.bindings(param).first() {
            Some(Binding::Value(v)) => f.value(*v).known.as_ref().and_then(|k| k.dims()),
            _ => None,
        };
        let named: Option<Vec<i64>> =
            axes("axes").or_else(|| axes("axis")).map(|dims| dims.iter().filter_map(|d| d.value()).collect());
        let rank = t.rank() as i64;
        let reduced = |i: i64| named.as_ref().is_none_or(|a| a.iter().any(|n| n.rem_euclid(rank) == i));
        let open = |i: &i64| reduced(*i) && t.shape[*i as usize].bounds().1.is_none();
        if let Some(i) = (0..rank).find(open) {
            let message = format!("it reduces dimension {i} of {t}, whose size has no bound, which Core ML may refuse");
            report.op(id, OpError::at("x", message).note("give the input's size an upper bound"));
        }
    }
}

/// At most one input has enumerated sizes.
///
/// Core ML: "I/O contains unknown strides".
pub(super) fn several_enumerated(f: &Function, report: &mut Report<'_>) {
    let enumerated = |kind: &FeatureKind| match kind {
        FeatureKind::Array(a) => matches!(a.flexibility, ArrayFlexibility::Enumerated(_)),
        FeatureKind::Image(i) => matches!(i.flexibility, crate::ir::feature::ImageFlexibility::Enumerated(_)),
        _ => false,
    };
    let names: Vec<String> =
        f.input_features.iter().filter(|d| enumerated(&d.kind)).map(|d| format!("`{}`", d.name)).collect();
    if names.len() > 1 {
        let message =
            format!("the inputs {} have enumerated sizes, which Core ML may fail to run", names.join(" and "));
        report.whole(message, "let one input have them, or use ranges");
    }
}

/// At most two states.
///
/// Core ML: "ANEProgramProcessRequestDirect() Failed with status=0x1d".
pub(super) fn many_states(f: &Function, report: &mut Report<'_>) {
    let states = f.inputs.iter().filter(|id| matches!(f.value(**id).ty, Type::State(_))).count();
    if states > MAX_STATES {
        let message = format!("{states} states, and the Neural Engine may refuse more than {MAX_STATES}");
        report.whole(message, "put several tensors into one state, along a new first dimension");
    }
}
