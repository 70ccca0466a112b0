//! Softmax against a plain loop in f64.

use half::f16;
use proptest::prelude::*;

use super::*;
use crate::cpu::kernels::scaled::{
    scaled,
    testing::{cases, threads},
};

fn plain(x: &[f32], scale: f32) -> Vec<f32> {
    let x: Vec<f64> = x.iter().map(|x| f64::from(*x) * f64::from(scale)).collect();
    let max = x.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let e: Vec<f64> = x.iter().map(|x| (x - max).exp()).collect();
    let sum: f64 = e.iter().sum();
    e.iter().map(|e| (e / sum) as f32).collect()
}

/// Strides of a shape whose dimensions lie in some order, each with a gap behind it, and the elements that the buffer has.
fn layout(shape: &[usize], order: &[usize], gaps: &[usize]) -> (Vec<usize>, usize) {
    let (mut strides, mut next) = (vec![0; shape.len()], 1);
    for i in order {
        strides[*i] = next;
        next = next * shape[*i].max(1) + gaps[*i];
    }
    (strides, next)
}

proptest! {
    #![proptest_config(cases(160, 5))]

    #[test]
    fn as_a_plain_loop(
        length in prop_oneof![4 => 1usize..22, 1 => 22..scaled(200, 30), 1 => Just(scaled(128, 32)), 1 => Just(scaled(1000, 70)), 1 => Just(0)],
        others in prop::collection::vec(prop_oneof![3 => 1..scaled(6, 4), 1 => 6..scaled(40, 10)], 2),
        orders in prop::array::uniform2(Just(vec![0, 1, 2]).prop_shuffle()),
        gaps in prop::array::uniform2(prop::collection::vec(prop_oneof![2 => Just(0usize), 1 => 1usize..4], 3)),
        axis in 0usize..3,
        scale in prop_oneof![Just(1f32), Just(0.125), -2f32..2.0],
        options in any::<(bool, bool, bool, u32)>(),
        threads in threads(),
    ) {
        let (half, odd, in_place, seed) = options;
        let mut shape = others;
        shape.insert(axis, length);
        let (strides, len) = layout(&shape, &orders[0], &gaps[0]);
        let (to, to_len) = if in_place { (strides.clone(), len) } else { layout(&shape, &orders[1], &gaps[1]) };
        let mut state = seed;
        let x: Vec<f32> = (0..len + 3).map(|_| {
            state = state.wrapping_mul(1664525).wrapping_add(1013904223);
            match state >> 24 {
                7 if odd => f32::NAN,
                9..14 if odd => f32::NEG_INFINITY,
                _ => (state >> 8) as f32 / 1e6 - 9.0,
            }
        }).collect();
        let first = if in_place { 3 } else { 2 };
        let start = if in_place { x.clone() } else { vec![77.0; to_len + 2] };
        let mut expected = start.clone();
        for at in 0..shape.iter().product::<usize>() / length.max(1) {
            let (mut from, mut into, mut rest) = (3, first, at);
            for i in (0..3).filter(|i| *i != axis) {
                from += rest % shape[i] * strides[i];
                into += rest % shape[i] * to[i];
                rest /= shape[i];
            }
            let group: Vec<f32> = (0..length).map(|i| x[from + i * strides[axis]]).collect();
            for (i, y) in plain(&group, scale).into_iter().enumerate() {
                expected[into + i * to[axis]] = if half { f16::from_f32(y).to_f32() } else { y };
            }
        }
        let ready = Softmax::new(
            &shape, axis, Layout { offset: 3, strides: &strides }, Layout { offset: first, strides: &to }, scale, half,
        );
        for isa in Isa::available() {
            let mut out = start.clone();
            if in_place {
                ready.run_in_place(isa, &Threads::new(threads), &mut out);
            } else {
                ready.run(isa, &Threads::new(threads), &x, &mut out);
            }
            for (at, (o, e)) in out.iter().zip(&expected).enumerate() {
                // Products of f32 are as wrong as 18 * 2^-24, their exponentials so many parts.
                let bound = if half { 1e-3 * e.abs() + 6e-8 } else { 4e-6 * e.abs() + 1e-37 };
                prop_assert!(o == e || o.is_nan() && e.is_nan() || (o - e).abs() <= bound, "{isa:?} {at}: {o} for {e}");
            }
        }
    }
}

#[test]
fn rows_without_scale_are_within_some_units_of_the_last_place() {
    let x: Vec<f32> = (0..scaled(1000, 100)).map(|i| (i * 37 % 101) as f32 / 9.0).collect();
    let expected = plain(&x, 1.0);
    let layout = Layout { offset: 0, strides: &[1] };
    for isa in Isa::available() {
        let mut out = vec![0.0; x.len()];
        Softmax::new(&[x.len()], 0, layout, layout, 1.0, false).run(isa, &Threads::new(1), &x, &mut out);
        for (o, e) in out.iter().zip(&expected) {
            // Differences are rounded to f32: 11 is off by as much as 2^-21.
            assert!((o - e).abs() <= 1.2e-6 * e, "{isa:?}: {o} for {e}");
        }
    }
}

#[test]
#[should_panic(expected = "assertion")]
fn two_views_are_not_one_place() {
    let [a, b] = [Layout { offset: 0, strides: &[1] }, Layout { offset: 1, strides: &[1] }];
    Softmax::new(&[4], 0, a, b, 1.0, false).run_in_place(Isa::chosen(), &Threads::new(1), &mut [0.0; 8]);
}
