use mil::prelude::*;

#[mil_program]
fn f(x: Tensor<f32, 4>, n: Tensor<i32>) -> _ {
    let mut i = 0;
    let mut y = mb::reduce_sum(x, keep_dims = false);
    while i < n {
        y = y + x;
        i += 1;
    }
    while true {
        i += 1;
    }
    y
}

fn main() {}
