//! RNN, LSTM and GRU: MIL's ops where weights are constants and everything is as there, else step by step.

use mil_core::{
    graph::Value,
    ir::Constant,
    mb,
    types::{DType, Opset},
};

use super::{
    Entry, Lowered, Node,
    recurrent_step::{Activation, Direction, Kind, Steps},
};
use crate::import::{Refusal, Size, Tensor};

const LIMITS: &str = "what MIL's op does not have (computed weights, other activations, clipping, sequences of different lengths) is for at \
     most 64 steps";

pub(super) const OPS: &[Entry] = &[
    Entry::new("RNN", |n| recurrent(n, Kind::Rnn)).but(LIMITS),
    Entry::new("LSTM", |n| recurrent(n, Kind::Lstm)).but(LIMITS),
    Entry::new("GRU", |n| recurrent(n, Kind::Gru)).but(LIMITS),
];

/// More steps than these are not said one by one.
const MOST_STEPS: usize = 64;

/// What the node is given, in the order of time.
struct Layer {
    kind: Kind,
    /// `[S, N, I]`.
    x: Value,
    /// `[D, G * H, I]`, `[D, G * H, H]`, and `[D, 2 * G * H]`.
    weight: Value,
    recurrent: Value,
    bias: Option<Value>,
    /// `[N]`, if sequences end before the last step.
    lengths: Option<Value>,
    /// `[D, N, H]`.
    initial: [Option<Value>; 2],
    /// `[D, 3 * H]`.
    peephole: Option<Value>,
    hidden: usize,
    batch: Size,
    /// Whether each walks from the end.
    reversed: Vec<bool>,
    activations: Vec<Vec<Activation>>,
    clip: Option<f32>,
    linear_before_reset: bool,
    input_forget: bool,
}

/// What is given: all states `[S, N, H]` in the order of time, the last, and of an LSTM the last cell.
struct Walked {
    states: Option<Value>,
    last: Vec<Value>,
}

fn recurrent(n: &mut Node<'_, '_>, kind: Kind) -> Lowered {
    let x = n.input(0)?;
    let batch_first = n.int_or("layout", 0)? != 0;
    let (carried, opset) = (x.value.dtype().unwrap_or(DType::F32), n.opset());
    // MIL's recurrent ops know f16 from iOS17 on.
    let dtype = if opset < Opset::iOS17 { DType::F32 } else { carried };
    let layer = layer(n, kind, &x, batch_first, dtype)?;
    let sequence = n.has_output(0);
    let why = layer.unlike_mil(n)?;
    let count = layer.reversed.len();
    let walked = match why {
        None if kind == Kind::Lstm => layer.lstm(n, sequence)?,
        None => (0..count).map(|d| layer.one_way(n, d, sequence)).collect::<Result<_, _>>()?,
        Some(why) => {
            let steps = x.size(usize::from(batch_first)).filter(|s| *s <= MOST_STEPS);
            let Some(steps) = steps else { return Err(why) };
            (0..count).map(|d| layer.unrolled(n, d, steps)).collect::<Result<_, _>>()?
        }
    };
    let mut outputs = vec![];
    let states: Option<Vec<Value>> = walked.iter().map(|w| w.states.clone()).collect();
    let directions_at = if batch_first { 2 } else { 1 };
    let y = match states {
        Some(states) => {
            let states = states.iter().map(|s| if batch_first { n.transpose(s, &[1, 0, 2]) } else { Ok(s.clone()) });
            let states = states.collect::<Result<Vec<_>, _>>()?;
            join(n, states, directions_at)?
        }
        // Nobody reads it.
        None => walked[0].last[0].clone(),
    };
    outputs.push(n.cast(&y, carried)?);
    for i in 0..walked[0].last.len() {
        let last: Vec<Value> = walked.iter().map(|w| w.last[i].clone()).collect();
        if n.has_output(i + 1) {
            let y = join(n, last, usize::from(batch_first))?;
            outputs.push(n.cast(&y, carried)?);
        } else {
            outputs.push(last[0].clone());
        }
    }
    Ok(outputs.into_iter().map(|y| Tensor::new(y, x.dtype)).collect())
}

