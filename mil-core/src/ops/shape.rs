//! `reshape`, `flatten2d`, `transpose`, `expand_dims`, `squeeze`, `shape`: ops that change how elements are arranged.

use crate::{
    ir::Known,
    op::{Arg, Cx, Infer, Inferred, Op, OpDef, OpError},
    types::{DType, Dim, Opset, TensorType, dim::quotient::quotient},
};
use mil_derive::Op;

use super::{known, rules};

pub(crate) const OPS: &[&OpDef] =
    &[Reshape::DEF, Flatten2d::DEF, Transpose::DEF, ExpandDims::DEF, Squeeze::DEF, Shape::DEF];

/// The same elements, in the same row-major order, in another shape.
///
/// # Constraints
/// - C1 `shape` is a list of a fixed length, which is the rank of the output.
/// - C2 at most one element of `shape` is -1.
/// - C3 the other elements of `shape` are not negative.
/// - C4 before opset iOS17, a 0 in `shape` needs `shape` to have one element per dimension of `x`.
/// - C5 the output has as many elements as `x`.
#[derive(Op, Clone, Debug)]
#[op(name = "reshape", since = iOS15)]
#[domain(T = F16 | F32 | I32 | Bool, iOS17 = F16 | F32 | I8 | I16 | I32 | U8 | U16 | Bool)]
#[domain(U = I8 | I16 | I32)]
pub struct Reshape {
    /// Any tensor.
    #[dtype(T)]
    pub x: Arg,
    /// The sizes. -1 stands for the size that keeps the number of elements; 0 for the size that `x` has there, counted
    /// from the last dimension, and for 1 where `x` has no dimension.
    #[dtype(I32, iOS17 = U)]
    pub shape: Arg,
}

impl Reshape {
    /// The sizes that `wanted` stands for.
    ///
    /// # Errors
    /// If no sizes keep the number of elements (C2 to C5).
    pub fn solve(&self, wanted: &[Dim], opset: Opset, unknown: &mut dyn FnMut() -> Dim) -> Result<Vec<Dim>, OpError> {
        let x = self.x.shape();
        let fail = |message: String, note: &str| Err(OpError::at("shape", message).note(note.to_string()));
        let free: Vec<usize> = (0..wanted.len()).filter(|i| wanted[*i].is(-1)).collect();
        if free.len() > 1 {
            return fail(format!("`shape` has {} elements that are -1", free.len()), "only one size can be worked out"); // C2
        }
        let mut dims = Vec::with_capacity(wanted.len());
        let mut computed = vec![];
        for (i, d) in wanted.iter().enumerate() {
            if d.is(0) {
                if opset < Opset::iOS17 && wanted.len() != x.rank() {
                    let message =
                        format!("`shape` has a 0 and {} elements, but `x` has rank {}", wanted.len(), x.rank());
                    return fail(message, "write the size, or set `opset = iOS17`"); // C4
                }
                dims.push((i + x.rank()).checked_sub(wanted.len()).map_or(Dim::from(1), |j| x[j].clone()));
            } else if d.bounds().1.is_some_and(|max| max < 0) && !d.is(-1) {
                return fail(format!("element {i} of `shape` is {d}"), "a size is positive, -1 or 0"); // C3
            } else if d.at_least(0) || d.is(-1) {
                dims.push(d.clone());
            } else {
                computed.push(i);
                dims.push(unknown());
            }
        }
        // A single size that is computed follows from the others as -1 does.
        let (Some(&free), alone) = (free.first().or(computed.first()), free.len() + computed.len() == 1) else {
            let shape = crate::types::Shape::from(dims.clone());
            if !shape.volume().may_equal(&x.volume()) {
                let message = format!("{shape} has {} elements, but `x` has {}", shape.volume(), x.volume()); // C5
                return fail(message, &format!("x: {}\nwrite -1 for one size to have it worked out", self.x.ty));
            }
            return Ok(dims);
        };
        if !alone {
            if wanted[free].is(-1) {
                dims[free] = unknown();
            }
            return Ok(dims);
        }
        let others: Vec<Dim> = (0..dims.len()).filter(|i| *i != free).map(|i| dims[i].clone()).collect();
        let rest = others.iter().fold(Dim::from(1), |n, d| n * d.clone());
        dims[free] = match (quotient(x, &others), rest.value()) {
            (Some(exact), _) => exact,
            (None, Some(n)) if n <= 0 || x.volume().value().is_some() => {
                let message = format!("{} elements cannot be arranged in rows of {rest}", x.volume()); // C5
                return fail(message, &format!("x: {}\nno size in place of element {free} keeps them", self.x.ty));
            }
            // Whatever the symbols are, the division leaves nothing over when the program runs.
            (None, Some(n)) => x.volume().floor_div(n),
            (None, None) => unknown(),
        };
        Ok(dims)
    }
}

