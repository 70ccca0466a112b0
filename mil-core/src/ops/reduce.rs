//! Reductions: one number of all elements along some axes.

use crate::{
    op::{Arg, Cx, Infer, Inferred, Op, OpDef, OpError},
    types::{DType, Dim, TensorType},
};
use mil_derive::Op;

use super::{
    fold, rules,
    scalar::{self, Pick, Reduction},
    strided::reduced_shape,
};

pub(crate) const OPS: &[&OpDef] = &[
    ReduceArgmax::DEF,
    ReduceArgmin::DEF,
    ReduceL1Norm::DEF,
    ReduceL2Norm::DEF,
    ReduceLogSum::DEF,
    ReduceLogSumExp::DEF,
    ReduceMax::DEF,
    ReduceMean::DEF,
    ReduceMin::DEF,
    ReduceProd::DEF,
    ReduceSum::DEF,
    ReduceSumSquare::DEF,
];

/// The place of the greatest element along an axis: the first of equals, and of NaNs before all numbers.
///
/// # Constraints
/// - C1 `x` has rank 1 or more, and `axis` is one of its axes.
/// - C2 `output_dtype` is `"int32"` or `"uint16"`.
/// - C3 the axis is not empty, and its places fit `output_dtype`.
#[derive(Op, Clone, Debug)]
#[op(name = "reduce_argmax", since = iOS15)]
#[domain(T = F16 | F32 | I32)]
pub struct ReduceArgmax {
    /// The elements.
    #[dtype(T)]
    pub x: Arg,
    /// The axis; negative ones count from the end. Default: -1.
    #[dtype(I32)]
    #[default(-1)]
    pub axis: i64,
    /// Whether the axis stays, of size 1. Default: false.
    #[dtype(Bool)]
    #[default(false)]
    pub keep_dims: bool,
    /// `"int32"` or `"uint16"`. Default: `"int32"`.
    #[since(iOS17)]
    #[dtype(String)]
    #[default(DType::I32)]
    pub output_dtype: DType,
}

/// The place of the smallest element along an axis: the first of equals, and of NaNs before all numbers.
///
/// # Constraints
/// - C1 `x` has rank 1 or more, and `axis` is one of its axes.
/// - C2 `output_dtype` is `"int32"` or `"uint16"`.
/// - C3 the axis is not empty, and its places fit `output_dtype`.
#[derive(Op, Clone, Debug)]
#[op(name = "reduce_argmin", since = iOS15)]
#[domain(T = F16 | F32 | I32)]
pub struct ReduceArgmin {
    /// The elements.
    #[dtype(T)]
    pub x: Arg,
    /// The axis; negative ones count from the end. Default: -1.
    #[dtype(I32)]
    #[default(-1)]
    pub axis: i64,
    /// Whether the axis stays, of size 1. Default: false.
    #[dtype(Bool)]
    #[default(false)]
    pub keep_dims: bool,
    /// `"int32"` or `"uint16"`. Default: `"int32"`.
    #[since(iOS17)]
    #[dtype(String)]
    #[default(DType::I32)]
    pub output_dtype: DType,
}

/// The sum of the absolute values.
///
/// # Constraints
/// - C1 `x` has rank 1 or more.
/// - C2 `axes` are axes of `x`, each once, and at least one.
#[derive(Op, Clone, Debug)]
#[op(name = "reduce_l1_norm", since = iOS15)]
#[domain(T = F16 | F32 | I32)]
pub struct ReduceL1Norm {
    /// The elements.
    #[dtype(T)]
    pub x: Arg,
    /// The axes that are reduced; negative ones count from the end. Default: all.
    #[dtype(I32)]
    pub axes: Option<Vec<i64>>,
    /// Whether the reduced axes stay, of size 1. Default: false.
    #[dtype(Bool)]
    #[default(false)]
    pub keep_dims: bool,
}