/// Both directions beside each other in a new dimension.
fn join(n: &mut Node<'_, '_>, parts: Vec<Value>, axis: usize) -> Result<Value, Refusal> {
    match &parts[..] {
        [one] => n.expand_dims(one, &[axis]),
        _ => n.push(mb::stack(parts, axis as i64)),
    }
}

/// Reads the node.
fn layer(n: &mut Node<'_, '_>, kind: Kind, x: &Tensor, batch_first: bool, dtype: DType) -> Result<Layer, Refusal> {
    let reversed = match &n.string_or("direction", "forward")?[..] {
        "forward" => vec![false],
        "reverse" => vec![true],
        "bidirectional" => vec![false, true],
        other => return Err(Refusal::new(format!("its attribute `direction` is `{}`", other.escape_debug()))),
    };
    let (weight, recurrent) = (n.input(1)?, n.input(2)?);
    let ([_, rows, _], [_, recurrent_rows, hidden]) = (sizes(&weight)?, sizes(&recurrent)?);
    let directions = weight.size(0).filter(|d| Some(*d) == recurrent.size(0)).unwrap_or(0);
    if x.rank() != 3 || rows != kind.gates() * hidden || recurrent_rows != rows || directions != reversed.len() {
        let message = format!("its input and weights do not belong together: {}, {}", x.value.ty(), weight.value.ty());
        return Err(Refusal::new(message));
    }
    if let Some(said) = n.int("hidden_size")?.filter(|h| *h != hidden as i64) {
        return Err(Refusal::new(format!("its attribute `hidden_size` is {said}, its weights say {hidden}")));
    }
    let time = if batch_first { n.transpose(&x.value, &[1, 0, 2])? } else { x.value.clone() };
    let time = n.cast(&time, dtype)?;
    let float = |n: &mut Node<'_, '_>, i: usize, states: bool| -> Result<Option<Value>, Refusal> {
        let Some(t) = n.optional(i)? else { return Ok(None) };
        let value = if states && batch_first { n.transpose(&t.value, &[1, 0, 2])? } else { t.value };
        n.cast(&value, dtype).map(Some)
    };
    let (weight, recurrent) = (n.cast(&weight.value, dtype)?, n.cast(&recurrent.value, dtype)?);
    let (bias, initial_h) = (float(n, 3, false)?, float(n, 5, true)?);
    let (initial_c, peephole) =
        if kind == Kind::Lstm { (float(n, 6, true)?, float(n, 7, false)?) } else { (None, None) };
    let batch = n.size(&time, 1)?;
    let lengths = n.optional(4)?.filter(|l| {
        let steps = x.size(usize::from(batch_first)).map(|s| s as i64);
        !l.ints().is_some_and(|all| all.iter().all(|l| Some(*l) == steps))
    });
    let activations = Activation::read(n, kind, reversed.len())?;
    Ok(Layer {
        kind,
        x: time,
        weight,
        recurrent,
        bias,
        lengths: lengths.map(|l| l.value),
        initial: [initial_h, initial_c],
        peephole,
        hidden,
        batch,
        reversed,
        activations,
        clip: n.float("clip")?.filter(|c| *c > 0.0),
        linear_before_reset: kind == Kind::Gru && n.int_or("linear_before_reset", 0)? != 0,
        input_forget: kind == Kind::Lstm && n.int_or("input_forget", 0)? != 0,
    })
}

/// The sizes of a weight of rank 3.
fn sizes(x: &Tensor) -> Result<[usize; 3], Refusal> {
    let all = x.fixed().and_then(|s| <[usize; 3]>::try_from(s).ok());
    all.ok_or_else(|| Refusal::new(format!("its weights must have rank 3 and known sizes, found {}", x.value.ty())))
}

fn is_constant(x: &Value) -> bool {
    x.known().is_some_and(|k| k.constant().is_some())
}

