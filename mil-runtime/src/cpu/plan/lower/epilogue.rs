//! Which stages a kernel can do before it stores its sums.

use mil_core::types::DType;

use super::super::{
    build::{Builder, Joined, Want},
    stage::{Operand, Stage},
    tensor::{BufferId, Tensor},
};
use crate::cpu::{
    kernels::{
        binary::Binary,
        epilogue::{Activation, Epilogue, Residual, Then},
        offsets::Offsets,
        unary::Unary,
    },
    options::Numerics,
};

/// An [`Epilogue`] that owns what it points to, for each group of channels.
#[derive(Debug, Default)]
pub(super) struct Ending {
    scale: Option<Vec<Vec<f32>>>,
    bias: Option<Vec<Vec<f32>>>,
    residual: Option<(BufferId, Vec<Offsets>)>,
    activation: Kind,
    half: bool,
    then: Vec<Then>,
}

#[derive(Debug, Default)]
enum Kind {
    #[default]
    None,
    Clamp(f32, f32),
    Leaky(f32),
    Prelu(Vec<Vec<f32>>),
}

/// Zeros behind, up to whole vectors of whatever instruction set.
pub(super) fn padded(v: &[f32]) -> Vec<f32> {
    let mut v = v.to_vec();
    v.resize(v.len().next_multiple_of(16), 0.0);
    v
}

/// What a kernel can do.
#[derive(Clone, Copy, Debug)]
pub(super) struct Can {
    /// In how many groups it has its channels.
    pub(super) groups: usize,
    /// Whether it can add another tensor.
    pub(super) add: bool,
    /// Whether it can go on with any function of an element.
    pub(super) then: bool,
}

/// How far the stages have come.
#[derive(PartialEq, PartialOrd)]
enum Slot {
    Sum,
    Residual,
    Activation,
    Then,
}

