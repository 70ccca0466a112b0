//! Tensors in memory.

use std::{borrow::Cow, fmt, ops::Deref};

use half::f16;
use mil_core::{
    ir::{Constant, Element},
    types::{DType, TensorType},
    weights::Bytes,
};

use crate::error::RunError;

/// Elements that are owned, or shared with a file that is mapped into memory (weights are never copied to be read).
#[derive(Clone)]
pub struct Buffer<T>(Storage<T>);

#[derive(Clone)]
enum Storage<T> {
    Owned(Vec<T>),
    Shared(Bytes),
}

impl<T: bytemuck::Pod> Buffer<T> {
    /// The elements in these little-endian bytes, without a copy if they are aligned.
    fn shared(bytes: &Bytes) -> Buffer<T> {
        match bytemuck::try_cast_slice::<u8, T>(bytes) {
            Ok(_) if cfg!(target_endian = "little") => Buffer(Storage::Shared(bytes.clone())),
            _ => Buffer(Storage::Owned(bytes.chunks_exact(size_of::<T>()).map(bytemuck::pod_read_unaligned).collect())),
        }
    }
}

impl<T: bytemuck::Pod> Buffer<T> {
    /// As [`Bytes::release`], of elements that are shared.
    fn release(&self) {
        if let Storage::Shared(bytes) = &self.0 {
            bytes.release();
        }
    }

    /// The elements as a vector; copied only if they are shared.
    pub fn into_vec(self) -> Vec<T> {
        match self.0 {
            Storage::Owned(v) => v,
            Storage::Shared(bytes) => bytemuck::cast_slice(&bytes).to_vec(),
        }
    }
}

impl<T: bytemuck::Pod + fmt::Debug> fmt::Debug for Buffer<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&**self, f)
    }
}

impl<T> From<Vec<T>> for Buffer<T> {
    fn from(v: Vec<T>) -> Buffer<T> {
        Buffer(Storage::Owned(v))
    }
}

impl<T: bytemuck::Pod> Deref for Buffer<T> {
    type Target = [T];
    fn deref(&self) -> &[T] {
        match &self.0 {
            Storage::Owned(v) => v,
            Storage::Shared(bytes) => bytemuck::cast_slice(bytes),
        }
    }
}

/// Calls a macro with every dtype that a tensor in memory can have, as `(Variant, type)`.
macro_rules! for_each_number {
    ($m:ident) => {
        $m! {
            F16 f16, F32 f32, F64 f64, I8 i8, I16 i16, I32 i32, I64 i64, U8 u8, U16 u16, U32 u32, U64 u64
        }
    };
}

macro_rules! define {
    ($($variant:ident $t:ty),*) => {
        /// The elements of a tensor, row-major.
        #[derive(Clone, Debug)]
        #[allow(missing_docs)] // one variant per dtype
        pub enum Data {
            $($variant(Buffer<$t>),)*
            /// One byte per element, 0 or 1.
            Bool(Buffer<u8>),
            String(Vec<String>),
        }

        impl Data {
            /// Element type.
            pub fn dtype(&self) -> DType {
                match self {
                    $(Data::$variant(_) => DType::$variant,)*
                    Data::Bool(_) => DType::Bool,
                    Data::String(_) => DType::String,
                }
            }

            fn len(&self) -> usize {
                match self {
                    $(Data::$variant(v) => v.len(),)*
                    Data::Bool(v) => v.len(),
                    Data::String(v) => v.len(),
                }
            }

            fn release(&self) {
                match self {
                    $(Data::$variant(v) => v.release(),)*
                    Data::Bool(v) => v.release(),
                    Data::String(_) => {}
                }
            }

            fn bytes(&self) -> Option<&[u8]> {
                match self {
                    $(Data::$variant(v) => Some(bytemuck::cast_slice(v)),)*
                    Data::Bool(v) => Some(v),
                    Data::String(_) => None,
                }
            }

            fn from_bytes(dtype: DType, bytes: &Bytes) -> Option<Data> {
                match dtype {
                    $(DType::$variant => Some(Data::$variant(Buffer::shared(bytes))),)*
                    // A file may hold any byte; anything but 0 is true.
                    DType::Bool if bytes.iter().all(|b| *b <= 1) => Some(Data::Bool(Buffer::shared(bytes))),
                    DType::Bool => Some(Data::Bool(bytes.iter().map(|b| u8::from(*b != 0)).collect::<Vec<_>>().into())),
                    _ => None,
                }
            }
        }

        $(impl Number for $t {
            fn data(v: Vec<$t>) -> Data { Data::$variant(v.into()) }
            fn slice(data: &Data) -> Option<&[$t]> {
                match data { Data::$variant(v) => Some(v), _ => None }
            }
            fn into_vec(data: Data) -> Option<Vec<$t>> {
                match data { Data::$variant(v) => Some(v.into_vec()), _ => None }
            }
        })*
    };
}

