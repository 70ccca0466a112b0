//! `local_response_norm` over neighbouring channels.

use std::ops::Range;

use crate::cpu::kernels::{
    simd::{Isa, dispatch, wide::Wide},
    threads::{Shared, Threads},
    view::{Dim, Layout, apart, merged, place, span},
};

/// `x / (k + alpha / size * sum of squares of the neighbours)^beta`, made ready.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct LocalResponse {
    /// Channels that count before and after each.
    neighbours: [usize; 2],
    scale: f64,
    beta: f32,
    k: f32,
    half: bool,
    channels: usize,
    /// The dimensions of the pixels.
    pixels: Vec<Dim<2>>,
    first: [usize; 2],
    /// Elements that the slices must have.
    spans: [usize; 2],
}

/// The op's parameters, as MIL spells them.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) struct Parameters {
    pub(crate) size: usize,
    pub(crate) alpha: f32,
    pub(crate) beta: f32,
    pub(crate) k: f32,
}

impl LocalResponse {
    /// A normalization of each channel by those around it; `shape` has the channels last, which are neighbours; `half` says whether
    /// results are rounded to f16.
    ///
    /// # Panics
    /// If there is not one stride per dimension, if channels are not neighbours, if `size` is 0, or if two results are at one place.
    pub(crate) fn new(
        parameters: Parameters,
        shape: &[usize],
        input: Layout<'_>,
        output: Layout<'_>,
        half: bool,
    ) -> LocalResponse {
        let Parameters { size, alpha, beta, k } = parameters;
        let last = shape.len() - 1;
        let channels = shape[last];
        assert!(size > 0 && (channels <= 1 || input.strides[last] == 1 && output.strides[last] == 1));
        assert!(apart(shape, output.strides), "results are apart");
        let spans = [span(input.offset, shape, input.strides), span(output.offset, shape, output.strides)];
        let dim = |i: usize| Dim { size: shape[i], strides: [input.strides[i], output.strides[i]] };
        LocalResponse {
            neighbours: [size / 2, (size - 1) / 2].map(|n| n.min(channels)),
            scale: f64::from(alpha) / size as f64,
            beta,
            k,
            half,
            channels,
            pixels: merged((0..last).map(dim).collect()),
            first: [input.offset, output.offset],
            spans,
        }
    }

    /// Computes all results.
    ///
    /// # Panics
    /// If the views do not lie within the slices.
    pub(crate) fn run(&self, isa: Isa, threads: &Threads, x: &[f32], out: &mut [f32]) {
        assert!(self.spans[0] <= x.len() && self.spans[1] <= out.len());
        let pixels: usize = self.pixels.iter().map(|d| d.size).product();
        let window = 1 + self.neighbours[0] + self.neighbours[1];
        if pixels == 0 || self.channels == 0 {
            return;
        }
        let out = Shared::new(out);
        threads.run(pixels, (1 << 13) / self.channels.saturating_mul(window) + 1, &|tasks| {
            // SAFETY: the views lie in the slices, as asserted; each task has its own pixels.
            unsafe { local_response(isa, self, tasks, x.as_ptr(), out.as_mut_ptr()) };
        });
    }
}

dispatch! {
    /// # Safety
    /// The views lie in the buffers.
    unsafe fn local_response(op: &LocalResponse, tasks: Range<usize>, x: *const f32, out: *mut f32) = self::generic
}

#[inline(always)]
unsafe fn generic<S: Wide>(op: &LocalResponse, tasks: Range<usize>, x: *const f32, out: *mut f32) {
    let [before, after] = op.neighbours;
    // A pixel with zeros around it, and behind it for whole vectors.
    let mut scratch = vec![0f32; before + op.channels + after + S::LANES];
    // SAFETY: the pixels are there, as the caller vouches; the scratch has room for each window of each vector.
    unsafe {
        for task in tasks {
            let [from, to] = place(&op.pixels, op.first, task);
            std::ptr::copy_nonoverlapping(x.add(from), scratch.as_mut_ptr().add(before), op.channels);
            for c in (0..op.channels).step_by(S::LANES) {
                let n = S::LANES.min(op.channels - c);
                let mut sum = S::splat_wide(0.0);
                for i in 0..=before + after {
                    let v = S::widen(S::load(scratch.as_ptr().add(c + i)));
                    sum = S::mul_add_wide(v, v, sum);
                }
                let base = S::mul_add_wide(sum, S::splat_wide(op.scale), S::splat_wide(op.k.into()));
                let v = S::load(scratch.as_ptr().add(before + c));
                let v = power::<S>(v, base, op.beta);
                S::store_first(out.add(to + c), if op.half { S::half(v) } else { v }, n);
            }
        }
    }
}

/// `x / base^beta`; the powers that networks use have roots.
///
/// # Safety
/// `S` is of this machine.
#[inline(always)]
unsafe fn power<S: Wide>(x: S::V, base: S::D, beta: f32) -> S::V {
    // SAFETY: as the caller vouches; there is room for any vector.
    unsafe {
        if beta == 0.75 || beta == 0.5 || beta == 1.0 {
            let base = S::narrow(base);
            if beta == 1.0 {
                return S::div(x, base);
            }
            let root = S::sqrt(base);
            return S::div(x, if beta == 0.5 { root } else { S::mul(root, S::sqrt(root)) });
        }
        let (base, mut results) = (S::wide_lanes(base), [0f32; 16]);
        S::store(results.as_mut_ptr(), x);
        for (result, base) in results.iter_mut().zip(base) {
            *result = (f64::from(*result) / base.powf(beta.into())) as f32;
        }
        S::load(results.as_ptr())
    }
}
