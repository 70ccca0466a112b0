//! Normalizations.

use mil_core::{graph::Value, mb, types::DType};

use super::{Entry, Lowered, Node};
use crate::import::{Refusal, Size, Tensor};

pub(super) const OPS: &[Entry] = &[
    Entry::new("BatchNormalization", batch_normalization).but("`spatial` 0 of opset 7 is not supported"),
    Entry::new("GroupNormalization", group_normalization),
    Entry::new("InstanceNormalization", instance_normalization),
    Entry::new("LRN", local_response),
    Entry::new("LayerNormalization", layer_normalization),
    Entry::new("LpNormalization", lp_normalization),
    Entry::new("MeanVarianceNormalization", mean_variance_normalization),
    Entry::new("RMSNormalization", rms_normalization),
];

/// The dtype that a tensor of floats is computed in.
fn carried(x: &Tensor) -> DType {
    x.value.dtype().unwrap_or(DType::F32)
}

fn known(v: &Value) -> bool {
    v.known().is_some_and(|k| k.constant().is_some())
}

/// A scale or an offset per channel, of the dtype of what it is applied to.
fn per_channel(n: &mut Node<'_, '_>, i: usize, x: &Tensor) -> Result<Value, Refusal> {
    let t = n.input(i)?;
    n.cast(&t.value, carried(x))
}

/// `x * scale + offset`, with vectors along an axis.
fn affine(n: &mut Node<'_, '_>, x: &Value, scale: &Value, offset: &Value, axis: usize) -> Result<Value, Refusal> {
    let rank = x.shape().map_or(0, |s| s.rank());
    let scale = n.along(scale, axis, rank)?;
    let offset = n.along(offset, axis, rank)?;
    let y = n.push(mb::mul(x, &scale))?;
    n.push(mb::add(&y, &offset))
}

fn batch_normalization(n: &mut Node<'_, '_>) -> Lowered {
    let x = n.input(0)?;
    if n.opset < 9 && n.int_or("spatial", 1)? == 0 {
        return Err(Refusal::new("its `spatial` is 0: means of places instead of channels are not supported"));
    }
    x.axis(1)?;
    let epsilon = n.float_or("epsilon", 1e-5)?;
    let (scale, bias) = (per_channel(n, 1, &x)?, per_channel(n, 2, &x)?);
    let (mean, variance) = (per_channel(n, 3, &x)?, per_channel(n, 4, &x)?);
    if n.opset >= 14 && n.int_or("training_mode", 0)? != 0 {
        return batch_normalization_in_training(n, &x, [&scale, &bias, &mean, &variance], epsilon);
    }
    let constant = [&scale, &bias, &mean, &variance].into_iter().all(known);
    if constant && (3..=5).contains(&x.rank()) {
        let call = mb::batch_norm(&x.value, &mean, &variance).gamma(&scale).beta(&bias).epsilon(epsilon);
        let y = n.push(call)?;
        return n.one(y, x.dtype);
    }
    let inverse = n.push(mb::rsqrt(&variance).epsilon(epsilon))?;
    let factor = n.push(mb::mul(&scale, &inverse))?;
    let y = if constant {
        let shift = n.push(mb::mul(&mean, &factor))?;
        let offset = n.push(mb::sub(&bias, &shift))?;
        affine(n, &x.value, &factor, &offset, 1)?
    } else {
        let mean = n.along(&mean, 1, x.rank())?;
        let centered = n.push(mb::sub(&x.value, &mean))?;
        affine(n, &centered, &factor, &bias, 1)?
    };
    n.one(y, x.dtype)
}