impl Infer for Reshape {
    fn infer(&self, cx: &mut Cx<'_>) -> Result<Vec<Inferred>, OpError> {
        let rank = known::list_length(&self.shape, "shape")?; // C1
        let dims = match self.shape.known_dims() {
            Some(wanted) => self.solve(&wanted, cx.opset, &mut || cx.unknown())?,
            None => (0..rank).map(|_| cx.unknown()).collect(),
        };
        let ty = self.x.ty.with_shape(dims);
        let known = known::reshaped(&self.x, &ty.shape);
        Ok(vec![Inferred::known(ty, known)])
    }
}

/// The same elements as a matrix: the dimensions before `axis` make its rows, the others its columns.
///
/// # Constraints
/// - C1 `axis` is 0 to the rank of `x`, or a dimension of `x` counted from the end.
#[derive(Op, Clone, Debug)]
#[op(name = "flatten2d", since = iOS15)]
#[domain(T = F16 | F32 | I32 | Bool)]
pub struct Flatten2d {
    /// Any tensor.
    #[dtype(T)]
    pub x: Arg,
    /// The first dimension that makes columns. Default: 1.
    #[dtype(I32)]
    #[default(1)]
    pub axis: i64,
}

impl Infer for Flatten2d {
    fn infer(&self, _: &mut Cx<'_>) -> Result<Vec<Inferred>, OpError> {
        let rank = self.x.rank();
        // `axis` may be just behind the last dimension; -1 is the last one all the same.
        let axis = match self.axis {
            0.. => rules::axis(self.axis, rank + 1, "axis")?,
            _ => rules::axis(self.axis, rank, "axis")?,
        };
        let (rows, columns) = self.x.shape().split_at(axis);
        let ty = self
            .x
            .ty
            .with_shape([rows, columns].map(|dims| crate::types::Shape::from(dims.to_vec()).volume()).to_vec());
        let known = known::reshaped(&self.x, &ty.shape);
        Ok(vec![Inferred::known(ty, known)])
    }
}

/// Permutes dimensions: dimension `i` of the output is dimension `perm[i]` of `x`.
///
/// # Constraints
/// - C1 `perm` has one element per dimension of `x`.
/// - C2 each element of `perm` is a dimension of `x`; negative ones count from the end.
/// - C3 no dimension is named twice.
#[derive(Op, Clone, Debug)]
#[op(name = "transpose", since = iOS15)]
#[domain(T = F16 | F32 | I32 | Bool, iOS17 = F16 | F32 | I8 | I16 | I32 | U8 | U16 | Bool)]
pub struct Transpose {
    /// Any tensor.
    #[dtype(T)]
    pub x: Arg,
    /// For each dimension of the output, the dimension of `x` that it is.
    #[dtype(I32)]
    pub perm: Vec<i64>,
}

impl Transpose {
    /// `perm` with every element counted from the start.
    ///
    /// # Errors
    /// If it is no permutation of the dimensions (C1 to C3).
    pub fn permutation(&self) -> Result<Vec<usize>, OpError> {
        let rank = self.x.rank();
        rules::length(&self.perm, rank, "perm")?; // C1
        rules::axes(&self.perm, rank, "perm")?; // C2, C3
        self.perm.iter().map(|p| rules::axis(*p, rank, "perm")).collect()
    }
}

impl Infer for Transpose {
    fn infer(&self, _: &mut Cx<'_>) -> Result<Vec<Inferred>, OpError> {
        let perm = self.permutation()?;
        let dims: Vec<Dim> = perm.iter().map(|p| self.x.dim(*p).clone()).collect();
        let ty = self.x.ty.with_shape(dims);
        let known = known::moved(&[&self.x], &ty.shape, |at| {
            let mut from = vec![0; at.len()];
            perm.iter().zip(at).for_each(|(p, i)| from[*p] = *i);
            (0, from)
        });
        Ok(vec![Inferred::known(ty, known)])
    }
}

