//! Recurrent layers: `lstm`, `gru`, `rnn`.
//!
//! All three walk a sequence `x` of shape `[S, N, I]`: `S` steps, `N` batch elements, `I` numbers each. They keep a
//! state of `H` numbers per batch element, and give the states and the last one. Weights are matrices by which rows are
//! multiplied from the right after transposing (`x * weight_ih^T`), as in `linear`; those of the gates stand one below
//! the other.
//!
//! An op of direction `"reverse"` begins at the last step, and gives the states in the order in which it comes to them:
//! its first is that of the last step. The backward half of a bidirectional `lstm` is in the order of the steps.

use crate::{
    ir::Literal,
    op::{AnyArg, Arg, Cx, Infer, Inferred, Op, OpDef, OpError, Param, ParamKind, param::string_enum},
    types::{Dim, Shape},
};
use mil_derive::Op;

use super::{
    activation::logistic,
    rules,
    scalar::{self, Unary},
};

pub(crate) const OPS: &[&OpDef] = &[Gru::DEF, Lstm::DEF, Rnn::DEF];

string_enum! {
    /// The order in which a sequence is walked.
    Direction {
        /// From the first step to the last.
        Forward = "forward",
        /// From the last step to the first.
        Reverse = "reverse",
        /// Both, side by side; of `lstm` only.
        Bidirectional = "bidirectional",
    }
}

impl Direction {
    /// How many states there are side by side.
    pub fn count(self) -> usize {
        if self == Direction::Bidirectional { 2 } else { 1 }
    }

    /// Refuses both at once, which only `lstm` can.
    fn one_way(self) -> Result<(), OpError> {
        match self {
            Direction::Forward | Direction::Reverse => Ok(()),
            Direction::Bidirectional => {
                let message = "`direction` must be \"forward\" or \"reverse\", found \"bidirectional\"";
                Err(OpError::at("direction", message).note("only `lstm` walks in both; join two ops with `mb::concat`"))
            }
        }
    }
}

/// What a gate makes of a number. Names are read in any case, as coremltools does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum GateActivation {
    /// `"hard_sigmoid"` or `"sigmoid_hard"`: `min(max(0.2 * x + 0.5, 0), 1)`.
    HardSigmoid,
    /// `"linear"`: `x`.
    Linear,
    /// `"relu"`: `max(x, 0)`.
    Relu,
    /// `"scaled_tanh"`: `tanh(x)`, the scales being 1.
    ScaledTanh,
    /// `"sigmoid"`: `1 / (1 + exp(-x))`.
    Sigmoid,
    /// `"tanh"`.
    Tanh,
}
use GateActivation::{HardSigmoid, Linear, Relu, ScaledTanh, Sigmoid, Tanh};

impl GateActivation {
    /// As MIL spells it.
    pub const fn as_str(self) -> &'static str {
        match self {
            HardSigmoid => "hard_sigmoid",
            Linear => "linear",
            Relu => "relu",
            ScaledTanh => "scaled_tanh",
            Sigmoid => "sigmoid",
            Tanh => "tanh",
        }
    }
}

impl Unary for GateActivation {
    fn float(&self, x: f64) -> f64 {
        match self {
            HardSigmoid => scalar::min(scalar::max(0.2 * x + 0.5, 0.0), 1.0),
            Linear => x,
            Relu => scalar::max(x, 0.0),
            Sigmoid => logistic(x),
            ScaledTanh | Tanh => x.tanh(),
        }
    }
}

impl Param for GateActivation {
    const KIND: ParamKind = ParamKind::Str;
    fn from_args(name: &'static str, args: &[AnyArg]) -> Result<GateActivation, OpError> {
        let text = String::from_args(name, args)?;
        let all = [HardSigmoid, Linear, Relu, ScaledTanh, Sigmoid, Tanh];
        let wanted = match &text.to_ascii_lowercase()[..] {
            "sigmoid_hard" => Some(HardSigmoid),
            lower => all.into_iter().find(|a| a.as_str() == lower),
        };
        wanted.ok_or_else(|| {
            let all = all.map(|a| format!("\"{}\"", a.as_str())).join(", ");
            OpError::at(name, format!("`{name}` must be one of {all}, found \"{text}\""))
        })
    }
    fn literal(&self) -> Option<Literal> {
        Some(Literal::Str(self.as_str().into()))
    }
}

