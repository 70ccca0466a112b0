//! Palettized constants: indices into look-up tables.

use crate::{
    ir::{Constant, pack},
    op::{Arg, Cx, Infer, Inferred, Materialize, OpError},
    ops::rules,
    types::{DType, TensorType},
};
use mil_derive::Op;

use super::{
    elements::{Elements, check_groups, constant, for_each_group, sizes},
    sparse::{check_mask, shape_and_count},
};

/// Replaces indices by what a look-up table has there.
///
/// Up to opset iOS17 the table is a vector, the indices are packed into bytes, as many bits each as the table needs, least
/// significant bit first, and `shape` says the shape.
///
/// From iOS18 on the indices have a dtype of that many bits and the shape itself. `lut` has two dimensions more: the last but
/// one is the table, the last the elements that an index stands for, which go along `vector_axis` of the output. The
/// dimensions before split the indices evenly into groups with tables of their own.
///
/// # Constraints
/// - C1 up to iOS17, `indices` and `lut` have rank 1, and `lut` 2, 4, 16, 64 or 256 elements.
/// - C2 up to iOS17, `indices` has as many bytes as the indices of a tensor of `shape` take.
/// - C3 up to iOS17, the sizes in `shape` are such that their product fits.
/// - C4 from iOS18 on, `indices` has rank 1 or more, and `lut` two dimensions more.
/// - C5 from iOS18 on, each size of `lut`, but the last two, divides that of `indices`.
/// - C6 from iOS18 on, a table has one entry for each value that the dtype of `indices` has.
/// - C7 from iOS18 on, `vector_axis` is a dimension of `indices`; it is given if an index stands for more than one element.
#[derive(Op, Clone, Debug)]
#[op(name = "constexpr_lut_to_dense", since = iOS16)]
#[form(Attributes, iOS18 = InPlace)]
#[domain(I = U1 | U2 | U3 | U4 | U6 | U8)]
#[domain(T = F16 | F32 | I8 | U8)]
pub struct ConstexprLutToDense {
    /// The indices.
    #[dtype(U8, iOS18 = I)]
    #[constant]
    pub indices: Arg,
    /// The table, or tables.
    #[dtype(T)]
    #[constant]
    pub lut: Arg,
    /// The shape, up to opset iOS17.
    #[dtype(U32)]
    #[until(iOS18)]
    #[needed]
    pub shape: Option<Vec<i64>>,
    /// The dimension along which the elements of an index go.
    #[dtype(I32)]
    #[since(iOS18)]
    pub vector_axis: Option<i64>,
}

/// How many bits an index into a table of up to iOS17 has.
fn index_bits(table: usize) -> Option<usize> {
    matches!(table, 2 | 4 | 16 | 64 | 256).then(|| table.ilog2() as usize)
}

/// Tables in groups, as of iOS18.
struct Tables {
    /// How many groups each dimension of the indices is split into.
    groups: Vec<usize>,
    /// Entries of a table.
    entries: usize,
    /// Elements that an index stands for.
    vector: usize,
    /// The dimension along which they go.
    axis: usize,
}

impl Tables {
    /// Checks C4 to C7. `whole` is the parameter that has the shape of the indices.
    fn of(
        (shape, whole): (&[usize], &str),
        (dtype, indices): (DType, &str),
        lut: &Arg,
        vector_axis: Option<i64>,
    ) -> Result<Tables, OpError> {
        let mut groups = sizes(lut, "lut")?;
        if shape.is_empty() || groups.len() != shape.len() + 2 {
            let message = format!(
                "`{whole}` must have rank 1 or more and `lut` two more, found {} and {}",
                shape.len(),
                groups.len()
            );
            return Err(OpError::at("lut", message));
        }
        let vector = groups.pop().unwrap_or_default();
        let entries = groups.pop().unwrap_or_default();
        check_groups(shape, whole, &groups, "lut")?;
        if entries != 1 << dtype.bits() {
            let message = format!(
                "a table of `lut` must have {} entries, as many as {dtype} has values, found {entries}",
                1 << dtype.bits()
            );
            return Err(OpError::at("lut", message).note(format!("lut: {}; {indices} is of {dtype}", lut.ty)));
        }
        let axis = vector_axis.map(|a| rules::axis(a, shape.len(), "vector_axis")).transpose()?;
        if axis.is_none() && vector != 1 {
            let message =
                format!("an index stands for {vector} elements; `vector_axis` must say along which dimension they go");
            return Err(OpError::at("vector_axis", message));
        }
        Ok(Tables { groups, entries, vector, axis: axis.unwrap_or(0) })
    }

