//! Constants: typed, shaped bytes that are shared or memory-mapped.

use std::{borrow::Cow, fmt, sync::Arc};

use half::f16;

use crate::{
    types::{DType, TensorType},
    weights::Bytes,
};

/// A Rust type that a tensor element can be.
pub trait Element: Copy + Send + Sync + 'static {
    /// The dtype it is stored as.
    const DTYPE: DType;
    /// Appends the little-endian bytes.
    fn put(self, out: &mut Vec<u8>);
    /// Reads it from exactly `DTYPE.bits() / 8` little-endian bytes.
    fn get(bytes: &[u8]) -> Self;
}

macro_rules! elements {
    ($($t:ty = $dtype:ident),*) => {$(
        impl Element for $t {
            const DTYPE: DType = DType::$dtype;
            fn put(self, out: &mut Vec<u8>) { out.extend_from_slice(&self.to_le_bytes()) }
            fn get(bytes: &[u8]) -> Self {
                let mut le = [0; size_of::<$t>()];
                le.copy_from_slice(bytes);
                Self::from_le_bytes(le)
            }
        }
    )*};
}
elements!(
    f16 = F16,
    f32 = F32,
    f64 = F64,
    i8 = I8,
    i16 = I16,
    i32 = I32,
    i64 = I64,
    u8 = U8,
    u16 = U16,
    u32 = U32,
    u64 = U64
);

impl Element for bool {
    const DTYPE: DType = DType::Bool;
    fn put(self, out: &mut Vec<u8>) {
        out.push(self.into())
    }
    fn get(bytes: &[u8]) -> Self {
        bytes[0] != 0
    }
}

/// A number as f16: to nearest, ties to even. `half`'s own conversion goes through f32 and rounds twice.
///
/// Here the f32 in between is rounded to odd: it is exact, or its last bit is set, so that it is never a tie of f16.
pub fn f16_from_f64(x: f64) -> f16 {
    let near = x as f32;
    if x.is_nan() || f64::from(near) == x {
        return f16::from_f32(near);
    }
    let towards_zero = if f64::from(near).abs() > x.abs() { near.to_bits() - 1 } else { near.to_bits() };
    f16::from_f32(f32::from_bits(towards_zero | 1))
}

#[derive(Clone, PartialEq)]
enum Data {
    /// Little-endian elements; packed least significant bit first for sub-byte dtypes.
    Bytes(Bytes),
    Strings(Arc<[String]>),
    /// Supplied later, under this name.
    Weight(Arc<str>),
}

/// A tensor whose value is part of the program.
#[derive(Clone, PartialEq)]
pub struct Constant {
    dtype: DType,
    shape: Vec<usize>,
    data: Data,
}

impl Constant {
    /// A constant of the given little-endian bytes (packed, for sub-byte dtypes).
    ///
    /// # Errors
    /// If the bytes are not exactly as many as dtype and shape take, or the dtype is `string`.
    pub fn from_bytes(dtype: DType, shape: impl Into<Vec<usize>>, bytes: impl Into<Bytes>) -> Result<Constant, String> {
        let (shape, bytes) = (shape.into(), bytes.into());
        let count = shape.iter().try_fold(1usize, |n, &d| n.checked_mul(d));
        let need = count.and_then(|n| dtype.packed_len(n));
        if need != Some(bytes.len()) {
            let need = need.map_or("a number that does not fit".into(), |n| n.to_string());
            return Err(format!("{} bytes given for {dtype} of shape {shape:?}, which takes {need}", bytes.len()));
        }
        Ok(Constant { dtype, shape, data: Data::Bytes(bytes) })
    }

    /// A constant of the given elements, row-major.
    ///
    /// # Errors
    /// If the elements are not exactly as many as the shape has.
    pub fn new<T: Element>(shape: impl Into<Vec<usize>>, elements: &[T]) -> Result<Constant, String> {
        let mut bytes = Vec::with_capacity(size_of_val(elements));
        elements.iter().for_each(|e| e.put(&mut bytes));
        Constant::from_bytes(T::DTYPE, shape, bytes)
    }

