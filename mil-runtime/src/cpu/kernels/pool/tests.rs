//! Pools against a plain loop.

use half::f16;
use proptest::prelude::*;

use super::*;
use crate::cpu::kernels::scaled::{
    scaled,
    testing::{cases, threads},
};

/// One by one, in the order of the reference.
fn plain(pool: &Pool, x: &[f32], out: &mut [f32]) {
    let [d, h, w] = pool.axes;
    for at in 0..pool.images * d.places * h.places * w.places * pool.channels {
        let (c, at) = (at % pool.channels, at / pool.channels);
        let (ow, at) = (at % w.places, at / w.places);
        let (oh, at) = (at % h.places, at / h.places);
        let (od, n) = (at % d.places, at / d.places);
        let mut result = if pool.kind == Pooling::Max { f32::NEG_INFINITY } else { 0.0 };
        let (mut real, mut padded) = (0, 0);
        for (kd, kh, kw) in (0..d.kernel)
            .flat_map(|kd| (0..h.kernel).map(move |kh| (kd, kh)))
            .flat_map(|(kd, kh)| (0..w.kernel).map(move |kw| (kd, kh, kw)))
        {
            let place = [od * d.stride + kd, oh * h.stride + kh, ow * w.stride + kw];
            let within = |i: usize, from: usize, to: usize| (from..to).contains(&place[i]);
            padded += usize::from(
                (0..3).all(|i| within(i, 0, pool.axes[i].pad[0] + pool.axes[i].size + pool.axes[i].pad[1])),
            );
            if !(0..3).all(|i| within(i, pool.axes[i].pad[0], pool.axes[i].pad[0] + pool.axes[i].size)) {
                continue;
            }
            real += 1;
            let s = pool.input.strides;
            let at = pool.input.offset + n * s[0] + c;
            let v = x[at + (0..3).map(|i| (place[i] - pool.axes[i].pad[0]) * s[i + 1]).sum::<usize>()];
            match pool.kind {
                Pooling::Max => result = if v > result || v.is_nan() { v } else { result },
                Pooling::Average { .. } => result += v,
                Pooling::L2 => result += v * v,
            }
        }
        match pool.kind {
            Pooling::Max => {}
            Pooling::Average { exclude_padding } => result /= if exclude_padding { real } else { padded } as f32,
            Pooling::L2 => result = result.sqrt(),
        }
        let s = pool.output.strides;
        let at = pool.output.offset + n * s[0] + od * s[1] + oh * s[2] + ow * s[3] + c;
        out[at] = if pool.half { f16::from_f32(result).to_f32() } else { result };
    }
}

fn axis() -> impl Strategy<Value = Axis> {
    let sizes = (1..scaled(9, 4), 1..scaled(5, 4), 1usize..4);
    let pads = (0usize..3, 0..scaled(3, 2), 0..scaled(3, 2));
    let any = (sizes, pads).prop_map(|((size, kernel, stride), (before, after, over))| {
        let places = ((size + before + after).saturating_sub(kernel) + over) / stride + 1;
        Axis { size, places, kernel, stride, pad: [before, after] }
    });
    let common = (prop::sample::select(vec![(2, 2), (3, 2), (3, 1)]), 3..scaled(12, 6), 0usize..2).prop_map(
        |((kernel, stride), size, pad)| Axis {
            size,
            places: (size + 2 * pad - kernel) / stride + 1,
            kernel,
            stride,
            pad: [pad, pad],
        },
    );
    prop_oneof![any, common]
}

/// Somewhere in a buffer, with gaps between channels, columns and rows.
fn area(sizes: [usize; 3], channels: usize, gaps: [usize; 4]) -> Area {
    let mut strides = [0; 4];
    strides[3] = channels + gaps[0];
    strides[2] = strides[3] * sizes[2] + gaps[1];
    strides[1] = strides[2] * sizes[1] + gaps[2];
    strides[0] = strides[1] * sizes[0] + gaps[3];
    Area { offset: gaps[3] + gaps[0], strides }
}

fn pools() -> impl Strategy<Value = Pool> {
    let kind = prop::sample::select(vec![
        Pooling::Max,
        Pooling::Average { exclude_padding: true },
        Pooling::Average { exclude_padding: false },
        Pooling::L2,
    ]);
    let depth = prop_oneof![3 => Just(Axis::UNIT), 1 => axis()];
    let gaps = || prop::array::uniform4(0usize..4);
    (
        kind,
        1usize..3,
        prop_oneof![1..scaled(20, 6), scaled(20, 6)..scaled(140, 19)],
        depth,
        axis(),
        axis(),
        gaps(),
        gaps(),
        any::<bool>(),
    )
        .prop_map(|(kind, images, channels, depth, height, width, input, output, half)| {
            let axes = [depth, height, width];
            let input = area(axes.map(|a| a.size), channels, input);
            let output = area(axes.map(|a| a.places), channels, output);
            Pool { kind, images, channels, axes, input, output, half }
        })
}