/// A Rust number that a tensor can hold.
pub trait Number: Element + bytemuck::Pod {
    /// Elements as data.
    fn data(v: Vec<Self>) -> Data;
    /// The elements, if data is of this type.
    fn slice(data: &Data) -> Option<&[Self]>;
    /// The elements as a vector, if data is of this type; copied only if they are shared.
    fn into_vec(data: Data) -> Option<Vec<Self>>;
}

for_each_number!(define);

/// A tensor of any dtype and shape. Cheap to share behind an `Arc`, which is how values travel.
#[derive(Clone)]
pub struct AnyTensor {
    shape: Vec<usize>,
    data: Data,
}

impl AnyTensor {
    /// A tensor of these elements, row-major.
    ///
    /// # Errors
    /// If there are not exactly as many as the shape has.
    pub fn new<T: Number>(shape: impl Into<Vec<usize>>, elements: Vec<T>) -> Result<AnyTensor, RunError> {
        AnyTensor::from_data(shape, T::data(elements))
    }

    /// A tensor of rank 0.
    pub fn scalar<T: Number>(value: T) -> AnyTensor {
        AnyTensor { shape: vec![], data: T::data(vec![value]) }
    }

    /// A tensor of rank 0 that holds text.
    pub fn string(text: String) -> AnyTensor {
        AnyTensor { shape: vec![], data: Data::String(vec![text]) }
    }

    /// A tensor of bools.
    ///
    /// # Errors
    /// If there are not exactly as many as the shape has.
    pub fn bools(shape: impl Into<Vec<usize>>, elements: &[bool]) -> Result<AnyTensor, RunError> {
        let bytes: Vec<u8> = elements.iter().map(|b| u8::from(*b)).collect();
        AnyTensor::from_data(shape, Data::Bool(bytes.into()))
    }

    /// A tensor of data.
    ///
    /// # Errors
    /// If there are not exactly as many elements as the shape has.
    pub fn from_data(shape: impl Into<Vec<usize>>, data: Data) -> Result<AnyTensor, RunError> {
        let shape = shape.into();
        let count = shape.iter().try_fold(1usize, |n, d| n.checked_mul(*d));
        if count != Some(data.len()) {
            return Err(RunError::new(format!("{} elements given for a tensor of shape {shape:?}", data.len())));
        }
        check_empty(&shape)?;
        Ok(AnyTensor { shape, data })
    }

    /// A tensor of little-endian bytes, shared if they are aligned.
    ///
    /// # Errors
    /// If their number does not fit, or the dtype is a string or smaller than a byte.
    pub fn from_bytes(
        dtype: DType,
        shape: impl Into<Vec<usize>>,
        bytes: impl Into<Bytes>,
    ) -> Result<AnyTensor, RunError> {
        let (shape, bytes) = (shape.into(), bytes.into());
        let count = shape.iter().try_fold(1usize, |n, d| n.checked_mul(*d));
        if count.and_then(|n| dtype.packed_len(n)) != Some(bytes.len()) {
            return Err(RunError::new(format!("{} bytes given for {dtype} of shape {shape:?}", bytes.len())));
        }
        let data = Data::from_bytes(dtype, &bytes);
        let data = data.ok_or_else(|| RunError::new(format!("tensors of {dtype} cannot be computed with")))?;
        AnyTensor::from_data(shape, data)
    }

