use mil::prelude::*;

#[mil_program(opset = iOS17)]
fn attention(q: Tensor<f16, 1, 8, 16, 64>, k: Tensor<f16, 1, 8, 16, 64>) -> _ {
    mb::scaled_dot_product_attention(q, k, k)
}

fn main() {}
