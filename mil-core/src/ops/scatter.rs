//! `scatter`, `scatter_along_axis`, `scatter_nd`: elements put where indices say.

use crate::{
    ir::Known,
    op::{Arg, Cx, Infer, Inferred, Op, OpDef, OpError, param::string_enum},
    types::Dim,
};
use mil_derive::Op;

use super::{
    fold,
    gather::{self, GatherNd, no_place, place},
    known, rules,
    scalar::{self, Binary},
};

pub(crate) const OPS: &[&OpDef] = &[Scatter::DEF, ScatterAlongAxis::DEF, ScatterNd::DEF];

string_enum! {
    /// How an update is joined with the element that is there.
    ScatterMode {
        /// It takes the element's place; of several for one element, the last does.
        Update = "update",
        /// It is added.
        Add = "add",
        /// It is subtracted.
        Sub = "sub",
        /// The element is multiplied by it.
        Mul = "mul",
        /// The element is divided by it; integers as `real_div` divides them.
        Div = "div",
        /// The greater stays.
        Max = "max",
        /// The smaller stays.
        Min = "min",
    }
}

impl Binary for ScatterMode {
    fn float(&self, x: f64, y: f64) -> f64 {
        match self {
            ScatterMode::Update => y,
            ScatterMode::Add => x + y,
            ScatterMode::Sub => x - y,
            ScatterMode::Mul => x * y,
            ScatterMode::Div => x / y,
            ScatterMode::Max => scalar::max(x, y),
            ScatterMode::Min => scalar::min(x, y),
        }
    }

    fn int(&self, x: i64, y: i64) -> i64 {
        match self {
            ScatterMode::Update => y,
            ScatterMode::Add => x.wrapping_add(y),
            ScatterMode::Sub => x.wrapping_sub(y),
            ScatterMode::Mul => x.wrapping_mul(y),
            ScatterMode::Div => scalar::int_div(x, y),
            ScatterMode::Max => x.max(y),
            ScatterMode::Min => x.min(y),
        }
    }

    fn dim(&self, x: &Dim, y: &Dim) -> Option<Dim> {
        let (a, b) = (x.clone(), y.clone());
        match self {
            ScatterMode::Update => Some(b),
            ScatterMode::Add => Some(a + b),
            ScatterMode::Sub => Some(a - b),
            ScatterMode::Mul => Some(a * b),
            ScatterMode::Div => scalar::dim_div(x, y),
            ScatterMode::Max => Some(a.max(b)),
            ScatterMode::Min => Some(a.min(b)),
        }
    }
}

/// What the ops that scatter have in common.
pub trait Scattering: Infer + Clone {
    /// `data`, `indices` and `updates`.
    fn operands(&self) -> [&Arg; 3];

    /// The same op with these operands.
    fn with_operands(&self, operands: [Arg; 3]) -> Self;

    /// How updates are joined with elements.
    fn mode(&self) -> ScatterMode;

    /// For each element of `updates` in order, its place among the elements of `data`, from the shapes of `data` and
    /// `indices` and the elements of the latter. Sizes have been checked.
    ///
    /// # Errors
    /// If an index is no place.
    fn targets(&self, data: &[usize], indices: &[usize], values: &[i64]) -> Result<Vec<usize>, OpError>;
}

/// What is known of the result, if it is small.
fn known(op: &impl Scattering) -> Option<Known> {
    let [data, indices, updates] = op.operands();
    let (sizes, shape) = (data.shape().fixed()?, indices.shape().fixed()?);
    // Without elements a shape may still be large in its other dimensions.
    for sizes in [&sizes, &shape, &updates.shape().fixed()?] {
        known::small_count(&sizes.iter().map(|n| *n.max(&1)).collect::<Vec<_>>())?;
    }
    let targets = op.targets(&sizes, &shape, &indices.known_ints()?).ok()?;
    fold::scatter(&op.mode(), data, updates, &targets)
}

/// Requires the shape of `updates`.
fn check_updates(updates: &Arg, expected: &[Dim], note: impl FnOnce() -> String) -> Result<(), OpError> {
    let fits = updates.rank() == expected.len() && updates.shape().iter().zip(expected).all(|(d, e)| d.may_equal(e));
    if fits {
        return Ok(());
    }
    let expected = updates.ty.with_shape(expected.to_vec());
    Err(OpError::at("updates", format!("`updates` must be {expected}, found {}", updates.ty)).note(note()))
}

