//! Matrix products.

use crate::{
    ir::{Known, Literal},
    op::{Arg, Cx, Infer, Inferred, Op, OpDef, OpError},
    types::{DType, Dim, Shape, TensorType},
};
use mil_derive::Op;

use super::rules;

pub(crate) const OPS: &[&OpDef] = &[Linear::DEF, Matmul::DEF];

/// `x * transpose(weight) + bias`.
///
/// # Constraints
/// - C1 `x` has rank 1 or more, `weight` rank 2.
/// - C2 the last dimension of `x` is that of `weight`.
/// - C3 `bias` has one element per row of `weight`.
#[derive(Op, Clone, Debug)]
#[op(name = "linear", since = iOS15)]
#[domain(T = F16 | F32 | I32)]
#[domain(U = F16 | F32 | I32)]
pub struct Linear {
    /// `[*D, D_in]`.
    #[dtype(T)]
    pub x: Arg,
    /// `[D_out, D_in]`.
    #[dtype(T, iOS17 = U)]
    #[constant]
    pub weight: Arg,
    /// `[D_out]`. Default: all 0.
    #[dtype(T, iOS17 = U)]
    #[constant]
    #[default(zeros(&weight)?)]
    pub bias: Arg,
}

/// As many zeros as a matrix has rows.
fn zeros(weight: &Arg) -> Result<Arg, OpError> {
    rules::rank_in(weight, 2..=2, "weight")?;
    let rows = weight.dim(0).fixed();
    let rows = rows.ok_or_else(|| OpError::at("weight", format!("`weight` must have a fixed shape: {}", weight.ty)))?;
    // Rows without elements cost a file nothing, but each would get a zero.
    if weight.dim(1).is(0) && rows > 0 {
        return Err(OpError::at("weight", format!("`weight` has no columns, found {}", weight.ty)));
    }
    let values = vec![Literal::Int(0); rows];
    let zeros = Literal::constant_of(&values, vec![rows], weight.dtype()).map_err(|e| OpError::at("bias", e))?;
    Ok(Arg { id: None, ty: zeros.ty(), known: Some(Known::Constant(zeros)), is_const: true })
}

impl Infer for Linear {
    fn infer(&self, _: &mut Cx<'_>) -> Result<Vec<Inferred>, OpError> {
        let (x, w) = (&self.x, &self.weight);
        rules::rank_in(w, 2..=2, "weight")?; // C1
        let Some((last, lead)) = x.shape().split_last() else {
            return Err(OpError::at("x", format!("`x` must have rank 1 or more, found {}", x.ty)));
        };
        if !last.may_equal(w.dim(1)) {
            let message = format!("the last dimension of `x` is {last} but `weight` expects {}", w.dim(1)); // C2
            return Err(OpError::at("weight", message).note(format!("x: {}\nweight: {}", x.ty, w.ty)));
        }
        rules::vector(&self.bias, w.dim(0), "bias")?; // C3
        let mut shape = lead.to_vec();
        shape.push(w.dim(0).clone());
        Ok(vec![TensorType::new(x.dtype(), shape).into()])
    }
}

/// Matrix product over the last two dimensions; the others are batch dimensions and broadcast.
///
/// A vector on the left is a row, one on the right a column; the dimension of 1 that this adds is not in the result.
///
/// # Constraints
/// - C1 `x` and `y` have rank 1 or more.
/// - C2 a vector is not transposed.
/// - C3 `x` has as many columns as `y` has rows.
/// - C4 the batch dimensions broadcast.
/// - C5 the dtypes differ only if one of the two is a constant; the result has the dtype of the other.
#[derive(Op, Clone, Debug)]
#[op(name = "matmul", since = iOS15)]
#[domain(T = F16 | F32 | I32)]
#[domain(U = F16 | F32 | I32)]
pub struct Matmul {
    /// `[*B, M, K]` or `[K]`.
    #[dtype(T)]
    pub x: Arg,
    /// `[*B, K, N]` or `[K]`.
    #[dtype(T, iOS17 = U)]
    pub y: Arg,
    /// Whether `x` is `[*B, K, M]`. Default: `false`.
    #[dtype(Bool)]
    #[default(false)]
    pub transpose_x: bool,
    /// Whether `y` is `[*B, N, K]`. Default: `false`.
    #[dtype(Bool)]
    #[default(false)]
    pub transpose_y: bool,
}

