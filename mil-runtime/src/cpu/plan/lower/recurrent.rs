//! Recurrent layers: what depends on no state is one product for all steps; then each step is a product and what the gates do.

use std::sync::Arc;

use mil_core::{
    op::{Arg, Op},
    ops::recurrent::{Direction, GateActivation, Gru, Lstm, Rnn},
    types::DType,
};

use super::{
    super::{
        build::{Builder, Joined, Want},
        nodes::Node,
        step::{Machine, Work},
        tensor::{Layout, Tensor},
    },
    Packed,
    epilogue::padded,
    is_float, matmul,
};
use crate::cpu::kernels::{
    epilogue::{Epilogue, Residual},
    gemm::Gemm,
    offsets::Offsets,
    panels::{Panels, Source},
    recurrent::{self, Output, Rows, RowsMut, Sizes},
};

/// Plans a recurrent layer.
pub(super) fn lower(b: &mut Builder<'_>, node: &Node) -> Option<()> {
    let args = &node.args;
    match args.def.name {
        "lstm" => lstm(b, node, &Lstm::bind(args).ok()?),
        "gru" => gru(b, node, &Gru::bind(args).ok()?),
        "rnn" => rnn(b, node, &Rnn::bind(args).ok()?),
        _ => None,
    }
}

/// What is done with the gates' sums.
enum Kind {
    Lstm {
        recurrent_activation: GateActivation,
        cell_activation: GateActivation,
        activation: GateActivation,
        clip: f32,
    },
    /// With the bias of the recurrent sums, if the reset gate comes after the product.
    Gru {
        gates: recurrent::Gru,
        after: Option<Vec<f32>>,
    },
    Rnn(GateActivation),
}

impl Kind {
    fn gates(&self) -> usize {
        match self {
            Kind::Lstm { .. } => 4,
            Kind::Gru { .. } => 3,
            Kind::Rnn(_) => 1,
        }
    }
}

/// One direction.
struct Way {
    /// The matrix of all gates; of a `gru`, also that of the output gate.
    weights: Arc<[Panels]>,
    peephole: Option<Vec<f32>>,
    backward: bool,
}

/// Rows of an input.
struct Start {
    offset: usize,
    stride: usize,
}

/// A layer whose inputs are, for each direction, the part of the sums that depends on no state, then the initial states.
///
/// In its buffer are all states if they are wanted, the last states, the last cells of an `lstm`, and what steps leave to each other.
struct Layer {
    kind: Kind,
    ways: Vec<Way>,
    steps: usize,
    sizes: Sizes,
    sequence: bool,
    half: bool,
    starts: Vec<Start>,
    /// Rows of the state, and of the gates' sums.
    state_rows: Offsets,
    gate_rows: Offsets,
    once: Offsets,
}

impl Layer {
    fn width(&self) -> usize {
        self.ways.len() * self.sizes.hidden
    }

    /// How long the parts of the buffer are: all states, last states, last cells; the state, the cell, the sums, what is kept of the state,
    /// its products.
    fn parts(&self) -> Option<[usize; 8]> {
        let Sizes { batch, hidden } = self.sizes;
        let (last, state) = (batch.checked_mul(self.width())?, batch * hidden);
        let all = if self.sequence { last.checked_mul(self.steps)? } else { 0 };
        let cell = matches!(self.kind, Kind::Lstm { .. });
        let kept = if matches!(self.kind, Kind::Gru { after: None, .. }) { state } else { 0 };
        let gates = state.checked_mul(self.kind.gates())?;
        Some([all, last, if cell { last } else { 0 }, state, if cell { state } else { 0 }, gates, kept, kept])
    }

    fn multiply(&self, m: Machine<'_>, x: &[f32], w: &Panels, y_rows: &Offsets, epilogue: Epilogue<'_>, y: &mut [f32]) {
        let (rows, y_rows) = (self.state_rows.rows(), y_rows.rows());
        let gemm = Gemm { x, rows, runs: &self.once, len: self.sizes.hidden, w, y_rows, epilogue };
        gemm.run(m.isa, m.threads, y);
    }
}

