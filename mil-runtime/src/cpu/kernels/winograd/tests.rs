//! Against a plain loop.

use std::time::Instant;

use proptest::prelude::*;

use super::{BLOCK, LEAST, Winograd, weights};
use crate::cpu::kernels::{
    epilogue::{
        Activation, Epilogue,
        testing::{Parts, choices, numbers},
    },
    scaled::{scaled, testing::cases},
    simd::Isa,
    threads::Threads,
};

/// A convolution with gaps between pixels, rows and images of both buffers.
fn winograd(inputs: usize, outputs: usize, size: [usize; 3], gap: usize) -> Winograd {
    let (pixel, out) = (inputs + gap, outputs + gap);
    let (row, out_row) = (pixel * Winograd::reach(size[2]), out * size[2] + gap);
    let (image, out_image) = (row * Winograd::reach(size[1]), out_row * size[1] + gap);
    Winograd { inputs, outputs, size, input: [image, row, pixel], output: [out_image, out_row, out] }
}

/// The products, each row by itself.
fn product(of: &Winograd, w: &[f32], plane: usize, x: &[f32], y: &mut [f32], rows: usize) {
    assert_eq!((x.len(), y.len()), (rows * of.inputs, rows * of.outputs));
    let w = &w[plane * of.outputs * of.inputs..][..of.outputs * of.inputs];
    for (x, y) in x.chunks_exact(of.inputs).zip(y.chunks_exact_mut(of.outputs)) {
        for (y, w) in y.iter_mut().zip(w.chunks_exact(of.inputs)) {
            *y = x.iter().zip(w).map(|(x, w)| x * w).sum();
        }
    }
}