impl Layer {
    /// Why MIL's op is not this; `None` if it is.
    fn unlike_mil(&self, n: &Node<'_, '_>) -> Result<Option<Refusal>, Refusal> {
        let weights = [Some(&self.weight), Some(&self.recurrent), self.bias.as_ref(), self.peephole.as_ref()];
        let places = [(1, "weights"), (2, "recurrent weights"), (3, "biases"), (7, "peepholes")];
        for (weight, (i, what)) in weights.iter().zip(places) {
            if weight.is_some_and(|w| !is_constant(w)) {
                return Ok(Some(n.must_be_known(i, what)));
            }
        }
        let op = n.op();
        let no = |what: &str| {
            let message =
                format!("MIL's recurrent ops have no {what}, and more than {MOST_STEPS} or an unknown number of steps");
            Some(
                Refusal::new(format!("{message} are too many to be said one by one"))
                    .remedy(format!("fix the number of steps that `{op}` walks: `--input NAME=..`")),
            )
        };
        let native = self.activations.iter().flatten().all(|a| a.native().is_some());
        let same = self.activations.windows(2).all(|w| w[0] == w[1]);
        Ok(match () {
            _ if self.lengths.is_some() => no("sequences of different lengths"),
            _ if self.clip.is_some() => no("clipping before activations"),
            _ if self.input_forget => no("coupled gates"),
            _ if !native || (self.kind == Kind::Lstm && !same) => no("activations of this kind"),
            _ if self.linear_before_reset && n.opset() < Opset::iOS18 => {
                Some(n.needs(Opset::iOS18, "`linear_before_reset`").err().unwrap_or(Refusal::new("")))
            }
            _ => None,
        })
    }

    /// A direction's part of a weight, its gates in another order.
    fn part(&self, n: &mut Node<'_, '_>, x: &Value, d: usize, order: &[i64]) -> Result<Value, Refusal> {
        let rank = x.shape().map_or(1, |s| s.rank());
        let (mut begin, mut end, mut all, mut one) =
            (vec![0; rank], vec![0; rank], vec![true; rank], vec![false; rank]);
        (begin[0], end[0], all[0], one[0]) = (d as i64, d as i64 + 1, false, true);
        let call = mb::slice_by_index(x, begin, end).begin_mask(all.clone()).end_mask(all).squeeze_mask(one);
        let x = n.push(call)?;
        if order.iter().copied().eq(0..order.len() as i64) {
            return Ok(x);
        }
        let sizes = n.sizes(&x)?;
        let mut split = vec![order.len().into(), self.hidden.into()];
        split.extend_from_slice(&sizes[1..]);
        let x = n.reshape(&x, &split)?;
        let x = n.push(mb::gather(&x, order.to_vec()).axis(0))?;
        n.reshape(&x, &sizes)
    }

    /// The biases of the input and of the state, each `[G * H]`, their gates in another order.
    fn biases(&self, n: &mut Node<'_, '_>, d: usize, order: &[i64]) -> Result<Option<[Value; 2]>, Refusal> {
        let Some(bias) = &self.bias else { return Ok(None) };
        let count = order.len() as i64;
        let both: Vec<i64> = order.iter().copied().chain(order.iter().map(|o| o + count)).collect();
        let all = self.part(n, bias, d, &both)?;
        let half = count * self.hidden as i64;
        let input = n.push(mb::slice_by_index(&all, [0], [half]))?;
        let state = n.push(mb::slice_by_index(&all, [half], [2 * half]))?;
        Ok(Some([input, state]))
    }

    /// The state or the cell before the first step: `[N, H]`.
    fn initial(&self, n: &mut Node<'_, '_>, i: usize, d: usize) -> Result<Value, Refusal> {
        if let Some(all) = &self.initial[i] {
            return self.part(n, all, d, &[0]);
        }
        self.zeros(n, self.hidden)
    }

    fn zeros(&self, n: &mut Node<'_, '_>, width: usize) -> Result<Value, Refusal> {
        let dtype = self.x.dtype().unwrap_or(DType::F32);
        let zeros = Constant::new([1, width], &vec![0f32; width])?;
        let zeros = n.constant(zeros);
        let zeros = n.cast(&zeros, dtype)?;
        n.broadcast_to(&zeros, &[self.batch.clone(), width.into()])
    }

