use mil::prelude::*;

mil! {
    #[mil_program(y: Tensor<f32, 4>, z: Tensor<f32, 4>)]
    fn sum(x, y) -> _ {
        x + y
    }
}

#[mil_program(x: Tensor<f32, 4>)]
fn twice(x: Tensor<f32, 4>) -> _ {
    x + x
}

fn main() {}
