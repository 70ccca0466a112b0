//! Quantized constants.

use crate::{
    ir::Constant,
    op::{Arg, Cx, Infer, Inferred, Materialize, OpError},
    ops::rules,
    types::{DType, TensorType},
};
use mil_derive::Op;

use super::{
    elements::{Elements, check_groups, constant, for_each_group, put, rounded, sizes},
    sparse::{check_mask, ones},
};

/// 8-bit integers as floats: `scale * (quantized_data - zero_point)`, computed in f32 and rounded to the dtype of `scale`.
///
/// # Constraints
/// - C1 `axis` is a dimension of `quantized_data`; a negative one counts from the end.
/// - C2 `scale` is a scalar, or a vector with one element per element of that dimension.
/// - C3 `zero_point` likewise.
#[derive(Op, Clone, Debug)]
#[op(name = "constexpr_affine_dequantize", since = iOS16)]
#[form(Attributes)]
#[domain(SrcT = I8 | U8)]
#[domain(ZeroPointT = F32 | I8 | U8)]
#[domain(DstT = F16 | F32)]
pub struct ConstexprAffineDequantize {
    /// The integers.
    #[dtype(SrcT)]
    #[constant]
    pub quantized_data: Arg,
    /// What stands for 0.
    #[dtype(ZeroPointT)]
    #[constant]
    pub zero_point: Arg,
    /// The distance between neighbouring integers.
    #[dtype(DstT)]
    #[constant]
    pub scale: Arg,
    /// The dimension that vectors in `scale` and `zero_point` run along.
    #[dtype(I32)]
    pub axis: i64,
}

impl Infer for ConstexprAffineDequantize {
    fn infer(&self, _: &mut Cx<'_>) -> Result<Vec<Inferred>, OpError> {
        let data = &self.quantized_data;
        let axis = rules::axis(self.axis, data.rank(), "axis")?; // C1
        sizes(data, "quantized_data")?;
        for (arg, param) in [(&self.scale, "scale"), (&self.zero_point, "zero_point")] {
            rules::rank_in(arg, 0..=1, param)?; // C2, C3
            if arg.rank() == 1 {
                rules::vector(arg, data.dim(axis), param)?;
            }
        }
        Ok(vec![data.ty.with_dtype(self.scale.dtype()).into()])
    }
}

impl Materialize for ConstexprAffineDequantize {
    fn materialize(&self) -> Result<Vec<Constant>, OpError> {
        let data = Elements::of(&self.quantized_data, "quantized_data")?;
        let zero_point = Elements::of(&self.zero_point, "zero_point")?;
        let scale = Elements::of(&self.scale, "scale")?;
        let shape = sizes(&self.quantized_data, "quantized_data")?;
        let axis = rules::axis(self.axis, shape.len(), "axis")?;
        let mut groups = vec![1; shape.len()];
        groups[axis] = shape[axis].max(1);
        let dtype = self.scale.dtype();
        let mut out = Vec::with_capacity(data.count * dtype.bits() / 8);
        let at = |e: &Elements<'_>, group: usize| e.number(if e.count == 1 { 0 } else { group });
        for_each_group(&shape, &groups, |i, group| {
            put(dtype, (data.number(i) - at(&zero_point, group)) * at(&scale, group), &mut out);
        });
        Ok(vec![constant(dtype, shape, out)?])
    }
}

/// f16 as f32.
///
/// # Constraints
/// - C1 `output_dtype` is `"fp32"`.
#[derive(Op, Clone, Debug)]
#[op(name = "constexpr_cast", since = iOS16)]
#[form(Attributes, iOS18 = InPlace)]
pub struct ConstexprCast {
    /// The numbers.
    #[dtype(F16)]
    #[constant]
    pub source_val: Arg,
    /// `"fp32"`.
    #[dtype(String)]
    pub output_dtype: DType,
}

impl Infer for ConstexprCast {
    fn infer(&self, _: &mut Cx<'_>) -> Result<Vec<Inferred>, OpError> {
        if self.output_dtype != DType::F32 {
            let message = format!("`output_dtype` must be \"fp32\", found \"{}\"", self.output_dtype.mil_name()); // C1
            return Err(OpError::at("output_dtype", message));
        }
        Ok(vec![self.source_val.ty.with_dtype(DType::F32).into()])
    }
}

impl Materialize for ConstexprCast {
    fn materialize(&self) -> Result<Vec<Constant>, OpError> {
        let source = Elements::of(&self.source_val, "source_val")?;
        let mut out = Vec::with_capacity(source.count * size_of::<f32>());
        (0..source.count).for_each(|i| put(DType::F32, source.number(i), &mut out));
        Ok(vec![constant(DType::F32, sizes(&self.source_val, "source_val")?, out)?])
    }
}

