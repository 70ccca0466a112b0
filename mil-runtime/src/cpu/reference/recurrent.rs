//! Recurrent layers: each step computes all gates of the whole batch. What an activation makes of a number is said in
//! `mil_core::ops`. States are kept in f32 from step to step, and rounded where the op ends.

use mil_core::{
    op::Arg,
    ops::{
        recurrent::{Direction, GateActivation, Gru, Lstm, Rnn},
        scalar::Unary,
    },
    types::DType,
};

use super::{
    Cx, Kernel, KernelDef, floats,
    matmul::{multiply, transposed},
    shapes::{actual, output_shape},
};
use crate::{
    error::RunError,
    tensor::{AnyTensor, checked_count},
};

pub(super) const KERNELS: &[KernelDef] = &[KernelDef::of::<Gru>(), KernelDef::of::<Lstm>(), KernelDef::of::<Rnn>()];

/// One direction of a layer: the part of all gates that depends on no state, and the matrix for the part that does.
struct Gates {
    steps: usize,
    batch: usize,
    /// Gates times `hidden`.
    width: usize,
    hidden: usize,
    /// `[steps, batch, width]`: `x * weight_ih^T + bias`.
    inputs: Vec<f32>,
    /// `[hidden, width]`: `weight_hh^T`.
    recurrent: Vec<f32>,
}

impl Gates {
    /// The shapes have been checked by the op's rule.
    fn new(cx: &Cx<'_>, x: &AnyTensor, [ih, hh]: [&Arg; 2], biases: &[&Option<Arg>]) -> Result<Gates, RunError> {
        let (ih, hh) = (cx.get(ih)?, cx.get(hh)?);
        let (steps, batch, input) = (x.shape()[0], x.shape()[1], x.shape()[2]);
        let (width, hidden) = (hh.shape()[0], hh.shape()[1]);
        checked_count(DType::F32, &[steps, batch, width])?;
        let mut bias = vec![0.0; width];
        for given in biases.iter().filter_map(|b| b.as_ref()) {
            bias.iter_mut().zip(&*cx.get(given)?.to_f32()?).for_each(|(sum, b)| *sum += b);
        }
        let mut inputs = bias.repeat(steps * batch);
        multiply(&x.to_f32()?, &transposed(&ih.to_f32()?, width, input), input, width, &mut inputs);
        Ok(Gates { steps, batch, width, hidden, inputs, recurrent: transposed(&hh.to_f32()?, width, hidden) })
    }

    /// The part of a step that depends on no state: `[batch, width]`.
    fn inputs(&self, step: usize) -> Vec<f32> {
        let size = self.batch * self.width;
        self.inputs[step * size..][..size].to_vec()
    }

    /// Adds `h * weight_hh^T` to the gates.
    fn add_recurrent(&self, h: &[f32], gates: &mut [f32]) {
        multiply(h, &self.recurrent, self.hidden, self.width, gates);
    }

    /// Every number of the state, by its index there and the index of its first gate; the others are `hidden` apart.
    fn each(&self) -> impl Iterator<Item = (usize, usize)> + use<> {
        let (hidden, width) = (self.hidden, self.width);
        (0..self.batch * hidden).map(move |i| (i, i / hidden * width + i % hidden))
    }

    /// Walks the steps, `next` making a state of the one before; gives all states in the order in which they come, and
    /// leaves the last in `h`.
    fn walk(&self, backward: bool, h: &mut Vec<f32>, mut next: impl FnMut(Vec<f32>, &[f32]) -> Vec<f32>) -> Vec<f32> {
        let mut states = Vec::with_capacity(self.steps * h.len());
        for i in 0..self.steps {
            let step = if backward { self.steps - 1 - i } else { i };
            *h = next(self.inputs(step), h);
            states.extend_from_slice(h);
        }
        states
    }
}

fn act(activation: GateActivation, x: f32) -> f32 {
    activation.float(f64::from(x)) as f32
}