    /// The shape of the output, from that of the indices.
    ///
    /// # Errors
    /// If a size does not fit.
    fn shape(&self, indices: &[usize]) -> Result<Vec<usize>, OpError> {
        let mut shape = indices.to_vec();
        let size = shape[self.axis].checked_mul(self.vector).filter(|n| i64::try_from(*n).is_ok());
        shape[self.axis] = size.ok_or_else(|| OpError::at("lut", "`lut` makes the output too large"))?;
        Ok(shape)
    }

    /// The output's bytes. `index` says the index of each element of `shape`.
    fn look_up(&self, shape: &[usize], lut: &Elements<'_>, width: usize, index: impl Fn(usize) -> usize) -> Vec<u8> {
        let count: usize = shape.iter().product();
        let inner: usize = shape[self.axis + 1..].iter().product();
        let mut out = vec![0; count * self.vector * width];
        for_each_group(shape, &self.groups, |i, group| {
            let from = (group * self.entries + index(i)) * self.vector;
            let to = i / inner * self.vector * inner + i % inner;
            for k in 0..self.vector {
                let at = (to + k * inner) * width;
                out[at..at + width].copy_from_slice(lut.bytes(from + k));
            }
        });
        out
    }
}

impl ConstexprLutToDense {
    fn tables(&self, shape: &[usize]) -> Result<Tables, OpError> {
        Tables::of((shape, "indices"), (self.indices.dtype(), "indices"), &self.lut, self.vector_axis)
    }
}

impl Infer for ConstexprLutToDense {
    fn infer(&self, _: &mut Cx<'_>) -> Result<Vec<Inferred>, OpError> {
        let indices = sizes(&self.indices, "indices")?;
        let shape = match &self.shape {
            None => self.tables(&indices)?.shape(&indices)?,
            Some(shape) => {
                rules::rank_in(&self.indices, 1..=1, "indices")?; // C1
                rules::rank_in(&self.lut, 1..=1, "lut")?;
                let table = sizes(&self.lut, "lut")?[0];
                let Some(bits) = index_bits(table) else {
                    let message = format!("`lut` must have 2, 4, 16, 64 or 256 elements, found {table}");
                    return Err(OpError::at("lut", message));
                };
                let (shape, count) = shape_and_count(shape)?; // C3
                let bytes = (count * bits).div_ceil(8);
                if indices[0] != bytes {
                    let message = format!(
                        "`indices` must have {bytes} bytes for {count} indices of {bits} bits, found {}",
                        indices[0]
                    ); // C2
                    return Err(OpError::at("indices", message));
                }
                shape
            }
        };
        Ok(vec![TensorType::new(self.lut.dtype(), &shape[..]).into()])
    }
}

impl Materialize for ConstexprLutToDense {
    fn materialize(&self) -> Result<Vec<Constant>, OpError> {
        let (indices, lut) = (Elements::of(&self.indices, "indices")?, Elements::of(&self.lut, "lut")?);
        let (dtype, width) = (self.lut.dtype(), self.lut.dtype().bits() / 8);
        let Some(shape) = &self.shape else {
            let sizes = sizes(&self.indices, "indices")?;
            let tables = self.tables(&sizes)?;
            let out = tables.look_up(&sizes, &lut, width, |i| usize::from(indices.bits(i)));
            return Ok(vec![constant(dtype, tables.shape(&sizes)?, out)?]);
        };
        let (shape, count) = shape_and_count(shape)?;
        let bits = index_bits(lut.count).ok_or_else(|| OpError::at("lut", "`lut` is no table"))?;
        let packed = self.indices.constant().and_then(|c| c.bytes()).cloned().unwrap_or_else(|| Vec::new().into());
        let mut out = Vec::with_capacity(count * width);
        for i in 0..count {
            out.extend_from_slice(lut.bytes(usize::from(crate::ir::element_bits(&packed, bits, i))));
        }
        Ok(vec![constant(dtype, shape, out)?])
    }
}

