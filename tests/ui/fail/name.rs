use mil::prelude::*;

#[mil_program]
fn f(x: Tensor<f32, 4>) -> _ {
    let a = mb::relu(x, name = "1st");
    #[name = 3]
    let b = mb::relu(a, name = 7);
    b
}

fn main() {}
