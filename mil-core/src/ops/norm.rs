//! Normalizations.

use crate::{
    op::{Arg, Cx, Infer, Inferred, Op, OpDef, OpError},
    types::Shape,
};
use mil_derive::Op;

use super::rules;

pub(crate) const OPS: &[&OpDef] =
    &[BatchNorm::DEF, InstanceNorm::DEF, L2Norm::DEF, LayerNorm::DEF, LocalResponseNorm::DEF];

/// `gamma * (x - mean) / sqrt(variance + epsilon) + beta`, with one mean, variance, gamma and beta per channel.
///
/// # Constraints
/// - C1 `x` has rank 3 to 5.
/// - C2 `mean`, `variance`, `gamma` and `beta` have one element per channel of `x`.
/// - C3 `epsilon` is not negative.
#[derive(Op, Clone, Debug)]
#[op(name = "batch_norm", since = iOS15)]
#[domain(T = F16 | F32)]
#[domain(U = F16 | F32)]
pub struct BatchNorm {
    /// `[N, C, *D]`.
    #[dtype(T)]
    pub x: Arg,
    /// `[C]`.
    #[dtype(T, iOS17 = U)]
    #[constant]
    pub mean: Arg,
    /// `[C]`.
    #[dtype(T, iOS17 = U)]
    #[constant]
    pub variance: Arg,
    /// `[C]`. Without it: all 1.
    #[dtype(T, iOS17 = U)]
    #[constant]
    pub gamma: Option<Arg>,
    /// `[C]`. Without it: all 0.
    #[dtype(T, iOS17 = U)]
    #[constant]
    pub beta: Option<Arg>,
    /// Added to the variance, so that nothing is divided by 0. Default: 1e-5.
    #[dtype(T, iOS17 = U)]
    #[default(1e-5)]
    pub epsilon: f32,
}

impl Infer for BatchNorm {
    fn infer(&self, _: &mut Cx<'_>) -> Result<Vec<Inferred>, OpError> {
        rules::rank_in(&self.x, 3..=5, "x")?; // C1
        let channels = self.x.dim(1);
        rules::vector(&self.mean, channels, "mean")?; // C2
        rules::vector(&self.variance, channels, "variance")?;
        affine(&self.gamma, &self.beta, |arg, param| rules::vector(arg, channels, param))?;
        not_negative(self.epsilon)?; // C3
        Ok(vec![self.x.ty.clone().into()])
    }
}

/// `gamma * (x - mean) / sqrt(variance + epsilon) + beta`, where mean and variance are those of each batch element's
/// channel over its spatial dimensions.
///
/// # Constraints
/// - C1 `x` has rank 3 or 4.
/// - C2 `gamma` and `beta` have one element per channel of `x`.
/// - C3 `epsilon` is not negative.
#[derive(Op, Clone, Debug)]
#[op(name = "instance_norm", since = iOS15)]
#[domain(T = F16 | F32)]
#[domain(U = F16 | F32)]
pub struct InstanceNorm {
    /// `[N, C, *D]`.
    #[dtype(T)]
    pub x: Arg,
    /// `[C]`. Without it: all 1.
    #[dtype(T, iOS17 = U)]
    #[constant]
    pub gamma: Option<Arg>,
    /// `[C]`. Without it: all 0.
    #[dtype(T, iOS17 = U)]
    #[constant]
    pub beta: Option<Arg>,
    /// Added to the variance, so that nothing is divided by 0. Default: 1e-5.
    #[dtype(T, iOS17 = U)]
    #[default(1e-5)]
    pub epsilon: f32,
}

impl Infer for InstanceNorm {
    fn infer(&self, _: &mut Cx<'_>) -> Result<Vec<Inferred>, OpError> {
        rules::rank_in(&self.x, 3..=4, "x")?; // C1
        affine(&self.gamma, &self.beta, |arg, param| rules::vector(arg, self.x.dim(1), param))?; // C2
        not_negative(self.epsilon)?; // C3
        Ok(vec![self.x.ty.clone().into()])
    }
}

