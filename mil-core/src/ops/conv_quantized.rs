//! `conv_quantized`.

use crate::op::{Arg, Cx, Infer, Inferred, Op, OpDef, OpError, param::string_enum};
use mil_derive::Op;

use super::{
    conv::{Conv, PadType, spatial},
    rules,
};

pub(crate) const OPS: &[&OpDef] = &[ConvQuantized::DEF];

string_enum! {
    /// How weights are quantized.
    QuantizationType {
        /// `weight * quant_scale + quant_bias`.
        Linear = "linear",
        /// By a table.
        Lut = "lut",
    }
}

/// [`Conv`] of a weight of 8-bit integers, which stand for `weight * quant_scale + quant_bias`.
///
/// coremltools calls it experimental and has no parameter for the table of `"lut"`, so that only `"linear"` can run.
///
/// # Constraints
/// - C1 all constraints of `conv`.
/// - C2 `nbits` is 1 to 8.
/// - C3 `quant_scale` and `quant_bias` have one element, or a vector one per output channel.
#[derive(Op, Clone, Debug)]
#[op(name = "conv_quantized", since = iOS15)]
#[domain(T = F16 | F32)]
#[domain(U = U8)]
pub struct ConvQuantized {
    /// `[N, C_in, *D]`.
    #[dtype(T)]
    pub x: Arg,
    /// `[C_out, C_in / groups, *K]`.
    #[dtype(U)]
    pub weight: Arg,
    /// `[C_out]`, added per output channel, as it is.
    #[dtype(U)]
    #[constant]
    pub bias: Option<Arg>,
    /// `"linear"` or `"lut"`.
    #[dtype(String)]
    pub quantization_type: QuantizationType,
    /// How many bits of each element of `weight` are used. Default: 8.
    #[dtype(I32)]
    #[default(8)]
    pub nbits: i64,
    /// The distance between neighbouring integers.
    #[dtype(T)]
    #[constant]
    pub quant_scale: Arg,
    /// What 0 stands for.
    #[dtype(T)]
    #[constant]
    pub quant_bias: Arg,
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

impl ConvQuantized {
    /// The convolution of the same sizes whose weight is of the dtype of `x`.
    pub fn conv(&self) -> Conv {
        let float = |arg: &Arg| Arg { ty: arg.ty.with_dtype(self.x.dtype()), known: None, ..arg.clone() };
        Conv {
            x: self.x.clone(),
            weight: float(&self.weight),
            bias: self.bias.as_ref().map(float),
            strides: self.strides.clone(),
            pad_type: self.pad_type,
            pad: self.pad.clone(),
            dilations: self.dilations.clone(),
            groups: self.groups,
        }
    }
}

impl Infer for ConvQuantized {
    fn infer(&self, cx: &mut Cx<'_>) -> Result<Vec<Inferred>, OpError> {
        let outputs = self.conv().infer(cx)?; // C1
        if !(1..=8).contains(&self.nbits) {
            return Err(OpError::at("nbits", format!("`nbits` must be 1 to 8, found {}", self.nbits))); // C2
        }
        for (arg, param) in [(&self.quant_scale, "quant_scale"), (&self.quant_bias, "quant_bias")] {
            if !arg.shape().volume().is(1) {
                rules::vector(arg, self.weight.dim(0), param)?; // C3
            }
        }
        Ok(outputs)
    }
}

#[cfg(test)]
mod tests {
    use crate::{
        mb,
        op::Call,
        ops::testing::{Test, fails, infers},
    };

    use super::ConvQuantized;

    fn call(g: &mut Test, w: &str) -> Call<ConvQuantized> {
        mb::conv_quantized(g.t("Tensor<f16, 1, 3, 8, W>"), g.t(w), "linear", 0.5, -1.0)
    }

    #[test]
    fn output() {
        infers(
            |g| call(g, "Tensor<u8, 4, 3, 3, 3>").pad_type("same").strides([2, 2]),
            "Tensor<f16, 1, 4, 4, (W + 1) / 2>",
        );
        let scale = [1.0, 2.0, 3.0, 4.0];
        infers(
            |g| mb::conv_quantized(g.t("Tensor<f32, 1, 3, 8>"), g.t("Tensor<u8, 4, 3, 3>"), "lut", scale, 0.0),
            "Tensor<f32, 1, 4, 6>",
        );
    }

    #[test]
    fn constraints() {
        fails(|g| call(g, "Tensor<u8, 4, 2, 3, 3>"), "weight", "3 channels but `weight` expects 2"); // C1
        fails(|g| call(g, "Tensor<u8, 4, 3, 3, 3>").nbits(9), "nbits", "1 to 8, found 9"); // C2
        let three = [1.0, 2.0, 3.0];
        fails(
            |g| mb::conv_quantized(g.t("Tensor<f32, 1, 3, 8>"), g.t("Tensor<u8, 4, 3, 3>"), "linear", three, 0.0),
            "quant_scale",
            "must have 4 elements, found 3",
        ); // C3
    }
}
