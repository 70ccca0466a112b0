use mil::prelude::*;

#[mil_program]
fn stem(x: Tensor<f32, 1, 3, 8, 8>, w: Weight<f32, 4, 3, 3, 3>) -> _ {
    let a = mb::conv(x, w, strides = [2]);
    let b = mb::conv(x, w, pad_type = "smae");
    let c = mb::conv(x, w, groups = 2);
    mb::softmax(x, axis = 7)
}

fn main() {}
