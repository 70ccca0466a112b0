//! Convolutions.

use mil_core::{
    op::Arg,
    ops::{
        conv::{Conv, ConvTranspose},
        conv_quantized::{ConvQuantized, QuantizationType},
    },
};

use super::{
    Cx, Kernel, KernelDef, floats,
    shapes::{actual, actual_of, output_shape},
    window::{Axis, rows},
};
use crate::{error::RunError, tensor::AnyTensor};

pub(super) const KERNELS: &[KernelDef] =
    &[KernelDef::of::<Conv>(), KernelDef::of::<ConvQuantized>(), KernelDef::of::<ConvTranspose>()];

impl Kernel for Conv {
    fn run(&self, cx: &Cx<'_>) -> Result<Vec<AnyTensor>, RunError> {
        let (x, weight) = (cx.get(&self.x)?, cx.get(&self.weight)?);
        let op = Conv {
            x: actual(&self.x, &x),
            weight: actual(&self.weight, &weight),
            bias: actual_of(&self.bias, cx)?,
            ..self.clone()
        };
        op.convolve(&x, weight.shape(), &weight.to_f32()?, &self.bias, cx)
    }
}

impl Kernel for ConvQuantized {
    fn run(&self, cx: &Cx<'_>) -> Result<Vec<AnyTensor>, RunError> {
        if self.quantization_type == QuantizationType::Lut {
            let message = "a weight by a table cannot be run: the op has no parameter for the table";
            return Err(RunError::new(format!("{message}; use `constexpr_lut_to_dense` and `conv`")));
        }
        let (x, weight) = (cx.get(&self.x)?, cx.get(&self.weight)?);
        let op = ConvQuantized {
            x: actual(&self.x, &x),
            weight: actual(&self.weight, &weight),
            bias: actual_of(&self.bias, cx)?,
            ..self.clone()
        };
        output_shape(&op)?; // checks scale and bias too
        let (scale, zero) = (cx.get(&self.quant_scale)?, cx.get(&self.quant_bias)?);
        let (scale, zero) = (scale.to_f32()?, zero.to_f32()?);
        let taps: usize = weight.shape()[1..].iter().product();
        let at = |v: &[f32], channel: usize| if v.len() == 1 { v[0] } else { v[channel] };
        let numbers = weight.to_f32()?;
        let weights = numbers.iter().enumerate().map(|(i, w)| w * at(&scale, i / taps) + at(&zero, i / taps));
        op.conv().convolve(&x, weight.shape(), &weights.collect::<Vec<_>>(), &self.bias, cx)
    }
}

/// A convolution whose weight is at hand. The op's arguments are [`actual`].
trait Convolve {
    fn convolve(
        &self,
        x: &AnyTensor,
        weight_shape: &[usize],
        w: &[f32],
        bias: &Option<Arg>,
        cx: &Cx<'_>,
    ) -> Result<Vec<AnyTensor>, RunError>;
}

impl Convolve for Conv {
    fn convolve(
        &self,
        x: &AnyTensor,
        weight_shape: &[usize],
        w: &[f32],
        bias: &Option<Arg>,
        cx: &Cx<'_>,
    ) -> Result<Vec<AnyTensor>, RunError> {
        let shape = output_shape(self)?;
        let (sizes, kernels) = (&x.shape()[2..], &weight_shape[2..]);
        let axes = Axis::three(sizes, &shape[2..], kernels, &self.strides, &self.dilations, self.pad_type, &self.pad);
        let mut out = start(&shape, bias, cx)?;
        let x_values = x.to_f32()?;
        let [_, _, width] = axes;
        let (groups, inputs) = (self.groups as usize, weight_shape[1]);
        let (channels, taps) = (shape[1], kernels.iter().product::<usize>());
        for n in 0..shape[0] {
            for o in 0..channels {
                let group = o / (channels / groups);
                for i in 0..inputs {
                    let weights = &w[(o * inputs + i) * taps..][..taps];
                    let plane = (n * groups + group) * inputs + i;
                    rows(&axes, n * channels + o, plane, |to, from, k| {
                        let weights = &weights[k * width.kernel..][..width.kernel];
                        for (kw, &w) in weights.iter().enumerate() {
                            let (places, first) = width.taps(kw);
                            let elements = x_values[from + first..].iter().step_by(width.stride);
                            let out = &mut out[to + places.start..to + places.end];
                            out.iter_mut().zip(elements).for_each(|(out, x)| *out += w * x);
                        }
                    });
                }
            }
        }
        floats(x.dtype(), shape, out)
    }
}

