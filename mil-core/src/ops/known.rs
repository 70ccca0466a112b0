//! What ops that only move elements know: lengths of operands that are lists, and known values of what they give.

use crate::{
    ir::{Constant, Known},
    op::{Arg, Cx, OpError},
    types::{DType, Dim, Domain, Shape, Symbol},
};

/// Values of more elements are not worked out before the program runs.
const MAX_ELEMENTS: usize = 1024;

/// Lists that have an element or two per dimension are not longer.
const MAX_LIST: usize = 64;

/// The length of an operand that is a list of numbers, one or two per dimension.
///
/// # Errors
/// At `param`, if its rank is not 1, its length is not fixed, or longer than any rank asks for.
pub(crate) fn list_length(arg: &Arg, param: &str) -> Result<usize, OpError> {
    super::rules::rank_in(arg, 1..=1, param)?;
    let unknown = || OpError::at(param, format!("`{param}` must have a fixed length, found {}", arg.ty));
    let length = arg.dim(0).fixed().ok_or_else(unknown)?;
    if length > MAX_LIST {
        return Err(OpError::at(param, format!("`{param}` has {length} elements; no tensor has as many dimensions")));
    }
    Ok(length)
}

/// The shape that an operand lists, each size at least 1; sizes that are not known stay open.
///
/// # Errors
/// At `param`, if it is no list of a fixed length, or a size is less.
pub(crate) fn listed_shape(arg: &Arg, param: &str, cx: &mut Cx<'_>) -> Result<Vec<Dim>, OpError> {
    let rank = list_length(arg, param)?;
    let Some(sizes) = arg.known_dims() else { return Ok((0..rank).map(|_| cx.unknown()).collect()) };
    if let Some(bad) = sizes.iter().find(|d| d.bounds().1.is_some_and(|max| max < 1)) {
        return Err(OpError::at(param, format!("`{param}` must be 1 or more, found {bad}")));
    }
    Ok(sizes.iter().map(|d| as_size(d, cx)).collect())
}

/// Requires an operand that is a list of one number per dimension of `x`.
///
/// # Errors
/// At `param`, if it is not.
pub(crate) fn one_per_dimension(arg: &Arg, x: &Arg, param: &str) -> Result<(), OpError> {
    let length = list_length(arg, param)?;
    if length == x.rank() {
        return Ok(());
    }
    let message =
        format!("`{param}` must have one element per dimension of `x`, which are {}, found {length}", x.rank());
    Err(OpError::at(param, message).note(format!("x: {}", x.ty)))
}

/// The number of elements of a fixed shape, if there are not too many to be worked with here.
pub(crate) fn small_count(sizes: &[usize]) -> Option<usize> {
    sizes.iter().try_fold(1usize, |n, d| n.checked_mul(*d)).filter(|n| *n <= MAX_ELEMENTS)
}

/// The place in each dimension of an element that is counted row by row.
pub(crate) fn coordinates(mut element: usize, sizes: &[usize]) -> Vec<usize> {
    let mut at = vec![0; sizes.len()];
    for (place, size) in at.iter_mut().zip(sizes).rev() {
        (*place, element) = (element % size, element / size);
    }
    at
}

/// The reverse of [`coordinates`].
pub(crate) fn position(at: &[usize], sizes: &[usize]) -> usize {
    at.iter().zip(sizes).fold(0, |n, (place, size)| n * size + place)
}

/// What is known of a value whose elements are those of `x` in the same order.
pub(crate) fn reshaped(x: &Arg, shape: &Shape) -> Option<Known> {
    let sizes = shape.fixed()?;
    if let Some(c) = x.constant() {
        // The bytes are shared, so this is cheap whatever the size.
        return Some(Known::Constant(Constant::from_bytes(c.dtype(), sizes, c.bytes()?.clone()).ok()?));
    }
    let count = small_count(&sizes)?;
    elements(&[x], &sizes, (0..count).map(|i| (0, i)))
}