/// Inserts dimensions of size 1.
///
/// # Constraints
/// - C1 each element of `axes` is a dimension of the output; negative ones count from the end.
/// - C2 no dimension is named twice.
#[derive(Op, Clone, Debug)]
#[op(name = "expand_dims", since = iOS15)]
#[domain(T = F16 | F32 | I32 | Bool, iOS17 = F16 | F32 | I8 | I16 | I32 | U8 | U16 | Bool)]
pub struct ExpandDims {
    /// Any tensor, or a scalar.
    #[dtype(T)]
    pub x: Arg,
    /// The dimensions of the output that are new.
    #[dtype(I32)]
    pub axes: Vec<i64>,
}

impl Infer for ExpandDims {
    fn infer(&self, _: &mut Cx<'_>) -> Result<Vec<Inferred>, OpError> {
        let mut dims = self.x.shape().to_vec();
        for axis in rules::axes(&self.axes, dims.len() + self.axes.len(), "axes")? {
            dims.insert(axis, Dim::from(1)); // C1, C2
        }
        let ty = self.x.ty.with_shape(dims);
        let known = known::reshaped(&self.x, &ty.shape);
        Ok(vec![Inferred::known(ty, known)])
    }
}

/// Removes dimensions of size 1.
///
/// Of the dimensions in `axes`, those that are not known to have size 1 stay, as in PyTorch; without `axes` all that are
/// known to have size 1 go.
///
/// # Constraints
/// - C1 each element of `axes` is a dimension of `x`; negative ones count from the end.
/// - C2 no dimension is named twice.
#[derive(Op, Clone, Debug)]
#[op(name = "squeeze", since = iOS15)]
#[domain(T = F16 | F32 | I32 | Bool, iOS17 = F16 | F32 | I8 | I16 | I32 | U8 | U16 | Bool)]
pub struct Squeeze {
    /// Any tensor.
    #[dtype(T)]
    pub x: Arg,
    /// The dimensions to remove. Default: all of size 1.
    #[dtype(I32)]
    pub axes: Option<Vec<i64>>,
}

impl Squeeze {
    /// The dimensions that go. Which they are follows from the types alone, so that a run agrees with inference.
    ///
    /// # Errors
    /// If `axes` names no dimension, or one twice (C1, C2).
    pub fn removed(&self) -> Result<Vec<usize>, OpError> {
        let named = match &self.axes {
            Some(axes) => rules::axes(axes, self.x.rank(), "axes")?,
            None => (0..self.x.rank()).collect(),
        };
        Ok(named.into_iter().filter(|a| self.x.dim(*a).is(1)).collect())
    }
}

impl Infer for Squeeze {
    fn infer(&self, _: &mut Cx<'_>) -> Result<Vec<Inferred>, OpError> {
        let removed = self.removed()?;
        let kept = (0..self.x.rank()).filter(|a| !removed.contains(a));
        let dims: Vec<Dim> = kept.map(|a| self.x.dim(a).clone()).collect();
        let ty = self.x.ty.with_shape(dims);
        let known = known::reshaped(&self.x, &ty.shape);
        Ok(vec![Inferred::known(ty, known)])
    }
}

/// The sizes of a tensor, as a list of i32.
#[derive(Op, Clone, Debug)]
#[op(name = "shape", since = iOS15)]
#[domain(T = F16 | F32 | I32 | Bool)]
pub struct Shape {
    /// Any tensor.
    #[dtype(T)]
    pub x: Arg,
}

impl Infer for Shape {
    fn infer(&self, _: &mut Cx<'_>) -> Result<Vec<Inferred>, OpError> {
        let ty = TensorType::new(DType::I32, [self.x.rank()]);
        Ok(vec![Inferred::known(ty, Some(Known::ints(DType::I32, false, self.x.shape().to_vec())))])
    }
}

#[cfg(test)]
mod tests {
    use crate::{
        graph::Graph,
        ir::Constant,
        mb,
        ops::testing::{Test, fails, fails_in, infer_in, infers, knows},
        types::{Opset, TensorType},
    };

    fn ints(v: &[i32]) -> Constant {
        Constant::vector(v)
    }

    #[test]
    fn reshape_fixed() {
        infers(|g| mb::reshape(g.t("Tensor<f32, 2, 3, 4>"), [6, 4]), "Tensor<f32, 6, 4>");
        infers(|g| mb::reshape(g.t("Tensor<bool, 2, 3, 4>"), [4, -1]), "Tensor<bool, 4, 6>");
        infers(|g| mb::reshape(g.t("Tensor<u8, 2, 50>"), [1, 0, -1, 0]), "Tensor<u8, 1, 1, 2, 50>");
        infers(|g| mb::reshape(g.t("Tensor<f32, 1, 1>"), ints(&[])), "Tensor<f32>");
        infers(|g| mb::reshape(g.t("Tensor<f32>"), Constant::vector(&[1i16, -1])), "Tensor<f32, 1, 1>");
    }

