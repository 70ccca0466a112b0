use mil::prelude::*;

#[mil_program]
fn stem(x: Tensor<f32, 1, 3, 8, 8>, w: Weight<f32, 4, 3, 3, 3>) -> _ {
    let a = mb::conv(x, w, weight = w);
    mb::conv(x, w, strides = [1, 1]).strides([2, 2])
}

fn main() {}
