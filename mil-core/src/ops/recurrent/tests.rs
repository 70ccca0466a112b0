use half::f16;

use super::*;
use crate::{
    ir::Constant,
    mb,
    op::Call,
    ops::testing::{Test, fails, fails_in, infer_in, infers},
    types::Opset,
};

const X: &str = "Tensor<f32, 5, 2, 3>";
const H: &str = "Tensor<f32, 2, 4>";

fn w(rows: usize, columns: usize) -> Constant {
    Constant::new([rows, columns], &vec![0.5f32; rows * columns]).unwrap()
}

fn half(rows: usize, columns: usize) -> Constant {
    Constant::new([rows, columns], &vec![f16::ONE; rows * columns]).unwrap()
}

fn v(n: usize) -> Constant {
    Constant::vector(&vec![0.5f32; n])
}

fn lstm(g: &mut Test) -> Call<Lstm> {
    mb::lstm(g.t(X), g.t(H), g.t(H), w(16, 3), w(16, 4))
}

fn both(g: &mut Test) -> Call<Lstm> {
    let h = "Tensor<f32, 2, 8>";
    let call = mb::lstm(g.t(X), g.t(h), g.t(h), w(16, 3), w(16, 4)).direction("bidirectional");
    call.weight_ih_back(w(16, 3)).weight_hh_back(w(16, 4))
}

fn gru(g: &mut Test) -> Call<Gru> {
    mb::gru(g.t(X), g.t(H), w(12, 3), w(12, 4))
}

fn rnn(g: &mut Test) -> Call<Rnn> {
    mb::rnn(g.t(X), g.t(H), w(4, 3), w(4, 4))
}

#[test]
fn states_and_the_last() {
    infers(lstm, "Tensor<f32, 1, 2, 4>; Tensor<f32, 2, 4>; Tensor<f32, 2, 4>");
    infers(|g| lstm(g).output_sequence(true), "Tensor<f32, 5, 2, 4>; Tensor<f32, 2, 4>; Tensor<f32, 2, 4>");
    infers(|g| lstm(g).direction("reverse").clip(2.0), "Tensor<f32, 1, 2, 4>; Tensor<f32, 2, 4>; Tensor<f32, 2, 4>");
    let wide = "Tensor<f32, 5, 2, 8>; Tensor<f32, 2, 8>; Tensor<f32, 2, 8>";
    let biases = |g: &mut Test| both(g).bias(v(16)).bias_back(v(16)).peephole(v(12)).peephole_back(v(12));
    infers(|g| biases(g).output_sequence(true), wide);
    infers(|g| gru(g).bias(v(12)), "Tensor<f32, 1, 2, 4>; Tensor<f32, 2, 4>");
    infers(
        |g| gru(g).output_sequence(true).reset_after(true).input_bias(v(12)),
        "Tensor<f32, 5, 2, 4>; Tensor<f32, 2, 4>",
    );
    infers(|g| rnn(g).bias(v(4)).activation("relu"), "Tensor<f32, 1, 2, 4>; Tensor<f32, 2, 4>");
    infers(|g| rnn(g).output_sequence(true), "Tensor<f32, 5, 2, 4>; Tensor<f32, 2, 4>");
}

#[test]
fn symbols() {
    let (x, h, h2) = ("Tensor<f16, S, N, 3>", "Tensor<f16, N, 4>", "Tensor<f16, N, 8>");
    infers(
        |g| mb::gru(g.t(x), g.t(h), half(12, 3), half(12, 4)).output_sequence(true),
        "Tensor<f16, S, N, 4>; Tensor<f16, N, 4>",
    );
    infers(|g| mb::rnn(g.t(x), g.t(h), half(4, 3), half(4, 4)), "Tensor<f16, 1, N, 4>; Tensor<f16, N, 4>");
    infers(
        |g| {
            let call = mb::lstm(g.t(x), g.t(h2), g.t(h2), half(16, 3), half(16, 4)).direction("bidirectional");
            call.weight_ih_back(half(16, 3)).weight_hh_back(half(16, 4)).output_sequence(true).clip(2.0)
        },
        "Tensor<f16, S, N, 8>; Tensor<f16, N, 8>; Tensor<f16, N, 8>",
    );
    // A batch size that only the state knows may be that of `x`.
    infers(
        |g| mb::rnn(g.t("Tensor<f32, S, N, 3>"), g.t("Tensor<f32, 7, 4>"), w(4, 3), w(4, 4)),
        "Tensor<f32, 1, N, 4>; Tensor<f32, N, 4>",
    );
}

#[test]
fn by_opset() {
    let f16s = |g: &mut Test| {
        mb::rnn(g.t("Tensor<f16, 5, 2, 3>"), g.t("Tensor<f16, 2, 4>"), half(4, 3), half(4, 4)).output_sequence(true)
    };
    fails_in(Opset::iOS16, f16s, "x", "opset iOS17 takes it");
    infers(f16s, "Tensor<f16, 5, 2, 4>; Tensor<f16, 2, 4>");
    fails(|g| mb::rnn(g.t(X), g.t(H), half(4, 3), w(4, 4)), "weight_ih", "same dtype");
    fails_in(Opset::iOS17, |g| gru(g).reset_after(false), "reset_after", "opset = iOS18");
    fails_in(Opset::iOS17, |g| gru(g).input_bias(v(12)), "input_bias", "opset = iOS18");
    for opset in Opset::ALL {
        assert!(infer_in(opset, lstm).is_ok() && infer_in(opset, gru).is_ok() && infer_in(opset, rnn).is_ok());
    }
}