/// `x / sqrt(sum of squares + epsilon)`, the sum being over the last three dimensions.
///
/// # Constraints
/// - C1 `x` has rank 3 or more.
/// - C2 `epsilon` is not negative.
#[derive(Op, Clone, Debug)]
#[op(name = "l2_norm", since = iOS15)]
#[domain(T = F16 | F32)]
#[domain(U = F16 | F32)]
pub struct L2Norm {
    /// `[*B, D1, D2, D3]`.
    #[dtype(T)]
    pub x: Arg,
    /// Added to the sum, so that nothing is divided by 0. Default: 1e-6.
    #[dtype(T, iOS17 = U)]
    #[default(1e-6)]
    pub epsilon: f32,
}

impl Infer for L2Norm {
    fn infer(&self, _: &mut Cx<'_>) -> Result<Vec<Inferred>, OpError> {
        if self.x.rank() < 3 {
            return Err(OpError::at("x", format!("`x` must have rank 3 or more, found {}", self.x.ty))); // C1
        }
        not_negative(self.epsilon)?; // C2
        Ok(vec![self.x.ty.clone().into()])
    }
}

/// `gamma * (x - mean) / sqrt(variance + epsilon) + beta`, where mean and variance are taken over `axes`.
///
/// # Constraints
/// - C1 `axes` are at least one axis of `x`, each once.
/// - C2 `gamma` and `beta` have the sizes of `x` along `axes`, in the order of `x`.
/// - C3 `epsilon` is not negative.
#[derive(Op, Clone, Debug)]
#[op(name = "layer_norm", since = iOS15)]
#[domain(T = F16 | F32)]
#[domain(U = F16 | F32)]
pub struct LayerNorm {
    /// Any floats.
    #[dtype(T)]
    pub x: Arg,
    /// The axes to normalize over; negative ones count from the end. Default: all.
    #[dtype(I32)]
    #[default((0..x.rank() as i64).collect::<Vec<i64>>())]
    pub axes: Vec<i64>,
    /// The sizes of `x` along `axes`. Without it: all 1.
    #[dtype(T, iOS17 = U)]
    #[constant]
    pub gamma: Option<Arg>,
    /// The sizes of `x` along `axes`. Without it: all 0.
    #[dtype(T, iOS17 = U)]
    #[constant]
    pub beta: Option<Arg>,
    /// Added to the variance, so that nothing is divided by 0. Default: 1e-5.
    #[dtype(T, iOS17 = U)]
    #[default(1e-5)]
    pub epsilon: f32,
}

impl Infer for LayerNorm {
    fn infer(&self, _: &mut Cx<'_>) -> Result<Vec<Inferred>, OpError> {
        let x = &self.x;
        if self.axes.is_empty() {
            return Err(OpError::at("axes", "`axes` must have at least one axis")); // C1
        }
        let axes = rules::axes(&self.axes, x.rank(), "axes")?;
        let expected: Shape = axes.iter().map(|a| x.dim(*a).clone()).collect();
        affine(&self.gamma, &self.beta, |arg, param| {
            if arg.shape().compatible(&expected) {
                return Ok(());
            }
            let message = format!("`{param}` must have the sizes of `x` along `axes`, {expected}, found {}", arg.ty);
            Err(OpError::at(param, message)) // C2
        })?;
        not_negative(self.epsilon)?; // C3
        Ok(vec![x.ty.clone().into()])
    }
}

