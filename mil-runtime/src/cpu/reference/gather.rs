//! `gather`, `gather_along_axis`, `gather_nd`.

use mil_core::ops::gather::{Gather, GatherAlongAxis, GatherNd, no_place, place};

use super::{
    Cx, Kernel, KernelDef,
    movement::{bytes, typed, width},
    shapes::output_shape,
};
use crate::{error::RunError, tensor::AnyTensor};

pub(super) const KERNELS: &[KernelDef] =
    &[KernelDef::of::<Gather>(), KernelDef::of::<GatherAlongAxis>(), KernelDef::of::<GatherNd>()];

/// The places that indices mean along an axis.
fn places(indices: &AnyTensor, axis: usize, size: usize, validate: bool) -> Result<Vec<usize>, RunError> {
    let found = |i: i64| place(i, size, validate).ok_or_else(|| no_place(i, axis, size, validate).into());
    indices.to_i64()?.into_iter().map(found).collect()
}

impl Kernel for Gather {
    fn run(&self, cx: &Cx<'_>) -> Result<Vec<AnyTensor>, RunError> {
        let (x, indices) = (cx.get(&self.x)?, cx.get(&self.indices)?);
        let op = Gather { x: typed(&self.x, &x), indices: typed(&self.indices, &indices), ..self.clone() };
        let shape = output_shape(&op)?;
        let (axis, batch) = op.dimensions()?;
        let (sizes, size) = (x.shape(), x.shape()[axis]);
        let places = places(&indices, axis, size, self.validate_indices)?;
        let count = |of: &[usize]| of.iter().product::<usize>();
        let (batches, rows) = (count(&sizes[..batch]), count(&sizes[batch..axis]));
        let piece = count(&sizes[axis + 1..]) * width(x.dtype());
        let each = count(&indices.shape()[batch..]);
        let from = bytes(&x)?;
        let mut out = vec![];
        for b in 0..batches {
            for row in b * rows..(b + 1) * rows {
                for at in &places[b * each..(b + 1) * each] {
                    let start = (row * size + at) * piece;
                    out.extend_from_slice(&from[start..start + piece]);
                }
            }
        }
        Ok(vec![AnyTensor::from_bytes(x.dtype(), shape, out)?])
    }
}

impl Kernel for GatherAlongAxis {
    fn run(&self, cx: &Cx<'_>) -> Result<Vec<AnyTensor>, RunError> {
        let (x, indices) = (cx.get(&self.x)?, cx.get(&self.indices)?);
        let op = GatherAlongAxis { x: typed(&self.x, &x), indices: typed(&self.indices, &indices), ..self.clone() };
        let shape = output_shape(&op)?;
        let axis = self.dimension()?;
        let size = x.shape()[axis];
        let places = places(&indices, axis, size, self.validate_indices)?;
        let inner: usize = shape[axis + 1..].iter().product();
        let (from, width) = (bytes(&x)?, width(x.dtype()));
        let mut out = Vec::with_capacity(places.len() * width);
        for (i, at) in places.iter().enumerate() {
            let outer = i / (shape[axis] * inner);
            let start = ((outer * size + at) * inner + i % inner) * width;
            out.extend_from_slice(&from[start..start + width]);
        }
        Ok(vec![AnyTensor::from_bytes(x.dtype(), shape, out)?])
    }
}

impl Kernel for GatherNd {
    fn run(&self, cx: &Cx<'_>) -> Result<Vec<AnyTensor>, RunError> {
        let (x, indices) = (cx.get(&self.x)?, cx.get(&self.indices)?);
        let op = GatherNd { x: typed(&self.x, &x), indices: typed(&self.indices, &indices), ..self.clone() };
        let shape = output_shape(&op)?;
        let (batch, depth) = op.dimensions()?;
        let count = |of: &[usize]| of.iter().product::<usize>();
        let (sizes, rows) = (&x.shape()[batch..], &indices.shape()[..indices.rank() - 1]);
        let (indexed, rest) = sizes.split_at(depth);
        let slices = GatherNd::slices(&indices.to_i64()?, count(rows), batch, indexed, self.validate_indices)?;
        let (each, of_batch) = (count(&rows[batch..]).max(1), count(indexed));
        let (from, piece) = (bytes(&x)?, count(rest) * width(x.dtype()));
        let mut out = Vec::with_capacity(slices.len() * piece);
        for (row, slice) in slices.into_iter().enumerate() {
            let start = (row / each * of_batch + slice) * piece;
            out.extend_from_slice(&from[start..start + piece]);
        }
        Ok(vec![AnyTensor::from_bytes(x.dtype(), shape, out)?])
    }
}

#[cfg(test)]
mod tests {
    use crate::{
        cpu::reference::testing::{close, fails, run},
        tensor::AnyTensor,
    };
    use mil_core::mb;

