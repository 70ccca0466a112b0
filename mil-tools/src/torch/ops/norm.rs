//! Normalizations.

use mil_core::{graph::Value, mb, types::DType};

use super::{Entry, Lowered, Node};
use crate::import::{Refusal, Size, Tensor};

pub(super) const OPS: &[Entry] = &[
    Entry::new("aten::_batch_norm_with_update", training),
    Entry::new("aten::_native_batch_norm_legit", native_batch_norm),
    Entry::new("aten::_native_batch_norm_legit_no_training", |n| {
        let (mean, variance) = (n.tensor(3, "running_mean")?, n.tensor(4, "running_var")?);
        let eps = n.float_or(6, "eps", 1e-5)?;
        batch_norm_of(n, Some((mean, variance)), eps)
    }),
    Entry::new("aten::_weight_norm", weight_norm),
    Entry::new("aten::batch_norm", native_batch_norm),
    Entry::new("aten::cudnn_batch_norm", native_batch_norm),
    Entry::new("aten::group_norm", group_norm),
    Entry::new("aten::instance_norm", instance_norm),
    Entry::new("aten::layer_norm", layer_norm),
    Entry::new("aten::native_batch_norm", native_batch_norm),
    Entry::new("aten::native_group_norm", native_group_norm),
    Entry::new("aten::native_layer_norm", layer_norm),
    Entry::new("aten::rms_norm", rms_norm),
];

fn training(_: &mut Node<'_, '_>) -> Lowered {
    Err(Refusal::new("changes its statistics, as in training").remedy("export the module in `eval()` mode"))
}

/// A vector along the channels, the second dimension of a tensor of this rank.
fn channels(n: &mut Node<'_, '_>, v: &Value, rank: usize) -> Result<Value, Refusal> {
    let axes: Vec<usize> = (1..rank.saturating_sub(1)).collect();
    n.expand_dims(v, &axes)
}

/// `x * weight + bias` with one of each per channel.
fn affine(n: &mut Node<'_, '_>, x: &Value, weight: Option<&Tensor>, bias: Option<&Tensor>) -> Result<Value, Refusal> {
    let rank = x.shape().map_or(0, |s| s.rank());
    let mut y = x.clone();
    if let Some(weight) = weight {
        let weight = channels(n, &weight.value, rank)?;
        y = n.push(mb::mul(&y, &weight))?;
    }
    if let Some(bias) = bias {
        let bias = channels(n, &bias.value, rank)?;
        y = n.push(mb::add(&y, &bias))?;
    }
    Ok(y)
}

/// `batch_norm` and `_native_batch_norm_legit`, whose overload `no_stats` has no running statistics.
fn native_batch_norm(n: &mut Node<'_, '_>) -> Lowered {
    let no_stats = n.overload() == "no_stats";
    let shift = if no_stats { 2 } else { 0 };
    let (mean, variance) =
        if no_stats { (None, None) } else { (n.optional(3, "running_mean")?, n.optional(4, "running_var")?) };
    let training = n.bool_or(5 - shift, "training", false)?;
    let eps = n.float_or(7 - shift, "eps", 1e-5)?;
    let statistics = mean.zip(variance).filter(|_| !training);
    batch_norm_of(n, statistics, eps)
}

fn batch_norm_of(n: &mut Node<'_, '_>, statistics: Option<(Tensor, Tensor)>, eps: f64) -> Lowered {
    let x = n.float_tensor(0, "input")?;
    let (weight, bias) = (n.optional(1, "weight")?, n.optional(2, "bias")?);
    let rank = x.rank();
    let Some((mean, variance)) = statistics else {
        // Those of this batch.
        let axes: Vec<i64> = (0..rank as i64).filter(|a| *a != 1).collect();
        let y = n.push(mb::layer_norm(&x.value).axes(axes).epsilon(eps))?;
        let y = affine(n, &y, weight.as_ref(), bias.as_ref())?;
        return n.one(y, x.dtype);
    };
    let all = [Some(&mean), Some(&variance), weight.as_ref(), bias.as_ref()];
    if !all.iter().flatten().all(|t| t.constant().is_some()) {
        let (mean, variance) = (channels(n, &mean.value, rank)?, channels(n, &variance.value, rank)?);
        let centered = n.push(mb::sub(&x.value, &mean))?;
        let below = n.push(mb::add(&variance, eps))?;
        let below = n.push(mb::sqrt(&below))?;
        let y = n.push(mb::real_div(&centered, &below))?;
        let y = affine(n, &y, weight.as_ref(), bias.as_ref())?;
        return n.one(y, x.dtype);
    }
    // In the dtype of the input: PyTorch keeps statistics in f32 for inputs of f16.
    let as_x = |n: &mut Node<'_, '_>, t: &Tensor| Ok::<_, Refusal>(n.convert(t, x.dtype)?.value);
    let (mean, variance) = (as_x(n, &mean)?, as_x(n, &variance)?);
    let flat = rank == 2;
    let value = if flat { n.expand_dims(&x.value, &[2])? } else { x.value.clone() };
    let mut call = mb::batch_norm(&value, &mean, &variance).epsilon(eps);
    if let Some(weight) = &weight {
        call = call.gamma(&as_x(n, weight)?);
    }
    if let Some(bias) = &bias {
        call = call.beta(&as_x(n, bias)?);
    }
    let y = n.push(call)?;
    let y = if flat { n.squeeze(&y, &[2])? } else { y };
    n.one(y, x.dtype)
}

