use mil::prelude::*;

#[mil_program]
fn f(x: Tensor<f32, 4>) -> _ {
    let a = x ** x;
    let b = x << 2;
    let c = x[0];
    let d = x.shape;
    let e = !x;
    -x
}

fn main() {}
