use mil::prelude::*;

#[mil_program]
fn product(x: Tensor<f32, 123, 456>, y: Tensor<f32, 457, 789>) -> _ {
    let z = mb::matmul(x, y);
    let w = mb::relu(z);
    w + 1.0
}

fn main() {
    let _ = product().save("product.mlpackage");
}