/// The square root of the sum of the squares. Of integers it is truncated toward zero.
///
/// # Constraints
/// - C1 `x` has rank 1 or more.
/// - C2 `axes` are axes of `x`, each once, and at least one.
#[derive(Op, Clone, Debug)]
#[op(name = "reduce_l2_norm", since = iOS15)]
#[domain(T = F16 | F32 | I32)]
pub struct ReduceL2Norm {
    /// The elements.
    #[dtype(T)]
    pub x: Arg,
    /// The axes that are reduced; negative ones count from the end. Default: all.
    #[dtype(I32)]
    pub axes: Option<Vec<i64>>,
    /// Whether the reduced axes stay, of size 1. Default: false.
    #[dtype(Bool)]
    #[default(false)]
    pub keep_dims: bool,
}

/// The natural logarithm of the sum. Of integers it is truncated toward zero.
///
/// # Constraints
/// - C1 `x` has rank 1 or more.
/// - C2 `axes` are axes of `x`, each once, and at least one.
#[derive(Op, Clone, Debug)]
#[op(name = "reduce_log_sum", since = iOS15)]
#[domain(T = F16 | F32 | I32)]
pub struct ReduceLogSum {
    /// The elements.
    #[dtype(T)]
    pub x: Arg,
    /// The axes that are reduced; negative ones count from the end. Default: all.
    #[dtype(I32)]
    pub axes: Option<Vec<i64>>,
    /// Whether the reduced axes stay, of size 1. Default: false.
    #[dtype(Bool)]
    #[default(false)]
    pub keep_dims: bool,
}

/// The natural logarithm of the sum of the exponentials, computed so that they do not overflow. Of integers it is truncated toward zero.
///
/// # Constraints
/// - C1 `x` has rank 1 or more.
/// - C2 `axes` are axes of `x`, each once, and at least one.
#[derive(Op, Clone, Debug)]
#[op(name = "reduce_log_sum_exp", since = iOS15)]
#[domain(T = F16 | F32 | I32)]
pub struct ReduceLogSumExp {
    /// The elements.
    #[dtype(T)]
    pub x: Arg,
    /// The axes that are reduced; negative ones count from the end. Default: all.
    #[dtype(I32)]
    pub axes: Option<Vec<i64>>,
    /// Whether the reduced axes stay, of size 1. Default: false.
    #[dtype(Bool)]
    #[default(false)]
    pub keep_dims: bool,
}

/// The greatest element; NaN if any is.
///
/// # Constraints
/// - C1 `x` has rank 1 or more.
/// - C2 `axes` are axes of `x`, each once, and at least one.
#[derive(Op, Clone, Debug)]
#[op(name = "reduce_max", since = iOS15)]
#[domain(T = F16 | F32 | I32)]
pub struct ReduceMax {
    /// The elements.
    #[dtype(T)]
    pub x: Arg,
    /// The axes that are reduced; negative ones count from the end. Default: all.
    #[dtype(I32)]
    pub axes: Option<Vec<i64>>,
    /// Whether the reduced axes stay, of size 1. Default: false.
    #[dtype(Bool)]
    #[default(false)]
    pub keep_dims: bool,
}

/// The mean. Of integers it is truncated toward zero.
///
/// # Constraints
/// - C1 `x` has rank 1 or more.
/// - C2 `axes` are axes of `x`, each once, and at least one.
#[derive(Op, Clone, Debug)]
#[op(name = "reduce_mean", since = iOS15)]
#[domain(T = F16 | F32 | I32)]
pub struct ReduceMean {
    /// The elements.
    #[dtype(T)]
    pub x: Arg,
    /// The axes that are reduced; negative ones count from the end. Default: all.
    #[dtype(I32)]
    pub axes: Option<Vec<i64>>,
    /// Whether the reduced axes stay, of size 1. Default: false.
    #[dtype(Bool)]
    #[default(false)]
    pub keep_dims: bool,
}

/// The smallest element; NaN if any is.
///
/// # Constraints
/// - C1 `x` has rank 1 or more.
/// - C2 `axes` are axes of `x`, each once, and at least one.
#[derive(Op, Clone, Debug)]
#[op(name = "reduce_min", since = iOS15)]
#[domain(T = F16 | F32 | I32)]
pub struct ReduceMin {
    /// The elements.
    #[dtype(T)]
    pub x: Arg,
    /// The axes that are reduced; negative ones count from the end. Default: all.
    #[dtype(I32)]
    pub axes: Option<Vec<i64>>,
    /// Whether the reduced axes stay, of size 1. Default: false.
    #[dtype(Bool)]
    #[default(false)]
    pub keep_dims: bool,
}

