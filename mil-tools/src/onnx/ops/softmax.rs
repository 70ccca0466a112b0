//! Softmax and its kin.

use mil_core::{graph::Value, mb, types::DType};

use super::{Entry, Lowered, Node};
use crate::import::{Refusal, Size, literal};

pub(super) const OPS: &[Entry] =
    &[Entry::new("Hardmax", hardmax), Entry::new("LogSoftmax", log_softmax), Entry::new("Softmax", softmax)];

/// Along an axis; before opset 13 all axes from the one that is named on count as one.
fn along(n: &mut Node<'_, '_>, op: impl Fn(&mut Node<'_, '_>, &Value, i64) -> Result<Value, Refusal>) -> Lowered {
    let x = n.input(0)?;
    let since = if n.opset < 13 { 1 } else { -1 };
    let axis = n.int_or("axis", since)?;
    if n.opset >= 13 {
        let axis = x.axis(axis)? as i64;
        let axis = if axis + 1 == x.rank() as i64 { -1 } else { axis };
        let y = op(n, &x.value, axis)?;
        return n.one(y, x.dtype);
    }
    // The axis may be one behind the last: then each row has one element.
    let axis = if axis == x.rank() as i64 { x.rank() } else { x.axis(axis)? };
    if axis + 1 == x.rank() {
        let y = op(n, &x.value, -1)?;
        return n.one(y, x.dtype);
    }
    let sizes = n.sizes(&x.value)?;
    let rows = n.product(&sizes[..axis])?;
    let columns = n.product(&sizes[axis..])?;
    let flat = n.reshape(&x.value, &[rows, columns])?;
    let y = op(n, &flat, -1)?;
    let y = n.reshape(&y, &sizes)?;
    n.one(y, x.dtype)
}

fn softmax(n: &mut Node<'_, '_>) -> Lowered {
    along(n, |n, x, axis| n.push(mb::softmax(x).axis(axis)))
}

fn log_softmax(n: &mut Node<'_, '_>) -> Lowered {
    along(n, log_of_softmax)
}

/// The logarithm of a softmax: `x` less the logarithm of the sum of exponentials, which neither overflows nor loses small
/// probabilities.
pub(super) fn log_of_softmax(n: &mut Node<'_, '_>, x: &Value, axis: i64) -> Result<Value, Refusal> {
    let sum = n.push(mb::reduce_log_sum_exp(x).axes([axis]).keep_dims(true))?;
    n.push(mb::sub(x, &sum))
}

/// 1 where the greatest element is, the first of several.
fn hardmax(n: &mut Node<'_, '_>) -> Lowered {
    along(n, |n, x, axis| {
        let rank = x.shape().map_or(0, |s| s.rank());
        let dtype = x.dtype().unwrap_or(DType::F32);
        let place = n.push(mb::reduce_argmax(x).axis(axis).keep_dims(false))?;
        let size = match n.size(x, if axis < 0 { rank - 1 } else { axis as usize })? {
            Size::Fixed(size) => n.number(DType::I32, size as f64)?,
            Size::Value(size) => n.squeeze(&size, &[0])?,
        };
        let (on, off) = (literal(dtype, 1.0).constant(dtype)?, literal(dtype, 0.0).constant(dtype)?);
        n.push(mb::one_hot(&place, &size).axis(axis).on_value(on).off_value(off))
    })
}

#[cfg(test)]
mod tests {
    use mil_core::types::DType::F32;

    use crate::onnx::testing::{Net, int};

    #[test]
    fn old_versions_flatten() {
        let net = |opset, axis| {
            let net = Net::new(opset).input("x", F32, &[-1, 3, 4]);
            net.node("Softmax", "x", "y", &[int("axis", axis)]).ops("y")
        };
        assert_eq!(net(13, 1), ["softmax"]);
        assert_eq!(net(11, 2), ["softmax"]);
        let flat = net(11, 1);
        assert_eq!(flat.iter().filter(|op| **op == "reshape").count(), 2, "{flat:?}");
    }

    #[test]
    fn an_axis_must_exist() {
        let net = Net::new(13).input("x", F32, &[2, 3]).node("Softmax", "x", "y", &[int("axis", 2)]);
        assert!(net.import("y").unwrap_err().contains("no axis 2"));
    }
}
