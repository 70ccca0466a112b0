//! Random numbers.
//!
//! Which numbers a seed gives is ours: Core ML's generators are not documented, so that its numbers are others. Here they
//! depend on the op, its parameters and the seed alone, on every machine.

use crate::{
    ir::Constant,
    op::{Arg, Cx, Infer, Inferred, Op, OpDef, OpError, param::string_enum},
    types::{DType, TensorType},
};
use mil_derive::Op;

use super::{known, rules};

pub(crate) const OPS: &[&OpDef] =
    &[RandomBernoulli::DEF, RandomCategorical::DEF, RandomNormal::DEF, RandomUniform::DEF];

/// The dtype of what is drawn: that of the parameters. They have one, but a default has none of its own where a file
/// leaves it out, and stands as f32.
fn dtype(parameters: &[&Constant]) -> DType {
    match parameters.iter().any(|c| c.dtype() == DType::F16) {
        true => DType::F16,
        false => DType::F32,
    }
}

fn number(c: &Constant) -> f64 {
    c.number().unwrap_or_default() // a parameter that is no single number is not bound
}

fn drawn(shape: &Arg, dtype: DType, cx: &mut Cx<'_>) -> Result<Vec<Inferred>, OpError> {
    Ok(vec![TensorType::new(dtype, known::listed_shape(shape, "shape", cx)?).into()])
}

/// A tensor of ones and zeros.
///
/// # Constraints
/// - C1 `shape` is a list of a fixed length, which is the rank of the output; each size is at least 1.
/// - C2 `prob` is from 0 to 1.
#[derive(Op, Clone, Debug)]
#[op(name = "random_bernoulli", since = iOS15)]
#[domain(T = F16 | F32)]
pub struct RandomBernoulli {
    /// The sizes.
    #[dtype(I32)]
    pub shape: Arg,
    /// How probable ones are; its dtype is the output's. Default: 0.5.
    #[dtype(T)]
    #[default(Constant::scalar(0.5f32))]
    pub prob: Constant,
    /// The same seed gives the same numbers whenever the op runs. With -1 it gives others each time it runs: the times
    /// are counted from when the model is loaded, so that a whole course of runs can be repeated. Default: -1.
    #[dtype(I32)]
    #[default(-1)]
    pub seed: i64,
}

impl Infer for RandomBernoulli {
    fn infer(&self, cx: &mut Cx<'_>) -> Result<Vec<Inferred>, OpError> {
        let prob = number(&self.prob);
        if !(0.0..=1.0).contains(&prob) {
            return Err(OpError::at("prob", format!("`prob` must be from 0 to 1, found {prob}"))); // C2
        }
        drawn(&self.shape, self.prob.dtype(), cx) // C1
    }
}

/// A tensor of numbers in the shape of a bell.
///
/// # Constraints
/// - C1 `shape` is a list of a fixed length, which is the rank of the output; each size is at least 1.
/// - C2 `stddev` is not negative.
#[derive(Op, Clone, Debug)]
#[op(name = "random_normal", since = iOS15)]
#[domain(T = F16 | F32)]
pub struct RandomNormal {
    /// The sizes.
    #[dtype(I32)]
    pub shape: Arg,
    /// The middle; its dtype is the output's. Default: 0.0.
    #[dtype(T)]
    #[default(Constant::scalar(0f32))]
    pub mean: Constant,
    /// The standard deviation. Default: 1.0.
    #[dtype(T)]
    #[default(Constant::scalar(1f32))]
    pub stddev: Constant,
    /// The same seed gives the same numbers whenever the op runs. With -1 it gives others each time it runs: the times
    /// are counted from when the model is loaded, so that a whole course of runs can be repeated. Default: -1.
    #[dtype(I32)]
    #[default(-1)]
    pub seed: i64,
}

impl Infer for RandomNormal {
    fn infer(&self, cx: &mut Cx<'_>) -> Result<Vec<Inferred>, OpError> {
        let stddev = number(&self.stddev);
        if stddev < 0.0 || stddev.is_nan() {
            return Err(OpError::at("stddev", format!("`stddev` must be 0 or more, found {stddev}"))); // C2
        }
        drawn(&self.shape, dtype(&[&self.mean, &self.stddev]), cx) // C1
    }
}

/// A tensor of numbers from `low` up to, but not including, `high`; all `low` if the two are equal.
///
/// # Constraints
/// - C1 `shape` is a list of a fixed length, which is the rank of the output; each size is at least 1.
/// - C2 `low` is at most `high`, and both are finite.
#[derive(Op, Clone, Debug)]
#[op(name = "random_uniform", since = iOS15)]
#[domain(T = F16 | F32)]
pub struct RandomUniform {
    /// The sizes.
    #[dtype(I32)]
    pub shape: Arg,
    /// The least number; its dtype is the output's. Default: 0.0.
    #[dtype(T)]
    #[default(Constant::scalar(0f32))]
    pub low: Constant,
    /// What all numbers are less than. Default: 1.0.
    #[dtype(T)]
    #[default(Constant::scalar(1f32))]
    pub high: Constant,
    /// The same seed gives the same numbers whenever the op runs. With -1 it gives others each time it runs: the times
    /// are counted from when the model is loaded, so that a whole course of runs can be repeated. Default: -1.
    #[dtype(I32)]
    #[default(-1)]
    pub seed: i64,
}