/// Requires a shape; `letters` says it in general.
fn shaped<const N: usize>(arg: &Arg, expected: [Dim; N], param: &str, letters: &str) -> Result<(), OpError> {
    let expected = Shape::from(expected);
    if arg.shape().compatible(&expected) {
        return Ok(());
    }
    let message = format!("`{param}` must have shape {expected}, which is {letters}, found {}", arg.shape());
    Err(OpError::at(param, message))
}

/// Checks what belongs to the gates of one direction, and gives `H`.
fn gates(x: &Arg, count: i64, [ih, hh]: [(&Arg, &str); 2], bias: (&Option<Arg>, &str)) -> Result<Dim, OpError> {
    let letters = |end: &str| if count == 1 { format!("[H, {end}]") } else { format!("[{count} * H, {end}]") };
    rules::rank_in(hh.0, 2..=2, hh.1)?;
    let hidden = hh.0.dim(1).clone();
    let rows = hidden.clone() * count;
    shaped(hh.0, [rows.clone(), hidden.clone()], hh.1, &letters("H"))?;
    shaped(ih.0, [rows.clone(), x.dim(2).clone()], ih.1, &letters("I"))?;
    if let (Some(bias), param) = bias {
        rules::vector(bias, &rows, param)?;
    }
    Ok(hidden)
}

/// Checks an initial state: `[N, width]`.
fn state(x: &Arg, arg: &Arg, width: &Dim, param: &str, letters: &str) -> Result<(), OpError> {
    let note = |e: OpError| e.note(format!("x: {}\n{param}: {}", x.ty, arg.ty));
    shaped(arg, [x.dim(1).clone(), width.clone()], param, letters).map_err(note)
}

/// The outputs: the states (all or the last), and `last` times the last one.
fn outputs(x: &Arg, width: Dim, sequence: bool, last: usize) -> Vec<Inferred> {
    let steps = if sequence { x.dim(0).clone() } else { Dim::from(1) };
    let state = x.ty.with_shape(vec![x.dim(1).clone(), width.clone()]);
    let states = x.ty.with_shape(vec![steps, x.dim(1).clone(), width]);
    std::iter::once(states).chain(vec![state; last]).map(Inferred::from).collect()
}