fn instance_norm(n: &mut Node<'_, '_>) -> Lowered {
    let eps = n.float_or(7, "eps", 1e-5)?;
    if !n.bool_or(5, "use_input_stats", true)? {
        let (mean, variance) = (n.tensor(3, "running_mean")?, n.tensor(4, "running_var")?);
        return batch_norm_of(n, Some((mean, variance)), eps);
    }
    let x = n.float_tensor(0, "input")?;
    let (weight, bias) = (n.optional(1, "weight")?, n.optional(2, "bias")?);
    let constant = |t: &Option<Tensor>| t.as_ref().is_none_or(|t| t.constant().is_some());
    if (3..=4).contains(&x.rank()) && constant(&weight) && constant(&bias) {
        let mut call = mb::instance_norm(&x.value).epsilon(eps);
        if let Some(weight) = &weight {
            call = call.gamma(&weight.value);
        }
        if let Some(bias) = &bias {
            call = call.beta(&bias.value);
        }
        let y = n.push(call)?;
        return n.one(y, x.dtype);
    }
    let axes: Vec<i64> = (2..x.rank() as i64).collect();
    let y = n.push(mb::layer_norm(&x.value).axes(axes).epsilon(eps))?;
    let y = affine(n, &y, weight.as_ref(), bias.as_ref())?;
    n.one(y, x.dtype)
}

fn layer_norm(n: &mut Node<'_, '_>) -> Lowered {
    let x = n.float_tensor(0, "input")?;
    let shape = n.dims(1, "normalized_shape")?.unwrap_or_default();
    let (weight, bias) = (n.optional(2, "weight")?, n.optional(3, "bias")?);
    let eps = n.float_or(4, "eps", 1e-5)?;
    if shape.is_empty() || shape.len() > x.rank() {
        return Err(Refusal::new(format!("normalizes over {} dimensions of {}", shape.len(), x.rank())));
    }
    let axes: Vec<i64> = (-(shape.len() as i64)..0).collect();
    let mut call = mb::layer_norm(&x.value).axes(axes.clone()).epsilon(eps);
    let constant = |t: &Option<Tensor>| t.as_ref().is_some_and(|t| t.constant().is_some());
    let gamma = weight.clone().filter(|_| constant(&weight));
    // A product that is not inside of the op comes before the sum.
    let beta = bias.clone().filter(|_| constant(&bias) && (weight.is_none() || gamma.is_some()));
    if let Some(gamma) = &gamma {
        call = call.gamma(&n.convert(gamma, x.dtype)?.value);
    }
    if let Some(beta) = &beta {
        call = call.beta(&n.convert(beta, x.dtype)?.value);
    }
    let mut y = n.push(call)?;
    if let Some(weight) = weight.filter(|_| gamma.is_none()) {
        y = n.push(mb::mul(&y, &weight.value))?;
    }
    if let Some(bias) = bias.filter(|_| beta.is_none()) {
        y = n.push(mb::add(&y, &bias.value))?;
    }
    n.one(y, x.dtype)
}

fn group_norm(n: &mut Node<'_, '_>) -> Lowered {
    let groups = n.int(1, "num_groups")?;
    let (weight, bias) = (n.optional(2, "weight")?, n.optional(3, "bias")?);
    let eps = n.float_or(4, "eps", 1e-5)?;
    grouped(n, groups, weight, bias, eps)
}

fn native_group_norm(n: &mut Node<'_, '_>) -> Lowered {
    let (weight, bias) = (n.optional(1, "weight")?, n.optional(2, "bias")?);
    let groups = n.int(6, "group")?;
    let eps = n.float_or(7, "eps", 1e-5)?;
    grouped(n, groups, weight, bias, eps)
}

