use mil::prelude::*;

#[mil_program(__check_shadow = true)]
fn add(x: Tensor<f32, 2, 3>, y: Tensor<f32, 3>) -> _ {
    let z = mb::add(x, y);
    mb::identity(z + 1.0)
}

fn main() {
    let program: Program<fn(Tensor<f32, 2, 3>, Tensor<f32, 3>) -> Tensor<f32, 2, 3>> = add();
    let main = program.main().unwrap();
    assert_eq!(main.value(main.outputs()[0]).name, "output");
}
