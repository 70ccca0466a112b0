use mil::prelude::*;

#[mil_program]
fn a(#[image(RBG)] x: Tensor<f32, 1, 3, 8, 8>) -> _ {
    mb::relu(x)
}

#[mil_program]
fn b(#[image(RGB, scale = [1.0, 2.0])] x: Tensor<f32, 1, 3, 8, 8>) -> _ {
    mb::relu(x)
}

#[mil_program]
fn c(#[image(Grayscale)] x: Tensor<f32, 1, 3, 8, 8>, #[image(RGB)] y: Weight<f32, 4>) -> _ {
    mb::relu(x)
}

fn main() {}
