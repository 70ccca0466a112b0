use mil::prelude::*;

#[mil_program]
fn f(x: Tensor<f32, 2, 4>) -> _ {
    let y: Tensor<f32, 4, 2> = x * 2.0;
    let (a, b, c) = (y, x);
    let d: usize = 0.5;
    x
}

fn main() {}