    const X: [f32; 6] = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0];

    #[test]
    fn gather_takes_slices() {
        let out = run(|g| mb::gather(g.f32(&[2, 3], &X), g.i32(&[2], &[1, 0])));
        close(&out, &[2, 3], &[4.0, 5.0, 6.0, 1.0, 2.0, 3.0], 0.0);
        let out = run(|g| mb::gather(g.f32(&[2, 3], &X), g.i32(&[1, 2], &[2, -3])).axis(-1));
        close(&out, &[2, 1, 2], &[3.0, 1.0, 6.0, 4.0], 0.0);
        close(&run(|g| mb::gather(g.f32(&[2, 3], &X), g.i32(&[], &[-1])).axis(1)), &[2], &[3.0, 6.0], 0.0);
        let bytes = AnyTensor::new([3], vec![7u8, 8, 9]).unwrap();
        let index = AnyTensor::new([2], vec![2u16, 0]).unwrap();
        let out = run(|g| mb::gather(g.input(bytes), g.input(index)));
        assert_eq!(out[0], AnyTensor::new([2], vec![9u8, 7]).unwrap());
    }

    #[test]
    fn gather_by_batch() {
        // tf.gather(x, i, axis = 2, batch_dims = 1) of x = arange(12).reshape(2, 2, 3)
        let x: Vec<f32> = (0..12u8).map(f32::from).collect();
        let out = run(|g| mb::gather(g.f32(&[2, 2, 3], &x), g.i32(&[2, 2], &[0, 2, 1, 1])).axis(2).batch_dims(1));
        close(&out, &[2, 2, 2], &[0.0, 2.0, 3.0, 5.0, 7.0, 7.0, 10.0, 10.0], 0.0);
    }

    #[test]
    fn gather_along_axis_takes_elements() {
        // np.take_along_axis
        let out = run(|g| mb::gather_along_axis(g.f32(&[2, 3], &X), g.i32(&[1, 3], &[1, 0, -1])));
        close(&out, &[1, 3], &[4.0, 2.0, 6.0], 0.0);
        let out = run(|g| mb::gather_along_axis(g.f32(&[2, 3], &X), g.i32(&[2, 2], &[2, 0, 1, 1])).axis(1));
        close(&out, &[2, 2], &[3.0, 1.0, 5.0, 5.0], 0.0);
    }

    #[test]
    fn indices_outside() {
        fails(
            |g| mb::gather(g.f32(&[2, 3], &X), g.i32(&[1], &[2])),
            "index 2 is out of range for dimension 0 of size 2",
        );
        fails(|g| mb::gather(g.f32(&[2, 3], &X), g.i32(&[1], &[i32::MIN])), "out of range");
        fails(|g| mb::gather(g.f32(&[2, 3], &X), g.i32(&[1], &[-1])).validate_indices(true), "index -1 is out");
        fails(|g| mb::gather_along_axis(g.f32(&[2, 3], &X), g.i32(&[1, 3], &[0, 0, 2])), "index 2 is out of range");
    }
    #[test]
    fn gather_nd_takes_slices() {
        close(&run(|g| mb::gather_nd(g.f32(&[2, 3], &X), g.i32(&[2, 2], &[1, 0, 0, -1]))), &[2], &[4.0, 3.0], 0.0);
        let out = run(|g| mb::gather_nd(g.f32(&[2, 3], &X), g.i32(&[2, 1, 1], &[1, 0])));
        close(&out, &[2, 1, 3], &[4.0, 5.0, 6.0, 1.0, 2.0, 3.0], 0.0);
        let out = run(|g| mb::gather_nd(g.f32(&[2, 3], &X), g.i32(&[2, 2, 1], &[2, 0, 1, 1])).batch_dims(1));
        close(&out, &[2, 2], &[3.0, 1.0, 5.0, 5.0], 0.0);
        let out = run(|g| mb::gather_nd(g.f32(&[2], &X[..2]), g.i32(&[2, 0], &[])));
        close(&out, &[2, 2], &[1.0, 2.0, 1.0, 2.0], 0.0);
        let bytes = AnyTensor::new([2, 2], vec![1u8, 2, 3, 4]).unwrap();
        let out = run(|g| mb::gather_nd(g.input(bytes), g.i32(&[2], &[1, 1])));
        assert_eq!(out[0], AnyTensor::scalar(4u8));
        fails(|g| mb::gather_nd(g.f32(&[2, 3], &X), g.i32(&[2], &[0, 3])), "dimension 1 of size 3");
        fails(
            |g| mb::gather_nd(g.f32(&[2, 3], &X), g.i32(&[2, 1], &[0, -1])).batch_dims(1).validate_indices(true),
            "index -1 is out of range for dimension 1",
        );
    }
}
