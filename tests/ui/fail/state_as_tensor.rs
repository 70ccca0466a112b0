use mil::prelude::*;

#[mil_program(opset = iOS18)]
fn misused(x: Tensor<f16, 1, 8>, cache: &mut State<f16, 1, 8>, wide: &mut State<f32, 1, 8>) -> _ {
    let y = x + cache;
    cache = x;
    *x = y;
    cache[0]
}

fn main() {}
