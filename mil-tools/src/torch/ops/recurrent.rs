//! Recurrent layers, with weights that are constants.

use mil_core::{
    graph::Value,
    mb,
    types::{DType, Opset},
};

use super::{Entry, Lowered, Node};
use crate::import::{Refusal, Tensor};

const LIMITS: &str = "in `eval()` mode, of sequences of one length, with weights that are constants";

pub(super) const OPS: &[Entry] = &[
    Entry::new("aten::gru", |n| layers(n, Cell::Gru))
        .but("from iOS18 on; in `eval()` mode, of sequences of one length, with weights that are constants"),
    Entry::new("aten::lstm", |n| layers(n, Cell::Lstm)).but(LIMITS),
    Entry::new("aten::rnn_relu", |n| layers(n, Cell::Rnn("relu"))).but(LIMITS),
    Entry::new("aten::rnn_tanh", |n| layers(n, Cell::Rnn("tanh"))).but(LIMITS),
];

#[derive(Clone, Copy, PartialEq, Eq)]
enum Cell {
    Lstm,
    Gru,
    Rnn(&'static str),
}

impl Cell {
    /// How many gates there are.
    fn gates(self) -> usize {
        match self {
            Cell::Lstm => 4,
            Cell::Gru => 3,
            Cell::Rnn(_) => 1,
        }
    }

    /// In which order MIL wants the rows of PyTorch's gates: i f g o, r z n.
    fn order(self) -> &'static [usize] {
        match self {
            Cell::Lstm => &[0, 1, 3, 2],
            Cell::Gru => &[0, 2, 1],
            Cell::Rnn(_) => &[0],
        }
    }
}

/// The weights of one direction of one layer.
struct Weights {
    input: Value,
    hidden: Value,
    input_bias: Option<Value>,
    hidden_bias: Option<Value>,
}

fn layers(n: &mut Node<'_, '_>, cell: Cell) -> Lowered {
    if n.named("batch_sizes") || n.named("data") {
        return Err(Refusal::new("is of packed sequences").remedy("give it padded sequences of one length"));
    }
    let x = n.float_tensor(0, "input")?;
    if x.dtype == DType::F16 {
        n.needs(Opset::iOS17, "a recurrent layer of f16")?;
    }
    if cell == Cell::Gru {
        n.needs(Opset::iOS18, "a GRU as PyTorch defines it, whose reset gate comes after the product,")?;
    }
    let states = n.tensors(1, "hx")?;
    let mut params = n.tensors(2, "params")?.into_iter();
    let biases = n.bool_or(3, "has_biases", true)?;
    let count = n.int(4, "num_layers")?;
    if n.bool_or(6, "train", false)? && n.float_or(5, "dropout", 0.0)? > 0.0 {
        return Err(Refusal::new("leaves out elements by chance").remedy("export the module in `eval()` mode"));
    }
    let both = n.bool_or(7, "bidirectional", false)?;
    let batch_first = n.bool_or(8, "batch_first", false)?;
    if x.rank() != 3 {
        return Err(Refusal::new(format!("its input has rank {}, not 3", x.rank())));
    }
    let directions = if both { 2 } else { 1 };
    let mut y = if batch_first { n.transpose(&x.value, &[1, 0, 2])? } else { x.value.clone() };
    let (mut last_h, mut last_c) = (vec![], vec![]);
    for layer in 0..count as usize {
        let mut weights = vec![];
        for _ in 0..directions {
            weights.push(weights_of(n, cell, &mut params, biases)?);
        }
        let at = layer * directions;
        let mut initial = vec![];
        for state in &states {
            let mut own = vec![];
            for d in 0..directions {
                let part = super::slice::range(n, &state.value, 0, (at + d) as i64, (at + d) as i64 + 1)?;
                own.push(n.squeeze(&part, &[0])?);
            }
            initial.push(own);
        }
        if initial.is_empty() || cell == Cell::Lstm && initial.len() < 2 {
            return Err(Refusal::new("its initial state is missing"));
        }
        y = if cell == Cell::Lstm {
            let (out, h, c) = lstm(n, &y, &initial, &weights)?;
            last_h.extend(parts(n, &h, directions)?);
            last_c.extend(parts(n, &c, directions)?);
            out
        } else {
            let mut outs = vec![];
            for (d, w) in weights.iter().enumerate() {
                let direction = if d == 0 { "forward" } else { "reverse" };
                let (out, h) = simple(n, cell, &y, &initial[0][d], w, direction)?;
                // Backwards, MIL gives the states in the order in which they come.
                outs.push(if d == 0 { out } else { n.push(mb::reverse(&out).axes([0]))? });
                last_h.push(h);
            }
            if outs.len() == 1 { outs.remove(0) } else { n.push(mb::concat(outs, 2))? }
        };
    }
    if batch_first {
        y = n.transpose(&y, &[1, 0, 2])?;
    }
    let mut given = vec![Tensor::new(y, x.dtype).into()];
    let states = if cell == Cell::Lstm { vec![last_h, last_c] } else { vec![last_h] };
    for (i, state) in states.into_iter().enumerate() {
        if n.uses(i + 1) {
            given.push(Tensor::new(n.push(mb::stack(state, 0))?, x.dtype).into());
        } else {
            given.push(crate::torch::val::Val::None);
        }
    }
    Ok(given)
}

