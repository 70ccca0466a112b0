//! `If`, `Loop` and `Scan`.

use mil_core::{
    graph::Value,
    ir::BlockId,
    mb,
    types::{DType, Dim},
};

use super::{Entry, Lowered, Node, rounds};
use crate::{
    import::{Refusal, Size, Tensor},
    onnx::proto::GraphProto,
};

pub(super) const OPS: &[Entry] = &[
    Entry::new("If", branch).but("branches whose results differ in rank"),
    Entry::new("Loop", repeat).but("variables that change their rank; lists, where the rounds are many or not known"),
    Entry::new("Scan", scan).but("lengths of sequences, in opset 8"),
];

/// Builds a block. It is closed whatever happens, so that lowering can go on behind it.
pub(super) fn block<R>(
    n: &mut Node<'_, '_>,
    build: impl FnOnce(&mut Node<'_, '_>, BlockId) -> Result<(Vec<Value>, R), Refusal>,
) -> Result<(BlockId, R), Refusal> {
    let block = n.graph().open_block();
    let built = build(n, block);
    let outputs = built.as_ref().map(|(outputs, _)| outputs.clone()).unwrap_or_default();
    let closed = n.graph().close_block(block, outputs);
    let (_, result) = built?;
    closed?;
    Ok((block, result))
}

/// A condition without the dimensions of size 1 that it may have.
pub(super) fn scalar(n: &mut Node<'_, '_>, condition: &Value) -> Result<Value, Refusal> {
    let axes: Vec<usize> = (0..condition.shape().map_or(0, |s| s.rank())).collect();
    let condition = n.squeeze(condition, &axes)?;
    n.cast(&condition, DType::Bool)
}

fn branch(n: &mut Node<'_, '_>) -> Lowered {
    let condition = n.input(0)?;
    let (yes, no) = (n.graph_attr("then_branch")?, n.graph_attr("else_branch")?);
    if let Some(known) = condition.ints().and_then(|c| c.first().copied()) {
        return n.importer.body(if known != 0 { yes } else { no }, vec![], n.outer);
    }
    let condition = scalar(n, &condition.value)?;
    let one = |n: &mut Node<'_, '_>, body: &str| {
        block(n, |n, _| {
            let body = n.graph_attr(body)?;
            let outputs = n.importer.body(body, vec![], n.outer)?;
            Ok((outputs.iter().map(|t| t.value.clone()).collect(), outputs))
        })
    };
    let both = [one(n, "then_branch"), one(n, "else_branch")];
    let told = both.iter().any(|b| b.as_ref().is_err_and(|r| r.message.is_empty()));
    let [Ok((yes, given)), Ok((no, others))] = both else {
        let refused = || {
            Refusal::new("one of its branches was refused, and its condition is not known")
            .remedy("if that is decided by an input or its sizes, `--constant NAME=..` or `--input NAME=..` leaves the branch out")
        };
        return Err(both.into_iter().find_map(Result::err).filter(|_| !told).unwrap_or_else(refused));
    };
    if given.len() != others.len() {
        return Err(Refusal::new(format!("its branches give {} and {} tensors", given.len(), others.len())));
    }
    for (i, (a, b)) in given.iter().zip(&others).enumerate() {
        if a.rank() != b.rank() || a.value.dtype() != b.value.dtype() {
            let (a, b) = (a.value.ty(), b.value.ty());
            return Err(Refusal::new(format!("its branches give {a} and {b} as output {i}")).remedy(
                "MIL's branches agree in rank: if inputs or their sizes decide, fix them with `--constant NAME=..` or `--input NAME=..`",
            ));
        }
    }
    let name = n.proto.output.first().cloned().unwrap_or_default();
    let operands = vec![("pred", (&condition).into())];
    let values = n.graph().push_blocks(mil_core::ops::cond_def(), operands, vec![yes, no], Some(&name), None)?;
    Ok(values.into_iter().zip(given).map(|(v, t)| Tensor::new(v, t.dtype)).collect())
}