/// The product.
///
/// # Constraints
/// - C1 `x` has rank 1 or more.
/// - C2 `axes` are axes of `x`, each once, and at least one.
#[derive(Op, Clone, Debug)]
#[op(name = "reduce_prod", since = iOS15)]
#[domain(T = F16 | F32 | I32)]
pub struct ReduceProd {
    /// The elements.
    #[dtype(T)]
    pub x: Arg,
    /// The axes that are reduced; negative ones count from the end. Default: all.
    #[dtype(I32)]
    pub axes: Option<Vec<i64>>,
    /// Whether the reduced axes stay, of size 1. Default: false.
    #[dtype(Bool)]
    #[default(false)]
    pub keep_dims: bool,
}

/// The sum.
///
/// # Constraints
/// - C1 `x` has rank 1 or more.
/// - C2 `axes` are axes of `x`, each once, and at least one.
#[derive(Op, Clone, Debug)]
#[op(name = "reduce_sum", since = iOS15)]
#[domain(T = F16 | F32 | I32)]
pub struct ReduceSum {
    /// The elements.
    #[dtype(T)]
    pub x: Arg,
    /// The axes that are reduced; negative ones count from the end. Default: all.
    #[dtype(I32)]
    pub axes: Option<Vec<i64>>,
    /// Whether the reduced axes stay, of size 1. Default: false.
    #[dtype(Bool)]
    #[default(false)]
    pub keep_dims: bool,
}

/// The sum of the squares.
///
/// # Constraints
/// - C1 `x` has rank 1 or more.
/// - C2 `axes` are axes of `x`, each once, and at least one.
#[derive(Op, Clone, Debug)]
#[op(name = "reduce_sum_square", since = iOS15)]
#[domain(T = F16 | F32 | I32)]
pub struct ReduceSumSquare {
    /// The elements.
    #[dtype(T)]
    pub x: Arg,
    /// The axes that are reduced; negative ones count from the end. Default: all.
    #[dtype(I32)]
    pub axes: Option<Vec<i64>>,
    /// Whether the reduced axes stay, of size 1. Default: false.
    #[dtype(Bool)]
    #[default(false)]
    pub keep_dims: bool,
}

/// The axes of `x` that a reduction is along.
///
/// # Errors
/// If `x` is a scalar, or `axes` is empty, has an axis twice or one that `x` has not.
fn axes(x: &Arg, axes: Option<&[i64]>) -> Result<Vec<usize>, OpError> {
    at_least_a_vector(x)?; // C1
    match axes {
        None => Ok((0..x.rank()).collect()),
        // Whether no axis means none or all differs from one framework to the next.
        Some([]) => Err(OpError::at("axes", "`axes` is empty; leave it out to reduce all axes")), // C2
        Some(given) => rules::axes(given, x.rank(), "axes"),
    }
}

fn at_least_a_vector(x: &Arg) -> Result<(), OpError> {
    match x.rank() {
        0 => Err(OpError::at("x", format!("`x` must have rank 1 or more, found {}", x.ty))),
        _ => Ok(()),
    }
}

/// The result of a reduction.
fn reduction(op: &impl Reduction, x: &Arg, given: Option<&[i64]>, keep_dims: bool) -> Result<Vec<Inferred>, OpError> {
    let axes = axes(x, given)?;
    let shape = reduced_shape(x.shape(), &axes, keep_dims, Dim::from(1));
    Ok(vec![Inferred::known(x.ty.with_shape(shape), fold::reduce(op, x, &axes, keep_dims))])
}

