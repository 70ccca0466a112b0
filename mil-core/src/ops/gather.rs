//! `gather`, `gather_along_axis`: elements by their index.

use crate::{
    op::{Arg, Cx, Infer, Inferred, Op, OpDef, OpError},
    types::Dim,
};
use mil_derive::Op;

use super::{known, rules};

pub(crate) const OPS: &[&OpDef] = &[Gather::DEF, GatherAlongAxis::DEF];

/// Takes slices of `x` along `axis`, one per index.
///
/// The output's dimensions are those of `x` before `axis`, those of `indices` after its batch dimensions, and those of
/// `x` after `axis`. Negative indices count from the end, unless they are checked (`validate_indices`); on Apple's
/// runtime they do so before opset iOS17 only, and from then on give undefined values.
///
/// # Constraints
/// - C1 `axis` is a dimension of `x`; a negative one counts from the end.
/// - C2 `batch_dims` is 0 or more, at most the rank of `indices`, and at most `axis`.
/// - C3 the first `batch_dims` dimensions of `x` and `indices` agree.
/// - C4 indices that are known are places along `axis`.
#[derive(Op, Clone, Debug)]
#[op(name = "gather", since = iOS15)]
#[domain(T = F16 | F32 | I32, iOS17 = F16 | F32 | I8 | I16 | I32 | U8 | U16)]
#[domain(I = I16 | I32 | U16, iOS17 = I8 | I16 | I32 | U8 | U16)]
pub struct Gather {
    /// Where to take from.
    #[dtype(T)]
    pub x: Arg,
    /// The places along `axis`; a scalar takes one slice and the dimension goes.
    #[dtype(I32, iOS16 = I)]
    pub indices: Arg,
    /// The dimension that is indexed. Default: 0.
    #[dtype(I32)]
    #[default(0)]
    pub axis: i64,
    /// How many leading dimensions of `x` and `indices` run together. Default: 0.
    #[dtype(I32)]
    #[since(iOS16)]
    #[default(0)]
    pub batch_dims: i64,
    /// Whether an index that is no place (a negative one included) is an error when the program runs. Default: false.
    #[dtype(Bool)]
    #[since(iOS17)]
    #[default(false)]
    pub validate_indices: bool,
}

/// The place that an index means in a dimension of this size: negative ones count from the end, unless they are checked.
pub fn place(index: i64, size: usize, validate: bool) -> Option<usize> {
    let n = i64::try_from(size).unwrap_or(i64::MAX);
    let at = if index < 0 && !validate { index.checked_add(n)? } else { index };
    usize::try_from(at).ok().filter(|at| *at < size)
}

/// The error of an index that is no place.
pub fn no_place(index: i64, axis: usize, size: usize, validate: bool) -> OpError {
    let low = if validate { "0".into() } else { format!("-{size}") };
    let message = format!("index {index} is out of range for dimension {axis} of size {size}");
    let range = if size == 0 { "the dimension is empty".into() } else { format!("places are {low} to {}", size - 1) };
    OpError::at("indices", message).note(range)
}

/// Requires known indices to be places.
fn check_known(indices: &Arg, axis: usize, size: &Dim, validate: bool) -> Result<(), OpError> {
    let (Some(known), Some(size)) = (indices.known_dims(), size.fixed()) else { return Ok(()) };
    match known.iter().filter_map(Dim::value).find(|i| place(*i, size, validate).is_none()) {
        Some(bad) => Err(no_place(bad, axis, size, validate)),
        None => Ok(()),
    }
}

impl Gather {
    /// `axis` and `batch_dims`, counted from the start.
    ///
    /// # Errors
    /// If they do not fit the operands (C1, C2).
    pub fn dimensions(&self) -> Result<(usize, usize), OpError> {
        let axis = rules::axis(self.axis, self.x.rank(), "axis")?; // C1
        let most = self.indices.rank().min(axis);
        let batch = usize::try_from(self.batch_dims).ok().filter(|b| *b <= most);
        let batch = batch.ok_or_else(|| {
            let message = format!("`batch_dims` must be 0 to {most}, found {}", self.batch_dims); // C2
            let note = format!("at most `axis`, and the rank of `indices`: {}", self.indices.ty);
            OpError::at("batch_dims", message).note(note)
        })?;
        Ok((axis, batch))
    }
}