impl Kernel for ConvTranspose {
    fn run(&self, cx: &Cx<'_>) -> Result<Vec<AnyTensor>, RunError> {
        let (x, weight) = (cx.get(&self.x)?, cx.get(&self.weight)?);
        let op = ConvTranspose {
            x: actual(&self.x, &x),
            weight: actual(&self.weight, &weight),
            bias: actual_of(&self.bias, cx)?,
            ..self.clone()
        };
        let shape = output_shape(&op)?;
        let kernels = &weight.shape()[2..];
        // The places of the window are the elements of `x`; what it lies on is the output.
        let places = &x.shape()[2..];
        let axes = Axis::three(&shape[2..], places, kernels, &self.strides, &self.dilations, self.pad_type, &self.pad);
        let mut out = start(&shape, &self.bias, cx)?;
        let (x_values, w) = (x.to_f32()?, weight.to_f32()?);
        let [_, _, width] = axes;
        let (groups, outputs) = (self.groups as usize, weight.shape()[1]);
        let (channels, taps) = (x.shape()[1], kernels.iter().product::<usize>());
        for n in 0..shape[0] {
            for i in 0..channels {
                let group = i / (channels / groups);
                for o in 0..outputs {
                    let weights = &w[(i * outputs + o) * taps..][..taps];
                    let plane = (n * groups + group) * outputs + o;
                    rows(&axes, n * channels + i, plane, |from, to, k| {
                        let weights = &weights[k * width.kernel..][..width.kernel];
                        for (kw, &w) in weights.iter().enumerate() {
                            let (places, first) = width.taps(kw);
                            let elements = &x_values[from + places.start..from + places.end];
                            let out = out[to + first..].iter_mut().step_by(width.stride);
                            out.zip(elements).for_each(|(out, x)| *out += w * x);
                        }
                    });
                }
            }
        }
        floats(x.dtype(), shape, out)
    }
}

/// The output before anything is added: the bias of each channel, or zeros.
fn start(shape: &[usize], bias: &Option<Arg>, cx: &Cx<'_>) -> Result<Vec<f32>, RunError> {
    let plane: usize = shape[2..].iter().product();
    let Some(bias) = bias else { return Ok(vec![0.0; shape[0] * shape[1] * plane]) };
    let bias = cx.get(bias)?;
    let bias = bias.to_f32()?;
    let batch = bias.iter().flat_map(|b| std::iter::repeat_n(*b, plane)).collect::<Vec<_>>();
    Ok(batch.repeat(shape[0]))
}

#[cfg(test)]
mod tests {
    use half::f16;
    use mil_core::{graph::Value, ir::Constant, mb};

    use crate::{
        cpu::reference::testing::{Test, close, fails, run},
        tensor::AnyTensor,
    };

    /// `(i * 7) % 11 - 5` for each `i`: all results are small integers, exact whatever the order of summation.
    fn ramp(shape: &[usize]) -> Vec<f32> {
        (0..shape.iter().product::<usize>()).map(|i| (i * 7 % 11) as f32 - 5.0).collect()
    }

    fn input(g: &mut Test, shape: &[usize]) -> Value {
        g.f32(shape, &ramp(shape))
    }

    // The expected numbers are those of ONNX Runtime's Conv and ConvTranspose on the same ramps.

    #[test]
    fn groups_strides_dilations_padding_bias() {
        let out = run(|g| {
            mb::conv(input(g, &[1, 4, 5, 6]), input(g, &[2, 2, 3, 2]))
                .bias([1.0, -2.0])
                .groups(2)
                .strides([2, 1])
                .dilations([1, 2])
                .pad_type("custom")
                .pad([1, 0, 0, 2])
        });
        let expected = [
            40.0, -35.0, 22.0, 24.0, -10.0, 14.0, -43.0, 32.0, 30.0, -5.0, 19.0, -19.0, 1.0, 21.0, 19.0, -38.0, 12.0,
            12.0, 19.0, 33.0, -52.0, 61.0, 14.0, -82.0,
        ];
        close(&out, &[1, 2, 2, 6], &expected, 0.0);
    }

    #[test]
    fn same_pads_after_and_same_lower_before() {
        let conv = |pad_type: &str| {
            run(|g| mb::conv(input(g, &[2, 1, 6]), input(g, &[1, 1, 2])).pad_type(pad_type).pad([5, 5]))
        };
        let after = [29.0, -14.0, 20.0, -23.0, -11.0, 15.0, -20.0, -8.0, 26.0, -17.0, -5.0, 25.0];
        close(&conv("same"), &[2, 1, 6], &after, 0.0);
        let before = [-10.0, 29.0, -14.0, 20.0, -23.0, -11.0, 8.0, -20.0, -8.0, 26.0, -17.0, -5.0];
        close(&conv("same_lower"), &[2, 1, 6], &before, 0.0);
    }