    #[test]
    fn reshape_symbolic() {
        infers(|g| mb::reshape(g.t("Tensor<f32, B, S, 768>"), [0, 0, 12, -1]), "Tensor<f32, 1, B, 12, 64 * S>");
        infers(|g| mb::reshape(g.t("Tensor<f32, B, H, 8>"), [-1, 8]), "Tensor<f32, B * H, 8>");
        infers(|g| mb::reshape(g.t("Tensor<f32, B, 12>"), [-1, 8]), "Tensor<f32, (12 * B) / 8, 8>");
        infers(|g| mb::reshape(g.t("Tensor<f32, B, 12>"), [3, 4]), "Tensor<f32, 3, 4>");
        infers(|g| mb::reshape(g.t("Tensor<f32, 2, 3>"), g.t("Tensor<i32, 4>")), "Tensor<f32, ?, ?, ?, ?>");
    }

    #[test]
    fn reshape_to_a_shape_that_is_computed_with() {
        let mut g = Graph::new("main", Opset::iOS17);
        let x = g.input("x", "Tensor<f32, B, S, 768>".parse::<TensorType>().unwrap());
        let n = g.input("n", "Tensor<i32, 1>".parse::<TensorType>().unwrap());
        let shape = g.push(mb::shape(&x)).unwrap();
        let b = g.push(mb::slice_by_index(&shape, [0], [1])).unwrap();
        let s = g.push(mb::gather(&shape, 1)).unwrap();
        let s = g.push(mb::expand_dims(&s, [0])).unwrap();
        let twelve = g.constant("twelve", ints(&[12]));
        let free = g.constant("free", ints(&[-1]));
        let wanted = g.push(mb::concat([&b, &s, &twelve, &free], 0)).unwrap();
        let y = g.push(mb::reshape(&x, &wanted)).unwrap();
        assert_eq!(y.ty().to_string(), "Tensor<f32, B, S, 12, 64>");
        // One size that is computed follows from the others, whatever its sign.
        let wanted = g.push(mb::concat([&b, &n, &twelve], 0)).unwrap();
        let y = g.push(mb::reshape(&x, &wanted)).unwrap();
        assert_eq!(y.ty().to_string(), "Tensor<f32, B, 64 * S, 12>");
        let wanted = g.push(mb::concat([&n, &free, &twelve], 0)).unwrap();
        let y = g.push(mb::reshape(&x, &wanted)).unwrap();
        assert_eq!(y.ty().to_string(), "Tensor<f32, ?, ?, 12>");
    }

    #[test]
    fn reshape_constraints() {
        fails(|g| mb::reshape(g.t("Tensor<f32, 6>"), 6), "shape", "rank 1"); // C1
        let long = |g: &mut Test| mb::reshape(g.t("Tensor<f32, 6>"), g.t("Tensor<i32, 9223372036854775807>"));
        fails(long, "shape", "no tensor has as many dimensions");
        fails(|g| mb::reshape(g.t("Tensor<f32, 6>"), g.t("Tensor<i32, N>")), "shape", "fixed length");
        fails(|g| mb::reshape(g.t("Tensor<f32, 6>"), [-1, -1]), "shape", "2 elements that are -1"); // C2
        fails(|g| mb::reshape(g.t("Tensor<f32, 6>"), [-2, 3]), "shape", "element 0 of `shape` is -2"); // C3
        let zero = |g: &mut Test| mb::reshape(g.t("Tensor<f32, 2, 50>"), [1, 0, -1, 0]);
        fails_in(Opset::iOS16, zero, "shape", "opset = iOS17"); // C4
        fails(|g| mb::reshape(g.t("Tensor<f32, 2, 3>"), [5]), "shape", "[5] has 5 elements, but `x` has 6"); // C5
        fails(|g| mb::reshape(g.t("Tensor<f32, 2, 3>"), [4, -1]), "shape", "rows of 4");
        fails(|g| mb::reshape(g.t("Tensor<f32, H, 3>"), [0, 4]), "shape", "has 4 * H elements");
        let small = |g: &mut Test| mb::reshape(g.t("Tensor<i8, 2>"), [2]);
        fails_in(Opset::iOS16, small, "x", "opset iOS17 takes it");
    }

