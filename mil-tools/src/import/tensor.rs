//! Tensors of the model that is imported.

use mil_core::{
    graph::Value,
    ir::Constant,
    types::{DType, Dim},
};

use super::Refusal;

/// A tensor of the model that is imported: the value that stands for it here, and the dtype that it has there.
#[derive(Clone, Debug)]
pub(crate) struct Tensor {
    /// Of the dtype that [`carrier`] gives for `dtype`.
    pub(crate) value: Value,
    /// The dtype in the model: `i64` and `u8` are carried in `i32`, `f64` in `f32`.
    pub(crate) dtype: DType,
}

impl Tensor {
    /// A value that is of this dtype in the model.
    pub(crate) fn new(value: Value, dtype: DType) -> Tensor {
        Tensor { value, dtype }
    }

    pub(crate) fn dims(&self) -> &[Dim] {
        self.value.shape().map_or(&[], |s| s)
    }

    pub(crate) fn rank(&self) -> usize {
        self.dims().len()
    }

    /// The size of a dimension, if it is known.
    pub(crate) fn size(&self, axis: usize) -> Option<usize> {
        self.dims().get(axis).and_then(Dim::fixed)
    }

    /// All sizes, if all are known.
    pub(crate) fn fixed(&self) -> Option<Vec<usize>> {
        self.dims().iter().map(Dim::fixed).collect()
    }

    /// Its value, if that is known.
    pub(crate) fn constant(&self) -> Option<&Constant> {
        self.value.known()?.constant()
    }

    /// Its elements, if they are known and integers or bools.
    pub(crate) fn ints(&self) -> Option<Vec<i64>> {
        self.constant()?.ints()
    }

    /// Its elements, if they are known numbers.
    pub(crate) fn numbers(&self) -> Option<Vec<f64>> {
        let c = self.constant()?;
        c.floats().or_else(|| Some(c.ints()?.into_iter().map(|v| v as f64).collect()))
    }

    /// Its elements, as far as shape arithmetic knows them, if it is a list or one integer.
    pub(crate) fn known_dims(&self) -> Option<Vec<Dim>> {
        self.value.known()?.dims()
    }

    /// An axis that counts from the end if it is negative.
    ///
    /// # Errors
    /// If there is no such axis.
    pub(crate) fn axis(&self, axis: i64) -> Result<usize, Refusal> {
        axis_of(axis, self.rank())
    }
}

/// An axis of a tensor of this rank, counted from the end if it is negative.
pub(crate) fn axis_of(axis: i64, rank: usize) -> Result<usize, Refusal> {
    let rank = rank as i64;
    let at = if axis < 0 { axis + rank } else { axis };
    if (0..rank).contains(&at) {
        return Ok(at as usize);
    }
    Err(Refusal::new(format!("there is no axis {axis} in a tensor of rank {rank}")))
}

/// The dtype of the value that stands for a tensor of the model: MIL's ops know `f32`, `f16`, `i32` and `bool`.
/// `None` for what no value stands for (complex numbers have no [`DType`] to begin with).
pub(crate) fn carrier(dtype: DType) -> Option<DType> {
    match dtype {
        DType::F32 | DType::F64 | DType::BF16 | DType::F8E4M3FN | DType::F8E5M2 => Some(DType::F32),
        DType::F16 | DType::Bool => Some(dtype),
        d if d.is_int() => Some(DType::I32),
        _ => None,
    }
}
