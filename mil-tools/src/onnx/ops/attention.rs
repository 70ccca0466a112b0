//! Attention and rotary embeddings.

use mil_core::{
    graph::Value,
    mb,
    types::{DType, Opset},
};

use super::{Entry, Lowered, Node};
use crate::import::{Refusal, Size, Tensor};

pub(super) const OPS: &[Entry] = &[Entry::new("Attention", attention), Entry::new("RotaryEmbedding", rotary_embedding)];

fn dtype_of(x: &Value) -> DType {
    x.dtype().unwrap_or(DType::F32)
}

/// `[B, S, heads * D]` as `[B, heads, S, D]`.
fn split_heads(n: &mut Node<'_, '_>, x: &Value, heads: i64) -> Result<Value, Refusal> {
    let (batch, length) = (n.size(x, 0)?, n.size(x, 1)?);
    let width = x.shape().and_then(|s| s.get(2)).and_then(|d| d.fixed()).unwrap_or(0) as i64;
    if heads < 1 || width == 0 || width % heads != 0 {
        return Err(Refusal::new(format!("{width} numbers cannot be split into {heads} heads")));
    }
    let x = n.reshape(x, &[batch, length, Size::Fixed(heads), Size::Fixed(width / heads)])?;
    n.transpose(&x, &[0, 2, 1, 3])
}

/// Each head of `[B, H, S, D]`, one after the other, so many times.
fn repeat_heads(n: &mut Node<'_, '_>, x: &Value, times: i64) -> Result<Value, Refusal> {
    let sizes = n.sizes(x)?;
    let [batch, heads, length, width] = &sizes[..] else { return Err(Refusal::new("its inputs have no heads")) };
    let x = n.expand_dims(x, &[2])?;
    let x = n.push(mb::tile(&x, [1, 1, times, 1, 1]))?;
    let heads = n.product(&[heads.clone(), Size::Fixed(times)])?;
    n.reshape(&x, &[batch.clone(), heads, length.clone(), width.clone()])
}

/// The numbers from 0 to a size less 1, from a number on.
fn range(n: &mut Node<'_, '_>, size: &Size, from: &Size) -> Result<Value, Refusal> {
    let zero = n.number(DType::I32, 0.0)?;
    let one = n.number(DType::I32, 1.0)?;
    let end = match size {
        Size::Fixed(size) => n.number(DType::I32, *size as f64)?,
        Size::Value(size) => n.squeeze(size, &[0])?,
    };
    let all = n.push(mb::range_1d(&end, &zero, &one))?;
    match from {
        Size::Fixed(0) => Ok(all),
        Size::Fixed(from) => n.push(mb::add(&all, *from)),
        Size::Value(from) => n.push(mb::add(&all, from)),
    }
}

/// What is added to the scores: where attention is forbidden, minus infinity.
struct Bias {
    value: Value,
    /// Whether a row may have nothing that is allowed; of such a row nothing is given.
    may_be_empty: bool,
}

/// 0 where a condition holds, else minus infinity.
fn additive(n: &mut Node<'_, '_>, allowed: &Value, dtype: DType) -> Result<Value, Refusal> {
    let (zero, never) = (n.number(dtype, 0.0)?, n.number(dtype, f64::NEG_INFINITY)?);
    n.select(allowed, &zero, &never)
}

fn bias(
    n: &mut Node<'_, '_>,
    mask: Option<Tensor>,
    causal: bool,
    lengths: [&Size; 2],
    past: &Size,
    dtype: DType,
) -> Result<Option<Bias>, Refusal> {
    let mut all = None;
    if let Some(mask) = mask {
        let mut value = if mask.value.dtype() == Some(DType::Bool) {
            additive(n, &mask.value, dtype)?
        } else {
            n.cast(&mask.value, dtype)?
        };
        // A mask may end before the keys do: the rest is forbidden.
        if let (Size::Fixed(keys), Some(said)) = (lengths[1], mask.rank().checked_sub(1).and_then(|a| mask.size(a))) {
            let missing = keys - said as i64;
            if missing > 0 && said > 1 {
                let never = n.number(dtype, f64::NEG_INFINITY)?;
                value = n.push(mb::pad(&value, [0, missing]).constant_val(&never))?;
            }
        }
        all = Some(Bias { value, may_be_empty: true });
    }
    if causal {
        let rows = range(n, lengths[0], past)?;
        let rows = n.expand_dims(&rows, &[1])?;
        let columns = range(n, lengths[1], &Size::Fixed(0))?;
        let columns = n.expand_dims(&columns, &[0])?;
        let allowed = n.push(mb::less_equal(&columns, &rows))?;
        let causal = additive(n, &allowed, dtype)?;
        all = Some(match all {
            Some(Bias { value, may_be_empty }) => Bias { value: n.push(mb::add(&value, &causal))?, may_be_empty },
            // The first key is always allowed.
            None => Bias { value: causal, may_be_empty: false },
        });
    }
    Ok(all)
}

