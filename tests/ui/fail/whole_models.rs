use mil::prelude::*;

#[mil_program(opset = iOS18, default = mian)]
mod functions {
    pub fn main(x: Tensor<f32, 2>) -> _ {
        x + 1.0
    }
}

#[mil_program(opset = iOS17, default = main)]
mod too_old {
    pub fn main(x: Tensor<f32, 2>) -> _ {
        x + 1.0
    }
}

#[mil_program]
fn defaults(#[default([1, 2])] x: Tensor<f32, 2>, #[default(0.5)] n: Tensor<i32, 2>) -> _ {
    x + n as f32
}

#[mil_program]
fn output_image(x: Tensor<f32, 1, 3, 8>) -> _ {
    #[image(RGB)]
    let y = x + 1.0;
    y
}

#[mil_program]
fn classes(x: Tensor<f32, 2>) -> _ {
    mb::classify(x, ["cat", "dog", "fish"])
}

fn main() {}
