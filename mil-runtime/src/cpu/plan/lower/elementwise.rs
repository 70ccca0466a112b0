//! Ops on each element by itself: stages of whatever gives the elements, or of a chain of their own.

use mil_core::{
    ir::ValueId,
    op::{Arg, Op},
    ops::{activation::*, elementwise_binary::*, elementwise_unary::*, norm::BatchNorm},
    types::DType,
};

use super::super::{
    build::{Builder, Joined, Producer, Want},
    nodes::Node,
    stage::{Operand, Stage},
    step::{Machine, Work},
    tensor::{BufferId, Layout, Tensor},
};
use crate::cpu::kernels::{
    binary::Binary,
    chain::{self, Chain},
    unary::Unary,
    view::View,
};
use crate::cpu::options::Numerics;

/// Plans an elementwise op.
pub(super) fn lower(b: &mut Builder<'_>, node: &Node) -> Option<()> {
    let name = b.function.op(node.op).def.name;
    if !matches!(node.types.first()?.0, DType::F16 | DType::F32) || node.types[0].1.contains(&0) {
        return None;
    }
    if let Some((x, mut op)) = unary(name, node) {
        if b.planner.numerics == Numerics::Fast && op == Unary::Gelu(GeluMode::Exact) {
            op = Unary::GeluNear;
        }
        return stage(b, node, &x, Stage::Unary(op));
    }
    match name {
        "batch_norm" => batch_norm(b, node),
        "prelu" => prelu(b, node),
        _ => binary(b, node, name),
    }
}

/// An op of one operand, with its parameters.
fn unary(name: &str, node: &Node) -> Option<(Arg, Unary)> {
    macro_rules! ops {
        ($($name:literal: $op:ident $(, |$o:ident| $unary:expr)?;)*) => {
            match name {
                $($name => {
                    let op = $op::bind(&node.args).ok()?;
                    ops!(@ op, $op $(, |$o| $unary)?)
                })*
                _ => None,
            }
        };
        (@ $op:ident, $name:ident) => { Some(($op.x, Unary::$name)) };
        (@ $op:ident, $name:ident, |$o:ident| $unary:expr) => {{
            let $o = &$op;
            let unary = $unary;
            Some(($op.x, unary))
        }};
    }
    ops! {
        "abs": Abs; "acos": Acos; "asin": Asin; "atan": Atan; "atanh": Atanh; "ceil": Ceil;
        "clamped_relu": ClampedRelu, |o| Unary::ClampedRelu { alpha: o.alpha, beta: o.beta };
        "clip": Clip, |o| Unary::Clip { alpha: o.alpha, beta: o.beta };
        "cos": Cos; "cosh": Cosh;
        "elu": Elu, |o| Unary::Elu { alpha: o.alpha };
        "erf": Erf; "exp": Exp; "exp2": Exp2; "floor": Floor;
        "gelu": Gelu, |o| Unary::Gelu(o.mode);
        "inverse": Inverse, |o| Unary::Inverse { epsilon: o.epsilon };
        "leaky_relu": LeakyRelu, |o| Unary::LeakyRelu { alpha: o.alpha };
        "linear_activation": LinearActivation, |o| Unary::LinearActivation { alpha: o.alpha, beta: o.beta };
        "log": Log, |o| Unary::Log { epsilon: o.epsilon };
        "relu": Relu; "relu6": Relu6; "round": Round;
        "rsqrt": Rsqrt, |o| Unary::Rsqrt { epsilon: o.epsilon };
        "scaled_tanh": ScaledTanh, |o| Unary::ScaledTanh { alpha: o.alpha, beta: o.beta };
        "sigmoid": Sigmoid;
        "sigmoid_hard": SigmoidHard, |o| Unary::SigmoidHard { alpha: o.alpha, beta: o.beta };
        "sign": Sign; "silu": Silu; "sin": Sin; "sinh": Sinh; "softplus": Softplus; "softsign": Softsign; "sqrt": Sqrt;
        "square": Square; "tan": Tan; "tanh": Tanh;
        "threshold": Threshold, |o| Unary::Threshold { alpha: o.alpha as f32 };
        "thresholded_relu": ThresholdedRelu, |o| Unary::ThresholdedRelu { alpha: o.alpha };
    }
}

/// Adds a stage behind what gives `x`, or begins a chain with it.
pub(super) fn stage(b: &mut Builder<'_>, node: &Node, x: &Arg, stage: Stage) -> Option<()> {
    stages(b, node, x, vec![stage])
}

