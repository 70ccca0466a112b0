//! What `Loop` and `Scan` have in common: rounds of a body over variables, and what is collected on the way.

use mil_core::{
    graph::Value,
    mb,
    op::Operand,
    types::{DType, Dim, TensorType, Type},
};

use super::{Node, control};
use crate::import::{Refusal, Size, Tensor};

/// Rounds of a body.
pub(super) struct Rounds {
    /// How many there are at most.
    pub(super) count: Option<Size>,
    /// Whether there is a first one, if the body's condition decides on each next one.
    pub(super) condition: Option<Value>,
    /// How many tensors are collected: one per round.
    pub(super) scans: usize,
    /// How many nodes a round has.
    pub(super) weight: usize,
}

/// What a round gives.
pub(super) struct Round {
    pub(super) condition: Value,
    pub(super) states: Vec<Tensor>,
    pub(super) scans: Vec<Tensor>,
}

/// Lowers a round, by its number, the condition if it counts, and the variables.
pub(super) type Body<'b> =
    dyn FnMut(&mut Node<'_, '_>, &Value, Option<&Value>, &[Tensor]) -> Result<Round, Refusal> + 'b;

/// No more rounds than this are written out one after the other,
const MOST_ROUNDS: i64 = 64;
/// if they do not have more nodes than this.
const MOST_NODES: i64 = 4096;

impl Rounds {
    /// The variables in the end, and what was collected.
    pub(super) fn lower(
        self,
        n: &mut Node<'_, '_>,
        states: Vec<Tensor>,
        body: &mut Body<'_>,
    ) -> Result<(Vec<Tensor>, Vec<Tensor>), Refusal> {
        match (&self.count, &self.condition) {
            (Some(Size::Fixed(0)), _) if self.scans == 0 => Ok((states, vec![])),
            (Some(Size::Fixed(0)), _) => {
                Err(Refusal::new("collects tensors in no rounds at all, so that there is no telling their shape"))
            }
            (Some(Size::Fixed(count)), None)
                if *count <= MOST_ROUNDS && count.saturating_mul(self.weight as i64) <= MOST_NODES =>
            {
                unrolled(n, *count, states, body)
            }
            _ => self.looping(n, states, body),
        }
    }

    fn looping(
        self,
        n: &mut Node<'_, '_>,
        states: Vec<Tensor>,
        body: &mut Body<'_>,
    ) -> Result<(Vec<Tensor>, Vec<Tensor>), Refusal> {
        let zero = n.number(DType::I32, 0.0)?;
        let most = match &self.count {
            Some(count) => Some(n.scalar_size(count)?),
            None => None,
        };
        // Sizes that change from round to round are unknown in the body; it is lowered again until it keeps what it
        // takes, and once more when it is known what it collects.
        let mut types: Vec<Type> = states.iter().map(|t| t.value.ty().clone()).collect();
        let mut lists: Option<Vec<Value>> = None;
        loop {
            let (body_block, (kinds, scanned)) = control::block(n, |n, block| {
                let round = n.graph().block_input(block, "round", TensorType::scalar(DType::I32).into());
                let go = self.condition.as_ref().map(|c| n.graph().block_input(block, "go_on", c.ty().clone()));
                let mut inside = vec![];
                for (t, ty) in states.iter().zip(&types) {
                    inside.push(Tensor::new(n.graph().block_input(block, "state", ty.clone()), t.dtype));
                }
                let taken: Vec<Value> = lists.iter().flatten().cloned().collect();
                let taken: Vec<Value> =
                    taken.iter().map(|l| n.graph().block_input(block, "collected", l.ty().clone())).collect();
                let given = body(n, &round, go.as_ref(), &inside)?;
                if given.states.len() != states.len() || given.scans.len() != self.scans {
                    return Err(Refusal::new("its body does not give as many tensors as it should"));
                }
                let mut outputs = vec![n.push(mb::add(&round, 1i64))?];
                if go.is_some() {
                    outputs.push(control::scalar(n, &given.condition)?);
                }
                outputs.extend(given.states.iter().map(|t| t.value.clone()));
                for (list, t) in taken.iter().zip(&given.scans) {
                    outputs.push(n.push(mb::list_write(list, &round, &t.value))?);
                }
                let kinds: Vec<Type> = given.states.iter().map(|t| t.value.ty().clone()).collect();
                Ok((outputs, (kinds, given.scans)))
            })?;
            if widened(&mut types, &kinds)? {
                continue;
            }
            let Some(lists) = &lists else {
                lists = Some(scanned.iter().map(|t| list(n, t)).collect::<Result<_, _>>()?);
                if self.scans > 0 {
                    continue;
                }
                return self.pushed(n, states, &[], body_block, zero, most, &scanned);
            };
            return self.pushed(n, states, lists, body_block, zero, most, &scanned);
        }
    }

