//! Activations.

use mil_core::{graph::Value, mb, types::DType};

use super::{Entry, Lowered, Node};
use crate::import::{Refusal, Tensor, literal};

pub(super) const OPS: &[Entry] = &[
    Entry::new("Celu", celu),
    Entry::new("Clip", clip),
    Entry::new("Elu", elu),
    Entry::new("Gelu", gelu),
    Entry::new("HardSigmoid", hard_sigmoid),
    Entry::new("HardSwish", hard_swish),
    Entry::new("Identity", identity),
    Entry::new("LeakyRelu", leaky_relu),
    Entry::new("Mish", mish),
    Entry::new("PRelu", prelu),
    Entry::new("Relu", relu),
    Entry::new("Selu", selu),
    Entry::new("Shrink", shrink),
    Entry::new("Sigmoid", sigmoid),
    Entry::new("Softplus", softplus),
    Entry::new("Softsign", softsign),
    Entry::new("Swish", swish),
    Entry::new("Tanh", tanh),
    Entry::new("ThresholdedRelu", thresholded_relu),
];

/// Ops that MIL has.
macro_rules! same {
    ($($name:ident),*) => {$(
        fn $name(n: &mut Node<'_, '_>) -> Lowered {
            let x = n.input(0)?;
            let y = n.push(mb::$name(&x.value))?;
            n.one(y, x.dtype)
        }
    )*};
}

same!(sigmoid, softplus, softsign, tanh);

fn identity(n: &mut Node<'_, '_>) -> Lowered {
    Ok(vec![n.input(0)?])
}

fn relu(n: &mut Node<'_, '_>) -> Lowered {
    let x = n.input(0)?;
    let y = if x.dtype.is_int() { n.push(mb::maximum(&x.value, 0))? } else { n.push(mb::relu(&x.value))? };
    n.one(y, x.dtype)
}

fn leaky_relu(n: &mut Node<'_, '_>) -> Lowered {
    let x = n.input(0)?;
    let alpha = n.float_or("alpha", 0.01)?;
    let y = n.push(mb::leaky_relu(&x.value, alpha))?;
    n.one(y, x.dtype)
}

fn elu(n: &mut Node<'_, '_>) -> Lowered {
    let x = n.input(0)?;
    let alpha = n.float_or("alpha", 1.0)?;
    let y = n.push(mb::elu(&x.value, alpha))?;
    n.one(y, x.dtype)
}

fn selu(n: &mut Node<'_, '_>) -> Lowered {
    let x = n.input(0)?;
    let alpha = n.float_or("alpha", 1.673_263_2)?;
    let gamma = n.float_or("gamma", 1.050_701)?;
    let y = n.push(mb::elu(&x.value, alpha))?;
    let y = n.push(mb::mul(&y, gamma))?;
    n.one(y, x.dtype)
}

/// `max(0, x) + min(0, alpha * (exp(x / alpha) - 1))`, which is an `elu` in other units.
fn celu(n: &mut Node<'_, '_>) -> Lowered {
    let x = n.input(0)?;
    let alpha = n.float_or("alpha", 1.0)?;
    if alpha <= 0.0 {
        return Err(Refusal::new(format!("its `alpha` is {alpha}, but must be greater than 0")));
    }
    let scaled = if alpha == 1.0 { x.value.clone() } else { n.push(mb::real_div(&x.value, alpha))? };
    let y = n.push(mb::elu(&scaled, 1.0))?;
    let y = if alpha == 1.0 { y } else { n.push(mb::mul(&y, alpha))? };
    n.one(y, x.dtype)
}

fn gelu(n: &mut Node<'_, '_>) -> Lowered {
    let x = n.input(0)?;
    let mode = match &n.string_or("approximate", "none")?[..] {
        "none" => "EXACT",
        "tanh" => "TANH_APPROXIMATION",
        other => return Err(Refusal::new(format!("its `approximate` is \"{}\"", other.escape_debug()))),
    };
    let y = n.push(mb::gelu(&x.value).mode(mode))?;
    n.one(y, x.dtype)
}

fn hard_sigmoid(n: &mut Node<'_, '_>) -> Lowered {
    let x = n.input(0)?;
    let (alpha, beta) = (n.float_or("alpha", 0.2)?, n.float_or("beta", 0.5)?);
    let y = n.push(mb::sigmoid_hard(&x.value, alpha, beta))?;
    n.one(y, x.dtype)
}

fn hard_swish(n: &mut Node<'_, '_>) -> Lowered {
    let x = n.input(0)?;
    let gate = n.push(mb::sigmoid_hard(&x.value, 1f32 / 6.0, 0.5))?;
    let y = n.push(mb::mul(&x.value, &gate))?;
    n.one(y, x.dtype)
}

fn mish(n: &mut Node<'_, '_>) -> Lowered {
    let x = n.input(0)?;
    let gate = n.push(mb::softplus(&x.value))?;
    let gate = n.push(mb::tanh(&gate))?;
    let y = n.push(mb::mul(&x.value, &gate))?;
    n.one(y, x.dtype)
}

