use mil::prelude::*;

#[mil_program]
fn stem(x: Tensor<f32, 1, 3, 8, 8>) -> _ {
    let y = mb::conv(x);
    let z = mb::matmul(y = x);
    mb::relu()
}

fn main() {}
