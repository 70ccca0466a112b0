use mil::prelude::*;

#[mil_program(HEIGHT in 1..=64)]
fn image(x: Tensor<f32, 1, HIEGHT, W>, y: Tensor<f32, cfg::SIZE>) -> _ {
    x + y
}

fn main() {}