impl Work for Layer {
    fn run(&self, m: Machine<'_>, out: &mut [f32], inputs: &[&[f32]]) {
        let Sizes { batch, hidden } = self.sizes;
        let (width, gates) = (self.width(), self.kind.gates() * hidden);
        let mut rest = out;
        let parts = self.parts().unwrap_or_default().map(|len| {
            let (part, after) = std::mem::take(&mut rest).split_at_mut(len);
            rest = after;
            part
        });
        let [states, last, last_cells, h, c, sums, kept, products] = parts;
        for (d, way) in self.ways.iter().enumerate() {
            let initial = self.starts.iter().zip(&inputs[self.ways.len()..]);
            for ((start, from), to) in initial.zip([&mut *h, &mut *c]) {
                for (row, to) in to.chunks_exact_mut(hidden).enumerate() {
                    to.copy_from_slice(&from[start.offset + row * start.stride + d * hidden..][..hidden]);
                }
            }
            for i in 0..self.steps {
                let step = if way.backward { self.steps - 1 - i } else { i };
                // Side by side they are in the order of the steps.
                let place = if self.ways.len() == 2 { step } else { i };
                let output = self.sequence.then(|| Output {
                    rows: RowsMut { numbers: &mut states[place * batch * width + d * hidden..], stride: width },
                    half: self.half,
                });
                let before = &inputs[d][step * batch * gates..][..batch * gates];
                let residual = Some(Residual { data: before, at: &self.gate_rows });
                let fixed = Rows { numbers: before, stride: gates };
                match &self.kind {
                    Kind::Lstm { recurrent_activation, cell_activation, activation, clip } => {
                        let epilogue = Epilogue { residual, ..Epilogue::default() };
                        self.multiply(m, h, &way.weights[0], &self.gate_rows, epilogue, sums);
                        let lstm = recurrent::Lstm {
                            recurrent_activation: *recurrent_activation,
                            cell_activation: *cell_activation,
                            activation: *activation,
                            peephole: way.peephole.as_deref(),
                            clip: *clip,
                        };
                        let sums = Rows { numbers: sums, stride: gates };
                        lstm.step(m.isa, m.threads, self.sizes, sums, c, h, output);
                    }
                    Kind::Gru { gates: gru, after } => {
                        let epilogue = Epilogue { bias: after.as_deref(), ..Epilogue::default() };
                        self.multiply(m, h, &way.weights[0], &self.gate_rows, epilogue, sums);
                        let sums = Rows { numbers: sums, stride: gates };
                        if after.is_none() {
                            let (state, to) =
                                (Rows { numbers: h, stride: hidden }, RowsMut { numbers: kept, stride: hidden });
                            gru.reset(m.isa, m.threads, self.sizes, fixed, sums, state, to);
                            let plain = Epilogue::default();
                            self.multiply(m, kept, &way.weights[1], &self.state_rows, plain, products);
                        }
                        let products = after.is_none().then_some(Rows { numbers: products, stride: hidden });
                        gru.step(m.isa, m.threads, self.sizes, fixed, sums, products, h, output);
                    }
                    Kind::Rnn(activation) => {
                        let epilogue = Epilogue { residual, ..Epilogue::default() };
                        self.multiply(m, h, &way.weights[0], &self.gate_rows, epilogue, sums);
                        let sums = Rows { numbers: sums, stride: gates };
                        recurrent::rnn_step(m.isa, m.threads, *activation, self.sizes, sums, h, output);
                    }
                }
            }
            for (to, from) in [(&mut *last, &*h), (&mut *last_cells, &*c)] {
                for (to, from) in to.chunks_exact_mut(width).zip(from.chunks_exact(hidden)) {
                    let to = &mut to[d * hidden..][..hidden];
                    match self.half {
                        true => to.iter_mut().zip(from).for_each(|(t, f)| *t = half::f16::from_f32(*f).to_f32()),
                        false => to.copy_from_slice(from),
                    }
                }
            }
        }
    }
}

/// The arguments of one direction.
struct Given<'a> {
    ih: &'a Arg,
    hh: &'a Arg,
    /// Added to the part that depends on no state.
    biases: Vec<&'a Arg>,
    peephole: Option<&'a Arg>,
    backward: bool,
}

