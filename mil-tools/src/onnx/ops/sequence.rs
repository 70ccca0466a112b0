//! Lists of tensors, as far as they are known when a model is converted: they are names for several tensors and leave no
//! trace in the program. So are optional tensors.

use mil_core::{graph::Value, types::DType};

use super::{Entry, Lowered, Node, join};
use crate::{
    import::{Refusal, Size, Tensor},
    onnx::importer::Slot,
};

const LIMIT: &str = "lists that change in a loop, and positions or sizes that are computed";

pub(super) const OPS: &[Entry] = &[
    Entry::new("ConcatFromSequence", concat_from_sequence).but(LIMIT),
    Entry::new("Optional", optional),
    Entry::new("OptionalGetElement", optional_get_element),
    Entry::new("OptionalHasElement", optional_has_element),
    Entry::new("SequenceAt", at).but(LIMIT),
    Entry::new("SequenceConstruct", construct),
    Entry::new("SequenceEmpty", empty),
    Entry::new("SequenceErase", erase).but(LIMIT),
    Entry::new("SequenceInsert", insert).but(LIMIT),
    Entry::new("SequenceLength", length),
    Entry::new("SequenceMap", map),
    Entry::new("SplitToSequence", split).but(LIMIT),
];

impl Node<'_, '_> {
    /// What an input stands for, which may be no tensor.
    pub(super) fn slot(&self, i: usize) -> Result<Slot, Refusal> {
        let missing = || Refusal::new(format!("its input {i} is missing"));
        let name = self.proto.input.get(i).filter(|name| !name.is_empty()).ok_or_else(missing)?;
        let unknown = || Refusal::new(format!("`{}` is used, but nothing before gives it", name.escape_debug()));
        self.importer.slot(name).cloned().ok_or_else(unknown)
    }

    /// Whether an input is a list of tensors.
    pub(super) fn is_list(&self, i: usize) -> bool {
        matches!(self.slot(i), Ok(Slot::List(_)))
    }

    /// An input that is a list of tensors.
    pub(super) fn list(&self, i: usize) -> Result<Vec<Tensor>, Refusal> {
        match self.slot(i)? {
            Slot::List(list) => Ok(list),
            _ => Err(Refusal::new(format!("its input {i} is no list of tensors"))),
        }
    }
}

/// Gives a list as the only output.
fn give(n: &mut Node<'_, '_>, list: Vec<Tensor>) -> Lowered {
    n.importer.give(0, Slot::List(list));
    Ok(vec![])
}

fn construct(n: &mut Node<'_, '_>) -> Lowered {
    let all = n.all_inputs()?;
    give(n, all)
}

fn empty(n: &mut Node<'_, '_>) -> Lowered {
    give(n, vec![])
}

fn length(n: &mut Node<'_, '_>) -> Lowered {
    let count = n.list(0)?.len();
    let count = n.number(DType::I32, count as f64)?;
    n.one(count, DType::I64)
}

/// A position that counts from the end if it is negative; the end itself may be one too.
fn position(n: &mut Node<'_, '_>, i: usize, count: usize) -> Result<Option<usize>, Refusal> {
    let Some(at) = n.known_ints(i, "position")? else { return Ok(None) };
    let at = at.first().copied().unwrap_or(0);
    let from_start = if at < 0 { at + count as i64 } else { at };
    match usize::try_from(from_start) {
        Ok(place) if place <= count => Ok(Some(place)),
        _ => Err(Refusal::new(format!("the position {at} is not in a list of {count} tensors"))),
    }
}

fn at(n: &mut Node<'_, '_>) -> Lowered {
    let list = n.list(0)?;
    let place = position(n, 1, list.len())?;
    let element = place.and_then(|p| list.get(p).cloned());
    element.map(|t| vec![t]).ok_or_else(|| Refusal::new(format!("the list has {} tensors only", list.len())))
}

fn insert(n: &mut Node<'_, '_>) -> Lowered {
    let mut list = n.list(0)?;
    let t = n.input(1)?;
    let place = position(n, 2, list.len())?.unwrap_or(list.len());
    list.insert(place, t);
    give(n, list)
}

fn erase(n: &mut Node<'_, '_>) -> Lowered {
    let mut list = n.list(0)?;
    let last = list.len().checked_sub(1).ok_or_else(|| Refusal::new("takes a tensor out of an empty list"))?;
    let place = position(n, 1, list.len())?.unwrap_or(last);
    if place > last {
        return Err(Refusal::new(format!("the list has {} tensors only", list.len())));
    }
    list.remove(place);
    give(n, list)
}

