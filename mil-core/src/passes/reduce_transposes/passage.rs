//! Which ops a transpose can pass, and what must change in them.

use crate::{
    ir::{Constant, OpId, ValueId},
    mb,
    op::Op,
    ops::{pad::PadMode, rules},
    passes::Rewriter,
};

/// What must change in an op so that `op(transpose(x, perm))` is `transpose(op(x), perm)`.
pub(super) struct Passage {
    /// Parameters that become other constants: axes.
    pub set: Vec<(&'static str, Constant)>,
    /// Operands that are not transposed and must be put in order.
    pub others: Vec<(&'static str, Other)>,
    /// The same for constants among the values of a variadic parameter.
    pub constants: Vec<(ValueId, Order)>,
    /// What the outputs are transposed by. Of fewer dimensions if the op drops some.
    pub perm: Vec<usize>,
}

/// How an operand is put in order.
pub(super) enum Other {
    Constant(Order),
    /// A value whose dimensions of more than one element keep their order.
    Reshape(Vec<i64>),
}

/// The order of a constant: its shape, with ones before it up to the rank of the permutation, and where each dimension goes.
#[derive(Clone)]
pub(super) struct Order {
    shape: Vec<usize>,
    perm: Vec<usize>,
}

/// Ops on each element of one tensor.
const UNARY: &[&str] = &[
    "abs",
    "acos",
    "asin",
    "atan",
    "atanh",
    "cast",
    "ceil",
    "clamped_relu",
    "clip",
    "cos",
    "cosh",
    "elu",
    "erf",
    "exp",
    "exp2",
    "floor",
    "gelu",
    "identity",
    "inverse",
    "leaky_relu",
    "linear_activation",
    "log",
    "logical_not",
    "relu",
    "relu6",
    "round",
    "rsqrt",
    "scaled_tanh",
    "sigmoid",
    "sigmoid_hard",
    "sign",
    "silu",
    "sin",
    "sinh",
    "softplus",
    "softsign",
    "sqrt",
    "square",
    "tan",
    "tanh",
    "threshold",
    "thresholded_relu",
];

/// Ops on the elements of several tensors that broadcast.
const ELEMENTWISE: &[&str] = &[
    "add",
    "equal",
    "floor_div",
    "greater",
    "greater_equal",
    "less",
    "less_equal",
    "logical_and",
    "logical_or",
    "logical_xor",
    "maximum",
    "minimum",
    "mod",
    "mul",
    "not_equal",
    "pow",
    "real_div",
    "select",
    "sub",
];

impl Passage {
    /// How a transpose passes an op, if it can. All inputs that are lazy are transposed by `perm`.
    pub(super) fn of(rw: &Rewriter, op: OpId, perm: &[usize], lazy: &dyn Fn(ValueId) -> bool) -> Option<Passage> {
        let name = rw.op(op).def.name;
        let passage = match name {
            "concat" => concat(rw, op, perm, lazy),
            "split" | "softmax" => {
                let given = rw.number(op, "axis").map_or(-1, |n| n as i64);
                Some(Passage { set: vec![("axis", axis(given, perm)?)], ..Passage::unchanged(perm) })
            }
            "pad" => pad(rw, op, perm),
            "reduce_argmax" | "reduce_argmin" => reduce(rw, op, perm, "axis"),
            _ if name.starts_with("reduce_") => reduce(rw, op, perm, "axes"),
            _ if UNARY.contains(&name) => Some(Passage::unchanged(perm)),
            _ if ELEMENTWISE.contains(&name) => elementwise(rw, op, perm, lazy),
            _ => None,
        }?;
        // The outputs may have to be transposed.
        let allowed = mb::Transpose::DEF.params.iter().find(|p| p.name == "x")?.allowed(rw.opset())?;
        let all =
            rw.op(op).outputs.iter().all(|v| rw.ty(*v).tensor().is_some_and(|t| allowed.dtypes.contains(&t.dtype)));
        all.then_some(passage)
    }

    fn unchanged(perm: &[usize]) -> Passage {
        Passage { set: vec![], others: vec![], constants: vec![], perm: perm.to_vec() }
    }
}

/// The axis of what is not transposed.
fn axis(given: i64, perm: &[usize]) -> Option<Constant> {
    let axis = rules::axis(given, perm.len(), "axis").ok()?;
    Some(Constant::scalar(perm[axis] as i32))
}

fn concat(rw: &Rewriter, op: OpId, perm: &[usize], lazy: &dyn Fn(ValueId) -> bool) -> Option<Passage> {
    let mut constants = vec![];
    for binding in rw.op(op).bindings("values") {
        let crate::ir::Binding::Value(v) = binding else { return None };
        if lazy(*v) {
            continue;
        }
        let c = rw.stored(Some(*v), rw.known(*v)).filter(|c| c.shape().len() == perm.len())?;
        constants.push((*v, Order::new(c.shape(), perm, &c)?));
    }
    constants.sort_by_key(|(v, _)| *v);
    constants.dedup_by_key(|(v, _)| *v);
    let axis = axis(rw.number(op, "axis")? as i64, perm)?;
    Some(Passage { set: vec![("axis", axis)], constants, ..Passage::unchanged(perm) })
}

fn pad(rw: &Rewriter, op: OpId, perm: &[usize]) -> Option<Passage> {
    let pad = rw.bind::<mb::Pad>(op)?;
    let given = pad.pad.constant()?.ints()?;
    let mut amounts = vec![0; (2 * perm.len()).checked_sub(given.len())?];
    amounts.extend(given);
    let mut moved = vec![0i32; amounts.len()];
    for (i, p) in perm.iter().enumerate() {
        moved[2 * p] = amounts[2 * i].try_into().ok()?;
        moved[2 * p + 1] = amounts[2 * i + 1].try_into().ok()?;
    }
    if pad.mode != PadMode::Constant {
        // Core ML mirrors and repeats in the last two dimensions alone.
        let (outer, last) = moved.split_at(moved.len().saturating_sub(4));
        if outer.iter().any(|n| *n != 0) {
            return None;
        }
        moved = last.to_vec();
    }
    Some(Passage { set: vec![("pad", Constant::vector(&moved))], ..Passage::unchanged(perm) })
}

fn reduce(rw: &Rewriter, op: OpId, perm: &[usize], param: &'static str) -> Option<Passage> {
    let rank = perm.len();
    let given = match param {
        "axis" => Some(vec![rw.number(op, param).map_or(-1, |n| n as i64)]),
        _ if rw.op(op).bindings(param).is_empty() => None,
        _ => Some(rw.constant(op, param)?.ints()?),
    };
    let mut passage = Passage::unchanged(perm);
    let all: Vec<i64> = (0..rank as i64).collect();
    let axes = rules::axes(given.as_ref().unwrap_or(&all), rank, param).ok()?;
    if given.is_some() {
        let moved: Vec<i32> = axes.iter().map(|a| perm[*a] as i32).collect();
        let constant = if param == "axis" { Constant::scalar(*moved.first()?) } else { Constant::vector(&moved) };
        passage.set.push((param, constant));
    }
    let keeps = match rw.op(op).bindings("keep_dims") {
        [] => false,
        _ => rw.constant(op, "keep_dims")?.ints()?.first() == Some(&1),
    };
    if !keeps {
        // The dimensions that are left, as they were, and each one's place among them.
        let left: Vec<usize> = (0..rank).filter(|i| !axes.contains(i)).map(|i| perm[i]).collect();
        let place = |d: &usize| left.iter().filter(|other| *other < d).count();
        passage.perm = left.iter().map(place).collect();
    }
    Some(passage)
}

fn elementwise(rw: &Rewriter, op: OpId, perm: &[usize], lazy: &dyn Fn(ValueId) -> bool) -> Option<Passage> {
    let params: &[&'static str] = if rw.op(op).def.name == "select" { &["cond", "a", "b"] } else { &["x", "y"] };
    if rw.ty(rw.output(op)?).tensor()?.rank() != perm.len() {
        return None;
    }
    let mut passage = Passage::unchanged(perm);
    for param in params {
        let value = rw.arg(op, param);
        if value.is_some_and(lazy) {
            continue;
        }
        let known = rw.constant(op, param);
        let shape = match (value, known) {
            (Some(v), _) => rw.ty(v).tensor()?.shape.fixed()?,
            (None, Some(c)) => c.shape().to_vec(),
            (None, None) => return None,
        };
        if shape.iter().all(|d| *d == 1) {
            continue;
        }
        match rw.stored(value, known) {
            Some(c) => passage.others.push((param, Other::Constant(Order::new(&shape, perm, &c)?))),
            None => passage.others.push((param, Other::Reshape(reshaped(&shape, perm)?))),
        }
    }
    Some(passage)
}

/// A shape with ones before it.
fn padded(shape: &[usize], rank: usize) -> Option<Vec<usize>> {
    let mut padded = vec![1; rank.checked_sub(shape.len())?];
    padded.extend(shape);
    Some(padded)
}

/// The shape of what makes this one when it is transposed, if a reshape makes it: dimensions of more than one element stay in
/// order.
fn reshaped(shape: &[usize], perm: &[usize]) -> Option<Vec<i64>> {
    let shape = padded(shape, perm.len())?;
    let mut moved = vec![1; perm.len()];
    let mut last = None;
    for (i, d) in shape.iter().enumerate().filter(|(_, d)| **d != 1) {
        if last.is_some_and(|last| perm[i] < last) {
            return None;
        }
        last = Some(perm[i]);
        moved[perm[i]] = i64::try_from(*d).ok()?;
    }
    Some(moved)
}

impl Order {
    /// For a constant of whole bytes.
    fn new(shape: &[usize], perm: &[usize], c: &Constant) -> Option<Order> {
        let whole = !c.dtype().is_sub_byte() && c.dtype() != crate::types::DType::String;
        Some(Order { shape: padded(shape, perm.len())?, perm: perm.to_vec() }).filter(|_| whole)
    }

    /// The constant that is this one when it is transposed.
    pub(super) fn transposed(&self, c: &Constant) -> Option<Constant> {
        let (bytes, size): (&[u8], _) = (c.bytes()?, c.dtype().bits() / 8);
        let rank = self.perm.len();
        let mut shape = vec![0; rank];
        self.perm.iter().zip(&self.shape).for_each(|(p, d)| shape[*p] = *d);
        // How far apart elements of the given constant are, along each dimension of the new one.
        let mut strides = vec![0; rank];
        let mut stride = size;
        for i in (0..rank).rev() {
            strides[self.perm[i]] = stride;
            stride *= self.shape[i];
        }
        let mut out = Vec::with_capacity(bytes.len());
        let mut at = vec![0; rank];
        let mut from = 0;
        for _ in 0..c.count() {
            out.extend_from_slice(bytes.get(from..from + size)?);
            for i in (0..rank).rev() {
                at[i] += 1;
                from += strides[i];
                if at[i] < shape[i] {
                    break;
                }
                from -= strides[i] * shape[i];
                at[i] = 0;
            }
        }
        Constant::from_bytes(c.dtype(), shape, out).ok()
    }
}