/// What the ops have in common.
struct Common<'a> {
    x: &'a Arg,
    initial: Vec<&'a Arg>,
    ways: Vec<Given<'a>>,
    sequence: bool,
}

fn numbers(b: &Builder<'_>, arg: &Arg) -> Option<Vec<f32>> {
    Some(b.constant(arg)?.to_f32().ok()?.into_owned())
}

/// The recurrent matrices, as f32: they are read at each step.
fn packed(b: &Builder<'_>, hh: &Arg, kind: &Kind) -> Option<Arc<[Panels]>> {
    let weight = b.constant(hh)?;
    let ([width, hidden], numbers) = (weight.shape()[..].try_into().ok()?, weight.to_f32().ok()?);
    let by = b.planner.packer();
    let source = Source { inner: hidden, tap: 0, row: 1, column: hidden };
    let gru = matches!(kind, Kind::Gru { .. });
    let make = || {
        let mut panels = vec![Panels::f32(by, hidden, width, &numbers, source)];
        if gru {
            let output = &numbers[hidden * hidden..][..hidden * hidden];
            panels.push(Panels::f32(by, hidden, hidden, output, source));
        }
        Some(Packed::Panels(panels.into()))
    };
    match b.planner.packed(hh.id, if gru { "gru" } else { "recurrent" }, make)? {
        Packed::Panels(panels) => Some(panels),
        _ => unreachable!("packed under another name"),
    }
}

fn layer(b: &mut Builder<'_>, node: &Node, kind: Kind, common: &Common<'_>) -> Option<()> {
    let dtype = node.types[0].0;
    let (sizes, state) = (common.x.ty.shape.fixed()?, node.types.get(1)?.1.clone());
    if !is_float(dtype) || !is_float(common.x.dtype()) || sizes.contains(&0) || state.contains(&0) {
        return None;
    }
    let ([steps, batch, _], [_, width]) = (sizes[..].try_into().ok()?, state[..].try_into().ok()?);
    let hidden = width / common.ways.len();
    let gates = kind.gates() * hidden;
    // All that may not be had before anything is emitted.
    let (mut ways, mut biases) = (vec![], vec![]);
    for way in &common.ways {
        let mut bias = vec![0.0; gates];
        for given in &way.biases {
            bias.iter_mut().zip(numbers(b, given)?).for_each(|(sum, b)| *sum += b);
        }
        biases.push(bias);
        let peephole = match way.peephole {
            Some(p) => Some(numbers(b, p)?),
            None => None,
        };
        b.constant(way.ih)?;
        ways.push(Way { weights: packed(b, way.hh, &kind)?, peephole, backward: way.backward });
    }
    let rows = |stride: usize| Offsets::new((0..batch).map(|n| n * stride));
    let mut layer = Layer {
        kind,
        ways,
        steps,
        sizes: Sizes { batch, hidden },
        sequence: common.sequence,
        half: dtype == DType::F16,
        starts: vec![],
        state_rows: rows(hidden)?,
        gate_rows: rows(gates)?,
        once: Offsets::new([0])?,
    };
    let parts = layer.parts()?;
    let total = parts.iter().try_fold(0usize, |sum, n| sum.checked_add(*n))?;
    let projected = [steps, batch, gates];
    Layout::plain(3).len(&projected)?;
    let mut starts = vec![];
    for arg in &common.initial {
        starts.push(b.tensor(arg.id?, &Want::Rows)?);
    }
    let within = Joined { dtype: DType::F32, stages: vec![], ops: vec![node.op] };
    let mut reads = vec![];
    for (way, bias) in common.ways.iter().zip(biases) {
        let to = b.new_tensor(&projected, &Layout::plain(3));
        matmul::project(b, common.x.id?, way.ih, bias, &to, &within)?;
        reads.push(to.buffer);
    }
    for t in &starts {
        layer.starts.push(Start { offset: t.offset, stride: t.strides[0] });
        reads.push(t.buffer);
    }
    let buffer = b.new_tensor(&[total], &Layout::plain(1));
    let joined = Joined { dtype, ..within };
    let at = |offset: usize, shape: &[usize]| {
        let t = Layout::plain(shape.len()).tensor(buffer.buffer, shape);
        Tensor { offset, ..t }
    };
    let (last, cells) = (parts[0], parts[0] + parts[1]);
    let outputs = [if common.sequence { 0 } else { last }, last, cells];
    let outputs: Vec<Tensor> = node.types.iter().zip(outputs).map(|((_, shape), first)| at(first, shape)).collect();
    b.kernel(&joined, "recurrent", &buffer, reads, layer);
    for (i, t) in outputs.into_iter().enumerate() {
        b.set(node, i, t);
    }
    Some(())
}

