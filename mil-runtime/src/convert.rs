//! Conversions between dtypes, for those who ask for them.

use half::f16;
use mil_core::{ir::f16_from_f64, types::DType};

use crate::{
    error::RunError,
    tensor::{AnyTensor, Data},
};

impl AnyTensor {
    /// The same numbers as another dtype.
    ///
    /// Floats are rounded once, to nearest, ties to even; a float becomes an integer by dropping its fraction, and a
    /// bool by being other than 0. Bools become 0 and 1.
    ///
    /// # Errors
    /// If a number is out of the integer dtype's range or not a number, or one of both is no dtype of numbers that can
    /// be computed with.
    pub fn converted(self, dtype: DType) -> Result<AnyTensor, RunError> {
        if self.dtype() == dtype {
            return Ok(self);
        }
        let shape = self.shape().to_vec();
        let from = self.dtype();
        if dtype == DType::F32 {
            let v = self.to_f32()?.into_owned();
            return AnyTensor::new(shape, v);
        }
        let numbers = Numbers::of(&self)?;
        match (dtype, numbers) {
            (DType::F16, Numbers::F32(v)) => AnyTensor::new(shape, v.into_iter().map(f16::from_f32).collect()),
            (DType::F16, Numbers::F64(v)) => AnyTensor::new(shape, v.into_iter().map(f16_from_f64).collect()),
            (DType::F16, Numbers::Int(v)) => {
                AnyTensor::new(shape, v.into_iter().map(|x| f16_from_f64(x as f64)).collect())
            }
            (DType::F64, Numbers::F32(v)) => AnyTensor::new(shape, v.into_iter().map(f64::from).collect()),
            (DType::F64, Numbers::F64(v)) => AnyTensor::new(shape, v),
            (DType::F64, Numbers::Int(v)) => AnyTensor::new(shape, v.into_iter().map(|x| x as f64).collect()),
            (DType::Bool, Numbers::F32(v)) => AnyTensor::bools(shape, &v.iter().map(|x| *x != 0.0).collect::<Vec<_>>()),
            (DType::Bool, Numbers::F64(v)) => AnyTensor::bools(shape, &v.iter().map(|x| *x != 0.0).collect::<Vec<_>>()),
            (DType::Bool, Numbers::Int(v)) => AnyTensor::bools(shape, &v.iter().map(|x| *x != 0).collect::<Vec<_>>()),
            (d, numbers) => {
                let no_way = || RunError::new(format!("{from} cannot be converted to {d}"));
                let (min, max) = d.int_range().filter(|_| !d.is_sub_byte()).ok_or_else(no_way)?;
                let misfit = |x: &dyn std::fmt::Display| RunError::new(format!("{x} does not fit {d}"));
                let float = |x: f64| match x.trunc() {
                    // Both ends are exact in f64 but for the maxima of 64 bits, which round up to a power of two.
                    t if t >= min as f64 && (t as i128) <= max && t.is_finite() => Ok(t as i128),
                    _ => Err(misfit(&x)),
                };
                let ints: Vec<i128> = match numbers {
                    Numbers::F32(v) => v.into_iter().map(|x| float(x.into())).collect::<Result<_, _>>()?,
                    Numbers::F64(v) => v.into_iter().map(float).collect::<Result<_, _>>()?,
                    Numbers::Int(v) => v,
                };
                if let Some(x) = ints.iter().find(|x| **x < min || **x > max) {
                    return Err(misfit(x));
                }
                // In range: the low 64 bits are the number.
                AnyTensor::from_i64(d, shape, ints.into_iter().map(|x| x as i64).collect())
            }
        }
    }
}

enum Numbers {
    F32(Vec<f32>),
    F64(Vec<f64>),
    Int(Vec<i128>),
}

