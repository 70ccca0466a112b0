//! Control flow: Newton's method for the square root, with a loop and a branch on tensors.
#![allow(clippy::print_stdout)]

use std::error::Error;

use mil::prelude::*;

mod common;

macro_rules! newton {
    ($name:ident, $dtype:ident, $opset:ident, $tolerance:literal) => {
        /// The square root, by at most `steps` steps; if those were too few, from the op that MIL has.
        #[mil_program(opset = $opset)]
        fn $name(x: Tensor<$dtype, 1>, steps: Tensor<i32, 1>) -> _ {
            let steps = mb::squeeze(steps);
            let mut guess = x;
            let mut step = 0;
            while step < steps {
                guess = (guess + x / guess) * 0.5;
                step += 1;
            }
            let found = mb::reduce_max(mb::abs(guess * guess / x - 1.0)) < $tolerance;
            let root = if found { guess } else { mb::sqrt(x) };
            let found = found as i32;
            (root, found, step)
        }
    };
}

newton!(newton, f32, iOS15, 1e-6);
newton!(newton_fp16, f16, iOS16, 2e-3);

pub(crate) fn main() -> Result<(), Box<dyn Error>> {
    let out = common::output_dir()?;
    newton().save(out.join("newton.mlpackage"))?;
    newton_fp16().save(out.join("newton_fp16.mlpackage"))?;

    for (program, dtype, tolerance) in [(newton().into(), DType::F32, 1e-6), (newton_fp16().into(), DType::F16, 1e-3)] {
        let model = Model::from_program(&program)?;
        // Three steps do not get from 144 to 12, ten do.
        for (steps, enough) in [(3, false), (10, true)] {
            let x = AnyTensor::from_f32(dtype, [1], vec![144.0])?;
            let outputs = model.predict([("x", x), ("steps", AnyTensor::new([1], vec![steps])?)])?;
            let root = outputs["root"].to_f32()?[0];
            assert!((root / 12.0 - 1.0).abs() <= tolerance, "found {root}");
            assert_eq!(outputs["found"].to_i64()?, [i64::from(enough)]);
            assert_eq!(outputs["step"].to_i64()?, [i64::from(steps)]);
            println!("newton: {root} after {steps} steps, by {}", if enough { "the loop" } else { "the op" });
        }
    }
    Ok(())
}
