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
    let (Some(of_q), Some(of_k)) = (q.rank().checked_sub(2), k.rank().checked_sub(2)) else {
        return Err(Refusal::new(format!("has queries of rank {} and keys of rank {}", q.rank(), k.rank())));
    };
    let sizes: Vec<Size> = vec![n.size(&q.value, of_q)?, n.size(&k.value, of_k)?];
    let ones = n.filled_with(&sizes, DType::Bool, 1.0)?;
    let mask = n.push(mb::band_part(&ones).lower(-1).upper(0))?;
    Ok(Tensor::new(mask, DType::Bool))
}

/// Heads of keys and values, each as often as there are heads of queries for it.
fn repeated(n: &mut Node<'_, '_>, q: &Tensor, x: Tensor) -> Result<Tensor, Refusal> {
    let Some(axis) = q.rank().checked_sub(3).filter(|_| q.rank() == x.rank()) else {
        return Err(Refusal::new(format!("has queries of rank {} and keys of rank {}", q.rank(), x.rank())));
    };
    let (Some(want), Some(have)) = (q.size(axis), x.size(axis)) else {
        return Err(Refusal::new("needs to know the numbers of heads"));
    };
    if have == 0 || want % have != 0 {
        return Err(Refusal::new(format!("has {want} heads of queries for {have} of keys or values")));
    }
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

#[cfg(test)]
mod tests {
    use mil_core::types::Opset;

    use crate::{import::ImportOptions, torch::testing::Net};

    fn net(rest: &str) -> Net {
        let net = Net::new().input("q", &[1, 2, 5, 4]).input("k", &[1, 2, 6, 4]).input("v", &[1, 2, 6, 4]);
        net.node(&format!("y = aten::scaled_dot_product_attention(q, k, v, {rest})"))
    }

    #[test]
    fn attention_is_products_and_a_softmax_or_the_op_of_ios18() {
        assert_eq!(net("None, 0.0, False").ops("y"), ["mul", "matmul", "softmax", "matmul"]);
        // What a causal mask hides is known.
        assert_eq!(net("None, 0.0, True").ops("y"), ["mul", "matmul", "select", "softmax", "matmul"]);
        let options = || ImportOptions { target: Some(Opset::iOS18), ..ImportOptions::default() };
        let own = net("None, 0.0, False").options(options());
        assert_eq!(own.form("y"), ["scaled_dot_product_attention(query=q, key=k, value=v)"]);
        let other = net("None, 0.0, False, scale=2.0").options(options());
        assert_eq!(other.ops("y"), ["mul", "matmul", "softmax", "matmul"]);
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        assert!(net("None, 0.1, False").refusal("y").contains("leaves out elements by chance"));
        let heads = |q: &[i64], k: &[i64]| {
            let net = Net::new().input("q", q).input("k", k);
            net.node("y = aten::scaled_dot_product_attention(q, k, k, None, 0.0, False, None, True)").refusal("y")
        };
        assert!(heads(&[1, 3, 5, 4], &[1, 2, 6, 4]).contains("has 3 heads of queries for 2 of keys or values"));
        assert!(heads(&[5, 4], &[5, 4]).contains("has queries of rank 2 and keys of rank 2"));
        let causal = Net::new().input("q", &[4]).input("k", &[4]);
        let causal = causal.node("y = aten::scaled_dot_product_attention(q, k, k, None, 0.0, True)");
        assert!(causal.refusal("y").contains("has queries of rank 1 and keys of rank 1"));
    }
}
