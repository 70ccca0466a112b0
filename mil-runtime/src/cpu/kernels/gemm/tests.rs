//! Products of all sizes against sums in f64.

use half::f16;
use proptest::prelude::*;

use super::{
    super::{
        epilogue::{Activation, Residual},
        panels::{Affine, Packer, Source, pad},
    },
    *,
};
use crate::cpu::kernels::scaled::{scaled, testing::cases};

fn offsets(at: impl IntoIterator<Item = usize>) -> Offsets {
    Offsets::new(at).unwrap()
}

fn numbers(count: usize, seed: u32) -> Vec<f32> {
    let mut s = seed.wrapping_mul(2654435761).wrapping_add(12345);
    let mut next = || {
        s = s.wrapping_mul(1664525).wrapping_add(1013904223);
        (s >> 8) as f32 / 8388608.0 - 1.0
    };
    (0..count).map(|_| next()).collect()
}

struct Case {
    runs: Vec<usize>,
    len: usize,
    rows: usize,
    n: usize,
    epilogue: usize,
    half: bool,
}

fn check(isa: Isa, threads: &Threads, case: &Case) {
    let Case { runs, len, rows, n, .. } = case;
    let (runs, k) = (offsets(runs.iter().copied()), runs.len() * len);
    let x = numbers(rows * 3 + runs.max() + len, 1);
    let w = numbers(k * n, 2);
    let row_at = offsets((0..*rows).map(|r| r * 3));
    let stride = n + 2;
    let y_at = offsets((0..*rows).map(|r| r * stride));
    let (scale, bias, slope) = (numbers(*n, 3), numbers(*n, 4), numbers(*n, 5));
    let residual = numbers(rows * stride + n, 6);
    let padded = |v: &[f32]| pad(isa, v.iter().copied(), *n);
    let (s, b, p) = (padded(&scale), padded(&bias), padded(&slope));
    let epilogue = Epilogue {
        scale: (case.epilogue & 1 != 0).then_some(&s[..]),
        bias: (case.epilogue & 2 != 0).then_some(&b[..]),
        residual: (case.epilogue & 4 != 0).then_some(Residual { data: &residual, at: &y_at }),
        activation: match case.epilogue >> 3 {
            0 => Activation::None,
            1 => Activation::Clamp { low: 0.0, high: 0.5 },
            2 => Activation::Leaky(0.25),
            _ => Activation::Prelu(&p),
        },
        half: case.half,
        then: &[],
    };
    let source = Source { inner: k, tap: 0, row: *n, column: 1 };
    let panels = Panels::f32(Packer { isa, threads, pages: None }, k, *n, &w, source);
    let mut y = vec![9.0; rows * stride];
    let gemm = Gemm { x: &x, rows: row_at.rows(), runs: &runs, len: *len, w: &panels, y_rows: y_at.rows(), epilogue };
    gemm.run(isa, threads, &mut y);
    let half = |v: f64| if case.half { f64::from(f16::from_f64(v)) } else { v };
    for r in 0..*rows {
        for c in 0..stride {
            let got = f64::from(y[r * stride + c]);
            if c >= *n {
                assert_eq!(got, 9.0, "written behind the columns");
                continue;
            }
            let (mut sum, mut size) = (0f64, 1f64);
            for (i, run) in runs.at().iter().enumerate() {
                for j in 0..*len {
                    let t = f64::from(x[r * 3 + *run as usize + j]) * f64::from(w[(i * len + j) * n + c]);
                    (sum, size) = (sum + t, size + t.abs());
                }
            }
            let at = |v: &[f32], has: bool, or: f64| if has { f64::from(v[c]) } else { or };
            sum = half(sum * at(&scale, epilogue.scale.is_some(), 1.0) + at(&bias, epilogue.bias.is_some(), 0.0));
            size = size.max(sum.abs());
            if epilogue.residual.is_some() {
                sum = half(sum + f64::from(residual[r * stride + c]));
            }
            let expected = match case.epilogue >> 3 {
                0 => sum,
                1 => sum.clamp(0.0, 0.5),
                2 if sum < 0.0 => half(sum * 0.25),
                3 if sum < 0.0 => half(sum * f64::from(slope[c])),
                _ => sum,
            };
            // The last bit may fall either way where f16 is rounded.
            let bound = size * if case.half { 2e-3 } else { 2e-6 };
            assert!((got - expected).abs() <= bound, "{isa:?} row {r}, column {c}: {got} for {expected}");
        }
    }
}

proptest! {
    #![proptest_config(cases(48, 4))]

    #[test]
    fn products_of_all_sizes(
        gaps in prop::collection::vec(0usize..40, 1..5), len in 1..scaled(40, 10), rows in 1..scaled(50, 16), n in 1..scaled(150, 20),
        epilogue in 0usize..32, half in any::<bool>(),
    ) {
        let runs = gaps.iter().scan(0, |at, g| { let here = *at; *at += g; Some(here) }).collect();
        let case = Case { runs, len, rows, n, epilogue, half };
        for isa in Isa::available() {
            check(isa, &Threads::new(2), &case);
        }
    }
}

#[test]
fn long_sums_are_taken_in_parts() {
    for isa in Isa::available() {
        let part = scaled(700, 40);
        for (runs, len) in [(vec![0], 7 * part), (vec![0, part, 2 * part], part), (vec![0, 6 * part], 6 * part - 1)] {
            let case = Case { runs, len, rows: scaled(7, 2), n: scaled(70, 5), epilogue: 31, half: false };
            check(isa, &Threads::new(1), &case);
        }
    }
}

