//! One op, given as an operator.
#![allow(clippy::print_stdout)]

use std::error::Error;

use mil::prelude::*;

mod common;

#[mil_program]
fn add(x: Tensor<f32, 4, 5>, y: Tensor<f32, 4, 5>) -> _ {
    let z = x + y;
    z
}

#[mil_program(opset = iOS16)]
fn add_fp16(x: Tensor<f16, 4, 5>, y: Tensor<f16, 4, 5>) -> _ {
    let z = x + y;
    z
}

pub(crate) fn main() -> Result<(), Box<dyn Error>> {
    let out = common::output_dir()?;
    add().save(out.join("add.mlpackage"))?;
    add_fp16().save(out.join("add_fp16.mlpackage"))?;

    let x: Vec<f32> = (0..20).map(|i| i as f32 * 0.25).collect();
    let y: Vec<f32> = (0..20).map(|i| 100.0 - i as f32).collect();
    let expected: Vec<f32> = x.iter().zip(&y).map(|(x, y)| x + y).collect();
    for (program, dtype) in [(add().into(), DType::F32), (add_fp16().into(), DType::F16)] {
        let x = AnyTensor::from_f32(dtype, [4, 5], x.clone())?;
        let y = AnyTensor::from_f32(dtype, [4, 5], y.clone())?;
        let z = &Model::from_program(&program)?.predict([("x", x), ("y", y)])?["z"];
        assert_eq!(*z, AnyTensor::from_f32(dtype, [4, 5], expected.clone())?);
        println!("add: {z:?}");
    }
    Ok(())
}