    #[test]
    fn three_dimensions() {
        let out = run(|g| mb::conv(input(g, &[1, 1, 2, 3, 3]), input(g, &[1, 1, 2, 2, 2])));
        close(&out, &[1, 1, 1, 2, 2], &[38.0, -25.0, -19.0, -60.0], 0.0);
        let out = run(|g| mb::conv_transpose(input(g, &[1, 1, 1, 2, 2]), input(g, &[1, 1, 2, 2, 2])));
        let expected = [
            25.0, -20.0, 4.0, 20.0, -58.0, 20.0, 4.0, -20.0, 25.0, -5.0, 17.0, -6.0, -22.0, 19.0, -15.0, -8.0, 20.0,
            0.0,
        ];
        close(&out, &[1, 1, 2, 3, 3], &expected, 0.0);
    }

    #[test]
    fn transpose_with_groups_strides_dilations_padding_bias() {
        let out = run(|g| {
            mb::conv_transpose(input(g, &[1, 4, 2, 3]), input(g, &[4, 1, 2, 2]))
                .bias([1.0, -2.0])
                .groups(2)
                .strides([2, 1])
                .dilations([1, 2])
                .pad_type("custom")
                .pad([1, 0, 0, 1])
        });
        let expected = [
            27.0, -3.0, -36.0, 11.0, -21.0, -5.0, 12.0, 6.0, 3.0, -5.0, 12.0, 6.0, -4.0, -20.0, -2.0, 4.0, -8.0, 0.0,
            -9.0, -1.0, -8.0, -24.0, -2.0, 8.0,
        ];
        close(&out, &[1, 2, 3, 4], &expected, 0.0);
    }

    #[test]
    fn transpose_to_the_same_size_and_to_a_given_one() {
        let call = |g: &mut Test| mb::conv_transpose(input(g, &[1, 1, 3]), input(g, &[1, 1, 3])).strides([2]);
        let out = run(|g| call(g).pad_type("same"));
        close(&out, &[1, 1, 6], &[25.0, -10.0, 0.0, 4.0, 6.0, -4.0], 0.0);
        // ONNX's output_padding of 1.
        let out = run(|g| call(g).pad_type("custom").pad([1, 1]).output_shape([1, 1, 6]));
        close(&out, &[1, 1, 6], &[-10.0, 0.0, 4.0, 6.0, -4.0, 4.0], 0.0);
        // One element more than the kernel reaches: nothing but bias. With stride 4 no element touches the fourth.
        let out = run(|g| {
            let (x, w) = (g.f32(&[1, 1, 2], &[1.0, 2.0]), g.f32(&[1, 1, 3], &[1.0, 10.0, 100.0]));
            mb::conv_transpose(x, w).bias([0.5]).strides([4]).pad_type("same")
        });
        close(&out, &[1, 1, 8], &[1.5, 10.5, 100.5, 0.5, 2.5, 20.5, 200.5, 0.5], 0.0);
    }

    #[test]
    fn quantized_weights() {
        let call = |g: &mut Test, scale: [f32; 2], zero: &[f32]| {
            let w = Constant::new([2, 1, 2], &[1u8, 2, 3, 0]).unwrap();
            mb::conv_quantized(g.f32(&[1, 1, 3], &[1.0, 2.0, 4.0]), w, "linear", scale, Constant::vector(zero))
        };
        // The weights are [0, 0.5] and [5, -1].
        let out = run(|g| call(g, [0.5, 2.0], &[-0.5, -1.0]));
        close(&out, &[1, 2, 2], &[1.0, 2.0, 3.0, 6.0], 0.0);
        // A scale of all and a bias: the weights are [0, 1] and [2, -1].
        let out = run(|g| call(g, [1.0, 1.0], &[-1.0]).bias(Constant::vector(&[10u8, 0])).groups(1));
        close(&out, &[1, 2, 2], &[12.0, 14.0, 0.0, 0.0], 0.0);
        let lut = |g: &mut Test| {
            let w = Constant::new([1, 1, 1], &[1u8]).unwrap();
            mb::conv_quantized(g.f32(&[1, 1, 3], &[1.0; 3]), w, "lut", 0.5, -1.0)
        };
        fails(lut, "no parameter for the table");
    }

    #[test]
    fn halves_are_summed_in_f32() {
        let x = AnyTensor::new([1, 1, 3], [2048.0, 1.0, 1.0].map(f16::from_f32).to_vec()).unwrap();
        let out = run(|g| mb::conv(g.input(x), Constant::new([1, 1, 3], &[f16::ONE; 3]).unwrap()));
        assert_eq!(out[0].as_slice::<f16>(), Some(&[f16::from_f32(2050.0)][..]));
    }
}