/// [`ConstexprLutToDense`] of the elements of a sparse tensor: gives the mask, and the elements, for a
/// `constexpr_sparse_to_dense`. Where an index stands for several elements, the mask is repeated along `vector_axis`.
///
/// # Constraints
/// - C1 `indices_nonzero_data` has rank 1.
/// - C2 `indices_mask` has as many ones as `indices_nonzero_data` has elements.
/// - C3 the mask has rank 1 or more, and `lut` two dimensions more.
/// - C4 each size of `lut`, but the last two, divides that of the mask.
/// - C5 a table has one entry for each value that the dtype of the indices has.
/// - C6 `vector_axis` is a dimension of the mask; it is given if an index stands for more than one element.
#[derive(Op, Clone, Debug)]
#[op(name = "constexpr_lut_to_sparse", since = iOS18, outputs = 2)]
#[form(InPlace)]
#[domain(I = U1 | U2 | U3 | U4 | U6 | U8)]
#[domain(T = F16 | F32 | I8 | U8)]
pub struct ConstexprLutToSparse {
    /// 1 where an index is present; of the shape of the dense indices.
    #[dtype(U1)]
    #[constant]
    pub indices_mask: Arg,
    /// The indices that are present, in order.
    #[dtype(I)]
    #[constant]
    pub indices_nonzero_data: Arg,
    /// The tables, as of a `constexpr_lut_to_dense` of the dense indices.
    #[dtype(T)]
    #[constant]
    pub lut: Arg,
    /// The dimension along which the elements of an index go.
    #[dtype(I32)]
    pub vector_axis: Option<i64>,
}

impl ConstexprLutToSparse {
    fn tables(&self, shape: &[usize]) -> Result<Tables, OpError> {
        let indices = (self.indices_nonzero_data.dtype(), "indices_nonzero_data");
        Tables::of((shape, "indices_mask"), indices, &self.lut, self.vector_axis)
    }
}

impl Infer for ConstexprLutToSparse {
    fn infer(&self, _: &mut Cx<'_>) -> Result<Vec<Inferred>, OpError> {
        let shape = sizes(&self.indices_mask, "indices_mask")?;
        let (mask, data) = (&self.indices_mask, &self.indices_nonzero_data);
        check_mask(mask, "indices_mask", data, "indices_nonzero_data")?; // C1, C2
        let tables = self.tables(&shape)?; // C3 to C6
        let count = data.dim(0).clone() * i64::try_from(tables.vector).unwrap_or(i64::MAX);
        let mask = mask.ty.with_shape(&tables.shape(&shape)?[..]);
        Ok(vec![mask.into(), TensorType::new(self.lut.dtype(), [count]).into()])
    }
}

impl Materialize for ConstexprLutToSparse {
    fn materialize(&self) -> Result<Vec<Constant>, OpError> {
        let mask = Elements::of(&self.indices_mask, "indices_mask")?;
        let indices = Elements::of(&self.indices_nonzero_data, "indices_nonzero_data")?;
        let lut = Elements::of(&self.lut, "lut")?;
        let (dtype, width) = (self.lut.dtype(), self.lut.dtype().bits() / 8);
        let sizes = sizes(&self.indices_mask, "indices_mask")?;
        let tables = self.tables(&sizes)?;
        let (shape, vector) = (tables.shape(&sizes)?, tables.vector);
        // Elements of one index lie apart if the axis is not the last: unpack all, then take those that are present.
        let mut dense = vec![0u8; mask.count];
        let mut next = 0;
        for (_, index) in dense.iter_mut().enumerate().filter(|(i, _)| mask.bits(*i) != 0).take(indices.count) {
            *index = indices.bits(next);
            next += 1;
        }
        let dense = tables.look_up(&sizes, &lut, width, |i| usize::from(dense[i]));
        let inner: usize = sizes[tables.axis + 1..].iter().product();
        // The element of the mask that an element of the output belongs to.
        let source = |i: usize| i / (inner * vector) * inner + i % inner;
        let count = mask.count * vector;
        let mut present = Vec::with_capacity(next * vector * width);
        for i in (0..count).filter(|i| mask.bits(source(*i)) != 0) {
            present.extend_from_slice(&dense[i * width..(i + 1) * width]);
        }
        let mask = pack(1, (0..count).map(|i| mask.bits(source(i))), count);
        Ok(vec![constant(DType::U1, shape, mask)?, constant(dtype, vec![next * vector], present)?])
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
        ops::testing::{Test, fails, fails_in, infers},
        types::Opset,
    };