fn swish(n: &mut Node<'_, '_>) -> Lowered {
    let x = n.input(0)?;
    let alpha = n.float_or("alpha", 1.0)?;
    if alpha == 1.0 {
        let y = n.push(mb::silu(&x.value))?;
        return n.one(y, x.dtype);
    }
    let gate = n.push(mb::mul(&x.value, alpha))?;
    let gate = n.push(mb::sigmoid(&gate))?;
    let y = n.push(mb::mul(&x.value, &gate))?;
    n.one(y, x.dtype)
}

/// ONNX keeps what is greater than `alpha`, MIL what is at least `alpha`.
fn thresholded_relu(n: &mut Node<'_, '_>) -> Lowered {
    let x = n.input(0)?;
    let alpha = n.float_or("alpha", 1.0)?;
    let y = match alpha {
        0.0 => n.push(mb::relu(&x.value))?,
        _ if x.value.dtype() == Some(DType::F16) => {
            let keep = n.push(mb::greater(&x.value, alpha))?;
            n.push(mb::select(&keep, &x.value, 0.0))?
        }
        _ => n.push(mb::thresholded_relu(&x.value, alpha.next_up()))?,
    };
    n.one(y, x.dtype)
}

/// `x + bias` below `-lambd`, `x - bias` above `lambd`, 0 between.
fn shrink(n: &mut Node<'_, '_>) -> Lowered {
    let x = n.input(0)?;
    let (bias, lambd) = (n.float_or("bias", 0.0)?, n.float_or("lambd", 0.5)?);
    let float = if x.dtype.is_int() { n.cast(&x.value, DType::F32)? } else { x.value.clone() };
    let below = n.push(mb::less(&float, -lambd))?;
    let above = n.push(mb::greater(&float, lambd))?;
    let raised = n.push(mb::add(&float, bias))?;
    let lowered = n.push(mb::sub(&float, bias))?;
    let y = n.push(mb::select(&above, &lowered, 0.0))?;
    let y = n.push(mb::select(&below, &raised, &y))?;
    let y = n.convert(&Tensor::new(y, DType::F32), x.dtype);
    // A float that is carried as such needs no conversion, and f16 has been f16 all the way.
    if x.dtype.is_int() { Ok(vec![y?]) } else { n.one(y?.value, x.dtype) }
}

/// What is below 0 is multiplied by a slope, which broadcasts.
fn prelu(n: &mut Node<'_, '_>) -> Lowered {
    let (x, slope) = (n.input(0)?, n.input(1)?);
    if let Some(y) = prelu_of_channels(n, &x, &slope)? {
        return n.one(y, x.dtype);
    }
    let zero = literal(x.dtype, 0.0);
    let negative = n.push(mb::less(&x.value, zero))?;
    let scaled = n.push(mb::mul(&x.value, &slope.value))?;
    let y = n.push(mb::select(&negative, &scaled, &x.value))?;
    let y = n.wrap(&y, x.dtype)?;
    n.one(y, x.dtype)
}

/// MIL's op, where the slopes are constants, one per channel.
fn prelu_of_channels(n: &mut Node<'_, '_>, x: &Tensor, slope: &Tensor) -> Result<Option<Value>, Refusal> {
    let (Some(numbers), Some(sizes), false) = (slope.numbers(), slope.fixed(), x.dtype.is_int()) else {
        return Ok(None);
    };
    if let [one, rest @ ..] = &numbers[..]
        && rest.iter().all(|other| other == one)
        && slope.rank() <= x.rank()
        && sizes.iter().all(|s| *s == 1)
    {
        return n.push(mb::leaky_relu(&x.value, *one)).map(Some);
    }
    // `[C, 1, ..]`, or `[1, C, 1, ..]`, or something else.
    let front = x.rank().saturating_sub(sizes.len());
    let channels = x.size(1).filter(|c| {
        let at = |axis: usize| if axis < front { 1 } else { sizes[axis - front] };
        (0..x.rank()).all(|axis| at(axis) == if axis == 1 { *c } else { 1 })
    });
    let (Some(channels), 3..=4) = (channels, x.rank()) else { return Ok(None) };
    let alpha = n.reshape(&slope.value, &[channels.into()])?;
    if x.rank() == 4 {
        return n.push(mb::prelu(&x.value, &alpha)).map(Some);
    }
    let wide = n.expand_dims(&x.value, &[3])?;
    let y = n.push(mb::prelu(&wide, &alpha))?;
    n.squeeze(&y, &[3]).map(Some)
}

/// An end of `Clip`'s range.
enum End {
    None,
    Known(f64),
    Computed(Value),
}

