//! To and from the `ndarray` crate.
//!
//! Owned arrays in standard layout are moved, not copied; so are tensors that own their elements.

use mil_core::types::DType;
use ndarray::{Array, ArrayD, ArrayRef, ArrayViewD, Dimension, IxDyn};

use crate::{
    error::RunError,
    tensor::{AnyTensor, Data, Number},
};

/// An element type that arrays and tensors share: every [`Number`], and `bool`.
pub trait ArrayElement: Clone + Sized {
    /// The dtype of a tensor of these.
    const DTYPE: DType;
    /// Elements as a tensor's data.
    fn into_data(v: Vec<Self>) -> Data;
    /// A tensor's data as elements, if it is of this type.
    fn from_data(data: Data) -> Option<Vec<Self>>;
}

impl<T: Number> ArrayElement for T {
    const DTYPE: DType = <T as mil_core::ir::Element>::DTYPE;
    fn into_data(v: Vec<T>) -> Data {
        T::data(v)
    }
    fn from_data(data: Data) -> Option<Vec<T>> {
        T::into_vec(data)
    }
}

impl ArrayElement for bool {
    const DTYPE: DType = DType::Bool;
    fn into_data(v: Vec<bool>) -> Data {
        Data::Bool(v.into_iter().map(u8::from).collect::<Vec<_>>().into())
    }
    fn from_data(data: Data) -> Option<Vec<bool>> {
        match data {
            Data::Bool(v) => Some(v.iter().map(|b| *b != 0).collect()),
            _ => None,
        }
    }
}

impl<T: ArrayElement, D: Dimension> From<Array<T, D>> for AnyTensor {
    fn from(array: Array<T, D>) -> AnyTensor {
        let shape = array.shape().to_vec();
        let count = array.len();
        let elements = if array.is_standard_layout() {
            let (mut v, offset) = array.into_raw_vec_and_offset();
            // An array that was sliced owns more than it shows.
            v.truncate(offset.unwrap_or(0) + count);
            v.drain(..offset.unwrap_or(0));
            v
        } else {
            array.iter().cloned().collect()
        };
        from_parts(shape, elements)
    }
}

impl<T: ArrayElement, D: Dimension> From<&Array<T, D>> for AnyTensor {
    fn from(array: &Array<T, D>) -> AnyTensor {
        copy(array)
    }
}

impl<T: ArrayElement, D: Dimension> From<ndarray::ArrayView<'_, T, D>> for AnyTensor {
    fn from(array: ndarray::ArrayView<'_, T, D>) -> AnyTensor {
        copy(&array)
    }
}

fn copy<T: ArrayElement, D: Dimension>(array: &ArrayRef<T, D>) -> AnyTensor {
    from_parts(array.shape().to_vec(), array.iter().cloned().collect())
}

fn from_parts<T: ArrayElement>(shape: Vec<usize>, elements: Vec<T>) -> AnyTensor {
    match AnyTensor::from_data(shape, T::into_data(elements)) {
        Ok(tensor) => tensor,
        // An array has as many elements as its shape says.
        Err(e) => unreachable!("{e}"),
    }
}

impl AnyTensor {
    /// A copy as an array.
    ///
    /// # Errors
    /// If the tensor's dtype is another; nothing is converted.
    pub fn to_ndarray<T: ArrayElement>(&self) -> Result<ArrayD<T>, RunError> {
        self.clone().into_ndarray()
    }

    /// The tensor as an array; its elements are moved if it owns them.
    ///
    /// # Errors
    /// If the tensor's dtype is another; nothing is converted.
    pub fn into_ndarray<T: ArrayElement>(self) -> Result<ArrayD<T>, RunError> {
        let shape = IxDyn(self.shape());
        let wrong = RunError::new(format!("expected elements of {}, found {}", T::DTYPE, self.ty()));
        let elements = T::from_data(self.into_data()).ok_or(wrong)?;
        ArrayD::from_shape_vec(shape, elements)
            .map_err(|e| RunError::with_source(format!("the tensor cannot be an array: {e}"), e))
    }

    /// The elements as an array that borrows them.
    ///
    /// # Errors
    /// If the tensor's dtype is another; nothing is converted.
    pub fn view<T: Number>(&self) -> Result<ArrayViewD<'_, T>, RunError> {
        let wrong = || RunError::new(format!("expected elements of {}, found {}", T::DTYPE, self.ty()));
        let elements = self.as_slice::<T>().ok_or_else(wrong)?;
        ArrayViewD::from_shape(IxDyn(self.shape()), elements)
            .map_err(|e| RunError::with_source(format!("the tensor cannot be an array: {e}"), e))
    }
}

#[cfg(test)]
mod tests {
    use ndarray::{Array2, arr0, arr2, s};

    use super::*;

    #[test]
    fn owned_arrays_move() {
        let array = Array2::<f32>::zeros((2, 3));
        let at = array.as_ptr();
        let tensor = AnyTensor::from(array);
        assert_eq!((tensor.shape(), tensor.as_slice::<f32>().unwrap().as_ptr()), (&[2, 3][..], at));
        assert_eq!(tensor.view::<f32>().unwrap().as_ptr(), at);
        assert_eq!(tensor.into_ndarray::<f32>().unwrap().as_ptr(), at);
    }

    #[test]
    fn any_layout_gives_row_major_elements() {
        let array = arr2(&[[1i32, 2, 3], [4, 5, 6]]);
        let transposed = AnyTensor::from(array.clone().reversed_axes());
        assert_eq!(transposed, AnyTensor::new([3, 2], vec![1i32, 4, 2, 5, 3, 6]).unwrap());
        assert_eq!(AnyTensor::from(array.slice(s![.., 1..])), AnyTensor::new([2, 2], vec![2i32, 3, 5, 6]).unwrap());
        let row = array.clone().slice_move(s![1..2, ..]);
        assert_eq!(AnyTensor::from(row), AnyTensor::new([1, 3], vec![4i32, 5, 6]).unwrap());
        assert_eq!(AnyTensor::from(&array).to_ndarray::<i32>().unwrap(), array.into_dyn());
        assert_eq!(AnyTensor::from(arr0(1.5f64)), AnyTensor::scalar(1.5f64));
    }

    #[test]
    fn bools_and_wrong_dtypes() {
        let tensor = AnyTensor::from(arr2(&[[true, false]]));
        assert_eq!(tensor, AnyTensor::bools([1, 2], &[true, false]).unwrap());
        assert_eq!(tensor.to_ndarray::<bool>().unwrap(), arr2(&[[true, false]]).into_dyn());
        let e = tensor.to_ndarray::<u8>().unwrap_err().to_string();
        assert_eq!(e, "expected elements of u8, found Tensor<bool, 1, 2>");
        assert!(tensor.view::<f32>().is_err());
    }
}
