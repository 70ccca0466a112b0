//! `topk`, `argsort`: elements by their order.

use crate::{
    ir::Literal,
    op::{AnyArg, Arg, Cx, Infer, Inferred, Op, OpDef, OpError, Param, ParamKind, param::string_enum},
    types::{DType, Dim, Opset, TensorType},
};
use mil_derive::Op;

use super::rules;

pub(crate) const OPS: &[&OpDef] = &[Topk::DEF, Argsort::DEF];

string_enum! {
    /// The dtype of indices.
    IndexDtype {
        /// `i32`.
        Int32 = "int32",
        /// `u16`.
        Uint16 = "uint16",
    }
}

/// The dtype of the indices, where there are any.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct IndicesDtype(pub Option<IndexDtype>);

impl Param for IndicesDtype {
    const KIND: ParamKind = ParamKind::Str;
    fn from_args(name: &'static str, args: &[AnyArg]) -> Result<IndicesDtype, OpError> {
        IndexDtype::from_args(name, args).map(|d| IndicesDtype(Some(d)))
    }
    fn literal(&self) -> Option<Literal> {
        self.0.and_then(|d| d.literal())
    }
}

/// The `k` greatest (or smallest) elements along a dimension, and where they are.
///
/// Gives the values, and the indices unless `return_indices` is false. Of equal elements, the one with the lower index
/// comes first.
///
/// # Constraints
/// - C1 `axis` is a dimension of `x`; a negative one counts from the end.
/// - C2 `k` is 1 or more, or from opset iOS17 -1 for all.
/// - C3 `k` is at most the size of the dimension.
/// - C4 `output_indices_dtype` is given only if indices are.
#[derive(Op, Clone, Debug)]
#[op(name = "topk", since = iOS15, outputs = variadic)]
#[domain(T = F16 | F32 | I32, iOS17 = F16 | F32 | I8 | I16 | I32 | U8 | U16)]
#[domain(K = I8 | I16 | I32)]
pub struct Topk {
    /// Any tensor.
    #[dtype(T)]
    pub x: Arg,
    /// How many elements; from opset iOS17, -1 for all. Default: 1.
    #[dtype(I32, iOS17 = K)]
    #[default(1)]
    pub k: i64,
    /// The dimension along which elements are compared. Default: -1.
    #[dtype(I32)]
    #[default(-1)]
    pub axis: i64,
    /// Whether to give the smallest, in ascending order, instead of the greatest, in descending order. Default: false.
    #[dtype(Bool)]
    #[default(false)]
    pub ascending: bool,
    /// Whether the elements given must be in order. Default: true.
    #[dtype(Bool)]
    #[since(iOS16)]
    #[default(true)]
    pub sort: bool,
    /// Whether to give indices too. Default: true.
    #[dtype(Bool)]
    #[since(iOS16)]
    #[default(true)]
    pub return_indices: bool,
    /// The dtype of the indices: `"int32"` or `"uint16"`. Default: `"int32"`.
    #[dtype(String)]
    #[since(iOS17)]
    #[default(IndicesDtype(return_indices.then_some(IndexDtype::Int32)))]
    pub output_indices_dtype: IndicesDtype,
}

impl Topk {
    /// The dtype of the indices.
    pub fn index_dtype(&self) -> DType {
        match self.output_indices_dtype.0 {
            Some(IndexDtype::Uint16) => DType::U16,
            Some(IndexDtype::Int32) | None => DType::I32,
        }
    }

    /// `axis`, counted from the start.
    ///
    /// # Errors
    /// If it is no dimension of `x` (C1).
    pub fn dimension(&self) -> Result<usize, OpError> {
        rules::axis(self.axis, self.x.rank(), "axis")
    }
}

impl Infer for Topk {
    fn infer(&self, cx: &mut Cx<'_>) -> Result<Vec<Inferred>, OpError> {
        let axis = self.dimension()?;
        let size = self.x.dim(axis);
        let k = match self.k {
            -1 if cx.opset >= Opset::iOS17 => size.clone(),
            k if k < 1 => {
                let note = "write the size of the dimension to take all; from opset iOS17, -1 means that";
                return Err(OpError::at("k", format!("`k` must be 1 or more, found {k}")).note(note)); // C2
            }
            k if size.bounds().1.is_some_and(|max| k > max) => {
                let message = format!("`k` is {k}, but dimension {axis} has size {size}"); // C3
                return Err(OpError::at("k", message).note(format!("x: {}", self.x.ty)));
            }
            k => Dim::from(k),
        };
        if !self.return_indices && self.output_indices_dtype.0.is_some() {
            let message = "`output_indices_dtype` says the dtype of indices that are not returned"; // C4
            let error = OpError::at("output_indices_dtype", message);
            return Err(error.note("leave it out, or set `return_indices = true`"));
        }
        let mut values = self.x.ty.clone();
        values.shape.dims_mut()[axis] = k;
        let indices = values.with_dtype(self.index_dtype());
        let mut outputs: Vec<Inferred> = vec![values.into()];
        if self.return_indices {
            outputs.push(indices.into());
        }
        Ok(outputs)
    }
}