    /// MIL's `lstm`, which walks in both directions at once.
    fn lstm(&self, n: &mut Node<'_, '_>, sequence: bool) -> Result<Vec<Walked>, Refusal> {
        // Input, output, forget, cell there; input, forget, output, cell here.
        let order = [0, 2, 1, 3];
        let count = self.reversed.len();
        let mut initial = vec![];
        for i in 0..2 {
            let parts = (0..count).map(|d| self.initial(n, i, d)).collect::<Result<Vec<_>, _>>()?;
            initial.push(if let [one] = &parts[..] { one.clone() } else { n.push(mb::concat(parts, 1))? });
        }
        let mut weights = vec![];
        for d in 0..count {
            let (ih, hh) = (self.part(n, &self.weight, d, &order)?, self.part(n, &self.recurrent, d, &order)?);
            let bias = match self.biases(n, d, &order)? {
                Some([input, state]) => Some(n.push(mb::add(&input, &state))?),
                None => None,
            };
            let peephole = match &self.peephole {
                Some(all) => Some(self.part(n, all, d, &[0, 2, 1])?),
                None => None,
            };
            weights.push((ih, hh, bias, peephole));
        }
        let direction = ["forward", "reverse", "bidirectional"][if count == 2 { 2 } else { self.reversed[0].into() }];
        let (ih, hh, bias, peephole) = &weights[0];
        let mut call = mb::lstm(&self.x, &initial[0], &initial[1], ih, hh).direction(direction);
        if let Some(bias) = bias {
            call = call.bias(bias);
        }
        if let Some(peephole) = peephole {
            call = call.peephole(peephole);
        }
        if let Some((ih, hh, bias, peephole)) = weights.get(1) {
            call = call.weight_ih_back(ih).weight_hh_back(hh);
            if let Some(bias) = bias {
                call = call.bias_back(bias);
            }
            if let Some(peephole) = peephole {
                call = call.peephole_back(peephole);
            }
        }
        let names: Vec<&str> = self.activations[0].iter().filter_map(Activation::native).collect();
        if let [gates, cell, out] = names[..] {
            call = call.recurrent_activation(gates).cell_activation(cell).activation(out);
        }
        let (states, h, c) = n.push(call.output_sequence(sequence))?;
        // What walks from the end gives the last step first, but not beside what walks from the start.
        let states = if direction == "reverse" { n.push(mb::reverse(&states).axes([0]))? } else { states };
        let width = self.hidden as i64;
        (0..count as i64)
            .map(|d| {
                let mut part = |x: &Value| match count {
                    1 => Ok(x.clone()),
                    _ => n.last(x, d * width, (d + 1) * width, 1),
                };
                let states = if sequence { Some(part(&states)?) } else { None };
                Ok(Walked { states, last: vec![part(&h)?, part(&c)?] })
            })
            .collect()
    }

    /// MIL's `gru` and `rnn`.
    fn one_way(&self, n: &mut Node<'_, '_>, d: usize, sequence: bool) -> Result<Walked, Refusal> {
        // Update, reset, hidden there; reset, hidden, update here.
        let order: &[i64] = if self.kind == Kind::Gru { &[1, 2, 0] } else { &[0] };
        let (ih, hh) = (self.part(n, &self.weight, d, order)?, self.part(n, &self.recurrent, d, order)?);
        let biases = self.biases(n, d, order)?;
        let initial = self.initial(n, 0, d)?;
        let direction = if self.reversed[d] { "reverse" } else { "forward" };
        let names: Vec<&str> = self.activations[d].iter().filter_map(Activation::native).collect();
        let (states, last) = if self.kind == Kind::Gru {
            let mut call = mb::gru(&self.x, &initial, &ih, &hh).direction(direction).output_sequence(sequence);
            if let [gates, out] = names[..] {
                call = call.recurrent_activation(gates).activation(out);
            }
            match biases {
                Some([input, state]) if self.linear_before_reset => {
                    call = call.bias(&state).input_bias(&input).reset_after(true);
                }
                Some([input, state]) => call = call.bias(&n.push(mb::add(&input, &state))?),
                None if self.linear_before_reset => call = call.reset_after(true),
                None => {}
            }
            n.push(call)?
        } else {
            let mut call = mb::rnn(&self.x, &initial, &ih, &hh).direction(direction).output_sequence(sequence);
            if let [out] = names[..] {
                call = call.activation(out);
            }
            if let Some([input, state]) = biases {
                call = call.bias(&n.push(mb::add(&input, &state))?);
            }
            n.push(call)?
        };
        let states = match sequence {
            true if self.reversed[d] => Some(n.push(mb::reverse(&states).axes([0]))?),
            true => Some(states),
            false => None,
        };
        Ok(Walked { states, last: vec![last] })
    }

