//! Recurrent layers step by step, for what MIL's ops do not have.

use mil_core::{graph::Value, mb, types::DType};

use super::Node;
use crate::import::Refusal;

/// Which recurrent layer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    Rnn,
    Lstm,
    Gru,
}

impl Kind {
    /// How many matrices stand one below the other.
    pub(super) fn gates(self) -> usize {
        match self {
            Kind::Rnn => 1,
            Kind::Lstm => 4,
            Kind::Gru => 3,
        }
    }

    /// The activations of a direction where the node does not say any.
    fn activations(self) -> &'static [&'static str] {
        match self {
            Kind::Rnn => &["tanh"],
            Kind::Lstm => &["sigmoid", "tanh", "tanh"],
            Kind::Gru => &["sigmoid", "tanh"],
        }
    }
}

/// An activation; its name in lower case, and its numbers.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Activation {
    name: &'static str,
    alpha: f32,
    beta: f32,
}

/// Names, and the numbers that each has where the node does not say any (source: ONNX, the op of that name).
const ACTIVATIONS: &[(&str, Option<f32>, Option<f32>)] = &[
    ("affine", Some(1.0), Some(0.0)),
    ("elu", Some(1.0), None),
    ("hardsigmoid", Some(0.2), Some(0.5)),
    ("leakyrelu", Some(0.01), None),
    ("relu", None, None),
    ("scaledtanh", Some(1.0), Some(1.0)),
    ("sigmoid", None, None),
    ("softplus", None, None),
    ("softsign", None, None),
    ("tanh", None, None),
    ("thresholdedrelu", Some(1.0), None),
];

impl Activation {
    /// The activations of each direction. Numbers are given to those that have some, in order.
    pub(super) fn read(n: &Node<'_, '_>, kind: Kind, directions: usize) -> Result<Vec<Vec<Activation>>, Refusal> {
        let each = kind.activations();
        let default = || each.iter().cycle().take(each.len() * directions).map(|s| s.to_string()).collect();
        let names: Vec<String> = n.strings_attr("activations")?.filter(|a| !a.is_empty()).unwrap_or_else(default);
        if names.len() != each.len() * directions {
            let wanted = each.len() * directions;
            return Err(Refusal::new(format!("it has {} activations where it takes {wanted}", names.len())));
        }
        let mut alphas = n.floats_attr("activation_alpha")?.unwrap_or_default().into_iter();
        let mut betas = n.floats_attr("activation_beta")?.unwrap_or_default().into_iter();
        let mut all = vec![];
        for name in &names {
            let lower = name.to_ascii_lowercase();
            let Some((name, alpha, beta)) = ACTIVATIONS.iter().find(|(known, ..)| *known == lower) else {
                return Err(Refusal::new(format!("its activation `{}` is not known", name.escape_debug())));
            };
            let take = |default: &Option<f32>, given: &mut dyn Iterator<Item = f32>| match default {
                Some(default) => given.next().unwrap_or(*default),
                None => 0.0,
            };
            all.push(Activation { name, alpha: take(alpha, &mut alphas), beta: take(beta, &mut betas) });
        }
        Ok(all.chunks(each.len()).map(<[_]>::to_vec).collect())
    }