/// Puts slices into `data` along `axis`, one per index, and gives the result.
///
/// `updates` has the dimensions of `data` before `axis`, those of `indices`, and those of `data` after `axis`. Where an
/// index appears more than once, its updates are applied in order. Negative indices count from the end, unless they are
/// checked (`validate_indices`); on Apple's runtime they do so before opset iOS17 only, and from then on give undefined
/// values.
///
/// # Constraints
/// - C1 `axis` is a dimension of `data`; a negative one counts from the end.
/// - C2 `updates` has the shape of `data` with the dimensions of `indices` in place of `axis`.
/// - C3 indices that are known are places along `axis`.
#[derive(Op, Clone, Debug)]
#[op(name = "scatter", since = iOS15)]
#[domain(T = F16 | F32 | I32)]
pub struct Scatter {
    /// Where to put.
    #[dtype(T)]
    pub data: Arg,
    /// The places along `axis`, as a list.
    #[dtype(I32)]
    pub indices: Arg,
    /// What to put there.
    #[dtype(T)]
    pub updates: Arg,
    /// The dimension that is indexed. Default: 0.
    #[dtype(I32)]
    #[default(0)]
    pub axis: i64,
    /// How an update is joined with what is there: `"update"`, `"add"`, `"sub"`, `"mul"`, `"div"`, `"max"` or `"min"`.
    /// Default: `"add"`.
    #[dtype(String)]
    #[default(ScatterMode::Add)]
    pub mode: ScatterMode,
    /// Whether an index that is no place (a negative one included) is an error when the program runs. Default: false.
    #[dtype(Bool)]
    #[since(iOS17)]
    #[default(false)]
    pub validate_indices: bool,
}

impl Scatter {
    fn dimension(&self) -> Result<usize, OpError> {
        rules::axis(self.axis, self.data.rank(), "axis")
    }
}

impl Scattering for Scatter {
    fn operands(&self) -> [&Arg; 3] {
        [&self.data, &self.indices, &self.updates]
    }

    fn with_operands(&self, [data, indices, updates]: [Arg; 3]) -> Scatter {
        Scatter { data, indices, updates, ..self.clone() }
    }

    fn mode(&self) -> ScatterMode {
        self.mode
    }

    fn targets(&self, data: &[usize], _: &[usize], values: &[i64]) -> Result<Vec<usize>, OpError> {
        let axis = self.dimension()?;
        let size = data[axis];
        let found = |i: &i64| {
            place(*i, size, self.validate_indices).ok_or_else(|| no_place(*i, axis, size, self.validate_indices))
        };
        let places: Vec<usize> = values.iter().map(found).collect::<Result<_, _>>()?;
        let outer: usize = data[..axis].iter().product();
        let inner: usize = data[axis + 1..].iter().product();
        let slices = (0..outer).flat_map(|o| places.iter().map(move |at| o * size + at));
        Ok(slices.flat_map(|slice| slice * inner..(slice + 1) * inner).collect())
    }
}

impl Infer for Scatter {
    fn infer(&self, _: &mut Cx<'_>) -> Result<Vec<Inferred>, OpError> {
        let axis = self.dimension()?; // C1
        let (data, indices) = (&self.data, &self.indices);
        let expected = [&data.shape()[..axis], &indices.shape()[..], &data.shape()[axis + 1..]].concat();
        check_updates(&self.updates, &expected, || format!("data: {}\nindices: {}", data.ty, indices.ty))?; // C2
        gather::check_known(indices, axis, data.dim(axis), self.validate_indices)?; // C3
        Ok(vec![Inferred::known(data.ty.clone(), known(self))])
    }
}

