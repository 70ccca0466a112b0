//! Tensors of one number, and numbers for ops.

use mil_core::{
    graph::Value,
    ir::{Constant, Literal},
    mb,
    types::DType,
};

use super::{Lowering, Refusal, Size};

/// A number as an operand beside values of this dtype.
pub(crate) fn literal(dtype: DType, number: f64) -> Literal {
    match dtype {
        DType::Bool => Literal::Bool(number != 0.0),
        d if d.is_int() => Literal::Int(number as i64),
        _ => Literal::Float(number),
    }
}

impl Lowering {
    /// A tensor that is one number everywhere, of a dtype that values have here.
    ///
    /// # Errors
    /// If the number does not fit the dtype.
    pub(crate) fn filled(&mut self, sizes: &[Size], dtype: DType, number: f64) -> Result<Value, Refusal> {
        let one = literal(dtype, number).constant(dtype)?;
        let fixed: Option<Vec<usize>> = sizes
            .iter()
            .map(|s| match s {
                Size::Fixed(n) => usize::try_from(*n).ok(),
                Size::Value(_) => None,
            })
            .collect();
        match fixed {
            // `fill` has no scalars, and nothing that is empty.
            Some(sizes) if sizes.is_empty() => Ok(self.constant(one)),
            Some(sizes) if sizes.contains(&0) => Ok(self.constant(Constant::from_bytes(dtype, sizes, vec![])?)),
            _ => {
                let shape = self.shape_of_sizes(sizes)?;
                self.push(mb::fill(shape).value(one))
            }
        }
    }

    /// A tensor that is one number everywhere, as large as another.
    pub(crate) fn filled_like(&mut self, x: &Value, dtype: DType, number: f64) -> Result<Value, Refusal> {
        let sizes = self.sizes(x)?;
        self.filled(&sizes, dtype, number)
    }

    /// A vector as one that runs along an axis of tensors of this rank: `[1, .., n, .., 1]`. What has one element becomes a
    /// scalar's equal, of size 1 everywhere.
    ///
    /// # Errors
    /// If it is no vector.
    pub(crate) fn along(&mut self, vector: &Value, axis: usize, rank: usize) -> Result<Value, Refusal> {
        let mut sizes = vec![Size::Fixed(1); rank];
        let shape = vector.shape().map(|s| s.to_vec()).unwrap_or_default();
        match &shape[..] {
            [] => return Ok(vector.clone()),
            [n] if axis < rank && n.fixed() != Some(1) => sizes[axis] = self.size(vector, 0)?,
            [_] => {}
            _ => return Err(Refusal::new(format!("a vector is expected, found {}", vector.ty()))),
        }
        self.reshape(vector, &sizes)
    }
}
