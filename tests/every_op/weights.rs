//! `constexpr_` ops: weights that are unpacked before the model runs, and used by an `add`.

use mil::{DType, Opset, Value, graph::BuildError, ir::Constant, mb};

use super::scene::{Row, Scene};

pub(crate) const ROWS: &[Row] = &[
    Row { op: "constexpr_affine_dequantize", build: affine_dequantize },
    Row { op: "constexpr_cast", build: cast },
    Row { op: "constexpr_lut_to_dense", build: lut_to_dense },
    Row { op: "constexpr_sparse_to_dense", build: sparse_to_dense },
    Row { op: "constexpr_blockwise_shift_scale", build: blockwise_shift_scale },
    Row { op: "constexpr_lut_to_sparse", build: lut_to_sparse },
    Row { op: "constexpr_sparse_blockwise_shift_scale", build: sparse_blockwise_shift_scale },
];

/// `x + weight`, in the dtype of the weight.
fn used(s: &mut Scene, weight: &Value) -> Result<Vec<Value>, BuildError> {
    let x = s.x([2, 4]);
    let x = s.graph.push(mb::cast(x, weight.dtype().unwrap()))?;
    s.push(mb::add(x, weight))
}

fn bits(dtype: DType, shape: &[usize], values: &[i64]) -> Constant {
    Constant::integers(dtype, shape, values).unwrap()
}

/// Half of the elements of `[2, 4]` are there.
fn mask() -> Constant {
    bits(DType::U1, &[2, 4], &[1, 0, 1, 0, 0, 1, 0, 1])
}

fn affine_dequantize(s: &mut Scene) -> Result<Vec<Value>, BuildError> {
    let data = Constant::new([2, 4], &[3u8; 8]).unwrap();
    let scale = s.c([2]);
    let weight = s.graph.push(mb::constexpr_affine_dequantize(data, Constant::vector(&[1u8, 2]), scale, 0))?;
    used(s, &weight)
}

fn cast(s: &mut Scene) -> Result<Vec<Value>, BuildError> {
    let half = Constant::new([2, 4], &[mil::f16::ONE; 8]).unwrap();
    let weight = s.graph.push(mb::constexpr_cast(half, "fp32"))?;
    used(s, &weight)
}

fn lut_to_dense(s: &mut Scene) -> Result<Vec<Value>, BuildError> {
    let call = match s.graph.opset() >= Opset::iOS18 {
        true => mb::constexpr_lut_to_dense(bits(DType::U1, &[2, 4], &[0, 1, 1, 0, 0, 0, 1, 1]), s.c([1, 1, 2, 1])),
        false => {
            let shape = Constant::vector(&[2u32, 4]);
            mb::constexpr_lut_to_dense(Constant::vector(&[0b1100_0110u8]), s.c([2])).shape(shape)
        }
    };
    let weight = s.graph.push(call)?;
    used(s, &weight)
}

fn sparse_to_dense(s: &mut Scene) -> Result<Vec<Value>, BuildError> {
    let call = match s.graph.opset() >= Opset::iOS18 {
        true => mb::constexpr_sparse_to_dense(s.c([4]), mask()),
        false => {
            let shape = Constant::vector(&[2u32, 4]);
            mb::constexpr_sparse_to_dense(s.c([4]), Constant::vector(&[0b1010_0101u8])).shape(shape)
        }
    };
    let weight = s.graph.push(call)?;
    used(s, &weight)
}

fn blockwise_shift_scale(s: &mut Scene) -> Result<Vec<Value>, BuildError> {
    let data = bits(DType::I4, &[2, 4], &[-8, 7, 0, 1, 2, 3, -1, -2]);
    let scale = s.c([2, 2]);
    let weight = s.graph.push(mb::constexpr_blockwise_shift_scale(data, scale))?;
    used(s, &weight)
}

fn lut_to_sparse(s: &mut Scene) -> Result<Vec<Value>, BuildError> {
    let indices = bits(DType::U1, &[4], &[0, 1, 1, 0]);
    let lut = s.c([1, 1, 2, 1]);
    let (mask, data) = s.graph.push(mb::constexpr_lut_to_sparse(mask(), indices, lut))?;
    let weight = s.graph.push(mb::constexpr_sparse_to_dense(data, mask))?;
    used(s, &weight)
}

fn sparse_blockwise_shift_scale(s: &mut Scene) -> Result<Vec<Value>, BuildError> {
    let data = bits(DType::I4, &[4], &[-8, 7, 0, 1]);
    let scale = s.c([2, 1]);
    let (mask, data) = s.graph.push(mb::constexpr_sparse_blockwise_shift_scale(mask(), data, scale))?;
    let weight = s.graph.push(mb::constexpr_sparse_to_dense(data, mask))?;
    used(s, &weight)
}
