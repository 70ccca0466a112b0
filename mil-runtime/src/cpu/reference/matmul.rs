//! Matrix products.

use std::{
    num::Wrapping,
    ops::{AddAssign, Mul},
};

use mil_core::{
    ops::{
        matmul::{Linear, Matmul},
        strided::{Broadcast, broadcast_shapes},
    },
    types::DType,
};

use super::{
    Cx, Kernel, KernelDef, floats,
    shapes::{actual, output_shape},
};
use crate::{error::RunError, tensor::AnyTensor};

pub(super) const KERNELS: &[KernelDef] = &[KernelDef::of::<Linear>(), KernelDef::of::<Matmul>()];

impl Kernel for Linear {
    fn run(&self, cx: &Cx<'_>) -> Result<Vec<AnyTensor>, RunError> {
        let (x, weight, bias) = (cx.get(&self.x)?, cx.get(&self.weight)?, cx.get(&self.bias)?);
        let op =
            Linear { x: actual(&self.x, &x), weight: actual(&self.weight, &weight), bias: actual(&self.bias, &bias) };
        let shape = output_shape(&op)?;
        let rows: usize = shape[..shape.len() - 1].iter().product();
        let (columns, inner) = (weight.shape()[0], weight.shape()[1]);
        if x.dtype().is_float() {
            let mut out = bias.to_f32()?.repeat(rows);
            multiply(&x.to_f32()?, &transposed(&weight.to_f32()?, columns, inner), inner, columns, &mut out);
            return floats(x.dtype(), shape, out);
        }
        let mut out = wrapping(&bias)?.repeat(rows);
        multiply(&wrapping(&x)?, &transposed(&wrapping(&weight)?, columns, inner), inner, columns, &mut out);
        integers(x.dtype(), shape, out)
    }
}

impl Kernel for Matmul {
    fn run(&self, cx: &Cx<'_>) -> Result<Vec<AnyTensor>, RunError> {
        let (x, y) = (cx.get(&self.x)?, cx.get(&self.y)?);
        let op = Matmul { x: actual(&self.x, &x), y: actual(&self.y, &y), ..self.clone() };
        let shape = output_shape(&op)?;
        let dtype = op.dtype()?;
        if dtype.is_float() {
            let out = self.product(&x, &y, &x.to_f32()?, &y.to_f32()?)?;
            return floats(dtype, shape, out);
        }
        let out = self.product(&x, &y, &wrapping(&x)?, &wrapping(&y)?)?;
        integers(dtype, shape, out)
    }
}

/// What [`Matmul`] does with either kind of number.
trait Batches {
    fn product<T: Number>(&self, x: &AnyTensor, y: &AnyTensor, a: &[T], b: &[T]) -> Result<Vec<T>, RunError>;
}

impl Batches for Matmul {
    fn product<T: Number>(&self, x: &AnyTensor, y: &AnyTensor, a: &[T], b: &[T]) -> Result<Vec<T>, RunError> {
        let (x_batch, m) = matrix(x.shape(), true);
        let (y_batch, n) = matrix(y.shape(), false);
        let (rows, inner) = if self.transpose_x { (m[1], m[0]) } else { (m[0], m[1]) };
        let columns = if self.transpose_y { n[0] } else { n[1] };
        let batch = broadcast_shapes(&[x_batch, y_batch]);
        let batch = batch.ok_or_else(|| RunError::new("the batch dimensions do not broadcast"))?;
        let mut out = vec![T::default(); batch.iter().product::<usize>() * rows * columns];
        if out.is_empty() {
            return Ok(out);
        }
        let results = out.chunks_exact_mut(rows * columns);
        for ([i, j], out) in Broadcast::new(&batch, [x_batch, y_batch]).zip(results) {
            let (a, b) = (&a[i * rows * inner..][..rows * inner], &b[j * inner * columns..][..inner * columns]);
            let flipped_a = self.transpose_x.then(|| transposed(a, inner, rows));
            let flipped_b = self.transpose_y.then(|| transposed(b, columns, inner));
            multiply(flipped_a.as_deref().unwrap_or(a), flipped_b.as_deref().unwrap_or(b), inner, columns, out);
        }
        Ok(out)
    }
}

/// Batch dimensions and the last two; a vector is a row or a column.
fn matrix(shape: &[usize], row: bool) -> (&[usize], [usize; 2]) {
    match shape {
        [batch @ .., a, b] => (batch, [*a, *b]),
        [one] if row => (&[], [1, *one]),
        rest => (&[], [rest.first().copied().unwrap_or(1), 1]),
    }
}

/// Numbers that products are made of; integers wrap.
pub(super) trait Number: Copy + Default + AddAssign + Mul<Output = Self> {}
impl Number for f32 {}
impl Number for Wrapping<i64> {}

/// Adds `a * b`, which are `[rows, inner]` and `[inner, columns]`, to `out`.
pub(super) fn multiply<T: Number>(a: &[T], b: &[T], inner: usize, columns: usize, out: &mut [T]) {
    if inner == 0 || columns == 0 {
        return;
    }
    for (a, out) in a.chunks_exact(inner).zip(out.chunks_exact_mut(columns)) {
        for (a, b) in a.iter().zip(b.chunks_exact(columns)) {
            out.iter_mut().zip(b).for_each(|(out, b)| *out += *a * *b);
        }
    }
}

