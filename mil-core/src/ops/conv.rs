//! Convolutions.

use crate::{
    op::{Arg, Cx, Infer, Inferred, Op, OpDef, OpError, param::string_enum},
    types::{Dim, TensorType},
};
use mil_derive::Op;

use super::rules;

pub(crate) const OPS: &[&OpDef] = &[Conv::DEF];

string_enum! {
    /// How the borders of the input are padded.
    PadType {
        /// Not at all.
        Valid = "valid",
        /// By the amounts in `pad`.
        Custom = "custom",
        /// So that the output has `ceil(input / stride)` elements; an odd element goes to the end.
        Same = "same",
        /// The same, but an odd element goes to the beginning.
        SameLower = "same_lower",
    }
}

/// Convolution over 1, 2 or 3 spatial dimensions.
///
/// # Constraints
/// - C1 `x` has rank 3 to 5 and `weight` the same rank.
/// - C2 `x` has `weight.shape[1] * groups` channels.
/// - C3 `groups` divides the output channels.
/// - C4 `bias` has one element per output channel.
/// - C5 `strides` and `dilations` have one element of at least 1 per spatial dimension, `pad` two of at least 0.
/// - C6 the dilated kernel fits into the padded input.
#[derive(Op, Clone, Debug)]
#[op(name = "conv", since = iOS15)]
#[domain(T = F16 | F32)]
#[domain(U = F16 | F32)]
pub struct Conv {
    /// `[N, C_in, *D]`.
    #[dtype(T)]
    pub x: Arg,
    /// `[C_out, C_in / groups, *K]`.
    #[dtype(T, iOS17 = U)]
    pub weight: Arg,
    /// `[C_out]`, added per output channel.
    #[dtype(T, iOS17 = U)]
    #[constant(until = iOS17)]
    pub bias: Option<Arg>,
    /// One stride per spatial dimension. Default: all 1.
    #[dtype(I32)]
    #[default(vec![1; spatial(&x)])]
    pub strides: Vec<i64>,
    /// Default: `"valid"`.
    #[dtype(String)]
    #[default(PadType::Valid)]
    pub pad_type: PadType,
    /// Before and after, per spatial dimension; used if `pad_type` is `"custom"`. Default: all 0.
    #[dtype(I32)]
    #[default(vec![0; 2 * spatial(&x)])]
    pub pad: Vec<i64>,
    /// Distance between kernel elements, per spatial dimension. Default: all 1.
    #[dtype(I32)]
    #[default(vec![1; spatial(&x)])]
    pub dilations: Vec<i64>,
    /// Input and output channels are split into this many groups. Default: 1.
    #[dtype(I32)]
    #[default(1)]
    pub groups: i64,
}

/// How many spatial dimensions an input `[N, C, *D]` has.
pub(crate) fn spatial(x: &Arg) -> usize {
    x.rank().saturating_sub(2)
}

impl Infer for Conv {
    fn infer(&self, _: &mut Cx<'_>) -> Result<Vec<Inferred>, OpError> {
        let (x, w) = (&self.x, &self.weight);
        rules::rank_in(x, 3..=5, "x")?; // C1
        if w.rank() != x.rank() {
            let message = format!("`weight` must have rank {}, as `x` has, found {}", x.rank(), w.ty);
            return Err(OpError::at("weight", message));
        }
        rules::at_least(&[self.groups], 1, "groups")?;
        let channels = w.dim(1).clone() * self.groups;
        if !x.dim(1).may_equal(&channels) {
            let message = format!("`x` has {} channels but `weight` expects {channels}", x.dim(1)); // C2
            return Err(OpError::at("weight", message).note(format!("x: {}\nweight: {}", x.ty, w.ty)));
        }
        if w.dim(0).value().is_some_and(|c| c % self.groups != 0) {
            let message = format!("{} output channels cannot be split into {} groups", w.dim(0), self.groups); // C3
            return Err(OpError::at("groups", message));
        }
        if let Some(bias) = &self.bias {
            rules::rank_in(bias, 1..=1, "bias")?;
            if !bias.dim(0).may_equal(w.dim(0)) {
                let message = format!("`bias` must have {} elements, found {}", w.dim(0), bias.dim(0)); // C4
                return Err(OpError::at("bias", message));
            }
        }
        let n = spatial(x);
        rules::length(&self.strides, n, "strides")?; // C5
        rules::length(&self.dilations, n, "dilations")?;
        rules::length(&self.pad, 2 * n, "pad")?;
        rules::at_least(&self.strides, 1, "strides")?;
        rules::at_least(&self.dilations, 1, "dilations")?;
        rules::at_least(&self.pad, 0, "pad")?;
        let mut shape = vec![x.dim(0).clone(), w.dim(0).clone()];
        for i in 0..n {
            let kernel = (w.dim(i + 2).clone() - 1) * self.dilations[i] + 1;
            let pad = self.pad[2 * i] + self.pad[2 * i + 1];
            shape.push(window(x.dim(i + 2), &kernel, self.strides[i], self.pad_type, pad).ok_or_else(|| {
                let message = format!("the kernel of size {kernel} does not fit dimension {} of `x`", i + 2); // C6
                OpError::at("weight", message).note(format!("x: {}\nweight: {}", x.ty, w.ty))
            })?);
        }
        Ok(vec![TensorType::new(x.dtype(), shape).into()])
    }
}