/// The outputs of one direction: all states or the last, then the last.
fn outputs(
    dtype: DType,
    shape: &[usize],
    sequence: bool,
    states: Vec<f32>,
    last: &[&[f32]],
) -> Result<Vec<AnyTensor>, RunError> {
    let states = if sequence { states } else { last[0].to_vec() };
    let mut outputs = floats(dtype, shape, states)?;
    for state in last {
        outputs.push(AnyTensor::from_f32(dtype, &shape[1..], state.to_vec())?);
    }
    Ok(outputs)
}

impl Kernel for Rnn {
    fn run(&self, cx: &Cx<'_>) -> Result<Vec<AnyTensor>, RunError> {
        let (x, initial_h) = (cx.get(&self.x)?, cx.get(&self.initial_h)?);
        let op = Rnn { x: actual(&self.x, &x), initial_h: actual(&self.initial_h, &initial_h), ..self.clone() };
        let shape = output_shape(&op)?;
        let gates = Gates::new(cx, &x, [&self.weight_ih, &self.weight_hh], &[&self.bias])?;
        let mut h = initial_h.to_f32()?.into_owned();
        let states = gates.walk(self.direction == Direction::Reverse, &mut h, |mut sum, h| {
            gates.add_recurrent(h, &mut sum);
            sum.into_iter().map(|v| act(self.activation, v)).collect()
        });
        outputs(x.dtype(), &shape, self.output_sequence, states, &[&h])
    }
}

impl Kernel for Gru {
    fn run(&self, cx: &Cx<'_>) -> Result<Vec<AnyTensor>, RunError> {
        let (x, initial_h) = (cx.get(&self.x)?, cx.get(&self.initial_h)?);
        let op = Gru { x: actual(&self.x, &x), initial_h: actual(&self.initial_h, &initial_h), ..self.clone() };
        let shape = output_shape(&op)?;
        let after = self.reset_after == Some(true);
        let weights = [&self.weight_ih, &self.weight_hh];
        let inner = match &self.bias {
            Some(bias) => cx.get(bias)?.to_f32()?.into_owned(),
            None => vec![0.0; cx.get(&self.weight_hh)?.shape()[0]],
        };
        let biases = [&self.input_bias, &self.bias];
        let gates = Gates::new(cx, &x, weights, if after { &biases[..1] } else { &biases })?;
        let hidden = gates.hidden;
        let gate = |sum: &[f32], at: usize| act(self.recurrent_activation, sum[at]);
        let mut h = initial_h.to_f32()?.into_owned();
        let states = gates.walk(self.direction == Direction::Reverse, &mut h, |inputs, h| {
            let mut recurrent = if after { inner.repeat(gates.batch) } else { vec![0.0; inputs.len()] };
            gates.add_recurrent(h, &mut recurrent);
            let sum: Vec<f32> = inputs.iter().zip(&recurrent).map(|(x, h)| x + h).collect();
            // What the reset gate leaves of the state, times the matrix of the output gate.
            let kept: Vec<f32> = match after {
                true => gates.each().map(|(_, r)| gate(&sum, r) * recurrent[r + hidden]).collect(),
                false => {
                    let kept: Vec<f32> = gates.each().map(|(i, r)| gate(&sum, r) * h[i]).collect();
                    let mut products = vec![0.0; inputs.len()];
                    gates.add_recurrent(&kept, &mut products);
                    gates.each().map(|(_, r)| products[r + hidden]).collect()
                }
            };
            let next = |(i, r): (usize, usize)| {
                let (o, z) = (act(self.activation, inputs[r + hidden] + kept[i]), gate(&sum, r + 2 * hidden));
                (1.0 - z) * o + z * h[i]
            };
            gates.each().map(next).collect()
        });
        outputs(x.dtype(), &shape, self.output_sequence, states, &[&h])
    }
}

/// What one direction of an `lstm` gives.
struct Walked {
    /// `[steps, batch, hidden]`, in the order in which they come.
    states: Vec<f32>,
    h: Vec<f32>,
    c: Vec<f32>,
}

/// One direction of an `lstm`.
struct Way<'a> {
    weights: [&'a Arg; 2],
    bias: &'a Option<Arg>,
    peephole: &'a Option<Arg>,
    backward: bool,
}

