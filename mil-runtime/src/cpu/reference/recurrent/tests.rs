//! Expected numbers are NumPy's, in double precision, by the formulas in the ops' documentation.

use half::f16;
use mil_core::{ir::Constant, mb, op::Call};

use super::*;
use crate::cpu::reference::testing::{Test, close, fails, run};

/// Three steps, two batch elements, two numbers each; two numbers of state.
const X: [usize; 3] = [3, 2, 2];
const H: [usize; 2] = [2, 2];

/// Some numbers between -5/8 and 5/8.
fn some(count: usize, seed: usize) -> Vec<f32> {
    (0..count).map(|i| ((i * seed % 11) as f32 - 5.0) / 8.0).collect()
}

fn matrix(rows: usize, seed: usize) -> Constant {
    Constant::new([rows, 2], &some(2 * rows, seed)).unwrap()
}

fn vector(count: usize, seed: usize) -> Constant {
    Constant::vector(&some(count, seed))
}

fn lstm(g: &mut Test) -> Call<Lstm> {
    let (x, h, c) = (g.f32(&X, &some(12, 3)), g.f32(&H, &some(4, 5)), g.f32(&H, &some(4, 7)));
    mb::lstm(x, h, c, matrix(8, 3), matrix(8, 5)).bias(vector(8, 7))
}

fn bidirectional(g: &mut Test) -> Call<Lstm> {
    // The backward direction begins with the numbers of `h` and `c` exchanged.
    let (h, c) = (some(4, 5), some(4, 7));
    let wide = |a: &[f32], b: &[f32]| [&a[..2], &b[..2], &a[2..], &b[2..]].concat();
    let (x, h, c) = (g.f32(&X, &some(12, 3)), g.f32(&[2, 4], &wide(&h, &c)), g.f32(&[2, 4], &wide(&c, &h)));
    let call = mb::lstm(x, h, c, matrix(8, 3), matrix(8, 5)).bias(vector(8, 7)).direction("bidirectional");
    call.weight_ih_back(matrix(8, 6)).weight_hh_back(matrix(8, 8)).bias_back(vector(8, 10))
}

fn gru(g: &mut Test) -> Call<Gru> {
    let (x, h) = (g.f32(&X, &some(12, 3)), g.f32(&H, &some(4, 5)));
    mb::gru(x, h, matrix(6, 3), matrix(6, 5)).bias(vector(6, 7))
}

fn rnn(g: &mut Test) -> Call<Rnn> {
    let (x, h) = (g.f32(&X, &some(12, 3)), g.f32(&H, &some(4, 5)));
    mb::rnn(x, h, matrix(2, 3), matrix(2, 5)).bias(vector(2, 7))
}

/// The outputs hold these numbers.
#[track_caller]
fn near(out: &[AnyTensor], expected: &[&[f32]]) {
    assert_eq!(out.len(), expected.len());
    for (out, expected) in out.iter().zip(expected) {
        close(std::slice::from_ref(out), out.shape(), expected, 2e-6);
    }
}

#[test]
fn lstm_both_ways() {
    let states = [
        0.01599241,
        0.031276282,
        -0.119374745,
        -0.040747266,
        -0.0150285,
        0.096636094,
        0.06202286,
        -0.10052248,
        0.14236377,
        -0.015328725,
        -0.18121223,
        0.008846503,
        0.06749629,
        0.03362046,
        0.14940248,
        -0.0067985216,
        0.18277533,
        -0.055275273,
        -0.23459753,
        0.060523618,
        0.08126376,
        0.1550045,
        0.17796776,
        0.13511918,
    ];
    let (h, c) = (
        [0.18277533, -0.055275273, -0.119374745, -0.040747266, 0.08126376, 0.1550045, 0.06202286, -0.10052248],
        [0.3282879, -0.14638078, -0.2334612, -0.070421755, 0.16529101, 0.29776365, 0.09565416, -0.22981898],
    );
    let out = run(|g| bidirectional(g).output_sequence(true));
    assert_eq!(out[0].shape(), [3, 2, 4]);
    near(&out, &[&states, &h, &c]);
    let out = run(bidirectional);
    assert_eq!(out[0].shape(), [1, 2, 4]);
    near(&out, &[&h, &h, &c]);
}

#[test]
fn lstm_in_reverse_gives_states_as_they_come() {
    let states = [
        0.0061747357,
        0.033359088,
        -0.03440674,
        0.31441075,
        0.13808708,
        -0.012679083,
        0.07034882,
        0.117840014,
        0.2130991,
        -0.051372472,
        0.110967375,
        0.07128441,
    ];
    let c = [0.37219477, -0.13092564, 0.2214779, 0.21906069];
    let out = run(|g| lstm(g).direction("reverse").output_sequence(true));
    assert_eq!((out[0].shape(), out[2].shape()), (&X[..], &H[..]));
    near(&out, &[&states, &states[8..], &c]);
    near(&run(|g| lstm(g).direction("reverse")), &[&states[8..], &states[8..], &c]);
}

