//! Activations.

use std::f64::consts::{FRAC_1_SQRT_2, PI};

use crate::op::{Arg, Cx, Infer, Inferred, Op, OpDef, OpError, param::string_enum};
use mil_derive::Op;

use super::{
    rules,
    scalar::{self, Unary},
};

pub(crate) const OPS: &[&OpDef] = &[
    ClampedRelu::DEF,
    Elu::DEF,
    Gelu::DEF,
    LeakyRelu::DEF,
    LinearActivation::DEF,
    Prelu::DEF,
    Relu::DEF,
    Relu6::DEF,
    ScaledTanh::DEF,
    Sigmoid::DEF,
    SigmoidHard::DEF,
    Silu::DEF,
    Softmax::DEF,
    Softplus::DEF,
    SoftplusParametric::DEF,
    Softsign::DEF,
    ThresholdedRelu::DEF,
];

/// Ops whose result has the type of `x`, and what they make of a number.
macro_rules! unary {
    ($($op:ident = $f:expr;)*) => {$(
        impl Infer for $op {
            fn infer(&self, _: &mut Cx<'_>) -> Result<Vec<Inferred>, OpError> {
                Ok(vec![self.x.ty.clone().into()])
            }
        }

        impl Unary for $op {
            fn float(&self, x: f64) -> f64 {
                let f: fn(&$op, f64) -> f64 = $f;
                f(self, x)
            }
        }
    )*};
}

unary! {
    ClampedRelu = |op, x| scalar::min(if x < 0.0 { f64::from(op.alpha) * x } else { x }, f64::from(op.beta));
    Elu = |op, x| if x > 0.0 { x } else { f64::from(op.alpha) * x.exp_m1() };
    Gelu = |op, x| match op.mode {
        GeluMode::Exact => 0.5 * x * (1.0 + libm::erf(x * FRAC_1_SQRT_2)),
        GeluMode::TanhApproximation => 0.5 * x * (1.0 + ((2.0 / PI).sqrt() * (x + 0.044715 * x.powi(3))).tanh()),
        GeluMode::SigmoidApproximation => x * logistic(1.702 * x),
    };
    LeakyRelu = |op, x| if x < 0.0 { f64::from(op.alpha) * x } else { x };
    LinearActivation = |op, x| f64::from(op.alpha) * x + f64::from(op.beta);
    Relu = |_, x| scalar::max(x, 0.0);
    Relu6 = |_, x| scalar::min(scalar::max(x, 0.0), 6.0);
    ScaledTanh = |op, x| f64::from(op.alpha) * (f64::from(op.beta) * x).tanh();
    Sigmoid = |_, x| logistic(x);
    SigmoidHard = |op, x| scalar::min(scalar::max(f64::from(op.alpha) * x + f64::from(op.beta), 0.0), 1.0);
    Silu = |_, x| x * logistic(x);
    Softplus = |_, x| log_exp_1p(x);
    Softsign = |_, x| x / (1.0 + x.abs());
    ThresholdedRelu = |op, x| if x < f64::from(op.alpha) { 0.0 } else { x };
}

