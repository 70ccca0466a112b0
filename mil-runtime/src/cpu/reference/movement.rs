//! Elements on the move: what the ops that only rearrange share. An element is as many bytes as its dtype has, so every
//! dtype works.

use mil_core::{
    ir::{Constant, Known},
    op::Arg,
    types::DType,
};

use crate::{
    error::RunError,
    tensor::{AnyTensor, checked_count},
};

/// An argument with the type that its tensor has now, and nothing known of its value.
pub(super) fn typed(arg: &Arg, tensor: &AnyTensor) -> Arg {
    Arg { ty: tensor.ty(), known: None, ..arg.clone() }
}

/// An argument with the type and the value that its tensor has now.
pub(super) fn valued(arg: &Arg, tensor: &AnyTensor) -> Result<Arg, RunError> {
    let constant = Constant::from_bytes(tensor.dtype(), tensor.shape(), bytes(tensor)?.to_vec());
    let known = Some(Known::Constant(constant.map_err(RunError::new)?));
    Ok(Arg { known, ..typed(arg, tensor) })
}

/// The bytes of the elements.
pub(super) fn bytes(tensor: &AnyTensor) -> Result<&[u8], RunError> {
    tensor.bytes().ok_or_else(|| RunError::new(format!("elements of {} cannot be moved", tensor.ty())))
}

/// Bytes of one element in memory.
pub(super) fn width(dtype: DType) -> usize {
    dtype.bits() / 8
}

/// How far apart neighbours are in each dimension, in elements.
pub(super) fn strides(sizes: &[usize]) -> Vec<usize> {
    let mut strides = vec![1; sizes.len()];
    for i in (1..sizes.len()).rev() {
        strides[i - 1] = strides[i] * sizes[i];
    }
    strides
}

/// A tensor put together from elements of `x`: for each dimension of it and each place there, `offsets` says how far
/// into `x` that goes, in elements; the offsets of an element's places add up. An element with a place that comes from
/// nowhere is `fill`.
pub(super) fn pick(x: &AnyTensor, offsets: &[Vec<Option<usize>>], fill: &[u8]) -> Result<AnyTensor, RunError> {
    let sizes: Vec<usize> = offsets.iter().map(Vec::len).collect();
    let (from, width) = (bytes(x)?, width(x.dtype()));
    let count = checked_count(x.dtype(), &sizes)?;
    let mut out = Vec::with_capacity(count * width);
    let row = [Some(0)];
    let (last, outer) = offsets.split_last().map_or((&row[..], &[][..]), |(last, outer)| (&last[..], outer));
    let mut at = vec![0; outer.len()];
    for _ in 0..count.checked_div(last.len()).unwrap_or(0) {
        let base: Option<usize> = outer.iter().zip(&at).map(|(o, i)| o[*i]).sum();
        for offset in last {
            match base.zip(*offset).map(|(b, o)| (b + o) * width) {
                Some(i) => out.extend_from_slice(from.get(i..i + width).ok_or_else(outside)?),
                None => out.extend_from_slice(fill),
            }
        }
        for (i, size) in at.iter_mut().zip(&sizes).rev() {
            *i += 1;
            if *i < *size {
                break;
            }
            *i = 0;
        }
    }
    AnyTensor::from_bytes(x.dtype(), sizes, out)
}

fn outside() -> RunError {
    RunError::new("a place outside the tensor is taken")
}

/// Tensors joined: for each of `outer` rounds, a piece of each in turn. All have `outer` pieces of any equal or
/// different size.
pub(super) fn join(
    tensors: &[&AnyTensor],
    dtype: DType,
    shape: Vec<usize>,
    outer: usize,
) -> Result<AnyTensor, RunError> {
    let mut out = Vec::with_capacity(checked_count(dtype, &shape)? * width(dtype));
    let pieces = tensors.iter().map(|t| Ok((bytes(t)?, bytes(t)?.len().checked_div(outer).unwrap_or(0))));
    let pieces = pieces.collect::<Result<Vec<_>, RunError>>()?;
    for i in 0..outer {
        for (from, size) in &pieces {
            out.extend_from_slice(&from[i * size..(i + 1) * size]);
        }
    }
    AnyTensor::from_bytes(dtype, shape, out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn picks_by_offsets() {
        let x = AnyTensor::new([2, 3], vec![1u16, 2, 3, 4, 5, 6]).unwrap();
        let columns = [vec![Some(2), Some(0)], vec![Some(3), None]];
        let out = pick(&x, &columns, &9u16.to_le_bytes()).unwrap();
        assert_eq!(out, AnyTensor::new([2, 2], vec![6u16, 9, 4, 9]).unwrap());
        assert_eq!(pick(&x, &[], &[]).unwrap(), AnyTensor::scalar(1u16));
        assert_eq!(pick(&x, &[vec![], vec![Some(0)]], &[]).unwrap().shape(), [0, 1]);
        assert!(pick(&x, &[vec![Some(6)]], &[]).is_err());
    }
}