    /// The value of a constant; its bytes are shared, not copied. Integers smaller than a byte become i8 or u8.
    ///
    /// # Errors
    /// If it is a weight that was not attached.
    pub fn from_constant(c: &Constant) -> Result<AnyTensor, RunError> {
        if let Some(strings) = c.as_strings() {
            return AnyTensor::from_data(c.shape(), Data::String(strings.to_vec()));
        }
        if let Some(name) = c.weight_name() {
            return Err(RunError::new(format!("weight `{name}` is not attached; load the weights first")));
        }
        if c.dtype().is_sub_byte() {
            let ints = c.byte_ints().unwrap_or_default();
            return match c.dtype().is_unsigned() {
                true => AnyTensor::new(c.shape(), ints.into_owned()),
                false => AnyTensor::new(c.shape(), ints.iter().map(|v| *v as i8).collect()),
            };
        }
        let bytes = c.bytes().cloned().unwrap_or_else(|| Vec::new().into());
        AnyTensor::from_bytes(c.dtype(), c.shape(), bytes)
    }

    /// Floats as a tensor of a float dtype, each rounded once (f16: to nearest, ties to even).
    ///
    /// # Errors
    /// If the number of elements is not the shape's, or the dtype is no float that is computed with.
    pub fn from_f32(dtype: DType, shape: impl Into<Vec<usize>>, v: Vec<f32>) -> Result<AnyTensor, RunError> {
        match dtype {
            DType::F32 => AnyTensor::new(shape, v),
            DType::F16 => AnyTensor::new(shape, v.into_iter().map(f16::from_f32).collect()),
            DType::F64 => AnyTensor::new(shape, v.into_iter().map(f64::from).collect()),
            d => Err(RunError::new(format!("{d} is no float dtype"))),
        }
    }

    /// Integers as a tensor of an integer dtype or bool, wrapping where one does not fit.
    ///
    /// # Errors
    /// If the number of elements is not the shape's, or the dtype is no integer that is computed with.
    pub fn from_i64(dtype: DType, shape: impl Into<Vec<usize>>, v: Vec<i64>) -> Result<AnyTensor, RunError> {
        match dtype {
            DType::I8 => AnyTensor::new(shape, v.into_iter().map(|x| x as i8).collect()),
            DType::I16 => AnyTensor::new(shape, v.into_iter().map(|x| x as i16).collect()),
            DType::I32 => AnyTensor::new(shape, v.into_iter().map(|x| x as i32).collect()),
            DType::I64 => AnyTensor::new(shape, v),
            DType::U8 => AnyTensor::new(shape, v.into_iter().map(|x| x as u8).collect()),
            DType::U16 => AnyTensor::new(shape, v.into_iter().map(|x| x as u16).collect()),
            DType::U32 => AnyTensor::new(shape, v.into_iter().map(|x| x as u32).collect()),
            DType::U64 => AnyTensor::new(shape, v.into_iter().map(|x| x as u64).collect()),
            DType::Bool => AnyTensor::bools(shape, &v.into_iter().map(|x| x != 0).collect::<Vec<_>>()),
            d => Err(RunError::new(format!("{d} is no integer dtype"))),
        }
    }

    /// Element type.
    pub fn dtype(&self) -> DType {
        self.data.dtype()
    }

    /// Sizes, outermost first.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// How many dimensions there are.
    pub fn rank(&self) -> usize {
        self.shape.len()
    }

