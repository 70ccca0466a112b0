//! Copies, and changes of dtype.

use mil_core::types::DType;

use super::{Entry, Lowered, Node};
use crate::{import::Refusal, torch::val::Val};

pub(super) const OPS: &[Entry] = &[
    Entry::new("aten::_to_copy", to),
    Entry::new("aten::alias", same),
    Entry::new("aten::alpha_dropout", dropout).but("in `eval()` mode only"),
    Entry::new("aten::bool", |n| cast(n, DType::Bool)),
    Entry::new("aten::clone", same),
    Entry::new("aten::contiguous", same),
    Entry::new("aten::copy", copy),
    Entry::new("aten::cpu", same),
    Entry::new("aten::detach", same),
    Entry::new("aten::detach_copy", same),
    Entry::new("aten::double", |n| cast(n, DType::F64)),
    Entry::new("aten::dropout", dropout).but("in `eval()` mode only"),
    Entry::new("aten::feature_dropout", dropout).but("in `eval()` mode only"),
    Entry::new("aten::float", |n| cast(n, DType::F32)),
    Entry::new("aten::half", |n| cast(n, DType::F16)),
    Entry::new("aten::int", |n| cast(n, DType::I32)),
    Entry::new("aten::lift_fresh", same),
    Entry::new("aten::lift_fresh_copy", same),
    Entry::new("aten::long", |n| cast(n, DType::I64)),
    Entry::new("aten::native_dropout", dropout).but("in `eval()` mode only"),
    Entry::new("aten::resolve_conj", same),
    Entry::new("aten::resolve_neg", same),
    Entry::new("aten::requires_grad", same),
    Entry::new("aten::to", to),
    Entry::new("aten::type_as", type_as),
    Entry::new("prim::data", same),
    Entry::new("prims::convert_element_type", to),
];

/// What copies elements, or says how they lie in memory.
fn same(n: &mut Node<'_, '_>) -> Lowered {
    match n.val(0, "self|x")? {
        val if val.is_tensor() => Ok(vec![val]),
        val => Ok(vec![n.as_tensor(&val)?.into()]),
    }
}

fn cast(n: &mut Node<'_, '_>, dtype: DType) -> Lowered {
    let x = n.tensor(0, "self")?;
    Ok(vec![convert(n, x, dtype)?])
}

/// The tensor in another dtype. Bools are whether it is not 0.
fn convert(n: &mut Node<'_, '_>, x: crate::import::Tensor, dtype: DType) -> Result<Val, Refusal> {
    if dtype == DType::Bool {
        let value = n.truth(&x)?;
        return Ok(crate::import::Tensor::new(value, dtype).into());
    }
    Ok(n.convert(&x, dtype)?.into())
}

/// `to` takes a dtype, a device and a dtype, a tensor, or all of what a tensor can have: the dtype is the only one of them
/// that matters here.
fn to(n: &mut Node<'_, '_>) -> Lowered {
    let x = n.val(0, "self|a")?;
    let mut wanted = None;
    for i in 1..n.len().max(2) {
        match n.val(i, "dtype|other")? {
            Val::DType(d) => wanted = Some(d),
            Val::Tensor(t) => wanted = Some(t.dtype),
            // TorchScript has dtypes as numbers, in the first two places.
            Val::Int(crate::import::Size::Fixed(_)) if i <= 2 && wanted.is_none() => {
                wanted = n.dtype(i, "dtype|other")?
            }
            _ => {}
        }
        if wanted.is_some() {
            break;
        }
    }
    match wanted {
        Some(dtype) => {
            let x = n.as_tensor(&x)?;
            Ok(vec![convert(n, x, dtype)?])
        }
        None => Ok(vec![x]),
    }
}

fn type_as(n: &mut Node<'_, '_>) -> Lowered {
    let (x, other) = (n.tensor(0, "self")?, n.tensor(1, "other")?);
    Ok(vec![convert(n, x, other.dtype)?])
}

/// What is copied has the shape and dtype of where it goes.
fn copy(n: &mut Node<'_, '_>) -> Lowered {
    let (to, from) = (n.tensor(0, "self")?, n.tensor(1, "src")?);
    let sizes = n.sizes(&to.value)?;
    let from = n.convert(&from, to.dtype)?;
    let value = n.broadcast_to(&from.value, &sizes)?;
    n.one(value, to.dtype)
}

fn dropout(n: &mut Node<'_, '_>) -> Lowered {
    let x = n.tensor(0, "input")?;
    if n.bool_or(2, "train", false)? && n.float_or(1, "p", 0.5)? > 0.0 {
        return Err(Refusal::new("leaves out elements by chance").remedy("export the module in `eval()` mode"));
    }
    Ok(vec![x.into()])
}

#[cfg(test)]
mod tests {
    use crate::torch::testing::Net;

    #[test]
    fn what_changes_nothing_leaves_no_op() {
        let net = Net::new().input("x", &[3]).node("a = aten::dropout(x, 0.5, False)").node("b = aten::to(a, @f32)");
        assert_eq!(net.node("y = aten::relu(b)").form("y"), ["relu(x=x)"]);
        let e = Net::new().input("x", &[3]).node("y = aten::dropout(x, 0.5, True)").refusal("y");
        assert!(e.contains("leaves out elements by chance"), "{e}");
    }
}