/// The last states of the directions, which lie side by side.
fn parts(n: &mut Node<'_, '_>, state: &Value, directions: usize) -> Result<Vec<Value>, Refusal> {
    if directions == 1 {
        return Ok(vec![state.clone()]);
    }
    n.push(mb::split(state, 1).num_splits(directions as i64))
}

fn weights_of(
    n: &mut Node<'_, '_>,
    cell: Cell,
    params: &mut impl Iterator<Item = Tensor>,
    biases: bool,
) -> Result<Weights, Refusal> {
    let mut next = |n: &mut Node<'_, '_>| {
        let t = params.next().ok_or_else(|| Refusal::new("has too few weights"))?;
        if t.constant().is_none() {
            return Err(Refusal::new("its weights are computed, and MIL wants constants")
                .remedy("make them parameters of the module"));
        }
        ordered(n, cell, &t)
    };
    let (input, hidden) = (next(n)?, next(n)?);
    let (input_bias, hidden_bias) = if biases { (Some(next(n)?), Some(next(n)?)) } else { (None, None) };
    Ok(Weights { input, hidden, input_bias, hidden_bias })
}

/// The rows of the gates in MIL's order.
fn ordered(n: &mut Node<'_, '_>, cell: Cell, t: &Tensor) -> Result<Value, Refusal> {
    if cell.gates() == 1 {
        return Ok(t.value.clone());
    }
    let gates: Vec<Value> = n.push(mb::split(&t.value, 0).num_splits(cell.gates() as i64))?;
    let turned: Vec<Value> = cell.order().iter().map(|g| gates[*g].clone()).collect();
    n.push(mb::concat(turned, 0))
}

fn sum(n: &mut Node<'_, '_>, w: &Weights) -> Result<Option<Value>, Refusal> {
    match (&w.input_bias, &w.hidden_bias) {
        (Some(a), Some(b)) => Ok(Some(n.push(mb::add(a, b))?)),
        _ => Ok(None),
    }
}

fn lstm(
    n: &mut Node<'_, '_>,
    x: &Value,
    initial: &[Vec<Value>],
    weights: &[Weights],
) -> Result<(Value, Value, Value), Refusal> {
    let side = |n: &mut Node<'_, '_>, parts: &[Value]| match parts {
        [one] => Ok(one.clone()),
        many => n.push(mb::concat(many.to_vec(), 1)),
    };
    let (h, c) = (side(n, &initial[0])?, side(n, &initial[1])?);
    let mut call = mb::lstm(x, &h, &c, &weights[0].input, &weights[0].hidden).output_sequence(true);
    if let Some(bias) = sum(n, &weights[0])? {
        call = call.bias(&bias);
    }
    if let Some(back) = weights.get(1) {
        call = call.direction("bidirectional").weight_ih_back(&back.input).weight_hh_back(&back.hidden);
        if let Some(bias) = sum(n, back)? {
            call = call.bias_back(&bias);
        }
    }
    n.push(call)
}

/// A direction of a GRU or a simple layer.
fn simple(
    n: &mut Node<'_, '_>,
    cell: Cell,
    x: &Value,
    h: &Value,
    w: &Weights,
    direction: &str,
) -> Result<(Value, Value), Refusal> {
    match cell {
        Cell::Rnn(activation) => {
            let mut call = mb::rnn(x, h, &w.input, &w.hidden).output_sequence(true).activation(activation);
            if let Some(bias) = sum(n, w)? {
                call = call.bias(&bias);
            }
            n.push(call.direction(direction))
        }
        _ => {
            let mut call = mb::gru(x, h, &w.input, &w.hidden).output_sequence(true).reset_after(true);
            if let (Some(input), Some(hidden)) = (&w.input_bias, &w.hidden_bias) {
                call = call.bias(hidden).input_bias(input);
            }
            n.push(call.direction(direction))
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::torch::testing::Net;

    #[test]
    fn a_layer_is_one_op() {
        let net = |call: &str| {
            let net = Net::new().input("x", &[5, 1, 3]).ones("h", &[1, 1, 2]).ones("wi", &[8, 3]).ones("wh", &[8, 2]);
            net.node(&format!("y, hn, cn = aten::lstm({call})"))
        };
        assert_eq!(net("x, [h, h], [wi, wh], False, 1, 0.0, False, False, False").ops("y"), ["lstm"]);
        for (call, message) in [
            ("x, [h, h], [wi, wh], False, 1, 0.5, True, False, False", "leaves out elements by chance"),
            ("x, [h], [wi, wh], False, 1, 0.0, False, False, False", "its initial state is missing"),
            ("x, [h, h], [wi], False, 1, 0.0, False, False, False", "has too few weights"),
            ("x, [h, h], [wi, x], False, 1, 0.0, False, False, False", "MIL wants constants"),
        ] {
            let e = net(call).refusal("y");
            assert!(e.contains(message), "{call}: {e}");
        }
    }
}
