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
            for k in 0..width.kernel {
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
