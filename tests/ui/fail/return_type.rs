use mil::prelude::*;

#[mil_program(N in 1..=8)]
fn shape(x: Tensor<f32, N, 4>) -> Tensor<f32, 4, N> {
    x * 2.0
}

#[mil_program]
fn count(x: Tensor<f32, 4>) -> (Tensor<f32, 4>, Tensor<f32, 4>) {
    x * 2.0
}

#[mil_program]
fn nothing(x: Tensor<f32, 4>) -> _ {
    x * 2.0;
}

fn main() {}
