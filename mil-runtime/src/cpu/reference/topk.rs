//! `topk`, `argsort`.

use std::cmp::Ordering;

use mil_core::ops::topk::{Argsort, Topk};

use super::{
    Cx, Kernel, KernelDef,
    movement::{bytes, typed, width},
    shapes::output_shape,
};
use crate::{error::RunError, tensor::AnyTensor};

pub(super) const KERNELS: &[KernelDef] = &[KernelDef::of::<Topk>(), KernelDef::of::<Argsort>()];

/// The order of two numbers, with NaN after all others in both directions, as NumPy sorts.
pub(super) fn order(a: f64, b: f64, ascending: bool) -> Ordering {
    let numbers = if ascending { a.partial_cmp(&b) } else { b.partial_cmp(&a) };
    numbers.unwrap_or_else(|| a.is_nan().cmp(&b.is_nan()))
}

/// For each line along an axis, where its first `k` elements in order are: in the shape of `x`, but of size `k` there.
fn first(x: &AnyTensor, axis: usize, k: usize, ascending: bool) -> Result<Vec<usize>, RunError> {
    // Every dtype that is taken has at most 32 bits, which f64 holds exactly.
    let keys: Vec<f64> = match x.dtype().is_float() {
        true => x.to_f32()?.iter().map(|v| f64::from(*v)).collect(),
        false => x.to_i64()?.iter().map(|v| *v as f64).collect(),
    };
    let size = x.shape()[axis];
    let inner: usize = x.shape()[axis + 1..].iter().product();
    let outer: usize = x.shape()[..axis].iter().product();
    let mut chosen = vec![0; outer * k * inner];
    let mut row: Vec<usize> = vec![];
    for (o, i) in (0..outer).flat_map(|o| (0..inner).map(move |i| (o, i))) {
        let key = |at: usize| keys[(o * size + at) * inner + i];
        row.clear();
        row.extend(0..size);
        row.sort_by(|a, b| order(key(*a), key(*b), ascending)); // stable: of equals the lower index first
        for (n, at) in row.iter().take(k).enumerate() {
            chosen[(o * k + n) * inner + i] = *at;
        }
    }
    Ok(chosen)
}

impl Kernel for Argsort {
    fn run(&self, cx: &Cx<'_>) -> Result<Vec<AnyTensor>, RunError> {
        let x = cx.get(&self.x)?;
        let axis = self.dimension()?;
        let places = first(&x, axis, x.shape()[axis], self.ascending)?;
        Ok(vec![AnyTensor::new(x.shape(), places.into_iter().map(|at| at as i32).collect())?])
    }
}

impl Kernel for Topk {
    fn run(&self, cx: &Cx<'_>) -> Result<Vec<AnyTensor>, RunError> {
        let x = cx.get(&self.x)?;
        let shape = output_shape(&Topk { x: typed(&self.x, &x), ..self.clone() })?;
        let axis = self.dimension()?;
        let (size, k) = (x.shape()[axis], shape[axis]);
        if self.return_indices && self.index_dtype().int_range().is_some_and(|(_, max)| size as i128 - 1 > max) {
            let message = format!("indices of a dimension of size {size} do not fit `{}`", self.index_dtype());
            return Err(RunError::new(format!("{message}; set `output_indices_dtype` to \"int32\"")));
        }
        let inner: usize = shape[axis + 1..].iter().product();
        let chosen = first(&x, axis, k, self.ascending)?;
        let (from, width) = (bytes(&x)?, width(x.dtype()));
        let mut values = Vec::with_capacity(chosen.len() * width);
        for (n, at) in chosen.iter().enumerate() {
            let start = ((n / (k * inner) * size + at) * inner + n % inner) * width;
            values.extend_from_slice(&from[start..start + width]);
        }
        let mut outputs = vec![AnyTensor::from_bytes(x.dtype(), shape.clone(), values)?];
        if self.return_indices {
            let indices = chosen.into_iter().map(|at| at as i64).collect();
            outputs.push(AnyTensor::from_i64(self.index_dtype(), shape, indices)?);
        }
        Ok(outputs)
    }
}

#[cfg(test)]
mod tests {
    use crate::{
        cpu::reference::testing::{close, fails, run},
        tensor::AnyTensor,
    };
    use mil_core::mb;

    #[test]
    fn greatest_and_smallest() {
        let x = [3.0, 1.0, 3.0, -2.0, 5.0, 0.0, 5.0, 7.0];
        let out = run(|g| mb::topk(g.f32(&[2, 4], &x)).k(3));
        close(&out, &[2, 3], &[3.0, 3.0, 1.0, 7.0, 5.0, 5.0], 0.0);
        assert_eq!(out[1], AnyTensor::new([2, 3], vec![0i32, 2, 1, 3, 0, 2]).unwrap());
        let out = run(|g| mb::topk(g.f32(&[2, 4], &x)).k(2).ascending(true).output_indices_dtype("uint16"));
        close(&out, &[2, 2], &[-2.0, 1.0, 0.0, 5.0], 0.0);
        assert_eq!(out[1], AnyTensor::new([2, 2], vec![3u16, 1, 1, 0]).unwrap());
        let out = run(|g| mb::topk(g.f32(&[2, 4], &x)).axis(0).sort(false));
        close(&out, &[1, 4], &[5.0, 1.0, 5.0, 7.0], 0.0);
        assert_eq!(out[1], AnyTensor::new([1, 4], vec![1i32, 0, 1, 1]).unwrap());
    }

    #[test]
    fn integers_and_nan() {
        let x = AnyTensor::new([4], vec![250u8, 3, 255, 0]).unwrap();
        let out = run(|g| mb::topk(g.input(x)).k(-1).return_indices(false));
        assert_eq!(out, [AnyTensor::new([4], vec![255u8, 250, 3, 0]).unwrap()]);
        let x = [f32::NAN, 1.0, f32::INFINITY];
        let out = run(|g| mb::topk(g.f32(&[3], &x)).k(3));
        close(&out, &[3], &[f32::INFINITY, 1.0, f32::NAN], 0.0);
        let exact = AnyTensor::new([2], vec![16_777_216i32, 16_777_217]).unwrap();
        let out = run(|g| mb::topk(g.input(exact)));
        assert_eq!(out[1], AnyTensor::new([1], vec![1i32]).unwrap());
    }

    #[test]
    fn indices_that_do_not_fit() {
        let x = vec![0.0; 65537];
        fails(|g| mb::topk(g.f32(&[65537], &x)).output_indices_dtype("uint16"), "do not fit `u16`");
    }
    #[test]
    fn argsort() {
        let x = [3.0, f32::NAN, 3.0, -2.0, 5.0, 7.0];
        let sorted = |axis: i64, ascending: bool| {
            let out = run(|g| mb::argsort(g.f32(&[2, 3], &x)).axis(axis).ascending(ascending));
            out[0].as_slice::<i32>().unwrap().to_vec()
        };
        assert_eq!(sorted(-1, false), [0, 2, 1, 2, 1, 0]);
        assert_eq!(sorted(1, true), [0, 2, 1, 0, 1, 2]);
        assert_eq!(sorted(0, true), [1, 1, 0, 0, 0, 1]);
        let out = run(|g| mb::argsort(g.i32(&[2, 0], &[])));
        assert_eq!(out[0].shape(), [2, 0]);
        let half = AnyTensor::from_f32(mil_core::types::DType::F16, [3], vec![1.0, -1.0, 2.0]).unwrap();
        assert_eq!(run(|g| mb::argsort(g.input(half)))[0], AnyTensor::new([3], vec![2i32, 0, 1]).unwrap());
    }
}
