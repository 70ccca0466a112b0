//! Activations.

use mil_core::{graph::Value, mb, types::DType};

use super::{Entry, Lowered, Node};
use crate::import::{Refusal, Tensor};

pub(super) const OPS: &[Entry] = &[
    Entry::new("aten::_log_softmax", log_softmax),
    Entry::new("aten::_softmax", softmax),
    Entry::new("aten::celu", celu),
    Entry::new("aten::elu", elu),
    Entry::new("aten::gelu", gelu),
    Entry::new("aten::glu", glu),
    Entry::new("aten::hardshrink", hardshrink),
    Entry::new("aten::hardsigmoid", |n| simple(n, |n, x| n.push(mb::sigmoid_hard(x, 1.0 / 6.0, 0.5)))),
    Entry::new("aten::hardswish", hardswish),
    Entry::new("aten::hardtanh", hardtanh),
    Entry::new("aten::leaky_relu", leaky_relu),
    Entry::new("aten::log_sigmoid", log_sigmoid),
    Entry::new("aten::log_softmax", log_softmax),
    Entry::new("aten::mish", mish),
    Entry::new("aten::prelu", prelu),
    Entry::new("aten::_prelu_kernel", prelu),
    Entry::new("aten::relu", relu),
    Entry::new("aten::relu6", |n| simple(n, |n, x| n.push(mb::relu6(x)))),
    Entry::new("aten::rrelu", rrelu).but("in `eval()` mode only"),
    Entry::new("aten::selu", selu),
    Entry::new("aten::sigmoid", |n| simple(n, |n, x| n.push(mb::sigmoid(x)))),
    Entry::new("aten::silu", |n| simple(n, |n, x| n.push(mb::silu(x)))),
    Entry::new("aten::softmax", softmax),
    Entry::new("aten::softmin", softmin),
    Entry::new("aten::softplus", softplus),
    Entry::new("aten::softshrink", softshrink),
    Entry::new("aten::softsign", |n| simple(n, |n, x| n.push(mb::softsign(x)))),
    Entry::new("aten::tanhshrink", tanhshrink),
    Entry::new("aten::threshold", threshold),
];

/// A function of floats.
fn simple(n: &mut Node<'_, '_>, f: fn(&mut Node<'_, '_>, &Value) -> Result<Value, Refusal>) -> Lowered {
    let x = n.float_tensor(0, "self|input")?;
    let y = f(n, &x.value)?;
    n.one(y, x.dtype)
}

/// What comes after `softmax` and its kin: the dimension, and the dtype in which it is computed.
fn along(n: &mut Node<'_, '_>) -> Result<(Tensor, i64), Refusal> {
    let x = n.tensor(0, "self|input")?;
    // `_softmax` has a flag for half precision where `softmax` has the dtype.
    let dtype = if n.op().starts_with('_') { None } else { n.dtype(2, "dtype")? };
    let x = match dtype {
        Some(dtype) => n.convert(&x, dtype)?,
        None => n.floats(&x)?,
    };
    let axis = n.int(1, "dim")?;
    if x.rank() == 0 {
        let value = n.expand_dims(&x.value, &[0])?;
        return Ok((Tensor::new(value, x.dtype), 0));
    }
    let axis = x.axis(axis)? as i64;
    Ok((x, axis))
}

/// A tensor of rank 0 had a dimension added.
fn restore(n: &mut Node<'_, '_>, y: Value, dtype: DType) -> Lowered {
    let scalar = n.tensor(0, "self|input")?.rank() == 0;
    let y = if scalar { n.squeeze(&y, &[0])? } else { y };
    n.one(y, dtype)
}

fn softmax(n: &mut Node<'_, '_>) -> Lowered {
    let (x, axis) = along(n)?;
    let y = n.push(mb::softmax(&x.value).axis(axis))?;
    restore(n, y, x.dtype)
}

fn softmin(n: &mut Node<'_, '_>) -> Lowered {
    let (x, axis) = along(n)?;
    let y = n.push(mb::mul(&x.value, -1.0))?;
    let y = n.push(mb::softmax(&y).axis(axis))?;
    restore(n, y, x.dtype)
}

fn log_softmax(n: &mut Node<'_, '_>) -> Lowered {
    let (x, axis) = along(n)?;
    let sum = n.push(mb::reduce_log_sum_exp(&x.value).axes([axis]).keep_dims(true))?;
    let y = n.push(mb::sub(&x.value, &sum))?;
    restore(n, y, x.dtype)
}

fn relu(n: &mut Node<'_, '_>) -> Lowered {
    let x = n.tensor(0, "self|input")?;
    let y = if x.dtype.is_float() { n.push(mb::relu(&x.value))? } else { n.push(mb::maximum(&x.value, 0))? };
    n.one(y, x.dtype)
}

fn leaky_relu(n: &mut Node<'_, '_>) -> Lowered {
    let x = n.float_tensor(0, "self")?;
    let alpha = n.float_or(1, "negative_slope", 0.01)?;
    let y = n.push(mb::leaky_relu(&x.value, alpha))?;
    n.one(y, x.dtype)
}

