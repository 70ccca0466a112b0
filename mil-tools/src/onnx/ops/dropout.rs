//! Leaving out elements while a model is trained.

use mil_core::{graph::Value, mb, types::DType};

use super::{Entry, Lowered, Node, control};
use crate::import::{Refusal, Tensor, literal};

pub(super) const OPS: &[Entry] =
    &[Entry::new("Dropout", dropout).but("in training mode a seed gives other numbers than elsewhere")];

/// Nothing, unless it is told that the model is trained while it runs.
fn dropout(n: &mut Node<'_, '_>) -> Lowered {
    let x = n.input(0)?;
    let mut training = false;
    if n.opset >= 12
        && let Some(t) = n.optional(2)?
    {
        match t.ints() {
            Some(known) => training = known.first() == Some(&1),
            None => return computed(n, &x, Some(&t)),
        }
    }
    if training {
        let ratio = match n.optional(1)? {
            Some(t) => match t.numbers() {
                Some(known) => known.first().copied().unwrap_or(0.5),
                None => return computed(n, &x, None),
            },
            None => 0.5,
        };
        if ratio > 0.0 && ratio < 1.0 {
            warn(n);
            let dtype = x.value.dtype().unwrap_or(DType::F32);
            let shape = shape(n, &x)?;
            let kept = literal(dtype, 1.0 - ratio).constant(dtype)?;
            let seed = seed(n)?;
            let drawn = n.push(mb::random_bernoulli(shape).prob(kept).seed(seed))?;
            let scaled = n.push(mb::mul(&x.value, 1.0 / (1.0 - ratio)))?;
            let y = n.push(mb::mul(&scaled, &drawn))?;
            let mut outputs = vec![Tensor::new(y, x.dtype)];
            if n.has_output(1) {
                let mask = n.cast(&drawn, DType::Bool)?;
                outputs.push(Tensor::new(mask, DType::Bool));
            }
            return Ok(outputs);
        }
        if ratio != 0.0 {
            return Err(Refusal::new(format!("its ratio is {ratio}, which is not within 0 and 1")));
        }
    }
    // Before opset 10 the mask is of the data's dtype.
    let mask_dtype = if n.opset < 10 { x.dtype } else { DType::Bool };
    let mask_carrier = if n.opset < 10 { x.value.dtype().unwrap_or(DType::F32) } else { DType::Bool };
    let mut outputs = vec![x.clone()];
    if n.has_output(1) {
        let mask = n.filled_like(&x.value, mask_carrier, 1.0)?;
        outputs.push(Tensor::new(mask, mask_dtype));
    }
    Ok(outputs)
}

fn warn(n: &mut Node<'_, '_>) {
    n.warn("a `Dropout` in training mode draws random numbers each time the model runs".into());
}

fn seed(n: &Node<'_, '_>) -> Result<i64, Refusal> {
    Ok(n.int("seed")?.map_or(-1, |s| s & 0x7fff_ffff))
}

fn shape(n: &mut Node<'_, '_>, x: &Tensor) -> Result<mil_core::op::Operand, Refusal> {
    let sizes = n.sizes(&x.value)?;
    n.shape_of_sizes(&sizes)
}

/// By a mode or a ratio that is known when the model runs: numbers are drawn in any case, and elements kept whose number is not
/// below the ratio, which is 0 if the model is not trained.
fn computed(n: &mut Node<'_, '_>, x: &Tensor, training: Option<&Tensor>) -> Lowered {
    warn(n);
    let mut ratio = match n.optional(1)? {
        Some(t) => {
            let ratio = n.squeeze(&t.value, &(0..t.rank()).collect::<Vec<_>>())?;
            n.cast(&ratio, DType::F32)?
        }
        None => n.number(DType::F32, 0.5)?,
    };
    if let Some(training) = training {
        let training = control::scalar(n, &training.value)?;
        let zero = n.number(DType::F32, 0.0)?;
        ratio = n.select(&training, &ratio, &zero)?;
    }
    let (shape, seed) = (shape(n, x)?, seed(n)?);
    let drawn = n.push(mb::random_uniform(shape).seed(seed))?;
    let kept: Value = n.push(mb::greater_equal(&drawn, &ratio))?;
    let dtype = x.value.dtype().unwrap_or(DType::F32);
    let rest = n.push(mb::sub(1.0, &ratio))?;
    let rest = n.cast(&rest, dtype)?;
    let scaled = n.push(mb::real_div(&x.value, &rest))?;
    let zero = n.number(dtype, 0.0)?;
    let y = n.select(&kept, &scaled, &zero)?;
    Ok(vec![Tensor::new(y, x.dtype), Tensor::new(kept, DType::Bool)])
}

#[cfg(test)]
mod tests {
    use mil_core::{
        ir::Constant,
        types::DType::{Bool, F32},
    };

    use crate::onnx::testing::Net;

    fn ops(net: Net, inputs: &str) -> Vec<&'static str> {
        net.input("x", F32, &[2, 3]).node("Dropout", inputs, "y", &[]).ops("y")
    }

    #[test]
    fn nothing_is_left_out_when_a_model_is_used() {
        assert_eq!(ops(Net::new(13), "x"), ["identity"]);
        let net = Net::new(13).constant("ratio", Constant::scalar(0.3f32)).constant("mode", Constant::scalar(false));
        assert_eq!(ops(net, "x ratio mode"), ["identity"]);
    }

    #[test]
    fn a_mode_or_a_ratio_may_be_computed() {
        let mode = || Net::new(13).constant("mode", Constant::scalar(true));
        let drawn = |ops: Vec<&'static str>| ops.into_iter().filter(|o| o.starts_with("random")).collect::<Vec<_>>();
        assert_eq!(drawn(ops(mode().input("ratio", F32, &[]), "x ratio mode")), ["random_uniform"]);
        assert_eq!(drawn(ops(Net::new(13).input("mode", Bool, &[]), "x _ mode")), ["random_uniform"]);
        let known = mode().constant("ratio", Constant::scalar(0.3f32));
        assert_eq!(drawn(ops(known, "x ratio mode")), ["random_bernoulli"]);
    }
}
