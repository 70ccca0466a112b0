//! Sparse constants.

use crate::{
    ir::{Constant, pack},
    op::{Arg, Cx, Infer, Inferred, Materialize, OpError},
    ops::rules,
    types::TensorType,
};
use mil_derive::Op;

use super::elements::{Elements, constant, sizes};

/// Puts the elements of `nonzero_data` where `mask` has ones, and 0 elsewhere.
///
/// Up to opset iOS17 the mask is bytes, eight elements in each, least significant bit first, and `shape` says the shape;
/// from iOS18 on the mask has the shape itself.
///
/// # Constraints
/// - C1 `nonzero_data` has rank 1.
/// - C2 `mask` has as many ones as `nonzero_data` has elements.
/// - C3 up to iOS17, `mask` has rank 1 and one bit per element of `shape`, rounded up to bytes.
/// - C4 up to iOS17, the bits of `mask` after the last element are 0.
/// - C5 up to iOS17, the sizes in `shape` are such that their product fits.
#[derive(Op, Clone, Debug)]
#[op(name = "constexpr_sparse_to_dense", since = iOS16)]
#[form(Attributes, iOS18 = InPlace)]
#[domain(T = F16 | F32 | I8 | U8, iOS18 = F16 | F32 | I4 | I8 | U4 | U8)]
pub struct ConstexprSparseToDense {
    /// The elements that are present, in order.
    #[dtype(T)]
    #[constant]
    pub nonzero_data: Arg,
    /// 1 where an element is present.
    #[dtype(U8, iOS18 = U1)]
    #[constant]
    pub mask: Arg,
    /// The shape, up to opset iOS17.
    #[dtype(U32)]
    #[until(iOS18)]
    #[needed]
    pub shape: Option<Vec<i64>>,
}

/// How many bits are set in a mask that is known.
pub(super) fn ones(mask: &Arg) -> Option<usize> {
    let (constant, bytes) = (mask.constant()?, mask.constant()?.bytes()?);
    // What pads the last byte says nothing.
    let bits = constant.count() * constant.dtype().bits();
    let whole = bytes[..bits / 8].iter().map(|b| b.count_ones() as usize).sum::<usize>();
    let rest = if bits % 8 == 0 { 0 } else { bytes[bits / 8] & ((1 << (bits % 8)) - 1) };
    Some(whole + rest.count_ones() as usize)
}

/// Requires that there is one element for each bit of a mask.
///
/// # Errors
/// At `param`, if there is not.
pub(super) fn check_mask(mask: &Arg, mask_param: &str, data: &Arg, param: &str) -> Result<(), OpError> {
    rules::rank_in(data, 1..=1, param)?;
    let count = sizes(data, param)?[0];
    match ones(mask) {
        Some(ones) if ones != count => {
            let message =
                format!("`{param}` must have one element for each of the {ones} ones in `{mask_param}`, found {count}");
            Err(OpError::at(param, message))
        }
        _ => Ok(()),
    }
}

/// The sizes in a `shape`, and their product.
///
/// # Errors
/// At `shape`, if the product does not fit.
pub(super) fn shape_and_count(shape: &[i64]) -> Result<(Vec<usize>, usize), OpError> {
    let sizes: Option<Vec<usize>> = shape.iter().map(|d| usize::try_from(*d).ok()).collect();
    let count = sizes.as_ref().and_then(|s| s.iter().try_fold(1usize, |n, d| n.checked_mul(*d)));
    let fits = sizes.zip(count.filter(|n| n.checked_mul(64).is_some()));
    fits.ok_or_else(|| OpError::at("shape", format!("`shape` {shape:?} has too many elements")))
}

impl Infer for ConstexprSparseToDense {
    fn infer(&self, _: &mut Cx<'_>) -> Result<Vec<Inferred>, OpError> {
        check_mask(&self.mask, "mask", &self.nonzero_data, "nonzero_data")?; // C1, C2
        let shape = match &self.shape {
            None => sizes(&self.mask, "mask")?,
            Some(shape) => {
                let (shape, count) = shape_and_count(shape)?; // C5
                rules::rank_in(&self.mask, 1..=1, "mask")?; // C3
                let found = sizes(&self.mask, "mask")?[0];
                if found != count.div_ceil(8) {
                    let message = format!(
                        "`mask` must have {} bytes for a tensor of shape {shape:?}, found {found}",
                        count.div_ceil(8)
                    );
                    return Err(OpError::at("mask", message));
                }
                let last = self.mask.constant().and_then(|c| c.bytes()).and_then(|b| b.last());
                if count % 8 != 0 && last.is_some_and(|b| b >> (count % 8) != 0) {
                    let message = format!("`mask` has bits after its last element, which is the {count}th"); // C4
                    return Err(OpError::at("mask", message));
                }
                shape
            }
        };
        Ok(vec![TensorType::new(self.nonzero_data.dtype(), &shape[..]).into()])
    }
}