/// Puts an element per index: `out[.., indices[.., i, ..], ..] = updates[.., i, ..]` along `axis`, joined with what is there.
///
/// Indices that appear more than once, and negative ones, count as in [`Scatter`].
///
/// # Constraints
/// - C1 `indices` has the rank of `data`.
/// - C2 `axis` is a dimension of `data`; a negative one counts from the end.
/// - C3 `updates` has the shape of `indices`.
/// - C4 all sizes of `data` and `indices` but the one along `axis` agree.
/// - C5 indices that are known are places along `axis`.
#[derive(Op, Clone, Debug)]
#[op(name = "scatter_along_axis", since = iOS15)]
#[domain(T = F16 | F32 | I32)]
pub struct ScatterAlongAxis {
    /// Where to put.
    #[dtype(T)]
    pub data: Arg,
    /// The places along `axis`.
    #[dtype(I32)]
    pub indices: Arg,
    /// What to put there.
    #[dtype(T)]
    pub updates: Arg,
    /// The dimension that is indexed. Default: 0.
    #[dtype(I32)]
    #[default(0)]
    pub axis: i64,
    /// How an update is joined with what is there; see [`Scatter`]. Default: `"add"`.
    #[dtype(String)]
    #[default(ScatterMode::Add)]
    pub mode: ScatterMode,
    /// Whether an index that is no place (a negative one included) is an error when the program runs. Default: false.
    #[dtype(Bool)]
    #[since(iOS17)]
    #[default(false)]
    pub validate_indices: bool,
}

impl ScatterAlongAxis {
    fn dimension(&self) -> Result<usize, OpError> {
        rules::axis(self.axis, self.data.rank(), "axis")
    }
}

impl Scattering for ScatterAlongAxis {
    fn operands(&self) -> [&Arg; 3] {
        [&self.data, &self.indices, &self.updates]
    }

    fn with_operands(&self, [data, indices, updates]: [Arg; 3]) -> ScatterAlongAxis {
        ScatterAlongAxis { data, indices, updates, ..self.clone() }
    }

    fn mode(&self) -> ScatterMode {
        self.mode
    }

    fn targets(&self, data: &[usize], indices: &[usize], values: &[i64]) -> Result<Vec<usize>, OpError> {
        let axis = self.dimension()?;
        let (size, count) = (data[axis], indices[axis]);
        let inner: usize = data[axis + 1..].iter().product();
        let target = |(i, index): (usize, &i64)| {
            let at = place(*index, size, self.validate_indices);
            let at = at.ok_or_else(|| no_place(*index, axis, size, self.validate_indices))?;
            Ok((i / (count * inner) * size + at) * inner + i % inner)
        };
        values.iter().enumerate().map(target).collect()
    }
}

impl Infer for ScatterAlongAxis {
    fn infer(&self, _: &mut Cx<'_>) -> Result<Vec<Inferred>, OpError> {
        let (data, indices) = (&self.data, &self.indices);
        let note = || format!("data: {}\nindices: {}", data.ty, indices.ty);
        if data.rank() != indices.rank() {
            let message = format!("`indices` must have rank {}, as `data` has, found {}", data.rank(), indices.ty); // C1
            return Err(OpError::at("indices", message).note("`mb::scatter` takes a list of indices"));
        }
        let axis = self.dimension()?; // C2
        check_updates(&self.updates, &indices.shape()[..], note)?; // C3
        for i in (0..data.rank()).filter(|i| *i != axis) {
            if !data.dim(i).may_equal(indices.dim(i)) {
                let message =
                    format!("dimension {i} of `indices` is {}, but {} in `data`", indices.dim(i), data.dim(i));
                return Err(OpError::at("indices", message).note(note())); // C4
            }
        }
        gather::check_known(indices, axis, data.dim(axis), self.validate_indices)?; // C5
        Ok(vec![Inferred::known(data.ty.clone(), known(self))])
    }
}