/// The result of a search along an axis.
fn search(op: &impl Pick, x: &Arg, axis: i64, keep_dims: bool, dtype: DType) -> Result<Vec<Inferred>, OpError> {
    at_least_a_vector(x)?; // C1
    let axis = rules::axis(axis, x.rank(), "axis")?;
    let most = match dtype {
        DType::I32 => 1 << 31,
        DType::U16 => 1 << 16,
        _ => {
            let message = format!("`output_dtype` must be \"int32\" or \"uint16\", found \"{}\"", dtype.mil_name()); // C2
            return Err(OpError::at("output_dtype", message));
        }
    };
    let size = x.dim(axis);
    if size.is(0) {
        return Err(OpError::at("axis", format!("axis {axis} of `x` is empty: {}", x.ty))); // C3
    }
    if size.at_least(most + 1) {
        let message = format!("the places along axis {axis}, of size {size}, do not fit {}", dtype.mil_name());
        return Err(OpError::at("output_dtype", message));
    }
    let shape = reduced_shape(x.shape(), &[axis], keep_dims, Dim::from(1));
    Ok(vec![Inferred::known(TensorType::new(dtype, shape), fold::pick(op, x, axis, keep_dims, dtype))])
}

macro_rules! infer {
    ($($op:ident),*) => {$(
        impl Infer for $op {
            fn infer(&self, _: &mut Cx<'_>) -> Result<Vec<Inferred>, OpError> {
                reduction(self, &self.x, self.axes.as_deref(), self.keep_dims)
            }
        }

        impl $op {
            /// The axes that are reduced, counted from the start, sorted.
            ///
            /// # Errors
            /// If `axes` do not fit the rank of `x`.
            pub fn reduced_axes(&self) -> Result<Vec<usize>, OpError> {
                axes(&self.x, self.axes.as_deref())
            }
        }
    )*};
}

infer!(
    ReduceL1Norm,
    ReduceL2Norm,
    ReduceLogSum,
    ReduceLogSumExp,
    ReduceMax,
    ReduceMean,
    ReduceMin,
    ReduceProd,
    ReduceSum,
    ReduceSumSquare
);

macro_rules! searches {
    ($($op:ident = $better:expr),*) => {$(
        impl Pick for $op {
            fn pick(&self, v: &[f64]) -> usize {
                let better: fn(f64, f64) -> bool = $better;
                let found = v.iter().enumerate().reduce(|best, next| {
                    let wins = !best.1.is_nan() && (next.1.is_nan() || better(*next.1, *best.1));
                    if wins { next } else { best }
                });
                found.map_or(0, |(place, _)| place)
            }
        }

        impl $op {
            /// The axis, counted from the start.
            ///
            /// # Errors
            /// If `x` has no such axis.
            pub fn reduced_axis(&self) -> Result<usize, OpError> {
                rules::axis(self.axis, self.x.rank(), "axis")
            }
        }

        impl Infer for $op {
            fn infer(&self, _: &mut Cx<'_>) -> Result<Vec<Inferred>, OpError> {
                search(self, &self.x, self.axis, self.keep_dims, self.output_dtype)
            }
        }
    )*};
}

searches!(ReduceArgmax = |a, b| a > b, ReduceArgmin = |a, b| a < b);

macro_rules! floats {
    ($($op:ident = $f:expr;)*) => {$(
        impl Reduction for $op {
            fn floats(&self, v: &[f64]) -> f64 {
                let f: fn(&[f64]) -> f64 = $f;
                f(v)
            }
        }
    )*};
}

floats! {
    ReduceL2Norm = |v| v.iter().map(|x| x * x).sum::<f64>().sqrt();
    ReduceLogSum = |v| v.iter().sum::<f64>().ln();
    ReduceLogSumExp = |v| {
        let max = v.iter().copied().fold(f64::NEG_INFINITY, scalar::max);
        // Subtracting an infinity from itself would make NaN.
        if max.is_finite() { v.iter().map(|x| (x - max).exp()).sum::<f64>().ln() + max } else { max }
    };
    ReduceMean = |v| v.iter().sum::<f64>() / v.len() as f64;
}

