//! `ndarray` interop.

use ndarray::{Array, ArrayD, Dimension, IxDyn};

use super::Tensor;
use crate::RunError;

impl<T, const D0: usize, const D1: usize, const D2: usize, const D3: usize, const D4: usize>
    From<Tensor<T, D0, D1, D2, D3, D4>> for ArrayD<T>
{
    fn from(t: Tensor<T, D0, D1, D2, D3, D4>) -> ArrayD<T> {
        let shape = IxDyn(t.shape());
        // A `Tensor` has as many elements as its shape says, which is all that is checked.
        ArrayD::from_shape_vec(shape, t.into_vec()).unwrap_or_else(|e| unreachable!("{e}"))
    }
}

/// Of any memory layout.
///
/// # Errors
/// If the shape is not the type's.
impl<T: Clone, D: Dimension, const D0: usize, const D1: usize, const D2: usize, const D3: usize, const D4: usize>
    TryFrom<Array<T, D>> for Tensor<T, D0, D1, D2, D3, D4>
{
    type Error = RunError;

    fn try_from(a: Array<T, D>) -> Result<Self, RunError> {
        let shape = a.shape().to_vec();
        let data = if a.is_standard_layout() { a.into_iter().collect() } else { a.iter().cloned().collect() };
        Tensor::new(shape, data)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_and_back_in_any_layout() {
        let t = Tensor::from([[1, 2, 3], [4, 5, 6]]);
        let a: ArrayD<i32> = t.clone().into();
        assert_eq!(a[[1, 0]], 4);
        let turned = a.clone().reversed_axes();
        let back = Tensor::<i32, 3, 2>::try_from(turned).unwrap();
        assert_eq!(back, Tensor::from([[1, 4], [2, 5], [3, 6]]));
        assert_eq!(Tensor::<i32, 2, 3>::try_from(a.clone()).unwrap(), t);
        assert!(Tensor::<i32, 3, 2>::try_from(a).is_err());
    }
}
