//! `fill`, `fill_like`, `range_1d`, `one_hot`: tensors out of nothing but numbers.

use crate::{
    ir::{Constant, Known, Literal},
    op::{Arg, Cx, Infer, Inferred, Op, OpDef, OpError},
    types::{DType, Dim, TensorType},
};
use half::f16;
use mil_derive::Op;

use super::{known, rules};

pub(crate) const OPS: &[&OpDef] = &[Fill::DEF, FillLike::DEF, Range1d::DEF, OneHot::DEF];

/// A tensor of one number everywhere.
///
/// # Constraints
/// - C1 `shape` is a list of a fixed length, which is the rank of the output.
/// - C2 each element of `shape` is at least 1.
#[derive(Op, Clone, Debug)]
#[op(name = "fill", since = iOS15)]
#[domain(T = F16 | F32 | I32 | Bool)]
pub struct Fill {
    /// The sizes.
    #[dtype(I32)]
    pub shape: Arg,
    /// The number; its dtype is the output's. Default: 0.0.
    #[dtype(T)]
    #[default(Constant::scalar(0f32))]
    pub value: Constant,
}

impl Infer for Fill {
    fn infer(&self, cx: &mut Cx<'_>) -> Result<Vec<Inferred>, OpError> {
        let dims = known::listed_shape(&self.shape, "shape", cx)?; // C1, C2
        Ok(vec![filled(TensorType::new(self.value.dtype(), dims), &self.value)])
    }
}

/// A tensor of this type that is one number everywhere.
fn filled(ty: TensorType, value: &Constant) -> Inferred {
    let known = ty.shape.fixed().and_then(|sizes| {
        let count = known::small_count(&sizes)?;
        let bytes = value.bytes()?.repeat(count);
        Constant::from_bytes(value.dtype(), sizes, bytes).ok().map(Known::Constant)
    });
    Inferred::known(ty, known)
}

/// A tensor of one number everywhere, as large as another one.
#[derive(Op, Clone, Debug)]
#[op(name = "fill_like", since = iOS16)]
#[domain(T = F16 | F32 | I32 | Bool)]
#[domain(U = F16 | F32 | I32 | Bool)]
pub struct FillLike {
    /// The tensor whose sizes the output has.
    #[dtype(T)]
    pub ref_tensor: Arg,
    /// The number; its dtype is the output's. Default: 0.0, of f16 if `ref_tensor` is of f16, else of f32.
    #[dtype(U)]
    #[default(zero(if ref_tensor.dtype() == DType::F16 { DType::F16 } else { DType::F32 }))]
    pub value: Constant,
}

impl Infer for FillLike {
    fn infer(&self, _: &mut Cx<'_>) -> Result<Vec<Inferred>, OpError> {
        let ty = TensorType::new(self.value.dtype(), self.ref_tensor.shape().to_vec());
        Ok(vec![filled(ty, &self.value)])
    }
}

/// The numbers `start`, `start + step`, .. that lie before `end`.
///
/// # Constraints
/// - C1 `start`, `end` and `step` are scalars.
/// - C2 `step` is not 0.
/// - C3 `step` goes from `start` towards `end`.
#[derive(Op, Clone, Debug)]
#[op(name = "range_1d", since = iOS15)]
#[domain(T = F16 | F32 | I32)]
pub struct Range1d {
    /// The end, which is not reached.
    #[dtype(T)]
    pub end: Arg,
    /// The first number.
    #[dtype(T)]
    pub start: Arg,
    /// The distance from one number to the next; may be negative.
    #[dtype(T)]
    pub step: Arg,
}