/// How many places a window of `kernel` elements has along a dimension; `None` if it can have none.
pub(crate) fn window(size: &Dim, kernel: &Dim, stride: i64, pad_type: PadType, pad: i64) -> Option<Dim> {
    let padded = match pad_type {
        PadType::Same | PadType::SameLower => return Some(size.clone().ceil_div(stride)),
        PadType::Valid => size.clone(),
        PadType::Custom => size.clone() + pad,
    };
    let room = padded - kernel.clone();
    if room.bounds().1.is_some_and(|max| max < 0) {
        return None;
    }
    Some(room.floor_div(stride) + 1)
}

#[cfg(test)]
mod tests {
    use crate::{
        mb,
        ops::testing::{fails, fails_in, infers},
        types::Opset,
    };

    #[test]
    fn shapes() {
        infers(
            |g| mb::conv(g.t("Tensor<f32, 1, 3, 224, 224>"), g.t("Tensor<f32, 64, 3, 7, 7>")).strides([2, 2]),
            "Tensor<f32, 1, 64, 109, 109>",
        );
        infers(
            |g| {
                mb::conv(g.t("Tensor<f16, N, 3, H, W>"), g.t("Tensor<f16, 8, 3, 3, 3>"))
                    .strides([2, 2])
                    .pad_type("same")
            },
            "Tensor<f16, N, 8, (H + 1) / 2, (W + 1) / 2>",
        );
        infers(
            |g| {
                mb::conv(g.t("Tensor<f32, 1, 4, 10>"), g.t("Tensor<f32, 6, 2, 3>"))
                    .groups(2)
                    .pad_type("custom")
                    .pad([1, 0])
                    .dilations(2)
            },
            "Tensor<f32, 1, 6, 7>",
        );
    }

    #[test]
    fn c1_ranks() {
        fails(|g| mb::conv(g.t("Tensor<f32, 3, 4>"), g.t("Tensor<f32, 3, 4>")), "x", "rank 3 to 5");
        fails(|g| mb::conv(g.t("Tensor<f32, 1, 3, 4>"), g.t("Tensor<f32, 3, 3, 2, 2>")), "weight", "rank 3");
    }

    #[test]
    fn c2_channel_mismatch() {
        fails(|g| mb::conv(g.t("Tensor<f32, 1, 3, 9>"), g.t("Tensor<f32, 8, 4, 3>")), "weight", "expects 4");
    }

    #[test]
    fn c3_groups() {
        fails(
            |g| mb::conv(g.t("Tensor<f32, 1, 4, 9>"), g.t("Tensor<f32, 5, 2, 3>")).groups(2),
            "groups",
            "5 output channels",
        );
    }

    #[test]
    fn c4_bias_and_its_constness() {
        let call = |bias: &str, g: &mut crate::ops::testing::Test| {
            mb::conv(g.t("Tensor<f32, 1, 3, 9>"), g.t("Tensor<f32, 8, 3, 3>")).bias(g.t(bias))
        };
        fails(|g| call("Tensor<f32, 7>", g), "bias", "8 elements, found 7");
        fails_in(Opset::iOS16, |g| call("Tensor<f32, 8>", g), "bias", "must be a constant");
        infers(|g| call("Tensor<f32, 8>", g), "Tensor<f32, 1, 8, 7>");
    }

    #[test]
    fn c5_lists() {
        fails(
            |g| mb::conv(g.t("Tensor<f32, 1, 3, 9, 9>"), g.t("Tensor<f32, 8, 3, 3, 3>")).strides([2]),
            "strides",
            "2 elements, found 1",
        );
        fails(
            |g| mb::conv(g.t("Tensor<f32, 1, 3, 9>"), g.t("Tensor<f32, 8, 3, 3>")).strides([0]),
            "strides",
            "1 or more",
        );
        fails(
            |g| mb::conv(g.t("Tensor<f32, 1, 3, 9>"), g.t("Tensor<f32, 8, 3, 3>")).pad_type("sme"),
            "pad_type",
            "\"same_lower\"",
        );
    }

    #[test]
    fn c6_kernel_too_large() {
        fails(|g| mb::conv(g.t("Tensor<f32, 1, 3, 9>"), g.t("Tensor<f32, 8, 3, 10>")), "weight", "does not fit");
    }

    #[test]
    fn dtypes_must_agree() {
        fails_in(
            Opset::iOS16,
            |g| mb::conv(g.t("Tensor<f32, 1, 3, 9>"), g.t("Tensor<f16, 8, 3, 3>")),
            "weight",
            "same dtype",
        );
        infers(|g| mb::conv(g.t("Tensor<f32, 1, 3, 9>"), g.t("Tensor<f16, 8, 3, 3>")), "Tensor<f32, 1, 8, 7>");
    }
}
