use mil::prelude::*;

#[mil_program]
fn sum(x: Tensor<f32, 4, 3>, y: Tensor<f32, 4>) -> _ {
    (x * 2.0) + y
}

fn main() {}