fn grouped(n: &mut Node<'_, '_>, groups: i64, weight: Option<Tensor>, bias: Option<Tensor>, eps: f64) -> Lowered {
    let x = n.float_tensor(0, "input")?;
    let sizes = n.sizes(&x.value)?;
    let batch = sizes.first().cloned().ok_or_else(|| Refusal::new("its input has no dimensions"))?;
    let rows = n.reshape(&x.value, &[batch, Size::Fixed(groups), Size::Fixed(-1)])?;
    let rows = n.push(mb::layer_norm(&rows).axes([2]).epsilon(eps))?;
    let y = n.reshape(&rows, &sizes)?;
    let y = affine(n, &y, weight.as_ref(), bias.as_ref())?;
    n.one(y, x.dtype)
}

/// `x / sqrt(mean of squares + eps) * weight`.
fn rms_norm(n: &mut Node<'_, '_>) -> Lowered {
    let x = n.float_tensor(0, "input")?;
    let count = n.dims(1, "normalized_shape")?.unwrap_or_default().len();
    let weight = n.optional(2, "weight")?;
    // Source: `torch.nn.RMSNorm`: the distance from 1 to the next float if nothing is said.
    let next = if x.dtype == DType::F16 { 2f64.powi(-10) } else { f64::from(f32::EPSILON) };
    let eps = n.float_or(3, "eps", next)?;
    let axes: Vec<i64> = (-(count as i64)..0).collect();
    let square = n.push(mb::square(&x.value))?;
    let mean = n.push(mb::reduce_mean(&square).axes(axes).keep_dims(true))?;
    let mean = n.push(mb::add(&mean, eps))?;
    let factor = super::unary::rsqrt(n, &mean)?;
    let mut y = n.push(mb::mul(&x.value, &factor))?;
    if let Some(weight) = weight {
        y = n.push(mb::mul(&y, &weight.value))?;
    }
    n.one(y, x.dtype)
}

/// `v * g / |v|`, the norm being over all dimensions but one.
fn weight_norm(n: &mut Node<'_, '_>) -> Lowered {
    let (v, g) = (n.tensor(0, "v")?, n.tensor(1, "g")?);
    let dim = n.int_or(2, "dim", 0)?;
    let keep = if dim == -1 { None } else { Some(v.axis(dim)?) };
    let axes: Vec<i64> = (0..v.rank()).filter(|a| Some(*a) != keep).map(|a| a as i64).collect();
    let norm = n.push(mb::reduce_l2_norm(&v.value).axes(axes).keep_dims(true))?;
    let factor = n.push(mb::real_div(&g.value, &norm))?;
    let y = n.push(mb::mul(&v.value, &factor))?;
    n.one(y, v.dtype)
}

#[cfg(test)]
mod tests {
    use crate::torch::testing::Net;

    #[test]
    fn norms_are_one_op() {
        let net = |call: &str| {
            let net =
                Net::new().input("x", &[1, 2, 4, 4]).ones("w", &[2]).ones("b", &[2]).ones("m", &[2]).ones("v", &[2]);
            net.ones("scale", &[4]).node(&format!("y = aten::{call}"))
        };
        let ones = "[1.0, 1.0]";
        let form = format!("batch_norm(x=x, mean={ones}, variance={ones}, gamma={ones}, beta={ones}, epsilon=0.5)");
        assert_eq!(net("batch_norm(x, w, b, m, v, False, 0.1, 0.5, True)").form("y"), [&form[..]]);
        let legit = "_native_batch_norm_legit_no_training(x, w, b, m, v, 0.1, 0.5)";
        assert_eq!(net(legit).form("y"), [&form[..]]);
        let form = "layer_norm(x=x, axes=[-1], gamma=[1.0, 1.0, 1.0, 1.0], epsilon=0.5)";
        assert_eq!(net("layer_norm(x, [4], scale, None, 0.5, True)").form("y"), [form]);
        // Those of the batch.
        assert_eq!(net("batch_norm(x, w, b, m, v, True, 0.1, 0.5, True)").ops("y"), ["layer_norm", "mul", "add"]);
    }

    #[test]
    fn what_is_no_norm_of_a_model_is_refused() {
        let net = |call: &str| Net::new().input("x", &[2, 4]).node(&format!("y = aten::{call}")).refusal("y");
        assert!(net("_batch_norm_with_update(x)").contains("export the module in `eval()` mode"));
        assert!(net("layer_norm(x, [1, 2, 4])").contains("normalizes over 3 dimensions of 2"));
    }
}
