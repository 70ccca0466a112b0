//! The formula of a normalization, and the ways to write it.

use crate::{
    ir::{Constant, OpId, ValueId},
    mb,
    ops::rules,
    passes::{
        Rewriter,
        channels::constant,
        fusion::{close, elements, float},
    },
};

/// `(x - mean) / sqrt(variance + epsilon)` over some dimensions.
#[derive(Clone, PartialEq)]
pub(super) struct Normalized {
    pub x: ValueId,
    /// Counted from the start, sorted.
    pub axes: Vec<usize>,
    pub epsilon: f64,
}

/// That, times `gamma`, plus `beta`, where they are given: constants that broadcast with `x`.
pub(super) struct Formula {
    pub normalized: Normalized,
    pub gamma: Option<Constant>,
    pub beta: Option<Constant>,
    /// All its ops.
    pub ops: Vec<OpId>,
}

impl Formula {
    /// The formula that ends with this op.
    pub(super) fn ending(rw: &Rewriter, end: OpId) -> Option<Formula> {
        float(rw, rw.output(end)?)?;
        match rw.op(end).def.name {
            "mul" => Formula::affine_first(rw, end).or_else(|| Formula::scaled(rw, end)),
            "real_div" => Formula::plain(rw, end),
            "add" => Formula::distributed(rw, end).or_else(|| Formula::shifted(rw, end)),
            _ => None,
        }
    }

    /// Without gamma and beta.
    fn plain(rw: &Rewriter, end: OpId) -> Option<Formula> {
        let mut m = Matcher { rw, ops: vec![end] };
        let normalized = m.normalized(end)?;
        Some(Formula { normalized, gamma: None, beta: None, ops: m.ops })
    }

    /// With gamma, or without.
    fn scaled(rw: &Rewriter, end: OpId) -> Option<Formula> {
        if let Some(plain) = Formula::plain(rw, end) {
            return Some(plain);
        }
        let (v, gamma, _) = rw.with_constant(end)?;
        let inner = rw.made_for(v, end).filter(|op| matches!(rw.op(*op).def.name, "mul" | "real_div"))?;
        let mut formula = Formula::plain(rw, inner)?;
        formula.gamma = Some(gamma);
        formula.ops.push(end);
        Some(formula)
    }

    /// With beta as the last.
    fn shifted(rw: &Rewriter, end: OpId) -> Option<Formula> {
        let (v, beta, _) = rw.with_constant(end)?;
        let inner = rw.made_for(v, end)?;
        let mut formula = match rw.op(inner).def.name {
            "mul" => Formula::scaled(rw, inner),
            "real_div" => Formula::plain(rw, inner),
            _ => None,
        }?;
        formula.beta = Some(beta);
        formula.ops.push(end);
        Some(formula)
    }

    /// `(normalized + beta) * gamma`.
    fn affine_first(rw: &Rewriter, end: OpId) -> Option<Formula> {
        let (v, gamma, _) = rw.with_constant(end)?;
        let sum = rw.made_for_by(v, end, "add")?;
        let (v, beta, _) = rw.with_constant(sum)?;
        let mut formula = Formula::plain(rw, rw.made_for(v, sum)?)?;
        // What is added is multiplied as well.
        if gamma.shape() != beta.shape() {
            return None;
        }
        let product = gamma.floats()?.into_iter().zip(beta.floats()?).map(|(g, b)| g * b);
        formula.beta = Some(constant(beta.dtype(), beta.shape(), product)?);
        formula.gamma = Some(gamma);
        formula.ops.extend([sum, end]);
        Some(formula)
    }