/// [`Lstm`], in one direction.
trait Walk {
    fn walk(&self, cx: &Cx<'_>, x: &AnyTensor, way: Way<'_>, h: Vec<f32>, c: Vec<f32>) -> Result<Walked, RunError>;
}

impl Walk for Lstm {
    fn walk(
        &self,
        cx: &Cx<'_>,
        x: &AnyTensor,
        way: Way<'_>,
        mut h: Vec<f32>,
        mut c: Vec<f32>,
    ) -> Result<Walked, RunError> {
        let gates = Gates::new(cx, x, way.weights, &[way.bias])?;
        let hidden = gates.hidden;
        let peephole = match way.peephole {
            Some(p) => cx.get(p)?.to_f32()?.into_owned(),
            None => vec![0.0; 3 * hidden],
        };
        let clip = self.clip.unwrap_or(f32::INFINITY);
        let states = gates.walk(way.backward, &mut h, |mut sum, h| {
            gates.add_recurrent(h, &mut sum);
            let next = |(n, first): (usize, usize)| {
                // Gate `g` of this number, its sum with what the cell adds to it.
                let gate = |g: usize, cell: f32| {
                    act(self.recurrent_activation, sum[first + g * hidden] + peephole[g * hidden + n % hidden] * cell)
                };
                let (i, f) = (gate(0, c[n]), gate(1, c[n]));
                let z = act(self.cell_activation, sum[first + 3 * hidden]);
                c[n] = (f * c[n] + i * z).clamp(-clip, clip);
                gate(2, c[n]) * act(self.activation, c[n])
            };
            gates.each().map(next).collect()
        });
        Ok(Walked { states, h, c })
    }
}

impl Kernel for Lstm {
    fn run(&self, cx: &Cx<'_>) -> Result<Vec<AnyTensor>, RunError> {
        let (x, initial_h, initial_c) = (cx.get(&self.x)?, cx.get(&self.initial_h)?, cx.get(&self.initial_c)?);
        let (h, c) = (actual(&self.initial_h, &initial_h), actual(&self.initial_c, &initial_c));
        let shape = output_shape(&Lstm { x: actual(&self.x, &x), initial_h: h, initial_c: c, ..self.clone() })?;
        let (h, c) = (initial_h.to_f32()?, initial_c.to_f32()?);
        let backward = self.direction == Direction::Reverse;
        let weights = [&self.weight_ih, &self.weight_hh];
        let way = Way { weights, bias: &self.bias, peephole: &self.peephole, backward };
        let Some(weights) = self.back()? else {
            let all = self.walk(cx, &x, way, h.into_owned(), c.into_owned())?;
            return outputs(x.dtype(), &shape, self.output_sequence, all.states, &[&all.h, &all.c]);
        };
        let width = shape[2] / 2;
        let ahead = self.walk(cx, &x, way, half(&h, width, 0), half(&c, width, 0))?;
        let way = Way { weights, bias: &self.bias_back, peephole: &self.peephole_back, backward: true };
        let back = self.walk(cx, &x, way, half(&h, width, 1), half(&c, width, 1))?;
        // In the order of the steps, not in that in which they came.
        let step = (shape[1] * width).max(1);
        let states: Vec<f32> = back.states.chunks_exact(step).rev().flatten().copied().collect();
        let states = beside(&ahead.states, &states, width);
        let (h, c) = (beside(&ahead.h, &back.h, width), beside(&ahead.c, &back.c, width));
        outputs(x.dtype(), &shape, self.output_sequence, states, &[&h, &c])
    }
}

/// The first or the second half of each row of `2 * width` numbers.
fn half(rows: &[f32], width: usize, which: usize) -> Vec<f32> {
    rows.chunks_exact(width.max(1)).skip(which).step_by(2).flatten().copied().collect()
}

/// The reverse of [`half`].
fn beside(a: &[f32], b: &[f32], width: usize) -> Vec<f32> {
    let rows = a.chunks_exact(width.max(1)).zip(b.chunks_exact(width.max(1)));
    rows.flat_map(|(a, b)| [a, b]).flatten().copied().collect()
}

#[cfg(test)]
mod tests;
