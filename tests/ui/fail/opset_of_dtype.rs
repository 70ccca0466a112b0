use mil::prelude::*;

#[mil_program]
fn half(x: Tensor<f16, 4>, y: Tensor<f32, 4>) -> _ {
    (x, y as f16)
}

fn main() {}