fn attention(n: &mut Node<'_, '_>) -> Lowered {
    let (query, key, value) = (n.input(0)?, n.input(1)?, n.input(2)?);
    let (mask, past_key, past_value) = (n.optional(3)?, n.optional(4)?, n.optional(5)?);
    let flat = query.rank() == 3;
    if ![3, 4].contains(&query.rank()) || key.rank() != query.rank() || value.rank() != query.rank() {
        return Err(Refusal::new("its inputs must all have rank 3, or all rank 4"));
    }
    let (mut q, mut k, mut v) = (query.value.clone(), key.value.clone(), value.value.clone());
    if flat {
        let heads = |name: &str| n.int(name)?.ok_or_else(|| Refusal::new(format!("its attribute `{name}` is missing")));
        let (q_heads, kv_heads) = (heads("q_num_heads")?, heads("kv_num_heads")?);
        q = split_heads(n, &q, q_heads)?;
        k = split_heads(n, &k, kv_heads)?;
        v = split_heads(n, &v, kv_heads)?;
    }
    let mut past = Size::Fixed(0);
    if let Some(past_key) = &past_key {
        past = n.size(&past_key.value, 2)?;
        k = n.push(mb::concat([&past_key.value, &k], 2))?;
    }
    if let Some(past_value) = &past_value {
        v = n.push(mb::concat([&past_value.value, &v], 2))?;
    }
    let (present_key, present_value) = (k.clone(), v.clone());
    let heads = |x: &Value| x.shape().and_then(|s| s.get(1)).and_then(|d| d.fixed()).map(|h| h as i64);
    let (Some(q_heads), Some(kv_heads)) = (heads(&q), heads(&k)) else {
        return Err(Refusal::new("the number of heads must be known"));
    };
    if kv_heads != q_heads {
        if kv_heads < 1 || q_heads % kv_heads != 0 {
            return Err(Refusal::new(format!("{q_heads} heads cannot share {kv_heads}")));
        }
        k = repeat_heads(n, &k, q_heads / kv_heads)?;
        v = repeat_heads(n, &v, q_heads / kv_heads)?;
    }
    let dtype = dtype_of(&q);
    let width = q.shape().and_then(|s| s.get(3)).and_then(|d| d.fixed()).unwrap_or(0);
    let default = 1.0 / (width.max(1) as f64).sqrt();
    let scale = n.float("scale")?.map_or(default, f64::from);
    let softcap = f64::from(n.float_or("softcap", 0.0)?);
    let (queries, keys) = (n.size(&q, 2)?, n.size(&k, 2)?);
    let causal = n.int_or("is_causal", 0)? != 0;
    let bias = bias(n, mask, causal, [&queries, &keys], &past, dtype)?;
    let wide = match n.int("softmax_precision")? {
        Some(10) => DType::F16,
        // What is wider or has less digits is computed in f32.
        Some(_) => DType::F32,
        None => dtype,
    };
    let may_be_empty = bias.as_ref().is_some_and(|b| b.may_be_empty);
    let whole = n.opset() >= Opset::iOS18 && !n.has_output(3) && softcap == 0.0 && !may_be_empty && wide == dtype;
    let (y, scores) = if whole {
        let q = if scale == default { q } else { n.push(mb::mul(&q, scale / default))? };
        let mut call = mb::scaled_dot_product_attention(&q, &k, &v);
        if let Some(bias) = &bias {
            call = call.attn_mask(&bias.value);
        }
        (n.push(call)?, None)
    } else {
        let mode = n.int_or("qk_matmul_output_mode", 0)?;
        let (q, k) = if dtype == DType::F16 {
            // Half of the scale on either side, as the op is defined: in f16 it matters.
            (n.push(mb::mul(&q, scale.sqrt()))?, n.push(mb::mul(&k, scale.sqrt()))?)
        } else {
            (n.push(mb::mul(&q, scale))?, k)
        };
        let mut scores = n.push(mb::matmul(&q, &k).transpose_y(true))?;
        let raw = scores.clone();
        if softcap > 0.0 {
            scores = n.push(mb::real_div(&scores, softcap))?;
            scores = n.push(mb::tanh(&scores))?;
            scores = n.push(mb::mul(&scores, softcap))?;
        }
        let capped = scores.clone();
        if let Some(bias) = &bias {
            scores = n.push(mb::add(&scores, &bias.value))?;
        }
        let biased = scores.clone();
        scores = n.cast(&scores, wide)?;
        scores = n.push(mb::softmax(&scores).axis(-1))?;
        scores = n.cast(&scores, dtype)?;
        if let Some(bias) = bias.filter(|b| b.may_be_empty) {
            let most = n.push(mb::reduce_max(&bias.value).axes([-1]).keep_dims(true))?;
            let never = n.number(dtype, f64::NEG_INFINITY)?;
            let some = n.push(mb::greater(&most, &never))?;
            if !n.holds(&some) {
                let zero = n.number(dtype, 0.0)?;
                scores = n.push(mb::select(&some, &scores, &zero))?;
            }
        }
        let shown = match mode {
            0 => raw,
            1 => capped,
            2 => biased,
            _ => scores.clone(),
        };
        (n.push(mb::matmul(&scores, &v))?, Some(shown))
    };
    let y = if flat {
        let y = n.transpose(&y, &[0, 2, 1, 3])?;
        let sizes = n.sizes(&y)?;
        let width = n.product(&sizes[2..])?;
        n.reshape(&y, &[sizes[0].clone(), sizes[1].clone(), width])?
    } else {
        y
    };
    let mut outputs =
        vec![Tensor::new(y, query.dtype), Tensor::new(present_key, key.dtype), Tensor::new(present_value, value.dtype)];
    outputs.extend(scores.map(|s| Tensor::new(s, query.dtype)));
    Ok(outputs)
}