    fn u8s(shape: &[usize], v: &[i64]) -> Constant {
        ints(DType::U8, shape, v)
    }

    #[test]
    fn packed_indices_with_a_shape() {
        // 0, 3, 2, 1 and 3 in two bits each.
        let lut = Constant::vector(&[1.0f32, 5.0, 9.0, 13.0]);
        let call = mb::constexpr_lut_to_dense(u8s(&[2], &[0b0110_1100, 0b11]), lut);
        let out = unpack(Opset::iOS16, call.shape(ints(DType::U32, &[2], &[1, 5])));
        assert_eq!(out, [Constant::new([1, 5], &[1f32, 13.0, 9.0, 5.0, 13.0]).unwrap()]);
        // Six bits straddle bytes: 63, 1, 32.
        let lut = u8s(&[64], &(100..164).collect::<Vec<_>>());
        let call = mb::constexpr_lut_to_dense(u8s(&[3], &[0b0111_1111, 0, 0b10]), lut);
        assert_eq!(unpack(Opset::iOS17, call.shape(ints(DType::U32, &[1], &[3]))), [u8s(&[3], &[163, 101, 132])]);
    }

    /// The example of coremltools' documentation.
    #[test]
    fn tables_of_groups() {
        let indices = ints(DType::U2, &[6, 2], &[2, 3, 3, 0, 1, 0, 3, 0, 2, 1, 0, 3]);
        let f16s = |v: &[f32]| v.iter().map(|v| f16::from_f32(*v)).collect::<Vec<_>>();
        let lut = Constant::new([2, 1, 4, 1], &f16s(&[1.0, 5.0, 9.0, 13.0, 2.0, 10.0, 18.0, 26.0])).unwrap();
        let out = unpack(Opset::iOS18, mb::constexpr_lut_to_dense(indices, lut));
        let expected = f16s(&[9.0, 13.0, 13.0, 1.0, 5.0, 1.0, 26.0, 2.0, 18.0, 10.0, 2.0, 26.0]);
        assert_eq!(out, [Constant::new([6, 2], &expected).unwrap()]);
    }

    /// The example of coremltools' documentation.
    #[test]
    fn vectors_go_along_an_axis() {
        let indices = ints(DType::U1, &[2, 2, 2], &[0, 0, 1, 0, 1, 1, 0, 0]);
        let lut = u8s(&[1, 1, 1, 2, 3], &[10, 11, 12, 20, 21, 22]);
        let call = mb::constexpr_lut_to_dense(indices, lut);
        let expected = [10, 10, 11, 11, 12, 12, 20, 10, 21, 11, 22, 12, 20, 20, 21, 21, 22, 22, 10, 10, 11, 11, 12, 12];
        assert_eq!(unpack(Opset::iOS18, call.clone().vector_axis(1)), [u8s(&[2, 6, 2], &expected)]);
        let expected = [10, 11, 12, 10, 11, 12, 20, 21, 22, 10, 11, 12, 20, 21, 22, 20, 21, 22, 10, 11, 12, 10, 11, 12];
        assert_eq!(unpack(Opset::iOS18, call.vector_axis(-1)), [u8s(&[2, 2, 6], &expected)]);
    }