impl Numbers {
    fn of(t: &AnyTensor) -> Result<Numbers, RunError> {
        Ok(match t.data() {
            Data::F16(_) | Data::F32(_) => Numbers::F32(t.to_f32()?.into_owned()),
            Data::F64(v) => Numbers::F64(v.to_vec()),
            Data::U64(v) => Numbers::Int(v.iter().map(|x| i128::from(*x)).collect()),
            _ => Numbers::Int(t.to_i64()?.into_iter().map(i128::from).collect()),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn convert<T: crate::tensor::Number>(v: Vec<T>, to: DType) -> Result<AnyTensor, RunError> {
        AnyTensor::new([v.len()], v).unwrap().converted(to)
    }

    #[test]
    fn floats_round_once() {
        // Between two f16 and just above the middle: through f32 it would be rounded to the middle, then down.
        let x = 1.0 + f64::powi(2.0, -11) + f64::powi(2.0, -40);
        let up = f16::from_f32(1.0 + f32::powi(2.0, -10));
        assert_eq!(f16::from_f32(x as f32), f16::ONE);
        assert_eq!(convert(vec![x, -x], DType::F16).unwrap().as_slice::<f16>(), Some(&[up, -up][..]));
        let below = 1.0 + f64::powi(2.0, -10) * 1.5 - f64::powi(2.0, -40);
        assert_eq!(convert(vec![below], DType::F16).unwrap().as_slice::<f16>(), Some(&[up][..]));
        let big = convert(vec![1e300, -1e300, f64::NAN, 65504.0], DType::F16).unwrap();
        let big = big.as_slice::<f16>().unwrap();
        assert!(big[0] == f16::INFINITY && big[1] == f16::NEG_INFINITY && big[2].is_nan() && big[3] == f16::MAX);
        assert_eq!(convert(vec![0.1f32], DType::F16).unwrap().as_slice(), Some(&[f16::from_f32(0.1)][..]));
        assert_eq!(convert(vec![f16::from_f32(0.5)], DType::F64).unwrap().as_slice(), Some(&[0.5f64][..]));
    }

    #[test]
    fn integers_drop_the_fraction_and_keep_the_range() {
        assert_eq!(convert(vec![-1.9f32, 2.9], DType::I32).unwrap().as_slice(), Some(&[-1i32, 2][..]));
        assert_eq!(convert(vec![255i64, 0], DType::U8).unwrap().as_slice(), Some(&[255u8, 0][..]));
        assert_eq!(convert(vec![u64::MAX], DType::U64).unwrap().as_slice(), Some(&[u64::MAX][..]));
        assert_eq!(convert(vec![i64::MIN as f64], DType::I64).unwrap().as_slice(), Some(&[i64::MIN][..]));
        assert_eq!(convert(vec![256i32], DType::U8).unwrap_err().to_string(), "256 does not fit u8");
        assert_eq!(convert(vec![f32::NAN], DType::I8).unwrap_err().to_string(), "NaN does not fit i8");
        assert!(convert(vec![9223372036854775808f64], DType::I64).is_err());
        assert!(convert(vec![u64::MAX], DType::I64).is_err());
    }

    #[test]
    fn bools_both_ways() {
        let bools = convert(vec![0.5f32, 0.0], DType::Bool).unwrap();
        assert_eq!(bools, AnyTensor::bools([2], &[true, false]).unwrap());
        assert_eq!(bools.clone().converted(DType::I32).unwrap().as_slice(), Some(&[1i32, 0][..]));
        assert_eq!(bools.converted(DType::F16).unwrap().as_slice(), Some(&[f16::ONE, f16::ZERO][..]));
    }

    #[test]
    fn strings_and_storage_dtypes_are_refused() {
        let text = AnyTensor::from_data([1], Data::String(vec!["a".into()])).unwrap();
        assert!(text.converted(DType::F32).is_err());
        assert_eq!(convert(vec![1f32], DType::I4).unwrap_err().to_string(), "f32 cannot be converted to i4");
    }
}