impl Infer for Gather {
    fn infer(&self, _: &mut Cx<'_>) -> Result<Vec<Inferred>, OpError> {
        let (axis, batch) = self.dimensions()?;
        let (x, indices) = (&self.x, &self.indices);
        for i in 0..batch {
            if !x.dim(i).may_equal(indices.dim(i)) {
                let message = format!("batch dimension {i} is {} in `indices` but {} in `x`", indices.dim(i), x.dim(i));
                return Err(OpError::at("indices", message).note(format!("x: {}\nindices: {}", x.ty, indices.ty))); // C3
            }
        }
        check_known(indices, axis, x.dim(axis), self.validate_indices)?; // C4
        let dims = [&x.shape()[..axis], &indices.shape()[batch..], &x.shape()[axis + 1..]].concat();
        let ty = x.ty.with_shape(dims);
        let known = x.dim(axis).fixed().zip(indices.known_ints()).zip(indices.shape().fixed());
        let known = known.and_then(|((size, values), sizes)| {
            let places: Option<Vec<usize>> = values.iter().map(|i| place(*i, size, self.validate_indices)).collect();
            let places = places?;
            known::moved(&[x], &ty.shape, |at| {
                let inner = axis + indices.rank() - batch;
                let index = [&at[..batch], &at[axis..inner]].concat();
                let chosen = places[known::position(&index, &sizes)];
                (0, [&at[..axis], &[chosen], &at[inner..]].concat())
            })
        });
        Ok(vec![Inferred::known(ty, known)])
    }
}

/// Takes an element per index: `out[.., i, ..] = x[.., indices[.., i, ..], ..]` along `axis`.
///
/// Negative indices count as in [`Gather`].
///
/// # Constraints
/// - C1 `indices` has the rank of `x`.
/// - C2 `axis` is a dimension of `x`; a negative one counts from the end.
/// - C3 all sizes but the one along `axis` agree.
/// - C4 indices that are known are places along `axis`.
#[derive(Op, Clone, Debug)]
#[op(name = "gather_along_axis", since = iOS15)]
#[domain(T = F16 | F32 | I32, iOS17 = F16 | F32 | I8 | I16 | I32 | U8 | U16)]
#[domain(I = I16 | I32 | U16, iOS17 = I8 | I16 | I32 | U8 | U16)]
pub struct GatherAlongAxis {
    /// Where to take from.
    #[dtype(T)]
    pub x: Arg,
    /// The places along `axis`. The output has this shape.
    #[dtype(I32, iOS16 = I)]
    pub indices: Arg,
    /// The dimension that is indexed. Default: 0.
    #[dtype(I32)]
    #[default(0)]
    pub axis: i64,
    /// Whether an index that is no place (a negative one included) is an error when the program runs. Default: false.
    #[dtype(Bool)]
    #[since(iOS17)]
    #[default(false)]
    pub validate_indices: bool,
}

impl GatherAlongAxis {
    /// `axis`, counted from the start.
    ///
    /// # Errors
    /// If it is no dimension of `x` (C2).
    pub fn dimension(&self) -> Result<usize, OpError> {
        rules::axis(self.axis, self.x.rank(), "axis")
    }
}

impl Infer for GatherAlongAxis {
    fn infer(&self, _: &mut Cx<'_>) -> Result<Vec<Inferred>, OpError> {
        let (x, indices) = (&self.x, &self.indices);
        let note = || format!("x: {}\nindices: {}", x.ty, indices.ty);
        if x.rank() != indices.rank() {
            let message = format!("`indices` must have rank {}, as `x` has, found {}", x.rank(), indices.ty); // C1
            return Err(OpError::at("indices", message).note("`mb::gather` takes indices of any rank"));
        }
        let axis = self.dimension()?; // C2
        let mut dims = indices.shape().to_vec();
        for i in (0..x.rank()).filter(|i| *i != axis) {
            if !x.dim(i).may_equal(indices.dim(i)) {
                let message = format!("dimension {i} of `indices` is {}, but {} in `x`", indices.dim(i), x.dim(i));
                return Err(OpError::at("indices", message).note(note())); // C3
            }
            if x.dim(i).fixed().is_some() {
                dims[i] = x.dim(i).clone();
            }
        }
        check_known(indices, axis, x.dim(axis), self.validate_indices)?; // C4
        let ty = x.ty.with_shape(dims);
        let known = x.dim(axis).fixed().zip(indices.known_ints()).zip(indices.shape().fixed());
        let known = known.and_then(|((size, values), sizes)| {
            let places: Option<Vec<usize>> = values.iter().map(|i| place(*i, size, self.validate_indices)).collect();
            let places = places?;
            known::moved(&[x], &ty.shape, |at| {
                let mut from = at.to_vec();
                from[axis] = places[known::position(at, &sizes)];
                (0, from)
            })
        });
        Ok(vec![Inferred::known(ty, known)])
    }
}