/// Long short-term memory.
///
/// With gates `i` (input), `f` (forget), `o` (output) and `z` (cell), in this order in the weights, each step makes of
/// its `x`, the state `h` and the cell `c`:
///
/// ```text
/// i = recurrent_activation(x * W_ii^T + h * W_hi^T + b_i + p_i * c)
/// f = recurrent_activation(x * W_if^T + h * W_hf^T + b_f + p_f * c)
/// z = cell_activation(x * W_iz^T + h * W_hz^T + b_z)
/// c = f * c + i * z, between -clip and clip
/// o = recurrent_activation(x * W_io^T + h * W_ho^T + b_o + p_o * c)
/// h = o * activation(c)
/// ```
///
/// It gives the states `[S, N, H]`, or only the last as `[1, N, H]`; the last state `[N, H]`; and the last cell
/// `[N, H]`. If it is bidirectional, `2 * H` stands for `H` there: forward, then backward.
///
/// # Constraints
/// - C1 `x` has rank 3.
/// - C2 `weight_hh` has shape `[4 * H, H]`, `weight_ih` `[4 * H, I]`.
/// - C3 `bias` has `4 * H` elements, `peephole` `3 * H`.
/// - C4 `initial_h` and `initial_c` have shape `[N, H]`; `[N, 2 * H]` if `direction` is `"bidirectional"`.
/// - C5 if `direction` is `"bidirectional"`, `weight_ih_back` and `weight_hh_back` are given, of the same shapes as
///   those of the forward direction; C3 holds for `bias_back` and `peephole_back`.
/// - C6 `clip` is 0 or more.
#[derive(Op, Clone, Debug)]
#[op(name = "lstm", since = iOS15, outputs = 3)]
#[domain(T = F32, iOS17 = F16 | F32)]
pub struct Lstm {
    /// `[S, N, I]`.
    #[dtype(T)]
    pub x: Arg,
    /// `[N, H]`, the state before the first step. If bidirectional `[N, 2 * H]`: forward, then backward.
    #[dtype(T)]
    pub initial_h: Arg,
    /// `[N, H]`, the cell before the first step. If bidirectional `[N, 2 * H]`: forward, then backward.
    #[dtype(T)]
    pub initial_c: Arg,
    /// `[4 * H, I]`: input, forget, output, cell.
    #[dtype(T)]
    #[constant]
    pub weight_ih: Arg,
    /// `[4 * H, H]`: input, forget, output, cell.
    #[dtype(T)]
    #[constant]
    pub weight_hh: Arg,
    /// `[4 * H]`: input, forget, output, cell. Without it: all 0.
    #[dtype(T)]
    #[constant]
    pub bias: Option<Arg>,
    /// `[3 * H]`, what the cell is multiplied by: input, forget, output. Without it: all 0.
    #[dtype(T)]
    #[constant]
    pub peephole: Option<Arg>,
    /// `[4 * H, I]`, of the backward direction; used if `direction` is `"bidirectional"`.
    #[dtype(T)]
    #[constant]
    pub weight_ih_back: Option<Arg>,
    /// `[4 * H, H]`, of the backward direction; used if `direction` is `"bidirectional"`.
    #[dtype(T)]
    #[constant]
    pub weight_hh_back: Option<Arg>,
    /// `[4 * H]`, of the backward direction; used if `direction` is `"bidirectional"`. Without it: all 0.
    #[dtype(T)]
    #[constant]
    pub bias_back: Option<Arg>,
    /// `[3 * H]`, of the backward direction; used if `direction` is `"bidirectional"`. Without it: all 0.
    #[dtype(T)]
    #[constant]
    pub peephole_back: Option<Arg>,
    /// `"forward"`, `"reverse"` or `"bidirectional"`. Default: `"forward"`.
    #[dtype(String)]
    #[default(Direction::Forward)]
    pub direction: Direction,
    /// Whether to give all states instead of only the last. Default: false.
    #[dtype(Bool)]
    #[default(false)]
    pub output_sequence: bool,
    /// Of the input, forget and output gates. Default: `"sigmoid"`.
    #[dtype(String)]
    #[default(Sigmoid)]
    pub recurrent_activation: GateActivation,
    /// Of the cell gate. Default: `"tanh"`.
    #[dtype(String)]
    #[default(Tanh)]
    pub cell_activation: GateActivation,
    /// Of the cell, on its way to the state. Default: `"tanh"`.
    #[dtype(String)]
    #[default(Tanh)]
    pub activation: GateActivation,
    /// The greatest number in a cell; its negative is the least. Without it: no limit.
    #[dtype(T)]
    pub clip: Option<f32>,
}

impl Lstm {
    /// The two matrices of the backward direction, if there is one.
    ///
    /// # Errors
    /// If there is one and a matrix is not given (C5).
    pub fn back(&self) -> Result<Option<[&Arg; 2]>, OpError> {
        if self.direction != Direction::Bidirectional {
            return Ok(None);
        }
        let missing = |param: &str| OpError::at(param, format!("a bidirectional `lstm` needs `{param}`"));
        let ih = self.weight_ih_back.as_ref().ok_or_else(|| missing("weight_ih_back"))?;
        let hh = self.weight_hh_back.as_ref().ok_or_else(|| missing("weight_hh_back"))?;
        Ok(Some([ih, hh]))
    }
}