impl Infer for Matmul {
    fn infer(&self, _: &mut Cx<'_>) -> Result<Vec<Inferred>, OpError> {
        let (x, y) = (&self.x, &self.y);
        let note = || format!("x: {}\ny: {}", x.ty, y.ty);
        for (arg, param, transpose) in [(x, "x", self.transpose_x), (y, "y", self.transpose_y)] {
            if arg.rank() == 0 {
                return Err(OpError::at(param, format!("`{param}` must have rank 1 or more, found {}", arg.ty))); // C1
            }
            if arg.rank() == 1 && transpose {
                let param = format!("transpose_{param}");
                return Err(OpError::at(&param, format!("`{param}` is for matrices, found {}", arg.ty))); // C2
            }
        }
        let (x_batch, mut m) = matrix(x, true);
        let (y_batch, mut n) = matrix(y, false);
        if self.transpose_x {
            m.reverse();
        }
        if self.transpose_y {
            n.reverse();
        }
        if !m[1].may_equal(&n[0]) {
            let message = format!("`x` has {} columns but `y` has {} rows", m[1], n[0]); // C3
            return Err(OpError::at("y", message).note(note()));
        }
        let mut shape = rules::broadcast(&x_batch, &y_batch, "y").map_err(|e| e.note(note()))?; // C4
        shape.dims_mut().extend((x.rank() > 1).then(|| m[0].clone()));
        shape.dims_mut().extend((y.rank() > 1).then(|| n[1].clone()));
        Ok(vec![TensorType::new(self.dtype()?, shape).into()])
    }
}

impl Matmul {
    /// The dtype of the result.
    ///
    /// # Errors
    /// If the dtypes differ, and both values are constants or both are computed.
    pub fn dtype(&self) -> Result<DType, OpError> {
        let (x, y) = (&self.x, &self.y);
        match (x.is_const, y.is_const) {
            _ if x.dtype() == y.dtype() => Ok(x.dtype()),
            (true, false) => Ok(y.dtype()),
            (false, true) => Ok(x.dtype()),
            (both, _) => {
                let what = if both { "constants" } else { "computed" };
                let message = format!("`y` is of {} but `x` is of {}, and both are {what}", y.dtype(), x.dtype()); // C5
                Err(OpError::at("y", message).note("convert one with `mb::cast`"))
            }
        }
    }
}

/// Batch dimensions and the last two; a vector is a row or a column.
fn matrix(arg: &Arg, row: bool) -> (Shape, [Dim; 2]) {
    match &arg.shape()[..] {
        [batch @ .., a, b] => (batch.iter().cloned().collect(), [a.clone(), b.clone()]),
        [one] if row => (Shape::scalar(), [1.into(), one.clone()]),
        rest => (Shape::scalar(), [rest.first().cloned().unwrap_or_else(|| 1.into()), 1.into()]),
    }
}

#[cfg(test)]
mod tests {
    use half::f16;

    use super::Linear;
    use crate::{
        graph::Graph,
        ir::Constant,
        mb,
        op::Op,
        ops::testing::{Test, fails, fails_in, infers},
        types::Opset,
    };

    fn w(rows: usize, columns: usize) -> Constant {
        Constant::new([rows, columns], &vec![1f32; rows * columns]).unwrap()
    }

    #[test]
    fn linear_shapes() {
        infers(|g| mb::linear(g.t("Tensor<f32, 2, 3>"), w(4, 3)), "Tensor<f32, 2, 4>");
        infers(|g| mb::linear(g.t("Tensor<f32, 3>"), w(4, 3)), "Tensor<f32, 4>");
        infers(|g| mb::linear(g.t("Tensor<f32, N, S, D>"), w(4, 3)), "Tensor<f32, N, S, 4>");
        let half = |g: &mut Test| {
            let weight = Constant::new([4, 3], &[f16::ONE; 12]).unwrap();
            mb::linear(g.t("Tensor<f32, 2, 3>"), weight)
        };
        fails_in(Opset::iOS16, half, "weight", "same dtype");
        infers(half, "Tensor<f32, 2, 4>");
        infers(
            |g| mb::linear(g.t("Tensor<i32, 2, 1>"), Constant::new([2, 1], &[1i32, 2]).unwrap()),
            "Tensor<i32, 2, 2>",
        );
    }

    #[test]
    fn linear_without_bias_gets_zeros_of_the_weights_dtype() {
        let mut test = Test(Graph::new("main", Opset::iOS17));
        let weight = Constant::new([3, 1], &[f16::ONE; 3]).unwrap();
        let call = mb::linear(test.t("Tensor<f32, 2, 1>"), weight);
        test.push(call).unwrap();
        let function = test.0.function();
        let ops = function.walk();
        let args = function.args(function.op(*ops.last().unwrap()));
        assert_eq!(args.def.name, "linear");
        assert_eq!(Linear::bind(&args).unwrap().bias.constant(), Some(&Constant::vector(&[f16::ZERO; 3])));
    }

