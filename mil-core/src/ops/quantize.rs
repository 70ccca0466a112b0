//! `quantize`, `dequantize`.

use half::f16;

use crate::{
    ir::{Constant, Known},
    op::{Arg, Cx, Infer, Inferred, Op, OpDef, OpError},
    types::DType,
};
use mil_derive::Op;

use super::{known, rules};

pub(crate) const OPS: &[&OpDef] = &[Quantize::DEF, Dequantize::DEF];

/// Floats as 8-bit integers: `input / scale`, rounded to the nearest integer (ties to even), plus `zero_point`, clipped to
/// what the dtype holds.
///
/// The quotient is rounded to the dtype of `input` first.
///
/// # Constraints
/// - C1 `output_dtype` is `"int8"` or `"uint8"`.
/// - C2 `zero_point` is of that dtype.
/// - C3 `scale` is not 0 everywhere.
/// - C4 `scale` is a scalar or a vector, and `zero_point` too.
/// - C5 if they are scalars, there is no `axis`.
/// - C6 if they are vectors, `axis` is a dimension of `input`, and they have one element per element of it.
#[derive(Op, Clone, Debug)]
#[op(name = "quantize", since = iOS17)]
#[domain(SrcT = F16 | F32)]
#[domain(DstT = I8 | U8)]
pub struct Quantize {
    /// Any tensor.
    #[dtype(SrcT)]
    pub input: Arg,
    /// What stands for 0; 0 if absent.
    #[dtype(DstT)]
    #[constant]
    pub zero_point: Option<Arg>,
    /// The distance between neighbouring integers.
    #[dtype(SrcT)]
    #[constant]
    pub scale: Arg,
    /// The dimension that vectors in `scale` and `zero_point` run along.
    #[dtype(I32)]
    pub axis: Option<i64>,
    /// `"int8"` or `"uint8"`.
    #[dtype(String)]
    pub output_dtype: DType,
}

/// 8-bit integers as floats: `scale * (input - zero_point)`, computed in f32 and rounded to the dtype of `scale`.
///
/// # Constraints
/// - C1 `scale` is a scalar or a vector, and `zero_point` too.
/// - C2 if they are scalars, there is no `axis`.
/// - C3 if they are vectors, `axis` is a dimension of `input`, and they have one element per element of it.
#[derive(Op, Clone, Debug)]
#[op(name = "dequantize", since = iOS17)]
#[domain(SrcT = I8 | U8)]
#[domain(DstT = F16 | F32)]
pub struct Dequantize {
    /// Any tensor.
    #[dtype(SrcT)]
    pub input: Arg,
    /// What stands for 0; 0 if absent.
    #[dtype(SrcT)]
    #[constant]
    pub zero_point: Option<Arg>,
    /// The distance between neighbouring integers.
    #[dtype(DstT)]
    #[constant]
    pub scale: Arg,
    /// The dimension that vectors in `scale` and `zero_point` run along.
    #[dtype(I32)]
    pub axis: Option<i64>,
}

/// The dimension along which `scale` and `zero_point` differ; `None` if they are scalars.
fn dimension(input: &Arg, scale: &Arg, zero_point: Option<&Arg>, axis: Option<i64>) -> Result<Option<usize>, OpError> {
    rules::rank_in(scale, 0..=1, "scale")?;
    let zero_point = zero_point.into_iter();
    if scale.rank() == 0 {
        if axis.is_some() {
            let message = "`axis` says along which dimension `scale` runs, which is a scalar";
            return Err(OpError::at("axis", message).note("leave it out, or give one scale per channel"));
        }
        zero_point.into_iter().try_for_each(|z| rules::rank_in(z, 0..=0, "zero_point"))?;
        return Ok(None);
    }
    let Some(axis) = axis else {
        let message = "`axis` must say along which dimension the vector `scale` runs";
        return Err(OpError::at("axis", message).note(format!("input: {}\nscale: {}", input.ty, scale.ty)));
    };
    let axis = rules::axis(axis, input.rank(), "axis")?;
    rules::vector(scale, input.dim(axis), "scale")?;
    zero_point.into_iter().try_for_each(|z| rules::vector(z, input.dim(axis), "zero_point"))?;
    Ok(Some(axis))
}