    /// `x * s + (beta - mean * s)` with `s = gamma / sqrt(variance + epsilon)`.
    fn distributed(rw: &Rewriter, end: OpId) -> Option<Formula> {
        rw.both_ways(end).into_iter().find_map(|(product, shift)| {
            let mut m = Matcher { rw, ops: vec![end] };
            let product = m.op(product, "mul")?;
            let (means, beta) = m.shift(shift)?;
            rw.both_ways(product).into_iter().find_map(|(x, s)| {
                let mut m = Matcher { rw, ops: m.ops.clone() };
                let mean = rw.both_ways(means).into_iter().find_map(|(mean, other)| (other == s).then_some(mean))?;
                m.ops.push(means);
                let (of, axes) = m.mean(mean)?;
                let (inverse, gamma) = m.scale(s)?;
                let epsilon = m.inverse_root(inverse, x, &axes)?;
                (of == x).then(|| Formula {
                    normalized: Normalized { x, axes, epsilon },
                    gamma,
                    beta: beta.clone(),
                    ops: m.ops,
                })
            })
        })
    }
}

/// Goes backwards, and keeps the ops it has seen; what fails may have left some more, which a caller that goes on does not
/// keep.
struct Matcher<'a> {
    rw: &'a Rewriter,
    ops: Vec<OpId>,
}