/// `scale * (data - offset)`, where each block of `data` has a scale and an offset of its own.
///
/// Each dimension of `data` is split evenly into as many blocks as `scale` has elements there. `data` is rounded to the
/// dtype of `scale` first, and so is each step, but the difference from an f32 offset, which stays in f32.
///
/// # Constraints
/// - C1 `data` has rank 1 or more, and `scale` the same rank.
/// - C2 each size of `scale` divides that of `data`.
/// - C3 `offset` has the shape of `scale`.
/// - C4 `offset` is of floats, or of the dtype of `data`.
#[derive(Op, Clone, Debug)]
#[op(name = "constexpr_blockwise_shift_scale", since = iOS18)]
#[form(InPlace)]
#[domain(SrcT = F16 | F32 | I4 | I8 | U4 | U8)]
#[domain(DstT = F16 | F32)]
#[domain(OffsetT = F16 | F32 | I4 | I8 | U4 | U8)]
pub struct ConstexprBlockwiseShiftScale {
    /// The numbers.
    #[dtype(SrcT)]
    #[constant]
    pub data: Arg,
    /// One per block.
    #[dtype(DstT)]
    #[constant]
    pub scale: Arg,
    /// One per block; 0 if absent.
    #[dtype(OffsetT)]
    #[constant]
    pub offset: Option<Arg>,
}

/// The constraints that the dense and the sparse op share. `shape` is that of the dense data.
fn check_shift_scale(
    (shape, whole): (&[usize], &str),
    dtype: DType,
    scale: &Arg,
    offset: Option<&Arg>,
) -> Result<(), OpError> {
    let groups = sizes(scale, "scale")?;
    if shape.is_empty() || groups.len() != shape.len() {
        let message = format!(
            "`{whole}` must have rank 1 or more and `scale` the same, found {} and {}",
            shape.len(),
            groups.len()
        );
        return Err(OpError::at("scale", message)); // C1
    }
    check_groups(shape, whole, &groups, "scale")?; // C2
    let Some(offset) = offset else { return Ok(()) };
    if sizes(offset, "offset")? != groups {
        let message = format!("`offset` must have the shape of `scale`, {}, found {}", scale.shape(), offset.shape());
        return Err(OpError::at("offset", message)); // C3
    }
    if !offset.dtype().is_float() && offset.dtype() != dtype {
        let message =
            format!("`offset` must be of f16, f32 or {dtype}, which the data are of, found {}", offset.dtype());
        return Err(OpError::at("offset", message)); // C4
    }
    Ok(())
}

impl Infer for ConstexprBlockwiseShiftScale {
    fn infer(&self, _: &mut Cx<'_>) -> Result<Vec<Inferred>, OpError> {
        let shape = sizes(&self.data, "data")?;
        check_shift_scale((&shape, "data"), self.data.dtype(), &self.scale, self.offset.as_ref())?;
        Ok(vec![self.data.ty.with_dtype(self.scale.dtype()).into()])
    }
}

/// One number, shifted and scaled.
fn shift_scale(dtype: DType, v: f32, scale: f32, offset: Option<(f32, DType)>) -> f32 {
    let v = rounded(dtype, v);
    let shifted = match offset {
        None => v,
        Some((offset, DType::F32)) => v - offset,
        Some((offset, _)) => rounded(dtype, v - offset),
    };
    scale * shifted
}

