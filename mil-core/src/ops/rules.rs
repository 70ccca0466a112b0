//! Rules that several ops share.

use crate::{
    op::{Arg, OpError},
    types::{Dim, Shape},
};

/// The shape of an elementwise result: dimensions align at the end; equal ones stay, 1 stretches (NumPy's rule).
///
/// # Errors
/// At `param`, if two dimensions can never agree.
pub(crate) fn broadcast(a: &Shape, b: &Shape, param: &str) -> Result<Shape, OpError> {
    let rank = a.rank().max(b.rank());
    let dim = |s: &Shape, i: usize| (i + s.rank()).checked_sub(rank).map_or(Dim::from(1), |j| s[j].clone());
    (0..rank)
        .map(|i| {
            let (x, y) = (dim(a, i), dim(b, i));
            broadcast_dim(&x, &y).ok_or_else(|| {
                OpError::at(param, format!("cannot broadcast {a} with {b}: dimension {i} is {x} against {y}"))
            })
        })
        .collect()
}

/// One dimension of [`broadcast`]; `None` if the two can never agree.
pub(crate) fn broadcast_dim(x: &Dim, y: &Dim) -> Option<Dim> {
    if x == y || y.is(1) {
        return Some(x.clone());
    }
    if x.is(1) {
        return Some(y.clone());
    }
    match (x.value(), y.value()) {
        (Some(_), Some(_)) => None,
        // A symbol against a number other than 1: the number, unless the symbol can be neither it nor 1.
        (Some(_), None) => (y.may_equal(x) || y.may_equal(&Dim::from(1))).then(|| x.clone()),
        (None, Some(_)) => (x.may_equal(y) || x.may_equal(&Dim::from(1))).then(|| y.clone()),
        // Two symbols: whichever is not 1, which is the greater (sizes of 0 do not broadcast).
        (None, None) => Some(x.clone().max(y.clone())),
    }
}

/// An axis counted from the start.
///
/// # Errors
/// At `param`, if it is out of range.
pub(crate) fn axis(value: i64, rank: usize, param: &str) -> Result<usize, OpError> {
    let rank_i = rank as i64;
    let found = if value < 0 { value + rank_i } else { value };
    if (0..rank_i).contains(&found) {
        return Ok(found as usize);
    }
    let range = if rank == 0 { "a scalar has no axis".into() } else { format!("-{rank} to {}", rank - 1) };
    Err(OpError::at(param, format!("`{param}` is {value}, out of range for rank {rank} ({range})")))
}

/// Axes counted from the start, sorted, each once.
///
/// # Errors
/// At `param`, if one is out of range or given twice.
pub(crate) fn axes(values: &[i64], rank: usize, param: &str) -> Result<Vec<usize>, OpError> {
    let mut all = values.iter().map(|v| axis(*v, rank, param)).collect::<Result<Vec<_>, _>>()?;
    all.sort_unstable();
    match all.windows(2).find(|w| w[0] == w[1]) {
        Some(w) => Err(OpError::at(param, format!("`{param}` has axis {} twice", w[0]))),
        None => Ok(all),
    }
}

/// Requires a rank in a range.
///
/// # Errors
/// At `param`, with what was found.
pub(crate) fn rank_in(arg: &Arg, range: std::ops::RangeInclusive<usize>, param: &str) -> Result<(), OpError> {
    if range.contains(&arg.rank()) {
        return Ok(());
    }
    let expected = if range.start() == range.end() {
        range.start().to_string()
    } else {
        format!("{} to {}", range.start(), range.end())
    };
    Err(OpError::at(param, format!("`{param}` must have rank {expected}, found rank {}: {}", arg.rank(), arg.ty)))
}

/// Requires a tensor of rank 1 with a certain number of elements: one per channel, say.
///
/// # Errors
/// At `param`, with what was found.
pub(crate) fn vector(arg: &Arg, length: &Dim, param: &str) -> Result<(), OpError> {
    rank_in(arg, 1..=1, param)?;
    if arg.dim(0).may_equal(length) {
        return Ok(());
    }
    Err(OpError::at(param, format!("`{param}` must have {length} elements, found {}", arg.dim(0))))
}

/// Requires a constant list of a certain length.
///
/// # Errors
/// At `param`, with what was found.
pub(crate) fn length<T>(list: &[T], expected: usize, param: &str) -> Result<(), OpError> {
    if list.len() == expected {
        return Ok(());
    }
    Err(OpError::at(param, format!("`{param}` must have {expected} elements, found {}", list.len())))
}

/// Requires every number of a list to be at least `min`.
///
/// # Errors
/// At `param`, with the first that is not.
pub(crate) fn at_least(list: &[i64], min: i64, param: &str) -> Result<(), OpError> {
    match list.iter().find(|v| **v < min) {
        Some(v) => Err(OpError::at(param, format!("`{param}` must be {min} or more, found {v}"))),
        None => Ok(()),
    }
}
