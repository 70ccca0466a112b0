//! `gather`, `gather_along_axis`, `gather_nd`: elements by their index.

use crate::{
    op::{Arg, Cx, Infer, Inferred, Op, OpDef, OpError},
    types::Dim,
};
use mil_derive::Op;

use super::{known, rules};

pub(crate) const OPS: &[&OpDef] = &[Gather::DEF, GatherAlongAxis::DEF, GatherNd::DEF];

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
pub(crate) fn check_known(indices: &Arg, axis: usize, size: &Dim, validate: bool) -> Result<(), OpError> {
    let (Some(known), Some(size)) = (indices.known_dims(), size.fixed()) else { return Ok(()) };
    match known.iter().filter_map(Dim::value).find(|i| place(*i, size, validate).is_none()) {
        Some(bad) => Err(no_place(bad, axis, size, validate)),
        None => Ok(()),
    }
}

/// How many dimensions each row of indices names: the size of the last dimension of `indices`, at most `most`.
pub(crate) fn depth(indices: &Arg, most: usize) -> Result<usize, OpError> {
    let note = "the last dimension of `indices` has an index for each dimension that is indexed";
    let Some(last) = indices.shape().last() else {
        return Err(OpError::at("indices", "`indices` must have rank 1 or more, found a scalar").note(note));
    };
    let fixed = last.fixed().ok_or_else(|| {
        let message = format!("the last dimension of `indices` must have a fixed size, found {}", indices.ty);
        OpError::at("indices", message).note(note)
    })?;
    if fixed > most {
        let message = format!("each row of `indices` has {fixed} indices, but {most} dimensions can be indexed");
        return Err(OpError::at("indices", message).note(format!("indices: {}\n{note}", indices.ty)));
    }
    Ok(fixed)
}

/// Requires known rows of indices to be places; see [`GatherNd::slices`].
pub(crate) fn check_known_rows(indices: &Arg, first: usize, sizes: &[Dim], validate: bool) -> Result<(), OpError> {
    let Some(known) = indices.known_dims() else { return Ok(()) };
    for (i, index) in known.iter().enumerate() {
        let axis = i % sizes.len().max(1);
        let (Some(index), Some(size)) = (index.value(), sizes.get(axis).and_then(Dim::fixed)) else { continue };
        if place(index, size, validate).is_none() {
            return Err(no_place(index, first + axis, size, validate));
        }
    }
    Ok(())
}

