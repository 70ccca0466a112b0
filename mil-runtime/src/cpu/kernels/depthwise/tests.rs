//! Against a plain loop.

use std::time::Instant;

use proptest::prelude::*;

use super::{Depthwise, PADDING, pack};
use crate::cpu::kernels::{
    epilogue::{
        Activation, Epilogue,
        testing::{Parts, choices, numbers},
    },
    scaled::{scaled, testing::cases},
    simd::Isa,
    threads::Threads,
};

/// A convolution whose input is just as large as needed, with gaps between the output's pixels and rows.
fn depthwise(
    channels: usize,
    multiplier: usize,
    kernel: [usize; 3],
    dilation: [usize; 3],
    stride: [usize; 3],
    size: [usize; 4],
    gap: usize,
) -> Depthwise {
    let inside = |axis: usize| (size[axis + 1] - 1) * stride[axis] + (kernel[axis] - 1) * dilation[axis] + 1;
    let pixel = channels / multiplier + gap;
    let (row, plane) = (pixel * inside(2), pixel * inside(2) * inside(1));
    let out = channels + gap;
    let (out_row, out_plane) = (out * size[3] + gap, (out * size[3] + gap) * size[2]);
    let input = [plane * inside(0), plane, row, pixel];
    let output = [out_plane * size[1] + gap, out_plane, out_row, out];
    Depthwise { channels, multiplier, kernel, dilation, stride, size, input, output }
}

/// Products share rows of pixels: where there are enough for all threads, nothing else is shared here either.
#[test]
fn rows_are_cut_only_where_they_are_few() {
    let cuts = |size: usize, threads: usize| {
        let pieces = depthwise(384, 1, [1, 3, 3], [1; 3], [1; 3], [1, 1, size, size], 0).pieces(threads);
        (pieces.rows, pieces.cuts, pieces.groups)
    };
    assert_eq!(cuts(14, 2), (14, 1, 1));
    assert_eq!(cuts(8, 2), (8, 1, 1));
    assert_eq!(cuts(7, 2), (7, 1, 2), "a half of the channels for each thread");
    assert_eq!(cuts(7, 1), (7, 1, 1));
    assert_eq!(cuts(7, 4), (7, 1, 3));
}

/// The sum for one output element and the sum of its terms' magnitudes, and where it lies in the output.
fn plain(of: &Depthwise, x: &[f32], w: &[f32], pixel: usize, channel: usize) -> (f64, f64, usize) {
    let [_, d, h, wide] = of.size;
    let at = [pixel / wide / h / d, pixel / wide / h % d, pixel / wide % h, pixel % wide];
    let taps: usize = of.kernel.iter().product();
    let (mut sum, mut size) = (0.0, 0.0);
    for tap in 0..taps {
        let k = [tap / of.kernel[2] / of.kernel[1], tap / of.kernel[2] % of.kernel[1], tap % of.kernel[2]];
        let place = (0..3).map(|a| (at[a + 1] * of.stride[a] + k[a] * of.dilation[a]) * of.input[a + 1]);
        let x = x[at[0] * of.input[0] + place.sum::<usize>() + channel / of.multiplier];
        let term = f64::from(x) * f64::from(w[channel * taps + tap]);
        (sum, size) = (sum + term, size + term.abs());
    }
    (sum, size, (0..4).map(|a| at[a] * of.output[a]).sum::<usize>() + channel)
}