fn lstm(b: &mut Builder<'_>, node: &Node, op: &Lstm) -> Option<()> {
    let clip = op.clip.unwrap_or(f32::INFINITY);
    // A limit that is none is for the reference.
    if clip.is_nan() || clip < 0.0 {
        return None;
    }
    let mut ways = vec![Given {
        ih: &op.weight_ih,
        hh: &op.weight_hh,
        biases: op.bias.iter().collect(),
        peephole: op.peephole.as_ref(),
        backward: op.direction == Direction::Reverse,
    }];
    if let Some([ih, hh]) = op.back().ok()? {
        let (biases, peephole) = (op.bias_back.iter().collect(), op.peephole_back.as_ref());
        ways.push(Given { ih, hh, biases, peephole, backward: true });
    }
    let kind = Kind::Lstm {
        recurrent_activation: op.recurrent_activation,
        cell_activation: op.cell_activation,
        activation: op.activation,
        clip,
    };
    let initial = vec![&op.initial_h, &op.initial_c];
    layer(b, node, kind, &Common { x: &op.x, initial, ways, sequence: op.output_sequence })
}

fn gru(b: &mut Builder<'_>, node: &Node, op: &Gru) -> Option<()> {
    let after = op.reset_after == Some(true);
    let mut biases: Vec<&Arg> = op.input_bias.iter().collect();
    let inner = match &op.bias {
        Some(bias) if after => numbers(b, bias)?,
        Some(bias) => {
            biases.push(bias);
            vec![]
        }
        None => vec![0.0; if after { op.weight_hh.ty.shape.fixed()?.first().copied()? } else { 0 }],
    };
    let gates = recurrent::Gru { recurrent_activation: op.recurrent_activation, activation: op.activation };
    let kind = Kind::Gru { gates, after: after.then(|| padded(&inner)) };
    let backward = op.direction == Direction::Reverse;
    let ways = vec![Given { ih: &op.weight_ih, hh: &op.weight_hh, biases, peephole: None, backward }];
    layer(b, node, kind, &Common { x: &op.x, initial: vec![&op.initial_h], ways, sequence: op.output_sequence })
}

fn rnn(b: &mut Builder<'_>, node: &Node, op: &Rnn) -> Option<()> {
    let (biases, backward) = (op.bias.iter().collect(), op.direction == Direction::Reverse);
    let ways = vec![Given { ih: &op.weight_ih, hh: &op.weight_hh, biases, peephole: None, backward }];
    let initial = vec![&op.initial_h];
    layer(b, node, Kind::Rnn(op.activation), &Common { x: &op.x, initial, ways, sequence: op.output_sequence })
}

#[cfg(test)]
mod tests {
    use mil_core::{graph::Value, mb, types::DType};
    use proptest::prelude::*;

    use super::super::super::testing::{Case, rounding};
    use crate::tensor::AnyTensor;

    const ACTIVATIONS: [&str; 6] = ["hard_sigmoid", "linear", "relu", "scaled_tanh", "sigmoid", "tanh"];