    /// A constant of integers of any integer dtype; those smaller than a byte are packed.
    ///
    /// # Errors
    /// If they are not exactly as many as the shape has, one does not fit the dtype, or the dtype is none of integers.
    pub fn integers(dtype: DType, shape: impl Into<Vec<usize>>, values: &[i64]) -> Result<Constant, String> {
        let range = dtype.int_range().ok_or_else(|| format!("{dtype} is no integer dtype"))?;
        if let Some(v) = values.iter().find(|v| i128::from(**v) < range.0 || i128::from(**v) > range.1) {
            return Err(format!("`{v}` does not fit `{dtype}`"));
        }
        if !dtype.is_sub_byte() {
            let bytes: Vec<u8> =
                values.iter().flat_map(|v| v.to_le_bytes().into_iter().take(dtype.bits() / 8)).collect();
            return Constant::from_bytes(dtype, shape, bytes);
        }
        Constant::from_bytes(dtype, shape, pack(dtype.bits(), values.iter().map(|v| *v as u8), values.len()))
    }

    /// A constant of rank 0.
    pub fn scalar<T: Element>(value: T) -> Constant {
        let mut bytes = Vec::new();
        value.put(&mut bytes);
        Constant { dtype: T::DTYPE, shape: vec![], data: Data::Bytes(bytes.into()) }
    }

    /// A constant of rank 1.
    pub fn vector<T: Element>(values: &[T]) -> Constant {
        let mut bytes = Vec::with_capacity(size_of_val(values));
        values.iter().for_each(|e| e.put(&mut bytes));
        Constant { dtype: T::DTYPE, shape: vec![values.len()], data: Data::Bytes(bytes.into()) }
    }

    /// A string of rank 0.
    pub fn string(value: impl Into<String>) -> Constant {
        Constant { dtype: DType::String, shape: vec![], data: Data::Strings([value.into()].into()) }
    }

    /// Strings of the given shape.
    ///
    /// # Errors
    /// If they are not exactly as many as the shape has.
    pub fn strings(shape: impl Into<Vec<usize>>, values: Vec<String>) -> Result<Constant, String> {
        let shape = shape.into();
        if shape.iter().try_fold(1usize, |n, &d| n.checked_mul(d)) != Some(values.len()) {
            return Err(format!("{} strings given for shape {shape:?}", values.len()));
        }
        Ok(Constant { dtype: DType::String, shape, data: Data::Strings(values.into()) })
    }

    /// A constant whose bytes are attached later, by name (see [`Program::attach_weights`](super::Program::attach_weights)).
    pub fn weight(name: impl Into<Arc<str>>, dtype: DType, shape: impl Into<Vec<usize>>) -> Constant {
        Constant { dtype, shape: shape.into(), data: Data::Weight(name.into()) }
    }

    /// Element type.
    pub fn dtype(&self) -> DType {
        self.dtype
    }

    /// Sizes, outermost first.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// The type.
    pub fn ty(&self) -> TensorType {
        TensorType::new(self.dtype, &self.shape[..])
    }

    /// The number of elements.
    pub fn count(&self) -> usize {
        // Only a weight that is not attached can have a shape of too many elements.
        self.shape.iter().fold(1usize, |n, d| n.saturating_mul(*d))
    }

    /// The little-endian bytes; `None` for strings and for a weight that is not attached.
    pub fn bytes(&self) -> Option<&Bytes> {
        match &self.data {
            Data::Bytes(bytes) => Some(bytes),
            _ => None,
        }
    }

    /// The strings, if it holds strings.
    pub fn as_strings(&self) -> Option<&[String]> {
        match &self.data {
            Data::Strings(s) => Some(s),
            _ => None,
        }
    }

    /// The name of a weight that is not attached yet.
    pub fn weight_name(&self) -> Option<&str> {
        match &self.data {
            Data::Weight(name) => Some(name),
            _ => None,
        }
    }

