//! Attention.

use mil_core::{
    ops::{attention::ScaledDotProductAttention, strided::Broadcast},
    types::DType,
};

use super::{
    Cx, Kernel, KernelDef,
    activation::softmax,
    floats,
    matmul::{multiply, transposed},
    shapes::{actual, actual_of, output_shape},
};
use crate::{
    error::RunError,
    tensor::{AnyTensor, checked_count},
};

pub(super) const KERNELS: &[KernelDef] = &[KernelDef::of::<ScaledDotProductAttention>()];

impl Kernel for ScaledDotProductAttention {
    fn run(&self, cx: &Cx<'_>) -> Result<Vec<AnyTensor>, RunError> {
        let (query, key, value) = (cx.get(&self.query)?, cx.get(&self.key)?, cx.get(&self.value)?);
        let op = ScaledDotProductAttention {
            query: actual(&self.query, &query),
            key: actual(&self.key, &key),
            value: actual(&self.value, &value),
            attn_mask: actual_of(&self.attn_mask, cx)?,
        };
        let shape = output_shape(&op)?;
        let n = shape.len();
        let (length, depth, keys, width) = (shape[n - 2], query.shape()[n - 1], key.shape()[n - 2], shape[n - 1]);
        let mut scores_shape = shape.clone();
        scores_shape[n - 1] = keys;
        let batch: usize = shape[..n - 2].iter().product();
        let mut scores = vec![0.0; checked_count(DType::F32, &scores_shape)?];
        if let Some(mask) = &self.attn_mask {
            add_mask(&mut scores, &scores_shape, &*cx.get(mask)?)?;
        }
        let (q, k, v) = (query.to_f32()?, key.to_f32()?, value.to_f32()?);
        let scale = 1.0 / (depth as f32).sqrt();
        let q: Vec<f32> = q.iter().map(|q| q * scale).collect();
        let mut out = vec![0.0; batch * length * width];
        for b in 0..batch {
            let q = &q[b * length * depth..][..length * depth];
            let k = transposed(&k[b * keys * depth..][..keys * depth], keys, depth);
            let v = &v[b * keys * width..][..keys * width];
            let scores = &mut scores[b * length * keys..][..length * keys];
            multiply(q, &k, depth, keys, scores);
            scores.chunks_exact_mut(keys.max(1)).for_each(softmax);
            let out = &mut out[b * length * width..][..length * width];
            multiply(scores, v, keys, width, out);
        }
        floats(query.dtype(), shape, out)
    }
}

/// Adds a mask that broadcasts to the scores; of bools, `false` adds minus infinity.
fn add_mask(scores: &mut [f32], shape: &[usize], mask: &AnyTensor) -> Result<(), RunError> {
    let bools = mask.dtype() == DType::Bool;
    let values = mask.to_f32()?;
    for (score, [at]) in scores.iter_mut().zip(Broadcast::new(shape, [mask.shape()])) {
        *score += match values[at] {
            0.0 if bools => f32::NEG_INFINITY,
            _ if bools => 0.0,
            v => v,
        };
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use mil_core::{mb, op::Call, ops::attention::ScaledDotProductAttention};

    use crate::{
        cpu::reference::testing::{Test, close, run},
        tensor::AnyTensor,
    };

    const Q: [f32; 4] = [1.0, 0.0, 0.5, -1.0];
    const K: [f32; 6] = [1.0, 2.0, 0.0, 1.0, -1.0, 0.5];
    const V: [f32; 6] = [1.0, 10.0, 2.0, 20.0, 3.0, 30.0];

    fn call(g: &mut Test) -> Call<ScaledDotProductAttention> {
        mb::scaled_dot_product_attention(g.f32(&[1, 2, 2], &Q), g.f32(&[1, 3, 2], &K), g.f32(&[1, 3, 2], &V))
    }

    /// By NumPy: `softmax(q @ k.T / sqrt(2) + mask) @ v`.
    #[test]
    fn masks() {
        let out = run(call);
        close(&out, &[1, 2, 2], &[1.5640539, 15.640539, 2.1102111, 21.102112], 2e-6);
        let out = run(|g| call(g).attn_mask(g.f32(&[2, 3], &[0.0, 1.0, -1.0, 2.0, 0.0, 0.5])));
        close(&out, &[1, 2, 2], &[1.6252425, 16.252424, 1.5483369, 15.483368], 2e-6);
        let out = run(|g| call(g).attn_mask(g.input(AnyTensor::bools([3], &[true, true, false]).unwrap())));
        close(&out, &[1, 2, 2], &[1.3302385, 13.302384, 1.587479, 15.87479], 2e-6);
    }

    #[test]
    fn batches_have_their_own_keys() {
        let out = run(|g| {
            let (q, k) = (g.f32(&[2, 1, 1], &[1.0, 1.0]), g.f32(&[2, 2, 1], &[5.0, 5.0, 1.0, 1.0]));
            mb::scaled_dot_product_attention(q, k, g.f32(&[2, 2, 1], &[1.0, 3.0, 10.0, 30.0]))
        });
        close(&out, &[2, 1, 1], &[2.0, 20.0], 1e-6);
    }
}