    /// Small numbers, so that states stay small.
    fn small(c: &mut Case, dtype: DType, shape: &[usize]) -> Value {
        let numbers = c.numbers(shape.iter().product()).into_iter().map(|v| v / 8.0).collect();
        let tensor = AnyTensor::from_f32(dtype, shape, numbers).unwrap();
        c.fixed(&tensor)
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 32, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn lstms(
            (steps, batch, inputs, hidden) in (1usize..5, 1usize..4, 1usize..20, 1usize..20), direction in 0usize..3, sequence in any::<bool>(),
            acts in prop::array::uniform3(0usize..6), given in 0usize..8, half in any::<bool>(), seed in any::<u64>(),
        ) {
            let dtype = if half { DType::F16 } else { DType::F32 };
            let mut c = Case::new(seed);
            let both = direction == 2;
            let width = if both { 2 * hidden } else { hidden };
            let x = c.input(dtype, &[steps, batch, inputs]);
            let (h, cell) = (c.input(dtype, &[batch, width]), c.input(dtype, &[batch, width]));
            let (ih, hh) = (small(&mut c, dtype, &[4 * hidden, inputs]), small(&mut c, dtype, &[4 * hidden, hidden]));
            let mut call = mb::lstm(&x, &h, &cell, &ih, &hh).direction(["forward", "reverse", "bidirectional"][direction]);
            call = call.output_sequence(sequence).recurrent_activation(ACTIVATIONS[acts[0]]);
            call = call.cell_activation(ACTIVATIONS[acts[1]]).activation(ACTIVATIONS[acts[2]]);
            if given & 1 == 1 {
                let bias = small(&mut c, dtype, &[4 * hidden]);
                call = call.bias(&bias);
            }
            if given & 2 == 2 {
                let peephole = small(&mut c, dtype, &[3 * hidden]);
                call = call.peephole(&peephole);
            }
            if given & 4 == 4 {
                call = call.clip(0.5);
            }
            if both {
                let (ih, hh) = (small(&mut c, dtype, &[4 * hidden, inputs]), small(&mut c, dtype, &[4 * hidden, hidden]));
                let (bias, peephole) = (small(&mut c, dtype, &[4 * hidden]), small(&mut c, dtype, &[3 * hidden]));
                call = call.weight_ih_back(&ih).weight_hh_back(&hh).bias_back(&bias).peephole_back(&peephole);
            }
            let (a, b, d) = c.graph.push(call).unwrap();
            let a = c.graph.push(mb::relu(&a)).unwrap();
            c.agrees(vec![a, b, d], 2.0 * rounding(dtype), &[]).unwrap();
        }

        #[test]
        fn grus_and_rnns(
            (steps, batch, inputs, hidden) in (1usize..5, 1usize..4, 1usize..20, 1usize..20), reverse in any::<bool>(), sequence in any::<bool>(),
            acts in prop::array::uniform3(0usize..6), given in 0usize..4, after in any::<bool>(), half in any::<bool>(), seed in any::<u64>(),
        ) {
            let dtype = if half { DType::F16 } else { DType::F32 };
            let mut c = Case::new(seed);
            let direction = if reverse { "reverse" } else { "forward" };
            let x = c.input(dtype, &[steps, batch, inputs]);
            let h = c.input(dtype, &[batch, hidden]);
            // Lying otherwise.
            let t = c.input(dtype, &[hidden, batch]);
            let t = c.graph.push(mb::transpose(&t, [1, 0])).unwrap();
            let (ih, hh) = (small(&mut c, dtype, &[3 * hidden, inputs]), small(&mut c, dtype, &[3 * hidden, hidden]));
            let mut call = mb::gru(&x, &t, &ih, &hh).direction(direction).output_sequence(sequence).reset_after(after);
            call = call.recurrent_activation(ACTIVATIONS[acts[0]]).activation(ACTIVATIONS[acts[1]]);
            let (ih, hh) = (small(&mut c, dtype, &[hidden, inputs]), small(&mut c, dtype, &[hidden, hidden]));
            let mut plain = mb::rnn(&x, &h, &ih, &hh).direction(direction).output_sequence(sequence).activation(ACTIVATIONS[acts[2]]);
            if given & 1 == 1 {
                let (wide, narrow) = (small(&mut c, dtype, &[3 * hidden]), small(&mut c, dtype, &[hidden]));
                (call, plain) = (call.bias(&wide), plain.bias(&narrow));
            }
            if given & 2 == 2 {
                let bias = small(&mut c, dtype, &[3 * hidden]);
                call = call.input_bias(&bias);
            }
            let (a, b) = c.graph.push(call).unwrap();
            let (d, e) = c.graph.push(plain).unwrap();
            c.agrees(vec![a, b, d, e], 2.0 * rounding(dtype), &[]).unwrap();
        }
    }
}
