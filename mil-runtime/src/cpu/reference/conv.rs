//! Convolutions.

use mil_core::{
    op::Arg,
    ops::conv::{Conv, ConvTranspose},
};

use super::{
    Cx, Kernel, KernelDef, floats,
    shapes::{actual, actual_of, output_shape},
    window::{Axis, rows},
};
use crate::{error::RunError, tensor::AnyTensor};

pub(super) const KERNELS: &[KernelDef] = &[KernelDef::of::<Conv>(), KernelDef::of::<ConvTranspose>()];

impl Kernel for Conv {
    fn run(&self, cx: &Cx<'_>) -> Result<Vec<AnyTensor>, RunError> {
        let (x, weight) = (cx.get(&self.x)?, cx.get(&self.weight)?);
        let op = Conv {
            x: actual(&self.x, &x),
            weight: actual(&self.weight, &weight),
            bias: actual_of(&self.bias, cx)?,
            ..self.clone()
        };
        let shape = output_shape(&op)?;
        let (sizes, kernels) = (&x.shape()[2..], &weight.shape()[2..]);
        let axes = Axis::three(sizes, &shape[2..], kernels, &self.strides, &self.dilations, self.pad_type, &self.pad);
        let mut out = start(&shape, &self.bias, cx)?;
        let (x_values, w) = (x.to_f32()?, weight.to_f32()?);
        let [_, _, width] = axes;
        let (groups, inputs) = (self.groups as usize, weight.shape()[1]);
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
