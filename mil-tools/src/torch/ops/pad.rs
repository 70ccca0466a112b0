//! Padding.

use mil_core::{graph::Value, mb, types::DType};

use super::{Entry, Lowered, Node, conv::known_size, slice::range};
use crate::import::{Refusal, Size, Tensor};

pub(super) const OPS: &[Entry] = &[
    Entry::new("aten::constant_pad_nd", |n| {
        let value = n.float_or(2, "value", 0.0)?;
        pad(n, "constant", value)
    }),
    Entry::new("aten::pad", |n| {
        let mode = n.text(2, "mode")?.unwrap_or_else(|| "constant".into());
        let value = n.float_or(3, "value", 0.0)?;
        pad(n, &mode, value)
    }),
    Entry::new("aten::reflection_pad1d", |n| pad(n, "reflect", 0.0)),
    Entry::new("aten::reflection_pad2d", |n| pad(n, "reflect", 0.0)),
    Entry::new("aten::reflection_pad3d", |n| pad(n, "reflect", 0.0)),
    Entry::new("aten::replication_pad1d", |n| pad(n, "replicate", 0.0)),
    Entry::new("aten::replication_pad2d", |n| pad(n, "replicate", 0.0)),
    Entry::new("aten::replication_pad3d", |n| pad(n, "replicate", 0.0)),
];

/// PyTorch lists the last dimension first; negative amounts take elements off.
fn pad(n: &mut Node<'_, '_>, mode: &str, value: f64) -> Lowered {
    let mut x = n.tensor(0, "self")?;
    let amounts = n.ints(1, "pad|padding")?.unwrap_or_default();
    let rank = x.rank();
    if amounts.len() % 2 != 0 || amounts.len() > 2 * rank {
        return Err(Refusal::new(format!("has {} amounts for a tensor of rank {rank}", amounts.len())));
    }
    let mut pairs: Vec<(usize, i64, i64)> =
        amounts.chunks(2).enumerate().map(|(i, p)| (rank - 1 - i, p[0], p[1])).collect();
    for (axis, before, after) in &mut pairs {
        if *before < 0 || *after < 0 {
            let size = n.size(&x.value, *axis)?;
            let size = known_size(&size)?;
            x.value = range(n, &x.value, *axis, (-*before).max(0), size - (-*after).max(0))?;
            (*before, *after) = ((*before).max(0), (*after).max(0));
        }
    }
    pairs.retain(|(_, before, after)| *before > 0 || *after > 0);
    if pairs.is_empty() {
        return Ok(vec![x.into()]);
    }
    let constant = match mode {
        "constant" => true,
        "reflect" | "replicate" => false,
        "circular" => return circular(n, x, &pairs),
        other => return Err(Refusal::new(format!("has no mode `{}`", other.escape_debug()))),
    };
    if constant && !x.dtype.is_float() {
        return filled(n, x, &pairs, value);
    }
    let first = pairs.iter().map(|p| p.0).min().unwrap_or(0);
    let mut list = vec![0; 2 * (rank - first)];
    for (axis, before, after) in &pairs {
        let at = 2 * (axis - first);
        (list[at], list[at + 1]) = (*before, *after);
    }
    // The modes that copy take integers no more than the others do; what they copy is exact as a float only if it is small.
    let dtype = x.dtype;
    if !dtype.is_float() {
        if dtype != DType::Bool && dtype.bits() > 16 {
            return Err(
                Refusal::new(format!("MIL pads no integers of {} bits by copying", dtype.bits())).remedy("pad floats")
            );
        }
        x = n.convert(&x, DType::F32)?;
    }
    let call = mb::pad(&x.value, list).mode(if constant { "constant" } else { mode });
    let call = if constant && value != 0.0 { call.constant_val(value) } else { call };
    let y = n.push(call)?;
    let y = n.convert(&Tensor::new(y, x.dtype), dtype)?;
    Ok(vec![y.into()])
}

/// Integers and bools, which MIL's `pad` does not take, are joined with what is put around them.
fn filled(n: &mut Node<'_, '_>, x: Tensor, pairs: &[(usize, i64, i64)], value: f64) -> Lowered {
    let mut y = x.value.clone();
    for (axis, before, after) in pairs {
        let sizes = n.sizes(&y)?;
        let border = |n: &mut Node<'_, '_>, amount: i64| {
            let mut own = sizes.clone();
            own[*axis] = Size::Fixed(amount);
            n.filled_with(&own, x.dtype, value)
        };
        let mut parts = vec![];
        if *before > 0 {
            parts.push(border(n, *before)?);
        }
        parts.push(y.clone());
        if *after > 0 {
            parts.push(border(n, *after)?);
        }
        y = n.push(mb::concat(parts, *axis as i64))?;
    }
    n.one(y, x.dtype)
}

/// What lies at one border comes in at the other.
fn circular(n: &mut Node<'_, '_>, x: Tensor, pairs: &[(usize, i64, i64)]) -> Lowered {
    let mut y = x.value.clone();
    for (axis, before, after) in pairs {
        let size = n.size(&y, *axis)?;
        let size = known_size(&size)?;
        if *before > size || *after > size {
            return Err(Refusal::new("goes around more than once"));
        }
        let mut parts: Vec<Value> = vec![];
        if *before > 0 {
            parts.push(range(n, &y, *axis, size - before, size)?);
        }
        parts.push(y.clone());
        if *after > 0 {
            parts.push(range(n, &y, *axis, 0, *after)?);
        }
        y = n.push(mb::concat(parts, *axis as i64))?;
    }
    n.one(y, x.dtype)
}

#[cfg(test)]
mod tests {
    use crate::torch::testing::Net;

    #[test]
    fn amounts_are_in_the_order_of_dimensions() {
        let net = |call: &str| Net::new().input("x", &[1, 2, 4, 5]).node(&format!("y = aten::{call}"));
        assert_eq!(
            net("constant_pad_nd(x, [1, 2, 3, 4], 0.5)").form("y"),
            [r#"pad(x=x, pad=[3, 4, 1, 2], mode="constant", constant_val=0.5)"#]
        );
        assert_eq!(net("constant_pad_nd(x, [-1, 0], 0.0)").ops("y"), ["slice_by_index"]);
        assert!(net("pad(x, [1, 2, 3], 'constant')").refusal("y").contains("has 3 amounts for a tensor of rank 4"));
        assert!(net("pad(x, [1, 2], 'wrap')").refusal("y").contains("has no mode `wrap`"));
        assert!(net("pad(x, [6, 0], 'circular')").refusal("y").contains("goes around more than once"));
    }
}