#[test]
fn lstm_with_peephole_clip_and_other_activations() {
    let states = [
        0.07180176,
        0.049800355,
        0.006445923,
        0.10703125,
        0.14027752,
        0.0285535,
        0.09193516,
        0.06309693,
        0.13932088,
        0.017150305,
        0.100232035,
        0.13766532,
    ];
    let c = [0.25, 0.042759385, 0.20242268, 0.25];
    let out = run(|g| {
        let call = lstm(g).peephole(vector(6, 4)).clip(0.25).output_sequence(true);
        call.recurrent_activation("hard_sigmoid").cell_activation("relu").activation("linear")
    });
    near(&out, &[&states, &states[8..], &c]);
}

#[test]
fn gru_resets_before_or_after() {
    let before = [
        -0.24168603,
        0.064150035,
        0.5255845,
        0.44656008,
        0.011889559,
        0.19299816,
        0.3694022,
        0.63595426,
        0.17392597,
        0.3056362,
        0.29981816,
        0.30903426,
    ];
    let after = [
        -0.20895825,
        -0.18429425,
        0.577504,
        0.43243772,
        0.050896257,
        -0.07492666,
        0.50532085,
        0.6117586,
        0.23170447,
        0.08060549,
        0.4840677,
        0.18556984,
    ];
    let biases = |g: &mut Test| gru(g).input_bias(vector(6, 5)).output_sequence(true);
    near(&run(|g| biases(g).reset_after(false)), &[&before, &before[8..]]);
    near(&run(biases), &[&before, &before[8..]]);
    near(&run(|g| biases(g).reset_after(true)), &[&after, &after[8..]]);
    near(&run(|g| gru(g).input_bias(vector(6, 5)).reset_after(true)), &[&after[8..], &after[8..]]);
}

#[test]
fn rnn_in_reverse() {
    let states = [
        0.0,
        -0.1853332,
        -0.79824275,
        0.37189892,
        -0.2740616,
        0.14709184,
        -0.41248187,
        0.048323248,
        -0.00058650685,
        -0.14183718,
        -0.51559705,
        0.24659437,
    ];
    let out = run(|g| rnn(g).direction("reverse").output_sequence(true));
    assert_eq!(out[0].shape(), X);
    near(&out, &[&states, &states[8..]]);
    // The same as forward, of a sequence that is the other way round.
    let out = run(|g| {
        let x: Vec<f32> = some(12, 3).chunks(4).rev().flatten().copied().collect();
        let (x, h) = (g.f32(&X, &x), g.f32(&H, &some(4, 5)));
        mb::rnn(x, h, matrix(2, 3), matrix(2, 5)).bias(vector(2, 7)).output_sequence(true)
    });
    near(&out, &[&states, &states[8..]]);
}

#[test]
fn halves_are_rounded_where_the_op_ends() {
    let half = |v: f32| Constant::new([1, 1], &[f16::from_f32(v)]).unwrap();
    let tensor =
        |shape: &[usize], v: f32| AnyTensor::new(shape, vec![f16::from_f32(v); shape.iter().product()]).unwrap();
    let out = run(|g| {
        let (x, h) = (g.input(tensor(&[3, 1, 1], 0.0)), g.input(tensor(&[1, 1], 1.0)));
        mb::rnn(x, h, half(1.0), half(0.842)).activation("linear").output_sequence(true)
    });
    // Without input the state is multiplied by the matrix in each step.
    let w = f16::from_f32(0.842).to_f32();
    let powers = [w, w * w, w * w * w].map(f16::from_f32);
    assert_ne!(powers[2], f16::from_f32(powers[1].to_f32() * w), "the test would not see a rounding in between");
    assert_eq!(out[0], AnyTensor::new([3, 1, 1], powers.to_vec()).unwrap());
}

#[test]
fn without_steps_or_numbers() {
    let h = [1.0, 2.0, 3.0, 4.0];
    let out = run(|g| mb::rnn(g.f32(&[0, 2, 2], &[]), g.f32(&H, &h), matrix(2, 3), matrix(2, 5)));
    near(&out, &[&h, &h]);
    let out = run(|g| {
        let call = mb::rnn(g.f32(&[0, 2, 2], &[]), g.f32(&H, &h), matrix(2, 3), matrix(2, 5));
        call.output_sequence(true)
    });
    assert_eq!((out[0].shape(), out[1].shape()), (&[0, 2, 2][..], &H[..]));
    let nothing = Constant::new([0, 0], &[] as &[f32]).unwrap();
    let out = run(|g| {
        let state = g.f32(&[2, 0], &[]);
        let call = mb::lstm(g.f32(&[3, 2, 0], &[]), &state, &state, nothing.clone(), nothing.clone());
        call.direction("bidirectional").weight_ih_back(nothing.clone()).weight_hh_back(nothing).output_sequence(true)
    });
    assert_eq!(out[0].shape(), [3, 2, 0]);
}

#[test]
fn gates_do_not_exhaust_memory() {
    // The sequence has no numbers, but its gates would have many.
    let weights =
        || (Constant::new([512, 0], &[] as &[f32]).unwrap(), Constant::new([512, 128], &[0f32; 65536]).unwrap());
    let call = |g: &mut Test| {
        let state = g.f32(&[1, 128], &[0.0; 128]);
        mb::lstm(g.f32(&[1 << 23, 1, 0], &[]), &state, &state, weights().0, weights().1)
    };
    fails(call, "too large");
}