/// With the batch's own mean and variance, which change the running ones.
fn batch_normalization_in_training(
    n: &mut Node<'_, '_>,
    x: &Tensor,
    [scale, bias, running_mean, running_variance]: [&Value; 4],
    epsilon: f32,
) -> Lowered {
    let momentum = n.float_or("momentum", 0.9)?;
    let axes: Vec<i64> = (0..x.rank() as i64).filter(|a| *a != 1).collect();
    let (mean, centered, variance) = moments(n, &x.value, &axes)?;
    let inverse = n.push(mb::rsqrt(&variance).epsilon(epsilon))?;
    let normal = n.push(mb::mul(&centered, &inverse))?;
    let y = affine(n, &normal, scale, bias, 1)?;
    let axes: Vec<usize> = axes.iter().map(|a| *a as usize).collect();
    let mut outputs = vec![Tensor::new(y, x.dtype)];
    for (running, now) in [(running_mean, mean), (running_variance, variance)] {
        let now = n.squeeze(&now, &axes)?;
        let kept = n.push(mb::mul(running, momentum))?;
        let new = n.push(mb::mul(&now, 1.0 - momentum))?;
        let sum = n.push(mb::add(&kept, &new))?;
        outputs.push(Tensor::new(sum, x.dtype));
    }
    Ok(outputs)
}

/// Mean, distance from the mean, and variance along axes, which stay.
fn moments(n: &mut Node<'_, '_>, x: &Value, axes: &[i64]) -> Result<(Value, Value, Value), Refusal> {
    let mean = n.push(mb::reduce_mean(x).axes(axes).keep_dims(true))?;
    let centered = n.push(mb::sub(x, &mean))?;
    let square = n.push(mb::square(&centered))?;
    let variance = n.push(mb::reduce_mean(&square).axes(axes).keep_dims(true))?;
    Ok((mean, centered, variance))
}

fn instance_normalization(n: &mut Node<'_, '_>) -> Lowered {
    let x = n.input(0)?;
    let epsilon = n.float_or("epsilon", 1e-5)?;
    let (scale, bias) = (per_channel(n, 1, &x)?, per_channel(n, 2, &x)?);
    let sizes = n.sizes(&x.value)?;
    let flat = match &sizes[..] {
        // MIL's op has at most two spatial dimensions.
        [batch, channels, _, _, _] => n.reshape(&x.value, &[batch.clone(), channels.clone(), Size::Fixed(-1)])?,
        _ => x.value.clone(),
    };
    let call = mb::instance_norm(&flat).epsilon(epsilon);
    let y = if known(&scale) && known(&bias) {
        n.push(call.gamma(&scale).beta(&bias))?
    } else {
        let y = n.push(call)?;
        affine(n, &y, &scale, &bias, 1)?
    };
    let y = n.reshape(&y, &sizes)?;
    n.one(y, x.dtype)
}

/// Channels are normalized in groups. Up to opset 20 a scale is of a group, then of a channel.
fn group_normalization(n: &mut Node<'_, '_>) -> Lowered {
    let x = n.input(0)?;
    let epsilon = n.float_or("epsilon", 1e-5)?;
    let groups = n.int("num_groups")?.filter(|g| *g > 0);
    let groups = groups.ok_or_else(|| Refusal::new("its `num_groups` is missing or not positive"))?;
    let (scale, bias) = (per_channel(n, 1, &x)?, per_channel(n, 2, &x)?);
    let sizes = n.sizes(&x.value)?;
    let Some(batch) = sizes.first() else { return Err(Refusal::new("its input is a scalar")) };
    let flat = n.reshape(&x.value, &[batch.clone(), Size::Fixed(groups), Size::Fixed(-1)])?;
    let y = n.push(mb::layer_norm(&flat).axes([2]).epsilon(epsilon))?;
    let of_groups = n.opset < 21 && scale.shape().and_then(|s| s.first()).is_some_and(|d| d.is(groups));
    let y = if of_groups { affine(n, &y, &scale, &bias, 1)? } else { y };
    let y = n.reshape(&y, &sizes)?;
    let y = if of_groups { y } else { affine(n, &y, &scale, &bias, 1)? };
    n.one(y, x.dtype)
}

