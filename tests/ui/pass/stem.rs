// Keywords, an image, weights, flexible and enumerated dimensions.
use mil::{ir::feature::FeatureKind, prelude::*};

#[mil_program(opset = iOS17, H in 64..=512, W in [224, 384], CHANNELS = 64, __check_shadow = true)]
fn stem(
    #[image(RGB, scale = 1.0 / 255.0, bias = [-0.5, -0.5, -0.5])] image: Tensor<f16, 1, 3, H, W>,
    #[weight("stem.conv.weight")] w: Weight<f16, CHANNELS, 3, 7, 7>,
    #[weight("stem.conv.bias")] b: Weight<f16, CHANNELS>,
) -> Tensor<f16, 1, 64, { (H + 1) / 2 }, _> {
    let features = mb::conv(image, w, bias = b, strides = [2, 2], pad_type = "same");
    let same = mb::conv(image, w).bias(b).strides([2, 2]).pad_type("same");
    mb::relu(features) * 0.5 + same % 2.0
}

fn main() {
    let program: Program<fn(Tensor<f16, 1, 3, DYN, DYN>) -> Tensor<f16, 1, 64, DYN, DYN>> = stem();
    let main = program.main().unwrap();
    assert!(matches!(main.input_features[0].kind, FeatureKind::Image(_)));
    let names: Vec<_> = main.walk().into_iter().map(|op| main.op(op)).filter(|op| !op.def.is_const()).map(|op| op.def.name).collect();
    assert_eq!(names, ["mul", "add", "conv", "conv", "relu", "mul", "mod", "add"]);
}
