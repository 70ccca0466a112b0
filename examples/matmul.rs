//! The smallest program: one op, whose result type the compiler infers.
#![allow(clippy::print_stdout)]

use std::error::Error;

use mil::prelude::*;

mod common;

#[mil_program]
fn matmul(x: Tensor<f32, 123, 456>, y: Tensor<f32, 456, 789>) -> _ {
    let z = mb::matmul(x, y);
    z
}

/// The same in fp16, which models can take and give since iOS 16.
#[mil_program(opset = iOS16)]
fn matmul_fp16(x: Tensor<f16, 123, 456>, y: Tensor<f16, 456, 789>) -> _ {
    let z = mb::matmul(x, y);
    z
}

pub(crate) fn main() -> Result<(), Box<dyn Error>> {
    let out = common::output_dir()?;
    matmul().save(out.join("matmul.mlpackage"))?;
    matmul_fp16().save(out.join("matmul_fp16.mlpackage"))?;

    // Small integers: every product and every sum is exact, in f32 and, rounded once at the end, in f16.
    let x: Vec<f32> = (0..123 * 456).map(|i| (i * 7 % 5) as f32 - 2.0).collect();
    let y: Vec<f32> = (0..456 * 789).map(|i| (i * 11 % 7) as f32 - 3.0).collect();
    let mut expected = vec![0f32; 123 * 789];
    for i in 0..123 {
        for k in 0..456 {
            for j in 0..789 {
                expected[i * 789 + j] += x[i * 456 + k] * y[k * 789 + j];
            }
        }
    }
    for (program, dtype) in [(matmul().into(), DType::F32), (matmul_fp16().into(), DType::F16)] {
        let x = AnyTensor::from_f32(dtype, [123, 456], x.clone())?;
        let y = AnyTensor::from_f32(dtype, [456, 789], y.clone())?;
        let z = &Model::from_program(&program)?.predict([("x", x), ("y", y)])?["z"];
        assert_eq!(*z, AnyTensor::from_f32(dtype, [123, 789], expected.clone())?);
        println!("matmul: {}", z.ty());
    }
    Ok(())
}
