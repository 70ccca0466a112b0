//! Padding before convolutions.

use crate::{
    graph::Value,
    ir::{OpId, ValueId},
    mb,
    op::{Op, OpError, Operand},
    ops::{conv::PadType, pad::PadMode},
};

use super::{Context, Pass, Report, Rewriter, fusion::each_op};

/// `conv(pad(x))` is a `conv` that pads itself, if zeros are put around spatial dimensions; and `conv(transpose(pad(x)))` is first made
/// `conv(pad(transpose(x)))`.
#[derive(Clone, Copy, Debug)]
pub struct FusePadConv;

impl Pass for FusePadConv {
    fn name(&self) -> &'static str {
        "fuse_pad_conv"
    }

    fn doc(&self) -> &'static str {
        "lets convolutions pad by themselves, also after a transpose"
    }

    fn function(&self, rw: &mut Rewriter, _: &Context<'_>, report: &mut Report) -> Result<(), OpError> {
        each_op(rw, report, "moved pad after transpose", swap)?;
        each_op(rw, report, "fused pad and conv", fuse)
    }
}

/// A pad that is made for one op, and how much is put before and after each dimension of its input.
fn pad_before(rw: &Rewriter, v: ValueId, user: OpId) -> Option<(OpId, mb::Pad, Vec<i64>)> {
    let (op, pad) = rw.made_for_op::<mb::Pad>(v, user)?;
    // A file may have the number in another dtype than the op takes when it is made.
    if rw.constant(op, "constant_val").is_some_and(|c| c.dtype() != pad.x.dtype()) {
        return None;
    }
    let given = pad.pad.constant()?.ints()?;
    let mut amounts = vec![0; (2 * pad.x.rank()).checked_sub(given.len())?];
    amounts.extend(given);
    Some((op, pad, amounts))
}

/// The pad of a transpose before a convolution goes after the transpose.
fn swap(rw: &mut Rewriter, op: OpId) -> Result<Option<Value>, OpError> {
    let Some((pad, x, perm, amounts)) = swappable(rw, op) else { return Ok(None) };
    let x = rw.value(x);
    let mut operands = rw.operands(pad);
    let moved = rw.before(op).push(mb::transpose(&x, perm))?;
    operands.retain(|(param, _)| !matches!(*param, "x" | "pad"));
    operands.extend([("x", Operand::Value(moved)), ("pad", amounts.into())]);
    Ok(rw.before(op).push_op(mb::Pad::DEF, operands, None)?.pop())
}

/// The pad, its input, the transpose's `perm`, and what is put around the transposed input.
fn swappable(rw: &Rewriter, op: OpId) -> Option<(OpId, ValueId, Vec<i64>, Vec<i64>)> {
    let transpose = rw.bind::<mb::Transpose>(op)?;
    let next = rw.only_user(rw.output(op)?)?;
    if !matches!(rw.op(next).def.name, "conv" | "conv_transpose") {
        return None;
    }
    let (pad, bound, amounts) = pad_before(rw, transpose.x.id?, op)?;
    let perm = transpose.permutation().ok()?;
    let moved: Vec<i64> = perm.iter().flat_map(|p| [amounts[2 * p], amounts[2 * p + 1]]).collect();
    // Core ML mirrors and repeats in the last two dimensions alone.
    let last = moved[..moved.len().saturating_sub(4)].iter().all(|n| *n == 0);
    let moved = match bound.mode {
        PadMode::Constant => moved,
        _ => moved[moved.len().saturating_sub(4)..].to_vec(),
    };
    (last || bound.mode == PadMode::Constant).then_some((pad, bound.x.id?, transpose.perm, moved))
}

/// The convolution that pads itself.
fn fuse(rw: &mut Rewriter, op: OpId) -> Result<Option<Value>, OpError> {
    let Some((x, amounts)) = zeros(rw, op) else { return Ok(None) };
    let x = rw.value(x);
    let mut operands = rw.operands(op);
    operands.retain(|(param, _)| !matches!(*param, "x" | "pad" | "pad_type"));
    operands.extend([("x", x.into()), ("pad", amounts.into()), ("pad_type", "custom".into())]);
    Ok(rw.before(op).push_op(mb::Conv::DEF, operands, None)?.pop())
}

