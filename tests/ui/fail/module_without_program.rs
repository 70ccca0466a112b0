use mil::prelude::*;

#[mil_program]
mod net {
    fn main(x: Tensor<f32, 4>) -> _ {
        x
    }
}

fn main() {}
