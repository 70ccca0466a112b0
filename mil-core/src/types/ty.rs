//! The type of a value.

use std::fmt;

use super::{dtype::DType, shape::Shape};

/// A tensor's element type and shape. A scalar is a tensor of rank 0.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct TensorType {
    /// Element type.
    pub dtype: DType,
    /// Dimensions, outermost first.
    pub shape: Shape,
}

impl TensorType {
    /// A tensor type.
    pub fn new(dtype: DType, shape: impl Into<Shape>) -> TensorType {
        TensorType { dtype, shape: shape.into() }
    }

    /// A tensor type of rank 0.
    pub fn scalar(dtype: DType) -> TensorType {
        TensorType { dtype, shape: Shape::scalar() }
    }

    /// How many dimensions there are.
    pub fn rank(&self) -> usize {
        self.shape.rank()
    }

    /// The same shape with another element type.
    pub fn with_dtype(&self, dtype: DType) -> TensorType {
        TensorType { dtype, shape: self.shape.clone() }
    }

    /// The same element type with another shape.
    pub fn with_shape(&self, shape: impl Into<Shape>) -> TensorType {
        TensorType { dtype: self.dtype, shape: shape.into() }
    }

    fn write(&self, f: &mut fmt::Formatter<'_>, word: &str) -> fmt::Result {
        write!(f, "{word}<{}", self.dtype)?;
        for d in self.shape.iter() {
            write!(f, ", {d}")?;
        }
        f.write_str(">")
    }
}

/// As the DSL writes it: `Tensor<f32, 1, 3, H, W>`.
impl fmt::Display for TensorType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write(f, "Tensor")
    }
}

impl fmt::Debug for TensorType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The type of a value: almost always a tensor.
#[derive(Clone, PartialEq, Eq, Hash)]
pub enum Type {
    /// A tensor, or a scalar (rank 0).
    Tensor(TensorType),
    /// A list of values of one type; the length may be unknown.
    List(Box<Type>, super::Dim),
    /// A fixed number of values.
    Tuple(Vec<Type>),
    /// A map, as a classifier's output has it.
    Dictionary(Box<Type>, Box<Type>),
    /// A tensor that lives between predictions (since iOS18).
    State(TensorType),
}

impl Type {
    /// The tensor type, if it is one (a state is not).
    pub fn tensor(&self) -> Option<&TensorType> {
        match self {
            Type::Tensor(t) => Some(t),
            _ => None,
        }
    }

    /// Whether a value of one type may be used where the other is declared: equal but for dimensions that may be equal.
    pub fn compatible(&self, other: &Type) -> bool {
        match (self, other) {
            (Type::Tensor(a), Type::Tensor(b)) | (Type::State(a), Type::State(b)) => {
                a.dtype == b.dtype && a.shape.compatible(&b.shape)
            }
            (Type::List(a, n), Type::List(b, m)) => a.compatible(b) && n.may_equal(m),
            (Type::Tuple(a), Type::Tuple(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.compatible(b)),
            (Type::Dictionary(k, v), Type::Dictionary(l, w)) => k.compatible(l) && v.compatible(w),
            _ => false,
        }
    }
}

impl From<TensorType> for Type {
    fn from(t: TensorType) -> Type {
        Type::Tensor(t)
    }
}

/// As the DSL writes it: `Tensor<f32, 2>`, `State<f16, 1, 8>`, `List<Tensor<f32, 2>, 4>`.
impl fmt::Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Type::Tensor(t) => t.write(f, "Tensor"),
            Type::State(t) => t.write(f, "State"),
            Type::List(t, n) => write!(f, "List<{t}, {n}>"),
            Type::Dictionary(k, v) => write!(f, "Dictionary<{k}, {v}>"),
            Type::Tuple(ts) => {
                f.write_str("(")?;
                for (i, t) in ts.iter().enumerate() {
                    write!(f, "{}{t}", if i == 0 { "" } else { ", " })?;
                }
                f.write_str(")")
            }
        }
    }
}

impl fmt::Debug for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Parses what `Display` prints of types whose dimensions are numbers, symbols (any size from 1) or `?` (each its own).
impl std::str::FromStr for TensorType {
    type Err = String;

    fn from_str(text: &str) -> Result<TensorType, String> {
        use super::dim::{Dim, Domain, Symbol};
        let inner = text.trim().strip_prefix("Tensor<").and_then(|t| t.strip_suffix('>'));
        let inner = inner.ok_or_else(|| format!("expected `Tensor<dtype, dims..>`, found `{text}`"))?;
        let mut parts = inner.split(',').map(str::trim);
        let dtype = parts.next().and_then(DType::parse);
        let dtype = dtype.ok_or_else(|| format!("no dtype at the start of `{inner}`"))?;
        let dim = |(i, p): (usize, &str)| match p.parse::<i64>() {
            Ok(n) if n >= 0 => Ok(Dim::from(n)),
            _ if p == "?" => Ok(Dim::unknown(i)),
            _ if p.starts_with(char::is_alphabetic) && p.chars().all(|c| c.is_alphanumeric() || c == '_') => {
                Ok(Dim::symbol(Symbol::new(p, Domain::Range { min: 1, max: None })))
            }
            _ => Err(format!("`{p}` is no dimension")),
        };
        let dims = parts.enumerate().map(dim).collect::<Result<Vec<_>, _>>()?;
        Ok(TensorType::new(dtype, dims))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_read_and_print_as_the_dsl_writes_them() {
        for text in ["Tensor<f32>", "Tensor<f16, 1, 3, H, W>", "Tensor<i32, ?>"] {
            assert_eq!(text.parse::<TensorType>().unwrap().to_string(), text);
        }
        for bad in ["Tensor<f12, 1>", "Tensor<f32, -1>", "f32", "Tensor<f32, 1x>"] {
            assert!(bad.parse::<TensorType>().is_err(), "{bad}");
        }
    }
}