impl Materialize for ConstexprSparseToDense {
    fn materialize(&self) -> Result<Vec<Constant>, OpError> {
        let data = Elements::of(&self.nonzero_data, "nonzero_data")?;
        let mask = self.mask.constant().and_then(|c| c.bytes());
        let mask = mask.ok_or_else(|| OpError::at("mask", "`mask` must be a known constant to be unpacked"))?;
        let (shape, count) = match &self.shape {
            Some(shape) => shape_and_count(shape)?,
            None => (sizes(&self.mask, "mask")?, self.mask.constant().map_or(0, Constant::count)),
        };
        let present = |i: usize| mask[i / 8] >> (i % 8) & 1 != 0;
        let dtype = self.nonzero_data.dtype();
        let (mut next, width) = (0, dtype.bits() / 8);
        let bytes = if dtype.is_sub_byte() {
            let element = |i| {
                let found = present(i) && next < data.count;
                next += usize::from(found);
                if found { data.bits(next - 1) } else { 0 }
            };
            pack(dtype.bits(), (0..count).map(element), count)
        } else {
            let mut bytes = vec![0; count * width];
            for i in (0..count).filter(|i| present(*i)).take(data.count) {
                bytes[i * width..(i + 1) * width].copy_from_slice(data.bytes(next));
                next += 1;
            }
            bytes
        };
        Ok(vec![constant(dtype, shape, bytes)?])
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::testing::{ints, unpack},
        *,
    };
    use crate::{
        mb,
        ops::testing::{fails, fails_in, infer_in},
        types::{DType, Opset},
    };

    #[test]
    fn bytes_with_a_shape() {
        // Bits 2 and 3, as coremltools' documentation draws them.
        let call = mb::constexpr_sparse_to_dense(Constant::vector(&[7f32, 9.0]), Constant::vector(&[0b1100u8]));
        let expected = Constant::new([5], &[0f32, 0.0, 7.0, 9.0, 0.0]).unwrap();
        assert_eq!(unpack(Opset::iOS16, call.shape(ints(DType::U32, &[1], &[5]))), [expected]);
        let call = mb::constexpr_sparse_to_dense(Constant::vector(&[-1i8, -2]), Constant::vector(&[0b1000_0000u8, 1]));
        let expected = ints(DType::I8, &[3, 3], &[0, 0, 0, 0, 0, 0, 0, -1, -2]);
        assert_eq!(unpack(Opset::iOS17, call.shape(ints(DType::U32, &[2], &[3, 3]))), [expected]);
    }

    #[test]
    fn bits_have_the_shape() {
        let mask = ints(DType::U1, &[3, 3], &[1, 0, 0, 0, 1, 0, 0, 1, 1]);
        let unpacked = |data: Constant| unpack(Opset::iOS18, mb::constexpr_sparse_to_dense(data, mask.clone()));
        let expected = [-8, 0, 0, 0, 7, 0, 0, -1, 5];
        for dtype in [DType::I4, DType::I8] {
            assert_eq!(unpacked(ints(dtype, &[4], &[-8, 7, -1, 5])), [ints(dtype, &[3, 3], &expected)]);
        }
        assert_eq!(
            unpacked(ints(DType::U4, &[4], &[15, 1, 2, 3])),
            [ints(DType::U4, &[3, 3], &[15, 0, 0, 0, 1, 0, 0, 2, 3])]
        );
        // What pads the last byte of a mask says nothing.
        let padded = Constant::from_bytes(DType::U1, [3], vec![0b1111_1010]).unwrap();
        let call = mb::constexpr_sparse_to_dense(Constant::vector(&[3f32]), padded);
        assert_eq!(unpack(Opset::iOS18, call), [Constant::vector(&[0f32, 3.0, 0.0])]);
    }

    #[test]
    fn constraints() {
        let call = |data: Constant, mask: &[u8], shape: &[i64]| {
            let (mask, shape) = (Constant::vector(mask), ints(DType::U32, &[shape.len()], shape));
            move |_: &mut crate::ops::testing::Test| mb::constexpr_sparse_to_dense(data, mask).shape(shape)
        };
        let (old, data) = (Opset::iOS17, Constant::vector(&[1f32, 2.0]));
        let matrix = Constant::new([1, 2], &[1f32, 2.0]).unwrap();
        fails_in(old, call(matrix, &[3], &[5]), "nonzero_data", "rank 1"); // C1
        fails_in(old, call(data.clone(), &[7], &[5]), "nonzero_data", "each of the 3 ones"); // C2
        fails_in(old, call(data.clone(), &[3, 0], &[5]), "mask", "must have 1 bytes"); // C3
        fails_in(old, call(data.clone(), &[0b0010_0001], &[5]), "mask", "after its last element"); // C4
        let large = [u32::MAX.into(); 3];
        fails_in(old, call(data.clone(), &[3], &large), "shape", "too many elements"); // C5
        assert!(infer_in(old, call(data.clone(), &[0b1_0001], &[5])).is_ok());
        // What one opset has, the other has not.
        fails(call(data.clone(), &[3], &[5]), "shape", "from opset iOS18 on");
        let mask = ints(DType::U1, &[2], &[1, 1]);
        fails_in(old, |_| mb::constexpr_sparse_to_dense(data, mask), "shape", "needs `shape`");
    }
}