impl Range1d {
    /// How many numbers there are from `start` to `end`. f16 and f32 are computed as the dtype rounds, as NumPy does.
    ///
    /// # Errors
    /// If `step` is 0, leads away from `end`, or the numbers are not finite (C2, C3).
    pub fn count(dtype: DType, start: f64, end: f64, step: f64) -> Result<usize, OpError> {
        if step == 0.0 {
            return Err(OpError::at("step", "`step` is 0").note("write the distance from one number to the next")); // C2
        }
        let round = |v: f64| match dtype {
            DType::F16 => f64::from(f16::from_f64(v)),
            DType::F32 => f64::from(v as f32),
            _ => v,
        };
        let steps = round(round(end - start) / step).ceil();
        if !steps.is_finite() || steps > i64::MAX as f64 {
            return Err(OpError::at("end", format!("the range from {start} to {end} by {step} has no end")));
        }
        if steps < 0.0 {
            let message = format!("`step` is {step}, which leads from {start} away from {end}"); // C3
            return Err(OpError::at("step", message).note("turn the sign of `step` round, or swap `start` and `end`"));
        }
        Ok(steps as usize)
    }

    /// The number at a place: floats are computed in f32, integers exactly (those of the dtypes taken fit into f64).
    pub fn element(dtype: DType, start: f64, step: f64, place: usize) -> f64 {
        match dtype.is_float() {
            true => f64::from(start as f32 + place as f32 * step as f32),
            false => start + step * place as f64,
        }
    }

    /// How many numbers there are, if the bounds hold symbols.
    fn symbolic(start: &Dim, end: &Dim, step: i64) -> Option<Dim> {
        let distance = if step > 0 { end.clone() - start.clone() } else { start.clone() - end.clone() };
        Some(distance.max(Dim::from(0)).ceil_div(step.checked_abs()?))
    }
}

impl Infer for Range1d {
    fn infer(&self, cx: &mut Cx<'_>) -> Result<Vec<Inferred>, OpError> {
        let dtype = self.start.dtype();
        for (arg, name) in [(&self.start, "start"), (&self.end, "end"), (&self.step, "step")] {
            if arg.rank() > 1 || !arg.shape().volume().is(1) {
                return Err(OpError::at(name, format!("`{name}` must be a scalar, found {}", arg.ty))); // C1
            }
        }
        let number = |a: &Arg| a.constant().and_then(Constant::number);
        if number(&self.step) == Some(0.0) {
            Self::count(dtype, 0.0, 1.0, 0.0)?; // C2
        }
        if let (Some(start), Some(end), Some(step)) = (number(&self.start), number(&self.end), number(&self.step)) {
            let count = Self::count(dtype, start, end, step)?;
            let ty = TensorType::new(dtype, [count]);
            return Ok(vec![Inferred::known(ty, numbers(dtype, start, step, count))]);
        }
        let dim = |a: &Arg| a.known_dims().and_then(|d| d.first().cloned());
        let step = dim(&self.step).and_then(|d| d.value());
        let count = match (dim(&self.start), dim(&self.end), step) {
            (Some(start), Some(end), Some(step)) => Self::symbolic(&start, &end, step),
            _ => None,
        };
        Ok(vec![TensorType::new(dtype, [count.unwrap_or_else(|| cx.unknown())]).into()])
    }
}

fn numbers(dtype: DType, start: f64, step: f64, count: usize) -> Option<Known> {
    let count = known::small_count(&[count])?;
    let one = |i: usize| match (Range1d::element(dtype, start, step, i), dtype.is_float()) {
        (v, true) => Literal::Float(v),
        (v, false) => Literal::Int(v as i64),
    };
    let values: Vec<Literal> = (0..count).map(one).collect();
    Literal::constant_of(&values, vec![count], dtype).ok().map(Known::Constant)
}

