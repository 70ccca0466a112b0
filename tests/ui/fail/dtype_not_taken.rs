use mil::prelude::*;

#[mil_program]
fn root(x: Tensor<i32, 4>) -> _ {
    mb::sqrt(x)
}

fn main() {}
