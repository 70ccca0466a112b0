use mil::prelude::*;

#[mil_program]
mod net {
    fn layer(x: Tensor, w: Tensor) -> _ {
        mb::matmul(x, w)
    }

    pub fn first(x: Tensor<f32, 4, 4>, w: Tensor<f32, 5, 4>) -> _ {
        let mut h = x;
        for i in 0..12 {
            h = layer(h, w);
        }
        h
    }

    pub fn second(x: Tensor<f32, 4, 4>, w: Tensor<f32, 4, 4>) -> _ {
        layer(x, w)
    }
}

fn main() {}