/// What is known of a value each of whose elements is an element of an operand: `source` tells for a place in the
/// value which operand, and which place in it.
pub(crate) fn moved(
    operands: &[&Arg],
    shape: &Shape,
    source: impl Fn(&[usize]) -> (usize, Vec<usize>),
) -> Option<Known> {
    let sizes = shape.fixed()?;
    let count = small_count(&sizes)?;
    if operands.iter().any(|o| o.known.is_none()) {
        return None;
    }
    let shapes: Vec<Vec<usize>> = operands.iter().map(|o| o.shape().fixed()).collect::<Option<_>>()?;
    let places = (0..count).map(|i| {
        let (operand, at) = source(&coordinates(i, &sizes));
        (operand, position(&at, &shapes[operand]))
    });
    elements(operands, &sizes, places)
}

fn elements(operands: &[&Arg], sizes: &[usize], places: impl Iterator<Item = (usize, usize)>) -> Option<Known> {
    let dtype = operands.first()?.dtype();
    if let Some(constants) = operands.iter().map(|o| o.constant()).collect::<Option<Vec<_>>>() {
        let width = (!dtype.is_sub_byte() && dtype != DType::String).then(|| dtype.bits() / 8)?;
        let bytes = constants.iter().map(|c| c.bytes()).collect::<Option<Vec<_>>>()?;
        let mut out = vec![];
        for (operand, i) in places {
            out.extend_from_slice(&bytes[operand].get(i * width..(i + 1) * width)?);
        }
        return Some(Known::Constant(Constant::from_bytes(dtype, sizes, out).ok()?));
    }
    // Symbols are known of integers of rank 0 and 1 only.
    if sizes.len() > 1 || operands.iter().any(|o| o.constant().is_some_and(|c| c.count() > MAX_ELEMENTS)) {
        return None;
    }
    let dims = operands.iter().map(|o| o.known_dims()).collect::<Option<Vec<_>>>()?;
    let values = places.map(|(operand, i)| dims[operand].get(i).cloned()).collect::<Option<Vec<_>>>()?;
    Some(Known::ints(dtype, sizes.is_empty(), values))
}

/// Gives names to the integers among the operands of which nothing is known, if others are known: what joins them then
/// knows the rest, as a `shape` of which one element is computed.
pub(crate) fn name_unknown(operands: &mut [Arg], cx: &mut Cx<'_>) {
    const FEW: usize = 16;
    let few = |a: &Arg| a.rank() <= 1 && a.shape().fixed().and_then(|s| small_count(&s)).is_some_and(|n| n <= FEW);
    let named = |a: &Arg| a.known.is_some() || (few(a) && a.dtype().is_int());
    if !operands.iter().all(named) || operands.iter().all(|a| a.known.is_none()) {
        return;
    }
    for arg in operands.iter_mut().filter(|a| a.known.is_none()) {
        let count = arg.shape().fixed().and_then(|s| small_count(&s)).unwrap_or(0);
        let values = (0..count).map(|_| unknown_integer(cx)).collect();
        arg.known = Some(Known::ints(arg.dtype(), arg.rank() == 0, values));
    }
}

/// An integer that depends on data. Unlike a size it may be negative.
fn unknown_integer(cx: &mut Cx<'_>) -> Dim {
    let domain = Domain::Range { min: i64::from(i32::MIN), max: Some(i64::from(i32::MAX)) };
    match cx.unknown().as_symbol() {
        Some(size) => Symbol::new(size.name(), domain).into(),
        None => cx.unknown(),
    }
}

/// An integer as a size: one that may be negative stands for a size nobody knows.
pub(crate) fn as_size(value: &Dim, cx: &mut Cx<'_>) -> Dim {
    if value.at_least(0) { value.clone() } else { cx.unknown() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_and_positions_are_inverse() {
        let sizes = [2, 3, 4];
        assert_eq!(coordinates(23, &sizes), [1, 2, 3]);
        assert!((0..24).all(|i| position(&coordinates(i, &sizes), &sizes) == i));
        assert_eq!(coordinates(0, &[]), [0usize; 0]);
    }

    #[test]
    fn counts_are_bounded() {
        assert_eq!(small_count(&[32, 32]), Some(1024));
        assert_eq!(small_count(&[32, 33]), None);
        assert_eq!(small_count(&[usize::MAX, 2]), None);
    }
}