fn layer_normalization(n: &mut Node<'_, '_>) -> Lowered {
    let x = n.input(0)?;
    let scale = n.input(1)?;
    let bias = n.optional(2)?;
    let first = x.axis(n.int_or("axis", -1)?)?;
    let epsilon = n.float_or("epsilon", 1e-5)?;
    // Counted from the end, as one writes it.
    let axes: Vec<i64> = (first..x.rank()).map(|a| a as i64 - x.rank() as i64).collect();
    let wanted: Option<Vec<usize>> = (first..x.rank()).map(|a| x.size(a)).collect();
    let inside = |t: &Tensor| t.constant().is_some() && wanted.is_some() && t.fixed() == wanted;
    let scale_value = n.cast(&scale.value, carried(&x))?;
    let bias_value = bias.as_ref().map(|b| n.cast(&b.value, carried(&x))).transpose()?;
    let mut call = mb::layer_norm(&x.value).axes(&axes[..]).epsilon(epsilon);
    let (mut after, mut offset) = (Some(scale_value.clone()), bias_value.clone());
    if inside(&scale) {
        call = call.gamma(&scale_value);
        after = None;
        if let (Some(b), Some(value)) = (&bias, &bias_value)
            && inside(b)
        {
            call = call.beta(value);
            offset = None;
        }
    }
    let mut y = n.push(call)?;
    if let Some(scale) = after {
        y = n.push(mb::mul(&y, &scale))?;
    }
    if let Some(offset) = offset {
        y = n.push(mb::add(&y, &offset))?;
    }
    let mut outputs = vec![Tensor::new(y, x.dtype)];
    if n.has_output(1) || n.has_output(2) {
        let x = n.cast(&x.value, DType::F32)?;
        let (mean, _, variance) = moments(n, &x, &axes)?;
        let inverse = n.push(mb::rsqrt(&variance).epsilon(epsilon))?;
        outputs.extend([mean, inverse].map(|v| Tensor::new(v, DType::F32)));
    }
    Ok(outputs)
}

/// Divided by the root of the mean of squares, which is computed in f32 if the node says so.
fn rms_normalization(n: &mut Node<'_, '_>) -> Lowered {
    let x = n.input(0)?;
    let scale = n.input(1)?;
    let first = x.axis(n.int_or("axis", -1)?)?;
    let epsilon = n.float_or("epsilon", 1e-5)?;
    let wide = n.dtype_attr("stash_type")?.unwrap_or(DType::F32) != DType::F16;
    let v = if wide { n.cast(&x.value, DType::F32)? } else { x.value.clone() };
    let axes: Vec<i64> = (first..x.rank()).map(|a| a as i64 - x.rank() as i64).collect();
    let square = n.push(mb::square(&v))?;
    let mean = n.push(mb::reduce_mean(&square).axes(&axes[..]).keep_dims(true))?;
    let inverse = n.push(mb::rsqrt(&mean).epsilon(epsilon))?;
    let y = n.push(mb::mul(&v, &inverse))?;
    let y = n.cast(&y, carried(&x))?;
    let scale = n.cast(&scale.value, carried(&x))?;
    let y = n.push(mb::mul(&y, &scale))?;
    n.one(y, x.dtype)
}

/// Divided by a norm along an axis; 0 where that is 0.
fn lp_normalization(n: &mut Node<'_, '_>) -> Lowered {
    let x = n.input(0)?;
    let axis = x.axis(n.int_or("axis", -1)?)? as i64;
    let norm = match n.int_or("p", 2)? {
        1 => n.push(mb::reduce_l1_norm(&x.value).axes([axis]).keep_dims(true))?,
        2 => n.push(mb::reduce_l2_norm(&x.value).axes([axis]).keep_dims(true))?,
        p => return Err(Refusal::new(format!("its `p` is {p}, but must be 1 or 2"))),
    };
    let none = n.push(mb::equal(&norm, 0.0))?;
    let norm = n.push(mb::select(&none, 1.0, &norm))?;
    let y = n.push(mb::real_div(&x.value, &norm))?;
    n.one(y, x.dtype)
}

