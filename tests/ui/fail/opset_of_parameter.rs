use mil::prelude::*;

#[mil_program(opset = iOS16)]
fn conv(x: Tensor<f32, 1, 3, 8, 8>, w: Weight<f32, 4, 3, 3, 3>, b: Tensor<f32, 4>) -> _ {
    mb::conv(x, w, bias = b)
}

fn main() {}
