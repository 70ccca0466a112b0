use mil::prelude::*;

#[mil_program]
fn activate(x: Tensor<f32, 4>) -> _ {
    let y = mb::rleu(x);
    let z = mb::frobnicate(y, axis = 1);
    mb::sigmoid(z)
}

fn main() {}
