//! The layers that `nn.MultiheadAttention` and `nn.TransformerEncoderLayer` become in a trace.

use mil_core::{graph::Value, mb, types::DType};

use super::{Entry, Lowered, Node, matmul::linear_of};
use crate::{
    import::{Refusal, Size, Tensor},
    torch::val::Val,
};

pub(super) const OPS: &[Entry] = &[
    Entry::new("aten::_native_multi_head_attention", multi_head),
    Entry::new("aten::_transformer_encoder_layer_fwd", encoder_layer),
];

/// The matrices of an attention: those of query, key and value in one, and that of the result.
struct Heads {
    count: i64,
    qkv: (Tensor, Tensor),
    out: (Tensor, Tensor),
    /// True where nothing is seen, so that it broadcasts to `[batch, head, query, key]`.
    mask: Option<Value>,
}

/// `mask_type` 0 is of queries and keys, 1 of batch and keys, 2 of all.
fn mask(n: &mut Node<'_, '_>, at: usize, kind_at: usize) -> Result<Option<Value>, Refusal> {
    let Some(mask) = n.optional(at, "mask")? else { return Ok(None) };
    if mask.dtype != DType::Bool {
        return Err(Refusal::new("has a mask of numbers").remedy("give it one of bools"));
    }
    let value = match n.int_or(kind_at, "mask_type", 2)? {
        1 if mask.rank() == 2 => n.expand_dims(&mask.value, &[1, 2])?,
        _ => mask.value,
    };
    Ok(Some(value))
}

/// `[batch, place, width]` as `[batch, head, place, part of the width]`.
fn by_head(n: &mut Node<'_, '_>, x: &Value, heads: i64) -> Result<Value, Refusal> {
    let sizes = n.sizes(x)?;
    let [batch, places, Size::Fixed(width)] = &sizes[..] else {
        return Err(Refusal::new("needs to know the width of its input, which has rank 3"));
    };
    let parts = [batch.clone(), places.clone(), Size::Fixed(heads), Size::Fixed(width / heads.max(1))];
    let x = n.reshape(x, &parts)?;
    n.transpose(&x, &[0, 2, 1, 3])
}

/// A third of a matrix or vector that is the three of query, key and value.
fn third(n: &mut Node<'_, '_>, t: &Tensor, which: i64) -> Result<Tensor, Refusal> {
    let size = t.size(0).ok_or_else(|| Refusal::new("needs to know the shape of its weights"))? as i64 / 3;
    Ok(Tensor::new(super::slice::range(n, &t.value, 0, which * size, (which + 1) * size)?, t.dtype))
}

/// The result, and the weights `[batch, head, query, key]`.
fn attend(n: &mut Node<'_, '_>, inputs: [&Tensor; 3], heads: &Heads) -> Result<(Value, Value), Refusal> {
    let mut parts = vec![];
    for (i, x) in inputs.into_iter().enumerate() {
        let (weight, bias) = (third(n, &heads.qkv.0, i as i64)?, third(n, &heads.qkv.1, i as i64)?);
        let y = linear_of(n, x, &weight, Some(&bias))?;
        parts.push(by_head(n, &y, heads.count)?);
    }
    let width = Tensor::new(parts[0].clone(), inputs[0].dtype).size(3).unwrap_or(1);
    let scaled = n.push(mb::mul(&parts[0], 1.0 / (width as f64).sqrt()))?;
    let mut scores = n.push(mb::matmul(&scaled, &parts[1]).transpose_y(true))?;
    if let Some(mask) = &heads.mask {
        let least = n.number_of(inputs[0].dtype, f64::NEG_INFINITY)?;
        scores = n.select(mask, &least, &scores)?;
    }
    let weights = n.push(mb::softmax(&scores).axis(-1))?;
    let y = n.push(mb::matmul(&weights, &parts[2]))?;
    let y = n.transpose(&y, &[0, 2, 1, 3])?;
    let sizes = n.sizes(&inputs[0].value)?;
    let y = n.reshape(&y, &sizes)?;
    let y = Tensor::new(y, inputs[0].dtype);
    Ok((linear_of(n, &y, &heads.out.0, Some(&heads.out.1))?, weights))
}