fn stages(b: &mut Builder<'_>, node: &Node, x: &Arg, new: Vec<Stage>) -> Option<()> {
    let id = x.id?;
    let dtype = node.types[0].0;
    if !matches!(x.dtype(), DType::F16 | DType::F32) {
        return None;
    }
    let same = x.ty.shape.fixed().is_some_and(|s| s == node.types[0].1) && x.dtype() == dtype;
    let taken = if same { b.take_pending(x) } else { None };
    let mut group = taken.unwrap_or_else(|| b.group(dtype, Box::new(ChainProducer { x: id })));
    group.joined.ops.push(node.op);
    // A cast's stage is the rounding itself.
    let rounds = dtype == DType::F16 && !matches!(new[..], [Stage::Half]);
    group.joined.stages.extend(new);
    if rounds {
        group.joined.stages.push(Stage::Half);
    }
    b.pend(node, group);
    Some(())
}

fn binary(b: &mut Builder<'_>, node: &Node, name: &str) -> Option<()> {
    macro_rules! ops {
        ($($name:literal: $op:ident => $binary:ident;)*) => {
            match name {
                $($name => { let op = $op::bind(&node.args).ok()?; (op.x, op.y, Binary::$binary) })*
                _ => return None,
            }
        };
    }
    let (x, y, op) = ops! {
        "add": Add => Add; "floor_div": FloorDiv => FloorDiv; "maximum": Maximum => Max; "minimum": Minimum => Min; "mod": Mod => Mod;
        "mul": Mul => Mul; "pow": Pow => Pow; "real_div": RealDiv => Div; "sub": Sub => Sub;
    };
    let shape = &node.types[0].1;
    let whole = |a: &Arg| a.ty.shape.fixed().as_ref() == Some(shape) && b.constant(a).is_none();
    // The first operand has all elements of the result; of two that have, one that pends is joined. Both pending: the later one is, whose
    // producer is likelier to be still warm.
    let later = |a: &Arg, o: &Arg| a.id.map(ValueId::index) > o.id.map(ValueId::index);
    let swapped = match (whole(&x), whole(&y)) {
        (true, true) => {
            let (px, py) = (b.is_pending(&x), b.is_pending(&y));
            x.id != y.id && py && (!px || later(&y, &x))
        }
        (true, false) => false,
        (false, true) => true,
        // Both are repeated: a chain may begin with either.
        (false, false) => x.id.is_none() || b.constant(&x).is_some(),
    };
    let (main, other) = if swapped { (y, x) } else { (x, y) };
    let operand = match (b.constant(&other), other.id) {
        (Some(c), _) => Operand::Constant(c.to_f32().ok()?.into(), c.shape().to_vec()),
        (None, Some(id)) => Operand::Value(id),
        (None, None) => return None,
    };
    stage(b, node, &main, Stage::Binary { op, operand, swapped })
}

/// A constant per channel of `[N, C, ..]`, as a tensor that is repeated to it.
fn per_channel(v: Vec<f32>, rank: usize) -> Operand {
    let mut shape = vec![1; rank - 1];
    shape[0] = v.len();
    Operand::Constant(v.into(), shape)
}

fn prelu(b: &mut Builder<'_>, node: &Node) -> Option<()> {
    let op = Prelu::bind(&node.args).ok()?;
    let alpha = b.constant(&op.alpha)?.to_f32().ok()?.into_owned();
    let operand = per_channel(alpha, op.x.rank());
    stage(b, node, &op.x, Stage::Binary { op: Binary::Prelu, operand, swapped: false })
}

/// `(x - mean) / sqrt(variance + epsilon) * gamma + beta`, as one product and one sum.
fn batch_norm(b: &mut Builder<'_>, node: &Node) -> Option<()> {
    let op = BatchNorm::bind(&node.args).ok()?;
    let floats = |a: &Arg| Some(b.constant(a)?.to_f32().ok()?.into_owned());
    let (mean, variance) = (floats(&op.mean)?, floats(&op.variance)?);
    let gamma = op.gamma.as_ref().map_or(Some(vec![1.0; mean.len()]), floats)?;
    let beta = op.beta.as_ref().map_or(Some(vec![0.0; mean.len()]), floats)?;
    let factor = |c: usize| f64::from(gamma[c]) / (f64::from(variance[c]) + f64::from(op.epsilon)).sqrt();
    let scale: Vec<f32> = (0..mean.len()).map(|c| factor(c) as f32).collect();
    let shift: Vec<f32> =
        (0..mean.len()).map(|c| (f64::from(beta[c]) - f64::from(mean[c]) * factor(c)) as f32).collect();
    let rank = op.x.rank();
    let stage = |op, v| Stage::Binary { op, operand: per_channel(v, rank), swapped: false };
    if b.planner.numerics == Numerics::Strict {
        return stages(
            b,
            node,
            &op.x,
            vec![stage(Binary::Sub, mean), stage(Binary::Mul, scale), stage(Binary::Add, beta)],
        );
    }
    stages(b, node, &op.x, vec![stage(Binary::Mul, scale), stage(Binary::Add, shift)])
}

