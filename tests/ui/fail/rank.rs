use mil::prelude::*;

#[mil_program]
fn stem(x: Tensor<f32, 3, 224>, w: Weight<f32, 64, 3, 3>) -> _ {
    mb::conv(x, w)
}

fn main() {}
