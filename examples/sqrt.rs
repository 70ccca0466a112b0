//! An elementwise op, at the edges of its domain.
#![allow(clippy::print_stdout)]

use std::error::Error;

use mil::prelude::*;

mod common;

#[mil_program]
fn sqrt(x: Tensor<f32, 16>) -> _ {
    let y = mb::sqrt(x);
    y
}

#[mil_program(opset = iOS16)]
fn sqrt_fp16(x: Tensor<f16, 16>) -> _ {
    let y = mb::sqrt(x);
    y
}

pub(crate) fn main() -> Result<(), Box<dyn Error>> {
    let out = common::output_dir()?;
    sqrt().save(out.join("sqrt.mlpackage"))?;
    sqrt_fp16().save(out.join("sqrt_fp16.mlpackage"))?;

    let x: [f32; 16] =
        [0.0, -0.0, 1.0, 2.0, 3.0, 4.0, 0.25, 1e-4, 6.1e-5, 1e4, 65504.0, 0.5, 9.0, f32::INFINITY, -1.0, f32::NAN];
    for (program, dtype) in [(sqrt().into(), DType::F32), (sqrt_fp16().into(), DType::F16)] {
        let x = AnyTensor::from_f32(dtype, [16], x.to_vec())?;
        let expected = AnyTensor::from_f32(dtype, [16], x.to_f32()?.iter().map(|v| v.sqrt()).collect())?;
        let y = &Model::from_program(&program)?.predict([("x", x)])?["y"];
        // NaN equals nothing: compare what is printed, where it is `NaN` whatever its bits, and `-0.0` is not `0.0`.
        assert_eq!(format!("{y:?}"), format!("{expected:?}"));
        println!("sqrt: {y:?}");
    }
    Ok(())
}
