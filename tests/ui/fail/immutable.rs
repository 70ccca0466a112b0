use mil::prelude::*;

#[mil_program]
fn f(x: Tensor<f32, 4>) -> _ {
    const N: usize = 2;
    let y = x;
    y = y + 1.0;
    y += 1.0;
    N = 3;
    y
}

fn main() {}
