//! Tensors as `MLMultiArray`s and back.

use std::{ffi::c_void, ptr::NonNull, slice, sync::Mutex};

use block2::RcBlock;
use mil_core::types::DType;
use objc2::{AnyThread, rc::Retained};
use objc2_core_ml::{MLMultiArray, MLMultiArrayDataType};
use objc2_foundation::{NSArray, NSInteger, NSNumber};

use super::error::core_ml_error;
use crate::{error::RunError, strided::gather, tensor::AnyTensor};

const DTYPES: [(DType, MLMultiArrayDataType); 5] = [
    (DType::F16, MLMultiArrayDataType::Float16),
    (DType::F32, MLMultiArrayDataType::Float32),
    (DType::F64, MLMultiArrayDataType::Double),
    (DType::I32, MLMultiArrayDataType::Int32),
    (DType::I8, MLMultiArrayDataType::Int8),
];

fn numbers(sizes: &[usize]) -> Retained<NSArray<NSNumber>> {
    let numbers: Vec<_> = sizes.iter().map(|n| NSNumber::new_usize(*n)).collect();
    NSArray::from_retained_slice(&numbers)
}

/// The tensor as an array that owns it: its elements are not copied.
pub(super) fn from_tensor(name: &str, tensor: AnyTensor) -> Result<Retained<MLMultiArray>, RunError> {
    let fail = || RunError::new(format!("input `{name}` is {}, which Core ML has no arrays of", tensor.ty()));
    let (_, code) = *DTYPES.iter().find(|(d, _)| *d == tensor.dtype()).ok_or_else(fail)?;
    // A scalar is `[1]` there.
    let shape = if tensor.rank() == 0 { vec![1] } else { tensor.shape().to_vec() };
    let mut strides = vec![1usize; shape.len()];
    for d in (1..shape.len()).rev() {
        // The count fits, for the tensor is in memory; so does every part of it.
        strides[d - 1] = strides[d] * shape[d].max(1);
    }
    let elements = NonNull::from(tensor.bytes().ok_or_else(fail)?).cast::<c_void>();
    // Core ML calls this once, when it needs the elements no more, on any thread.
    let owner = Mutex::new(Some(tensor));
    let release = RcBlock::new(move |_: NonNull<c_void>| {
        drop(owner.lock().map(|mut owner| owner.take()));
    });
    // SAFETY: the pointer is of as many elements of that dtype as shape and strides span, row-major; the tensor that owns
    // them lives in the block, which the array keeps until it has called it. Core ML does not write to inputs.
    let array = unsafe {
        MLMultiArray::initWithDataPointer_shape_dataType_strides_deallocator_error(
            MLMultiArray::alloc(),
            elements,
            &numbers(&shape),
            code,
            &numbers(&strides),
            Some(&release),
        )
    };
    array.map_err(|e| core_ml_error(&format!("input `{name}` could not be handed over"), &e))
}

/// A copy of an array's elements.
pub(super) fn to_tensor(name: &str, array: &MLMultiArray) -> Result<AnyTensor, RunError> {
    // SAFETY: plain getters.
    let (code, shape, strides) = unsafe { (array.dataType(), array.shape(), array.strides()) };
    let dtype = DTYPES.iter().find(|(_, c)| *c == code).map(|(d, _)| *d);
    let dtype =
        dtype.ok_or_else(|| RunError::new(format!("output `{name}` is of the unknown data type {}", code.0)))?;
    let shape: Vec<usize> = shape.iter().map(|n| n.as_usize()).collect();
    let strides: Vec<isize> = strides.iter().map(|n| n.as_isize()).collect();
    let strides = usable_strides(&shape, strides);
    let size = dtype.bits() / 8;
    let result: Mutex<Option<Result<Vec<u8>, RunError>>> = Mutex::new(None);
    let copy = |start: NonNull<c_void>, length: NSInteger| {
        let length = usize::try_from(length).unwrap_or(0);
        // SAFETY: Core ML lends `length` initialized bytes at `start` until the handler returns.
        let bytes = unsafe { slice::from_raw_parts(start.cast::<u8>().as_ptr(), length) };
        let copied = gather(bytes, size, &shape, &strides);
        if let Ok(mut result) = result.lock() {
            *result = Some(copied);
        }
    };
    let handler = block2::StackBlock::new(copy);
    // SAFETY: the handler is called before the method returns, once.
    unsafe { array.getBytesWithHandler(&handler) };
    let bytes = result.lock().ok().and_then(|mut r| r.take());
    let bytes = bytes.ok_or_else(|| RunError::new(format!("Core ML lent no bytes of the output `{name}`")))??;
    AnyTensor::from_bytes(dtype, shape, bytes)
}

/// Some systems have given strides of 0 for arrays that are row-major; no output repeats its elements.
fn usable_strides(shape: &[usize], strides: Vec<isize>) -> Vec<isize> {
    if strides.iter().any(|s| *s != 0) {
        return strides;
    }
    let mut row_major = vec![1isize; shape.len()];
    for d in (1..shape.len()).rev() {
        row_major[d - 1] = row_major[d].saturating_mul(isize::try_from(shape[d]).unwrap_or(isize::MAX));
    }
    row_major
}