/// Elements as they are, with stages to come.
struct ChainProducer {
    x: ValueId,
}

impl Producer for ChainProducer {
    fn layout(&self, b: &mut Builder<'_>, shape: &[usize]) -> Layout {
        b.order_of(self.x, shape)
    }

    fn innermost(&self, _: &[usize]) -> Option<usize> {
        None
    }

    fn emit(self: Box<Self>, b: &mut Builder<'_>, to: &Tensor, joined: &Joined) -> Option<Vec<Stage>> {
        let layout = Layout { order: to.order(), margins: vec![(0, 0); to.rank()] };
        let same = b.values.get(&self.x).is_some_and(|v| v.shape == to.shape);
        let x = b.tensor(self.x, &if same { Want::Rather(layout) } else { Want::Any })?;
        chain(b, joined, to, Some(&x))?;
        Some(vec![])
    }
}

/// Does stages to the elements of a tensor where they are.
pub(in super::super) fn in_place(b: &mut Builder<'_>, joined: &Joined, to: &Tensor) -> Option<()> {
    chain(b, joined, to, None)
}

struct Chaining {
    chain: Chain,
    in_place: bool,
}

impl Work for Chaining {
    fn run(&self, m: Machine<'_>, out: &mut [f32], inputs: &[&[f32]]) {
        match (self.in_place, inputs) {
            (false, [x, operands @ ..]) => self.chain.run(m.isa, m.threads, out, Some(x), operands),
            (_, operands) => self.chain.run(m.isa, m.threads, out, None, operands),
        }
    }
}

fn chain(b: &mut Builder<'_>, joined: &Joined, to: &Tensor, x: Option<&Tensor>) -> Option<()> {
    let (mut operands, mut stages) = (vec![], vec![]);
    let mut reads: Vec<BufferId> = x.map(|x| x.buffer).into_iter().collect();
    for stage in &joined.stages {
        stages.push(match stage {
            Stage::Unary(op) => chain::Stage::Unary(*op),
            Stage::Half => chain::Stage::Half,
            Stage::Binary { op, operand, swapped } => {
                let t = match operand {
                    Operand::Value(v) => b.tensor(*v, &Want::Any)?,
                    Operand::Constant(v, shape) => b.constant_tensor(v, shape),
                    Operand::Tensor(t) => t.clone(),
                };
                let strides = t.broadcast_strides(&to.shape)?;
                operands.push(View { offset: t.offset, strides });
                reads.push(t.buffer);
                chain::Stage::Binary { op: *op, operand: operands.len() - 1, swapped: *swapped }
            }
        });
    }
    let view = match x {
        // Of fewer elements than the result it is repeated.
        Some(x) => View { offset: x.offset, strides: x.broadcast_strides(&to.shape)? },
        None => to.view(),
    };
    let chain = Chain::new(&to.shape, to.view(), view, operands, stages);
    b.kernel(joined, "elementwise", to, reads, Chaining { chain, in_place: x.is_none() });
    Some(())
}

#[cfg(test)]
mod tests {
    use mil_core::{mb, types::DType};
    use proptest::prelude::*;

    use super::super::super::testing::{Case, rounding};

    proptest! {
        #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn either_operand_is_repeated(
            shape in prop::collection::vec(1usize..6, 1..4), repeated in prop::collection::vec(0u8..4, 4), less in prop::collection::vec(0usize..3, 2),
            constants in 0u8..3, half in any::<bool>(), seed in any::<u64>(),
        ) {
            let dtype = if half { DType::F16 } else { DType::F32 };
            let mut c = Case::new(seed);
            let sizes = |which: usize| -> Vec<usize> {
                let size = |(d, s): (usize, &usize)| if repeated[d] >> which & 1 == 1 { 1 } else { *s };
                shape.iter().enumerate().map(size).skip(less[which].min(shape.len() - 1)).collect()
            };
            let x = if constants == 1 { c.constant(dtype, &sizes(0)) } else { c.input(dtype, &sizes(0)) };
            let y = if constants == 2 { c.constant(dtype, &sizes(1)) } else { c.input(dtype, &sizes(1)) };
            // What pends has another shape than what it becomes.
            let (x, y) = if constants == 1 {
                let y = c.graph.push(mb::abs(&y)).unwrap();
                (x, y)
            } else {
                let x = c.graph.push(mb::abs(&x)).unwrap();
                (x, y)
            };
            let z = c.graph.push(mb::sub(&x, &y)).unwrap();
            let w = c.graph.push(mb::tanh(&z)).unwrap();
            c.agrees(vec![z, w], rounding(dtype), &[]).unwrap();
        }
    }
}