/// Requires the batch dimensions of both operands to agree.
fn check_batch(x: &Arg, indices: &Arg, batch: usize) -> Result<(), OpError> {
    match (0..batch).find(|i| !x.dim(*i).may_equal(indices.dim(*i))) {
        Some(i) => {
            let message = format!("batch dimension {i} is {} in `indices` but {} in `x`", indices.dim(i), x.dim(i));
            Err(OpError::at("indices", message).note(format!("x: {}\nindices: {}", x.ty, indices.ty)))
        }
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
        check_batch(x, indices, batch)?; // C3
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

/// Takes a slice of `x` per row of indices: `out[.., :] = x[indices[.., 0], indices[.., 1], .., :]`.
///
/// The last dimension of `indices` has an index for each dimension of `x` that is indexed, after the batch dimensions.
/// The output's dimensions are those of `indices` but the last, and those of `x` that are not indexed. Negative indices
/// count as in [`Gather`].
///
/// # Constraints
/// - C1 `indices` has a last dimension of a fixed size.
/// - C2 `batch_dims` is 0 or more, and less than the rank of `indices`.
/// - C3 the batch dimensions and those that are indexed are at most all of `x`.
/// - C4 the first `batch_dims` dimensions of `x` and `indices` agree.
/// - C5 indices that are known are places in their dimension.
#[derive(Op, Clone, Debug)]
#[op(name = "gather_nd", since = iOS15)]
#[domain(T = F16 | F32 | I32, iOS17 = F16 | F32 | I8 | I16 | I32 | U8 | U16)]
#[domain(I = I16 | I32 | U16, iOS17 = I8 | I16 | I32 | U8 | U16)]
pub struct GatherNd {
    /// Where to take from.
    #[dtype(T)]
    pub x: Arg,
    /// Rows of indices, in its last dimension.
    #[dtype(I32, iOS16 = I)]
    pub indices: Arg,
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

impl GatherNd {
    /// The slices that rows of indices mean, counted row by row over the dimensions that they index: those of `x` from
    /// `first` on, of these sizes. Each of `rows` rows has an index for each of the dimensions.
    ///
    /// # Errors
    /// If an index is no place.
    pub fn slices(
        indices: &[i64],
        rows: usize,
        first: usize,
        sizes: &[usize],
        validate: bool,
    ) -> Result<Vec<usize>, OpError> {
        if sizes.is_empty() {
            return Ok(vec![0; rows]); // no index names all of it
        }
        let one = |row: &[i64]| {
            row.iter().zip(sizes).enumerate().try_fold(0, |at, (i, (index, size))| {
                let place =
                    place(*index, *size, validate).ok_or_else(|| no_place(*index, first + i, *size, validate))?;
                Ok(at * size + place)
            })
        };
        indices.chunks_exact(sizes.len()).map(one).collect()
    }

    /// `batch_dims`, and how many dimensions after them are indexed.
    ///
    /// # Errors
    /// If they do not fit the operands (C1 to C3).
    pub fn dimensions(&self) -> Result<(usize, usize), OpError> {
        let most = self.x.rank().min(self.indices.rank().saturating_sub(1));
        let batch = usize::try_from(self.batch_dims).ok().filter(|b| *b <= most);
        let batch = batch.ok_or_else(|| {
            let message = format!("`batch_dims` must be 0 to {most}, found {}", self.batch_dims); // C2
            OpError::at("batch_dims", message).note(format!("x: {}\nindices: {}", self.x.ty, self.indices.ty))
        })?;
        Ok((batch, depth(&self.indices, self.x.rank() - batch)?)) // C1, C3
    }
}

impl Infer for GatherNd {
    fn infer(&self, _: &mut Cx<'_>) -> Result<Vec<Inferred>, OpError> {
        let (batch, depth) = self.dimensions()?;
        let (x, indices) = (&self.x, &self.indices);
        check_batch(x, indices, batch)?; // C4
        let indexed = &x.shape()[batch..batch + depth];
        check_known_rows(indices, batch, indexed, self.validate_indices)?; // C5
        let rows = indices.rank() - 1;
        let ty = x.ty.with_shape([&indices.shape()[..rows], &x.shape()[batch + depth..]].concat());
        let sizes: Option<Vec<usize>> = indexed.iter().map(Dim::fixed).collect();
        let known = sizes.zip(indices.known_ints()).zip(indices.shape().fixed());
        let known = known.and_then(|((sizes, values), shape)| {
            let place = |(i, index): (usize, &i64)| place(*index, sizes[i % depth], self.validate_indices);
            let places: Vec<usize> = values.iter().enumerate().map(place).collect::<Option<_>>()?;
            known::moved(&[x], &ty.shape, |at| {
                let row = known::position(&at[..rows], &shape[..rows]) * depth;
                (0, [&at[..batch], &places[row..row + depth], &at[rows..]].concat())
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
    #[test]
    fn gather_nd_shapes() {
        let x = "Tensor<f32, 2, H, 4>";
        infers(|g| mb::gather_nd(g.t(x), g.t("Tensor<i32, 5, 6, 2>")), "Tensor<f32, 5, 6, 4>");
        infers(|g| mb::gather_nd(g.t(x), g.t("Tensor<u8, 3>")), "Tensor<f32>");
        infers(|g| mb::gather_nd(g.t(x), g.t("Tensor<i32, N, 0>")), "Tensor<f32, N, 2, H, 4>");
        infers(|g| mb::gather_nd(g.t(x), g.t("Tensor<i32, 2, 7, 1>")).batch_dims(1), "Tensor<f32, 2, 7, 4>");
        let two = |g: &mut Test| g.c(Constant::new([2, 3], &[1i32, 2, 3, 4, 5, 6]).unwrap());
        knows(|g| mb::gather_nd(two(g), [[0, 2], [-1, 0]]), "[3, 4]");
        knows(|g| mb::gather_nd(two(g), [[1], [0]]), "[4, 5, 6, 1, 2, 3]");
        knows(|g| mb::gather_nd(two(g), [[2], [1]]).batch_dims(1), "[3, 5]");
        let h = |g: &mut Test| {
            let x = g.t(x);
            let shape = g.push(mb::shape(x)).unwrap().remove(0);
            mb::gather_nd(shape, [[1], [2]])
        };
        knows(h, "[H, 4]");
    }

    #[test]
    fn gather_nd_constraints() {
        let x = "Tensor<f32, 2, 3>";
        fails(|g| mb::gather_nd(g.t(x), 0), "indices", "found a scalar"); // C1
        fails(|g| mb::gather_nd(g.t(x), g.t("Tensor<i32, 4, N>")), "indices", "fixed size");
        fails(|g| mb::gather_nd(g.t(x), [[0]]).batch_dims(2), "batch_dims", "0 to 1, found 2"); // C2
        fails(|g| mb::gather_nd(g.t(x), [[0]]).batch_dims(-1), "batch_dims", "found -1");
        fails(|g| mb::gather_nd(g.t(x), [[0, 0, 0]]), "indices", "has 3 indices, but 2 dimensions"); // C3
        fails(|g| mb::gather_nd(g.t(x), [[0, 0], [0, 1]]).batch_dims(1), "indices", "has 2 indices, but 1 dimensions");
        fails(|g| mb::gather_nd(g.t(x), [[0], [0], [0]]).batch_dims(1), "indices", "is 3 in `indices` but 2"); // C4
        fails(|g| mb::gather_nd(g.t(x), [[1, 3]]), "indices", "dimension 1 of size 3"); // C5
        fails(|g| mb::gather_nd(g.t(x), [[-1, 0]]).validate_indices(true), "indices", "places are 0 to 1");
        fails_in(Opset::iOS15, |g| mb::gather_nd(g.t(x), [[0]]).batch_dims(0), "batch_dims", "opset = iOS16");
        fails_in(Opset::iOS15, |g| mb::gather_nd(g.t(x), g.t("Tensor<u16, 2, 1>")), "indices", "opset iOS16 takes it");
    }
}