#[cfg(test)]
mod tests {
    use crate::{
        ir::Constant,
        mb,
        ops::testing::{Test, fails, fails_in, infers, knows},
        types::Opset,
    };

    #[test]
    fn gather_shapes() {
        let x = "Tensor<f32, 2, H, 4>";
        infers(|g| mb::gather(g.t(x), g.t("Tensor<i32, 5, 6>")).axis(1), "Tensor<f32, 2, 5, 6, 4>");
        infers(|g| mb::gather(g.t(x), g.t("Tensor<u16>")).axis(-1), "Tensor<f32, 2, H>");
        infers(|g| mb::gather(g.t(x), g.t("Tensor<i32, 2, 7>")).axis(2).batch_dims(1), "Tensor<f32, 2, H, 7>");
    }

    #[test]
    fn gather_knows() {
        let two = |g: &mut Test| g.c(Constant::new([2, 3], &[1i32, 2, 3, 4, 5, 6]).unwrap());
        knows(|g| mb::gather(two(g), [2, -3]).axis(1), "[3, 1, 6, 4]");
        knows(|g| mb::gather(two(g), 1), "[4, 5, 6]");
        knows(|g| mb::gather(two(g), [[0, 0], [2, 1]]).axis(1).batch_dims(1), "[1, 1, 6, 5]");
        knows(|g| mb::gather_along_axis(two(g), [[1, 0, 1]]), "[4, 2, 6]");
        knows(
            |g| {
                let x = g.t("Tensor<f32, 2, H, 3>");
                let shape = g.push(mb::shape(x)).unwrap().remove(0);
                mb::gather(shape, [1, 0])
            },
            "[H, 2]",
        );
    }

    #[test]
    fn gather_constraints() {
        let x = "Tensor<f32, 2, 3>";
        fails(|g| mb::gather(g.t(x), 0).axis(2), "axis", "out of range"); // C1
        fails(|g| mb::gather(g.t(x), [0]).axis(0).batch_dims(1), "batch_dims", "0 to 0, found 1"); // C2
        fails(|g| mb::gather(g.t(x), 0).axis(1).batch_dims(1), "batch_dims", "0 to 0, found 1");
        fails(|g| mb::gather(g.t(x), [0]).batch_dims(-1), "batch_dims", "found -1");
        fails(|g| mb::gather(g.t(x), [0, 1, 2]).axis(1).batch_dims(1), "indices", "is 3 in `indices` but 2"); // C3
        fails(|g| mb::gather(g.t(x), [0, 3]).axis(1), "indices", "places are -3 to 2"); // C4
        fails(|g| mb::gather(g.t(x), [-1]).validate_indices(true), "indices", "places are 0 to 1");
        fails_in(Opset::iOS15, |g| mb::gather(g.t(x), g.t("Tensor<u16, 2>")), "indices", "opset iOS16 takes it");
        fails_in(Opset::iOS15, |g| mb::gather(g.t(x), [0]).batch_dims(0), "batch_dims", "opset = iOS16");
        fails_in(Opset::iOS16, |g| mb::gather(g.t(x), [0]).validate_indices(false), "validate_indices", "iOS17");
        fails_in(Opset::iOS16, |g| mb::gather(g.t("Tensor<u8, 2>"), [0]), "x", "opset iOS17 takes it");
    }

    #[test]
    fn gather_along_axis_constraints() {
        let x = "Tensor<f32, 2, 3>";
        infers(|g| mb::gather_along_axis(g.t(x), g.t("Tensor<i32, N, 5>")).axis(1), "Tensor<f32, 2, 5>");
        fails(|g| mb::gather_along_axis(g.t(x), [0]), "indices", "rank 2"); // C1
        fails(|g| mb::gather_along_axis(g.t(x), [[0]]).axis(-3), "axis", "out of range"); // C2
        fails(|g| mb::gather_along_axis(g.t(x), [[0, 0]]), "indices", "dimension 1 of `indices` is 2, but 3"); // C3
        fails(|g| mb::gather_along_axis(g.t(x), [[0, 2, 1]]), "indices", "index 2 is out of range"); // C4
    }
}
