// while_loop over (guess, i), then cond.
use mil::prelude::*;

#[mil_program(__check_shadow = true)]
fn newton(x: Tensor<f32, 1>, steps: Tensor<i32>) -> _ {
    let mut guess = x;
    let mut i = 0;
    while i < steps {
        guess = (guess + x / guess) * 0.5;
        i += 1;
    }
    if mb::reduce_max(guess, keep_dims = false) > 1.0 { guess } else { mb::sqrt(x) }
}

#[mil_program(__check_shadow = true)]
fn branches(x: Tensor<f32, 2>, go: Tensor<i32>) -> _ {
    let (mut a, mut b) = (x, 1.0);
    if go == 0 {
        a = a + b;
    } else if go < 3 && go != 2 {
        (a, b) = (-a, 2.0);
    } else {
        b = 3.0;
    }
    let c = if go > 9 { 1.0 } else { b };
    a * c
}

fn main() {
    let program: Program<fn(Tensor<f32, 1>, Tensor<i32>) -> Tensor<f32, 1>> = newton();
    let main = program.main().unwrap();
    let names: Vec<_> = main.walk().into_iter().map(|op| main.op(op)).filter(|op| !op.def.is_const()).map(|op| op.def.name).collect();
    assert_eq!(
        names,
        ["while_loop", "less", "real_div", "add", "mul", "add", "reduce_max", "greater", "cond", "sqrt"]
    );
    let _: Program<fn(Tensor<f32, 2>, Tensor<i32>) -> Tensor<f32, 2>> = branches();
}
