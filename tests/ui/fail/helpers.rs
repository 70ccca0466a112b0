use mil::prelude::*;

#[mil_program]
fn f(x: Tensor<f32, 4>) -> _ {
    fn again(x: Tensor) -> _ {
        again(x)
    }
    fn two(x: Tensor, n: usize) -> _ {
        x * n
    }
    let a = again(x);
    let b = two(x);
    let c = two(x, x);
    let d = relu(x);
    let e = x.relu();
    two(x, 2)
}

fn main() {}
