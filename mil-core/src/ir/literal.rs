//! Numbers as the user wrote them, before a dtype is chosen.

use crate::types::DType;

use super::constant::{Constant, f16_from_f64};

/// An untyped value: `0.5`, `[2, 2]`, `"same"`. It takes the dtype that the parameter or the other operand has.
#[derive(Clone, PartialEq, Debug)]
pub enum Literal {
    /// `true` or `false`.
    Bool(bool),
    /// A number without a decimal point.
    Int(i64),
    /// A number with one.
    Float(f64),
    /// Text.
    Str(String),
    /// A list; nested lists make higher ranks.
    List(Vec<Literal>),
}

impl Literal {
    /// The shape: a list of lists is of rank 2.
    ///
    /// # Errors
    /// If lists on one level differ in shape.
    pub fn shape(&self) -> Result<Vec<usize>, String> {
        let Literal::List(items) = self else { return Ok(vec![]) };
        let Some(first) = items.first() else { return Ok(vec![0]) };
        let inner = first.shape()?;
        if items.iter().any(|i| i.shape().as_ref() != Ok(&inner)) {
            return Err("the lists inside this list differ in length".into());
        }
        Ok([vec![items.len()], inner].concat())
    }

    fn leaves(&self, out: &mut Vec<Literal>) {
        match self {
            Literal::List(items) => items.iter().for_each(|i| i.leaves(out)),
            leaf => out.push(leaf.clone()),
        }
    }

    /// The dtype it has where nothing else decides: f32, i32, bool or string.
    pub fn natural_dtype(&self) -> DType {
        match self {
            Literal::Bool(_) => DType::Bool,
            Literal::Int(_) => DType::I32,
            Literal::Float(_) => DType::F32,
            Literal::Str(_) => DType::String,
            Literal::List(items) => {
                let all: Vec<_> = items.iter().map(Literal::natural_dtype).collect();
                if all.contains(&DType::F32) { DType::F32 } else { all.first().copied().unwrap_or(DType::I32) }
            }
        }
    }

    /// Whether it can be written with elements of this dtype without changing what it says (rounding aside).
    pub fn fits(&self, dtype: DType) -> bool {
        match self {
            Literal::Bool(_) => dtype == DType::Bool,
            Literal::Int(_) => dtype.is_int() || dtype.is_float(),
            Literal::Float(_) => dtype.is_float(),
            Literal::Str(_) => dtype == DType::String,
            Literal::List(items) => items.iter().all(|i| i.fits(dtype)),
        }
    }

    /// The constant of this dtype.
    ///
    /// # Errors
    /// If it is of another kind, does not fit the dtype, or is a ragged list.
    pub fn constant(&self, dtype: DType) -> Result<Constant, String> {
        let shape = self.shape()?;
        let mut leaves = vec![];
        self.leaves(&mut leaves);
        Literal::constant_of(&leaves, shape, dtype)
    }

    /// A constant of leaves in row-major order.
    pub fn constant_of(leaves: &[Literal], shape: Vec<usize>, dtype: DType) -> Result<Constant, String> {
        if dtype == DType::String {
            let strings = leaves.iter().map(|l| match l {
                Literal::Str(s) => Ok(s.clone()),
                other => Err(format!("expected a string, found `{other}`")),
            });
            return Constant::strings(shape, strings.collect::<Result<_, _>>()?);
        }
        if dtype.is_sub_byte() {
            let int = |leaf: &Literal| match leaf {
                Literal::Int(v) => Ok(*v),
                other => Err(format!("`{other}` does not fit `{dtype}`")),
            };
            let ints = leaves.iter().map(int).collect::<Result<Vec<_>, _>>()?;
            return Constant::integers(dtype, shape, &ints);
        }
        let mut bytes = Vec::new();
        for leaf in leaves {
            let misfit = || format!("`{leaf}` does not fit `{dtype}`");
            match (leaf, dtype) {
                (Literal::Bool(b), DType::Bool) => bytes.push(u8::from(*b)),
                (Literal::Float(_) | Literal::Int(_), d) if d.is_float() => {
                    let v = match leaf {
                        Literal::Float(v) => *v,
                        Literal::Int(v) => *v as f64,
                        _ => return Err(misfit()),
                    };
                    match d {
                        DType::F16 if v.is_finite() && f16_from_f64(v).is_infinite() => return Err(misfit()),
                        DType::F16 => bytes.extend(f16_from_f64(v).to_le_bytes()),
                        DType::F32 if v.is_finite() && (v as f32).is_infinite() => return Err(misfit()),
                        DType::F32 => bytes.extend((v as f32).to_le_bytes()),
                        DType::F64 => bytes.extend(v.to_le_bytes()),
                        _ => return Err(misfit()),
                    }
                }
                (Literal::Int(v), d) if d.is_int() => {
                    let (min, max) = d.int_range().ok_or_else(misfit)?;
                    if i128::from(*v) < min || i128::from(*v) > max {
                        return Err(misfit());
                    }
                    bytes.extend(&v.to_le_bytes()[..d.bits() / 8]);
                }
                _ => return Err(misfit()),
            }
        }
        Constant::from_bytes(dtype, shape, bytes)
    }
}