fn split(n: &mut Node<'_, '_>) -> Lowered {
    let x = n.input(0)?;
    let axis = x.axis(n.int_or("axis", 0)?)?;
    let given = n.optional(1)?;
    let keep = n.int_or("keepdims", 1)? != 0 || given.is_some();
    let whole = |n: &Node<'_, '_>| {
        x.size(axis).ok_or_else(|| {
            Refusal::new(format!("the size {axis} of {} decides how many tensors there are", x.value.ty()))
                .remedy(format!("fix the sizes of inputs with `--input NAME=..` before `{}`", n.op()))
        })
    };
    let sizes: Vec<Size> = match &given {
        Some(t) if t.rank() == 1 => {
            let count = t.size(0).ok_or_else(|| n.must_be_known(1, "number of sizes"))?;
            if count > 1 << 16 {
                return Err(Refusal::new(format!("splits into {count} parts")));
            }
            (0..count).map(|i| n.element(&t.value, i)).collect::<Result<_, _>>()?
        }
        other => {
            let each = match other {
                Some(t) => t.ints().and_then(|v| v.first().copied()).ok_or_else(|| n.must_be_known(1, "size"))?,
                None => 1,
            };
            let size = whole(n)? as i64;
            if each < 1 || size / each > 1 << 16 {
                return Err(Refusal::new(format!("splits {size} elements into parts of {each}")));
            }
            (0..size).step_by(each as usize).map(|begin| Size::Fixed(each.min(size - begin))).collect()
        }
    };
    let mut parts: Vec<Value> = join::pieces(n, &x.value, axis, &sizes)?;
    if !keep {
        parts = parts.iter().map(|p| n.squeeze(p, &[axis])).collect::<Result<_, _>>()?;
    }
    let list = parts.into_iter().map(|v| Tensor::new(v, x.dtype)).collect();
    give(n, list)
}

fn concat_from_sequence(n: &mut Node<'_, '_>) -> Lowered {
    let list = n.list(0)?;
    let Some(first) = list.first().cloned() else { return Err(Refusal::new("joins no tensors")) };
    let axis = n.int("axis")?.ok_or_else(|| Refusal::new("its attribute `axis` is missing"))?;
    let values: Vec<Value> = list.into_iter().map(|t| t.value).collect();
    let y = if n.int_or("new_axis", 0)? != 0 {
        let rank = first.rank() as i64 + 1;
        let at = if axis < 0 { axis + rank } else { axis };
        n.push(mil_core::mb::stack(values, at))?
    } else {
        let axis = first.axis(axis)?;
        n.join(&values, axis)?
    };
    n.one(y, first.dtype)
}

/// The body for each element in turn; inputs that are no lists are the same for all.
fn map(n: &mut Node<'_, '_>) -> Lowered {
    let body = n.graph_attr("body")?;
    let first = n.list(0)?;
    let mut given: Vec<Vec<Tensor>> = vec![vec![]; n.outputs()];
    for (i, element) in first.into_iter().enumerate() {
        let mut inputs = vec![element];
        for other in 1..n.inputs() {
            if n.is_list(other) {
                let element = n.list(other)?.get(i).cloned();
                inputs.push(element.ok_or_else(|| Refusal::new("its lists are not of one length"))?);
            } else {
                inputs.push(n.input(other)?);
            }
        }
        let outputs = n.importer.body(body, inputs, n.outer)?;
        for (list, t) in given.iter_mut().zip(outputs) {
            list.push(t);
        }
    }
    for (i, list) in given.into_iter().enumerate() {
        n.importer.give(i, Slot::List(list));
    }
    Ok(vec![])
}

fn optional(n: &mut Node<'_, '_>) -> Lowered {
    let slot = if n.has_input(0) { n.slot(0)? } else { Slot::Nothing };
    n.importer.give(0, slot);
    Ok(vec![])
}

fn optional_get_element(n: &mut Node<'_, '_>) -> Lowered {
    match n.slot(0)? {
        Slot::Nothing => Err(Refusal::new("takes a tensor from an optional that has none")),
        slot => {
            n.importer.give(0, slot);
            Ok(vec![])
        }
    }
}

fn optional_has_element(n: &mut Node<'_, '_>) -> Lowered {
    let has = n.has_input(0) && !matches!(n.slot(0)?, Slot::Nothing);
    let has = n.number(DType::Bool, f64::from(u8::from(has)))?;
    n.one(has, DType::Bool)
}