/// `x / (k + alpha / size * sum)^beta`, where the sum is of the squares of `size` neighbouring channels at the same
/// place: the channel itself, `size / 2` (rounded down) before it and the rest after it. Channels that do not exist are
/// as zeros.
///
/// A tensor of rank 3 is an image without batch: its channels are its first dimension. coremltools' page of the op says
/// `[N, C, D]` there, but the results that its own test expects of Core ML are so.
///
/// # Constraints
/// - C1 `x` has rank 3 to 5.
/// - C2 `size` is 1 or more.
#[derive(Op, Clone, Debug)]
#[op(name = "local_response_norm", since = iOS15)]
#[domain(T = F16 | F32)]
#[domain(U = F16 | F32)]
pub struct LocalResponseNorm {
    /// `[C, H, W]` or `[N, C, *D]`.
    #[dtype(T)]
    pub x: Arg,
    /// How many channels are summed.
    #[dtype(I32)]
    pub size: i64,
    /// What the mean of the squares is multiplied by. Default: 1e-4.
    #[dtype(T, iOS17 = U)]
    #[default(1e-4)]
    pub alpha: f32,
    /// The exponent. Default: 0.75.
    #[dtype(T, iOS17 = U)]
    #[default(0.75)]
    pub beta: f32,
    /// What is added. Default: 1.
    #[dtype(T, iOS17 = U)]
    #[default(1.0)]
    pub k: f32,
}

impl LocalResponseNorm {
    /// The dimension of `x` that has the channels.
    pub fn channel_axis(&self) -> usize {
        usize::from(self.x.rank() > 3)
    }
}

impl Infer for LocalResponseNorm {
    fn infer(&self, _: &mut Cx<'_>) -> Result<Vec<Inferred>, OpError> {
        rules::rank_in(&self.x, 3..=5, "x")?; // C1
        rules::at_least(&[self.size], 1, "size")?; // C2
        Ok(vec![self.x.ty.clone().into()])
    }
}

fn affine(
    gamma: &Option<Arg>,
    beta: &Option<Arg>,
    check: impl Fn(&Arg, &str) -> Result<(), OpError>,
) -> Result<(), OpError> {
    let given = [(gamma, "gamma"), (beta, "beta")];
    given.into_iter().try_for_each(|(arg, param)| arg.as_ref().map_or(Ok(()), |arg| check(arg, param)))
}

