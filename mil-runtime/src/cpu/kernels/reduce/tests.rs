//! Reductions against a plain loop in f64.

use half::f16;
use proptest::prelude::*;

use super::*;
use crate::cpu::kernels::scaled::{
    scaled,
    testing::{cases, threads},
};

const ALL: [Reducing; 10] = [
    Reducing::L1Norm,
    Reducing::L2Norm,
    Reducing::LogSum,
    Reducing::LogSumExp,
    Reducing::Max,
    Reducing::Mean,
    Reducing::Min,
    Reducing::Prod,
    Reducing::Sum,
    Reducing::SumSquare,
];

fn plain(op: Reducing, v: &[f64]) -> f64 {
    let most = |first: f64, better: fn(f64, f64) -> bool| {
        v.iter().fold(first, |most, x| if most.is_nan() || better(most, *x) { most } else { *x })
    };
    match op {
        Reducing::L1Norm => v.iter().map(|x| x.abs()).sum(),
        Reducing::L2Norm => v.iter().map(|x| x * x).sum::<f64>().sqrt(),
        Reducing::LogSum => v.iter().sum::<f64>().ln(),
        Reducing::LogSumExp => {
            let max = most(f64::NEG_INFINITY, |a, b| a > b);
            if max.is_finite() { v.iter().map(|x| (x - max).exp()).sum::<f64>().ln() + max } else { max }
        }
        Reducing::Max => most(f64::NEG_INFINITY, |a, b| a > b),
        Reducing::Mean => v.iter().sum::<f64>() / v.len() as f64,
        Reducing::Min => most(f64::INFINITY, |a, b| a < b),
        Reducing::Prod => v.iter().product(),
        Reducing::Sum => v.iter().sum(),
        Reducing::SumSquare => v.iter().map(|x| x * x).sum(),
    }
}

/// Every index of a shape.
fn indices(shape: &[usize]) -> impl Iterator<Item = Vec<usize>> + use<'_> {
    (0..shape.iter().product()).map(|mut at: usize| {
        let mut index = vec![0; shape.len()];
        for (i, size) in shape.iter().enumerate().rev() {
            index[i] = at % size;
            at /= size;
        }
        index
    })
}

/// Strides of a shape whose dimensions lie in some order, each with a gap behind it.
fn layout(shape: &[usize], order: &[usize], gaps: &[usize]) -> (Vec<usize>, usize) {
    let (mut strides, mut next) = (vec![0; shape.len()], 1);
    for i in order {
        strides[*i] = next;
        next = next * shape[*i].max(1) + gaps[*i];
    }
    (strides, next)
}

#[derive(Debug)]
struct Case {
    op: Reducing,
    shape: Vec<usize>,
    strides: Vec<usize>,
    reduced: Vec<bool>,
    out_strides: Vec<usize>,
    lens: [usize; 2],
    half: bool,
}

fn reductions() -> impl Strategy<Value = Case> {
    let sizes = prop::collection::vec(prop_oneof![4 => 1usize..6, 3 => 6usize..40, 1 => Just(0), 1 => 60usize..150], 4);
    let order = || Just(vec![0, 1, 2, 3]).prop_shuffle();
    let gaps = || prop::collection::vec(prop_oneof![2 => Just(0usize), 1 => 1usize..4], 4);
    let of = (prop::sample::select(&ALL[..]), any::<bool>(), prop::collection::vec(any::<bool>(), 4));
    (sizes, order(), order(), gaps(), gaps(), of).prop_map(|(mut shape, order, out_order, gaps, out_gaps, of)| {
        let (op, half, reduced) = of;
        // Without those that are empty: what is kept has results still.
        while shape.iter().map(|size| size.max(&1)).product::<usize>() > scaled(20_000, 80) {
            let largest = shape.iter_mut().max().unwrap();
            *largest /= 2;
        }
        let (strides, len) = layout(&shape, &order, &gaps);
        let sizes: Vec<usize> = shape.iter().zip(&reduced).map(|(size, r)| if *r { 1 } else { *size }).collect();
        let (all, out_len) = layout(&sizes, &out_order, &out_gaps);
        let out_strides = all.iter().zip(&reduced).filter(|(_, r)| !**r).map(|(stride, _)| *stride).collect();
        Case { op, shape, strides, reduced, out_strides, lens: [len + 3, out_len + 2], half }
    })
}