impl Infer for Lstm {
    fn infer(&self, _: &mut Cx<'_>) -> Result<Vec<Inferred>, OpError> {
        let x = &self.x;
        rules::rank_in(x, 3..=3, "x")?; // C1
        let weights = [(&self.weight_ih, "weight_ih"), (&self.weight_hh, "weight_hh")];
        let hidden = gates(x, 4, weights, (&self.bias, "bias"))?; // C2, C3
        let mut peepholes = vec![(&self.peephole, "peephole")];
        if let Some([ih, hh]) = self.back()? {
            let weights = [(ih, "weight_ih_back"), (hh, "weight_hh_back")]; // C5
            shaped(hh, [hidden.clone() * 4, hidden.clone()], "weight_hh_back", "that of `weight_hh`")?;
            gates(x, 4, weights, (&self.bias_back, "bias_back"))?;
            peepholes.push((&self.peephole_back, "peephole_back"));
        }
        for (peephole, param) in peepholes {
            peephole.as_ref().map_or(Ok(()), |p| rules::vector(p, &(hidden.clone() * 3), param))?;
        }
        let count = self.direction.count();
        let (width, letters) = (hidden * count as i64, if count == 2 { "[N, 2 * H]" } else { "[N, H]" });
        state(x, &self.initial_h, &width, "initial_h", letters)?; // C4
        state(x, &self.initial_c, &width, "initial_c", letters)?;
        if let Some(clip) = self.clip.filter(|c| c.is_nan() || *c < 0.0) {
            return Err(OpError::at("clip", format!("`clip` must be 0 or more, found {clip}"))); // C6
        }
        Ok(outputs(x, width, self.output_sequence, 2))
    }
}

/// Gated recurrent unit.
///
/// With gates `r` (reset), `o` (output) and `z` (update), in this order in the weights, each step makes of its `x` and
/// the state `h`:
///
/// ```text
/// r = recurrent_activation(x * W_ir^T + h * W_hr^T + b_r)
/// z = recurrent_activation(x * W_iz^T + h * W_hz^T + b_z)
/// o = activation(x * W_io^T + (r * h) * W_ho^T + b_o)
/// h = (1 - z) * o + z * h
/// ```
///
/// where `b` is the sum of `bias` and `input_bias`. With `reset_after` it is as in PyTorch:
/// `o = activation(x * W_io^T + input_bias_o + r * (h * W_ho^T + bias_o))`.
///
/// It gives the states `[S, N, H]`, or only the last as `[1, N, H]`; and the last state `[N, H]`.
///
/// # Constraints
/// - C1 `x` has rank 3.
/// - C2 `weight_hh` has shape `[3 * H, H]`, `weight_ih` `[3 * H, I]`.
/// - C3 `bias` and `input_bias` have `3 * H` elements.
/// - C4 `initial_h` has shape `[N, H]`.
/// - C5 `direction` is `"forward"` or `"reverse"`.
#[derive(Op, Clone, Debug)]
#[op(name = "gru", since = iOS15, outputs = 2)]
#[domain(T = F32, iOS17 = F16 | F32)]
pub struct Gru {
    /// `[S, N, I]`.
    #[dtype(T)]
    pub x: Arg,
    /// `[N, H]`, the state before the first step.
    #[dtype(T)]
    pub initial_h: Arg,
    /// `[3 * H, I]`: reset, output, update.
    #[dtype(T)]
    #[constant]
    pub weight_ih: Arg,
    /// `[3 * H, H]`: reset, output, update.
    #[dtype(T)]
    #[constant]
    pub weight_hh: Arg,
    /// `[3 * H]`: reset, output, update. Without it: all 0.
    #[dtype(T)]
    #[constant]
    pub bias: Option<Arg>,
    /// `"forward"` or `"reverse"`. Default: `"forward"`.
    #[dtype(String)]
    #[default(Direction::Forward)]
    pub direction: Direction,
    /// Whether to give all states instead of only the last. Default: false.
    #[dtype(Bool)]
    #[default(false)]
    pub output_sequence: bool,
    /// Of the reset and update gates. Default: `"sigmoid"`.
    #[dtype(String)]
    #[default(Sigmoid)]
    pub recurrent_activation: GateActivation,
    /// Of the output gate. Default: `"tanh"`.
    #[dtype(String)]
    #[default(Tanh)]
    pub activation: GateActivation,
    /// Whether the reset gate comes after the product with the recurrent matrix. Without it: false.
    #[dtype(Bool)]
    #[since(iOS18)]
    pub reset_after: Option<bool>,
    /// `[3 * H]`, a bias that the reset gate does not touch: reset, output, update. Without it: all 0.
    #[dtype(T)]
    #[since(iOS18)]
    #[constant]
    pub input_bias: Option<Arg>,
}