    /// How many elements there are.
    pub fn count(&self) -> usize {
        self.data.len()
    }

    /// The type.
    pub fn ty(&self) -> TensorType {
        TensorType::new(self.dtype(), &self.shape[..])
    }

    /// The elements.
    pub fn data(&self) -> &Data {
        &self.data
    }

    /// The elements, taken out.
    pub fn into_data(self) -> Data {
        self.data
    }

    /// The elements, if they are of this type.
    pub fn as_slice<T: Number>(&self) -> Option<&[T]> {
        T::slice(&self.data)
    }

    /// The strings, if it holds strings.
    pub fn as_strings(&self) -> Option<&[String]> {
        match &self.data {
            Data::String(v) => Some(v),
            _ => None,
        }
    }

    /// Says that the elements will not be read for some time: see [`Bytes::release`].
    pub(crate) fn release(&self) {
        self.data.release();
    }

    /// The little-endian bytes of the elements; `None` for strings.
    pub fn bytes(&self) -> Option<&[u8]> {
        self.data.bytes()
    }

    /// The same elements in another shape.
    ///
    /// # Errors
    /// If the shape has another number of elements.
    pub fn reshaped(self, shape: impl Into<Vec<usize>>) -> Result<AnyTensor, RunError> {
        AnyTensor::from_data(shape, self.data)
    }

    /// The elements as f32: borrowed if they are f32, else converted.
    ///
    /// # Errors
    /// If these are strings.
    pub fn to_f32(&self) -> Result<Cow<'_, [f32]>, RunError> {
        Ok(match &self.data {
            Data::F32(v) => Cow::Borrowed(&v[..]),
            Data::F16(v) => v.iter().map(|x| x.to_f32()).collect(),
            Data::F64(v) => v.iter().map(|x| *x as f32).collect(),
            _ => self.to_i64()?.iter().map(|x| *x as f32).collect(),
        })
    }

    /// The elements of an integer or bool tensor as i64.
    ///
    /// # Errors
    /// If these are floats or strings.
    pub fn to_i64(&self) -> Result<Vec<i64>, RunError> {
        Ok(match &self.data {
            Data::I8(v) => v.iter().map(|x| i64::from(*x)).collect(),
            Data::I16(v) => v.iter().map(|x| i64::from(*x)).collect(),
            Data::I32(v) => v.iter().map(|x| i64::from(*x)).collect(),
            Data::I64(v) => v.to_vec(),
            Data::U8(v) | Data::Bool(v) => v.iter().map(|x| i64::from(*x)).collect(),
            Data::U16(v) => v.iter().map(|x| i64::from(*x)).collect(),
            Data::U32(v) => v.iter().map(|x| i64::from(*x)).collect(),
            Data::U64(v) => v.iter().map(|x| *x as i64).collect(),
            Data::F16(_) | Data::F32(_) | Data::F64(_) | Data::String(_) => {
                return Err(RunError::new(format!("expected integers, found {}", self.ty())));
            }
        })
    }
}

impl PartialEq for AnyTensor {
    fn eq(&self, other: &AnyTensor) -> bool {
        let same_type = self.shape == other.shape && self.dtype() == other.dtype();
        same_type && self.bytes() == other.bytes() && self.as_strings() == other.as_strings()
    }
}

impl From<&AnyTensor> for AnyTensor {
    fn from(t: &AnyTensor) -> AnyTensor {
        t.clone()
    }
}

/// The type, and the elements if they are few.
impl fmt::Debug for AnyTensor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.ty())?;
        match (self.count() <= 64, &self.data) {
            (true, Data::String(v)) => write!(f, " {v:?}"),
            (true, Data::F16(_) | Data::F32(_) | Data::F64(_)) => write!(f, " {:?}", self.to_f32().unwrap_or_default()),
            (true, _) => write!(f, " {:?}", self.to_i64().unwrap_or_default()),
            (false, _) => Ok(()),
        }
    }
}