fn not_negative(epsilon: f32) -> Result<(), OpError> {
    match epsilon >= 0.0 {
        true => Ok(()),
        false => Err(OpError::at("epsilon", format!("`epsilon` must be 0 or more, found {epsilon}"))),
    }
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

    fn v(n: usize) -> Constant {
        Constant::vector(&vec![1f32; n])
    }

    fn half(n: usize) -> Constant {
        Constant::vector(&vec![f16::ONE; n])
    }

    const X: &str = "Tensor<f32, 1, 3, 4, 5>";

    #[test]
    fn the_type_stays() {
        infers(|g| mb::batch_norm(g.t(X), v(3), v(3)).gamma(v(3)).beta(v(3)), X);
        infers(|g| mb::batch_norm(g.t("Tensor<f16, N, 3, L>"), half(3), half(3)), "Tensor<f16, N, 3, L>");
        infers(|g| mb::instance_norm(g.t("Tensor<f16, N, C, H, W>")).gamma(half(3)), "Tensor<f16, N, C, H, W>");
        infers(|g| mb::l2_norm(g.t("Tensor<f16, B, 1, 2, 3, 4>")), "Tensor<f16, B, 1, 2, 3, 4>");
        infers(|g| mb::layer_norm(g.t(X)), X);
        infers(|g| mb::local_response_norm(g.t("Tensor<f16, N, C, L>"), 5).alpha(0.01), "Tensor<f16, N, C, L>");
        infers(|g| mb::layer_norm(g.t("Tensor<f16, N, S, 8>")).axes([-1]).gamma(half(8)), "Tensor<f16, N, S, 8>");
        infers(|g| mb::layer_norm(g.t(X)).axes([-1, 2]).beta(Constant::new([4, 5], &[0f32; 20]).unwrap()), X);
    }

    #[test]
    fn c1_ranks() {
        fails(|g| mb::batch_norm(g.t("Tensor<f32, 1, 3>"), v(3), v(3)), "x", "rank 3 to 5");
        fails(|g| mb::instance_norm(g.t("Tensor<f32, 1, 3, 4, 5, 6>")), "x", "rank 3 to 4");
        fails(|g| mb::l2_norm(g.t("Tensor<f32, 3, 4>")), "x", "rank 3 or more");
        fails(|g| mb::local_response_norm(g.t("Tensor<f32, 3, 4>"), 2), "x", "rank 3 to 5");
    }

    #[test]
    fn c1_axes() {
        fails(|g| mb::layer_norm(g.t(X)).axes([4]), "axes", "out of range");
        fails(|g| mb::layer_norm(g.t(X)).axes([3, -1]), "axes", "twice");
        fails(|g| mb::layer_norm(g.t(X)).axes(Vec::<i64>::new()), "axes", "at least one");
    }

    #[test]
    fn c2_one_element_per_channel() {
        fails(|g| mb::batch_norm(g.t(X), v(4), v(3)), "mean", "3 elements, found 4");
        fails(|g| mb::batch_norm(g.t(X), v(3), v(4)), "variance", "3 elements, found 4");
        fails(|g| mb::batch_norm(g.t(X), v(3), v(3)).gamma(v(2)), "gamma", "3 elements, found 2");
        fails(|g| mb::batch_norm(g.t(X), v(3), v(3)).beta(v(2)), "beta", "3 elements, found 2");
        fails(|g| mb::batch_norm(g.t(X), 1.0, v(3)), "mean", "rank 1");
        fails(|g| mb::instance_norm(g.t(X)).gamma(v(4)), "gamma", "3 elements, found 4");
        fails(|g| mb::instance_norm(g.t(X)).beta(v(4)), "beta", "3 elements, found 4");
    }

    #[test]
    fn c2_sizes_along_axes() {
        fails(|g| mb::layer_norm(g.t(X)).axes([-1]).gamma(v(4)), "gamma", "[5]");
        fails(|g| mb::layer_norm(g.t(X)).axes([2, 3]).beta(v(20)), "beta", "[4, 5]");
    }

    #[test]
    fn c2_size_of_the_neighbourhood() {
        fails(|g| mb::local_response_norm(g.t(X), 0), "size", "1 or more, found 0");
    }

    #[test]
    fn epsilon_is_not_negative() {
        fails(|g| mb::batch_norm(g.t(X), v(3), v(3)).epsilon(-0.5), "epsilon", "found -0.5");
        fails(|g| mb::instance_norm(g.t(X)).epsilon(-0.5), "epsilon", "found -0.5");
        fails(|g| mb::l2_norm(g.t(X)).epsilon(-0.5), "epsilon", "found -0.5");
        fails(|g| mb::layer_norm(g.t(X)).epsilon(-0.5), "epsilon", "found -0.5");
    }

    #[test]
    fn parameters_are_constants() {
        fails(|g| mb::batch_norm(g.t(X), g.t("Tensor<f32, 3>"), v(3)), "mean", "must be a constant");
        fails(|g| mb::layer_norm(g.t(X)).axes([1]).gamma(g.t("Tensor<f32, 3>")), "gamma", "must be a constant");
    }

    #[test]
    fn parameter_dtypes_by_opset() {
        fn both<O: Op>(call: impl Fn(&mut Test) -> Call<O>, param: &str) {
            fails_in(Opset::iOS16, &call, param, "same dtype");
            infers(&call, X);
        }
        both(|g| mb::batch_norm(g.t(X), half(3), half(3)), "mean");
        both(|g| mb::instance_norm(g.t(X)).gamma(half(3)), "gamma");
        both(|g| mb::l2_norm(g.t(X)).epsilon(Constant::scalar(f16::ONE)), "epsilon");
        both(|g| mb::layer_norm(g.t(X)).axes([1]).beta(half(3)), "beta");
        both(|g| mb::local_response_norm(g.t(X), 3).k(Constant::scalar(f16::ONE)), "k");
    }
}
