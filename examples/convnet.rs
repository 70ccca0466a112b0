//! A convolutional network whose weights are parameters, given when the program is made.
#![allow(clippy::print_stdout)]

use std::error::Error;

use mil::{
    ir::{self, Constant},
    prelude::*,
};
use numbers::{constant, numbers};

mod common;
#[path = "common/numbers.rs"]
mod numbers;

macro_rules! convnet {
    ($name:ident, $dtype:ident, $opset:ident) => {
        #[mil_program(opset = $opset)]
        fn $name(
            image: Tensor<$dtype, 1, 3, 32, 32>,
            w1: Weight<$dtype, 16, 3, 3, 3>,
            b1: Weight<$dtype, 16>,
            w2: Weight<$dtype, 32, 16, 3, 3>,
            b2: Weight<$dtype, 32>,
            w3: Weight<$dtype, 10, 32>,
            b3: Weight<$dtype, 10>,
        ) -> _ {
            let x = mb::relu(mb::conv(image, w1, bias = b1, pad_type = "same"));
            let x = mb::max_pool(x, kernel_sizes = [2, 2], strides = [2, 2], pad_type = "valid");
            let x = mb::relu(mb::conv(x, w2, bias = b2, pad_type = "same"));
            let features = mb::reduce_mean(x, axes = [2, 3]);
            let probabilities = mb::softmax(mb::linear(features, w3, bias = b3), axis = -1);
            probabilities
        }
    };
}

convnet!(convnet, f32, iOS15);
convnet!(convnet_fp16, f16, iOS16);

/// What torch says in f64, rounded; the image is `numbers(6000..)`, times 8.
const EXPECTED: [f32; 10] =
    [0.1021385, 0.106856, 0.0998799, 0.1053925, 0.0977059, 0.1025339, 0.095516, 0.0985862, 0.0941551, 0.097236];

/// The weight of this name.
fn weight(name: &str, dtype: DType) -> Option<Constant> {
    let (seed, shape): (usize, &[usize]) = match name {
        "w1" => (0, &[16, 3, 3, 3]),
        "b1" => (1000, &[16]),
        "w2" => (2000, &[32, 16, 3, 3]),
        "b2" => (3000, &[32]),
        "w3" => (4000, &[10, 32]),
        "b3" => (5000, &[10]),
        _ => return None,
    };
    constant(shape, seed, dtype).ok()
}

pub(crate) fn main() -> Result<(), Box<dyn Error>> {
    let out = common::output_dir()?;
    let image: Vec<f32> = numbers(6000, 3 * 32 * 32).into_iter().map(|v| v * 8.0).collect();
    // The numbers of the weights are exact in f16; those between the ops are not.
    for (program, name, dtype, tolerance) in
        [(convnet().into(), "convnet", DType::F32, 1e-6), (convnet_fp16().into(), "convnet_fp16", DType::F16, 2e-4)]
    {
        let mut program: ir::Program = program;
        program.attach_weights(&|name| weight(name, dtype))?;
        program.save(out.join(name).with_extension("mlpackage"))?;

        let image = AnyTensor::from_f32(dtype, [1, 3, 32, 32], image.clone())?;
        let probabilities = &Model::from_program(&program)?.predict([("image", image)])?["probabilities"];
        for (found, expected) in probabilities.to_f32()?.iter().zip(EXPECTED) {
            assert!((found - expected).abs() <= tolerance, "found {found}, expected {expected}");
        }
        println!("{name}: {probabilities:?}");
    }
    Ok(())
}