/// Whether a body's condition is what it was given, so that it goes on as long as it may.
fn goes_on(body: &GraphProto) -> bool {
    let Some(mut name) = body.output.first().map(|o| &o.name[..]) else { return false };
    // As many steps as there are nodes lead through all of them.
    for _ in 0..=body.node.len() {
        if body.input.get(1).is_some_and(|i| i.name == name) {
            return true;
        }
        let truth = |t: &crate::onnx::proto::TensorProto| t.raw_data[..] == [1] || t.int32_data[..] == [1];
        if let Some(t) = body.initializer.iter().find(|t| t.name == name) {
            return truth(t);
        }
        let Some(node) = body.node.iter().find(|n| n.output.iter().any(|o| o == name)) else { return false };
        match (&node.op_type[..], node.input.first()) {
            ("Identity" | "Cast", Some(input)) => name = input,
            ("Constant", _) => return node.attribute.iter().any(|a| a.t.as_ref().is_some_and(truth)),
            _ => return false,
        }
    }
    false
}

fn repeat(n: &mut Node<'_, '_>) -> Lowered {
    let body = n.graph_attr("body")?;
    let most = n.optional(0)?;
    let start = n.optional(1)?;
    let states = (2..n.inputs()).map(|i| n.input(i)).collect::<Result<Vec<_>, _>>()?;
    let scans = body.output.len().checked_sub(1 + states.len());
    let scans = scans.ok_or_else(|| Refusal::new("its body gives less tensors than it takes"))?;
    let starts = match &start {
        None => Some(true),
        Some(t) => t.ints().map(|c| c.first() == Some(&1)),
    };
    // All 64 bits are often said to mean: as often as the condition holds.
    let count = match &most {
        None => None,
        Some(t) => match n.element(&t.value, 0)? {
            Size::Fixed(v) if v >= i64::from(i32::MAX) => None,
            Size::Fixed(v) => Some(Size::Fixed(v.max(0))),
            size => Some(size),
        },
    };
    let goes_on = goes_on(body);
    let (count, condition) = match (starts, goes_on) {
        (Some(false), _) => (Some(Size::Fixed(0)), None),
        (Some(true), true) => (count, None),
        (_, _) => {
            let start = match start {
                Some(t) => scalar(n, &t.value)?,
                None => n.number(DType::Bool, 1.0)?,
            };
            (count, Some(start))
        }
    };
    if count.is_none() && condition.is_none() {
        return Err(Refusal::new("never ends: it has neither a number of rounds nor a condition that changes"));
    }
    let plan = rounds::Rounds { count, condition, scans, weight: body.node.len() };
    let (mut outputs, scans) = plan.lower(n, states, &mut |n, round, go, states| {
        let go = match go {
            Some(go) => go.clone(),
            None => n.number(DType::Bool, 1.0)?,
        };
        let mut inputs = vec![Tensor::new(round.clone(), DType::I64), Tensor::new(go, DType::Bool)];
        inputs.extend(states.iter().cloned());
        let body = n.graph_attr("body")?;
        let mut outputs = n.importer.body(body, inputs, n.outer)?;
        if outputs.len() <= states.len() {
            return Err(Refusal::new("its body gives less tensors than it takes"));
        }
        let condition = outputs.remove(0);
        let scans = outputs.split_off(states.len());
        Ok(rounds::Round { condition: condition.value, states: outputs, scans })
    })?;
    outputs.extend(scans);
    Ok(outputs)
}

/// What a `Scan` says of one of its inputs or outputs.
struct Way {
    axis: i64,
    reverse: bool,
}

fn ways(n: &Node<'_, '_>, axes: &str, directions: &str, count: usize) -> Result<Vec<Way>, Refusal> {
    let axes = n.ints_attr(axes)?.unwrap_or_default();
    let directions = n.ints_attr(directions)?.unwrap_or_default();
    let at = |list: &[i64], i: usize| list.get(i).copied().unwrap_or(0);
    Ok((0..count).map(|i| Way { axis: at(&axes, i), reverse: at(&directions, i) != 0 }).collect())
}