fn buffers(pool: &Pool, seed: u32, nan: bool) -> (Vec<f32>, Vec<f32>) {
    let mut state = seed | 1;
    let len = pool.images * pool.input.strides[0] + pool.input.offset;
    let next = |_| {
        state = state.wrapping_mul(1664525).wrapping_add(1013904223);
        if nan && state >> 24 == 7 { f32::NAN } else { f16::from_f32((state >> 8) as f32 / 1e6 - 9.0).to_f32() }
    };
    ((0..len).map(next).collect(), vec![77.0; pool.images * pool.output.strides[0] + pool.output.offset])
}

proptest! {
    #![proptest_config(cases(96, 5))]

    #[test]
    fn as_a_plain_loop(pool in pools(), seed: u32, nan: bool, threads in threads()) {
        let (x, mut expected) = buffers(&pool, seed, nan);
        let untouched = expected.clone();
        plain(&pool, &x, &mut expected);
        for isa in Isa::available() {
            let mut out = untouched.clone();
            pool.run(isa, &Threads::new(threads), &x, &mut out);
            for (at, (o, e)) in out.iter().zip(&expected).enumerate() {
                // Sums are taken in another order, which may change the number that is rounded to f16.
                let bound = if pool.kind == Pooling::Max { 0.0 } else if pool.half { 1e-3 } else { 1e-6 };
                let fine = o == e || o.is_nan() && e.is_nan() || (o - e).abs() <= bound * 10f32.max(e.abs());
                prop_assert!(fine, "{isa:?} {at}: {o} for {e}");
                prop_assert!(!pool.half || o.is_nan() || f16::from_f32(*o).to_f32() == *o);
            }
        }
    }
}

#[test]
#[should_panic(expected = "assertion")]
fn an_area_beyond_the_buffer_is_refused() {
    let axes = [Axis::UNIT, Axis::UNIT, Axis { size: 4, places: 4, ..Axis::UNIT }];
    let place = Area { offset: 0, strides: [8, 8, 8, 2] };
    let pool = Pool { kind: Pooling::Max, images: 1, channels: 2, axes, input: place, output: place, half: false };
    pool.run(Isa::chosen(), &Threads::new(1), &[0.0; 7], &mut [0.0; 8]);
}

#[test]
fn nothing_to_pool() {
    let width = Axis { size: 0, places: 2, pad: [1, 1], ..Axis::UNIT };
    let place = Area { offset: 0, strides: [2, 2, 2, 1] };
    let pool = Pool {
        kind: Pooling::Max,
        images: 1,
        channels: 1,
        axes: [Axis::UNIT, Axis::UNIT, width],
        input: place,
        output: place,
        half: false,
    };
    let mut out = [0.0; 2];
    pool.run(Isa::chosen(), &Threads::new(1), &[], &mut out);
    assert_eq!(out, [f32::NEG_INFINITY; 2]);
    Pool { images: 0, ..pool }.run(Isa::chosen(), &Threads::new(1), &[], &mut []);
}

#[test]
fn means_are_rounded_once() {
    // One element in a window of padding: its sum is the element, in whatever order.
    let channels = scaled(1000, 30);
    for kernel in [3, 5, 7, 12] {
        let axis = Axis { size: 1, places: 1, kernel, stride: 1, pad: [kernel - 1, 0] };
        let place = Area { offset: 0, strides: [channels; 4] };
        let axes = [Axis::UNIT, axis, axis];
        let kind = Pooling::Average { exclude_padding: false };
        let pool = Pool { kind, images: 1, channels, axes, input: place, output: place, half: false };
        let mut x: Vec<f32> = (0..channels).map(|i| (i as f32 * 0.731).sin() * 7.0).collect();
        x[..3].copy_from_slice(&[f32::INFINITY, f32::NEG_INFINITY, 0.0]);
        for isa in Isa::available() {
            let mut out = vec![77.0; channels];
            pool.run(isa, &Threads::new(1), &x, &mut out);
            for (x, o) in x.iter().zip(&out) {
                let e = x / (kernel * kernel) as f32;
                // Plain code does not fuse the remainder's product.
                let bound = if isa == Isa::SCALAR { 1.2e-7 * e.abs() } else { 0.0 };
                assert!(*o == e || (o - e).abs() <= bound, "{isa:?}: {o} for {e}");
            }
        }
    }
}
