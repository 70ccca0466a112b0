//! Attention.

use crate::{
    op::{Arg, Cx, Infer, Inferred, Op, OpDef, OpError},
    types::{Shape, TensorType},
};
use mil_derive::Op;

use super::rules;

pub(crate) const OPS: &[&OpDef] = &[ScaledDotProductAttention::DEF];

/// `softmax(query * transpose(key) / sqrt(E) + attn_mask) * value`, the softmax being over the last dimension.
///
/// # Constraints
/// - C1 `query`, `key` and `value` have the same rank, of 3 or more.
/// - C2 they have the same batch dimensions: all but the last two, without broadcasting.
/// - C3 `query` and `key` have the same last dimension.
/// - C4 `key` and `value` have the same sequence length.
/// - C5 the last dimension of `attn_mask` is that sequence length, and its others broadcast to those of `query`.
#[derive(Op, Clone, Debug)]
#[op(name = "scaled_dot_product_attention", since = iOS18)]
#[domain(T = F16 | F32)]
#[domain(M = F16 | F32 | Bool)]
pub struct ScaledDotProductAttention {
    /// `[*B, L, E]`.
    #[dtype(T)]
    pub query: Arg,
    /// `[*B, S, E]`.
    #[dtype(T)]
    pub key: Arg,
    /// `[*B, S, EV]`.
    #[dtype(T)]
    pub value: Arg,
    /// Broadcasts to `[*B, L, S]`. Floats are added to the scores; of bools, `false` leaves an element out.
    #[dtype(M)]
    pub attn_mask: Option<Arg>,
}

impl Infer for ScaledDotProductAttention {
    fn infer(&self, _: &mut Cx<'_>) -> Result<Vec<Inferred>, OpError> {
        let (query, rank) = (&self.query, self.query.rank());
        if rank < 3 {
            return Err(OpError::at("query", format!("`query` must have rank 3 or more, found {}", query.ty))); // C1
        }
        for (arg, param) in [(&self.key, "key"), (&self.value, "value")] {
            rules::rank_in(arg, rank..=rank, param)?;
            for d in 0..rank - 2 {
                agree(query, d, "query", arg, d, param)?; // C2
            }
        }
        agree(query, rank - 1, "query", &self.key, rank - 1, "key")?; // C3
        agree(&self.key, rank - 2, "key", &self.value, rank - 2, "value")?; // C4
        if let Some(mask) = &self.attn_mask {
            self.check_mask(mask)?; // C5
        }
        let mut shape = query.shape().to_vec();
        shape[rank - 1] = self.value.dim(rank - 1).clone();
        Ok(vec![TensorType::new(query.dtype(), shape).into()])
    }
}

fn agree(a: &Arg, i: usize, a_name: &str, b: &Arg, j: usize, b_name: &str) -> Result<(), OpError> {
    let (m, n) = (a.dim(i), b.dim(j));
    if m.may_equal(n) {
        return Ok(());
    }
    let message = format!("dimension {j} of `{b_name}` must be {m}, as dimension {i} of `{a_name}` is, found {n}");
    Err(OpError::at(b_name, message).note(format!("{a_name}: {}\n{b_name}: {}", a.ty, b.ty)))
}

impl ScaledDotProductAttention {
    fn check_mask(&self, mask: &Arg) -> Result<(), OpError> {
        let mut scores = self.query.shape().to_vec();
        scores.truncate(scores.len() - 1);
        let lead: Shape = scores.clone().into();
        let length = self.key.dim(self.key.rank() - 2);
        scores.push(length.clone());
        let fits = mask.shape().split_last().is_some_and(|(last, rest)| {
            let rest: Shape = rest.iter().cloned().collect();
            let joined = rules::broadcast(&lead, &rest, "attn_mask");
            last.may_equal(length) && joined.is_ok_and(|j| j.compatible(&lead))
        });
        if fits {
            return Ok(());
        }
        let scores: Shape = scores.into();
        let message = format!("`attn_mask` must broadcast to {scores} and end with {length}, found {}", mask.ty);
        Err(OpError::at("attn_mask", message))
    }
}

#[cfg(test)]
mod tests {
    use crate::{
        mb,
        op::Call,
        ops::testing::{Test, fails, fails_in, infers},
        types::Opset,
    };

    fn call(g: &mut Test, q: &str, k: &str, v: &str) -> Call<super::ScaledDotProductAttention> {
        mb::scaled_dot_product_attention(g.t(q), g.t(k), g.t(v))
    }

    const Q: &str = "Tensor<f32, 2, 4, 5, 8>";
    const K: &str = "Tensor<f32, 2, 4, 7, 8>";
    const V: &str = "Tensor<f32, 2, 4, 7, 9>";

    #[test]
    fn shapes() {
        infers(|g| call(g, Q, K, V), "Tensor<f32, 2, 4, 5, 9>");
        let t = |s: &str| format!("Tensor<f16, B, {s}>");
        infers(|g| call(g, &t("L, E"), &t("S, E"), &t("S, F")), "Tensor<f16, B, L, F>");
        for mask in ["Tensor<bool, 5, 7>", "Tensor<f32, 2, 1, 1, 7>", "Tensor<f16, 7>", "Tensor<bool, L, S>"] {
            infers(|g| call(g, Q, K, V).attn_mask(g.t(mask)), "Tensor<f32, 2, 4, 5, 9>");
        }
    }

    #[test]
    fn needs_its_opset() {
        fails_in(Opset::iOS17, |g| call(g, Q, K, V), "", "needs opset iOS18");
    }

    #[test]
    fn c1_ranks() {
        fails(|g| call(g, "Tensor<f32, 5, 8>", K, V), "query", "rank 3 or more");
        fails(|g| call(g, Q, "Tensor<f32, 4, 7, 8>", V), "key", "rank 4");
        fails(|g| call(g, Q, K, "Tensor<f32, 4, 7, 8>"), "value", "rank 4");
    }

    #[test]
    fn c2_batch() {
        fails(|g| call(g, Q, "Tensor<f32, 2, 1, 7, 8>", V), "key", "dimension 1 of `key` must be 4");
        fails(|g| call(g, Q, K, "Tensor<f32, 1, 4, 7, 8>"), "value", "dimension 0 of `value` must be 2");
    }

    #[test]
    fn c3_embedding() {
        fails(|g| call(g, Q, "Tensor<f32, 2, 4, 7, 9>", V), "key", "must be 8");
    }

    #[test]
    fn c4_sequence() {
        fails(|g| call(g, Q, K, "Tensor<f32, 2, 4, 6, 9>"), "value", "must be 7");
    }

    #[test]
    fn c5_mask() {
        for mask in ["Tensor<bool, 5, 1>", "Tensor<bool>", "Tensor<f32, 6, 7>", "Tensor<f32, 1, 2, 4, 5, 7>"] {
            fails(|g| call(g, Q, K, V).attn_mask(g.t(mask)), "attn_mask", "must broadcast to [2, 4, 5, 7]");
        }
        let one = |s: &str| format!("Tensor<f32, 1, {s}, 8>");
        fails(
            |g| call(g, &one("1"), &one("7"), &one("7")).attn_mask(g.t("Tensor<bool, 5, 7>")),
            "attn_mask",
            "[1, 1, 7]",
        );
    }

    #[test]
    fn masks_are_bools_or_floats() {
        fails(|g| call(g, Q, K, V).attn_mask(g.t("Tensor<i32, 5, 7>")), "attn_mask", "f16 or f32 or bool");
    }
}