impl Infer for Gru {
    fn infer(&self, _: &mut Cx<'_>) -> Result<Vec<Inferred>, OpError> {
        let x = &self.x;
        rules::rank_in(x, 3..=3, "x")?; // C1
        self.direction.one_way()?; // C5
        let weights = [(&self.weight_ih, "weight_ih"), (&self.weight_hh, "weight_hh")];
        let hidden = gates(x, 3, weights, (&self.bias, "bias"))?; // C2, C3
        if let Some(bias) = &self.input_bias {
            rules::vector(bias, &(hidden.clone() * 3), "input_bias")?;
        }
        state(x, &self.initial_h, &hidden, "initial_h", "[N, H]")?; // C4
        Ok(outputs(x, hidden, self.output_sequence, 1))
    }
}

/// Recurrent layer without gates: each step makes of its `x` and the state `h`
/// `h = activation(x * weight_ih^T + h * weight_hh^T + bias)`.
///
/// It gives the states `[S, N, H]`, or only the last as `[1, N, H]`; and the last state `[N, H]`.
///
/// # Constraints
/// - C1 `x` has rank 3.
/// - C2 `weight_hh` has shape `[H, H]`, `weight_ih` `[H, I]`.
/// - C3 `bias` has `H` elements.
/// - C4 `initial_h` has shape `[N, H]`.
/// - C5 `direction` is `"forward"` or `"reverse"`.
#[derive(Op, Clone, Debug)]
#[op(name = "rnn", since = iOS15, outputs = 2)]
#[domain(T = F32, iOS17 = F16 | F32)]
pub struct Rnn {
    /// `[S, N, I]`.
    #[dtype(T)]
    pub x: Arg,
    /// `[N, H]`, the state before the first step.
    #[dtype(T)]
    pub initial_h: Arg,
    /// `[H, I]`.
    #[dtype(T)]
    #[constant]
    pub weight_ih: Arg,
    /// `[H, H]`.
    #[dtype(T)]
    #[constant]
    pub weight_hh: Arg,
    /// `[H]`. Without it: all 0.
    #[dtype(T)]
    #[constant]
    pub bias: Option<Arg>,
    /// `"forward"` or `"reverse"`. Default: `"forward"`.
    #[dtype(String)]
    #[default(Direction::Forward)]
    pub direction: Direction,
    /// Whether to give all states instead of only the last. Default: false.
    #[dtype(Bool)]
    #[default(false)]
    pub output_sequence: bool,
    /// Default: `"tanh"`.
    #[dtype(String)]
    #[default(Tanh)]
    pub activation: GateActivation,
}

impl Infer for Rnn {
    fn infer(&self, _: &mut Cx<'_>) -> Result<Vec<Inferred>, OpError> {
        let x = &self.x;
        rules::rank_in(x, 3..=3, "x")?; // C1
        self.direction.one_way()?; // C5
        let weights = [(&self.weight_ih, "weight_ih"), (&self.weight_hh, "weight_hh")];
        let hidden = gates(x, 1, weights, (&self.bias, "bias"))?; // C2, C3
        state(x, &self.initial_h, &hidden, "initial_h", "[N, H]")?; // C4
        Ok(outputs(x, hidden, self.output_sequence, 1))
    }
}

#[cfg(test)]
mod tests;
