//! Normalizations. Sums are taken in f64, so that large groups lose nothing.

use mil_core::{
    op::Arg,
    ops::{
        norm::{BatchNorm, InstanceNorm, L2Norm, LayerNorm, LocalResponseNorm},
        strided::Groups,
    },
};

use super::{
    Cx, Kernel, KernelDef, floats,
    shapes::{actual, actual_of, output_shape},
};
use crate::{error::RunError, tensor::AnyTensor};

pub(super) const KERNELS: &[KernelDef] = &[
    KernelDef::of::<BatchNorm>(),
    KernelDef::of::<InstanceNorm>(),
    KernelDef::of::<L2Norm>(),
    KernelDef::of::<LayerNorm>(),
    KernelDef::of::<LocalResponseNorm>(),
];

impl Kernel for BatchNorm {
    fn run(&self, cx: &Cx<'_>) -> Result<Vec<AnyTensor>, RunError> {
        let x = cx.get(&self.x)?;
        let shape = output_shape(&BatchNorm { x: actual(&self.x, &x), ..self.clone() })?;
        let (mean, variance) = (cx.get(&self.mean)?, cx.get(&self.variance)?);
        let (mean, variance) = (mean.to_f32()?, variance.to_f32()?);
        let (gamma, beta) = (numbers(&self.gamma, cx, 1.0)?, numbers(&self.beta, cx, 0.0)?);
        let mut out = x.to_f32()?.into_owned();
        let plane = shape[2..].iter().product::<usize>().max(1);
        for (i, plane) in out.chunks_exact_mut(plane).enumerate() {
            let c = i % shape[1];
            let scale = gamma(c) / (variance[c] + self.epsilon).sqrt();
            let (mean, beta) = (mean[c], beta(c));
            plane.iter_mut().for_each(|v| *v = (*v - mean) * scale + beta);
        }
        floats(x.dtype(), shape, out)
    }
}

impl Kernel for InstanceNorm {
    fn run(&self, cx: &Cx<'_>) -> Result<Vec<AnyTensor>, RunError> {
        let x = cx.get(&self.x)?;
        let shape = output_shape(&InstanceNorm { x: actual(&self.x, &x), ..self.clone() })?;
        let (gamma, beta) = (numbers(&self.gamma, cx, 1.0)?, numbers(&self.beta, cx, 0.0)?);
        let axes: Vec<usize> = (2..shape.len()).collect();
        let mut out = x.to_f32()?.into_owned();
        standardize(&mut out, &Groups::new(&shape, &axes), self.epsilon, |group, _, v| {
            let c = group % shape[1];
            v * gamma(c) + beta(c)
        });
        floats(x.dtype(), shape, out)
    }
}

impl Kernel for LayerNorm {
    fn run(&self, cx: &Cx<'_>) -> Result<Vec<AnyTensor>, RunError> {
        let x = cx.get(&self.x)?;
        let (gamma, beta) = (actual_of(&self.gamma, cx)?, actual_of(&self.beta, cx)?);
        let shape = output_shape(&LayerNorm { x: actual(&self.x, &x), gamma, beta, ..self.clone() })?;
        let (gamma, beta) = (numbers(&self.gamma, cx, 1.0)?, numbers(&self.beta, cx, 0.0)?);
        let rank = shape.len() as i64;
        let axes: Vec<usize> = self.axes.iter().map(|a| a.rem_euclid(rank.max(1)) as usize).collect();
        let mut out = x.to_f32()?.into_owned();
        standardize(&mut out, &Groups::new(&shape, &axes), self.epsilon, |_, i, v| v * gamma(i) + beta(i));
        floats(x.dtype(), shape, out)
    }
}

impl Kernel for L2Norm {
    fn run(&self, cx: &Cx<'_>) -> Result<Vec<AnyTensor>, RunError> {
        let x = cx.get(&self.x)?;
        let shape = output_shape(&L2Norm { x: actual(&self.x, &x), ..self.clone() })?;
        let group = shape[shape.len() - 3..].iter().product::<usize>().max(1);
        let mut out = x.to_f32()?.into_owned();
        for group in out.chunks_exact_mut(group) {
            let sum: f64 = group.iter().map(|v| f64::from(*v).powi(2)).sum();
            let scale = 1.0 / (sum + f64::from(self.epsilon)).sqrt();
            group.iter_mut().for_each(|v| *v = (f64::from(*v) * scale) as f32);
        }
        floats(x.dtype(), shape, out)
    }
}

