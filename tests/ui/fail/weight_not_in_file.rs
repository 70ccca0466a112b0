use mil::prelude::*;

#[mil_program(weights = "../tiny.safetensors")]
fn head(
    x: Tensor<f32, 1, 4>,
    #[weight("head.wieght")] weight: Weight<f32, 2, 4>,
    #[weight("head.bias")] bias: Weight<f32, 2>,
    all: Weights,
    #[weight("tail")] tail: Weights,
) -> _ {
    let a = mb::linear(x, all["head.weights"], bias = bias);
    mb::linear(x, all.at("haed")["weight"])
}

fn main() {}
