//! Comparing, and choosing by a condition.

use mil_core::{graph::Value, mb, types::DType};

use super::{Entry, Lowered, Node};
use crate::{
    import::Refusal,
    torch::val::{Val, result_type},
};

pub(super) const OPS: &[Entry] = &[
    Entry::new("aten::clamp", clamp),
    Entry::new("aten::clamp_max", |n| limit(n, false)),
    Entry::new("aten::clamp_min", |n| limit(n, true)),
    Entry::new("aten::clip", clamp),
    Entry::new("aten::eq", |n| compare(n, |n, a, b| n.push(mb::equal(a, b)))),
    Entry::new("aten::ge", |n| compare(n, |n, a, b| n.push(mb::greater_equal(a, b)))),
    Entry::new("aten::greater", |n| compare(n, |n, a, b| n.push(mb::greater(a, b)))),
    Entry::new("aten::greater_equal", |n| compare(n, |n, a, b| n.push(mb::greater_equal(a, b)))),
    Entry::new("aten::gt", |n| compare(n, |n, a, b| n.push(mb::greater(a, b)))),
    Entry::new("aten::heaviside", heaviside),
    Entry::new("aten::le", |n| compare(n, |n, a, b| n.push(mb::less_equal(a, b)))),
    Entry::new("aten::less", |n| compare(n, |n, a, b| n.push(mb::less(a, b)))),
    Entry::new("aten::less_equal", |n| compare(n, |n, a, b| n.push(mb::less_equal(a, b)))),
    Entry::new("aten::lt", |n| compare(n, |n, a, b| n.push(mb::less(a, b)))),
    Entry::new("aten::masked_fill", masked_fill),
    Entry::new("aten::nan_to_num", nan_to_num),
    Entry::new("aten::ne", |n| compare(n, |n, a, b| n.push(mb::not_equal(a, b)))),
    Entry::new("aten::not_equal", |n| compare(n, |n, a, b| n.push(mb::not_equal(a, b)))),
    Entry::new("aten::where", where_),
];

fn compare(n: &mut Node<'_, '_>, f: fn(&mut Node<'_, '_>, &Value, &Value) -> Result<Value, Refusal>) -> Lowered {
    let (a, b) = (n.val(0, "self|a")?, n.val(1, "other|b")?);
    // MIL compares no bools.
    let dtype = match result_type(&[&a, &b]) {
        DType::Bool => DType::I32,
        dtype => dtype,
    };
    let (x, y) = (n.operand(&a, dtype)?, n.operand(&b, dtype)?);
    let z = f(n, &x, &y)?;
    n.one(z, DType::Bool)
}

fn where_(n: &mut Node<'_, '_>) -> Lowered {
    if !n.has(1, "self") {
        return super::index::nonzero_parts(n);
    }
    let condition = n.tensor(0, "condition")?;
    let condition = n.truth(&condition)?;
    let (a, b) = (n.val(1, "self")?, n.val(2, "other")?);
    let dtype = result_type(&[&a, &b]);
    let (x, y) = (n.operand(&a, dtype)?, n.operand(&b, dtype)?);
    let z = n.select(&condition, &x, &y)?;
    n.one(z, dtype)
}

fn masked_fill(n: &mut Node<'_, '_>) -> Lowered {
    let x = n.tensor(0, "self")?;
    let mask = n.tensor(1, "mask")?;
    let mask = n.truth(&mask)?;
    let value = n.val(2, "value")?;
    let value = n.operand(&value, x.dtype)?;
    let z = n.select(&mask, &value, &x.value)?;
    n.one(z, x.dtype)
}

fn clamp(n: &mut Node<'_, '_>) -> Lowered {
    let x = n.val(0, "self")?;
    let (min, max) = (n.val(1, "min")?, n.val(2, "max")?);
    between(n, &x, &min, &max)
}

fn limit(n: &mut Node<'_, '_>, min: bool) -> Lowered {
    let x = n.val(0, "self")?;
    let bound = n.val(1, "min|max")?;
    if min { between(n, &x, &bound, &Val::None) } else { between(n, &x, &Val::None, &bound) }
}

fn between(n: &mut Node<'_, '_>, x: &Val, min: &Val, max: &Val) -> Lowered {
    let dtype = result_type(&[x, min, max]);
    let value = n.operand(x, dtype)?;
    let known = |v: &Val| if v.is_number() { v.number() } else { None };
    let y = match (known(min), known(max)) {
        (Some(low), Some(high)) if dtype.is_float() && low <= high && low.is_finite() && high.is_finite() => {
            if (low, high) == (0.0, 6.0) { n.push(mb::relu6(&value))? } else { n.push(mb::clip(&value, low, high))? }
        }
        (Some(0.0), None) if dtype.is_float() && matches!(max, Val::None) => n.push(mb::relu(&value))?,
        _ => {
            let mut y = value;
            if !matches!(min, Val::None) {
                let low = n.operand(min, dtype)?;
                y = n.push(mb::maximum(&y, &low))?;
            }
            if !matches!(max, Val::None) {
                let high = n.operand(max, dtype)?;
                y = n.push(mb::minimum(&y, &high))?;
            }
            y
        }
    };
    n.one(y, dtype)
}

fn nan_to_num(n: &mut Node<'_, '_>) -> Lowered {
    let x = n.tensor(0, "self")?;
    if !x.dtype.is_float() {
        return Ok(vec![x.into()]);
    }
    let most = if x.dtype == DType::F16 { 65504.0 } else { f64::from(f32::MAX) };
    let (nan, high) = (n.float_or(1, "nan", 0.0)?, n.float_or(2, "posinf", most)?);
    let low = n.float_or(3, "neginf", -most)?;
    let mut y = x.value.clone();
    let is_nan = n.push(mb::not_equal(&x.value, &x.value))?;
    let positive = n.push(mb::equal(&x.value, f64::INFINITY))?;
    let negative = n.push(mb::equal(&x.value, f64::NEG_INFINITY))?;
    for (where_, number) in [(is_nan, nan), (positive, high), (negative, low)] {
        let number = n.number_of(x.dtype, number)?;
        y = n.select(&where_, &number, &y)?;
    }
    n.one(y, x.dtype)
}

/// 0 where it is negative, 1 where it is positive, and else the other tensor.
fn heaviside(n: &mut Node<'_, '_>) -> Lowered {
    let x = n.tensor(0, "self")?;
    let values = n.tensor(1, "values")?;
    let (zero, one) = (n.number_of(x.dtype, 0.0)?, n.number_of(x.dtype, 1.0)?);
    let positive = n.push(mb::greater(&x.value, &zero))?;
    let nothing = n.push(mb::equal(&x.value, &zero))?;
    let y = n.select(&positive, &one, &zero)?;
    let y = n.select(&nothing, &values.value, &y)?;
    n.one(y, x.dtype)
}
