use mil::prelude::*;

#[mil_program(opset = iOS18)]
fn by_value(x: Tensor<f16, 1, 8>, cache: State<f16, 1, 8>) -> _ {
    x + *cache
}

#[mil_program(opset = iOS17)]
fn too_old(x: Tensor<f16, 1, 8>, cache: &mut State<f16, 1, 8>) -> _ {
    *cache = x;
    x
}

#[mil_program(opset = iOS18)]
fn misfit(x: Tensor<f16, 1, 4>, cache: &mut State<f16, 1, 8>) -> _ {
    *cache = x;
    cache
}

#[mil_program(opset = iOS18)]
fn updated(x: Tensor<f16, 1, 8>, cache: &mut State<f16, 1, 8>) -> _ {
    mb::coreml_update_state(cache, x)
}

fn main() {}
