//! Attention.

use mil_core::{
    graph::Value,
    mb,
    types::{DType, Opset},
};

use super::{Entry, Lowered, Node};
use crate::import::{Refusal, Size, Tensor};

pub(super) const OPS: &[Entry] = &[
    Entry::new("aten::_scaled_dot_product_attention_math", attention),
    Entry::new("aten::_scaled_dot_product_efficient_attention", efficient),
    Entry::new("aten::_scaled_dot_product_flash_attention", flash),
    Entry::new("aten::_scaled_dot_product_flash_attention_for_cpu", flash),
    Entry::new("aten::scaled_dot_product_attention", attention),
];

/// What attention is given beside query, key and value.
struct Extra {
    mask: Option<Tensor>,
    causal: bool,
    scale: Option<f64>,
    grouped: bool,
}

fn attention(n: &mut Node<'_, '_>) -> Lowered {
    if n.float_or(4, "dropout_p", 0.0)? > 0.0 {
        return Err(Refusal::new("leaves out elements by chance").remedy("export the module in `eval()` mode"));
    }
    let mask = n.optional(3, "attn_mask")?;
    // `_math` has another mask where the others have the scale.
    let math = n.op().ends_with("_math");
    let extra = Extra {
        mask,
        causal: n.bool_or(5, "is_causal", false)?,
        scale: n.float(if math { 7 } else { 6 }, "scale")?,
        grouped: n.bool_or(if math { 8 } else { 7 }, "enable_gqa", false)?,
    };
    lower(n, extra)
}

fn flash(n: &mut Node<'_, '_>) -> Lowered {
    let causal = n.bool_or(4, "is_causal", false)?;
    let (mask, scale) = if n.op().ends_with("_for_cpu") {
        (n.optional(5, "attn_mask")?, n.float(6, "scale")?)
    } else {
        (None, n.float(6, "scale")?)
    };
    lower(n, Extra { mask, causal, scale, grouped: false })
}

fn efficient(n: &mut Node<'_, '_>) -> Lowered {
    let extra = Extra {
        mask: n.optional(3, "attn_bias")?,
        causal: n.bool_or(6, "is_causal", false)?,
        scale: n.float(7, "scale")?,
        grouped: false,
    };
    lower(n, extra)
}

/// `softmax(query * key^T * scale + mask) * value`; the op of iOS18 where the scale is its own.
fn lower(n: &mut Node<'_, '_>, extra: Extra) -> Lowered {
    let q = n.float_tensor(0, "query")?;
    let (mut k, mut v) = (n.tensor(1, "key")?, n.tensor(2, "value")?);
    if extra.grouped {
        (k, v) = (repeated(n, &q, k)?, repeated(n, &q, v)?);
    }
    let width = q.size(q.rank().saturating_sub(1));
    let natural = width.map(|w| 1.0 / (w as f64).sqrt());
    let scale = match (extra.scale, natural) {
        (Some(scale), _) => scale,
        (None, Some(scale)) => scale,
        (None, None) => return Err(Refusal::new("needs to know the last size of its query")),
    };
    let own = natural.is_some_and(|natural| (scale - natural).abs() <= 1e-6 * natural);
    let mut mask = extra.mask;
    if extra.causal {
        mask = Some(causal(n, &q, &k)?);
    }
    let alike = q.dims().len() >= 3
        && q.dims().len() == k.dims().len()
        && q.dims()[..q.rank() - 2] == k.dims()[..k.rank() - 2]
        && k.dims()[..k.rank() - 2] == v.dims()[..v.rank().saturating_sub(2).min(v.dims().len())];
    let fits = mask.as_ref().is_none_or(|m| m.rank() <= q.rank());
    if n.opset() >= Opset::iOS18 && own && alike && fits {
        let mut call = mb::scaled_dot_product_attention(&q.value, &k.value, &v.value);
        if let Some(mask) = &mask {
            let mask = if mask.dtype == DType::Bool { mask.value.clone() } else { n.convert(mask, q.dtype)?.value };
            call = call.attn_mask(&mask);
        }
        let y = n.push(call)?;
        return n.one(y, q.dtype);
    }
    let scaled = n.push(mb::mul(&q.value, scale))?;
    let mut scores = n.push(mb::matmul(&scaled, &k.value).transpose_y(true))?;
    if let Some(mask) = mask {
        scores = masked(n, &scores, &mask, q.dtype)?;
    }
    let weights = n.push(mb::softmax(&scores).axis(-1))?;
    let y = n.push(mb::matmul(&weights, &v.value))?;
    n.one(y, q.dtype)
}

/// Floats are added; where bools are false, nothing is seen.
fn masked(n: &mut Node<'_, '_>, scores: &Value, mask: &Tensor, dtype: DType) -> Result<Value, Refusal> {
    if mask.dtype == DType::Bool {
        let least = n.number_of(dtype, if dtype == DType::F16 { -65504.0 } else { f64::NEG_INFINITY })?;
        return n.select(&mask.value, scores, &least);
    }
    let mask = n.convert(mask, dtype)?;
    n.push(mb::add(scores, &mask.value))
}

/// Each place sees itself and those before it.
fn causal(n: &mut Node<'_, '_>, q: &Tensor, k: &Tensor) -> Result<Tensor, Refusal> {
    let sizes: Vec<Size> = vec![n.size(&q.value, q.rank() - 2)?, n.size(&k.value, k.rank() - 2)?];
    let ones = n.filled_with(&sizes, DType::Bool, 1.0)?;
    let mask = n.push(mb::band_part(&ones).lower(-1).upper(0))?;
    Ok(Tensor::new(mask, DType::Bool))
}

/// Heads of keys and values, each as often as there are heads of queries for it.
fn repeated(n: &mut Node<'_, '_>, q: &Tensor, x: Tensor) -> Result<Tensor, Refusal> {
    let axis = q.rank() - 3;
    let (Some(want), Some(have)) = (q.size(axis), x.size(axis)) else {
        return Err(Refusal::new("needs to know the numbers of heads"));
    };
    if want == have {
        return Ok(x);
    }
    let mut sizes = n.sizes(&x.value)?;
    let wide = n.expand_dims(&x.value, &[axis + 1])?;
    let mut reps = vec![1i64; sizes.len() + 1];
    reps[axis + 1] = (want / have) as i64;
    let wide = n.push(mb::tile(&wide, reps))?;
    sizes[axis] = want.into();
    Ok(Tensor::new(n.reshape(&wide, &sizes)?, x.dtype))
}