fn check(of: &Depthwise, (choice, activation): (u8, u8)) -> Result<(), TestCaseError> {
    let pixels: usize = of.size.iter().product();
    let parts = Parts::new(of.channels, pixels, choice, activation);
    let (x, w) = (numbers(of.reads(), 5), numbers(of.channels * of.kernel.iter().product::<usize>(), 6));
    let packed = pack(&w, of.channels);
    let expected: Vec<_> = (0..pixels)
        .flat_map(|pixel| (0..of.channels).map(move |channel| (pixel, channel)))
        .map(|(pixel, channel)| {
            let (sum, size, at) = plain(of, &x, &w, pixel, channel);
            let (y, bound) = parts.expected(sum, size * 1e-6, pixel, channel);
            (at, y, bound + 1e-7)
        })
        .collect();
    for isa in Isa::available() {
        let mut first = None;
        for threads in [1, 2] {
            // One element that must not be touched.
            let mut y = vec![f32::NAN; of.writes() + 1];
            of.run(isa, &Threads::shared(threads), &x, &packed, &parts.epilogue(), &mut y);
            for (at, expected, bound) in &expected {
                let y = f64::from(y[*at]);
                let fine = (y - expected).abs() <= *bound;
                prop_assert!(fine, "{isa:?}, {threads} threads, at {at}: {y} for {expected} of {of:?}");
            }
            let written = y.iter().filter(|y| !y.is_nan()).count();
            prop_assert_eq!(written, expected.len(), "gaps are left alone");
            let bits: Vec<_> = y.iter().map(|y| y.to_bits()).collect();
            prop_assert_eq!(first.get_or_insert_with(|| bits.clone()), &bits, "threads make no difference");
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(cases(96, 3))]

    #[test]
    fn usual_kernels(
        k in prop::sample::select(vec![3usize, 5, 7]),
        stride in 1usize..=2,
        multiplier in 1usize..=2,
        channels in 1..scaled(40, 11),
        size in (1usize..3, 1usize..4, 1..scaled(24, 7)),
        gap in 0usize..3,
        choice in choices(),
    ) {
        let size = [size.0, 1, size.1, size.2];
        let of = depthwise(channels * multiplier, multiplier, [1, k, k], [1; 3], [1, stride, stride], size, gap);
        check(&of, choice)?;
    }

    #[test]
    fn any_kernel(
        kernel in prop::array::uniform3(1usize..4),
        dilation in prop::array::uniform3(1usize..3),
        stride in prop::array::uniform3(1usize..4),
        multiplier in 1usize..4,
        channels in 1..scaled(20, 7),
        size in (1usize..3, 1usize..3, 1usize..3, 1..scaled(7, 4)),
        gap in 0usize..3,
        choice in choices(),
    ) {
        let size = [size.0, size.1, size.2, size.3];
        check(&depthwise(channels * multiplier, multiplier, kernel, dilation, stride, size, gap), choice)?;
    }
}

#[test]
fn few_rows_are_cut() {
    // One row; many channels on few rows.
    check(&depthwise(3, 1, [1, 1, 9], [1; 3], [1; 3], [1, 1, 1, scaled(300, 24)], 0), (2, 1)).unwrap();
    let many = scaled(328, 34);
    check(&depthwise(many, 1, [1, 3, 3], [1; 3], [1; 3], [1, 1, 2, 7], 0), (2, 1)).unwrap();
    check(&depthwise(many, 2, [1, 7, 7], [1; 3], [1, 2, 2], [1, 1, scaled(2, 1), scaled(7, 3)], 0), (2, 1)).unwrap();
}

/// A vector that begins before its group would be in that of another thread.
#[test]
fn each_group_of_channels_has_a_vector() {
    for (channels, threads) in (1..scaled(700, 70)).flat_map(|channels| [(channels, 2), (channels, 3), (channels, 16)])
    {
        let of = depthwise(channels, 1, [1, 3, 3], [1; 3], [1; 3], [1, 1, 1, 7], 0);
        let pieces = of.pieces(threads);
        let all: Vec<_> = (0..pieces.groups).map(|n| pieces.get(&of, n * pieces.cuts * pieces.rows)).collect();
        assert!(all.len() == 1 || all.iter().all(|piece| piece.channels >= PADDING), "{channels}, {threads} threads");
        let end = all.iter().fold(0, |end, piece| if piece.channel == end { end + piece.channels } else { usize::MAX });
        assert_eq!(end, channels);
    }
}

#[test]
fn nothing_is_no_pixel() {
    let mut of = depthwise(3, 1, [1, 3, 3], [1; 3], [1; 3], [1, 1, 2, 2], 0);
    of.size[2] = 0;
    of.run(Isa::chosen(), &Threads::new(1), &[], &[], &Epilogue::default(), &mut []);
}

#[test]
#[should_panic(expected = "an input of 47 elements, read up to 48")]
fn what_is_read_must_be_there() {
    let of = depthwise(3, 1, [1, 3, 3], [1; 3], [1; 3], [1, 1, 2, 2], 0);
    of.run(Isa::chosen(), &Threads::new(1), &[0.0; 47], &[0.0; 144], &Epilogue::default(), &mut [0.0; 12]);
}

#[test]
#[should_panic(expected = "output pixels overlap")]
fn output_pixels_must_not_overlap() {
    let mut of = depthwise(3, 1, [1, 3, 3], [1; 3], [1; 3], [1, 1, 2, 2], 0);
    of.output[2] = 3;
    of.run(Isa::chosen(), &Threads::new(1), &[0.0; 48], &[0.0; 144], &Epilogue::default(), &mut [0.0; 12]);
}

/// The layers of MobileNetV2 and FastViT, per instruction set, in turns; the best of many rounds:
/// `cargo test -p mil-runtime --release --lib depthwise::tests::speed -- --ignored --nocapture`.
#[test]
#[ignore = "a measurement"]
fn speed() {
    let layers = [
        (32, 1, 3, 1, 112),
        (96, 1, 3, 2, 56),
        (144, 1, 3, 1, 56),
        (144, 1, 3, 2, 28),
        (192, 1, 3, 1, 28),
        (384, 1, 3, 1, 14),
        (960, 1, 3, 1, 7),
        (48, 1, 7, 1, 64),
        (96, 2, 7, 2, 32),
    ];
    for (channels, m, k, s, out) in layers {
        let mut of = depthwise(channels, m, [1, k, k], [1; 3], [1, s, s], [1, 1, out, out], 0);
        // As in a net: padding for the next layer around the output.
        of.output = [0, 0, (out + 2) * channels, channels];
        let (x, w, b) = (numbers(of.reads(), 1), pack(&numbers(channels * k * k, 2), channels), numbers(channels, 3));
        let (macs, bytes) = (channels * out * out * k * k, 4 * (x.len() + channels * out * out));
        // As in a net: whole cache lines.
        let (mut x_lines, mut y_lines) = (vec![0.0; x.len() + 16], vec![0.0; of.writes() + 16]);
        let (at, y_at) = (x_lines.as_ptr().align_offset(64), y_lines.as_ptr().align_offset(64));
        x_lines[at..][..x.len()].copy_from_slice(&x);
        let (x, y) = (&x_lines[at..], &mut y_lines[y_at..]);
        let activation = Activation::Clamp { low: 0.0, high: 6.0 };
        let epilogue = |half| Epilogue { bias: Some(&b), activation, half, ..Epilogue::default() };
        let (one, two) = ((1, epilogue(false)), (2, epilogue(false)));
        let each = |isa| [one, two, (1, epilogue(true))].map(|(threads, epilogue)| (isa, threads, epilogue));
        let runs: Vec<_> = Isa::available().into_iter().flat_map(each).collect();
        let mut best = vec![f64::INFINITY; runs.len()];
        for _ in 0..100 {
            for ((isa, threads, epilogue), best) in runs.iter().zip(&mut best) {
                let threads = Threads::shared(*threads);
                for _ in 0..2 {
                    let since = Instant::now();
                    of.run(*isa, &threads, x, &w, epilogue, y);
                    *best = since.elapsed().as_secs_f64().min(*best);
                }
            }
        }
        for ((isa, threads, epilogue), best) in runs.iter().zip(best) {
            let (flops, band) = (2e-9 * macs as f64 / best, 1e-9 * bytes as f64 / best);
            let (ms, isa) = (best * 1e3, format!("{isa:?}{}", if epilogue.half { " f16" } else { "" }));
            eprintln!(
                "{channels} x{m} {k}x{k} s{s} @{out} {isa} {threads}T: {ms:.3} ms, {flops:.1} GFLOP/s, {band:.1} GB/s"
            );
        }
    }
}