/// What is padded with zeros, and how much with what the convolution adds.
fn zeros(rw: &Rewriter, op: OpId) -> Option<(ValueId, Vec<i64>)> {
    let conv = rw.bind::<mb::Conv>(op)?;
    let (_, pad, amounts) = pad_before(rw, conv.x.id?, op)?;
    let (outer, inner) = amounts.split_at_checked(4)?;
    if pad.mode != PadMode::Constant || pad.constant_val != 0.0 || outer.iter().any(|n| *n != 0) {
        return None;
    }
    let own = match conv.pad_type {
        PadType::Valid => vec![0; inner.len()],
        PadType::Custom => conv.pad,
        PadType::Same | PadType::SameLower => return None,
    };
    let sum = inner.iter().zip(own).map(|(a, b)| a.checked_add(b)).collect::<Option<_>>()?;
    Some((pad.x.id?, sum))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        graph::Graph,
        passes::testing::{constants, f32s, graph, ops, run},
    };

    fn conv(g: &mut Graph, x: &Value) -> Value {
        let w = g.constant("w", crate::ir::Constant::new([1, 1, 2, 2], &[1f32; 4]).unwrap());
        g.push(mb::conv(x, &w).pad_type("custom").pad([1, 0, 0, 0])).unwrap()
    }

    #[test]
    fn conv_pads_itself_after_a_transpose_too() {
        let mut g = graph();
        let x = g.input("x", f32s(&[1, 3, 3, 1]));
        let v = g.push(mb::pad(&x, [1, 2, 3, 4, 0, 0])).unwrap();
        let v = g.push(mb::transpose(&v, [0, 3, 1, 2])).unwrap();
        let y = conv(&mut g, &v);
        let mut p = g.finish([("y", y)]).unwrap();
        assert_eq!(run(&FusePadConv, &mut p).changes(), 2);
        assert_eq!(ops(&p), ["transpose", "conv"]);
        assert_eq!(constants(&p, "conv", &["pad"])[0].ints().unwrap(), [2, 2, 3, 4]);
    }

    #[test]
    fn mirrored_borders_are_moved_only() {
        let mut g = graph();
        let x = g.input("x", f32s(&[1, 1, 3, 3]));
        let v = g.push(mb::pad(&x, [1, 1, 1, 0]).mode("reflect")).unwrap();
        let v = g.push(mb::transpose(&v, [0, 1, 3, 2])).unwrap();
        let y = conv(&mut g, &v);
        let mut p = g.finish([("y", y)]).unwrap();
        run(&FusePadConv, &mut p);
        assert_eq!(ops(&p), ["transpose", "pad", "conv"]);
        assert_eq!(constants(&p, "pad", &["pad"])[0].ints().unwrap(), [1, 0, 1, 1]);
    }

    #[test]
    fn other_pads_stay() {
        let mut g = graph();
        let x = g.input("x", f32s(&[1, 1, 3, 3]));
        let v = g.push(mb::pad(&x, [1, 1, 1, 1]).constant_val(1.0)).unwrap();
        let a = conv(&mut g, &v);
        let v = g.push(mb::pad(&x, [1, 0, 0, 0, 1, 1, 1, 1])).unwrap();
        let b = conv(&mut g, &v);
        let shared = g.push(mb::pad(&x, [1, 1, 1, 1])).unwrap();
        let c = conv(&mut g, &shared);
        let v = g.push(mb::pad(&x, [1, 1, 1, 1])).unwrap();
        let v = g.push(mb::transpose(&v, [0, 1, 3, 2])).unwrap();
        let d = g.push(mb::relu(&v)).unwrap();
        let mut p = g.finish([("a", a), ("b", b), ("shared", shared), ("c", c), ("d", d)]).unwrap();
        assert_eq!(run(&FusePadConv, &mut p).changes(), 0);
    }
}