/// A matrix `[rows, columns]` as `[columns, rows]`.
pub(super) fn transposed<T: Copy>(v: &[T], rows: usize, columns: usize) -> Vec<T> {
    (0..columns).flat_map(|c| (0..rows).map(move |r| v[r * columns + c])).collect()
}

fn wrapping(x: &AnyTensor) -> Result<Vec<Wrapping<i64>>, RunError> {
    Ok(x.to_i64()?.into_iter().map(Wrapping).collect())
}

fn integers(dtype: DType, shape: Vec<usize>, v: Vec<Wrapping<i64>>) -> Result<Vec<AnyTensor>, RunError> {
    Ok(vec![AnyTensor::from_i64(dtype, shape, v.into_iter().map(|v| v.0).collect())?])
}

#[cfg(test)]
mod tests {
    use half::f16;
    use mil_core::{ir::Constant, mb};

    use crate::{
        cpu::reference::testing::{close, run},
        tensor::AnyTensor,
    };

    const A: [f32; 6] = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0];

    #[test]
    fn linear() {
        let weight = || Constant::new([2, 3], &[1f32, 0.0, -1.0, 2.0, 1.0, 0.0]).unwrap();
        let out = run(|g| mb::linear(g.f32(&[2, 3], &A), weight()).bias(Constant::vector(&[10f32, 20.0])));
        close(&out, &[2, 2], &[8.0, 24.0, 8.0, 33.0], 0.0); // by hand
        let out = run(|g| mb::linear(g.f32(&[3], &A[..3]), weight()));
        close(&out, &[2], &[-2.0, 4.0], 0.0);
        let out = run(|g| mb::linear(g.f32(&[1, 2, 3], &A), weight()));
        close(&out, &[1, 2, 2], &[-2.0, 4.0, -2.0, 13.0], 0.0);
    }

    #[test]
    fn integers_wrap() {
        let weight = Constant::new([1, 2], &[1i32 << 30, 3]).unwrap();
        let out = run(|g| mb::linear(g.i32(&[1, 2], &[2, 5]), weight));
        assert_eq!(out[0].as_slice::<i32>(), Some(&[i32::MIN + 15][..]));
        let out = run(|g| mb::matmul(g.i32(&[1, 2], &[2, 5]), g.i32(&[2, 1], &[7, -1])));
        assert_eq!(out[0], AnyTensor::new([1, 1], vec![9i32]).unwrap());
    }

    #[test]
    fn matrices_and_vectors() {
        let out = run(|g| mb::matmul(g.f32(&[2, 3], &A), g.f32(&[3, 2], &A)));
        close(&out, &[2, 2], &[22.0, 28.0, 49.0, 64.0], 0.0); // by hand
        let out = run(|g| mb::matmul(g.f32(&[3], &A[..3]), g.f32(&[3, 2], &A)));
        close(&out, &[2], &[22.0, 28.0], 0.0);
        let out = run(|g| mb::matmul(g.f32(&[2, 3], &A), g.f32(&[3], &A[..3])));
        close(&out, &[2], &[14.0, 32.0], 0.0);
        let out = run(|g| mb::matmul(g.f32(&[3], &A[..3]), g.f32(&[3], &A[3..])));
        close(&out, &[], &[32.0], 0.0);
    }

    #[test]
    fn transposed_operands() {
        // A^T * A and A * A^T of A = [[1, 2, 3], [4, 5, 6]], by hand.
        let out = run(|g| mb::matmul(g.f32(&[2, 3], &A), g.f32(&[2, 3], &A)).transpose_x(true));
        close(&out, &[3, 3], &[17.0, 22.0, 27.0, 22.0, 29.0, 36.0, 27.0, 36.0, 45.0], 0.0);
        let out = run(|g| mb::matmul(g.f32(&[2, 3], &A), g.f32(&[2, 3], &A)).transpose_y(true));
        close(&out, &[2, 2], &[14.0, 32.0, 32.0, 77.0], 0.0);
    }

    #[test]
    fn batch_dimensions_broadcast() {
        // x[2, 1, 1, 2] * y[3, 2, 1]: NumPy's `x @ y`, by hand.
        let y = [1.0, 1.0, 1.0, 0.0, 0.0, 1.0];
        let out = run(|g| mb::matmul(g.f32(&[2, 1, 1, 2], &[1.0, 2.0, 3.0, 4.0]), g.f32(&[3, 2, 1], &y)));
        close(&out, &[2, 3, 1, 1], &[3.0, 1.0, 2.0, 7.0, 3.0, 4.0], 0.0);
    }

    #[test]
    fn halves_are_summed_in_f32() {
        // 2048 + 1 is no f16; summed in f16 the ones would be lost.
        let x = AnyTensor::new([1, 3], [2048.0, 1.0, 1.0].map(f16::from_f32).to_vec()).unwrap();
        let y = AnyTensor::new([3, 1], vec![f16::ONE; 3]).unwrap();
        let out = run(|g| mb::matmul(g.input(x), g.input(y)));
        assert_eq!(out[0].as_slice::<f16>(), Some(&[f16::from_f32(2050.0)][..]));
    }

    #[test]
    fn nothing_to_sum_gives_zeros() {
        let out = run(|g| mb::matmul(g.f32(&[2, 0], &[]), g.f32(&[0, 2], &[])));
        close(&out, &[2, 2], &[0.0; 4], 0.0);
    }
}