    /// What MIL's recurrent ops call it, if they have it.
    pub(super) fn native(&self) -> Option<&'static str> {
        match (self.name, self.alpha, self.beta) {
            ("sigmoid" | "tanh" | "relu", ..) => Some(self.name),
            ("hardsigmoid", 0.2, 0.5) => Some("hard_sigmoid"),
            ("affine", 1.0, 0.0) => Some("linear"),
            ("scaledtanh", 1.0, 1.0) => Some("tanh"),
            _ => None,
        }
    }

    fn push(&self, n: &mut Node<'_, '_>, x: &Value) -> Result<Value, Refusal> {
        let (alpha, beta) = (f64::from(self.alpha), f64::from(self.beta));
        Ok(match self.name {
            "affine" => n.push(mb::linear_activation(x, alpha, beta))?,
            "elu" => n.push(mb::elu(x, alpha))?,
            "hardsigmoid" => n.push(mb::sigmoid_hard(x, alpha, beta))?,
            "leakyrelu" => n.push(mb::leaky_relu(x, alpha))?,
            "relu" => n.push(mb::relu(x))?,
            "scaledtanh" => n.push(mb::scaled_tanh(x, alpha, beta))?,
            "sigmoid" => n.push(mb::sigmoid(x))?,
            "softplus" => n.push(mb::softplus(x))?,
            "softsign" => n.push(mb::softsign(x))?,
            "thresholdedrelu" => n.push(mb::thresholded_relu(x, alpha))?,
            _ => n.push(mb::tanh(x))?,
        })
    }
}

/// What a direction computes in each step.
pub(super) struct Direction {
    pub(super) kind: Kind,
    pub(super) hidden: usize,
    /// `[G * H, H]`.
    pub(super) recurrent: Value,
    /// `[G * H]`, what is added to the product with the state before anything else.
    pub(super) state_bias: Option<Value>,
    /// `[3 * H]`: input, output, forget.
    pub(super) peephole: Option<Value>,
    pub(super) activations: Vec<Activation>,
    pub(super) clip: Option<f32>,
    pub(super) linear_before_reset: bool,
    pub(super) input_forget: bool,
}

/// The states `[N, H]` after each step, in the order of the walk, and the last ones.
pub(super) struct Steps {
    pub(super) states: Vec<Value>,
    pub(super) last: Vec<Value>,
}

impl Direction {
    /// Walks over `[S, N, G * H]`, what the input gives each gate. A sequence that is over keeps its state.
    pub(super) fn walk(
        &self,
        n: &mut Node<'_, '_>,
        inputs: &Value,
        mut state: Vec<Value>,
        order: &[usize],
        lengths: Option<&Value>,
    ) -> Result<Steps, Refusal> {
        let mut states = vec![];
        for t in order {
            let at = *t as i64;
            let call = mb::slice_by_index(inputs, [at, 0, 0], [at + 1, 0, 0]).squeeze_mask([true, false, false]);
            let input = n.push(call.begin_mask([false, true, true]).end_mask([false, true, true]))?;
            let mut next = match self.kind {
                Kind::Rnn => self.rnn(n, &input, &state)?,
                Kind::Lstm => self.lstm(n, &input, &state)?,
                Kind::Gru => self.gru(n, &input, &state)?,
            };
            let mut shown = next[0].clone();
            if let Some(lengths) = lengths {
                let running = n.push(mb::greater(lengths, at))?;
                let running = n.expand_dims(&running, &[1])?;
                let zero = n.number(shown.dtype().unwrap_or(DType::F32), 0.0)?;
                shown = n.push(mb::select(&running, &shown, &zero))?;
                for (new, old) in next.iter_mut().zip(&state) {
                    *new = n.push(mb::select(&running, &*new, old))?;
                }
            }
            states.push(shown);
            state = next;
        }
        Ok(Steps { states, last: state })
    }

    /// An activation of a gate's number, clipped.
    fn act(&self, n: &mut Node<'_, '_>, i: usize, x: &Value) -> Result<Value, Refusal> {
        let x = match self.clip {
            Some(clip) => n.push(mb::clip(x, -f64::from(clip), f64::from(clip)))?,
            None => x.clone(),
        };
        self.activations[i].push(n, &x)
    }

    fn gate(&self, n: &mut Node<'_, '_>, x: &Value, first: usize, count: usize) -> Result<Value, Refusal> {
        let width = self.hidden as i64;
        n.last(x, first as i64 * width, (first + count) as i64 * width, 1)
    }