impl Matcher<'_> {
    /// The op that makes a value, if it is of this name.
    fn op(&mut self, v: ValueId, name: &str) -> Option<OpId> {
        let op = self.rw.made_by(v, name)?;
        self.ops.push(op);
        Some(op)
    }

    /// One attempt of several: what a failed one has seen is forgotten.
    fn attempt<T>(&mut self, attempt: impl FnOnce(&mut Self) -> Option<T>) -> Option<T> {
        let seen = self.ops.len();
        let found = attempt(self);
        if found.is_none() {
            self.ops.truncate(seen);
        }
        found
    }

    /// `(x - mean) * rsqrt(..)`, or divided by the root.
    fn normalized(&mut self, op: OpId) -> Option<Normalized> {
        let divides = self.rw.op(op).def.name == "real_div";
        let ways = if divides { vec![(self.rw.arg(op, "x")?, self.rw.arg(op, "y")?)] } else { self.rw.both_ways(op) };
        ways.into_iter().find_map(|(centered, root)| {
            self.attempt(|m| {
                let (x, axes) = m.centered(centered)?;
                let epsilon = if divides { m.root(root, x, &axes)? } else { m.inverse_root(root, x, &axes)? };
                Some(Normalized { x, axes, epsilon })
            })
        })
    }

    /// `x - mean(x)`.
    fn centered(&mut self, v: ValueId) -> Option<(ValueId, Vec<usize>)> {
        let sub = self.op(v, "sub")?;
        let (x, mean) = (self.rw.arg(sub, "x")?, self.rw.arg(sub, "y")?);
        let (of, axes) = self.mean(mean)?;
        (of == x).then_some((x, axes))
    }

    /// The mean over some dimensions, which stay.
    fn mean(&mut self, v: ValueId) -> Option<(ValueId, Vec<usize>)> {
        let op = self.rw.producer(v)?;
        if let Some(mean) = self.rw.bind::<mb::ReduceMean>(op) {
            self.ops.push(op);
            let axes = rules::axes(mean.axes.as_ref()?, mean.x.rank(), "axes").ok()?;
            return Some((mean.x.id.filter(|_| mean.keep_dims)?, axes));
        }
        let (sum, factor) = match self.rw.op(op).def.name {
            "mul" => self.rw.with_number(op)?,
            "real_div" => (self.rw.arg(op, "x")?, 1.0 / self.rw.number(op, "y")?),
            _ => return None,
        };
        self.ops.push(op);
        let (at, sum) = self.rw.made_by_op::<mb::ReduceSum>(sum)?;
        self.ops.push(at);
        let axes = rules::axes(sum.axes.as_ref()?, sum.x.rank(), "axes").ok()?;
        let count = elements(&sum.x, sum.axes.as_deref())?;
        let is_mean = sum.keep_dims && close(factor, 1.0 / count, sum.x.dtype());
        Some((sum.x.id.filter(|_| is_mean)?, axes))
    }

    /// What is squared.
    fn square(&mut self, v: ValueId) -> Option<ValueId> {
        let op = self.rw.producer(v)?;
        let x = self.rw.arg(op, "x")?;
        let squares = match self.rw.op(op).def.name {
            "square" => true,
            "mul" => self.rw.arg(op, "y") == Some(x),
            "pow" => self.rw.number(op, "y") == Some(2.0),
            _ => false,
        };
        self.ops.push(op);
        squares.then_some(x)
    }

    /// The variance of `x` over these dimensions.
    fn variance(&mut self, v: ValueId, x: ValueId, axes: &[usize]) -> Option<()> {
        let centered = self.attempt(|m| {
            let (squares, over) = m.mean(v)?;
            let centered = m.square(squares)?;
            (m.centered(centered)? == (x, axes.to_vec()) && over == axes).then_some(())
        });
        centered.or_else(|| {
            self.attempt(|m| {
                let sub = m.op(v, "sub")?;
                let (squares, over) = m.mean(m.rw.arg(sub, "x")?)?;
                let mean = m.square(m.rw.arg(sub, "y")?)?;
                (m.square(squares)? == x && over == axes && m.mean(mean)? == (x, axes.to_vec())).then_some(())
            })
        })
    }

    /// `variance + epsilon`: epsilon.
    fn with_epsilon(&mut self, v: ValueId, x: ValueId, axes: &[usize]) -> Option<f64> {
        let sum = self.op(v, "add")?;
        let (variance, epsilon) = self.rw.with_number(sum)?;
        self.variance(variance, x, axes)?;
        Some(epsilon)
    }

    /// `sqrt(variance + epsilon)`: epsilon.
    fn root(&mut self, v: ValueId, x: ValueId, axes: &[usize]) -> Option<f64> {
        let op = self.rw.producer(v)?;
        let is_root = match self.rw.op(op).def.name {
            "sqrt" => true,
            "pow" => self.rw.number(op, "y") == Some(0.5),
            _ => false,
        };
        self.ops.push(op);
        self.with_epsilon(self.rw.arg(op, "x").filter(|_| is_root)?, x, axes)
    }

    /// `1 / sqrt(variance + epsilon)`: epsilon.
    fn inverse_root(&mut self, v: ValueId, x: ValueId, axes: &[usize]) -> Option<f64> {
        let op = self.rw.producer(v)?;
        self.ops.push(op);
        let inner = self.rw.arg(op, "x");
        match self.rw.op(op).def.name {
            "rsqrt" => {
                let own = f64::from(self.rw.bind::<mb::Rsqrt>(op)?.epsilon);
                let added = self.attempt(|m| m.with_epsilon(inner?, x, axes));
                match added {
                    Some(epsilon) => Some(epsilon + own),
                    None => self.variance(inner?, x, axes).map(|()| own),
                }
            }
            "pow" if self.rw.number(op, "y") == Some(-0.5) => self.with_epsilon(inner?, x, axes),
            "inverse" => self.root(inner?, x, axes),
            _ => None,
        }
    }

    /// `s`, or `s * gamma`.
    fn scale(&mut self, v: ValueId) -> Option<(ValueId, Option<Constant>)> {
        let Some(mul) = self.rw.made_by(v, "mul") else { return Some((v, None)) };
        let (s, gamma, _) = self.rw.with_constant(mul)?;
        self.ops.push(mul);
        Some((s, Some(gamma)))
    }

    /// `beta - means`, or `means * -1`: the op that makes `means`, which is not among the ops yet, and beta.
    fn shift(&mut self, v: ValueId) -> Option<(OpId, Option<Constant>)> {
        let op = self.rw.producer(v)?;
        self.ops.push(op);
        let (means, beta) = match self.rw.op(op).def.name {
            "sub" => {
                let (means, beta, true) = self.rw.with_constant(op)? else { return None };
                (means, Some(beta))
            }
            "mul" => {
                let (means, -1.0) = self.rw.with_number(op)? else { return None };
                (means, None)
            }
            _ => return None,
        };
        Some((self.rw.made_by(means, "mul")?, beta))
    }
}