    #[test]
    fn transpose_permutes() {
        infers(|g| mb::transpose(g.t("Tensor<f16, N, 3, H>"), [0, -1, 1]), "Tensor<f16, N, H, 3>");
        knows(
            |g| mb::transpose(g.c(Constant::new([2, 3], &[1i32, 2, 3, 4, 5, 6]).unwrap()), [1, 0]),
            "[1, 4, 2, 5, 3, 6]",
        );
        fails(|g| mb::transpose(g.t("Tensor<f32, 2, 3>"), [0]), "perm", "2 elements, found 1"); // C1
        fails(|g| mb::transpose(g.t("Tensor<f32, 2, 3>"), [0, 2]), "perm", "out of range"); // C2
        fails(|g| mb::transpose(g.t("Tensor<f32, 2, 3>"), [1, -1]), "perm", "axis 1 twice"); // C3
    }

    #[test]
    fn expand_dims_inserts() {
        infers(|g| mb::expand_dims(g.t("Tensor<f32, 2, H>"), [0, -1]), "Tensor<f32, 1, 2, H, 1>");
        infers(|g| mb::expand_dims(g.t("Tensor<f32>"), [0]), "Tensor<f32, 1>");
        knows(|g| mb::expand_dims(g.c(Constant::scalar(7i32)), [0]), "[7]");
        fails(|g| mb::expand_dims(g.t("Tensor<f32, 2>"), [2]), "axes", "out of range"); // C1
        fails(|g| mb::expand_dims(g.t("Tensor<f32, 2>"), [0, -3]), "axes", "axis 0 twice"); // C2
    }

    #[test]
    fn squeeze_removes_what_is_known_to_be_one() {
        infers(|g| mb::squeeze(g.t("Tensor<f32, 1, 2, 1, H>")), "Tensor<f32, 2, H>");
        infers(|g| mb::squeeze(g.t("Tensor<f32, 1, 2, 1, H>")).axes([-4, 1, 3]), "Tensor<f32, 2, 1, H>");
        infers(|g| mb::squeeze(g.t("Tensor<f32, 1, 1>")), "Tensor<f32>");
        knows(|g| mb::squeeze(g.c(ints(&[7]))), "[7]");
        fails(|g| mb::squeeze(g.t("Tensor<f32, 1, 2>")).axes([2]), "axes", "out of range"); // C1
        fails(|g| mb::squeeze(g.t("Tensor<f32, 1, 2>")).axes([0, -2]), "axes", "axis 0 twice"); // C2
    }

    #[test]
    fn shape_is_known() {
        knows(|g| mb::shape(g.t("Tensor<f32, 2, H, 3>")), "[2, H, 3]");
        infers(|g| mb::shape(g.t("Tensor<f32>")), "Tensor<i32, 0>");
        fails(|g| mb::shape(g.t("Tensor<i8, 2>")), "x", "mb::cast");
    }

    #[test]
    fn large_constants_are_reshaped_without_a_copy() {
        let c = Constant::new([2000], &[0.5f32; 2000]).unwrap();
        let out = infer_in(Opset::iOS17, |g| mb::reshape(g.c(c.clone()), [40, 50])).unwrap();
        let known = out[0].known().and_then(|k| k.constant()).unwrap();
        assert_eq!(known.bytes().unwrap().as_ptr(), c.bytes().unwrap().as_ptr());
        let out = infer_in(Opset::iOS17, |g| mb::transpose(mb_two(g, &c), [1, 0])).unwrap();
        assert!(out[0].known().is_none());
    }

    fn mb_two(g: &mut Test, c: &Constant) -> crate::graph::Value {
        let v = g.c(c.clone());
        g.push(mb::reshape(v, [40, 50])).unwrap().remove(0)
    }
    #[test]
    fn flatten2d_makes_matrices() {
        infers(|g| mb::flatten2d(g.t("Tensor<f32, 5, 5, 2>")), "Tensor<f32, 5, 10>");
        infers(|g| mb::flatten2d(g.t("Tensor<f32, 2, H, 2>")).axis(-1), "Tensor<f32, 2 * H, 2>");
        infers(|g| mb::flatten2d(g.t("Tensor<f32, 3>")), "Tensor<f32, 3, 1>");
        infers(|g| mb::flatten2d(g.t("Tensor<f32, 3>")).axis(-1), "Tensor<f32, 1, 3>");
        knows(|g| mb::flatten2d(g.c(ints(&[1, 2]))).axis(0), "[1, 2]");
        fails(|g| mb::flatten2d(g.t("Tensor<f32, 3>")).axis(2), "axis", "out of range"); // C1
        fails(|g| mb::flatten2d(g.t("Tensor<f32, 3>")).axis(-2), "axis", "out of range");
    }
}