    /// Step by step, in other ops.
    fn unrolled(&self, n: &mut Node<'_, '_>, d: usize, steps: usize) -> Result<Walked, Refusal> {
        let order: Vec<i64> = (0..self.kind.gates() as i64).collect();
        let weight = self.part(n, &self.weight, d, &order)?;
        let recurrent = self.part(n, &self.recurrent, d, &order)?;
        let biases = self.biases(n, d, &order)?;
        let mut inputs = n.push(mb::matmul(&self.x, &weight).transpose_y(true))?;
        let mut state_bias = None;
        if let Some([input, state]) = biases {
            inputs = n.push(mb::add(&inputs, &input))?;
            if self.linear_before_reset {
                state_bias = Some(state);
            } else {
                inputs = n.push(mb::add(&inputs, &state))?;
            }
        }
        let peephole = match &self.peephole {
            Some(all) => Some(self.part(n, all, d, &[0, 1, 2])?),
            None => None,
        };
        let direction = Direction {
            kind: self.kind,
            hidden: self.hidden,
            recurrent,
            state_bias,
            peephole,
            activations: self.activations[d].clone(),
            clip: self.clip,
            linear_before_reset: self.linear_before_reset,
            input_forget: self.input_forget,
        };
        let mut state = vec![self.initial(n, 0, d)?];
        if self.kind == Kind::Lstm {
            state.push(self.initial(n, 1, d)?);
        }
        let order: Vec<usize> = if self.reversed[d] { (0..steps).rev().collect() } else { (0..steps).collect() };
        let walked = direction.walk(n, &inputs, state, &order, self.lengths.as_ref())?;
        let Steps { mut states, last } = walked;
        if states.is_empty() {
            return Err(Refusal::new("its input has no steps"));
        }
        if self.reversed[d] {
            states.reverse();
        }
        let states = n.push(mb::stack(states, 0))?;
        Ok(Walked { states: Some(states), last })
    }
}

#[cfg(test)]
mod tests {
    use mil_core::types::DType::F32;

    use crate::onnx::{
        proto::AttributeProto,
        testing::{Net, int, string},
    };

    fn layer(op: &str, gates: usize, steps: i64, more: &[AttributeProto]) -> Vec<&'static str> {
        let net = Net::new(18).input("x", F32, &[steps, 2, 3]).ones("b", &[1, gates * 8]);
        let net = net.ones("w", &[1, gates * 4, 3]).ones("r", &[1, gates * 4, 4]);
        net.node(op, "x w r b", "y", &[&[int("hidden_size", 4)], more].concat()).ops("y")
    }

    #[test]
    fn layers_with_constant_weights_are_one_op() {
        assert_eq!(layer("LSTM", 4, -1, &[]), ["lstm", "expand_dims"]);
        assert_eq!(layer("GRU", 3, 5, &[]), ["gru", "expand_dims"]);
        assert_eq!(layer("RNN", 1, 5, &[string("direction", "reverse")]), ["rnn", "reverse", "expand_dims"]);
        // Torch's kind of GRU is in iOS18, and is not said step by step where steps are many.
        assert_eq!(layer("GRU", 3, 1000, &[int("linear_before_reset", 1)]), ["gru", "expand_dims"]);
    }

    #[test]
    fn computed_weights_are_for_few_steps() {
        let net = |steps| {
            let net = Net::new(18).input("x", F32, &[steps, 2, 3]).input("w", F32, &[1, 4, 3]).ones("r", &[1, 4, 4]);
            net.node("RNN", "x w r", "y", &[int("hidden_size", 4)])
        };
        assert!(net(3).ops("y").contains(&"tanh"));
        let refusal = net(1000).refusal("y");
        assert!(refusal.contains("--constant w=.."), "{refusal}");
    }
}