/// Which element of `scale` and `zero_point` an element of a tensor of this shape has.
fn group(axis: Option<usize>, shape: &[usize], i: usize) -> usize {
    axis.map_or(0, |axis| i / shape[axis + 1..].iter().product::<usize>() % shape[axis])
}

impl Quantize {
    /// Which element of `scale` and `zero_point` the `i`th element of an input of this shape has.
    ///
    /// # Errors
    /// If they do not fit the input (C4 to C6).
    pub fn groups<'s>(&self, shape: &'s [usize]) -> Result<impl Fn(usize) -> usize + use<'s>, OpError> {
        let axis = dimension(&self.input, &self.scale, self.zero_point.as_ref(), self.axis)?;
        Ok(move |i| group(axis, shape, i))
    }

    /// One number.
    pub fn number(&self, x: f32, scale: f32, zero_point: f32) -> i64 {
        let quotient = x / scale;
        let rounded = match self.input.dtype() {
            DType::F16 => f16::from_f32(quotient).to_f32(),
            _ => quotient,
        };
        let (min, max) = self.output_dtype.int_range().unwrap_or_default();
        // `as` makes 0 of NaN.
        (rounded.round_ties_even() + zero_point).clamp(min as f32, max as f32) as i64
    }

    /// The result, if all is known and there is little of it.
    fn fold(&self, axis: Option<usize>) -> Option<Known> {
        let shape = self.input.shape().fixed()?;
        known::small_count(&shape)?;
        let (x, scale) = (self.input.constant()?.floats()?, self.scale.constant()?.floats()?);
        let zero_point = match &self.zero_point {
            Some(z) => z.constant()?.ints()?,
            None => vec![0; scale.len()],
        };
        let one = |(i, x): (usize, &f64)| {
            let group = group(axis, &shape, i);
            Some(self.number(*x as f32, *scale.get(group)? as f32, *zero_point.get(group)? as f32))
        };
        let values = x.iter().enumerate().map(one).collect::<Option<Vec<i64>>>()?;
        Constant::integers(self.output_dtype, shape, &values).ok().map(Known::Constant)
    }
}

impl Infer for Quantize {
    fn infer(&self, _: &mut Cx<'_>) -> Result<Vec<Inferred>, OpError> {
        let dtype = self.output_dtype;
        if !matches!(dtype, DType::I8 | DType::U8) {
            let message = format!("`output_dtype` must be \"int8\" or \"uint8\", found \"{}\"", dtype.mil_name()); // C1
            return Err(OpError::at("output_dtype", message));
        }
        if let Some(z) = self.zero_point.as_ref().filter(|z| z.dtype() != dtype) {
            let message = format!("`zero_point` must be of {dtype}, as `output_dtype` says, found {}", z.ty); // C2
            return Err(OpError::at("zero_point", message));
        }
        let axis = dimension(&self.input, &self.scale, self.zero_point.as_ref(), self.axis)?; // C4 to C6
        let scale = self.scale.constant().and_then(Constant::floats);
        if scale.is_some_and(|s| !s.is_empty() && s.iter().all(|v| *v == 0.0)) {
            return Err(OpError::at("scale", "`scale` must not be 0")); // C3
        }
        Ok(vec![Inferred::known(self.input.ty.with_dtype(dtype), self.fold(axis))])
    }
}

impl Dequantize {
    /// Which element of `scale` and `zero_point` the `i`th element of an input of this shape has.
    ///
    /// # Errors
    /// If they do not fit the input (C1 to C3).
    pub fn groups<'s>(&self, shape: &'s [usize]) -> Result<impl Fn(usize) -> usize + use<'s>, OpError> {
        let axis = dimension(&self.input, &self.scale, self.zero_point.as_ref(), self.axis)?;
        Ok(move |i| group(axis, shape, i))
    }
}

impl Infer for Dequantize {
    fn infer(&self, _: &mut Cx<'_>) -> Result<Vec<Inferred>, OpError> {
        dimension(&self.input, &self.scale, self.zero_point.as_ref(), self.axis)?;
        // Not folded: a constant that is dequantized is a packed weight.
        Ok(vec![self.input.ty.with_dtype(self.scale.dtype()).into()])
    }
}