macro_rules! numbers {
    ($($op:ident = $f:expr, $i:expr, $d:expr;)*) => {$(
        impl Reduction for $op {
            fn floats(&self, v: &[f64]) -> f64 {
                let f: fn(&[f64]) -> f64 = $f;
                f(v)
            }
            fn ints(&self, v: &[i64]) -> i64 {
                let f: fn(&[i64]) -> i64 = $i;
                f(v)
            }
            fn dims(&self, v: &[Dim]) -> Option<Dim> {
                let f: fn(&[Dim]) -> Option<Dim> = $d;
                f(v)
            }
        }
    )*};
}

numbers! {
    ReduceL1Norm = |v| v.iter().map(|x| x.abs()).sum(),
        |v| v.iter().fold(0, |n, x| n.wrapping_add(x.wrapping_abs())),
        |v| v.iter().try_fold(Dim::from(0), |n, d| match d.value() {
            Some(x) => Some(n + Dim::from(x.checked_abs()?)),
            None => d.at_least(0).then(|| n + d.clone()),
        });
    ReduceMax = |v| v.iter().copied().fold(f64::NEG_INFINITY, scalar::max),
        |v| v.iter().copied().max().unwrap_or(i32::MIN.into()),
        |v| v.iter().cloned().reduce(Dim::max);
    ReduceMin = |v| v.iter().copied().fold(f64::INFINITY, scalar::min),
        |v| v.iter().copied().min().unwrap_or(i32::MAX.into()),
        |v| v.iter().cloned().reduce(Dim::min);
    ReduceProd = |v| v.iter().product(),
        |v| v.iter().fold(1, |n, x| n.wrapping_mul(*x)),
        |v| Some(v.iter().fold(Dim::from(1), |n, d| n * d.clone()));
    ReduceSum = |v| v.iter().sum(),
        |v| v.iter().fold(0, |n, x| n.wrapping_add(*x)),
        |v| Some(v.iter().fold(Dim::from(0), |n, d| n + d.clone()));
    ReduceSumSquare = |v| v.iter().map(|x| x * x).sum(),
        |v| v.iter().fold(0, |n, x| n.wrapping_add(x.wrapping_mul(*x))),
        |v| Some(v.iter().fold(Dim::from(0), |n, d| n + d.clone() * d.clone()));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        ir::Constant,
        mb,
        op::Call,
        ops::testing::{Test, fails, fails_in, infer_in, infers, knows},
        types::Opset,
    };

    #[test]
    fn shapes() {
        infers(|g| mb::reduce_sum(g.t("Tensor<f32, 2, N, 4>")), "Tensor<f32>");
        infers(|g| mb::reduce_mean(g.t("Tensor<f16, 2, N, 4>")).keep_dims(true), "Tensor<f16, 1, 1, 1>");
        infers(|g| mb::reduce_max(g.t("Tensor<i32, 2, N, 4>")).axes([-1, 0]), "Tensor<i32, N>");
        infers(|g| mb::reduce_l2_norm(g.t("Tensor<f32, 2, N, 4>")).axes([1]).keep_dims(true), "Tensor<f32, 2, 1, 4>");
        infers(|g| mb::reduce_argmax(g.t("Tensor<f32, 2, N>")), "Tensor<i32, 2>");
        infers(
            |g| mb::reduce_argmin(g.t("Tensor<f32, 2, N>")).axis(0).keep_dims(true).output_dtype("uint16"),
            "Tensor<u16, 1, N>",
        );
    }

    #[test]
    fn c1_rank() {
        fails(|g| mb::reduce_prod(g.t("Tensor<f32>")), "x", "rank 1 or more");
        fails(|g| mb::reduce_argmax(g.t("Tensor<f32>")), "x", "rank 1 or more");
        fails(|g| mb::reduce_argmax(g.t("Tensor<f32, 2>")).axis(1), "axis", "out of range for rank 1");
    }

    #[test]
    fn c2_axes() {
        fn axes(g: &mut Test, axes: Vec<i64>) -> Call<ReduceMin> {
            mb::reduce_min(g.t("Tensor<f32, 2, 3>")).axes(axes)
        }
        fails(|g| axes(g, vec![2]), "axes", "out of range for rank 2");
        fails(|g| axes(g, vec![0, -2]), "axes", "axis 0 twice");
        fails(|g| axes(g, vec![]), "axes", "leave it out");
    }

    #[test]
    fn c2_c3_output_dtype() {
        fn dtype(g: &mut Test, ty: &str, dtype: &str) -> Call<ReduceArgmin> {
            mb::reduce_argmin(g.t(ty)).output_dtype(dtype)
        }
        fails(|g| dtype(g, "Tensor<f32, 2>", "int16"), "output_dtype", "must be \"int32\" or \"uint16\"");
        fails(|g| dtype(g, "Tensor<f32, 65537>", "uint16"), "output_dtype", "do not fit uint16");
        infers(|g| dtype(g, "Tensor<f32, 65536>", "uint16"), "Tensor<u16>");
        fails(|g| mb::reduce_argmin(g.t("Tensor<f32, 2, 0>")), "axis", "is empty");
        fails_in(Opset::iOS16, |g| dtype(g, "Tensor<f32, 2>", "uint16"), "output_dtype", "needs opset iOS17");
        assert!(infer_in(Opset::iOS16, |g| mb::reduce_argmin(g.t("Tensor<f32, 2>"))).is_ok());
    }

    #[test]
    fn dtypes() {
        fails(|g| mb::reduce_sum(g.t("Tensor<bool, 2>")), "x", "found Tensor<bool, 2>");
    }

    #[test]
    fn known_values() {
        let ints = || Constant::new([2, 2], &[1i32, -2, 3, 4]).unwrap();
        knows(|g| mb::reduce_prod(g.c(ints())), "[-24]");
        knows(|g| mb::reduce_sum(g.c(ints())).axes([0]), "[4, 2]");
        knows(|g| mb::reduce_max(g.c(ints())).axes([1]), "[1, 4]");
        knows(|g| mb::reduce_min(g.c(ints())), "[-2]");
        knows(|g| mb::reduce_mean(g.c(Constant::vector(&[-2i32, -1]))), "[-1]");
        knows(|g| mb::reduce_l1_norm(g.c(ints())), "[10]");
        knows(|g| mb::reduce_sum_square(g.c(ints())), "[30]");
        knows(|g| mb::reduce_argmax(g.c(ints())), "[0, 1]");
        knows(|g| mb::reduce_argmin(g.c(ints())).axis(0).keep_dims(true), "[0, 0]");
        let out = infer_in(Opset::iOS18, |g| mb::reduce_prod(g.c(Constant::vector(&[i32::MAX, 2])))).unwrap();
        assert_eq!(out[0].known(), None);
    }

    fn arg() -> Arg {
        Arg { id: None, ty: "Tensor<f32, 1>".parse().unwrap(), known: None, is_const: false }
    }

    #[test]
    fn ties_and_nan() {
        let max = ReduceArgmax { x: arg(), axis: 0, keep_dims: false, output_dtype: DType::I32 };
        let min = ReduceArgmin { x: arg(), axis: 0, keep_dims: false, output_dtype: DType::I32 };
        assert_eq!((max.pick(&[1.0, 3.0, 3.0]), min.pick(&[3.0, 1.0, 1.0])), (1, 1));
        assert_eq!((max.pick(&[1.0, f64::NAN, 3.0, f64::NAN]), min.pick(&[1.0, f64::NAN, 0.0])), (1, 1));
        assert_eq!((max.pick(&[-0.0, 0.0]), max.pick(&[])), (0, 0));
    }

    #[test]
    fn log_sum_exp_keeps_to_the_range() {
        let op = ReduceLogSumExp { x: arg(), axes: None, keep_dims: false };
        assert_eq!(op.floats(&[1000.0, 1000.0]), 1000.0 + 2f64.ln());
        assert_eq!(op.floats(&[f64::NEG_INFINITY; 2]), f64::NEG_INFINITY);
        assert_eq!(op.floats(&[f64::INFINITY, 1.0]), f64::INFINITY);
        assert!(op.floats(&[f64::NAN, 1.0]).is_nan());
    }
}
