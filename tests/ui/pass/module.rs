// Helpers, constants, an unrolled loop, weights out of a file.
use mil::prelude::*;

#[mil_program(weights = "../tiny.safetensors", N in 1..=4, __check_shadow = true)]
mod net {
    use std::collections::HashMap as _;

    const LAYERS: usize = 2;
    pub const SIZE: usize = 8;

    fn linear(x: Tensor, w: Weights) -> _ {
        mb::linear(x, w["weight"], bias = w["bias"])
    }

    /// The whole net.
    pub fn main(x: Tensor<f32, N, 3, SIZE, SIZE>, w: Weights) -> _ {
        let mut h = x;
        for i in 0..LAYERS {
            if i == 1 {
                let layer = w.at(format!("conv{i}"));
                h = mb::conv(h, layer["weight"], bias = layer["bias"]);
            }
        }
        let pooled = mb::reduce_mean(h, axes = [2, 3], keep_dims = false);
        let logits = linear(pooled, w.at("head"));
        let probabilities = mb::softmax(logits, axis = -1);
        (probabilities, logits)
    }

    pub fn head(x: Tensor<f32, 1, 4>, #[weight("head")] w: Weights) -> _ {
        linear(x, w)
    }
}

#[mil_program(opset = iOS16, weights = "../tiny.safetensors" as f16, embed = false, __check_shadow = true)]
fn half(x: Tensor<f16, 1, 4>, #[weight("head.weight")] w: Weight<f16, 2, 4>) -> _ {
    mb::linear(x, w)
}

fn main() {
    let program: Program<fn(Tensor<f32, DYN, 3, 8, 8>) -> (Tensor<f32, DYN, 2>, Tensor<f32, DYN, 2>)> = net::main();
    let main = program.main().unwrap();
    let outputs: Vec<_> = main.outputs().iter().map(|v| main.value(*v).name.as_str()).collect();
    assert_eq!(outputs, ["probabilities", "logits"]);
    assert!(main.walk().into_iter().all(|op| main.op(op).constant().is_none_or(|c| c.weight_name().is_none())));
    assert_eq!(net::SIZE, 8);
    let _: Program<fn(Tensor<f32, 1, 4>) -> Tensor<f32, 1, 2>> = net::head();

    let program = half();
    assert!(program.weights_path().unwrap().ends_with("tiny.safetensors"));
    let program = program.load_weights().unwrap();
    let main = program.main().unwrap();
    let weight = main.walk().into_iter().find_map(|op| main.op(op).constant().cloned()).unwrap();
    assert_eq!(weight.floats().unwrap()[..3], [0.0, 0.125, 0.25]);
}