fn clip(n: &mut Node<'_, '_>) -> Lowered {
    let x = n.input(0)?;
    let (low, high) = if n.opset < 11 {
        let end = |v: Option<f32>| v.map_or(End::None, |v| End::Known(v.into()));
        (end(n.float("min")?), end(n.float("max")?))
    } else {
        (clip_end(n, 1)?, clip_end(n, 2)?)
    };
    // What no number of the dtype reaches is no end.
    let most = if x.value.dtype() == Some(DType::F16) { 65504.0 } else { f64::INFINITY };
    let no_end = |e: End, reached: fn(f64, f64) -> bool| match e {
        End::Known(v) if !x.dtype.is_int() && !reached(v, most) => End::None,
        other => other,
    };
    let (low, high) = (no_end(low, |v, most| v > -most), no_end(high, |v, most| v < most));
    let y = match (low, high) {
        (End::Known(low), End::None) if low == 0.0 && !x.dtype.is_int() => n.push(mb::relu(&x.value))?,
        (End::Known(low), End::Known(high)) if low == 0.0 && high == 6.0 && !x.dtype.is_int() => {
            n.push(mb::relu6(&x.value))?
        }
        (End::Known(low), End::Known(high)) if low < high && !x.dtype.is_int() => {
            n.push(mb::clip(&x.value, low, high))?
        }
        (low, high) => {
            let y = match low {
                End::None => x.value.clone(),
                End::Known(v) => n.push(mb::maximum(&x.value, literal(x.dtype, v)))?,
                End::Computed(v) => n.push(mb::maximum(&x.value, &v))?,
            };
            match high {
                End::None => y,
                End::Known(v) => n.push(mb::minimum(&y, literal(x.dtype, v)))?,
                End::Computed(v) => n.push(mb::minimum(&y, &v))?,
            }
        }
    };
    n.one(y, x.dtype)
}

fn clip_end(n: &mut Node<'_, '_>, i: usize) -> Result<End, Refusal> {
    Ok(match n.optional(i)? {
        None => End::None,
        Some(t) => match t.numbers().as_deref() {
            Some([one]) => End::Known(*one),
            _ => End::Computed(t.value),
        },
    })
}

#[cfg(test)]
mod tests {
    use mil_core::{ir::Constant, types::DType::F32};

    use crate::onnx::testing::{Net, float};

    fn clip(low: Option<f32>, high: Option<f32>) -> Vec<&'static str> {
        let mut net = Net::new(13).input("x", F32, &[2, 3]);
        let mut inputs = String::from("x");
        for (name, end) in [("low", low), ("high", high)] {
            match end {
                Some(end) => {
                    net = net.constant(name, Constant::scalar(end));
                    inputs += &format!(" {name}");
                }
                None => inputs += " _",
            }
        }
        net.node("Clip", &inputs, "y", &[]).ops("y")
    }

    #[test]
    fn clip_is_the_op_that_a_person_would_write() {
        assert_eq!(clip(Some(0.0), Some(6.0)), ["relu6"]);
        assert_eq!(clip(Some(0.0), None), ["relu"]);
        assert_eq!(clip(Some(-1.0), Some(1.0)), ["clip"]);
        assert_eq!(clip(None, Some(1.0)), ["minimum"]);
        assert_eq!(clip(Some(0.0), Some(f32::INFINITY)), ["relu"]);
        // What is not less than the other end is no range of MIL's.
        assert_eq!(clip(Some(2.0), Some(1.0)), ["maximum", "minimum"]);
        let net = Net::new(13).input("x", F32, &[2]).input("low", F32, &[]).node("Clip", "x low", "y", &[]);
        assert_eq!(net.ops("y"), ["squeeze", "maximum"]);
    }

    fn prelu(shape: &[i64], slope: (&[usize], &[f32])) -> Vec<&'static str> {
        let net = Net::new(16).input("x", F32, shape).constant("slope", Constant::new(slope.0, slope.1).unwrap());
        net.node("PRelu", "x slope", "y", &[]).ops("y")
    }

    #[test]
    fn prelu_is_an_op_where_slopes_are_of_channels() {
        assert_eq!(prelu(&[1, 2, 3, 3], (&[2, 1, 1], &[0.1, 0.2])), ["prelu"]);
        assert_eq!(prelu(&[1, 2, 3], (&[2, 1], &[0.1, 0.2])), ["expand_dims", "prelu", "squeeze"]);
        assert_eq!(prelu(&[1, 2, 3], (&[1], &[0.1])), ["leaky_relu"]);
        assert_eq!(prelu(&[1, 3, 2, 2], (&[2], &[0.1, 0.2])), ["less", "mul", "select"]);
    }

    #[test]
    fn the_threshold_itself_is_cut_off() {
        let x = Constant::vector(&[1f32, 1.0f32.next_up(), 0.5, 2.0]);
        let net = Net::new(10).constant("x", x).node("ThresholdedRelu", "x", "y", &[float("alpha", 1.0)]);
        assert_eq!(net.numbers("y"), [0.0, f64::from(1.0f32.next_up()), 0.0, 2.0]);
    }

    #[test]
    fn dropout_is_nothing_unless_a_model_is_trained() {
        let net = |training: bool| {
            let net = Net::new(13).input("x", F32, &[2, 3]);
            let net = net.constant("ratio", Constant::scalar(0.5f32)).constant("train", Constant::scalar(training));
            net.node("Dropout", "x ratio train", "y", &[]).node("Relu", "y", "z", &[]).ops("z")
        };
        assert_eq!(net(false), ["relu"]);
        assert_eq!(net(true), ["random_bernoulli", "mul", "mul", "relu"]);
    }
}
