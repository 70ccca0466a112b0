use mil::prelude::*;

#[mil_program]
fn f(x: Tensor<f32, 4>, n: Tensor<i32>) -> _ {
    let a = if n < 3 { x } else { n };
    let b = if n { x } else { x };
    let c = if n < 3 { (x, x) } else { x };
    if x > 0.0 { x } else { -x }
}

fn main() {}
