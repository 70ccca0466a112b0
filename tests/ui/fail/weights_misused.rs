use mil::prelude::*;

#[mil_program(weights = "../tiny.safetensors")]
fn head(x: Tensor<f32, 1, 4>, w: Weights) -> _ {
    let a = mb::linear(x, w);
    let b = mb::linear(x, w.at("head"));
    mb::linear(x, w[0])
}

fn main() {}