fn mean_variance_normalization(n: &mut Node<'_, '_>) -> Lowered {
    let x = n.input(0)?;
    let axes = n.ints_attr("axes")?.unwrap_or_else(|| vec![0, 2, 3]);
    let axes: Vec<i64> = n.axes(&axes, x.rank())?.into_iter().map(|a| a as i64).collect();
    let (_, centered, variance) = moments(n, &x.value, &axes)?;
    let deviation = n.push(mb::sqrt(&variance))?;
    // As ONNX defines it: the small number is added to the deviation.
    let deviation = n.push(mb::add(&deviation, 1e-9))?;
    let y = n.push(mb::real_div(&centered, &deviation))?;
    n.one(y, x.dtype)
}

fn local_response(n: &mut Node<'_, '_>) -> Lowered {
    let x = n.input(0)?;
    let size = n.int("size")?.ok_or_else(|| Refusal::new("its `size` is missing"))?;
    let (alpha, beta, bias) = (n.float_or("alpha", 1e-4)?, n.float_or("beta", 0.75)?, n.float_or("bias", 1.0)?);
    // MIL takes what has three dimensions for an image without batch.
    let added: Vec<usize> = (x.rank()..4).collect();
    let mut v = n.expand_dims(&x.value, &added)?;
    // Of an even number of channels ONNX has the greater half after, MIL before.
    let turned = size % 2 == 0;
    if turned {
        v = n.push(mb::reverse(&v).axes([1]))?;
    }
    let mut y = n.push(mb::local_response_norm(&v, size).alpha(alpha).beta(beta).k(bias))?;
    if turned {
        y = n.push(mb::reverse(&y).axes([1]))?;
    }
    let y = n.squeeze(&y, &added)?;
    n.one(y, x.dtype)
}

#[cfg(test)]
mod tests {
    use mil_core::{ir::Constant, types::DType::F32};

    use crate::onnx::testing::{Net, int};

    fn vector(n: usize) -> Constant {
        Constant::vector(&vec![0.5f32; n])
    }

    #[test]
    fn normalizations_of_constants_are_one_op() {
        let net = |shape: &[i64]| {
            let net = Net::new(15).input("x", F32, shape);
            let net = ["s", "b", "m", "v"].into_iter().fold(net, |net, name| net.constant(name, vector(3)));
            net.node("BatchNormalization", "x s b m v", "y", &[]).ops("y")
        };
        assert_eq!(net(&[1, 3, 4, 4]), ["batch_norm"]);
        assert_eq!(net(&[-1, 3]), ["mul", "add"]);
        let net = Net::new(17).input("x", F32, &[1, 5, 8]).constant("s", vector(8)).constant("b", vector(8));
        assert_eq!(net.node("LayerNormalization", "x s b", "y", &[]).ops("y"), ["layer_norm"]);
        let net = Net::new(17).input("x", F32, &[1, 3, 8, 8]).constant("s", vector(3)).constant("b", vector(3));
        assert_eq!(net.node("InstanceNormalization", "x s b", "y", &[]).ops("y"), ["instance_norm"]);
    }

    #[test]
    fn what_is_computed_is_multiplied_after() {
        let net = Net::new(17).input("x", F32, &[1, 5, 8]).input("s", F32, &[8]).constant("b", vector(8));
        assert_eq!(net.node("LayerNormalization", "x s b", "y", &[]).ops("y"), ["layer_norm", "mul", "add"]);
    }

    #[test]
    fn channels_of_even_windows_are_turned() {
        let ops = |size| {
            let net = Net::new(13).input("x", F32, &[1, 5, 4, 4]);
            net.node("LRN", "x", "y", &[int("size", size)]).ops("y")
        };
        assert_eq!(ops(3), ["local_response_norm"]);
        assert_eq!(ops(4), ["reverse", "local_response_norm", "reverse"]);
    }

    #[test]
    fn norms_have_a_power() {
        let net = Net::new(13).input("x", F32, &[2, 3]).node("LpNormalization", "x", "y", &[int("p", 3)]);
        assert!(net.import("y").unwrap_err().contains("must be 1 or 2"));
    }
}