fn check(of: &Winograd, (choice, activation): (u8, u8)) -> Result<(), TestCaseError> {
    let [batch, h, wide] = of.size;
    let pixels = batch * h * wide;
    let parts = Parts::new(of.outputs, pixels, choice, activation);
    let w = numbers(of.outputs * of.inputs * 9, 6);
    let transformed = weights(&w, of.outputs, of.inputs);
    // What no window sees must not matter.
    let mut x = vec![f32::NAN; of.reads()];
    let place = |n: usize, r: usize, c: usize| n * of.input[0] + r * of.input[1] + c * of.input[2];
    for (n, r, c) in
        (0..batch).flat_map(|n| (0..(h + 2) * (wide + 2)).map(move |p| (n, p / (wide + 2), p % (wide + 2))))
    {
        let at = place(n, r, c);
        x[at..at + of.inputs].copy_from_slice(&numbers(of.inputs, at as u32));
    }
    let mut expected = vec![];
    for pixel in 0..pixels {
        let (n, r, c) = (pixel / wide / h, pixel / wide % h, pixel % wide);
        for channel in 0..of.outputs {
            let (mut sum, mut size) = (0.0, 0.0);
            for k in 0..9 * of.inputs {
                let (i, tap) = (k / 9, k % 9);
                let x = x[place(n, r + tap / 3, c + tap % 3) + i];
                let term = f64::from(x) * f64::from(w[channel * of.inputs * 9 + k]);
                (sum, size) = (sum + term, size + term.abs());
            }
            let at = n * of.output[0] + r * of.output[1] + c * of.output[2] + channel;
            let (y, bound) = parts.expected(sum, size * 2e-6 + 2e-6, pixel, channel);
            expected.push((at, y, bound));
        }
    }
    for isa in Isa::available() {
        let mut first = None;
        for threads in [1, 2, 3] {
            let threads = Threads::shared(threads);
            // One element that must not be touched.
            let mut y = vec![f32::NAN; of.writes() + 1];
            let mut scratch = vec![f32::NAN; of.scratch(threads.count())];
            let product = |plane, x: &[f32], y: &mut [f32], rows| product(of, &transformed, plane, x, y, rows);
            of.run(isa, &threads, &x, &parts.epilogue(), &mut y, &mut scratch, &product);
            for (at, expected, bound) in &expected {
                let y = f64::from(y[*at]);
                prop_assert!((y - expected).abs() <= *bound, "{isa:?} at {at}: {y} for {expected} of {of:?}");
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
    #![proptest_config(cases(48, 3))]

    #[test]
    fn convolutions(
        inputs in 1..scaled(36, 7),
        outputs in 1..scaled(36, 10),
        size in (1usize..3, 1..scaled(7, 5), 1..scaled(7, 5)),
        gap in 0usize..3,
        choice in choices(),
    ) {
        check(&winograd(inputs, outputs, [size.0, size.1, size.2], gap), choice)?;
    }
}

#[test]
fn tiles_come_in_blocks() {
    let large = winograd(64, 64, [1, 56, 56], 0);
    for threads in 1..5 {
        let sharing = large.sharing(threads);
        assert_eq!(sharing.own, Some(threads));
        assert!((LEAST..=LEAST.max(BLOCK / 16 / 128)).contains(&sharing.tiles), "{sharing:?}");
    }
    assert_eq!(winograd(512, 512, [1, 7, 7], 0).sharing(2).own, None, "weights are read once");
    assert!(winograd(512, 512, [1, 7, 7], 0).sharing(1).own.is_some());
    // More than one block for each thread.
    check(&winograd(1, 2, [1, scaled(110, 9), scaled(110, 9)], 0), (2, 1)).unwrap();
    let of = winograd(1, 2, [1, scaled(360, 16), scaled(360, 10)], 0);
    assert!(of.sharing(3).tiles * 3 < of.tiles());
    check(&of, (2, 1)).unwrap();
}

#[test]
fn nothing_is_no_pixel() {
    let mut of = winograd(3, 3, [1, 2, 2], 0);
    of.size[0] = 0;
    of.run(Isa::chosen(), &Threads::new(1), &[], &Epilogue::default(), &mut [], &mut [], &|_, _, _, _| {});
}

#[test]
fn what_is_read_and_written_must_be_there() {
    let of = winograd(2, 3, [1, 3, 3], 0);
    let (reads, writes, scratch) = (of.reads(), of.writes(), of.scratch(1));
    assert_eq!((reads, writes), (72, 27));
    let run = |reads: usize, writes: usize, scratch: usize| {
        let (x, mut y, mut scratch) = (vec![0.0; reads], vec![0.0; writes], vec![0.0; scratch]);
        let run = || {
            let product = |_, _: &[f32], _: &mut [f32], _| {};
            of.run(Isa::chosen(), &Threads::new(1), &x, &Epilogue::default(), &mut y, &mut scratch, &product);
        };
        std::panic::catch_unwind(std::panic::AssertUnwindSafe(run)).is_ok()
    };
    assert!(run(reads, writes, scratch));
    assert!(!run(reads - 1, writes, scratch) && !run(reads, writes - 1, scratch) && !run(reads, writes, scratch - 1));
}

/// What the transforms of ResNet-50's layers take, without products: `cargo test -p mil-runtime --release --lib winograd::tests::speed --
/// --ignored --nocapture`.
#[test]
#[ignore = "a measurement"]
fn speed() {
    for (channels, size) in [(64, 56), (128, 28), (256, 14), (512, 7)] {
        let mut of = winograd(channels, channels, [1, size, size], 0);
        of.output = [0, (size + 2) * channels, channels];
        let b = numbers(channels, 3);
        // As in a net: whole cache lines.
        let lines = |n: usize| {
            let x = vec![0f32; n + 16];
            let at = x.as_ptr().align_offset(64);
            (x, at)
        };
        let ((x, x_at), (mut y, y_at)) = (lines(of.reads()), lines(of.writes()));
        let (mut scratch, at) = lines(of.scratch(1).max(of.scratch(2)));
        let activation = Activation::Clamp { low: 0.0, high: f32::INFINITY };
        let epilogue = Epilogue { bias: Some(&b), activation, ..Epilogue::default() };
        let runs: Vec<_> = Isa::available().into_iter().flat_map(|isa| [(isa, 1), (isa, 2)]).collect();
        let mut best = vec![f64::INFINITY; runs.len()];
        for _ in 0..200 {
            for ((isa, threads), best) in runs.iter().zip(&mut best) {
                let threads = Threads::shared(*threads);
                let since = Instant::now();
                let (y, scratch) = (&mut y[y_at..], &mut scratch[at..]);
                of.run(*isa, &threads, &x[x_at..], &epilogue, y, scratch, &|_, _, _, _| {});
                *best = since.elapsed().as_secs_f64().min(*best);
            }
        }
        for ((isa, threads), best) in runs.iter().zip(best) {
            eprintln!("{channels}@{size} {isa:?} {threads}T: {:.3} ms", best * 1e3);
        }
    }
}
