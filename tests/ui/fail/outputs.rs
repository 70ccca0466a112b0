use mil::prelude::*;

#[mil_program]
fn twice(x: Tensor<f32, 4>) -> _ {
    let y = x * 2.0;
    (y, y)
}

#[mil_program]
fn comparison(x: Tensor<f32, 4>) -> _ {
    x > 0.0
}

fn main() {}
