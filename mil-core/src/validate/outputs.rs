//! Outputs of functions.

use std::collections::HashSet;

use super::report::Report;
use crate::{
    ir::{Def, Function},
    types::Type,
};

/// A function has an output.
pub(super) fn at_least_one(f: &Function, report: &mut Report<'_>) {
    if f.outputs().is_empty() {
        report.whole("it has no output", "name the values that the model gives, in `Graph::finish`");
    }
}

/// Outputs are tensors; a classifier's may also be a dictionary of probabilities.
pub(super) fn kinds(f: &Function, report: &mut Report<'_>) {
    for id in f.outputs() {
        let value = f.value(*id);
        let classifier = !f.predicted_feature.is_empty();
        let allowed = match value.ty {
            Type::Tensor(_) => true,
            Type::Dictionary(..) => classifier,
            Type::State(_) | Type::List(..) | Type::Tuple(_) => false,
        };
        if !allowed {
            let message = format!("the output `{}` is {}, not a tensor", value.name.escape_debug(), value.ty);
            report.value(*id, message, "give a tensor that is made from it");
        }
    }
}

/// No value is an output twice.
pub(super) fn distinct(f: &Function, report: &mut Report<'_>) {
    let mut seen = HashSet::new();
    for id in f.outputs().iter().filter(|id| !seen.insert(**id)) {
        let message = format!("`{}` is an output twice", f.value(*id).name.escape_debug());
        report.value(*id, message, "give a copy, made with `mb::identity`");
    }
}

/// An output is no input: Core ML gives back only what an op makes. (A constant is made by an op; coremltools writes such
/// outputs.)
pub(super) fn made(f: &Function, report: &mut Report<'_>) {
    for id in f.outputs() {
        let value = f.value(*id);
        if !matches!(value.def, Def::Op(..)) {
            let message = format!("the output `{}` is an input", value.name.escape_debug());
            report.value(*id, message, "give a copy, made with `mb::identity`");
        }
    }
}