#[cfg(test)]
mod tests {
    use crate::{
        ir::Constant,
        mb,
        op::Call,
        ops::testing::{Test, fails, fails_in, infers, knows},
        types::Opset,
    };

    use super::{Dequantize, Quantize};

    const X: &str = "Tensor<f32, 2, H, 3>";

    fn quantize(g: &mut Test) -> Call<Quantize> {
        mb::quantize(g.t(X), 0.5, "int8")
    }

    fn dequantize(g: &mut Test) -> Call<Dequantize> {
        mb::dequantize(g.t("Tensor<u8, 2, H, 3>"), Constant::vector(&[0.5f32; 3]))
    }

    #[test]
    fn types() {
        infers(quantize, "Tensor<i8, 2, H, 3>");
        infers(|g| quantize(g).zero_point(3), "Tensor<i8, 2, H, 3>");
        infers(|g| mb::quantize(g.t("Tensor<f16, H, 3>"), [0.5, 1.0, 2.0], "uint8").axis(-1), "Tensor<u8, H, 3>");
        infers(|g| dequantize(g).axis(2), "Tensor<f32, 2, H, 3>");
        infers(|g| mb::dequantize(g.t("Tensor<i8, H>"), Constant::scalar(half::f16::ONE)), "Tensor<f16, H>");
    }

    #[test]
    fn few_constants_are_folded() {
        let x = Constant::new([2, 2], &[0.25f32, 0.75, -1.26, 1e9]).unwrap();
        let call = |g: &mut Test, scale: [f32; 2]| {
            let (x, scale) = (g.c(x.clone()), Constant::vector(&scale));
            mb::quantize(x, scale, "int8").axis(1)
        };
        knows(|g| call(g, [0.5, 0.5]), "[0, 2, -3, 127]");
        knows(|g| call(g, [0.01, 1.0]).zero_point(Constant::vector(&[-10i8, 5])), "[15, 6, -128, 127]");
    }

    #[test]
    fn quantize_constraints() {
        fails(|g| mb::quantize(g.t(X), 0.5, "int32"), "output_dtype", "found \"int32\""); // C1
        fails(|g| quantize(g).zero_point(Constant::scalar(3u8)), "zero_point", "must be of i8"); // C2
        fails(|g| mb::quantize(g.t(X), 0.0, "int8"), "scale", "must not be 0"); // C3
        let matrix = Constant::new([1, 1], &[1f32]).unwrap();
        fails(|g| mb::quantize(g.t(X), matrix, "int8"), "scale", "rank 0 to 1"); // C4
        fails(|g| quantize(g).zero_point(Constant::vector(&[3i8])), "zero_point", "must have rank 0");
        fails(|g| quantize(g).axis(0), "axis", "leave it out"); // C5
        let vector = |n: usize| Constant::vector(&vec![1f32; n]);
        fails(|g| mb::quantize(g.t(X), vector(3), "int8"), "axis", "along which dimension"); // C6
        fails(|g| mb::quantize(g.t(X), vector(3), "int8").axis(3), "axis", "out of range");
        fails(|g| mb::quantize(g.t(X), vector(3), "int8").axis(0), "scale", "must have 2 elements, found 3");
        let short = Constant::vector(&[1i8]);
        fails(|g| mb::quantize(g.t(X), vector(3), "int8").axis(2).zero_point(short), "zero_point", "must have 3");
        fails_in(Opset::iOS16, quantize, "", "needs opset iOS17");
    }

    #[test]
    fn dequantize_constraints() {
        let matrix = Constant::new([1, 1], &[1f32]).unwrap();
        fails(|g| mb::dequantize(g.t("Tensor<i8, 2>"), matrix), "scale", "rank 0 to 1"); // C1
        let scalar = |g: &mut Test| mb::dequantize(g.t("Tensor<i8, 2>"), Constant::scalar(1f32));
        fails(|g| scalar(g).axis(0), "axis", "leave it out"); // C2
        fails(dequantize, "axis", "along which dimension"); // C3
        fails(|g| dequantize(g).axis(0), "scale", "must have 2 elements, found 3");
        fails(|g| dequantize(g).axis(2).zero_point(Constant::vector(&[1u8; 2])), "zero_point", "must have 3 elements");
    }
}