impl Kernel for LocalResponseNorm {
    fn run(&self, cx: &Cx<'_>) -> Result<Vec<AnyTensor>, RunError> {
        let x = cx.get(&self.x)?;
        let shape = output_shape(&LocalResponseNorm { x: actual(&self.x, &x), ..self.clone() })?;
        let v = x.to_f32()?;
        let axis = self.channel_axis();
        let (channels, plane) = (shape[axis], shape[axis + 1..].iter().product::<usize>());
        let (before, after) = ((self.size / 2) as usize, ((self.size - 1) / 2) as usize);
        let scale = f64::from(self.alpha) / self.size as f64;
        let mut out = Vec::with_capacity(v.len());
        for i in 0..v.len() {
            let (place, c) = (i % plane, i / plane % channels);
            let first = i - place - c * plane;
            let window = c.saturating_sub(before)..channels.min(c.saturating_add(after) + 1);
            let sum: f64 = window.map(|c| f64::from(v[first + c * plane + place]).powi(2)).sum();
            let divisor = (f64::from(self.k) + scale * sum).powf(f64::from(self.beta));
            out.push((f64::from(v[i]) / divisor) as f32);
        }
        floats(x.dtype(), shape, out)
    }
}

/// Makes the mean of each group 0 and its variance 1; `finish` gets the group's number, the element's number within it,
/// and the element.
fn standardize(v: &mut [f32], groups: &Groups, epsilon: f32, finish: impl Fn(usize, usize, f32) -> f32) {
    let count = groups.offsets.len() as f64;
    for (group, start) in groups.starts.iter().enumerate() {
        let each = || groups.offsets.iter().map(|offset| start + offset);
        let mean = each().map(|at| f64::from(v[at])).sum::<f64>() / count;
        let variance = each().map(|at| (f64::from(v[at]) - mean).powi(2)).sum::<f64>() / count;
        let scale = 1.0 / (variance + f64::from(epsilon)).sqrt();
        for (i, at) in each().enumerate() {
            v[at] = finish(group, i, ((f64::from(v[at]) - mean) * scale) as f32);
        }
    }
}

/// The elements of an optional argument by index; without it, one number for all.
fn numbers(arg: &Option<Arg>, cx: &Cx<'_>, otherwise: f32) -> Result<impl Fn(usize) -> f32, RunError> {
    let given = arg.as_ref().map(|arg| Ok::<_, RunError>(cx.get(arg)?.to_f32()?.into_owned())).transpose()?;
    Ok(move |i: usize| given.as_ref().map_or(otherwise, |v| v[i]))
}

#[cfg(test)]
mod tests {
    use half::f16;
    use mil_core::{ir::Constant, mb};

    use crate::{
        cpu::reference::testing::{close, run},
        tensor::AnyTensor,
    };

    fn v(values: &[f32]) -> Constant {
        Constant::vector(values)
    }