fn rrelu(n: &mut Node<'_, '_>) -> Lowered {
    let x = n.float_tensor(0, "self")?;
    if n.bool_or(3, "training", false)? {
        return Err(Refusal::new("draws numbers by chance while training").remedy("export the module in `eval()` mode"));
    }
    let alpha = (n.float_or(1, "lower", 1.0 / 8.0)? + n.float_or(2, "upper", 1.0 / 3.0)?) / 2.0;
    let y = n.push(mb::leaky_relu(&x.value, alpha))?;
    n.one(y, x.dtype)
}

fn elu(n: &mut Node<'_, '_>) -> Lowered {
    let x = n.float_tensor(0, "self")?;
    let (alpha, scale) = (n.float_or(1, "alpha", 1.0)?, n.float_or(2, "scale", 1.0)?);
    let input_scale = n.float_or(3, "input_scale", 1.0)?;
    if input_scale == 1.0 {
        let y = n.push(mb::elu(&x.value, alpha))?;
        let y = scaled(n, &y, scale)?;
        return n.one(y, x.dtype);
    }
    // Only what is negative is scaled before the exponential.
    let negative = n.push(mb::minimum(&x.value, 0.0))?;
    let negative = n.push(mb::mul(&negative, input_scale))?;
    let negative = n.push(mb::elu(&negative, alpha))?;
    let positive = n.push(mb::relu(&x.value))?;
    let y = n.push(mb::add(&positive, &negative))?;
    let y = scaled(n, &y, scale)?;
    n.one(y, x.dtype)
}

fn scaled(n: &mut Node<'_, '_>, x: &Value, scale: f64) -> Result<Value, Refusal> {
    if scale == 1.0 { Ok(x.clone()) } else { n.push(mb::mul(x, scale)) }
}

fn selu(n: &mut Node<'_, '_>) -> Lowered {
    // Source: "Self-Normalizing Neural Networks", Klambauer et al. 2017.
    const ALPHA: f64 = 1.673_263_242_354_377_2;
    const SCALE: f64 = 1.050_700_987_355_480_5;
    simple(n, |n, x| {
        let y = n.push(mb::elu(x, ALPHA))?;
        n.push(mb::mul(&y, SCALE))
    })
}

fn celu(n: &mut Node<'_, '_>) -> Lowered {
    let x = n.float_tensor(0, "self")?;
    let alpha = n.float_or(1, "alpha", 1.0)?;
    // What is negative is divided by alpha before the exponential, which `elu` multiplies by alpha; what is positive
    // stays as it is.
    let negative = n.push(mb::minimum(&x.value, 0.0))?;
    let negative = n.push(mb::mul(&negative, 1.0 / alpha))?;
    let negative = n.push(mb::elu(&negative, alpha))?;
    let positive = n.push(mb::relu(&x.value))?;
    let y = n.push(mb::add(&positive, &negative))?;
    n.one(y, x.dtype)
}

fn gelu(n: &mut Node<'_, '_>) -> Lowered {
    let x = n.float_tensor(0, "self")?;
    let mode = match n.text(1, "approximate")?.as_deref() {
        None | Some("none") => "EXACT",
        Some("tanh") => "TANH_APPROXIMATION",
        Some(other) => return Err(Refusal::new(format!("has no approximation `{}`", other.escape_debug()))),
    };
    let y = n.push(mb::gelu(&x.value).mode(mode))?;
    n.one(y, x.dtype)
}

fn glu(n: &mut Node<'_, '_>) -> Lowered {
    let x = n.float_tensor(0, "self")?;
    let axis = n.int_or(1, "dim", -1)?;
    let axis = x.axis(axis)? as i64;
    let halves: Vec<Value> = n.push(mb::split(&x.value, axis).num_splits(2))?;
    let gate = n.push(mb::sigmoid(&halves[1]))?;
    let y = n.push(mb::mul(&halves[0], &gate))?;
    n.one(y, x.dtype)
}

fn hardswish(n: &mut Node<'_, '_>) -> Lowered {
    simple(n, |n, x| {
        let gate = n.push(mb::sigmoid_hard(x, 1.0 / 6.0, 0.5))?;
        n.push(mb::mul(x, &gate))
    })
}

fn hardtanh(n: &mut Node<'_, '_>) -> Lowered {
    let x = n.tensor(0, "self")?;
    let (min, max) = (n.float_or(1, "min_val", -1.0)?, n.float_or(2, "max_val", 1.0)?);
    let y = match (min, max) {
        _ if !x.dtype.is_float() => {
            let y = n.push(mb::maximum(&x.value, min as i64))?;
            n.push(mb::minimum(&y, max as i64))?
        }
        (0.0, 6.0) => n.push(mb::relu6(&x.value))?,
        _ => n.push(mb::clip(&x.value, min, max))?,
    };
    n.one(y, x.dtype)
}

fn log_sigmoid(n: &mut Node<'_, '_>) -> Lowered {
    simple(n, |n, x| {
        let negative = n.push(mb::mul(x, -1.0))?;
        let y = n.push(mb::softplus(&negative))?;
        n.push(mb::mul(&y, -1.0))
    })
}