    /// The elements, if they are of this very type.
    pub fn elements<T: Element>(&self) -> Option<Vec<T>> {
        let bytes = self.bytes().filter(|_| self.dtype == T::DTYPE)?;
        Some(bytes.chunks_exact(size_of::<T>()).map(T::get).collect())
    }

    /// The elements of a constant of integers of 8 bits or less, one byte each; of signed ones in two's complement.
    pub fn byte_ints(&self) -> Option<Cow<'_, [u8]>> {
        let (bits, bytes) = (self.dtype.bits(), self.bytes()?);
        if !self.dtype.is_int() || bits > 8 {
            return None;
        }
        if bits == 8 {
            return Some(Cow::Borrowed(bytes));
        }
        let above = if self.dtype.is_unsigned() { 0 } else { 0xff << (bits - 1) };
        // What is above the bits of a negative number are ones.
        let wide = |bits: u8| if bits & above == 0 { bits } else { bits | above };
        Some((0..self.count()).map(|i| wide(element_bits(bytes, bits, i))).collect())
    }

    /// The elements of an integer or bool constant as numbers.
    pub fn ints(&self) -> Option<Vec<i64>> {
        fn wide<T: Element + TryInto<i64>>(c: &Constant) -> Option<Vec<i64>> {
            c.elements::<T>()?.into_iter().map(|v| v.try_into().ok()).collect()
        }
        match self.dtype {
            DType::I8 => wide::<i8>(self),
            DType::I16 => wide::<i16>(self),
            DType::I32 => wide::<i32>(self),
            DType::I64 => wide::<i64>(self),
            DType::U8 => wide::<u8>(self),
            DType::U16 => wide::<u16>(self),
            DType::U32 => wide::<u32>(self),
            DType::U64 => wide::<u64>(self),
            DType::Bool => Some(self.elements::<bool>()?.into_iter().map(i64::from).collect()),
            d if d.is_int() && d.is_sub_byte() => Some(unpack(self.bytes()?, d, self.count())),
            _ => None,
        }
    }

    /// The elements of a float constant as `f64`.
    pub fn floats(&self) -> Option<Vec<f64>> {
        match self.dtype {
            DType::F16 => Some(self.elements::<f16>()?.into_iter().map(f64::from).collect()),
            DType::F32 => Some(self.elements::<f32>()?.into_iter().map(f64::from).collect()),
            DType::F64 => self.elements::<f64>(),
            _ => None,
        }
    }

    /// The only element of a constant as a number, integer or float.
    pub fn number(&self) -> Option<f64> {
        let all = self.floats().or_else(|| Some(self.ints()?.into_iter().map(|v| v as f64).collect()))?;
        (all.len() == 1).then(|| all[0])
    }
}

/// The low bits of each value in a stream, least significant bit first: the reverse of [`unpack`].
pub(crate) fn pack(bits: usize, values: impl Iterator<Item = u8>, count: usize) -> Vec<u8> {
    let mut bytes = vec![0; (count * bits).div_ceil(8)];
    for (i, v) in values.take(count).enumerate() {
        let (at, shift) = (i * bits / 8, i * bits % 8);
        let wide = u16::from(v & (0xffu16 >> (8 - bits)) as u8) << shift;
        bytes[at] |= wide as u8;
        if wide > 0xff {
            bytes[at + 1] |= (wide >> 8) as u8;
        }
    }
    bytes
}

/// One element of such a stream, of 8 bits or less, as the bits that it has there.
pub(crate) fn element_bits(bytes: &[u8], bits: usize, i: usize) -> u8 {
    let (at, shift) = (i * bits / 8, i * bits % 8);
    let next = if shift + bits > 8 { u16::from(bytes[at + 1]) << 8 } else { 0 };
    ((u16::from(bytes[at]) | next) >> shift) as u8 & (0xffu16 >> (8 - bits)) as u8
}

/// Sub-byte integers out of a stream that is packed least significant bit first and may straddle bytes.
fn unpack(bytes: &[u8], dtype: DType, count: usize) -> Vec<i64> {
    let bits = dtype.bits();
    (0..count)
        .map(|i| {
            let raw = i64::from(element_bits(bytes, bits, i));
            let negative = !dtype.is_unsigned() && raw >> (bits - 1) & 1 == 1;
            if negative { raw - (1 << bits) } else { raw }
        })
        .collect()
}