    #[test]
    fn batch_norm() {
        let out = run(|g| {
            let x = g.f32(&[2, 2, 2], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0]);
            mb::batch_norm(x, v(&[1.0, 2.0]), v(&[4.0, 0.25])).gamma(v(&[2.0, 1.0])).beta(v(&[0.5, -1.0])).epsilon(0.0)
        });
        // By hand: channel 0 is (x - 1) + 0.5, channel 1 is 2 * (x - 2) - 1.
        close(&out, &[2, 2, 2], &[0.5, 1.5, 1.0, 3.0, 4.5, 5.5, 9.0, 11.0], 1e-6);
    }

    /// By NumPy: `(x - x.mean()) / sqrt(x.var() + 1e-5)` of [1, 2, 3, 4] is [-1.3416355, -0.4472118, ..].
    const STANDARD: [f32; 4] = [-1.3416355, -0.44721183, 0.44721183, 1.3416355];

    #[test]
    fn instance_norm() {
        let out = run(|g| {
            let x = g.f32(&[1, 2, 2, 2], &[1.0, 2.0, 3.0, 4.0, 10.0, 20.0, 30.0, 40.0]);
            mb::instance_norm(x).gamma(v(&[1.0, 2.0])).beta(v(&[0.0, 1.0]))
        });
        // The second channel is ten times the first: 1e-5 hardly counts, the quotients are those of [1, 2, 3, 4].
        let second = [-1.6832815, 0.105572, 1.894428, 3.6832815];
        close(&out, &[1, 2, 2, 2], &[&STANDARD[..], &second[..]].concat(), 1e-5);
    }

    #[test]
    fn layer_norm_over_some_axes() {
        let x = [1.0, 10.0, 2.0, 20.0, 3.0, 30.0, 4.0, 40.0];
        // Over all but the last axis, given out of order; gamma and beta go along the axes as `x` has them.
        let out = run(|g| {
            let gamma = Constant::new([2, 2], &[1f32, 1.0, 2.0, 2.0]).unwrap();
            let beta = Constant::new([2, 2], &[0f32, 0.0, 0.0, 5.0]).unwrap();
            mb::layer_norm(g.f32(&[2, 2, 2], &x)).axes([1, 0]).gamma(gamma).beta(beta)
        });
        let [a, b, c, d] = STANDARD;
        close(&out, &[2, 2, 2], &[a, a, b, b, 2.0 * c, 2.0 * c, 2.0 * d + 5.0, 2.0 * d + 5.0], 2e-5);
        let out = run(|g| mb::layer_norm(g.f32(&[2, 4], &[1.0, 2.0, 3.0, 4.0, 1.0, 2.0, 3.0, 4.0])).axes([-1]));
        close(&out, &[2, 4], &[STANDARD, STANDARD].concat(), 1e-6);
    }

    #[test]
    fn l2_norm() {
        let out = run(|g| mb::l2_norm(g.f32(&[2, 1, 1, 2], &[3.0, 4.0, 5.0, 12.0])).epsilon(0.0));
        close(&out, &[2, 1, 1, 2], &[0.6, 0.8, 5.0 / 13.0, 12.0 / 13.0], 1e-7);
        let out = run(|g| mb::l2_norm(g.f32(&[1, 1, 2], &[3.0, 4.0])).epsilon(11.0));
        close(&out, &[1, 1, 2], &[0.5, 4.0 / 6.0], 1e-7);
    }

    #[test]
    fn local_response_norm() {
        let x = [1.0, 2.0, 2.0, 4.0, 3.0, 0.0];
        // Three channels of two elements; two neighbours are the channel before and the channel itself.
        let out = run(|g| mb::local_response_norm(g.f32(&[1, 3, 1, 2], &x), 2).alpha(2.0).beta(1.0).k(1.0));
        close(&out, &[1, 3, 1, 2], &[1.0 / 2.0, 2.0 / 5.0, 2.0 / 6.0, 4.0 / 21.0, 3.0 / 14.0, 0.0], 1e-7);
        let out = run(|g| mb::local_response_norm(g.f32(&[3, 1, 2], &x), 3).alpha(3.0).beta(0.5).k(0.0));
        let root = [5f32, 20.0, 14.0, 20.0, 13.0, 16.0].map(f32::sqrt);
        let expected: Vec<f32> = x.iter().zip(root).map(|(x, r)| x / r).collect();
        close(&out, &[3, 1, 2], &expected, 1e-6);
        // Rank 3 has no batch: this is one channel.
        let out = run(|g| mb::local_response_norm(g.f32(&[1, 3, 2], &x), 3).alpha(3.0).beta(1.0));
        let expected = x.map(|v| v / (1.0 + v * v));
        close(&out, &[1, 3, 2], &expected, 1e-6);
        // By default: 1 / (1 + 1e-4 * 1 / 1)^0.75. A neighbourhood may be larger than the tensor.
        let out = run(|g| mb::local_response_norm(g.f32(&[1, 1, 1], &[1.0]), 1));
        close(&out, &[1, 1, 1], &[0.999925], 1e-6);
        let out = run(|g| mb::local_response_norm(g.f32(&[1, 1, 1], &[1.0]), i32::MAX));
        close(&out, &[1, 1, 1], &[1.0], 1e-6);
        close(&run(|g| mb::local_response_norm(g.f32(&[1, 2, 0], &[]), 3)), &[1, 2, 0], &[], 0.0);
    }

    #[test]
    fn halves_are_computed_in_f32() {
        // The sum of squares, 2 * 300^2, is no f16.
        let x = AnyTensor::new([1, 1, 2], vec![f16::from_f32(300.0); 2]).unwrap();
        let out = run(|g| mb::l2_norm(g.input(x)));
        assert_eq!(out[0].as_slice::<f16>(), Some(&[f16::from_f32(0.70710677); 2][..]));
    }
}
