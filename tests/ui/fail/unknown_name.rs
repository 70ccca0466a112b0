use mil::prelude::*;

#[mil_program]
fn f(input: Tensor<f32, 4>) -> _ {
    fn double(x: Tensor) -> _ {
        x * factor
    }
    let y = inptu + 1.0;
    let z = duoble(input);
    double(input) + std::f32::consts::PI
}

fn main() {}