    /// The product of the state with the recurrent matrix, with its bias.
    fn product(&self, n: &mut Node<'_, '_>, state: &Value) -> Result<Value, Refusal> {
        let y = n.push(mb::matmul(state, &self.recurrent).transpose_y(true))?;
        match &self.state_bias {
            Some(bias) => n.push(mb::add(&y, bias)),
            None => Ok(y),
        }
    }

    fn rnn(&self, n: &mut Node<'_, '_>, input: &Value, state: &[Value]) -> Result<Vec<Value>, Refusal> {
        let product = self.product(n, &state[0])?;
        let sum = n.push(mb::add(input, &product))?;
        Ok(vec![self.act(n, 0, &sum)?])
    }

    fn lstm(&self, n: &mut Node<'_, '_>, input: &Value, state: &[Value]) -> Result<Vec<Value>, Refusal> {
        let product = self.product(n, &state[0])?;
        let gates = n.push(mb::add(input, &product))?;
        // With what a gate sees of the cell.
        let peep = |n: &mut Node<'_, '_>, gate: Value, i: usize, cell: &Value| -> Result<Value, Refusal> {
            let Some(all) = &self.peephole else { return Ok(gate) };
            let part = self.gate(n, all, i, 1)?;
            let seen = n.push(mb::mul(cell, &part))?;
            n.push(mb::add(&gate, &seen))
        };
        let before = &state[1];
        let i = self.gate(n, &gates, 0, 1)?;
        let i = peep(n, i, 0, before)?;
        let i = self.act(n, 0, &i)?;
        let f = if self.input_forget {
            n.push(mb::sub(1.0, &i))?
        } else {
            let f = self.gate(n, &gates, 2, 1)?;
            let f = peep(n, f, 2, before)?;
            self.act(n, 0, &f)?
        };
        let z = self.gate(n, &gates, 3, 1)?;
        let z = self.act(n, 1, &z)?;
        let (kept, new) = (n.push(mb::mul(&f, before))?, n.push(mb::mul(&i, &z))?);
        let cell = n.push(mb::add(&kept, &new))?;
        let o = self.gate(n, &gates, 1, 1)?;
        let o = peep(n, o, 1, &cell)?;
        let o = self.act(n, 0, &o)?;
        // The cell is not clipped, nor does onnxruntime.
        let shown = self.activations[2].push(n, &cell)?;
        Ok(vec![n.push(mb::mul(&o, &shown))?, cell])
    }

    fn gru(&self, n: &mut Node<'_, '_>, input: &Value, state: &[Value]) -> Result<Vec<Value>, Refusal> {
        let h = &state[0];
        let two = |n: &mut Node<'_, '_>, product: &Value| -> Result<[Value; 2], Refusal> {
            let sum = {
                let (a, b) = (self.gate(n, input, 0, 2)?, self.gate(n, product, 0, 2)?);
                n.push(mb::add(&a, &b))?
            };
            let gates = self.act(n, 0, &sum)?;
            Ok([self.gate(n, &gates, 0, 1)?, self.gate(n, &gates, 1, 1)?])
        };
        let product = self.product(n, h)?;
        let [update, reset] = two(n, &product)?;
        let of_state = if self.linear_before_reset {
            let part = self.gate(n, &product, 2, 1)?;
            n.push(mb::mul(&reset, &part))?
        } else {
            let h = n.push(mb::mul(&reset, h))?;
            let width = self.hidden as i64;
            let call = mb::slice_by_index(&self.recurrent, [2 * width, 0], [3 * width, 0]);
            let matrix = n.push(call.begin_mask([false, true]).end_mask([false, true]))?;
            n.push(mb::matmul(&h, &matrix).transpose_y(true))?
        };
        let new = self.gate(n, input, 2, 1)?;
        let new = n.push(mb::add(&new, &of_state))?;
        let new = self.act(n, 1, &new)?;
        // (1 - update) * new + update * state
        let moved = n.push(mb::sub(h, &new))?;
        let moved = n.push(mb::mul(&update, &moved))?;
        Ok(vec![n.push(mb::add(&new, &moved))?])
    }
}