/// Vectors that have `on_value` at one place and `off_value` elsewhere, one per index.
///
/// The output has the dimensions of `indices`, and a new one for the vectors. An index that is no place of the vector
/// gives one that is `off_value` everywhere.
///
/// # Constraints
/// - C1 `one_hot_vector_size` is a scalar.
/// - C2 it is 0 or more.
/// - C3 `axis` is a dimension of the output; a negative one counts from the end.
/// - C4 `on_value` and `off_value` have the same dtype, which is the output's.
#[derive(Op, Clone, Debug)]
#[op(name = "one_hot", since = iOS15)]
#[domain(T = F16 | F32 | I32 | Bool)]
pub struct OneHot {
    /// For each vector, the place of `on_value`.
    #[dtype(I32)]
    pub indices: Arg,
    /// How many elements a vector has.
    #[dtype(I32)]
    pub one_hot_vector_size: Arg,
    /// Which dimension of the output the vectors go along. Default: -1.
    #[dtype(I32)]
    #[default(-1)]
    pub axis: i64,
    /// The number at the place of the index. Default: 1, of i32.
    #[dtype(T)]
    #[default(Constant::scalar(1i32))]
    pub on_value: Constant,
    /// The number elsewhere. Default: 0, of the dtype of `on_value`.
    #[dtype(T)]
    #[default(zero(on_value.dtype()))]
    pub off_value: Constant,
}

/// 0 of a dtype of whole bytes, of which zeros are the number 0.
fn zero(dtype: DType) -> Constant {
    Constant::from_bytes(dtype, [], vec![0; dtype.bits() / 8]).unwrap_or_else(|_| Constant::scalar(0i32))
}

impl OneHot {
    /// `axis`, counted from the start, among the dimensions of the output.
    ///
    /// # Errors
    /// If it is none (C3).
    pub fn dimension(&self) -> Result<usize, OpError> {
        rules::axis(self.axis, self.indices.rank() + 1, "axis")
    }
}

impl Infer for OneHot {
    fn infer(&self, cx: &mut Cx<'_>) -> Result<Vec<Inferred>, OpError> {
        let size = &self.one_hot_vector_size;
        if size.rank() > 1 || !size.shape().volume().is(1) {
            let message = format!("`one_hot_vector_size` must be a scalar, found {}", size.ty); // C1
            return Err(OpError::at("one_hot_vector_size", message));
        }
        let size = match size.known_dims().and_then(|d| d.first().cloned()) {
            Some(size) if size.bounds().1.is_some_and(|max| max < 0) => {
                let message = format!("`one_hot_vector_size` must be 0 or more, found {size}"); // C2
                return Err(OpError::at("one_hot_vector_size", message));
            }
            Some(size) => known::as_size(&size, cx),
            None => cx.unknown(),
        };
        let axis = self.dimension()?; // C3
        let (on, off) = (self.on_value.dtype(), self.off_value.dtype());
        if on != off {
            let message = format!("`off_value` is of {off} but `on_value` is of {on}; they must have the same dtype"); // C4
            return Err(OpError::at("off_value", message).note("give both"));
        }
        let mut dims = self.indices.shape().to_vec();
        dims.insert(axis, size);
        Ok(vec![TensorType::new(on, dims).into()])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        mb,
        ops::testing::{Test, fails, infer_in, infers, knows},
        types::Opset,
    };

    #[test]
    fn fill_shapes() {
        infers(|_| mb::fill([2, 3]), "Tensor<f32, 2, 3>");
        infers(|_| mb::fill([2]).value(true), "Tensor<bool, 2>");
        infers(|_| mb::fill([2]).value(Constant::scalar(f16::ONE)), "Tensor<f16, 2>");
        infers(|g| mb::fill(g.t("Tensor<i32, 2>")).value(0.5), "Tensor<f32, ?, ?>");
        knows(|_| mb::fill([2, 2]).value(7), "[7, 7, 7, 7]");
        infers(
            |g| {
                let x = g.t("Tensor<f32, H, 2>");
                let shape = g.push(mb::shape(x)).unwrap().remove(0);
                mb::fill(shape).value(1)
            },
            "Tensor<i32, H, 2>",
        );
        fails(|_| mb::fill(2), "shape", "rank 1"); // C1
        fails(|_| mb::fill([2, 0]), "shape", "1 or more, found 0"); // C2
        fails(|_| mb::fill([2]).value([1, 2]), "value", "one number");
    }