/// `1 / (1 + exp(-x))`.
pub(super) fn logistic(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

/// `log(1 + exp(x))`, without an exponential that is too large.
fn log_exp_1p(x: f64) -> f64 {
    scalar::max(x, 0.0) + (-x.abs()).exp().ln_1p()
}

/// `x` where it is at least 0, else `alpha * x`; but at most `beta`.
#[derive(Op, Clone, Debug)]
#[op(name = "clamped_relu", since = iOS15)]
#[domain(T = F16 | F32)]
#[domain(U = F16 | F32)]
pub struct ClampedRelu {
    /// Any floats.
    #[dtype(T)]
    pub x: Arg,
    /// The slope below 0.
    #[dtype(T, iOS17 = U)]
    pub alpha: f32,
    /// The greatest number given.
    #[dtype(T, iOS17 = U)]
    pub beta: f32,
}

/// `x` where it is greater than 0, else `alpha * (exp(x) - 1)`.
#[derive(Op, Clone, Debug)]
#[op(name = "elu", since = iOS15)]
#[domain(T = F16 | F32)]
#[domain(U = F16 | F32)]
pub struct Elu {
    /// Any floats.
    #[dtype(T)]
    pub x: Arg,
    /// The limit far below 0, times -1.
    #[dtype(T, iOS17 = U)]
    pub alpha: f32,
}

string_enum! {
    /// How `gelu` is computed.
    GeluMode {
        /// `x / 2 * (1 + erf(x / sqrt(2)))`.
        Exact = "EXACT",
        /// `x / 2 * (1 + tanh(sqrt(2 / pi) * (x + 0.044715 * x^3)))`.
        TanhApproximation = "TANH_APPROXIMATION",
        /// `x * logistic(1.702 * x)`.
        SigmoidApproximation = "SIGMOID_APPROXIMATION",
    }
}

/// `x` times the probability that a normally distributed number is less than `x`.
#[derive(Op, Clone, Debug)]
#[op(name = "gelu", since = iOS15)]
#[domain(T = F16 | F32)]
pub struct Gelu {
    /// Any floats.
    #[dtype(T)]
    pub x: Arg,
    /// Exact, or one of two approximations. Default: `"EXACT"`.
    #[dtype(String)]
    #[default(GeluMode::Exact)]
    pub mode: GeluMode,
}

/// `x` where it is at least 0, else `alpha * x`.
#[derive(Op, Clone, Debug)]
#[op(name = "leaky_relu", since = iOS15)]
#[domain(T = F16 | F32)]
#[domain(U = F16 | F32)]
pub struct LeakyRelu {
    /// Any floats.
    #[dtype(T)]
    pub x: Arg,
    /// The slope below 0.
    #[dtype(T, iOS17 = U)]
    pub alpha: f32,
}

/// `alpha * x + beta`.
#[derive(Op, Clone, Debug)]
#[op(name = "linear_activation", since = iOS15)]
#[domain(T = F16 | F32)]
#[domain(U = F16 | F32)]
pub struct LinearActivation {
    /// Any floats.
    #[dtype(T)]
    pub x: Arg,
    /// The slope.
    #[dtype(T, iOS17 = U)]
    pub alpha: f32,
    /// The offset.
    #[dtype(T, iOS17 = U)]
    pub beta: f32,
}

/// `x` where it is at least 0, else `alpha * x`, with one `alpha` per channel.
///
/// # Constraints
/// - C1 `x` has rank 3 to 5.
/// - C2 `alpha` has one element per channel of `x`.
/// - C3 if `x` has rank 3 or 5, all elements of `alpha` are the same (within 1e-5).
#[derive(Op, Clone, Debug)]
#[op(name = "prelu", since = iOS15)]
#[domain(T = F16 | F32)]
#[domain(U = F16 | F32)]
pub struct Prelu {
    /// `[N, C, *D]`.
    #[dtype(T)]
    pub x: Arg,
    /// `[C]`, the slopes below 0.
    #[dtype(T, iOS17 = U)]
    #[constant]
    pub alpha: Arg,
}

impl Infer for Prelu {
    fn infer(&self, _: &mut Cx<'_>) -> Result<Vec<Inferred>, OpError> {
        let x = &self.x;
        rules::rank_in(x, 3..=5, "x")?; // C1
        rules::vector(&self.alpha, x.dim(1), "alpha")?; // C2
        let alpha = self.alpha.constant().filter(|_| x.rank() != 4).and_then(|c| c.floats()).unwrap_or_default();
        if let Some(other) = alpha.iter().find(|a| (**a - alpha[0]).abs() > 1e-5) {
            let message = format!("`alpha` must be the same for all channels if `x` has rank {}", x.rank()); // C3
            let found = format!("{message}, found {} and {other}", alpha[0]);
            return Err(
                OpError::at("alpha", found).note("make the rank of `x` 4 with `mb::expand_dims` or `mb::reshape`")
            );
        }
        Ok(vec![x.ty.clone().into()])
    }
}

/// `max(x, 0)`.
#[derive(Op, Clone, Debug)]
#[op(name = "relu", since = iOS15)]
#[domain(T = F16 | F32)]
pub struct Relu {
    /// Any floats.
    #[dtype(T)]
    pub x: Arg,
}

/// `min(max(x, 0), 6)`.
#[derive(Op, Clone, Debug)]
#[op(name = "relu6", since = iOS15)]
#[domain(T = F16 | F32)]
pub struct Relu6 {
    /// Any floats.
    #[dtype(T)]
    pub x: Arg,
}

/// `alpha * tanh(beta * x)`.
#[derive(Op, Clone, Debug)]
#[op(name = "scaled_tanh", since = iOS15)]
#[domain(T = F16 | F32)]
#[domain(U = F16 | F32)]
pub struct ScaledTanh {
    /// Any floats.
    #[dtype(T)]
    pub x: Arg,
    /// The limit far above 0.
    #[dtype(T, iOS17 = U)]
    pub alpha: f32,
    /// What `x` is multiplied by.
    #[dtype(T, iOS17 = U)]
    pub beta: f32,
}

/// `1 / (1 + exp(-x))`.
#[derive(Op, Clone, Debug)]
#[op(name = "sigmoid", since = iOS15)]
#[domain(T = F16 | F32)]
pub struct Sigmoid {
    /// Any floats.
    #[dtype(T)]
    pub x: Arg,
}

/// `min(max(alpha * x + beta, 0), 1)`: straight lines in place of a sigmoid.
#[derive(Op, Clone, Debug)]
#[op(name = "sigmoid_hard", since = iOS15)]
#[domain(T = F16 | F32)]
#[domain(U = F16 | F32)]
pub struct SigmoidHard {
    /// Any floats.
    #[dtype(T)]
    pub x: Arg,
    /// The slope.
    #[dtype(T, iOS17 = U)]
    pub alpha: f32,
    /// The offset.
    #[dtype(T, iOS17 = U)]
    pub beta: f32,
}

/// `x * sigmoid(x)`, also called swish.
#[derive(Op, Clone, Debug)]
#[op(name = "silu", since = iOS15)]
#[domain(T = F16 | F32)]
pub struct Silu {
    /// Any floats.
    #[dtype(T)]
    pub x: Arg,
}

/// `exp(x)` divided by its sum along an axis.
///
/// # Constraints
/// - C1 `axis` is an axis of `x`.
#[derive(Op, Clone, Debug)]
#[op(name = "softmax", since = iOS15)]
#[domain(T = F16 | F32)]
pub struct Softmax {
    /// Any floats.
    #[dtype(T)]
    pub x: Arg,
    /// The axis; a negative one counts from the end. Default: -1.
    #[dtype(I32)]
    #[default(-1)]
    pub axis: i64,
}

impl Infer for Softmax {
    fn infer(&self, _: &mut Cx<'_>) -> Result<Vec<Inferred>, OpError> {
        rules::axis(self.axis, self.x.rank(), "axis")?; // C1
        Ok(vec![self.x.ty.clone().into()])
    }
}

/// `log(1 + exp(x))`.
#[derive(Op, Clone, Debug)]
#[op(name = "softplus", since = iOS15)]
#[domain(T = F16 | F32)]
pub struct Softplus {
    /// Any floats.
    #[dtype(T)]
    pub x: Arg,
}

/// `alpha * log(1 + exp(beta * x))`, with one `alpha` and one `beta` per channel.
///
/// # Constraints
/// - C1 `x` has rank 3 or more.
/// - C2 `alpha` and `beta` have one element per channel of `x`.
#[derive(Op, Clone, Debug)]
#[op(name = "softplus_parametric", since = iOS15)]
#[domain(T = F16 | F32)]
#[domain(U = F16 | F32)]
pub struct SoftplusParametric {
    /// `[N, C, *D]`.
    #[dtype(T)]
    pub x: Arg,
    /// `[C]`, what the results are multiplied by.
    #[dtype(T, iOS17 = U)]
    #[constant]
    pub alpha: Arg,
    /// `[C]`, what `x` is multiplied by.
    #[dtype(T, iOS17 = U)]
    #[constant]
    pub beta: Arg,
}

impl SoftplusParametric {
    /// What it makes of a number in a channel of this `alpha` and `beta`.
    pub fn float(alpha: f64, beta: f64, x: f64) -> f64 {
        alpha * log_exp_1p(beta * x)
    }
}

impl Infer for SoftplusParametric {
    fn infer(&self, _: &mut Cx<'_>) -> Result<Vec<Inferred>, OpError> {
        let x = &self.x;
        if x.rank() < 3 {
            return Err(OpError::at("x", format!("`x` must have rank 3 or more, found {}", x.ty))); // C1
        }
        rules::vector(&self.alpha, x.dim(1), "alpha")?; // C2
        rules::vector(&self.beta, x.dim(1), "beta")?;
        Ok(vec![x.ty.clone().into()])
    }
}

/// `x / (1 + |x|)`.
#[derive(Op, Clone, Debug)]
#[op(name = "softsign", since = iOS15)]
#[domain(T = F16 | F32)]
pub struct Softsign {
    /// Any floats.
    #[dtype(T)]
    pub x: Arg,
}

/// `x` where it is at least `alpha`, else 0.
#[derive(Op, Clone, Debug)]
#[op(name = "thresholded_relu", since = iOS15)]
#[domain(T = F16 | F32)]
#[domain(U = F16 | F32)]
pub struct ThresholdedRelu {
    /// Any floats.
    #[dtype(T)]
    pub x: Arg,
    /// The least number that stays.
    #[dtype(T, iOS17 = U)]
    pub alpha: f32,
}

#[cfg(test)]
mod tests {
    use half::f16;

    use crate::{
        ir::Constant,
        mb,
        op::{Call, Op},
        ops::testing::{Test, fails, fails_in, infers},
        types::Opset,
    };

    #[test]
    fn the_type_stays() {
        fn stays<O: Op>(call: impl Fn(&mut Test, &str) -> Call<O>) {
            for ty in ["Tensor<f32, 2, 3>", "Tensor<f16, N, H, 4>", "Tensor<f32>"] {
                infers(|g| call(g, ty), ty);
            }
            fails(|g| call(g, "Tensor<i32, 2>"), "x", "must be of f16 or f32");
        }
        stays(|g, ty| mb::clamped_relu(g.t(ty), 0.5, 6.0));
        stays(|g, ty| mb::elu(g.t(ty), 1.0));
        stays(|g, ty| mb::gelu(g.t(ty)).mode("TANH_APPROXIMATION"));
        stays(|g, ty| mb::leaky_relu(g.t(ty), 0.2));
        stays(|g, ty| mb::linear_activation(g.t(ty), 2.0, 1.0));
        stays(|g, ty| mb::relu(g.t(ty)));
        stays(|g, ty| mb::relu6(g.t(ty)));
        stays(|g, ty| mb::scaled_tanh(g.t(ty), 2.0, 0.5));
        stays(|g, ty| mb::sigmoid(g.t(ty)));
        stays(|g, ty| mb::sigmoid_hard(g.t(ty), 0.2, 0.5));
        stays(|g, ty| mb::silu(g.t(ty)));
        stays(|g, ty| mb::softplus(g.t(ty)));
        stays(|g, ty| mb::softsign(g.t(ty)));
        stays(|g, ty| mb::thresholded_relu(g.t(ty), 1.0));
    }

    #[test]
    fn parameter_dtypes_by_opset() {
        fn both<O: Op>(call: impl Fn(&mut Test) -> Call<O>) {
            fails_in(Opset::iOS16, &call, "alpha", "same dtype");
            infers(&call, "Tensor<f32, 1, 3, 2>");
        }
        let (x, half) = ("Tensor<f32, 1, 3, 2>", || Constant::scalar(f16::ONE));
        both(|g| mb::elu(g.t(x), half()));
        both(|g| mb::leaky_relu(g.t(x), half()));
        both(|g| mb::prelu(g.t(x), Constant::vector(&[f16::ONE; 3])));
        both(|g| mb::sigmoid_hard(g.t(x), half(), half()));
        both(|g| mb::clamped_relu(g.t(x), half(), half()));
        both(|g| mb::linear_activation(g.t(x), half(), half()));
        both(|g| mb::scaled_tanh(g.t(x), half(), half()));
        both(|g| mb::thresholded_relu(g.t(x), half()));
        let halves = || Constant::vector(&[f16::ONE; 3]);
        both(|g| mb::softplus_parametric(g.t(x), halves(), halves()));
    }

    #[test]
    fn parameters_are_constants() {
        fails(|g| mb::leaky_relu(g.t("Tensor<f32, 2>"), g.t("Tensor<f32>")), "alpha", "must be a constant");
        fails(|g| mb::prelu(g.t("Tensor<f32, 1, 3, 2>"), g.t("Tensor<f32, 3>")), "alpha", "must be a constant");
        fails(|g| mb::leaky_relu(g.t("Tensor<f32, 2>"), [0.1, 0.2]), "alpha", "one number");
    }

    #[test]
    fn gelu_mode() {
        fails(|g| mb::gelu(g.t("Tensor<f32, 2>")).mode("TANH"), "mode", "\"TANH_APPROXIMATION\"");
    }

    #[test]
    fn prelu_c1_ranks() {
        fails(|g| mb::prelu(g.t("Tensor<f32, 1, 3>"), [0.1, 0.2, 0.3]), "x", "rank 3 to 5");
        infers(|g| mb::prelu(g.t("Tensor<f16, N, 3, H, W>"), [0.1, 0.2, 0.3]), "Tensor<f16, N, 3, H, W>");
    }

    #[test]
    fn prelu_c2_one_slope_per_channel() {
        fails(|g| mb::prelu(g.t("Tensor<f32, 1, 3, 4, 4>"), [0.1, 0.2]), "alpha", "3 elements, found 2");
        fails(|g| mb::prelu(g.t("Tensor<f32, 1, 3, 4, 4>"), 0.1), "alpha", "rank 1");
    }

    #[test]
    fn prelu_c3_one_slope_for_all() {
        fails(|g| mb::prelu(g.t("Tensor<f32, 1, 2, 4>"), [0.1, 0.2]), "alpha", "found 0.1");
        infers(|g| mb::prelu(g.t("Tensor<f32, 1, 2, 4>"), [0.1, 0.1]), "Tensor<f32, 1, 2, 4>");
    }

    #[test]
    fn softplus_parametric_c1_rank() {
        let v = [0.1, 0.2, 0.3];
        fails(|g| mb::softplus_parametric(g.t("Tensor<f32, 1, 3>"), v, v), "x", "rank 3 or more");
        infers(|g| mb::softplus_parametric(g.t("Tensor<f16, N, 3, H, W>"), v, v), "Tensor<f16, N, 3, H, W>");
    }

    #[test]
    fn softplus_parametric_c2_one_number_per_channel() {
        let (x, two, three) = ("Tensor<f32, 1, 3, 4>", [0.1, 0.2], [0.1, 0.2, 0.3]);
        fails(|g| mb::softplus_parametric(g.t(x), two, three), "alpha", "3 elements, found 2");
        fails(|g| mb::softplus_parametric(g.t(x), three, two), "beta", "3 elements, found 2");
        fails(|g| mb::softplus_parametric(g.t(x), 0.1, three), "alpha", "rank 1");
        fails(|g| mb::softplus_parametric(g.t(x), three, g.t("Tensor<f32, 3>")), "beta", "must be a constant");
    }

    #[test]
    fn softmax_c1_axis() {
        infers(|g| mb::softmax(g.t("Tensor<f16, N, 3>")).axis(-2), "Tensor<f16, N, 3>");
        fails(|g| mb::softmax(g.t("Tensor<f32, 2, 3>")).axis(2), "axis", "out of range");
        fails(|g| mb::softmax(g.t("Tensor<f32>")), "axis", "a scalar has no axis");
    }
}
