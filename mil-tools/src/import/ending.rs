//! What stands behind a model's outputs: a softmax, a classifier.

use std::collections::HashSet;

use mil_core::{
    graph::Value,
    ir::{Constant, Def},
    mb,
    types::DType,
};

use super::{Lowering, Refusal};

/// A softmax over the classes: the last axis, or the channels of a picture of one pixel.
pub(super) fn softmax(l: &mut Lowering, name: &str, value: &Value) -> Result<Value, Refusal> {
    let function = l.graph().function();
    if let Def::Op(op, _) = function.value(value.id()).def
        && function.op(op).def.name == "softmax"
    {
        let message = format!("the output `{name}` is a softmax already");
        return Err(Refusal::new(message).remedy("leave out `--softmax`"));
    }
    let shape = value.shape().filter(|s| s.rank() > 0 && value.dtype().is_some_and(DType::is_float));
    let Some(shape) = shape else {
        return Err(Refusal::new(format!("the output `{name}` is {}, of which there is no softmax", value.ty())));
    };
    let axis = match shape.rank() {
        4 if shape[2].is(1) && shape[3].is(1) => 1,
        rank => rank as i64 - 1,
    };
    l.set_name(&format!("{name}_softmax"));
    l.push(mb::softmax(value).axis(axis))
}

/// The label of the most probable class, and the probabilities of all.
pub(super) fn classifier(
    l: &mut Lowering,
    name: &str,
    value: &Value,
    classes: &[String],
) -> Result<(Value, Value), Refusal> {
    let fixed = value.shape().and_then(|s| s.fixed());
    if let Some(count) = fixed.map(|s| s.iter().product::<usize>()).filter(|count| *count != classes.len()) {
        let message =
            format!("there are {} classes for {count} numbers: the output `{name}` is {}", classes.len(), value.ty());
        return Err(Refusal::new(message).remedy("give one label a line, in the order of the output"));
    }
    if !value.dtype().is_some_and(DType::is_float) {
        return Err(Refusal::new(format!("the output `{name}` is {}: probabilities are floats", value.ty())));
    }
    let mut met = HashSet::new();
    if let Some(twice) = classes.iter().find(|c| !met.insert(c.as_str())) {
        let twice = twice.escape_debug();
        l.warn(format!(
            "several classes are called `{twice}`; the probabilities by label will have that of the last alone"
        ));
    }
    l.set_name(&format!("{name}_classified"));
    let probabilities = l.cast(value, DType::F32)?;
    let labels = Constant::strings([classes.len()], classes.to_vec())?;
    l.push(mb::classify(&probabilities, labels))
}