    #[test]
    fn rows_without_columns_get_no_zeros() {
        let empty = Constant::from_bytes(crate::types::DType::F32, [1 << 60, 0], vec![]).unwrap();
        fails(|g| mb::linear(g.t("Tensor<f32, 2, 0>"), empty), "weight", "no columns");
    }

    #[test]
    fn linear_c1_ranks() {
        fails(|g| mb::linear(g.t("Tensor<f32>"), w(4, 3)), "x", "rank 1 or more");
        fails(|g| mb::linear(g.t("Tensor<f32, 3>"), Constant::vector(&[1f32; 3])), "weight", "rank 2");
    }

    #[test]
    fn linear_c2_inner_dimension() {
        fails(|g| mb::linear(g.t("Tensor<f32, 2, 3>"), w(3, 4)), "weight", "is 3 but `weight` expects 4");
    }

    #[test]
    fn linear_c3_bias() {
        let call =
            |g: &mut Test, n| mb::linear(g.t("Tensor<f32, 2, 3>"), w(4, 3)).bias(Constant::vector(&vec![0f32; n]));
        fails(|g| call(g, 3), "bias", "4 elements, found 3");
        infers(|g| call(g, 4), "Tensor<f32, 2, 4>");
    }

    #[test]
    fn matmul_shapes() {
        let cases = [
            ("2, 3", "3, 4", "2, 4"),
            ("10, 4, 3", "5, 10, 3, 2", "5, 10, 4, 2"),
            ("3", "3, 4", "4"),
            ("10, 3, 4", "4", "10, 3"),
            ("3", "5, 3, 4", "5, 4"),
            ("B, H, S, 8", "B, 1, 8, L", "B, H, S, L"),
        ];
        for (x, y, out) in cases {
            let t = |s: &str| format!("Tensor<f16, {s}>");
            infers(|g| mb::matmul(g.t(&t(x)), g.t(&t(y))), &t(out));
        }
        infers(|g| mb::matmul(g.t("Tensor<f32, 3>"), g.t("Tensor<f32, 3>")), "Tensor<f32>");
        infers(
            |g| mb::matmul(g.t("Tensor<f32, 3, 2>"), g.t("Tensor<f32, 4, 3>")).transpose_x(true).transpose_y(true),
            "Tensor<f32, 2, 4>",
        );
    }

    #[test]
    fn matmul_c1_ranks() {
        fails(|g| mb::matmul(g.t("Tensor<f32>"), g.t("Tensor<f32, 3>")), "x", "rank 1 or more");
        fails(|g| mb::matmul(g.t("Tensor<f32, 3>"), g.t("Tensor<f32>")), "y", "rank 1 or more");
    }

    #[test]
    fn matmul_c2_vectors_are_not_transposed() {
        let call = |g: &mut Test| mb::matmul(g.t("Tensor<f32, 3>"), g.t("Tensor<f32, 3>"));
        fails(|g| call(g).transpose_x(true), "transpose_x", "is for matrices");
        fails(|g| call(g).transpose_y(true), "transpose_y", "is for matrices");
    }

    #[test]
    fn matmul_c3_inner_dimension() {
        fails(|g| mb::matmul(g.t("Tensor<f32, 2, 3>"), g.t("Tensor<f32, 2, 3>")), "y", "3 columns but `y` has 2 rows");
    }

    #[test]
    fn matmul_c4_batch() {
        fails(|g| mb::matmul(g.t("Tensor<f32, 2, 1, 3>"), g.t("Tensor<f32, 3, 3, 1>")), "y", "cannot broadcast");
    }

    #[test]
    fn matmul_c5_dtypes() {
        let y = || Constant::new([3, 1], &[f16::ONE; 3]).unwrap();
        infers(|g| mb::matmul(g.t("Tensor<f32, 2, 3>"), y()), "Tensor<f32, 2, 1>");
        infers(|g| mb::matmul(w(2, 3), g.t("Tensor<f16, 3, 1>")), "Tensor<f16, 2, 1>");
        fails_in(Opset::iOS16, |g| mb::matmul(g.t("Tensor<f32, 2, 3>"), y()), "y", "same dtype");
        fails(|g| mb::matmul(g.t("Tensor<f32, 2, 3>"), g.t("Tensor<f16, 3, 1>")), "y", "both are computed");
        fails(|_| mb::matmul(w(2, 3), y()), "y", "both are constants");
    }
}