    #[test]
    fn range_counts() {
        knows(|_| mb::range_1d(7, 1, 2), "[1, 3, 5]");
        knows(|_| mb::range_1d(0, 5, -2), "[5, 3, 1]");
        // As NumPy counts: 0.3 / 0.1 is 3 in f32, and more than 3 in f64.
        infers(|_| mb::range_1d(0.3, 0.0, 0.1), "Tensor<f32, 3>");
        infers(|_| mb::range_1d(1e6, 0.0, 1.0), "Tensor<f32, 1000000>");
        infers(|g| mb::range_1d(g.t("Tensor<i32>"), 0, 1), "Tensor<i32, ?>");
        let upto = |step: i32| {
            move |g: &mut Test| {
                let x = g.t("Tensor<f32, H>");
                let shape = g.push(mb::shape(x)).unwrap().remove(0);
                let h = g.push(mb::gather(&shape, 0)).unwrap().remove(0);
                mb::range_1d(h, 0, step)
            }
        };
        infers(upto(1), "Tensor<i32, H>");
        infers(upto(3), "Tensor<i32, (H + 2) / 3>");
        let out = infer_in(Opset::iOS17, |_| mb::range_1d(1.0, 0.0, 0.25)).unwrap();
        let known = out[0].known().and_then(|k| k.constant()).unwrap();
        assert_eq!(known.elements::<f32>(), Some(vec![0.0, 0.25, 0.5, 0.75]));
    }

    #[test]
    fn range_constraints() {
        fails(|g| mb::range_1d(g.t("Tensor<i32, 2>"), 0, 1), "end", "must be a scalar"); // C1
        fails(|g| mb::range_1d(g.t("Tensor<i32>"), 0, 0), "step", "`step` is 0"); // C2
        fails(|_| mb::range_1d(5, 0, -1), "step", "leads from 0 away from 5"); // C3
        fails(|g| mb::range_1d(g.t("Tensor<f32>"), g.t("Tensor<i32>"), g.t("Tensor<f32>")), "start", "same dtype");
    }
    #[test]
    fn fill_like_another() {
        infers(|g| mb::fill_like(g.t("Tensor<i32, 2, H>")), "Tensor<f32, 2, H>");
        infers(|g| mb::fill_like(g.t("Tensor<f16, H>")), "Tensor<f16, H>");
        infers(|g| mb::fill_like(g.t("Tensor<f16, H>")).value(true), "Tensor<bool, H>");
        knows(|g| mb::fill_like(g.t("Tensor<bool, 3>")).value(7), "[7, 7, 7]");
    }

    #[test]
    fn one_hot_shapes() {
        infers(|g| mb::one_hot(g.t("Tensor<i32, 2, H>"), 4), "Tensor<i32, 2, H, 4>");
        infers(|g| mb::one_hot(g.t("Tensor<i32, 2, H>"), 4).axis(0).on_value(0.5), "Tensor<f32, 4, 2, H>");
        infers(|g| mb::one_hot(g.t("Tensor<i32>"), 4).on_value(true).off_value(false), "Tensor<bool, 4>");
        infers(|g| mb::one_hot(g.t("Tensor<i32, 2>"), g.t("Tensor<i32>")).axis(-2), "Tensor<i32, ?, 2>");
        let like = |g: &mut Test| {
            let x = g.t("Tensor<f32, H>");
            let size = g.push(mb::shape(x)).unwrap().remove(0);
            mb::one_hot(g.t("Tensor<i32, 2>"), size)
        };
        infers(like, "Tensor<i32, 2, H>");
    }

    #[test]
    fn one_hot_constraints() {
        let i = "Tensor<i32, 2>";
        fails(|g| mb::one_hot(g.t(i), [1, 2]), "one_hot_vector_size", "must be a scalar"); // C1
        fails(|g| mb::one_hot(g.t(i), -1), "one_hot_vector_size", "0 or more, found -1"); // C2
        fails(|g| mb::one_hot(g.t(i), 3).axis(2), "axis", "out of range"); // C3
        fails(|g| mb::one_hot(g.t(i), 3).off_value(0.5), "off_value", "give both"); // C4
        fails(
            |g| mb::one_hot(g.t(i), 3).on_value(Constant::scalar(true)).off_value(Constant::scalar(1i32)),
            "off_value",
            "same dtype",
        );
    }
}
