// The two other forms: items, whose parameters may have their types in the attribute, and expressions.
use mil::prelude::*;

mil! {
    /// Untyped parameters.
    #[mil_program(x: Tensor<f32, 123, 456>, y: Tensor<f32, 456, 789>, __check_shadow = true)]
    pub fn matmul(x, y) {
        mb::matmul(x, y)
    }

    fn twice(x: Tensor<f32, 4>) -> _ {
        x + x
    }

    #[mil_program(N = 4)]
    mod model {
        pub fn thrice(x: Tensor<f32, N>) -> _ {
            x * 3.0
        }
    }
}

fn main() {
    let _: Program<fn(Tensor<f32, 123, 456>, Tensor<f32, 456, 789>) -> Tensor<f32, 123, 789>> = matmul();
    let _: Program<fn(Tensor<f32, 4>) -> Tensor<f32, 4>> = twice();
    let _: Program<fn(Tensor<f32, 4>) -> Tensor<f32, 4>> = model::thrice();
    let double: Program<fn(Tensor<f32, 4>) -> Tensor<f32, 4>> = mil!(|x: Tensor<f32, 4>| x * 2.0);
    let flexible = mil!(#[mil_program(opset = iOS17, N in 1..=9, __check_shadow = true)] |x: Tensor<f16, N>| {
        let y = mb::exp(x);
        (y, x as f32)
    });
    let _: &Program<fn(Tensor<f16, DYN>) -> (Tensor<f16, DYN>, Tensor<f32, DYN>)> = &flexible;
    assert_eq!(double.main().unwrap().inputs.len(), 1);
    assert_eq!(flexible.main().unwrap().outputs().len(), 2);
}
