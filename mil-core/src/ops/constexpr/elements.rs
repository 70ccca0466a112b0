//! Elements of packed constants, and what the `constexpr_` ops share about shapes.

use half::f16;

use crate::{
    ir::{Constant, element_bits},
    op::{Arg, OpError},
    types::DType,
    weights::Bytes,
};

/// The elements of a constant that is known, one at a time.
pub(super) struct Elements<'a> {
    dtype: DType,
    bytes: &'a Bytes,
    /// How many there are.
    pub(super) count: usize,
}

impl<'a> Elements<'a> {
    /// # Errors
    /// If the argument is not known, or its bytes are not attached.
    pub(super) fn of(arg: &'a Arg, param: &str) -> Result<Elements<'a>, OpError> {
        let unknown = || OpError::at(param, format!("`{param}` must be a known constant to be unpacked"));
        let constant = arg.constant().ok_or_else(unknown)?;
        let bytes = constant.bytes().ok_or_else(unknown)?;
        Ok(Elements { dtype: constant.dtype(), bytes, count: constant.count() })
    }

    /// The bits of an element of 8 bits or less.
    pub(super) fn bits(&self, i: usize) -> u8 {
        element_bits(self.bytes, self.dtype.bits(), i)
    }

    /// The bytes of an element of 8 bits or more.
    pub(super) fn bytes(&self, i: usize) -> &'a [u8] {
        let width = self.dtype.bits() / 8;
        &self.bytes[i * width..(i + 1) * width]
    }

    /// An element as a number; exact, since all these dtypes fit f32.
    pub(super) fn number(&self, i: usize) -> f32 {
        match self.dtype {
            DType::F16 => f16::from_le_bytes(self.bytes(i).try_into().unwrap_or_default()).to_f32(),
            DType::F32 => f32::from_le_bytes(self.bytes(i).try_into().unwrap_or_default()),
            DType::I8 => f32::from(self.bits(i) as i8),
            DType::I4 => f32::from((self.bits(i) << 4) as i8 >> 4),
            _ => f32::from(self.bits(i)),
        }
    }
}

/// A number as f16 or f32 has it.
pub(super) fn rounded(dtype: DType, v: f32) -> f32 {
    if dtype == DType::F16 { f16::from_f32(v).to_f32() } else { v }
}

/// Appends a number as f16 or f32.
pub(super) fn put(dtype: DType, v: f32, out: &mut Vec<u8>) {
    match dtype {
        DType::F16 => out.extend_from_slice(&f16::from_f32(v).to_le_bytes()),
        _ => out.extend_from_slice(&v.to_le_bytes()),
    }
}

/// A constant of bytes that were made for it.
pub(super) fn constant(dtype: DType, shape: Vec<usize>, bytes: Vec<u8>) -> Result<Constant, OpError> {
    Constant::from_bytes(dtype, shape, bytes).map_err(OpError::new)
}

/// The sizes of an argument: packed constants have fixed ones.
///
/// # Errors
/// At `param`, if they are not.
pub(super) fn sizes(arg: &Arg, param: &str) -> Result<Vec<usize>, OpError> {
    let fixed = arg.shape().fixed();
    fixed.ok_or_else(|| OpError::at(param, format!("`{param}` must have fixed sizes, found {}", arg.ty)))
}

/// Requires that `groups` (of `param`) split each dimension of `shape` (of `whole`) evenly.
///
/// # Errors
/// At `param`, if they do not.
pub(super) fn check_groups(shape: &[usize], whole: &str, groups: &[usize], param: &str) -> Result<(), OpError> {
    for (axis, (size, n)) in shape.iter().zip(groups).enumerate() {
        if *n == 0 || size % n != 0 {
            let message =
                format!("dimension {axis} of `{whole}` has size {size}, which `{param}` cannot split into {n}");
            let note =
                format!("each size of `{param}` must divide that of `{whole}`: {whole} {shape:?}, {param} {groups:?}");
            return Err(OpError::at(param, message).note(note));
        }
    }
    Ok(())
}

/// Walks the elements of `shape` in order, with the group that each belongs to: every dimension is split evenly into as
/// many groups as `groups` says, and groups are counted in order too.
pub(super) fn for_each_group(shape: &[usize], groups: &[usize], mut f: impl FnMut(usize, usize)) {
    let (Some((&last, outer)), Some((&last_groups, outer_groups))) = (shape.split_last(), groups.split_last()) else {
        return f(0, 0); // a scalar
    };
    if shape.contains(&0) {
        return;
    }
    let block = last / last_groups;
    for row in 0..outer.iter().product() {
        let (mut rest, mut group, mut stride) = (row, 0, 1);
        for (size, n) in outer.iter().zip(outer_groups).rev() {
            group += rest % size / (size / n) * stride;
            (rest, stride) = (rest / size, stride * n);
        }
        for j in 0..last {
            f(row * last + j, group * last_groups + j / block);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn groups(shape: &[usize], groups: &[usize]) -> Vec<usize> {
        let mut all = vec![];
        for_each_group(shape, groups, |i, g| {
            assert_eq!(i, all.len());
            all.push(g);
        });
        all
    }

    #[test]
    fn groups_split_dimensions_evenly() {
        assert_eq!(groups(&[4, 6], &[2, 3]), [0, 0, 1, 1, 2, 2, 0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 3, 3, 4, 4, 5, 5]);
        assert_eq!(groups(&[2, 2, 2], &[2, 1, 1]), [0, 0, 0, 0, 1, 1, 1, 1]);
        assert_eq!(groups(&[3], &[3]), [0, 1, 2]);
        assert_eq!(groups(&[], &[]), [0]);
        assert!(groups(&[usize::MAX, 0], &[1, 1]).is_empty());
    }

    #[test]
    fn numbers_of_every_dtype() {
        let numbers = |dtype, values: &[i64]| {
            let constant = Constant::integers(dtype, [values.len()], values).unwrap();
            let arg = crate::op::AnyArg::constant(constant);
            let arg = <Arg as crate::op::Param>::from_args("x", &[arg]).unwrap();
            let e = Elements::of(&arg, "x").unwrap();
            (0..e.count).map(|i| e.number(i)).collect::<Vec<_>>()
        };
        assert_eq!(numbers(DType::I4, &[-8, -1, 0, 7]), [-8.0, -1.0, 0.0, 7.0]);
        assert_eq!(numbers(DType::U4, &[15, 0, 9]), [15.0, 0.0, 9.0]);
        assert_eq!(numbers(DType::I8, &[-128, 127]), [-128.0, 127.0]);
        assert_eq!(numbers(DType::U8, &[255]), [255.0]);
        assert_eq!(numbers(DType::U3, &[7, 1, 2, 5]), [7.0, 1.0, 2.0, 5.0]);
    }
}
