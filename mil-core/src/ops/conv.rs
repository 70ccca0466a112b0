//! Convolutions.

use crate::{
    op::{Arg, Cx, Infer, Inferred, Op, OpDef, OpError, param::string_enum},
    types::{Dim, Opset, TensorType},
};
use mil_derive::Op;

use super::rules;

pub(crate) const OPS: &[&OpDef] = &[Conv::DEF, ConvTranspose::DEF];

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
/// - C7 `pad_type` is not `"same_lower"` in iOS15.
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
    fn infer(&self, cx: &mut Cx<'_>) -> Result<Vec<Inferred>, OpError> {
        let (x, w) = (&self.x, &self.weight);
        rules::rank_in(x, 3..=5, "x")?; // C1
        self.pad_type.check(cx)?; // C7
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
            rules::vector(bias, w.dim(0), "bias")?; // C4
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
            let pad = [self.pad[2 * i], self.pad[2 * i + 1]];
            shape.push(window(x.dim(i + 2), &kernel, self.strides[i], self.pad_type, pad, false).ok_or_else(|| {
                let message = format!("the kernel of size {kernel} does not fit dimension {} of `x`", i + 2); // C6
                OpError::at("weight", message).note(format!("x: {}\nweight: {}", x.ty, w.ty))
            })?);
        }
        Ok(vec![TensorType::new(x.dtype(), shape).into()])
    }
}

impl PadType {
    /// Refuses what the opset does not have.
    pub(crate) fn check(self, cx: &Cx<'_>) -> Result<(), OpError> {
        if self == PadType::SameLower && cx.opset == Opset::iOS15 {
            let message = "`pad_type` \"same_lower\" needs opset iOS16, but the program's is iOS15";
            return Err(OpError::at("pad_type", message).note("set `opset = iOS16`"));
        }
        Ok(())
    }

    /// How many elements are added before and after a dimension of `size` elements over which a window of `kernel`
    /// elements (dilated) moves in steps of `stride`; `custom` are the amounts in `pad`.
    pub fn amounts(self, size: i64, kernel: i64, stride: i64, custom: [i64; 2]) -> [i64; 2] {
        let places = (size + stride - 1) / stride;
        let total = ((places - 1) * stride + kernel - size).max(0);
        match self {
            PadType::Valid => [0, 0],
            PadType::Custom => custom,
            PadType::Same => [total / 2, total - total / 2],
            PadType::SameLower => [total - total / 2, total / 2],
        }
    }
}

/// How many places a window of `kernel` elements has along a dimension; `None` if it can have none.
///
/// With `ceil` the last window may reach over the end, if it begins before the padding there.
pub(crate) fn window(
    size: &Dim,
    kernel: &Dim,
    stride: i64,
    pad_type: PadType,
    pad: [i64; 2],
    ceil: bool,
) -> Option<Dim> {
    let [before, after] = match pad_type {
        PadType::Same | PadType::SameLower => return Some(size.clone().ceil_div(stride)),
        PadType::Valid => [0, 0],
        PadType::Custom => pad,
    };
    let room = size.clone() + before + after - kernel.clone();
    let places = match ceil {
        false => room.floor_div(stride) + 1,
        true if before + after == 0 => room.ceil_div(stride) + 1,
        true => (room.ceil_div(stride) + 1).min((size.clone() + before).ceil_div(stride)),
    };
    if places.bounds().1.is_some_and(|max| max < 1) { None } else { Some(places) }
}

