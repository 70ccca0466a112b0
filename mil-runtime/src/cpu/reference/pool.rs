//! Pooling.

use mil_core::ops::pool::{AvgPool, L2Pool, MaxPool, Pool};

use super::{
    Cx, Kernel, KernelDef, floats,
    shapes::{actual, output_shape},
    window::{Axis, rows},
};
use crate::{error::RunError, tensor::AnyTensor};

pub(super) const KERNELS: &[KernelDef] =
    &[KernelDef::of::<AvgPool>(), KernelDef::of::<L2Pool>(), KernelDef::of::<MaxPool>()];

impl Kernel for AvgPool {
    fn run(&self, cx: &Cx<'_>) -> Result<Vec<AnyTensor>, RunError> {
        let x = cx.get(&self.x)?;
        let shape = output_shape(&AvgPool { x: actual(&self.x, &x), ..self.clone() })?;
        let axes = axes(self, &x, &shape);
        let mut out = pool(&x, &axes, &shape, 0.0, |sum, v| sum + v)?;
        let [depth, height, width] = axes.map(|axis| counts(&axis, self.exclude_padding_from_average));
        let mut counts = Vec::with_capacity(depth.len() * height.len() * width.len());
        for d in &depth {
            for h in &height {
                counts.extend(width.iter().map(|w| d * h * w));
            }
        }
        out.iter_mut().zip(counts.iter().cycle()).for_each(|(sum, count)| *sum /= count);
        floats(x.dtype(), shape, out)
    }
}

impl Kernel for L2Pool {
    fn run(&self, cx: &Cx<'_>) -> Result<Vec<AnyTensor>, RunError> {
        let x = cx.get(&self.x)?;
        let shape = output_shape(&L2Pool { x: actual(&self.x, &x), ..self.clone() })?;
        let mut out = pool(&x, &axes(self, &x, &shape), &shape, 0.0, |sum, v| sum + v * v)?;
        out.iter_mut().for_each(|sum| *sum = sum.sqrt());
        floats(x.dtype(), shape, out)
    }
}

impl Kernel for MaxPool {
    fn run(&self, cx: &Cx<'_>) -> Result<Vec<AnyTensor>, RunError> {
        let x = cx.get(&self.x)?;
        let shape = output_shape(&MaxPool { x: actual(&self.x, &x), ..self.clone() })?;
        let greater = |max: f32, v: f32| if v > max || v.is_nan() { v } else { max };
        let out = pool(&x, &axes(self, &x, &shape), &shape, f32::NEG_INFINITY, greater)?;
        floats(x.dtype(), shape, out)
    }
}

fn axes(op: &impl Pool, x: &AnyTensor, shape: &[usize]) -> [Axis; 3] {
    let op = op.windows();
    let kernels: Vec<usize> = op.kernel_sizes.iter().map(|k| *k as usize).collect();
    Axis::three(&x.shape()[2..], &shape[2..], &kernels, op.strides, &vec![1; kernels.len()], op.pad_type, op.pad)
}

/// Puts the elements of each window together, one after the other.
fn pool(
    x: &AnyTensor,
    axes: &[Axis; 3],
    shape: &[usize],
    first: f32,
    join: impl Fn(f32, f32) -> f32,
) -> Result<Vec<f32>, RunError> {
    let values = x.to_f32()?;
    let mut out = vec![first; shape.iter().product()];
    let width = axes[2];
    for plane in 0..shape[0] * shape[1] {
        rows(axes, plane, plane, |to, from, _| {
            for k in width.live() {
                let (places, first) = width.taps(k);
                let elements = values[from + first..].iter().step_by(width.stride);
                let out = &mut out[to + places.start..to + places.end];
                out.iter_mut().zip(elements).for_each(|(out, x)| *out = join(*out, *x));
            }
        });
    }
    Ok(out)
}

/// How many elements of the window count at each place: those on the dimension, and those on padding unless it is left
/// out. What lies beyond the padding (with `ceil_mode`) never counts.
fn counts(axis: &Axis, exclude_padding: bool) -> Vec<f32> {
    let [before, after] = axis.pad;
    let count = |place: usize| {
        let start = place * axis.stride;
        let (first, end) = if exclude_padding { (before, before + axis.size) } else { (0, before + axis.size + after) };
        (start + axis.kernel).min(end).saturating_sub(start.max(first)) as f32
    };
    (0..axis.places).map(count).collect()
}

#[cfg(test)]
mod tests {
    use half::f16;
    use mil_core::{graph::Value, mb};

    use crate::{
        cpu::reference::testing::{Test, close, run},
        tensor::AnyTensor,
    };