impl Node<'_, '_> {
    /// Whether a condition is known to hold everywhere.
    fn holds(&self, condition: &Value) -> bool {
        let all = condition.known().and_then(|k| k.constant()).and_then(|c| c.ints());
        all.is_some_and(|all| all.iter().all(|v| *v != 0))
    }
}

fn rotary_embedding(n: &mut Node<'_, '_>) -> Lowered {
    let (x, cos, sin, positions) = (n.input(0)?, n.input(1)?, n.input(2)?, n.optional(3)?);
    let original = n.sizes(&x.value)?;
    // Where the heads stand among the dimensions: batch, heads, sequence; or batch, sequence, heads.
    let (value, heads) = match &original[..] {
        [_, _, _, _] => (x.value.clone(), 1),
        [batch, length, Size::Fixed(width)] => {
            let heads = n.int_or("num_heads", 0)?;
            if heads < 1 || width % heads != 0 {
                return Err(Refusal::new(format!("{width} numbers cannot be split into {heads} heads")));
            }
            let sizes = [batch.clone(), length.clone(), Size::Fixed(heads), Size::Fixed(width / heads)];
            (n.reshape(&x.value, &sizes)?, 2)
        }
        _ => return Err(Refusal::new(format!("its input must have rank 3 or 4, and is {}", x.value.ty()))),
    };
    let Size::Fixed(width) = n.size(&value, 3)? else {
        return Err(Refusal::new("the size of a head must be known"));
    };
    let turned = match n.int_or("rotary_embedding_dim", 0)? {
        0 => width,
        some if some > 0 && some <= width && some % 2 == 0 => some,
        some => return Err(Refusal::new(format!("its attribute `rotary_embedding_dim` is {some}"))),
    };
    let mut angles = vec![];
    for cache in [cos, sin] {
        let all = match &positions {
            Some(positions) => n.push(mb::gather(&cache.value, &positions.value).axis(0))?,
            None => cache.value,
        };
        angles.push(n.expand_dims(&all, &[heads])?);
    }
    let (cos, sin) = (&angles[0], &angles[1]);
    let interleaved = n.int_or("interleaved", 0)? != 0;
    let [first, second] = if interleaved {
        [n.last(&value, 0, turned, 2)?, n.last(&value, 1, turned, 2)?]
    } else {
        [n.last(&value, 0, turned / 2, 1)?, n.last(&value, turned / 2, turned, 1)?]
    };
    let (a, b) = (n.push(mb::mul(&first, cos))?, n.push(mb::mul(&second, sin))?);
    let real = n.push(mb::sub(&a, &b))?;
    let (a, b) = (n.push(mb::mul(&first, sin))?, n.push(mb::mul(&second, cos))?);
    let imaginary = n.push(mb::add(&a, &b))?;
    let mut parts = if interleaved {
        let pairs = n.push(mb::stack([&real, &imaginary], 4))?;
        let mut sizes = n.sizes(&value)?;
        sizes[3] = Size::Fixed(turned);
        vec![n.reshape(&pairs, &sizes)?]
    } else {
        vec![real, imaginary]
    };
    if turned < width {
        parts.push(n.last(&value, turned, width, 1)?);
    }
    let y = if let [one] = &parts[..] { one.clone() } else { n.push(mb::concat(parts, 3))? };
    let y = n.reshape(&y, &original)?;
    n.one(y, x.dtype)
}

#[cfg(test)]
mod tests {
    use mil_core::types::DType::F32;

    use crate::onnx::testing::{Net, int};

    #[test]
    fn plain_attention_is_products_and_a_softmax() {
        let ops = |causal| {
            let net = Net::new(23).input("q", F32, &[1, 2, 5, 4]).input("k", F32, &[1, 2, 6, 4]);
            let net = net.input("v", F32, &[1, 2, 6, 3]);
            net.node("Attention", "q k v", "y", &[int("is_causal", causal)]).ops("y")
        };
        assert_eq!(ops(0), ["mul", "matmul", "softmax", "matmul"]);
        // What a causal mask adds is known.
        assert_eq!(ops(1), ["mul", "matmul", "add", "softmax", "matmul"]);
    }
}