    #[allow(clippy::too_many_arguments)] // the state of one loop
    fn pushed(
        &self,
        n: &mut Node<'_, '_>,
        states: Vec<Tensor>,
        lists: &[Value],
        body: mil_core::ir::BlockId,
        zero: Value,
        most: Option<Value>,
        scanned: &[Tensor],
    ) -> Result<(Vec<Tensor>, Vec<Tensor>), Refusal> {
        let types: Vec<(String, Type)> = {
            let f = n.graph().function();
            let inputs = &f.block(body).inputs;
            inputs.iter().map(|id| (f.value(*id).name.clone(), f.value(*id).ty.clone())).collect()
        };
        let (condition, ()) = control::block(n, |n, block| {
            let inputs: Vec<Value> =
                types.into_iter().map(|(name, ty)| n.graph().block_input(block, &name, ty)).collect();
            let before = match &most {
                Some(most) => Some(n.push(mb::less(&inputs[0], most))?),
                None => None,
            };
            let go = self.condition.as_ref().map(|_| inputs[1].clone());
            let go = match (before, go) {
                (Some(before), Some(go)) => n.push(mb::logical_and(&before, &go))?,
                (Some(go), None) => go,
                (None, Some(go)) => n.push(mb::identity(&go))?,
                (None, None) => return Err(Refusal::new("never ends")),
            };
            Ok((vec![go], ()))
        })?;
        let mut first = vec![zero];
        first.extend(self.condition.clone());
        first.extend(states.iter().map(|t| t.value.clone()));
        first.extend(lists.iter().cloned());
        let name = n.proto.output.iter().find(|o| !o.is_empty()).cloned().unwrap_or_default();
        let operands = vec![("loop_vars", Operand::from(first))];
        let def = mil_core::ops::while_loop_def();
        let values = n.graph().push_blocks(def, operands, vec![condition, body], Some(&name), None)?;
        let skip = 1 + usize::from(self.condition.is_some());
        let (last, lists) = values[skip..].split_at(states.len());
        let last = last.iter().zip(&states).map(|(v, t)| Tensor::new(v.clone(), t.dtype)).collect();
        if lists.is_empty() {
            return Ok((last, vec![]));
        }
        let rounds = n.push(mb::range_1d(&values[0], 0i64, 1i64))?;
        let mut collected = vec![];
        for (list, t) in lists.iter().zip(scanned) {
            collected.push(Tensor::new(n.push(mb::list_gather(list, &rounds))?, t.dtype));
        }
        Ok((last, collected))
    }
}

/// A list for tensors like this one.
fn list(n: &mut Node<'_, '_>, t: &Tensor) -> Result<Value, Refusal> {
    let sizes: Vec<Operand> = t
        .dims()
        .iter()
        .enumerate()
        .map(|(i, d)| match d.value() {
            Some(size) => size.into(),
            None => format!("size_{i}").into(),
        })
        .collect();
    let dtype = t.value.dtype().unwrap_or(t.dtype);
    n.push(mb::make_list(Operand::List(sizes)).dtype(dtype))
}

/// Makes sizes unknown that a round does not keep; whether there was one.
fn widened(taken: &mut [Type], given: &[Type]) -> Result<bool, Refusal> {
    let mut changed = false;
    for (i, (taken, given)) in taken.iter_mut().zip(given).enumerate() {
        let (Type::Tensor(t), Type::Tensor(g)) = (&mut *taken, given) else { continue };
        if t.dtype != g.dtype || t.rank() != g.rank() {
            return Err(Refusal::new(format!("its variable {i} is {t} before a round and {g} after it"))
                .remedy("MIL's loops keep dtype and rank of their variables"));
        }
        for (axis, (size, next)) in t.shape.dims_mut().iter_mut().zip(g.shape.iter()).enumerate() {
            let open = size.as_symbol().is_some_and(|s| s.is_anonymous());
            if size != next && !open {
                *size = Dim::unknown(format_args!("state_{i}.{axis}"));
                changed = true;
            }
        }
    }
    Ok(changed)
}

fn unrolled(
    n: &mut Node<'_, '_>,
    count: i64,
    mut states: Vec<Tensor>,
    body: &mut Body<'_>,
) -> Result<(Vec<Tensor>, Vec<Tensor>), Refusal> {
    let mut collected: Vec<Vec<Value>> = vec![];
    let mut dtypes = vec![];
    for i in 0..count {
        let round = n.number(DType::I32, i as f64)?;
        let given = body(n, &round, None, &states)?;
        states = given.states;
        dtypes = given.scans.iter().map(|t| t.dtype).collect();
        collected.resize(given.scans.len(), vec![]);
        for (list, t) in collected.iter_mut().zip(given.scans) {
            list.push(t.value);
        }
    }
    let stack = |(list, dtype)| Ok(Tensor::new(n.push(mb::stack(list, 0i64))?, dtype));
    let scans = collected.into_iter().zip(dtypes).map(stack).collect::<Result<_, Refusal>>()?;
    Ok((states, scans))
}