/// Transposed convolution over 1, 2 or 3 spatial dimensions: what takes the output of a `conv` back to the shape of its
/// input.
///
/// Element `i` of the input goes, times element `k` of the kernel, to element `i * stride + k * dilation - before` of
/// the output, `before` being the padding before. An output dimension has `stride * (D - 1) + (K - 1) * dilation + 1`
/// elements less those of `pad` (`"valid"`, `"custom"`), or `stride * D` (`"same"`), or as many as `output_shape` says.
///
/// # Constraints
/// - C1 `x` has rank 3 to 5 and `weight` the same rank.
/// - C2 `x` has `weight.shape[0]` channels.
/// - C3 `groups` divides the input channels.
/// - C4 `bias` has one element per output channel.
/// - C5 `strides` and `dilations` have one element of at least 1 per spatial dimension, `pad` two of at least 0.
/// - C6 an element is left of each dimension when `pad` is taken off.
/// - C7 `output_shape` begins with batch and output channels; a `conv` with the same `weight` sizes, `strides`,
///   `pad_type`, `pad` and `dilations` makes the spatial sizes of `x` of its spatial sizes.
/// - C8 `pad_type` is not `"same_lower"`.
#[derive(Op, Clone, Debug)]
#[op(name = "conv_transpose", since = iOS15)]
#[domain(T = F16 | F32)]
#[domain(U = F16 | F32)]
pub struct ConvTranspose {
    /// `[N, C_in, *D]`.
    #[dtype(T)]
    pub x: Arg,
    /// `[C_in, C_out / groups, *K]`.
    #[dtype(T, iOS17 = U)]
    #[constant(until = iOS17)]
    pub weight: Arg,
    /// `[C_out]`, added per output channel.
    #[dtype(T, iOS17 = U)]
    #[constant(until = iOS17)]
    pub bias: Option<Arg>,
    /// Taken off before and after, per spatial dimension; used if `pad_type` is `"custom"`. Default: all 0.
    #[dtype(I32)]
    #[default(vec![0; 2 * spatial(&x)])]
    pub pad: Vec<i64>,
    /// The shape of the output, `[N, C_out, *D_out]`, where strides leave a choice. Default: the smallest.
    #[dtype(I32)]
    pub output_shape: Option<Vec<i64>>,
    /// Default: `"valid"`.
    #[dtype(String)]
    #[default(PadType::Valid)]
    pub pad_type: PadType,
    /// One stride per spatial dimension. Default: all 1.
    #[dtype(I32)]
    #[default(vec![1; spatial(&x)])]
    pub strides: Vec<i64>,
    /// Distance between kernel elements, per spatial dimension. Default: all 1.
    #[dtype(I32)]
    #[default(vec![1; spatial(&x)])]
    pub dilations: Vec<i64>,
    /// Input and output channels are split into this many groups. Default: 1.
    #[dtype(I32)]
    #[default(1)]
    pub groups: i64,
}

impl Infer for ConvTranspose {
    fn infer(&self, _: &mut Cx<'_>) -> Result<Vec<Inferred>, OpError> {
        let (x, w) = (&self.x, &self.weight);
        rules::rank_in(x, 3..=5, "x")?; // C1
        if w.rank() != x.rank() {
            let message = format!("`weight` must have rank {}, as `x` has, found {}", x.rank(), w.ty);
            return Err(OpError::at("weight", message));
        }
        if !x.dim(1).may_equal(w.dim(0)) {
            let message = format!("`x` has {} channels but `weight` expects {}", x.dim(1), w.dim(0)); // C2
            return Err(OpError::at("weight", message).note(format!("x: {}\nweight: {}", x.ty, w.ty)));
        }
        rules::at_least(&[self.groups], 1, "groups")?;
        if w.dim(0).value().is_some_and(|c| c % self.groups != 0) {
            let message = format!("{} input channels cannot be split into {} groups", w.dim(0), self.groups); // C3
            return Err(OpError::at("groups", message));
        }
        let channels = w.dim(1).clone() * self.groups;
        if let Some(bias) = &self.bias {
            rules::vector(bias, &channels, "bias")?; // C4
        }
        let n = spatial(x);
        rules::length(&self.strides, n, "strides")?; // C5
        rules::length(&self.dilations, n, "dilations")?;
        rules::length(&self.pad, 2 * n, "pad")?;
        rules::at_least(&self.strides, 1, "strides")?;
        rules::at_least(&self.dilations, 1, "dilations")?;
        rules::at_least(&self.pad, 0, "pad")?;
        if self.pad_type == PadType::SameLower {
            let message = "`pad_type` \"same_lower\" is not for transposed convolutions"; // C8
            return Err(OpError::at("pad_type", message).note("use \"custom\" and `pad`"));
        }
        let mut shape = vec![x.dim(0).clone(), channels];
        if let Some(given) = &self.output_shape {
            let given = self.check_output_shape(given, &shape)?;
            return Ok(vec![TensorType::new(x.dtype(), given).into()]);
        }
        for i in 0..n {
            let (size, stride) = (x.dim(i + 2).clone(), self.strides[i]);
            let all = (size.clone() - 1) * stride + self.kernel(i);
            let left = match self.pad_type {
                PadType::Same | PadType::SameLower => size * stride,
                PadType::Valid => all,
                PadType::Custom => all - self.pad[2 * i] - self.pad[2 * i + 1],
            };
            if left.bounds().1.is_some_and(|max| max < 1) {
                let message = format!("`pad` leaves nothing of dimension {}: its size would be {left}", i + 2); // C6
                return Err(OpError::at("pad", message).note(format!("x: {}\nweight: {}", x.ty, w.ty)));
            }
            shape.push(left);
        }
        Ok(vec![TensorType::new(x.dtype(), shape).into()])
    }
}