fn mish(n: &mut Node<'_, '_>) -> Lowered {
    simple(n, |n, x| {
        let y = n.push(mb::softplus(x))?;
        let y = n.push(mb::tanh(&y))?;
        n.push(mb::mul(x, &y))
    })
}

fn prelu(n: &mut Node<'_, '_>) -> Lowered {
    let x = n.float_tensor(0, "self")?;
    let weight = n.tensor(1, "weight")?;
    let channels = x.size(1);
    let slopes =
        weight.numbers().filter(|_| (3..=5).contains(&x.rank()) && weight.rank() <= 1 || weight.rank() == x.rank());
    let y = match (slopes, channels) {
        (Some(slopes), _) if slopes.len() == 1 => n.push(mb::leaky_relu(&x.value, slopes[0]))?,
        (Some(slopes), Some(channels)) if slopes.len() == channels && (3..=5).contains(&x.rank()) => {
            let alpha = n.reshape(&weight.value, &[channels.into()])?;
            n.push(mb::prelu(&x.value, &alpha))?
        }
        _ => {
            // The slopes go along the second dimension, or the only one.
            let slopes = if weight.rank() == 1 && x.rank() > 2 {
                let axes: Vec<usize> = (1..x.rank() - 1).collect();
                n.expand_dims(&weight.value, &axes)?
            } else {
                weight.value.clone()
            };
            let positive = n.push(mb::relu(&x.value))?;
            let negative = n.push(mb::minimum(&x.value, 0.0))?;
            let negative = n.push(mb::mul(&negative, &slopes))?;
            n.push(mb::add(&positive, &negative))?
        }
    };
    n.one(y, x.dtype)
}

fn softplus(n: &mut Node<'_, '_>) -> Lowered {
    let x = n.float_tensor(0, "self")?;
    let (beta, threshold) = (n.float_or(1, "beta", 1.0)?, n.float_or(2, "threshold", 20.0)?);
    let steep = scaled(n, &x.value, beta)?;
    let y = n.push(mb::softplus(&steep))?;
    let y = scaled(n, &y, 1.0 / beta)?;
    // Beyond the usual threshold the two differ by less than floats can tell.
    let y = if threshold >= 20.0 {
        y
    } else {
        let beyond = n.push(mb::greater(&steep, threshold))?;
        n.push(mb::select(&beyond, &x.value, &y))?
    };
    n.one(y, x.dtype)
}

fn hardshrink(n: &mut Node<'_, '_>) -> Lowered {
    let x = n.float_tensor(0, "self")?;
    let lambda = n.float_or(1, "lambd", 0.5)?;
    let size = n.push(mb::abs(&x.value))?;
    let small = n.push(mb::less_equal(&size, lambda))?;
    let zero = n.number_of(x.dtype, 0.0)?;
    let y = n.push(mb::select(&small, &zero, &x.value))?;
    n.one(y, x.dtype)
}

fn softshrink(n: &mut Node<'_, '_>) -> Lowered {
    let x = n.float_tensor(0, "self")?;
    let lambda = n.float_or(1, "lambd", 0.5)?;
    let within = n.push(mb::clip(&x.value, -lambda, lambda))?;
    let y = n.push(mb::sub(&x.value, &within))?;
    n.one(y, x.dtype)
}

fn tanhshrink(n: &mut Node<'_, '_>) -> Lowered {
    simple(n, |n, x| {
        let y = n.push(mb::tanh(x))?;
        n.push(mb::sub(x, &y))
    })
}

fn threshold(n: &mut Node<'_, '_>) -> Lowered {
    let x = n.tensor(0, "self")?;
    let limit = n.float_or(1, "threshold", 0.0)?;
    let value = n.float_or(2, "value", 0.0)?;
    let (limit, value) = (n.number_of(x.dtype, limit)?, n.number_of(x.dtype, value)?);
    let above = n.push(mb::greater(&x.value, &limit))?;
    let y = n.push(mb::select(&above, &x.value, &value))?;
    n.one(y, x.dtype)
}

#[cfg(test)]
mod tests {
    use crate::torch::testing::Net;

    #[test]
    fn gelu_is_one_op() {
        let net = |how: &str| Net::new().input("x", &[2, 3]).node(&format!("y = aten::gelu(x{how})"));
        assert_eq!(net("").form("y"), [r#"gelu(x=x, mode="EXACT")"#]);
        assert_eq!(net(", approximate='tanh'").form("y"), [r#"gelu(x=x, mode="TANH_APPROXIMATION")"#]);
        assert!(net(", approximate='fast'").refusal("y").contains("has no approximation `fast`"));
    }

    #[test]
    fn bounds_make_a_relu() {
        let net = |op: &str| Net::new().input("x", &[2, 3]).node(&format!("y = aten::{op}"));
        assert_eq!(net("hardtanh(x, 0, 6)").form("y"), ["relu6(x=x)"]);
        assert_eq!(net("hardtanh(x, -1.0, 1.0)").form("y"), ["clip(x=x, alpha=-1.0, beta=1.0)"]);
        assert!(net("rrelu(x, 0.1, 0.3, True)").refusal("y").contains("export the module in `eval()` mode"));
    }
}
