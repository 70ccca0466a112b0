//! Normalizations against plain loops in f64.

use std::collections::BTreeMap;

use half::f16;
use proptest::prelude::*;

use super::{
    local_response::{LocalResponse, Parameters},
    *,
};
use crate::cpu::kernels::scaled::{
    scaled,
    testing::{cases, threads},
};

/// Strides of a shape whose dimensions lie in some order, each with a gap behind it, and the elements that the buffer has.
fn layout(shape: &[usize], order: &[usize], gaps: &[usize]) -> (Vec<usize>, usize) {
    let (mut strides, mut next) = (vec![0; shape.len()], 1);
    for i in order {
        strides[*i] = next;
        next = next * shape[*i].max(1) + gaps[*i];
    }
    (strides, next)
}

/// Numbers around `mean`.
fn numbers(count: usize, seed: u32, mean: f32) -> Vec<f32> {
    let mut state = seed;
    let next = |_| {
        state = state.wrapping_mul(1664525).wrapping_add(1013904223);
        (state >> 8) as f32 / 4e6 - 2.0 + mean
    };
    (0..count).map(next).collect()
}

/// The index of an element of a shape.
fn index(shape: &[usize], mut at: usize) -> Vec<usize> {
    let mut all = vec![0; shape.len()];
    for (i, size) in shape.iter().enumerate().rev() {
        all[i] = at % size;
        at /= size;
    }
    all
}

fn dot(index: &[usize], strides: &[usize]) -> usize {
    index.iter().zip(strides).map(|(i, s)| i * s).sum()
}