fn check(case: &Case, seed: u32, odd: bool, threads: usize) -> Result<(), TestCaseError> {
    let Case { op, shape, strides, reduced, out_strides, .. } = case;
    let mut state = seed | 1;
    let next = |_| {
        state = state.wrapping_mul(1664525).wrapping_add(1013904223);
        let x = (state >> 8) as f32 / 2e6 - 3.0;
        match state >> 24 {
            7 if odd => f32::NAN,
            9..12 if odd => f32::NEG_INFINITY,
            // Products stay within range.
            _ if *op == Reducing::Prod => 1.0 + x / 300.0,
            _ => f16::from_f32(x).to_f32(),
        }
    };
    let x: Vec<f32> = (0..case.lens[0]).map(next).collect();
    let mut expected = vec![77.0; case.lens[1]];
    let part = |which: bool| -> Vec<usize> {
        shape.iter().zip(reduced).filter(|(_, r)| **r == which).map(|(size, _)| *size).collect()
    };
    let of = |which: bool| -> Vec<usize> {
        strides.iter().zip(reduced).filter(|(_, r)| **r == which).map(|(stride, _)| *stride).collect()
    };
    let dot = |index: &[usize], strides: &[usize]| index.iter().zip(strides).map(|(i, s)| i * s).sum::<usize>();
    for kept in indices(&part(false)) {
        let first = 3 + dot(&kept, &of(false));
        let inner = of(true);
        let group: Vec<f64> = indices(&part(true)).map(|i| f64::from(x[first + dot(&i, &inner)])).collect();
        let result = plain(*op, &group) as f32;
        expected[2 + dot(&kept, out_strides)] = if case.half { f16::from_f32(result).to_f32() } else { result };
    }
    let input = Input { offset: 3, shape, strides, reduced };
    let ready = Reduce::new(*op, input, 2, out_strides, case.half);
    for isa in Isa::available() {
        let mut out = vec![77.0; case.lens[1]];
        ready.run(isa, &Threads::new(threads), &x, &mut out);
        for (at, (o, e)) in out.iter().zip(&expected).enumerate() {
            // Exponentials are those of f32; the others are rounded once, from sums in another order.
            let bound = if case.half {
                1e-3
            } else if *op == Reducing::LogSumExp {
                4e-7
            } else {
                1.2e-7
            };
            // The greatest element and the logarithm may cancel.
            let size = if *op == Reducing::LogSumExp { 10.0 } else { 1e-2 };
            let fine = o == e || o.is_nan() && e.is_nan() || (o - e).abs() <= bound * e.abs().max(size);
            prop_assert!(fine, "{isa:?} {at}: {o} for {e}");
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(cases(200, 6))]

    #[test]
    fn as_a_plain_loop(case in reductions(), seed: u32, odd: bool, threads in threads()) {
        check(&case, seed, odd, threads)?;
    }
}

#[test]
fn a_mean_over_all_pixels_of_channels_last() {
    for channels in [3, 16, scaled(70, 21)] {
        let case = Case {
            op: Reducing::Mean,
            shape: vec![2, scaled(7, 3), 5, channels],
            strides: vec![scaled(7, 3) * 6 * channels, 6 * channels, channels, 1],
            reduced: vec![false, true, true, false],
            out_strides: vec![channels, 1],
            lens: [2 * scaled(7, 3) * 6 * channels + 3, 2 * channels + 2],
            half: false,
        };
        check(&case, 5, false, 1).unwrap();
    }
}

#[test]
#[should_panic(expected = "assertion")]
fn a_view_beyond_the_buffer_is_refused() {
    let input = Input { offset: 0, shape: &[3, 4], strides: &[4, 1], reduced: &[false, true] };
    Reduce::new(Reducing::Sum, input, 0, &[1], false).run(Isa::chosen(), &Threads::new(1), &[0.0; 11], &mut [0.0; 3]);
}
