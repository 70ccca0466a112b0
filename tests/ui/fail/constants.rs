use mil::prelude::*;

#[mil_program]
fn f(x: Tensor<f32, 4>) -> _ {
    const SIZE: usize = 3 / 0;
    const INPUT: f32 = x;
    let sizes = [1, 2, 3];
    let a = sizes[3];
    let b = format!("{}", x);
    for i in 0..x {}
    x * (1 + true)
}

fn main() {}
