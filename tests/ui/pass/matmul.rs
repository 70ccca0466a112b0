use mil::prelude::*;

/// A product.
#[mil_program(__check_shadow = true)]
fn matmul(x: Tensor<f32, 123, 456>, y: Tensor<f32, 456, 789>) -> _ {
    mb::matmul(x, y)
}

fn main() {
    let program: Program<fn(Tensor<f32, 123, 456>, Tensor<f32, 456, 789>) -> Tensor<f32, 123, 789>> = matmul();
    let main = program.main().unwrap();
    assert_eq!(main.value(main.outputs()[0]).name, "output");
}