/// Where the elements are, along a dimension, in the order of their values.
///
/// The output is of i32 and has the shape of `x`. Of equal elements, the one with the lower index comes first.
///
/// # Constraints
/// - C1 `axis` is a dimension of `x`; a negative one counts from the end.
#[derive(Op, Clone, Debug)]
#[op(name = "argsort", since = iOS15)]
#[domain(T = F16 | F32 | I32)]
pub struct Argsort {
    /// Any tensor.
    #[dtype(T)]
    pub x: Arg,
    /// The dimension along which elements are compared. Default: -1.
    #[dtype(I32)]
    #[default(-1)]
    pub axis: i64,
    /// Whether the smallest comes first, instead of the greatest. Default: false.
    #[dtype(Bool)]
    #[default(false)]
    pub ascending: bool,
}

impl Argsort {
    /// `axis`, counted from the start.
    ///
    /// # Errors
    /// If it is no dimension of `x` (C1).
    pub fn dimension(&self) -> Result<usize, OpError> {
        rules::axis(self.axis, self.x.rank(), "axis")
    }
}

impl Infer for Argsort {
    fn infer(&self, _: &mut Cx<'_>) -> Result<Vec<Inferred>, OpError> {
        self.dimension()?; // C1
        Ok(vec![TensorType::new(DType::I32, self.x.shape().to_vec()).into()])
    }
}

#[cfg(test)]
mod tests {
    use crate::{
        graph::Graph,
        mb,
        ops::testing::{fails, fails_in, infer_in, infers},
        types::{Opset, TensorType},
    };

    #[test]
    fn outputs() {
        infers(|g| mb::topk(g.t("Tensor<f32, 2, 5>")), "Tensor<f32, 2, 1>; Tensor<i32, 2, 1>");
        infers(|g| mb::topk(g.t("Tensor<i8, 2, H>")).k(3).axis(-1), "Tensor<i8, 2, 3>; Tensor<i32, 2, 3>");
        infers(|g| mb::topk(g.t("Tensor<f32, H, 5>")).k(-1).axis(0), "Tensor<f32, H, 5>; Tensor<i32, H, 5>");
        infers(|g| mb::topk(g.t("Tensor<f32, 5>")).return_indices(false), "Tensor<f32, 1>");
        infers(
            |g| mb::topk(g.t("Tensor<f32, 5>")).k(5).output_indices_dtype("uint16"),
            "Tensor<f32, 5>; Tensor<u16, 5>",
        );
        assert!(infer_in(Opset::iOS15, |g| mb::topk(g.t("Tensor<f32, 5>"))).is_ok());
    }

    #[test]
    fn no_dtype_is_written_for_indices_that_are_not_returned() {
        for (indices, written) in [(true, true), (false, false)] {
            let mut g = Graph::new("main", Opset::iOS17);
            let x = g.input("x", "Tensor<f32, 5>".parse::<TensorType>().unwrap());
            let out = g.push(mb::topk(x).return_indices(indices)).unwrap();
            let program = g.finish(out).unwrap();
            let f = program.main().unwrap();
            let op = f.walk().into_iter().map(|o| f.op(o)).find(|o| o.def.name == "topk").unwrap();
            assert_eq!(!op.bindings("output_indices_dtype").is_empty(), written);
        }
    }

    #[test]
    fn constraints() {
        let x = "Tensor<f32, 2, 5>";
        fails(|g| mb::topk(g.t(x)).axis(2), "axis", "out of range"); // C1
        fails(|g| mb::topk(g.t(x)).k(0), "k", "1 or more, found 0"); // C2
        fails_in(Opset::iOS16, |g| mb::topk(g.t(x)).k(-1), "k", "from opset iOS17");
        fails(|g| mb::topk(g.t(x)).k(6), "k", "dimension 1 has size 5"); // C3
        let dtype = |indices: bool| {
            move |g: &mut crate::ops::testing::Test| {
                mb::topk(g.t(x)).return_indices(indices).output_indices_dtype("int32")
            }
        };
        infers(dtype(true), "Tensor<f32, 2, 1>; Tensor<i32, 2, 1>");
        fails(dtype(false), "output_indices_dtype", "leave it out"); // C4
        fails(|g| mb::topk(g.t(x)).output_indices_dtype("int8"), "output_indices_dtype", "\"uint16\"");
        fails_in(Opset::iOS15, |g| mb::topk(g.t(x)).sort(false), "sort", "opset = iOS16");
    }
    #[test]
    fn argsort() {
        infers(|g| mb::argsort(g.t("Tensor<f16, 2, H>")), "Tensor<i32, 2, H>");
        infers(|g| mb::argsort(g.t("Tensor<i32, 2, H>")).axis(0).ascending(true), "Tensor<i32, 2, H>");
        fails(|g| mb::argsort(g.t("Tensor<f32, 2>")).axis(1), "axis", "out of range"); // C1
        fails(|g| mb::argsort(g.t("Tensor<f32>")), "axis", "a scalar has no axis");
    }
}