impl ConvTranspose {
    /// The size of the dilated kernel along a spatial dimension.
    fn kernel(&self, i: usize) -> Dim {
        (self.weight.dim(i + 2).clone() - 1) * self.dilations[i] + 1
    }

    /// C7: `start` are batch and channels.
    fn check_output_shape(&self, given: &[i64], start: &[Dim]) -> Result<Vec<Dim>, OpError> {
        rules::length(given, self.x.rank(), "output_shape")?;
        rules::at_least(given, 1, "output_shape")?;
        let given: Vec<Dim> = given.iter().map(|d| Dim::from(*d)).collect();
        for (d, (found, expected)) in given.iter().zip(start).enumerate() {
            if !found.may_equal(expected) {
                let message = format!("dimension {d} of `output_shape` must be {expected}, found {found}");
                return Err(OpError::at("output_shape", message));
            }
        }
        for i in 0..spatial(&self.x) {
            let (out, size, pad) = (&given[i + 2], self.x.dim(i + 2), [self.pad[2 * i], self.pad[2 * i + 1]]);
            let back = window(out, &self.kernel(i), self.strides[i], self.pad_type, pad, false);
            if back.is_none_or(|b| !b.may_equal(size)) {
                let message = format!("dimension {} of `output_shape` cannot be {out}: a `conv` over it", i + 2);
                return Err(OpError::at("output_shape", format!("{message} would not give {size}")));
            }
        }
        Ok(given)
    }
}

