use mil::prelude::*;

#[mil_program(weights = "../huge.safetensors")]
fn head(x: Tensor<f32, 1, 4>, w: Weights) -> _ {
    mb::linear(x, w["head.weight"])
}

#[mil_program(weights = "../damaged.safetensors")]
fn damaged(x: Tensor<f32, 1, 4>, w: Weights) -> _ {
    mb::linear(x, w["head.weight"])
}

#[mil_program]
fn unnamed(x: Tensor<f32, 1, 4>, w: Weights) -> _ {
    mb::linear(x, w["head.weight"])
}

fn main() {}