/// Puts a slice into `data` per row of indices: `out[indices[.., 0], indices[.., 1], .., :] = updates[.., :]`, joined with
/// what is there.
///
/// The last dimension of `indices` has an index for each leading dimension of `data` that is indexed. `updates` has the
/// dimensions of `indices` but the last, and those of `data` that are not indexed. Indices that appear more than once, and
/// negative ones, count as in [`Scatter`].
///
/// # Constraints
/// - C1 `indices` has a last dimension of a fixed size.
/// - C2 no more dimensions are indexed than `data` has.
/// - C3 `updates` has that shape.
/// - C4 indices that are known are places in their dimension.
#[derive(Op, Clone, Debug)]
#[op(name = "scatter_nd", since = iOS15)]
#[domain(T = F16 | F32 | I32)]
pub struct ScatterNd {
    /// Where to put.
    #[dtype(T)]
    pub data: Arg,
    /// Rows of indices, in its last dimension.
    #[dtype(I32)]
    pub indices: Arg,
    /// What to put there.
    #[dtype(T)]
    pub updates: Arg,
    /// How an update is joined with what is there; see [`Scatter`]. Default: `"add"`.
    #[dtype(String)]
    #[default(ScatterMode::Add)]
    pub mode: ScatterMode,
    /// Whether an index that is no place (a negative one included) is an error when the program runs. Default: false.
    #[dtype(Bool)]
    #[since(iOS17)]
    #[default(false)]
    pub validate_indices: bool,
}

impl Scattering for ScatterNd {
    fn operands(&self) -> [&Arg; 3] {
        [&self.data, &self.indices, &self.updates]
    }

    fn with_operands(&self, [data, indices, updates]: [Arg; 3]) -> ScatterNd {
        ScatterNd { data, indices, updates, ..self.clone() }
    }

    fn mode(&self) -> ScatterMode {
        self.mode
    }

    fn targets(&self, data: &[usize], indices: &[usize], values: &[i64]) -> Result<Vec<usize>, OpError> {
        let depth = gather::depth(&self.indices, data.len())?;
        let rows: usize = indices[..indices.len() - 1].iter().product();
        let inner: usize = data[depth..].iter().product();
        let slices = GatherNd::slices(values, rows, 0, &data[..depth], self.validate_indices)?;
        Ok(slices.into_iter().flat_map(|slice| slice * inner..(slice + 1) * inner).collect())
    }
}

impl Infer for ScatterNd {
    fn infer(&self, _: &mut Cx<'_>) -> Result<Vec<Inferred>, OpError> {
        let (data, indices) = (&self.data, &self.indices);
        let depth = gather::depth(indices, data.rank())?; // C1, C2
        let expected = [&indices.shape()[..indices.rank() - 1], &data.shape()[depth..]].concat();
        check_updates(&self.updates, &expected, || format!("data: {}\nindices: {}", data.ty, indices.ty))?; // C3
        gather::check_known_rows(indices, 0, &data.shape()[..depth], self.validate_indices)?; // C4
        Ok(vec![Inferred::known(data.ty.clone(), known(self))])
    }
}

#[cfg(test)]
mod tests {
    use crate::{
        ir::Constant,
        mb,
        ops::testing::{Test, fails, fails_in, infer_in, infers, knows},
        types::Opset,
    };

    const X: &str = "Tensor<f32, 2, 3>";

    fn six(g: &mut Test) -> crate::graph::Value {
        g.c(Constant::new([2, 3], &[1i32, 2, 3, 4, 5, 6]).unwrap())
    }

    #[test]
    fn shapes() {
        let x = "Tensor<f16, 2, H, 4>";
        let i = "Tensor<i32, 5>";
        infers(|g| mb::scatter(g.t(x), g.t(i), g.t("Tensor<f16, 2, 5, 4>")).axis(-2), x);
        infers(|g| mb::scatter(g.t(x), g.t("Tensor<i32>"), g.t("Tensor<f16, H, 4>")).mode("update"), x);
        infers(|g| mb::scatter_along_axis(g.t(x), g.t("Tensor<i32, 2, H, 1>"), g.t("Tensor<f16, 2, H, 1>")).axis(2), x);
        infers(|g| mb::scatter_nd(g.t(x), g.t("Tensor<i32, N, 2>"), g.t("Tensor<f16, N, 4>")), x);
        infers(|g| mb::scatter_nd(g.t(x), g.t("Tensor<i32, 0>"), g.t(x)), x);
    }

