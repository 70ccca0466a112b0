//! An op that MIL does not have: the angle of a point, right in all quadrants, out of ops that MIL has.
//!
//! The cases are those of C's `atan2`: signed zeros, infinities and NaN included.
#![allow(clippy::print_stdout)]

use std::error::Error;

use mil::prelude::*;

mod common;

const ROWS: usize = 1024;
const COLUMNS: usize = 2048;

macro_rules! atan2 {
    ($name:ident, $dtype:ident, $opset:ident) => {
        #[mil_program(opset = $opset)]
        fn $name(y: Tensor<$dtype, 1024, 2048>, x: Tensor<$dtype, 1024, 2048>) -> _ {
            const PI: f64 = 3.141_592_653_589_793;

            // The sign of a zero shows in its inverse only, that of an infinity in itself only.
            fn is_negative(v: Tensor) -> _ {
                v < 0.0 || 1.0 / v < 0.0
            }

            let height = mb::abs(y);
            let width = mb::abs(x);
            // inf / inf and 0 / 0 are NaN, but the angle exists: that of the diagonal, and 0.
            let diagonal = mb::select(height == 0.0, height, 1.0);
            let slope = mb::select(height == width, diagonal, height / width);
            let first_quadrant = mb::atan(slope);
            let upper_half = mb::select(is_negative(x), PI - first_quadrant, first_quadrant);
            let angle = mb::select(is_negative(y), -upper_half, upper_half);
            angle
        }
    };
}

atan2!(atan2, f32, iOS15);
atan2!(atan2_fp16, f16, iOS16);

pub(crate) fn main() -> Result<(), Box<dyn Error>> {
    let out = common::output_dir()?;
    atan2().save(out.join("atan2.mlpackage"))?;
    atan2_fp16().save(out.join("atan2_fp16.mlpackage"))?;

    // An f16 angle of up to pi is rounded by up to 2^-10; so are pi itself and the angle in the first quadrant.
    for (program, dtype, tolerance) in [(atan2().into(), DType::F32, 1e-6), (atan2_fp16().into(), DType::F16, 3e-3)] {
        let (y, x) = points();
        let y = AnyTensor::from_f32(dtype, [ROWS, COLUMNS], y)?;
        let x = AnyTensor::from_f32(dtype, [ROWS, COLUMNS], x)?;
        let (ys, xs) = (y.to_f32()?.into_owned(), x.to_f32()?.into_owned());
        let angle = &Model::from_program(&program)?.predict([("y", y), ("x", x)])?["angle"];
        assert_eq!(angle.shape(), [ROWS, COLUMNS]);
        let mut worst = 0f32;
        for ((&found, y), x) in angle.to_f32()?.iter().zip(ys).zip(xs) {
            let expected = y.atan2(x);
            let what = |v: f32| (v.is_nan(), !v.is_nan() && v.is_sign_negative());
            assert_eq!(what(found), what(expected), "atan2({y}, {x}) is {expected}, found {found}");
            worst = worst.max((found - expected).abs()); // `max` passes over NaN
        }
        assert!(worst <= tolerance, "off by {worst}");
        println!("atan2: {}, off by at most {worst:e}", angle.ty());
    }
    Ok(())
}

/// Every pair of the special values, then points all around the origin, far and near.
fn points() -> (Vec<f32>, Vec<f32>) {
    const SPECIAL: [f32; 17] = [
        0.0,
        -0.0,
        f32::INFINITY,
        f32::NEG_INFINITY,
        f32::NAN,
        f32::MAX,
        f32::MIN,
        f32::MIN_POSITIVE,
        -f32::MIN_POSITIVE,
        1e-45,
        -1e-45,
        6e-8,
        65504.0,
        -65504.0,
        1.0,
        -1.0,
        2.5,
    ];
    let special = SPECIAL.iter().flat_map(|y| SPECIAL.iter().map(move |x| (*y, *x)));
    let around = (0u32..).map(|i| {
        let (angle, exponent) = (i as f32 * 0.618_034, (i % 41) as f32 * 0.5 - 10.0);
        (angle.sin() * exponent.exp2(), angle.cos() * exponent.exp2())
    });
    special.chain(around).take(ROWS * COLUMNS).unzip()
}
