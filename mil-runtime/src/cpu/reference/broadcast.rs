//! Broadcasting of tensors.

use mil_core::{
    ops::strided::{Broadcast, broadcast_shapes},
    types::DType,
};

use crate::{
    error::RunError,
    tensor::{AnyTensor, checked_count},
};

/// The shape that tensors broadcast to. Symbols that inference had to trust may turn out not to.
pub(super) fn shape_of(tensors: &[&AnyTensor]) -> Result<Vec<usize>, RunError> {
    let shapes: Vec<_> = tensors.iter().map(|t| t.shape()).collect();
    let shape = broadcast_shapes(&shapes);
    let shape = shape.ok_or_else(|| RunError::new(format!("the shapes {shapes:?} do not broadcast")))?;
    // Kernels compute in f32 or wider, whatever the dtype.
    checked_count(DType::F32, &shape)?;
    Ok(shape)
}

/// The shape that two tensors broadcast to, and where the elements of each pair are.
pub(super) fn pairs(x: &AnyTensor, y: &AnyTensor) -> Result<(Vec<usize>, Broadcast<2>), RunError> {
    let shape = shape_of(&[x, y])?;
    let walk = Broadcast::new(&shape, [x.shape(), y.shape()]);
    Ok((shape, walk))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_broadcast_is_an_error() {
        let (x, y) = (AnyTensor::new([2], vec![1i32; 2]).unwrap(), AnyTensor::new([3], vec![1i32; 3]).unwrap());
        assert_eq!(pairs(&x, &y).unwrap_err().to_string(), "the shapes [[2], [3]] do not broadcast");
        let [row, column] = [[1, 1 << 18], [1 << 18, 1]].map(|s| AnyTensor::new(s, vec![0u8; 1 << 18]).unwrap());
        assert!(pairs(&row, &column).unwrap_err().to_string().contains("is too large"));
        let (shape, walk) = pairs(&x, &AnyTensor::scalar(1i32)).unwrap();
        assert_eq!((shape, walk.collect::<Vec<_>>()), (vec![2], vec![[0, 0], [1, 0]]));
    }
}