impl fmt::Debug for Constant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Constant({}", self.ty())?;
        match &self.data {
            Data::Strings(s) => write!(f, ", {s:?})"),
            Data::Weight(name) => write!(f, ", weight `{name}`)"),
            Data::Bytes(_) if self.count() > 16 => f.write_str(")"),
            Data::Bytes(_) => match (self.ints(), self.floats()) {
                (Some(v), _) => write!(f, ", {v:?})"),
                (_, Some(v)) => write!(f, ", {v:?})"),
                _ => f.write_str(")"),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_round_trip() {
        let c = Constant::new([2, 2], &[1.5f32, -2.0, 0.0, 7.0]).unwrap();
        assert_eq!(c.elements::<f32>(), Some(vec![1.5, -2.0, 0.0, 7.0]));
        assert_eq!(c.elements::<i32>(), None);
        assert_eq!(c.floats().unwrap()[1], -2.0);
        assert_eq!(Constant::vector(&[1i8, -3]).ints(), Some(vec![1, -3]));
        assert_eq!(Constant::scalar(f16::from_f32(0.5)).number(), Some(0.5));
    }

    #[test]
    fn f16_is_rounded_once() {
        // Just above the middle of 1 and the next f16: f32 in between would round it to the middle, and then down.
        let next = 1.0 + 2f64.powi(-10);
        assert_eq!(f16_from_f64(1.0 + 2f64.powi(-11) + 2f64.powi(-40)).to_f64(), next);
        assert_eq!(f16_from_f64(1.0 + 2f64.powi(-11) - 2f64.powi(-40)).to_f64(), 1.0);
        assert_eq!(f16_from_f64(-1.0 - 2f64.powi(-11) - 2f64.powi(-40)).to_f64(), -next);
        assert!(f16_from_f64(f64::NAN).is_nan() && f16_from_f64(65520.0).is_infinite());
    }

    #[test]
    fn sub_byte_integers_straddle_bytes() {
        // The examples of the anatomy note: uint3 [1..7, 0, 1] is d1 58 1f 01, int4 [-1, 7, -8] is 7f 08.
        let c = Constant::from_bytes(DType::U3, [9], vec![0xd1, 0x58, 0x1f, 0x01]).unwrap();
        assert_eq!(c.ints(), Some(vec![1, 2, 3, 4, 5, 6, 7, 0, 1]));
        let c = Constant::from_bytes(DType::I4, [3], vec![0x7f, 0x08]).unwrap();
        assert_eq!(c.ints(), Some(vec![-1, 7, -8]));
        for dtype in [DType::U1, DType::U2, DType::U3, DType::U4, DType::U6, DType::U8, DType::I4, DType::I16] {
            let (min, max) = dtype.int_range().unwrap();
            let values: Vec<i64> = (0..19).map(|i| (min + i * 5 % (max - min + 1)) as i64).collect();
            let c = Constant::integers(dtype, [19], &values).unwrap();
            let bytes = values.iter().map(|v| *v as u8).collect::<Vec<_>>();
            assert_eq!(c.byte_ints(), (dtype != DType::I16).then_some(Cow::Owned(bytes)), "{dtype}");
            assert_eq!(c.ints(), Some(values), "{dtype}");
            assert!(Constant::integers(dtype, [1], &[max as i64 + 1]).unwrap_err().contains("does not fit"));
        }
        assert!(Constant::integers(DType::F32, [1], &[1]).is_err());
    }

    #[test]
    fn a_wrong_number_of_bytes_is_refused() {
        assert!(Constant::from_bytes(DType::F32, [2], vec![0; 7]).unwrap_err().contains("takes 8"));
        assert!(Constant::from_bytes(DType::F32, [usize::MAX, 4], vec![]).is_err());
        assert!(Constant::strings([2], vec!["a".into()]).is_err());
    }
}
