//! What is known of a value before the program runs.

use crate::types::{DType, Dim};

use super::constant::Constant;

/// A value, or as much of it as inference knows: this is what lets `reshape(x, shape = concat(..))` have a type.
#[derive(Clone, PartialEq, Debug)]
pub enum Known {
    /// All of it.
    Constant(Constant),
    /// Integers of rank 0 or 1 that may hold symbols, as `shape(x)` gives them.
    Ints {
        /// Element type.
        dtype: DType,
        /// Whether it is a scalar; then there is exactly one number.
        scalar: bool,
        /// The numbers.
        values: Vec<Dim>,
    },
}

impl Known {
    /// Integers of rank 1 (or 0), folded to a constant where all are numbers that fit the dtype.
    pub fn ints(dtype: DType, scalar: bool, values: Vec<Dim>) -> Known {
        let shape = if scalar { vec![] } else { vec![values.len()] };
        let numbers: Option<Vec<i64>> = values.iter().map(Dim::value).collect();
        let constant = numbers.and_then(|n| {
            let n: Vec<super::Literal> = n.into_iter().map(super::Literal::Int).collect();
            super::Literal::constant_of(&n, shape, dtype).ok()
        });
        constant.map_or(Known::Ints { dtype, scalar, values }, Known::Constant)
    }

    /// The integers (or bools), flat, if these are integers.
    pub fn dims(&self) -> Option<Vec<Dim>> {
        match self {
            Known::Constant(c) => Some(c.ints()?.into_iter().map(Dim::from).collect()),
            Known::Ints { values, .. } => Some(values.clone()),
        }
    }

    /// The constant, if all of it is known.
    pub fn constant(&self) -> Option<&Constant> {
        match self {
            Known::Constant(c) => Some(c),
            Known::Ints { .. } => None,
        }
    }
}
