use mil::prelude::*;

#[mil_program]
fn stem(x: Tensor<f32, 1, 3, 224, 224>, w: Weight<f32, 64, 3, 3, 3>) -> _ {
    let a = mb::conv(x, w, stride = [2, 2]);
    let b = mb::conv(x, w).dilation([2, 2]);
    mb::relu(x, alpha = 0.5)
}

fn main() {}
