//! An op that MIL does not have: the decimal logarithm, out of the natural one.
#![allow(clippy::print_stdout)]

use std::error::Error;

use mil::prelude::*;

mod common;

#[mil_program]
fn log10(x: Tensor<f32, 16>) -> _ {
    const INVERSE_LN_10: f64 = 0.434_294_481_903_251_8;
    let y = mb::log(x) * INVERSE_LN_10;
    y
}

#[mil_program(opset = iOS16)]
fn log10_fp16(x: Tensor<f16, 16>) -> _ {
    const INVERSE_LN_10: f64 = 0.434_294_481_903_251_8;
    let y = mb::log(x) * INVERSE_LN_10;
    y
}

pub(crate) fn main() -> Result<(), Box<dyn Error>> {
    let out = common::output_dir()?;
    log10().save(out.join("log10.mlpackage"))?;
    log10_fp16().save(out.join("log10_fp16.mlpackage"))?;

    let x: [f32; 16] = [1.0, 10.0, 100.0, 1000.0, 1e4, 0.1, 0.01, 1e-3, 2.0, 3.0, 5.0, 0.5, 65504.0, 0.999, 1.001, 7.0];
    // f16 rounds the natural logarithm, the factor and the product: three halves of a unit in 2^11, of at most 5.
    for (program, dtype, tolerance) in [(log10().into(), DType::F32, 1e-6), (log10_fp16().into(), DType::F16, 4e-3)] {
        let x = AnyTensor::from_f32(dtype, [16], x.to_vec())?;
        let expected: Vec<f32> = x.to_f32()?.iter().map(|v| v.log10()).collect();
        let y = &Model::from_program(&program)?.predict([("x", x)])?["y"];
        for (y, e) in y.to_f32()?.iter().zip(&expected) {
            assert!((y - e).abs() <= tolerance, "found {y}, expected {e}");
        }
        println!("log10: {y:?}");
    }
    Ok(())
}
