use mil::prelude::*;

#[mil_program(N in 1..=64)]
fn f(x: Tensor<f32, 4>) -> _ {
    x * N
}

fn main() {}
