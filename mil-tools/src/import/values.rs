//! Constants of the model as constants of MIL's dtypes.

use half::bf16;
use mil_core::{ir::Constant, types::DType};

use super::{Lowering, Refusal, Tensor, carrier};

impl Lowering {
    /// A constant of the model as a tensor here.
    ///
    /// # Errors
    /// If it is of a dtype that no value has, or its bytes are not there.
    pub(crate) fn materialize(&mut self, constant: &Constant) -> Result<Tensor, Refusal> {
        let (carried, moved) = carried(constant)?;
        if moved > 0 && carried.count() > moved {
            self.warn(format!("{moved} integers of 64 bits do not fit in 32 and became the nearest that do"));
        }
        Ok(Tensor::new(self.constant(carried), constant.dtype()))
    }
}

/// A constant as the values here carry it: `i64` as `i32`, `f64` and `bf16` as `f32`. Gives also how many numbers did not
/// fit and were moved to the nearest that does: "as many as there are" is often said with the largest `i64`.
fn carried(c: &Constant) -> Result<(Constant, usize), Refusal> {
    let none = || Refusal::new(format!("MIL has no values of {}", c.dtype()));
    let to = carrier(c.dtype()).ok_or_else(none)?;
    if to == c.dtype() {
        return Ok((c.clone(), 0));
    }
    let missing = || Refusal::new("has no bytes");
    if to == DType::I32 {
        let wide: Vec<i128> = match c.dtype() {
            DType::U64 => c.elements::<u64>().ok_or_else(missing)?.into_iter().map(i128::from).collect(),
            _ => c.ints().ok_or_else(missing)?.into_iter().map(i128::from).collect(),
        };
        let fit = |v: i128| v.clamp(i32::MIN.into(), i32::MAX.into());
        let clamped = wide.iter().filter(|v| fit(**v) != **v).count();
        let narrow: Vec<i32> = wide.into_iter().map(|v| fit(v) as i32).collect();
        return Ok((Constant::new(c.shape(), &narrow)?, clamped));
    }
    let floats: Vec<f32> = match c.dtype() {
        DType::BF16 => {
            let bytes = c.bytes().ok_or_else(missing)?;
            bytes.chunks_exact(2).map(|b| bf16::from_le_bytes([b[0], b[1]]).to_f32()).collect()
        }
        DType::F8E4M3FN => c.bytes().ok_or_else(missing)?.iter().map(|b| float8(*b, 4, 7, true)).collect(),
        DType::F8E5M2 => c.bytes().ok_or_else(missing)?.iter().map(|b| float8(*b, 5, 15, false)).collect(),
        _ => c.floats().ok_or_else(missing)?.into_iter().map(|v| v as f32).collect(),
    };
    Ok((Constant::new(c.shape(), &floats)?, 0))
}

/// An 8-bit float (source: "FP8 formats for deep learning", Micikevicius et al. 2022): sign, exponent, mantissa. A `finite`
/// format has no infinities, and NaN only where all other bits are set.
fn float8(bits: u8, exponent_bits: u32, bias: i32, finite: bool) -> f32 {
    let mantissa_bits = 7 - exponent_bits;
    let sign = if bits & 0x80 == 0 { 1.0 } else { -1.0 };
    let exponent = i32::from(bits & 0x7f) >> mantissa_bits;
    let mantissa = f32::from(bits & ((1 << mantissa_bits) - 1));
    let scale = f32::from(1u8 << mantissa_bits);
    let top = (1 << exponent_bits) - 1;
    match (exponent, finite) {
        (e, false) if e == top && mantissa == 0.0 => sign * f32::INFINITY,
        (e, false) if e == top => f32::NAN,
        (_, true) if bits & 0x7f == 0x7f => f32::NAN,
        (0, _) => sign * mantissa / scale * 2f32.powi(1 - bias),
        (e, _) => sign * (1.0 + mantissa / scale) * 2f32.powi(e - bias),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wide_integers_are_moved_to_the_nearest_that_fits() {
        let c = Constant::vector(&[1i64, -5, i64::MAX, i64::MIN]);
        let (narrow, moved) = carried(&c).unwrap();
        assert_eq!((narrow.elements::<i32>().unwrap(), moved), (vec![1, -5, i32::MAX, i32::MIN], 2));
        let c = Constant::vector(&[u64::MAX, 3]);
        assert_eq!(carried(&c).unwrap().0.elements::<i32>(), Some(vec![i32::MAX, 3]));
    }

    #[test]
    fn small_floats_are_widened() {
        let bytes: Vec<u8> = bf16::from_f32(-1.5).to_le_bytes().into();
        let c = Constant::from_bytes(DType::BF16, [1], bytes).unwrap();
        assert_eq!(carried(&c).unwrap().0.elements::<f32>(), Some(vec![-1.5]));
        // 448 and 57344 are the largest of the two formats.
        assert_eq!((float8(0x7e, 4, 7, true), float8(0x7b, 5, 15, false)), (448.0, 57344.0));
        assert_eq!((float8(0x01, 4, 7, true), float8(0x81, 5, 15, false)), (2f32.powi(-9), -(2f32.powi(-16))));
        assert!(float8(0x7f, 4, 7, true).is_nan() && float8(0x7c, 5, 15, false) == f32::INFINITY);
    }
}
