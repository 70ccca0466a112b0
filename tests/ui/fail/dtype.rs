use mil::prelude::*;

#[mil_program(opset = iOS17)]
fn mixed(x: Tensor<f32, 4>, y: Tensor<f16, 4>) -> _ {
    let z = x + y;
    mb::add(z, x * 0.5f16)
}

fn main() {}
