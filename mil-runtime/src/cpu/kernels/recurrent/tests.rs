//! Steps against plain loops in f64.

use half::f16;
use mil_core::ops::scalar::Unary;
use proptest::prelude::*;

use super::*;
use crate::cpu::kernels::scaled::{
    scaled,
    testing::{cases, threads},
};

const ALL: [GateActivation; 6] = [
    GateActivation::HardSigmoid,
    GateActivation::Linear,
    GateActivation::Relu,
    GateActivation::ScaledTanh,
    GateActivation::Sigmoid,
    GateActivation::Tanh,
];

fn activation() -> impl Strategy<Value = GateActivation> {
    prop::sample::select(&ALL[..])
}

fn numbers(count: usize, state: &mut u32) -> Vec<f32> {
    let next = |_| {
        *state = state.wrapping_mul(1664525).wrapping_add(1013904223);
        if *state >> 23 == 7 { f32::NAN } else { (*state >> 8) as f32 / 4e6 - 2.0 }
    };
    (0..count).map(next).collect()
}

fn output(numbers: &mut [f32], stride: usize, half: bool) -> Option<Output<'_>> {
    Some(Output { rows: RowsMut { numbers, stride }, half })
}

/// Compares states, where they are and where they went besides: rows of `hidden` numbers, some apart.
fn check(
    [state, output]: [&[f32]; 2],
    expected: &[f64],
    hidden: usize,
    stride: usize,
    half: bool,
) -> Result<(), TestCaseError> {
    for (i, e) in expected.iter().enumerate() {
        let (s, o) = (state[i], output[i / hidden * stride + i % hidden]);
        let fine = f64::from(s).is_nan() && e.is_nan() || (f64::from(s) - e).abs() <= 3e-6 * e.abs().max(1.0);
        prop_assert!(fine, "{i}: {s} for {e}");
        let rounded = if half { f16::from_f32(s).to_f32() } else { s };
        prop_assert!(o == rounded || o.is_nan() && rounded.is_nan());
    }
    for (i, o) in output.iter().enumerate().filter(|(i, _)| i % stride >= hidden) {
        prop_assert_eq!(*o, 77.0, "{}", i);
    }
    Ok(())
}

proptest! {
    #![proptest_config(cases(96, 3))]

    #[test]
    fn steps_are_as_in_a_plain_loop(
        (batch, hidden, gaps) in (1usize..4, 1..scaled(50, 12), prop::array::uniform2(0usize..4)),
        (recurrent, cell, out) in (activation(), activation(), activation()),
        (clip, peephole, half) in (prop_oneof![Just(f32::INFINITY), Just(0.7f32)], any::<bool>(), any::<bool>()),
        mut seed: u32,
        threads in threads(),
    ) {
        let (sizes, stride) = (Sizes { batch, hidden }, 4 * hidden + gaps[0]);
        let [a, b] = [(); 2].map(|()| numbers(batch * stride, &mut seed));
        let [h, c, products] = [(); 3].map(|()| numbers(batch * hidden, &mut seed));
        let weights = numbers(3 * hidden, &mut seed);
        let of = |v: &[f32], r: usize, g: usize, i: usize| f64::from(v[r * stride + g * hidden + i]);
        let act = |a: GateActivation, x: f64| f64::from(a.float(f64::from(x as f32)) as f32);
        let all: Vec<(usize, usize)> = (0..batch).flat_map(|r| (0..hidden).map(move |i| (r, i))).collect();
        let at = |v: &[f32], (r, i): (usize, usize)| f64::from(v[r * hidden + i]);
        let weight = |g: usize, i: usize| if peephole { f64::from(weights[g * hidden + i]) } else { 0.0 };

        let mut cells = vec![];
        let lstm: Vec<f64> = all.iter().map(|(r, i)| {
            let before = at(&c, (*r, *i));
            let gate = |g: usize, cell: f64| {
                let add = if peephole { weight(g, *i) * cell } else { 0.0 };
                act(recurrent, of(&a, *r, g, *i) + add)
            };
            let z = act(cell, of(&a, *r, 3, *i));
            let limit = f64::from(clip);
            let cell = (gate(1, before) * before + gate(0, before) * z).clamp(-limit, limit);
            cells.push(cell);
            gate(2, cell) * act(out, cell)
        }).collect();
        let gru = |before: bool| -> Vec<f64> {
            all.iter().map(|(r, i)| {
                let sum = |g: usize| of(&a, *r, g, *i) + of(&b, *r, g, *i);
                let kept = act(recurrent, sum(0)) * of(&b, *r, 1, *i);
                let o = act(out, of(&a, *r, 1, *i) + if before { at(&products, (*r, *i)) } else { kept });
                let z = act(recurrent, sum(2));
                (1.0 - z) * o + z * at(&h, (*r, *i))
            }).collect()
        };
        let reset: Vec<f64> =
            all.iter().map(|(r, i)| act(recurrent, of(&a, *r, 0, *i) + of(&b, *r, 0, *i)) * at(&h, (*r, *i))).collect();
        let rnn: Vec<f64> = all.iter().map(|(r, i)| act(out, of(&a, *r, 0, *i))).collect();

        let (inputs, sums) = (Rows { numbers: &a, stride }, Rows { numbers: &b, stride });
        let far = hidden + gaps[1];
        for isa in Isa::available() {
            let threads = Threads::new(threads);
            let empty = vec![77.0; batch * far];
            let (mut h1, mut c1, mut o1) = (h.clone(), c.clone(), empty.clone());
            let op = Lstm {
                recurrent_activation: recurrent,
                cell_activation: cell,
                activation: out,
                peephole: peephole.then_some(&weights),
                clip,
            };
            op.step(isa, &threads, sizes, inputs, &mut c1, &mut h1, output(&mut o1, far, half));
            check([&h1, &o1], &lstm, hidden, far, half)?;
            check([&c1, &c1], &cells, hidden, hidden, false)?;

            let op = Gru { recurrent_activation: recurrent, activation: out };
            for (before, products) in [(true, Some(Rows { numbers: &products, stride: hidden })), (false, None)] {
                let (mut h1, mut o1) = (h.clone(), empty.clone());
                op.step(isa, &threads, sizes, inputs, sums, products, &mut h1, output(&mut o1, far, half));
                check([&h1, &o1], &gru(before), hidden, far, half)?;
            }
            let (mut kept, state) = (h.clone(), Rows { numbers: &h, stride: hidden });
            op.reset(isa, &threads, sizes, inputs, sums, state, RowsMut { numbers: &mut kept, stride: hidden });
            check([&kept, &kept], &reset, hidden, hidden, false)?;

            let (mut h1, mut o1) = (h.clone(), empty.clone());
            rnn_step(isa, &threads, out, sizes, inputs, &mut h1, output(&mut o1, far, half));
            check([&h1, &o1], &rnn, hidden, far, half)?;
        }
    }
}

#[test]
#[should_panic(expected = "assertion")]
fn rows_beyond_the_slice_are_refused() {
    let sizes = Sizes { batch: 2, hidden: 3 };
    let sums = Rows { numbers: &[0.0; 5], stride: 3 };
    rnn_step(Isa::chosen(), &Threads::new(1), GateActivation::Relu, sizes, sums, &mut [0.0; 6], None);
}