    #[test]
    fn known_values() {
        knows(|g| mb::scatter(six(g), [1, 0], [[1, 1, 1], [2, 2, 2]]), "[3, 4, 5, 5, 6, 7]");
        knows(|g| mb::scatter(six(g), [2, -1], [[7, 8], [9, 1]]).axis(1).mode("max"), "[1, 2, 8, 4, 5, 9]");
        knows(|g| mb::scatter_along_axis(six(g), [[0, 1, 0]], [[9, 9, 9]]).mode("update"), "[9, 2, 9, 4, 9, 6]");
        knows(|g| mb::scatter_nd(six(g), [[1, 0], [1, 0]], [2, 3]).mode("mul"), "[1, 2, 3, 24, 5, 6]");
        knows(|g| mb::scatter_nd(six(g), [[1]], [[2, 3, -4]]).mode("div"), "[1, 2, 3, 2, 1, -1]");
        let out = infer_in(Opset::iOS17, |g| mb::scatter(g.t("Tensor<i32, 2>"), [0], [1])).unwrap();
        assert!(out[0].known().is_none());
        // One size of a shape replaced.
        let shape = |g: &mut Test| {
            let x = g.t("Tensor<f32, 2, H, 3>");
            let shape = g.push(mb::shape(x)).unwrap().remove(0);
            mb::scatter(shape, [0], [7]).mode("update")
        };
        knows(shape, "[7, H, 3]");
    }

    #[test]
    fn scatter_constraints() {
        fails(|g| mb::scatter(g.t(X), [0], g.t("Tensor<f32, 1, 3>")).axis(2), "axis", "out of range"); // C1
        fails(|g| mb::scatter(g.t(X), [0], g.t("Tensor<f32, 2, 3>")), "updates", "must be Tensor<f32, 1, 3>"); // C2
        fails(|g| mb::scatter(g.t(X), [0], g.t("Tensor<f32, 3>")), "updates", "must be Tensor<f32, 1, 3>");
        fails(|g| mb::scatter(g.t(X), [2], g.t("Tensor<f32, 1, 3>")), "indices", "places are -2 to 1"); // C3
        let checked = |g: &mut Test| mb::scatter(g.t(X), [-1], g.t("Tensor<f32, 1, 3>")).validate_indices(true);
        fails(checked, "indices", "places are 0 to 1");
        fails_in(Opset::iOS16, checked, "validate_indices", "opset = iOS17");
        fails(|g| mb::scatter(g.t(X), [0], g.t("Tensor<f32, 1, 3>")).mode("pow"), "mode", "\"update\"");
        fails(|g| mb::scatter(g.t(X), [0], g.t("Tensor<f16, 1, 3>")), "updates", "same dtype");
    }

    #[test]
    fn scatter_along_axis_constraints() {
        let u = "Tensor<f32, 1, 3>";
        fails(|g| mb::scatter_along_axis(g.t(X), [0], g.t("Tensor<f32, 1>")), "indices", "rank 2"); // C1
        fails(|g| mb::scatter_along_axis(g.t(X), [[0, 0, 0]], g.t(u)).axis(-3), "axis", "out of range"); // C2
        fails(|g| mb::scatter_along_axis(g.t(X), [[0, 0, 0]], g.t(X)), "updates", "must be Tensor<f32, 1, 3>"); // C3
        fails(|g| mb::scatter_along_axis(g.t(X), [[0]], g.t("Tensor<f32, 1, 1>")), "indices", "is 1, but 3"); // C4
        fails(|g| mb::scatter_along_axis(g.t(X), [[0, 2, 0]], g.t(u)), "indices", "index 2 is out of range"); // C5
    }

    #[test]
    fn scatter_nd_constraints() {
        let indices = "Tensor<i32, 4, N>";
        fails(|g| mb::scatter_nd(g.t(X), g.t(indices), g.t("Tensor<f32, 4>")), "indices", "fixed size"); // C1
        fails(|g| mb::scatter_nd(g.t(X), 0, g.t(X)), "indices", "found a scalar");
        fails(|g| mb::scatter_nd(g.t(X), [[0, 0, 0]], g.t("Tensor<f32, 1>")), "indices", "has 3 indices, but 2"); // C2
        fails(|g| mb::scatter_nd(g.t(X), [[0], [1]], g.t("Tensor<f32, 2>")), "updates", "Tensor<f32, 2, 3>"); // C3
        fails(|g| mb::scatter_nd(g.t(X), [[0, -4]], g.t("Tensor<f32, 1>")), "indices", "dimension 1 of size 3"); // C4
    }
}
