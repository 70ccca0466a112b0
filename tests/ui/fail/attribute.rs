use mil::prelude::*;

#[mil_program(opest = iOS17)]
fn a(x: Tensor<f32, 4>) -> _ {
    x * 2.0
}

#[mil_program(opset = iOS14, N in 8..=2, M in [])]
fn b(x: Tensor<f32, 4>) -> _ {
    x * 2.0
}

#[mil_program(N in 1..)]
fn c(x: Tensor<f32, 4>) -> _ {
    x * 2.0
}

fn main() {}