proptest! {
    #![proptest_config(cases(160, 4))]

    #[test]
    fn groups_are_as_in_a_plain_loop(
        mut shape in prop::collection::vec(prop_oneof![3 => 1usize..6, 1 => 6usize..40, 1 => 40usize..90], 3),
        orders in prop::array::uniform3(Just(vec![0, 1, 2]).prop_shuffle()),
        gaps in prop::array::uniform2(prop::collection::vec(prop_oneof![2 => Just(0usize), 1 => 1usize..4], 3)),
        within in prop::collection::vec(any::<bool>(), 3),
        options in any::<(bool, bool, bool, bool, bool, u32)>(),
        mean in prop_oneof![Just(0f32), Just(10.0), Just(10000.0)],
        threads in threads(),
    ) {
        let (half, length, gamma, beta, along, seed) = options;
        while shape.iter().product::<usize>() > scaled(4_000, 80) {
            *shape.iter_mut().max().unwrap() /= 2;
        }
        let kind = if length { Normalization::Length } else { Normalization::Standard };
        let (strides, len) = layout(&shape, &orders[0], &gaps[0]);
        let (to, to_len) = layout(&shape, &orders[1], &gaps[1]);
        // Parameters go along the dimensions within, or along one that is not.
        let of: Vec<usize> = (0..3).map(|i| if within[i] == along { shape[i] } else { 1 }).collect();
        let (mut parameters, parameters_len) = layout(&of, &orders[2], &[0; 3]);
        parameters.iter_mut().zip(&within).filter(|(_, w)| **w != along).for_each(|(stride, _)| *stride = 0);
        let x = numbers(len + 3, seed, mean);
        let given = [numbers(parameters_len, !seed, 1.0), numbers(parameters_len, seed ^ 0xffff, 0.0)];
        let chosen = [gamma.then_some(&given[0][..]), beta.then_some(&given[1][..])];
        let epsilon = 1e-5f32;
        let mut expected = vec![77.0; to_len + 2];
        let all: Vec<Vec<usize>> = (0..shape.iter().product()).map(|at| index(&shape, at)).collect();
        let number = |at: &[usize]| -> Vec<usize> { (0..3).filter(|i| !within[*i]).map(|i| at[i]).collect() };
        let mut members: BTreeMap<Vec<usize>, Vec<f64>> = BTreeMap::new();
        all.iter().for_each(|at| members.entry(number(at)).or_default().push(x[3 + dot(at, &strides)].into()));
        let by = |group: &Vec<f64>| {
            let n = group.len() as f64;
            let mean = if length { 0.0 } else { group.iter().sum::<f64>() / n };
            let squares: f64 = group.iter().map(|x| (x - mean).powi(2)).sum();
            (mean, 1.0 / (if length { squares } else { squares / n } + f64::from(epsilon)).sqrt())
        };
        let by: BTreeMap<_, _> = members.iter().map(|(number, group)| (number, by(group))).collect();
        for at in &all {
            let (m, scale) = by[&number(at)];
            let v = ((f64::from(x[3 + dot(at, &strides)]) - m) * scale) as f32;
            let parameter = |i: usize, otherwise: f32| chosen[i].map_or(otherwise, |p| p[dot(at, &parameters)]);
            let v = v * parameter(0, 1.0) + parameter(1, 0.0);
            expected[2 + dot(at, &to)] = if half { f16::from_f32(v).to_f32() } else { v };
        }
        let groups = Groups {
            shape: &shape,
            within: &within,
            input: Layout { offset: 3, strides: &strides },
            output: Layout { offset: 2, strides: &to },
            parameters: &parameters,
        };
        let ready = Norm::new(kind, groups, epsilon, half);
        for isa in Isa::available() {
            let mut out = vec![77.0; to_len + 2];
            ready.run(isa, &Threads::new(threads), &x, chosen, &mut out);
            for (at, (o, e)) in out.iter().zip(&expected).enumerate() {
                // The multiplication and addition of parameters are fused or not.
                let bound = if half { 1e-3 * e.abs() + 1e-6 } else { 2e-7 * e.abs() + 4e-7 };
                prop_assert!((o - e).abs() <= bound, "{isa:?} {at}: {o} for {e}");
            }
        }
    }

    #[test]
    fn neighbours_are_as_in_a_plain_loop(
        channels in 1..scaled(50, 20),
        pixels in 1usize..5,
        gaps in prop::array::uniform2(0usize..3),
        size in prop_oneof![4 => 1usize..8, 1 => Just(i32::MAX as usize)],
        beta in prop_oneof![Just(0.75f32), Just(0.5), Just(1.0), 0f32..2.0],
        half: bool,
        seed: u32,
        threads in threads(),
    ) {
        let strides = gaps.map(|gap| [channels + gap, 1]);
        let x = numbers(pixels * strides[0][0] + 1, seed, 0.0);
        let start = vec![77.0; pixels * strides[1][0] + 2];
        let (alpha, k) = (0.3f32, 1.5f32);
        let mut expected = start.clone();
        for (p, c) in (0..pixels).flat_map(|p| (0..channels).map(move |c| (p, c))) {
            let pixel = &x[1 + p * strides[0][0]..][..channels];
            let window = c.saturating_sub(size / 2)..channels.min(c + (size - 1) / 2 + 1);
            let sum: f64 = window.map(|c| f64::from(pixel[c]).powi(2)).sum();
            let divisor = (f64::from(k) + f64::from(alpha) / size as f64 * sum).powf(beta.into());
            let v = (f64::from(pixel[c]) / divisor) as f32;
            expected[2 + p * strides[1][0] + c] = if half { f16::from_f32(v).to_f32() } else { v };
        }
        let [input, output] = [Layout { offset: 1, strides: &strides[0] }, Layout { offset: 2, strides: &strides[1] }];
        let ready = LocalResponse::new(Parameters { size, alpha, beta, k }, &[pixels, channels], input, output, half);
        for isa in Isa::available() {
            let mut out = start.clone();
            ready.run(isa, &Threads::new(threads), &x, &mut out);
            for (at, (o, e)) in out.iter().zip(&expected).enumerate() {
                let bound = if half { 1e-3 } else { 3e-7 };
                prop_assert!((o - e).abs() <= bound * e.abs() + 1e-7, "{isa:?} {at}: {o} for {e}");
            }
        }
    }
}

#[test]
fn what_is_not_finite_makes_its_group_no_number() {
    let strides = [4, 1];
    let layout = Layout { offset: 0, strides: &strides };
    let groups = Groups { shape: &[2, 4], within: &[false, true], input: layout, output: layout, parameters: &[0, 1] };
    let x = [1.0, f32::INFINITY, 2.0, 3.0, 5.0, 5.0, 5.0, 5.0];
    for isa in Isa::available() {
        let mut out = [1.0; 8];
        Norm::new(Normalization::Standard, groups, 1e-5, false).run(isa, &Threads::new(1), &x, [None; 2], &mut out);
        assert!(out[..4].iter().all(|v| v.is_nan()) && out[4..] == [0.0; 4], "{isa:?}: {out:?}");
    }
}