#[test]
fn weights_stay_as_small_as_they_are() {
    for isa in Isa::available() {
        let (k, n, rows, threads) = (scaled(300, 70), scaled(70, 6), scaled(5, 1), Threads::new(1));
        let source = Source { inner: k, tap: 0, row: 1, column: k };
        let (x, raw) = (numbers(rows * k, 1), numbers(k * n, 2));
        let (row_at, y_at) = (offsets((0..rows).map(|r| r * k)), offsets((0..rows).map(|r| r * n)));
        let product = |w: &Panels| {
            let (mut y, runs, epilogue) = (vec![0.0; rows * n], offsets([0]), Epilogue::default());
            Gemm { x: &x, rows: row_at.rows(), runs: &runs, len: k, w, y_rows: y_at.rows(), epilogue }
                .run(isa, &threads, &mut y);
            y
        };
        let exactly = |small: &Panels, same: Vec<f32>| {
            assert_eq!(
                product(small),
                product(&Panels::f32(Packer { isa, threads: &threads, pages: None }, k, n, &same, source)),
                "{isa:?}"
            );
            assert!(small.bytes() < k * padded(isa, n) * 3);
        };
        let halves: Vec<f16> = raw.iter().map(|v| f16::from_f32(*v)).collect();
        exactly(
            &Panels::f16(Packer { isa, threads: &threads, pages: None }, k, n, &halves, source),
            halves.iter().map(|h| h.to_f32()).collect(),
        );
        let ints: Vec<i8> = raw.iter().map(|v| (v * 127.0) as i8).collect();
        let bytes: Vec<u8> = ints.iter().map(|i| *i as u8).collect();
        let (scale, zero) = (numbers(n, 3), (0..n).map(|c| c as f32 - 9.0).collect::<Vec<_>>());
        for half in [false, true] {
            let affine = Affine { scale: &scale, zero: &zero, half };
            let round = |v: f32| if half { f16::from_f32(v).to_f32() } else { v };
            let value = |(i, q): (usize, f32)| round((q - zero[i / k]) * scale[i / k]);
            let same = ints.iter().map(|q| f32::from(*q)).enumerate().map(value).collect();
            exactly(&Panels::int8(Packer { isa, threads: &threads, pages: None }, (k, n), &ints, source, affine), same);
            let same = bytes.iter().map(|q| f32::from(*q)).enumerate().map(value).collect();
            exactly(
                &Panels::uint8(Packer { isa, threads: &threads, pages: None }, (k, n), &bytes, source, affine),
                same,
            );
        }
        let indices: Vec<u8> = bytes.iter().map(|b| b % 16).collect();
        let (table, tables) = (numbers(32, 4), (0..n).map(|c| u32::from(c >= n / 2)).collect::<Vec<_>>());
        let same = (0..k * n).map(|i| table[tables[i / k] as usize * 16 + usize::from(indices[i])]).collect();
        exactly(
            &Panels::lut(
                Packer { isa, threads: &threads, pages: None },
                (k, n),
                &indices,
                source,
                (table.clone(), tables.clone(), 16),
            ),
            same,
        );
    }
}

/// `cargo test --release -p mil-runtime --lib gemm::tests::speed -- --ignored --nocapture`
#[test]
#[ignore = "a measurement"]
fn speed() {
    let (isa, threads) = (Isa::chosen(), Threads::new(1));
    for (rows, k, n) in [
        (3136, 64, 64),
        (3136, 256, 64),
        (3136, 576, 64),
        (196, 1024, 256),
        (49, 512, 2048),
        (128, 384, 1536),
        (48, 48, 64),
    ] {
        let source = Source { inner: k, tap: 0, row: 1, column: k };
        let panels = Panels::f32(Packer { isa, threads: &threads, pages: None }, k, n, &numbers(k * n, 1), source);
        let x = numbers(rows * k, 2);
        let (x_rows, y_rows) = (offsets((0..rows).map(|r| r * k)), offsets((0..rows).map(|r| r * n)));
        let (runs, mut y) = (offsets([0]), Aligned::<f32>::zeros(rows * n));
        let gemm = Gemm {
            x: &x,
            rows: x_rows.rows(),
            runs: &runs,
            len: k,
            w: &panels,
            y_rows: y_rows.rows(),
            epilogue: Epilogue::default(),
        };
        let mut best = f64::INFINITY;
        for _ in 0..30 {
            let start = std::time::Instant::now();
            gemm.run(isa, &threads, &mut y);
            best = best.min(start.elapsed().as_secs_f64());
        }
        let flops = 2.0 * (rows * k * n) as f64;
        eprintln!("{isa:?} {rows} x {k} x {n}: {:.1} us, {:.1} GFLOP/s", best * 1e6, flops / best * 1e-9);
    }
}

#[test]
#[should_panic(expected = "x is too short")]
fn rows_outside_are_not_read() {
    let isa = Isa::SCALAR;
    let panels = Panels::f32(
        Packer { isa, threads: &Threads::new(1), pages: None },
        2,
        1,
        &[1.0, 2.0],
        Source { inner: 2, tap: 0, row: 1, column: 2 },
    );
    let (rows, runs) = (offsets([0, 1]), offsets([0]));
    let epilogue = Epilogue::default();
    Gemm { x: &[1.0, 2.0], rows: rows.rows(), runs: &runs, len: 2, w: &panels, y_rows: rows.rows(), epilogue }.run(
        isa,
        &Threads::new(1),
        &mut [0.0; 2],
    );
}
