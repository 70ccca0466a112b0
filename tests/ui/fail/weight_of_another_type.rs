use mil::prelude::*;

#[mil_program(opset = iOS17, weights = "../tiny.safetensors")]
fn head(
    x: Tensor<f32, 1, 4>,
    #[weight("head.weight")] shape: Weight<f32, 4, 2>,
    #[weight("head.weight")] half: Weight<f16, 2, 4>,
    #[weight("steps")] steps: Weight<f32, 1>,
) -> _ {
    x
}

fn main() {}
