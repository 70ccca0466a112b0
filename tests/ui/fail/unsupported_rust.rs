use mil::prelude::*;

#[mil_program]
fn f(x: Tensor<f32, 4>) -> _ {
    let a = match x {
        y => y,
    };
    let b = |y| y;
    let c = unsafe { x };
    println!("{}", x);
    loop {
        break;
    }
    return x;
}

fn main() {}