    #[test]
    fn dense_constraints() {
        let old = |bytes: usize, table: Constant, shape: &[i64]| {
            let shape = ints(DType::U32, &[shape.len()], shape);
            move |_: &mut Test| mb::constexpr_lut_to_dense(u8s(&[bytes], &vec![0; bytes]), table).shape(shape)
        };
        let ios16 = Opset::iOS16;
        fails_in(ios16, old(1, u8s(&[8], &[0; 8]), &[2]), "lut", "2, 4, 16, 64 or 256 elements, found 8"); // C1
        fails_in(ios16, old(1, u8s(&[2, 1], &[0; 2]), &[2]), "lut", "rank 1");
        fails_in(ios16, old(2, u8s(&[2], &[0; 2]), &[2, 4]), "indices", "1 bytes for 8 indices of 1 bits"); // C2
        fails_in(ios16, old(1, u8s(&[2], &[0; 2]), &[u32::MAX.into(); 2]), "shape", "too many"); // C3
        let new = |shape: &[usize], table: &[usize], axis: Option<i64>| {
            let indices = ints(DType::U1, shape, &vec![0; shape.iter().product()]);
            let table = u8s(table, &vec![0; table.iter().product()]);
            move |_: &mut Test| {
                let call = mb::constexpr_lut_to_dense(indices, table);
                match axis {
                    Some(axis) => call.vector_axis(axis),
                    None => call,
                }
            }
        };
        infers(new(&[4, 2], &[2, 1, 2, 1], None), "Tensor<u8, 4, 2>");
        infers(new(&[4, 2], &[2, 1, 2, 3], Some(0)), "Tensor<u8, 12, 2>");
        fails(new(&[4, 2], &[1, 2, 1], None), "lut", "found 2 and 3"); // C4
        fails(new(&[4, 2], &[3, 1, 2, 1], None), "lut", "cannot split into 3"); // C5
        fails(new(&[4, 2], &[1, 1, 4, 1], None), "lut", "2 entries, as many as u1"); // C6
        fails(new(&[4, 2], &[1, 1, 2, 3], None), "vector_axis", "stands for 3 elements"); // C7
        fails(new(&[4, 2], &[1, 1, 2, 1], Some(2)), "vector_axis", "out of range");
    }

    /// The examples of coremltools' documentation.
    #[test]
    fn sparse() {
        let bits = [
            1, 1, 0, 0, 0, 0, //
            1, 1, 0, 0, 0, 1, //
            0, 1, 1, 0, 1, 0, //
            0, 0, 0, 1, 0, 0,
        ];
        let mask = ints(DType::U1, &[4, 6], &bits);
        let indices = ints(DType::U1, &[9], &[0, 1, 1, 0, 1, 1, 0, 0, 1]);
        let call = |lut: Constant| mb::constexpr_lut_to_sparse(mask.clone(), indices.clone(), lut);
        let out = unpack(Opset::iOS18, call(u8s(&[1, 1, 2, 1], &[2, 3])));
        assert_eq!(out, [mask.clone(), u8s(&[9], &[2, 3, 3, 2, 3, 3, 2, 2, 3])]);
        let out = unpack(Opset::iOS18, call(u8s(&[1, 1, 2, 2], &[2, 20, 3, 30])).vector_axis(0));
        let rows: Vec<i64> = bits.chunks(6).flat_map(|row| row.repeat(2)).collect();
        assert_eq!(out[0], ints(DType::U1, &[8, 6], &rows));
        let expected = [2, 3, 20, 30, 3, 2, 3, 30, 20, 30, 3, 2, 2, 30, 20, 20, 3, 30];
        assert_eq!(out[1], u8s(&[18], &expected));
    }

    #[test]
    fn sparse_constraints() {
        let call = |data: Constant, lut: &[usize], axis: Option<i64>| {
            let (mask, lut) = (ints(DType::U1, &[2, 2], &[1, 0, 0, 1]), u8s(lut, &vec![0; lut.iter().product()]));
            move |_: &mut Test| {
                let call = mb::constexpr_lut_to_sparse(mask, data, lut);
                match axis {
                    Some(axis) => call.vector_axis(axis),
                    None => call,
                }
            }
        };
        let data = ints(DType::U2, &[2], &[3, 1]);
        let plain = [1, 1, 4, 1];
        infers(call(data.clone(), &plain, None), "Tensor<u1, 2, 2>; Tensor<u8, 2>");
        infers(call(data.clone(), &[1, 1, 4, 3], Some(-2)), "Tensor<u1, 6, 2>; Tensor<u8, 6>");
        fails(call(ints(DType::U2, &[1, 2], &[3, 1]), &plain, None), "indices_nonzero_data", "rank 1"); // C1
        fails(call(ints(DType::U2, &[1], &[3]), &plain, None), "indices_nonzero_data", "each of the 2 ones"); // C2
        fails(call(data.clone(), &[1, 4, 1], None), "lut", "found 2 and 3"); // C3
        fails(call(data.clone(), &[1, 4, 4, 1], None), "lut", "cannot split into 4"); // C4
        fails(call(data.clone(), &[1, 1, 2, 1], None), "lut", "4 entries, as many as u2"); // C5
        fails(call(data.clone(), &[1, 1, 4, 2], None), "vector_axis", "stands for 2 elements"); // C6
        fails(call(data, &plain, Some(-3)), "vector_axis", "out of range");
    }
}