/// The number of elements of a shape that run-time data decided.
///
/// # Errors
/// If so many elements of this dtype cannot be held.
pub fn checked_count(dtype: DType, shape: &[usize]) -> Result<usize, RunError> {
    let count = shape.iter().try_fold(1usize, |n, d| n.checked_mul(*d));
    let fits = count.filter(|n| dtype.packed_len(*n).is_some_and(|bytes| bytes <= MAX_TENSOR_BYTES));
    check_empty(shape)?;
    fits.ok_or_else(|| RunError::new(format!("a tensor of {dtype} of shape {shape:?} is too large")))
}

/// A tensor of zeros.
pub(crate) fn zeros(dtype: DType, shape: &[usize]) -> Result<AnyTensor, RunError> {
    let count = checked_count(dtype, shape)?;
    AnyTensor::from_bytes(dtype, shape, vec![0; dtype.packed_len(count).unwrap_or(0)])
}

/// Checks the other dimensions of a tensor with a dimension of 0: kernels walk them.
fn check_empty(shape: &[usize]) -> Result<(), RunError> {
    let others = shape.iter().filter(|d| **d > 0).try_fold(1usize, |n, d| n.checked_mul(*d));
    if shape.contains(&0) && others.is_none_or(|n| n > MAX_EMPTY) {
        let message = format!("a tensor without elements of shape {shape:?} is too large in its other dimensions");
        return Err(RunError::new(message));
    }
    Ok(())
}

/// No tensor may be larger: a size that run-time data gets wrong must not exhaust memory.
pub const MAX_TENSOR_BYTES: usize = 1 << 33;

/// The product of the other dimensions of a tensor with a dimension of 0.
const MAX_EMPTY: usize = 1 << 24;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn constants_are_shared_not_copied() {
        let c = Constant::new([2, 2], &[1f32, 2.0, 3.0, 4.0]).unwrap();
        let t = AnyTensor::from_constant(&c).unwrap();
        assert_eq!(t.as_slice::<f32>(), Some(&[1f32, 2.0, 3.0, 4.0][..]));
        let aligned = (c.bytes().unwrap().as_ptr() as usize).is_multiple_of(4);
        assert_eq!(t.bytes().unwrap().as_ptr() == c.bytes().unwrap().as_ptr(), aligned);
    }

    #[test]
    fn sub_byte_constants_widen() {
        let c = Constant::from_bytes(DType::I4, [3], vec![0x7f, 0x08]).unwrap();
        assert_eq!(AnyTensor::from_constant(&c).unwrap(), AnyTensor::new([3], vec![-1i8, 7, -8]).unwrap());
    }

    #[test]
    fn conversions_round_once() {
        let t = AnyTensor::from_f32(DType::F16, [2], vec![0.1, 70000.0]).unwrap();
        assert_eq!(t.as_slice::<f16>().unwrap()[0], f16::from_f32(0.1));
        assert!(t.to_f32().unwrap()[1].is_infinite());
    }

    #[test]
    fn wrong_sizes_are_refused() {
        assert!(AnyTensor::new([3], vec![1f32]).is_err());
        assert!(AnyTensor::from_bytes(DType::F32, [2], vec![0; 7]).is_err());
        assert!(AnyTensor::new::<f32>([0, 1 << 40], vec![]).unwrap_err().to_string().contains("other dimensions"));
        assert!(AnyTensor::new::<f32>([0, 1 << 20], vec![]).is_ok());
        assert!(checked_count(DType::F32, &[usize::MAX, 2]).is_err());
        assert!(checked_count(DType::F32, &[1 << 40]).is_err());
        assert!(checked_count(DType::F32, &[1 << 40, 0]).unwrap_err().to_string().contains("other dimensions"));
        let weight = Constant::weight("w", DType::F32, [2]);
        assert!(AnyTensor::from_constant(&weight).unwrap_err().to_string().contains("`w` is not attached"));
    }
}