fn scan(n: &mut Node<'_, '_>) -> Lowered {
    let body = n.graph_attr("body")?;
    let batched = n.opset < 9;
    let first = usize::from(batched);
    if batched && n.has_input(0) {
        return Err(Refusal::new("has lengths of sequences").remedy("leave them out, or export for opset 9 or later"));
    }
    let all = (first..n.inputs()).map(|i| n.input(i)).collect::<Result<Vec<_>, _>>()?;
    let read = n.int("num_scan_inputs")?.and_then(|m| usize::try_from(m).ok()).filter(|m| (1..=all.len()).contains(m));
    let read = read.ok_or_else(|| Refusal::new("its `num_scan_inputs` does not fit its inputs"))?;
    let kept = all.len() - read;
    let given = body.output.len().checked_sub(kept);
    let given = given.ok_or_else(|| Refusal::new("its body gives less tensors than it takes"))?;
    let directions = if batched { "directions" } else { "scan_input_directions" };
    let inputs = ways(n, "scan_input_axes", directions, read)?;
    let outputs = ways(n, "scan_output_axes", "scan_output_directions", given)?;
    let (states, sources) = all.split_at(kept);
    if !batched {
        return sequence(n, states.to_vec(), sources, &inputs, &outputs);
    }
    let Some(count) = sources[0].size(0) else {
        return Err(Refusal::new(format!("the number of sequences in {} is not known", sources[0].value.ty()))
            .remedy("fix the sizes of inputs with `--input NAME=..`"));
    };
    let mut collected: Vec<Vec<Value>> = vec![vec![]; kept + given];
    let mut dtypes = vec![];
    for i in 0..count as i64 {
        let part = |n: &mut Node<'_, '_>, t: &Tensor| Ok(Tensor::new(n.at(&t.value, 0, i)?, t.dtype));
        let states = states.iter().map(|t| part(n, t)).collect::<Result<Vec<_>, Refusal>>()?;
        let sources = sources.iter().map(|t| part(n, t)).collect::<Result<Vec<_>, Refusal>>()?;
        let results = sequence(n, states, &sources, &inputs, &outputs)?;
        dtypes = results.iter().map(|t| t.dtype).collect();
        for (list, t) in collected.iter_mut().zip(results) {
            list.push(t.value);
        }
    }
    collected.into_iter().zip(dtypes).map(|(l, dtype)| Ok(Tensor::new(n.push(mb::stack(l, 0i64))?, dtype))).collect()
}

/// One sequence: the body for each element.
fn sequence(n: &mut Node<'_, '_>, states: Vec<Tensor>, sources: &[Tensor], inputs: &[Way], outputs: &[Way]) -> Lowered {
    let weight = n.graph_attr("body")?.node.len();
    let axes = sources.iter().zip(inputs).map(|(t, w)| t.axis(w.axis)).collect::<Result<Vec<_>, _>>()?;
    let count = n.size(&sources[0].value, axes[0])?;
    let plan = rounds::Rounds { count: Some(count.clone()), condition: None, scans: outputs.len(), weight };
    let (mut results, scans) = plan.lower(n, states, &mut |n, round, _, states| {
        let mut given = states.to_vec();
        for ((t, way), axis) in sources.iter().zip(inputs).zip(&axes) {
            let place = if way.reverse {
                let count = n.scalar_size(&count)?;
                let last = n.push(mb::sub(&count, 1i64))?;
                n.push(mb::sub(&last, round))?
            } else {
                round.clone()
            };
            let known = place.known().and_then(|k| k.dims()).and_then(|d| d.first().and_then(Dim::value));
            let element = match known {
                Some(place) => n.at(&t.value, *axis, place)?,
                None => n.without_bools(&t.value, |l, x| l.push(mb::gather(x, &place).axis(*axis as i64)))?,
            };
            given.push(Tensor::new(element, t.dtype));
        }
        let body = n.graph_attr("body")?;
        let mut outputs = n.importer.body(body, given, n.outer)?;
        let scans = outputs.split_off(states.len().min(outputs.len()));
        let condition = n.number(DType::Bool, 1.0)?;
        Ok(rounds::Round { condition, states: outputs, scans })
    })?;
    for (t, way) in scans.into_iter().zip(outputs) {
        let mut value = t.value.clone();
        if way.reverse {
            value = n.push(mb::reverse(&value).axes([0i64]))?;
        }
        let axis = t.axis(way.axis)?;
        let mut perm: Vec<usize> = (1..t.rank()).collect();
        perm.insert(axis, 0);
        results.push(Tensor::new(n.transpose(&value, &perm)?, t.dtype));
    }
    Ok(results)
}