#[test]
fn c1_sequences_have_rank_3() {
    let x = "Tensor<f32, 2, 3>";
    fails(|g| mb::lstm(g.t(x), g.t(H), g.t(H), w(16, 3), w(16, 4)), "x", "rank 3");
    fails(|g| mb::gru(g.t(x), g.t(H), w(12, 3), w(12, 4)), "x", "rank 3");
    fails(|g| mb::rnn(g.t(x), g.t(H), w(4, 3), w(4, 4)), "x", "rank 3");
}

#[test]
fn c2_weights() {
    fails(
        |g| mb::lstm(g.t(X), g.t(H), g.t(H), w(16, 3), w(12, 4)),
        "weight_hh",
        "shape [16, 4], which is [4 * H, H], found [12, 4]",
    );
    fails(|g| mb::lstm(g.t(X), g.t(H), g.t(H), w(16, 2), w(16, 4)), "weight_ih", "[16, 3], which is [4 * H, I]");
    fails(|g| mb::gru(g.t(X), g.t(H), w(16, 3), w(12, 4)), "weight_ih", "[12, 3], which is [3 * H, I]");
    fails(|g| mb::rnn(g.t(X), g.t(H), w(4, 3), v(4)), "weight_hh", "rank 2");
    fails(|g| mb::rnn(g.t(X), g.t(H), w(4, 3), w(3, 4)), "weight_hh", "[4, 4], which is [H, H]");
    fails(|g| mb::rnn(g.t(X), g.t(H), g.t("Tensor<f32, 4, 3>"), w(4, 4)), "weight_ih", "must be a constant");
}

#[test]
fn c3_biases() {
    fails(|g| lstm(g).bias(v(12)), "bias", "16 elements, found 12");
    fails(|g| lstm(g).peephole(v(16)), "peephole", "12 elements, found 16");
    fails(|g| gru(g).bias(v(4)), "bias", "12 elements, found 4");
    fails(|g| gru(g).input_bias(v(4)), "input_bias", "12 elements, found 4");
    fails(|g| rnn(g).bias(v(8)), "bias", "4 elements, found 8");
}

#[test]
fn c4_initial_states() {
    let bad = "Tensor<f32, 3, 4>";
    fails(|g| mb::lstm(g.t(X), g.t(bad), g.t(H), w(16, 3), w(16, 4)), "initial_h", "shape [2, 4], which is [N, H]");
    fails(|g| mb::lstm(g.t(X), g.t(H), g.t(bad), w(16, 3), w(16, 4)), "initial_c", "found [3, 4]");
    fails(|g| mb::gru(g.t(X), g.t("Tensor<f32, 2, 3>"), w(12, 3), w(12, 4)), "initial_h", "found [2, 3]");
    fails(|g| mb::rnn(g.t(X), g.t("Tensor<f32, 1, 2, 4>"), w(4, 3), w(4, 4)), "initial_h", "found [1, 2, 4]");
    fails(
        |g| lstm(g).direction("bidirectional").weight_ih_back(w(16, 3)).weight_hh_back(w(16, 4)),
        "initial_h",
        "shape [2, 8], which is [N, 2 * H]",
    );
}

#[test]
fn c5_the_backward_direction() {
    fails(|g| lstm(g).direction("bidirectional"), "weight_ih_back", "needs `weight_ih_back`");
    fails(|g| lstm(g).direction("bidirectional").weight_ih_back(w(16, 3)), "weight_hh_back", "needs `weight_hh_back`");
    fails(|g| both(g).weight_hh_back(w(8, 2)), "weight_hh_back", "that of `weight_hh`");
    fails(|g| both(g).weight_ih_back(w(16, 2)), "weight_ih_back", "found [16, 2]");
    fails(|g| both(g).bias_back(v(3)), "bias_back", "16 elements, found 3");
    fails(|g| both(g).peephole_back(v(3)), "peephole_back", "12 elements, found 3");
}

#[test]
fn c5_one_direction() {
    fails(|g| gru(g).direction("bidirectional"), "direction", "only `lstm` walks in both");
    fails(|g| rnn(g).direction("bidirectional"), "direction", "found \"bidirectional\"");
    fails(|g| rnn(g).direction("backward"), "direction", "\"reverse\"");
}

#[test]
fn c6_clip() {
    fails(|g| lstm(g).clip(-1.0), "clip", "0 or more, found -1");
    fails(|g| lstm(g).clip(f32::NAN), "clip", "found NaN");
}

#[test]
fn names_of_activations() {
    for name in ["tanh", "scaled_tanh", "sigmoid", "hard_sigmoid", "sigmoid_hard", "relu", "linear", "TANH", "ReLU"] {
        assert!(infer_in(Opset::iOS18, |g| rnn(g).activation(name)).is_ok(), "{name}");
        let all = |g: &mut Test| lstm(g).recurrent_activation(name).cell_activation(name).activation(name);
        assert!(infer_in(Opset::iOS18, all).is_ok(), "{name}");
    }
    fails(|g| lstm(g).cell_activation("elu"), "cell_activation", "\"hard_sigmoid\"");
    fails(|g| gru(g).recurrent_activation(""), "recurrent_activation", "found \"\"");
}