#[cfg(test)]
mod tests {
    use super::PadType;
    use crate::{
        ir::Constant,
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

    #[test]
    fn c7_same_lower_by_opset() {
        let call = |g: &mut crate::ops::testing::Test| {
            mb::conv(g.t("Tensor<f32, 1, 3, 9>"), g.t("Tensor<f32, 8, 3, 3>")).pad_type("same_lower")
        };
        fails_in(Opset::iOS15, call, "pad_type", "needs opset iOS16");
        infers(call, "Tensor<f32, 1, 8, 9>");
    }

    #[test]
    fn padding_amounts() {
        // 10 elements, kernel 3, stride 2: 5 places need 11 elements.
        assert_eq!(PadType::Same.amounts(10, 3, 2, [0, 0]), [0, 1]);
        assert_eq!(PadType::SameLower.amounts(10, 3, 2, [0, 0]), [1, 0]);
        assert_eq!(PadType::Same.amounts(10, 1, 3, [0, 0]), [0, 0]);
        assert_eq!(PadType::Custom.amounts(10, 3, 2, [4, 5]), [4, 5]);
        assert_eq!(PadType::Valid.amounts(10, 3, 2, [4, 5]), [0, 0]);
    }

    const X: &str = "Tensor<f32, 1, 4, 5, 5>";
    const W: &str = "Tensor<f32, 4, 3, 3, 3>";

    #[test]
    fn transpose_shapes() {
        infers(|g| mb::conv_transpose(g.t(X), g.t(W)), "Tensor<f32, 1, 3, 7, 7>");
        infers(
            |g| mb::conv_transpose(g.t(X), g.t(W)).strides([2, 3]).dilations([2, 1]).groups(2),
            "Tensor<f32, 1, 6, 13, 15>",
        );
        infers(
            |g| {
                mb::conv_transpose(g.t("Tensor<f16, N, 4, H, W>"), g.t("Tensor<f16, 4, 3, 4, 4>"))
                    .strides([2, 2])
                    .pad_type("custom")
                    .pad([1, 1, 1, 1])
            },
            "Tensor<f16, N, 3, 2 * H, 2 * W>",
        );
        infers(|g| mb::conv_transpose(g.t(X), g.t(W)).strides([2, 2]).pad_type("same"), "Tensor<f32, 1, 3, 10, 10>");
        infers(
            |g| mb::conv_transpose(g.t(X), g.t(W)).strides([2, 2]).pad_type("same").output_shape([1, 3, 9, 10]),
            "Tensor<f32, 1, 3, 9, 10>",
        );
    }

    #[test]
    fn transpose_c1_ranks() {
        fails(|g| mb::conv_transpose(g.t("Tensor<f32, 3, 4>"), g.t(W)), "x", "rank 3 to 5");
        fails(|g| mb::conv_transpose(g.t(X), g.t("Tensor<f32, 4, 3, 3>")), "weight", "rank 4");
    }

    #[test]
    fn transpose_c2_channel_mismatch() {
        fails(|g| mb::conv_transpose(g.t("Tensor<f32, 1, 5, 5, 5>"), g.t(W)), "weight", "expects 4");
    }

    #[test]
    fn transpose_c3_groups() {
        fails(|g| mb::conv_transpose(g.t(X), g.t(W)).groups(3), "groups", "4 input channels");
        fails(|g| mb::conv_transpose(g.t(X), g.t(W)).groups(0), "groups", "1 or more");
    }

    #[test]
    fn transpose_c4_bias() {
        let call = |g: &mut crate::ops::testing::Test, n| {
            mb::conv_transpose(g.t(X), g.t(W)).bias(Constant::vector(&vec![0f32; n])).groups(2)
        };
        fails(|g| call(g, 3), "bias", "6 elements, found 3");
        infers(|g| call(g, 6), "Tensor<f32, 1, 6, 7, 7>");
    }

    #[test]
    fn transpose_c5_lists() {
        fails(|g| mb::conv_transpose(g.t(X), g.t(W)).strides([2]), "strides", "2 elements, found 1");
        fails(|g| mb::conv_transpose(g.t(X), g.t(W)).dilations([0, 1]), "dilations", "1 or more");
        fails(|g| mb::conv_transpose(g.t(X), g.t(W)).pad([0, 0]), "pad", "4 elements, found 2");
        fails(|g| mb::conv_transpose(g.t(X), g.t(W)).pad([0, -1, 0, 0]), "pad", "0 or more");
    }

    #[test]
    fn transpose_c6_nothing_left() {
        fails(|g| mb::conv_transpose(g.t(X), g.t(W)).pad_type("custom").pad([3, 4, 0, 0]), "pad", "leaves nothing");
    }

    #[test]
    fn transpose_c7_output_shape() {
        let call = |g: &mut crate::ops::testing::Test, shape: [i64; 4]| {
            mb::conv_transpose(g.t(X), g.t(W)).strides([2, 2]).output_shape(shape)
        };
        infers(|g| call(g, [1, 3, 11, 12]), "Tensor<f32, 1, 3, 11, 12>");
        fails(|g| call(g, [1, 3, 11, 13]), "output_shape", "would not give 5");
        fails(|g| call(g, [1, 4, 11, 11]), "output_shape", "must be 3, found 4");
        fails(|g| mb::conv_transpose(g.t(X), g.t(W)).output_shape([7, 7]), "output_shape", "4 elements");
    }

    #[test]
    fn transpose_c8_same_lower() {
        fails(|g| mb::conv_transpose(g.t(X), g.t(W)).pad_type("same_lower"), "pad_type", "\"custom\"");
    }

    #[test]
    fn transpose_weight_by_opset() {
        fails_in(Opset::iOS16, |g| mb::conv_transpose(g.t(X), g.t(W)), "weight", "must be a constant");
        let mixed = |g: &mut crate::ops::testing::Test| {
            let weight = Constant::new([4, 3, 1, 1], &[half::f16::ONE; 12]).unwrap();
            mb::conv_transpose(g.t(X), weight)
        };
        fails_in(Opset::iOS16, mixed, "weight", "same dtype");
        infers(mixed, "Tensor<f32, 1, 3, 5, 5>");
    }
}