impl Ending {
    /// As many of the stages as the kernel can do whose channels are dimension `axis` of `to`; and those that are left.
    pub(super) fn of(
        b: &mut Builder<'_>,
        joined: &Joined,
        to: &Tensor,
        axis: usize,
        bias: Option<&[f32]>,
        can: Can,
    ) -> (Ending, Vec<Stage>) {
        let strict = b.planner.numerics == Numerics::Strict;
        let (channels, groups) = (to.shape[axis], can.groups);
        let half = joined.dtype == DType::F16;
        let (mut scale, mut bias) = (None::<Vec<f32>>, bias.map(<[f32]>::to_vec));
        let per_group = channels / groups;
        let split = |v: Vec<f32>| -> Vec<Vec<f32>> { v.chunks(per_group).map(padded).collect() };
        let mut ending = Ending { half, ..Ending::default() };
        let (mut slot, mut at) = (Slot::Sum, 0);
        let mut stages = &joined.stages[..];
        // In f16 a rounding belongs to each op: the first to the sum.
        if let (true, [Stage::Half, rest @ ..]) = (half, stages) {
            stages = rest;
            at = 1;
        }
        while let [stage, rest @ ..] = stages {
            let vector = |operand: &Operand| operand.per_channel(&to.shape, axis);
            let taken = match stage {
                Stage::Half => false,
                // In f16 the sum was rounded already; strictly, it is not to be rearranged.
                Stage::Binary { op: Binary::Mul, operand, .. }
                    if slot == Slot::Sum && !half && !(strict && bias.is_some()) =>
                {
                    vector(operand).is_some_and(|v| {
                        let times = |a: Option<Vec<f32>>| a.map(|a| a.iter().zip(&v).map(|(a, v)| a * v).collect());
                        bias = times(bias.take());
                        scale = times(scale.take()).or(Some(v.clone()));
                        true
                    })
                }
                Stage::Binary { op: op @ (Binary::Add | Binary::Sub), operand, swapped: false }
                    if slot == Slot::Sum && !half && vector(operand).is_some() && !(strict && bias.is_some()) =>
                {
                    let v = vector(operand).unwrap_or_default();
                    let sign = if *op == Binary::Sub { -1.0 } else { 1.0 };
                    let old = bias.take().unwrap_or_else(|| vec![0.0; channels]);
                    bias = Some(old.iter().zip(&v).map(|(b, v)| b + sign * v).collect());
                    true
                }
                Stage::Binary { op: Binary::Add, operand: Operand::Value(value), .. }
                    if can.add && slot < Slot::Residual =>
                {
                    let same = b.values.get(value).is_some_and(|v| v.shape == to.shape);
                    let spatial = to.rank().saturating_sub(2);
                    let want =
                        if axis + 1 == to.rank() { Want::Rows } else { Want::ChannelsLast(vec![(0, 0); spatial]) };
                    let tensor = if same { b.tensor(*value, &want) } else { None };
                    tensor.is_some_and(|t| {
                        let at = t.offsets(&[axis]);
                        let offsets = |g: usize| Offsets::new(at.iter().map(|o| o + g * per_group));
                        let all = (0..groups).map(offsets).collect::<Option<Vec<_>>>();
                        ending.residual = all.map(|all| (t.buffer, all));
                        slot = Slot::Residual;
                        ending.residual.is_some()
                    })
                }
                Stage::Unary(op) if slot < Slot::Activation && simple(op).is_some() => {
                    ending.activation = simple(op).unwrap_or_default();
                    slot = Slot::Activation;
                    true
                }
                Stage::Binary { op: Binary::Prelu, operand, swapped: false } if slot < Slot::Activation => {
                    vector(operand).is_some_and(|v| {
                        ending.activation = Kind::Prelu(split(v));
                        slot = Slot::Activation;
                        true
                    })
                }
                // The matrix kernel alone does that.
                Stage::Unary(_) if !can.then => false,
                Stage::Unary(op) => {
                    ending.then.push(Then::Unary(*op));
                    slot = Slot::Then;
                    true
                }
                Stage::Binary { .. } => false,
            };
            if !taken {
                break;
            }
            stages = rest;
            at += 1;
            if let (true, [Stage::Half, rest @ ..]) = (half, stages) {
                if slot == Slot::Then {
                    ending.then.push(Then::Half);
                }
                stages = rest;
                at += 1;
            }
        }
        ending.scale = scale.map(split);
        ending.bias = bias.map(split);
        (ending, joined.stages[at..].to_vec())
    }

    /// What is read besides the inputs: it is the last of the inputs that [`Ending::epilogue`] is given.
    pub(super) fn reads(&self) -> Option<BufferId> {
        self.residual.as_ref().map(|r| r.0)
    }

    /// For one group of channels.
    pub(super) fn epilogue<'a>(&'a self, group: usize, inputs: &[&'a [f32]]) -> Epilogue<'a> {
        let vector = |v: &'a Option<Vec<Vec<f32>>>| v.as_ref().map(|v| &v[group][..]);
        let data = inputs.last().copied().unwrap_or_default();
        Epilogue {
            scale: vector(&self.scale),
            bias: vector(&self.bias),
            residual: self.residual.as_ref().map(|(_, at)| Residual { data, at: &at[group] }),
            activation: match &self.activation {
                Kind::None => Activation::None,
                Kind::Clamp(low, high) => Activation::Clamp { low: *low, high: *high },
                Kind::Leaky(slope) => Activation::Leaky(*slope),
                Kind::Prelu(slopes) => Activation::Prelu(&slopes[group]),
            },
            half: self.half,
            then: &self.then,
        }
    }
}

/// Activations that are an instruction or two.
fn simple(op: &Unary) -> Option<Kind> {
    match *op {
        Unary::Relu => Some(Kind::Clamp(0.0, f32::INFINITY)),
        Unary::Relu6 => Some(Kind::Clamp(0.0, 6.0)),
        Unary::Clip { alpha, beta } => Some(Kind::Clamp(alpha, beta)),
        Unary::Threshold { alpha } => Some(Kind::Clamp(alpha, f32::INFINITY)),
        Unary::LeakyRelu { alpha } => Some(Kind::Leaky(alpha)),
        _ => None,
    }
}