impl Infer for RandomUniform {
    fn infer(&self, cx: &mut Cx<'_>) -> Result<Vec<Inferred>, OpError> {
        let (low, high) = (number(&self.low), number(&self.high));
        if !low.is_finite() || !high.is_finite() || low > high {
            let message = format!("there are no numbers from {low} to {high}"); // C2
            return Err(OpError::at("high", message).note("`low` must be at most `high`, and both finite"));
        }
        drawn(&self.shape, dtype(&[&self.low, &self.high]), cx) // C1
    }
}

string_enum! {
    /// What the weights of choices are.
    CategoricalMode {
        /// Logarithms of weights.
        Logits = "logits",
        /// Weights, as probabilities are; they need not add up to 1.
        Probs = "probs",
    }
}

/// Chooses among the elements of the last dimension, each as often as it weighs, and gives their indices, as floats. One
/// element may be chosen more than once.
///
/// # Constraints
/// - C1 `x` has rank 1 or more.
/// - C2 `size` is at least 1.
#[derive(Op, Clone, Debug)]
#[op(name = "random_categorical", since = iOS15)]
#[domain(T = F16 | F32)]
pub struct RandomCategorical {
    /// `[*D, N]`: the weights. The output is `[*D, size]`.
    #[dtype(T)]
    pub x: Arg,
    /// What the weights are: `"logits"` or `"probs"`. Default: `"logits"`.
    #[dtype(String)]
    #[default(CategoricalMode::Logits)]
    pub mode: CategoricalMode,
    /// How often to choose. Default: 1.
    #[dtype(I32)]
    #[default(1)]
    pub size: i64,
    /// The same seed gives the same numbers whenever the op runs. With -1 it gives others each time it runs: the times
    /// are counted from when the model is loaded, so that a whole course of runs can be repeated. Default: -1.
    #[dtype(I32)]
    #[default(-1)]
    pub seed: i64,
}

impl Infer for RandomCategorical {
    fn infer(&self, _: &mut Cx<'_>) -> Result<Vec<Inferred>, OpError> {
        let last = rules::axis(-1, self.x.rank(), "x")?; // C1
        rules::at_least(&[self.size], 1, "size")?; // C2
        let mut shape = self.x.shape().to_vec();
        shape[last] = self.size.into();
        Ok(vec![self.x.ty.with_shape(shape).into()])
    }
}

#[cfg(test)]
mod tests {
    use half::f16;

    use crate::{
        graph::Graph,
        ir::Constant,
        mb,
        ops::testing::{fails, infers},
        types::{DType, Opset},
    };

    #[test]
    fn shapes() {
        infers(|_| mb::random_bernoulli([2, 3]), "Tensor<f32, 2, 3>");
        infers(|g| mb::random_normal(g.t("Tensor<i32, 2>")).mean(1.0), "Tensor<f32, ?, ?>");
        infers(|g| mb::random_categorical(g.t("Tensor<f16, 2, H, N>")).size(4), "Tensor<f16, 2, H, 4>");
        infers(
            |g| {
                let x = g.t("Tensor<f32, H, 2>");
                let shape = g.push(mb::shape(x)).unwrap().remove(0);
                mb::random_uniform(shape)
            },
            "Tensor<f32, H, 2>",
        );
    }

    /// The parameter that is given says the dtype, and the one that is filled in follows it.
    #[test]
    fn the_dtype_is_that_of_what_is_given() {
        let (half, one) = (Constant::scalar(f16::from_f32(0.5)), Constant::scalar(f16::ONE));
        infers(|_| mb::random_bernoulli([2]).prob(half.clone()), "Tensor<f16, 2>");
        infers(|_| mb::random_uniform([2]).low(half.clone()), "Tensor<f16, 2>");
        infers(|_| mb::random_normal([2]).stddev(one.clone()), "Tensor<f16, 2>");
        let mut g = Graph::new("main", Opset::iOS15);
        let y = g.push(mb::random_uniform([2]).high(one)).unwrap();
        assert_eq!(y.ty().to_string(), "Tensor<f16, 2>");
        let program = g.finish([y]).unwrap();
        let f = program.main().unwrap();
        let consts = f.walk().into_iter().filter_map(|o| f.op(o).constant()).filter(|c| c.dtype().is_float());
        assert!(consts.map(|c| c.dtype()).eq([DType::F16; 2]));
        fails(|_| mb::random_normal([2]).mean(half).stddev(Constant::scalar(1f32)), "stddev", "same dtype");
    }

    #[test]
    fn constraints() {
        fails(|_| mb::random_bernoulli(2), "shape", "rank 1"); // C1
        fails(|_| mb::random_normal([2, 0]), "shape", "1 or more, found 0");
        fails(|_| mb::random_uniform([-2]), "shape", "1 or more, found -2");
        fails(|_| mb::random_bernoulli([2]).prob(1.5), "prob", "from 0 to 1, found 1.5"); // C2
        fails(|_| mb::random_bernoulli([2]).prob(f64::NAN), "prob", "from 0 to 1");
        fails(|_| mb::random_normal([2]).stddev(-1.0), "stddev", "0 or more, found -1");
        fails(|_| mb::random_uniform([2]).low(1.0).high(0.5), "high", "no numbers from 1 to 0.5");
        fails(|_| mb::random_uniform([2]).high(f64::INFINITY), "high", "both finite");
        fails(|g| mb::random_categorical(g.t("Tensor<f32>")), "x", "a scalar has no axis");
        fails(|g| mb::random_categorical(g.t("Tensor<f32, 2>")).size(0), "size", "1 or more");
        fails(|g| mb::random_categorical(g.t("Tensor<f32, 2>")).mode("odds"), "mode", "\"probs\"");
    }
}