/// A number by its group.
fn offset_of(offset: &Option<(Elements<'_>, DType)>, group: usize) -> Option<(f32, DType)> {
    offset.as_ref().map(|(e, dtype)| (e.number(group), *dtype))
}

fn offsets(offset: &Option<Arg>) -> Result<Option<(Elements<'_>, DType)>, OpError> {
    offset.as_ref().map(|o| Ok((Elements::of(o, "offset")?, o.dtype()))).transpose()
}

impl Materialize for ConstexprBlockwiseShiftScale {
    fn materialize(&self) -> Result<Vec<Constant>, OpError> {
        let (data, scale) = (Elements::of(&self.data, "data")?, Elements::of(&self.scale, "scale")?);
        let offset = offsets(&self.offset)?;
        let (shape, groups) = (sizes(&self.data, "data")?, sizes(&self.scale, "scale")?);
        let dtype = self.scale.dtype();
        let mut out = Vec::with_capacity(data.count * dtype.bits() / 8);
        for_each_group(&shape, &groups, |i, group| {
            let v = shift_scale(dtype, data.number(i), scale.number(group), offset_of(&offset, group));
            put(dtype, v, &mut out);
        });
        Ok(vec![constant(dtype, shape, out)?])
    }
}

/// [`ConstexprBlockwiseShiftScale`] of the elements of a sparse tensor: gives the mask, and the elements, for a
/// `constexpr_sparse_to_dense`.
///
/// # Constraints
/// - C1 `nonzero_data` has rank 1.
/// - C2 `data_mask` has as many ones as `nonzero_data` has elements.
/// - C3 the mask has rank 1 or more, and `scale` the same rank.
/// - C4 each size of `scale` divides that of the mask.
/// - C5 `offset` has the shape of `scale`.
/// - C6 `offset` is of floats, or of the dtype of `nonzero_data`.
#[derive(Op, Clone, Debug)]
#[op(name = "constexpr_sparse_blockwise_shift_scale", since = iOS18, outputs = 2)]
#[form(InPlace)]
#[domain(SrcT = F16 | F32 | I4 | I8 | U4 | U8)]
#[domain(DstT = F16 | F32)]
#[domain(OffsetT = F16 | F32 | I4 | I8 | U4 | U8)]
pub struct ConstexprSparseBlockwiseShiftScale {
    /// 1 where an element is present; of the shape of the dense tensor.
    #[dtype(U1)]
    #[constant]
    pub data_mask: Arg,
    /// The elements that are present, in order.
    #[dtype(SrcT)]
    #[constant]
    pub nonzero_data: Arg,
    /// One per block of the dense tensor.
    #[dtype(DstT)]
    #[constant]
    pub scale: Arg,
    /// One per block of the dense tensor; 0 if absent.
    #[dtype(OffsetT)]
    #[constant]
    pub offset: Option<Arg>,
}

impl Infer for ConstexprSparseBlockwiseShiftScale {
    fn infer(&self, _: &mut Cx<'_>) -> Result<Vec<Inferred>, OpError> {
        let shape = sizes(&self.data_mask, "data_mask")?;
        check_mask(&self.data_mask, "data_mask", &self.nonzero_data, "nonzero_data")?; // C1, C2
        let dtype = self.nonzero_data.dtype();
        check_shift_scale((&shape, "data_mask"), dtype, &self.scale, self.offset.as_ref())?; // C3 to C6
        let count = self.nonzero_data.dim(0).clone();
        let data = TensorType::new(self.scale.dtype(), [count]);
        Ok(vec![self.data_mask.ty.clone().into(), data.into()])
    }
}

impl Materialize for ConstexprSparseBlockwiseShiftScale {
    fn materialize(&self) -> Result<Vec<Constant>, OpError> {
        let mask = Elements::of(&self.data_mask, "data_mask")?;
        let (data, scale) = (Elements::of(&self.nonzero_data, "nonzero_data")?, Elements::of(&self.scale, "scale")?);
        let offset = offsets(&self.offset)?;
        let (shape, groups) = (sizes(&self.data_mask, "data_mask")?, sizes(&self.scale, "scale")?);
        let dtype = self.scale.dtype();
        let mut out = Vec::with_capacity(data.count * dtype.bits() / 8);
        let mut next = 0;
        for_each_group(&shape, &groups, |i, group| {
            if mask.bits(i) != 0 && next < data.count {
                let v = shift_scale(dtype, data.number(next), scale.number(group), offset_of(&offset, group));
                put(dtype, v, &mut out);
                next += 1;
            }
        });
        debug_assert_eq!(ones(&self.data_mask), Some(next));
        let mask = self.data_mask.constant().cloned().ok_or_else(|| OpError::new("the mask is not known"))?;
        Ok(vec![mask, constant(dtype, vec![next], out)?])
    }
}

#[cfg(test)]
mod tests {
    use half::f16;

    use super::{
        super::testing::{ints, unpack},
        *,
    };
    use crate::{
        mb,
        ops::testing::{fails, fails_in, infer_in},
        types::Opset,
    };

    fn f32s(shape: &[usize], v: &[f32]) -> Constant {
        Constant::new(shape, v).unwrap()
    }

    fn f16s(shape: &[usize], v: &[f32]) -> Constant {
        Constant::new(shape, &v.iter().map(|v| f16::from_f32(*v)).collect::<Vec<_>>()).unwrap()
    }

    #[test]
    fn affine() {
        let data = ints(DType::U8, &[3, 2], &[10, 11, 12, 13, 14, 15]);
        let call = |zero_point: Constant, scale: Constant, axis| {
            let call = mb::constexpr_affine_dequantize(data.clone(), zero_point, scale, axis);
            unpack(Opset::iOS16, call).remove(0)
        };
        let out = call(ints(DType::U8, &[], &[12]), Constant::scalar(0.5f32), 0);
        assert_eq!(out, f32s(&[3, 2], &[-1.0, -0.5, 0.0, 0.5, 1.0, 1.5]));
        let out = call(ints(DType::U8, &[2], &[10, 15]), f16s(&[2], &[1.0, 2.0]), -1);
        assert_eq!(out, f16s(&[3, 2], &[0.0, -8.0, 2.0, -4.0, 4.0, 0.0]));
        let out = call(Constant::scalar(9.5f32), f16s(&[3], &[1.0, 2.0, 4.0]), 0);
        assert_eq!(out, f16s(&[3, 2], &[0.5, 1.5, 5.0, 7.0, 18.0, 22.0]));
        // Rounded once: 4.1 in f16 would be 4.102, and 21 times that 86.125; 21 * 4.1015625 is 86.13 in f32, 86.125 in f16.
        let out = call(Constant::scalar(-6f32), f16s(&[], &[4.1]), 0);
        assert_eq!(out.floats().unwrap()[5], f64::from(f16::from_f32(21.0 * f16::from_f32(4.1).to_f32())));
    }

    #[test]
    fn affine_constraints() {
        let call = |zero_point: Constant, scale: Constant, axis: i64| {
            let data = ints(DType::I8, &[3, 2], &[0; 6]);
            move |_: &mut crate::ops::testing::Test| mb::constexpr_affine_dequantize(data, zero_point, scale, axis)
        };
        let (zero, one) = (Constant::scalar(0i8), Constant::scalar(1f32));
        fails(call(zero.clone(), one.clone(), 2), "axis", "out of range"); // C1
        fails(call(zero.clone(), f32s(&[2], &[1.0; 2]), 0), "scale", "must have 3 elements, found 2"); // C2
        fails(call(zero.clone(), f32s(&[1, 1], &[1.0]), 0), "scale", "rank 0 to 1");
        fails(call(ints(DType::I8, &[3], &[0; 3]), one.clone(), 1), "zero_point", "must have 2 elements, found 3"); // C3
        fails_in(Opset::iOS15, call(zero, one.clone(), 0), "", "needs opset iOS16");
        let computed = |g: &mut crate::ops::testing::Test| {
            mb::constexpr_affine_dequantize(g.t("Tensor<i8, 3>"), Constant::scalar(0i8), one.clone(), 0)
        };
        fails(computed, "quantized_data", "must be a constant");
    }

    #[test]
    fn cast() {
        for opset in [Opset::iOS16, Opset::iOS18] {
            let call = mb::constexpr_cast(f16s(&[2], &[0.1, -65504.0]), "fp32");
            let expected = f32s(&[2], &[f16::from_f32(0.1).to_f32(), -65504.0]);
            assert_eq!(unpack(opset, call), [expected]);
        }
        fails(|_| mb::constexpr_cast(f16s(&[1], &[1.0]), "fp16"), "output_dtype", "must be \"fp32\""); // C1
    }

    #[test]
    fn blockwise() {
        let data = ints(DType::I4, &[2, 4], &[-8, -1, 0, 7, 1, 2, 3, 4]);
        let call = mb::constexpr_blockwise_shift_scale(data.clone(), f32s(&[2, 2], &[1.0, 2.0, 10.0, 100.0]));
        let out = unpack(Opset::iOS18, call.clone());
        assert_eq!(out, [f32s(&[2, 4], &[-8.0, -1.0, 0.0, 14.0, 10.0, 20.0, 300.0, 400.0])]);
        let out = unpack(Opset::iOS18, call.offset(ints(DType::I4, &[2, 2], &[-8, 7, 1, 0])));
        assert_eq!(out, [f32s(&[2, 4], &[0.0, 7.0, -14.0, 0.0, 0.0, 10.0, 300.0, 400.0])]);
    }

    #[test]
    fn blockwise_rounds_each_step_in_the_dtype_of_scale() {
        let one = |data: Constant, offset: Constant| {
            let call = mb::constexpr_blockwise_shift_scale(data, f16s(&[1], &[3.0])).offset(offset);
            unpack(Opset::iOS18, call).remove(0).floats().unwrap()[0]
        };
        // 2049 is 2048 in f16, and so is 2048 + 0.75.
        assert_eq!(one(f32s(&[1], &[2049.0]), f16s(&[1], &[-0.75])), 6144.0);
        // An f32 offset makes f32 of the difference: 3 * 2048.75 is 6146.25, which f16 rounds to 6148.
        assert_eq!(one(f32s(&[1], &[2049.0]), f32s(&[1], &[-0.75])), 6148.0);
    }

    #[test]
    fn blockwise_constraints() {
        let call = |shape: &[usize], offset: Option<Constant>| {
            let scale = f32s(shape, &vec![1.0; shape.iter().product()]);
            let data = ints(DType::U4, &[2, 4], &[0; 8]);
            move |_: &mut crate::ops::testing::Test| {
                let call = mb::constexpr_blockwise_shift_scale(data, scale);
                match offset {
                    Some(offset) => call.offset(offset),
                    None => call,
                }
            }
        };
        fails(call(&[4], None), "scale", "found 2 and 1"); // C1
        fails(call(&[1, 3], None), "scale", "cannot split into 3"); // C2
        fails(call(&[0, 1], None), "scale", "cannot split into 0");
        fails(call(&[1, 2], Some(ints(DType::U4, &[2, 1], &[0; 2]))), "offset", "the shape of `scale`"); // C3
        fails(call(&[1, 1], Some(ints(DType::I4, &[1, 1], &[0]))), "offset", "f16, f32 or u4"); // C4
        assert!(infer_in(Opset::iOS18, call(&[1, 2], Some(f16s(&[1, 2], &[0.5; 2])))).is_ok());
    }

    /// The example that coremltools' documentation works out.
    #[test]
    fn sparse_blockwise() {
        let mask = ints(DType::U1, &[4, 4], &[1, 1, 0, 0, 1, 1, 1, 0, 0, 0, 1, 1, 1, 1, 0, 0]);
        let data = ints(DType::I8, &[9], &[10, 11, 3, 4, 5, 6, 7, 8, 9]);
        let scale = f32s(&[1, 4], &[0.1, 0.2, 0.3, 0.4]);
        let call = mb::constexpr_sparse_blockwise_shift_scale(mask.clone(), data, scale);
        let out = unpack(Opset::iOS18, call.offset(ints(DType::I8, &[1, 4], &[1, 2, 3, 4])));
        assert_eq!(out[0], mask);
        let expected =
            [9.0 * 0.1, 9.0 * 0.2, 2.0 * 0.1, 2.0 * 0.2, 2.0 * 0.3, 3.0 * 0.3, 3.0 * 0.4, 7.0 * 0.1, 7.0 * 0.2f32];
        assert_eq!(out[1], Constant::vector(&expected));
    }

    #[test]
    fn sparse_blockwise_constraints() {
        let (mask, one) = (ints(DType::U1, &[2, 2], &[1, 0, 0, 1]), f32s(&[1, 1], &[1.0]));
        let call = |data: Constant, scale: Constant, offset: Option<Constant>| {
            let mask = mask.clone();
            move |_: &mut crate::ops::testing::Test| {
                let call = mb::constexpr_sparse_blockwise_shift_scale(mask, data, scale);
                match offset {
                    Some(offset) => call.offset(offset),
                    None => call,
                }
            }
        };
        let data = ints(DType::I8, &[2], &[1, 2]);
        fails(call(ints(DType::I8, &[2, 1], &[1, 2]), one.clone(), None), "nonzero_data", "rank 1"); // C1
        fails(call(ints(DType::I8, &[3], &[1; 3]), one.clone(), None), "nonzero_data", "2 ones"); // C2
        fails(call(data.clone(), f32s(&[1], &[1.0]), None), "scale", "found 2 and 1"); // C3
        fails(call(data.clone(), f32s(&[1, 4], &[1.0; 4]), None), "scale", "cannot split into 4"); // C4
        fails(call(data.clone(), one.clone(), Some(ints(DType::I8, &[1], &[1]))), "offset", "the shape of `scale`"); // C5
        fails(call(data, one, Some(ints(DType::U8, &[1, 1], &[1]))), "offset", "f16, f32 or i8"); // C6
    }

    #[test]
    fn what_unpacks_to_too_much_is_refused() {
        // A mask is as large as the file says; a table of long vectors is what multiplies.
        let (indices, lut) =
            (ints(DType::U1, &[1 << 21], &vec![0; 1 << 21]), ints(DType::U8, &[1, 2, 1 << 13], &vec![0; 1 << 14]));
        let mut g = crate::graph::Graph::new("main", Opset::iOS18);
        g.push(mb::constexpr_lut_to_dense(indices, lut).vector_axis(0)).unwrap();
        let f = g.function();
        let e = f.materialize(f.op(f.walk()[0]), &|_| None).unwrap_err().to_string();
        assert!(e.contains("more than 8 GiB"), "{e}");
    }
}