/// As Rust writes it.
impl std::fmt::Display for Literal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Literal::Bool(v) => write!(f, "{v}"),
            Literal::Int(v) => write!(f, "{v}"),
            Literal::Float(v) => write!(f, "{v:?}"),
            Literal::Str(v) => write!(f, "{v:?}"),
            Literal::List(items) => {
                f.write_str("[")?;
                for (i, item) in items.iter().enumerate() {
                    write!(f, "{}{item}", if i == 0 { "" } else { ", " })?;
                }
                f.write_str("]")
            }
        }
    }
}

macro_rules! from {
    ($($t:ty => $variant:ident $(as $as:ty)?),*) => {$(
        impl From<$t> for Literal { fn from(v: $t) -> Literal { Literal::$variant(v $(as $as)?) } }
    )*};
}
from!(bool => Bool, i32 => Int as i64, i64 => Int, u32 => Int as i64, f32 => Float as f64, f64 => Float, String => Str);

impl From<usize> for Literal {
    fn from(v: usize) -> Literal {
        Literal::Int(i64::try_from(v).unwrap_or(i64::MAX))
    }
}

impl From<&str> for Literal {
    fn from(v: &str) -> Literal {
        Literal::Str(v.into())
    }
}

/// A dtype is written as the string that MIL names it by, as `cast.dtype` wants it.
impl From<DType> for Literal {
    fn from(v: DType) -> Literal {
        Literal::Str(v.mil_name().into())
    }
}

impl<T: Into<Literal> + Clone> From<&[T]> for Literal {
    fn from(v: &[T]) -> Literal {
        Literal::List(v.iter().cloned().map(Into::into).collect())
    }
}

impl<T: Into<Literal>> From<Vec<T>> for Literal {
    fn from(v: Vec<T>) -> Literal {
        Literal::List(v.into_iter().map(Into::into).collect())
    }
}

impl<T: Into<Literal>, const N: usize> From<[T; N]> for Literal {
    fn from(v: [T; N]) -> Literal {
        Literal::List(v.into_iter().map(Into::into).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_the_dtype_it_is_given() {
        assert_eq!(Literal::from(0.5).constant(DType::F16).unwrap(), Constant::scalar(half::f16::from_f32(0.5)));
        assert_eq!(Literal::from([2, 3]).constant(DType::I32).unwrap(), Constant::vector(&[2i32, 3]));
        assert_eq!(Literal::from([[1, 2], [3, 4]]).constant(DType::F32).unwrap().shape(), [2, 2]);
        assert_eq!(Literal::from(-1).constant(DType::I8).unwrap(), Constant::scalar(-1i8));
        let packed = Constant::from_bytes(DType::I4, [3], vec![0x7f, 0x08]).unwrap();
        assert_eq!(Literal::from([-1, 7, -8]).constant(DType::I4).unwrap(), packed);
    }

    #[test]
    fn refuses_what_does_not_fit() {
        assert!(Literal::from(300).constant(DType::U8).unwrap_err().contains("does not fit `u8`"));
        assert!(Literal::from(1e6).constant(DType::F16).is_err());
        assert!(Literal::from(0.5).constant(DType::I32).is_err());
        assert!(Literal::from(4).constant(DType::U2).unwrap_err().contains("does not fit `u2`"));
        assert!(Literal::List(vec![Literal::from([1]), Literal::from([1, 2])]).constant(DType::I32).is_err());
    }
}