    /// `(i * 7) % 11 - 5` for each `i`.
    fn input(g: &mut Test, shape: &[usize]) -> Value {
        let v: Vec<f32> = (0..shape.iter().product::<usize>()).map(|i| (i * 7 % 11) as f32 - 5.0).collect();
        g.f32(shape, &v)
    }

    // The expected numbers are those of ONNX Runtime's MaxPool, AveragePool and LpPool on the same ramps, unless said.

    #[test]
    fn max() {
        let call = |pad_type: &str| run(|g| mb::max_pool(input(g, &[1, 2, 4]), [2], pad_type));
        close(&call("same"), &[1, 2, 4], &[2.0, 2.0, 5.0, 5.0, 1.0, 4.0, 4.0, 0.0], 0.0);
        close(&call("same_lower"), &[1, 2, 4], &[-5.0, 2.0, 2.0, 5.0, 1.0, 1.0, 4.0, 4.0], 0.0);
        let out = run(|g| {
            mb::max_pool(input(g, &[1, 1, 4, 5]), [2, 3], "custom").strides([3, 2]).pad([0, 0, 1, 1]).ceil_mode(true)
        });
        close(&out, &[1, 1, 2, 3], &[4.0, 5.0, 5.0, 1.0, 4.0, 0.0], 0.0);
    }

    #[test]
    fn max_of_what_is_no_number() {
        let out = run(|g| mb::max_pool(g.f32(&[1, 1, 4], &[1.0, f32::NAN, 2.0, 3.0]), [2], "valid"));
        close(&out, &[1, 1, 3], &[f32::NAN, f32::NAN, 3.0], 0.0);
    }

    #[test]
    fn average_with_and_without_padding() {
        let call = |exclude: bool| {
            run(|g| {
                mb::avg_pool(input(g, &[1, 1, 4, 5]), [2, 3], "custom")
                    .strides([1, 2])
                    .pad([1, 0, 1, 1])
                    .exclude_padding_from_average(exclude)
            })
        };
        let excluded = [-9.0, 10.0, 18.0, -3.0, 5.0, 7.5, -7.5, -5.0, 3.0, -12.0, -4.0, -1.5].map(|v| v / 6.0);
        close(&call(true), &[1, 1, 4, 3], &excluded, 1e-6);
        let included = [-3.0, 5.0, 6.0, -2.0, 5.0, 5.0, -5.0, -5.0, 2.0, -8.0, -4.0, -1.0].map(|v| v / 6.0);
        close(&call(false), &[1, 1, 4, 3], &included, 1e-6);
        let out = run(|g| mb::avg_pool(input(g, &[1, 1, 2, 3, 3]), [2, 2, 2], "valid"));
        close(&out, &[1, 1, 1, 2, 2], &[0.625, -0.625, 1.0, -0.25], 1e-6);
    }

    #[test]
    fn average_over_the_end() {
        // By PyTorch's rule, by hand: what lies beyond the padding counts neither as element nor as padding.
        let call = |pad: i64, exclude: bool| {
            run(|g| {
                mb::avg_pool(g.f32(&[1, 1, 4], &[3.0, 6.0, 9.0, 12.0]), [3], "custom")
                    .strides([2])
                    .pad([pad, pad])
                    .ceil_mode(true)
                    .exclude_padding_from_average(exclude)
            })
        };
        close(&call(0, false), &[1, 1, 2], &[6.0, 10.5], 0.0);
        close(&call(1, false), &[1, 1, 3], &[3.0, 9.0, 6.0], 0.0);
        close(&call(1, true), &[1, 1, 3], &[4.5, 9.0, 12.0], 0.0);
    }

    #[test]
    fn root_of_the_sum_of_squares() {
        let out = run(|g| mb::l2_pool(input(g, &[1, 1, 3, 3]), [2, 2], "valid"));
        close(&out, &[1, 1, 2, 2], &[7.416_198, 4.242_640_5, 6.480_740_5, 5.099_019_5], 1e-6);
    }

    #[test]
    fn halves_are_summed_in_f32() {
        let x = AnyTensor::new([1, 1, 4], vec![f16::from_f32(40000.0); 4]).unwrap();
        let out = run(|g| mb::avg_pool(g.input(x), [4], "valid"));
        assert_eq!(out[0].as_slice::<f16>(), Some(&[f16::from_f32(40000.0)][..]));
    }

    #[test]
    fn a_window_of_any_size_takes_no_longer() {
        let out = run(|g| mb::max_pool(input(g, &[1, 1, 2, 3]), [1 << 30, 1 << 30], "same"));
        close(&out, &[1, 1, 2, 3], &[5.0; 6], 0.0);
    }
}