fn multi_head(n: &mut Node<'_, '_>) -> Lowered {
    let (q, k, v) = (n.float_tensor(0, "query")?, n.tensor(1, "key")?, n.tensor(2, "value")?);
    let heads = Heads {
        count: n.int(4, "num_head")?,
        qkv: (n.tensor(5, "qkv_weight")?, n.tensor(6, "qkv_bias")?),
        out: (n.tensor(7, "proj_weight")?, n.tensor(8, "proj_bias")?),
        mask: mask(n, 9, 12)?,
    };
    let (y, weights) = attend(n, [&q, &k, &v], &heads)?;
    let weights = if n.uses(1) && n.bool_or(11, "average_attn_weights", true)? {
        n.push(mb::reduce_mean(&weights).axes([1]))?
    } else {
        weights
    };
    Ok(vec![Tensor::new(y, q.dtype).into(), Tensor::new(weights, q.dtype).into()])
}

/// The first or the second norm.
fn norm(n: &mut Node<'_, '_>, x: &Tensor, which: usize, eps: f64) -> Result<Tensor, Refusal> {
    let at = 8 + 2 * which;
    let weight = n.tensor(at, &format!("norm_weight_{which}"))?;
    let bias = n.tensor(at + 1, &format!("norm_bias_{which}"))?;
    let y = n.push(mb::layer_norm(&x.value).axes([-1]).gamma(&weight.value).beta(&bias.value).epsilon(eps))?;
    Ok(Tensor::new(y, x.dtype))
}

fn sum(n: &mut Node<'_, '_>, x: &Tensor, y: &Value) -> Result<Tensor, Refusal> {
    Ok(Tensor::new(n.push(mb::add(&x.value, y))?, x.dtype))
}

/// Attention and two linear layers, each with a residual and a norm behind it, or before.
fn encoder_layer(n: &mut Node<'_, '_>) -> Lowered {
    let x = n.float_tensor(0, "src")?;
    let heads = Heads {
        count: n.int(2, "num_heads")?,
        qkv: (n.tensor(3, "qkv_weight")?, n.tensor(4, "qkv_bias")?),
        out: (n.tensor(5, "proj_weight")?, n.tensor(6, "proj_bias")?),
        mask: mask(n, 18, 19)?,
    };
    let gelu = n.bool_or(7, "use_gelu", false)?;
    let first = n.bool_or(8, "norm_first", false)?;
    let eps = n.float_or(9, "eps", 1e-5)?;
    let (inner, inner_bias) = (n.tensor(14, "ffn_weight_1")?, n.tensor(15, "ffn_bias_1")?);
    let (outer, outer_bias) = (n.tensor(16, "ffn_weight_2")?, n.tensor(17, "ffn_bias_2")?);

    let input = if first { norm(n, &x, 1, eps)? } else { x.clone() };
    let (y, _) = attend(n, [&input; 3], &heads)?;
    let mut y = sum(n, &x, &y)?;
    if !first {
        y = norm(n, &y, 1, eps)?;
    }
    let input = if first { norm(n, &y, 2, eps)? } else { y.clone() };
    let z = linear_of(n, &input, &inner, Some(&inner_bias))?;
    let z = if gelu { n.push(mb::gelu(&z))? } else { n.push(mb::relu(&z))? };
    let z = linear_of(n, &Tensor::new(z, x.dtype), &outer, Some(&outer_bias))?;
    let mut z = sum(n, &y, &z)?;
    if !first {
        z = norm(n, &z, 2, eps)?;
    }
    Ok(vec![Val::Tensor(z)])
}
