use mil::prelude::*;

#[mil_program]
fn f(a: Tensor<f23, 4>, b: Tensor<bool, 4>, c: Tnesor<f32, 4>, d: Tensor<f32, _>, e: Tensor) -> _ {
    a
}

fn main() {}
