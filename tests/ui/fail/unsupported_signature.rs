use mil::prelude::*;

#[mil_program]
async fn a(x: Tensor<f32, 4>) -> _ {
    x
}

#[mil_program]
fn b<const N: usize>(x: Tensor<f32, 4>) -> _ {
    x
}

#[mil_program]
struct C;

fn main() {
    let _ = (a(), b());
}
