//! `reshape`, `flatten2d`, `transpose`, `expand_dims`, `squeeze`, `shape`.

use mil_core::{
    ops::shape::{ExpandDims, Flatten2d, Reshape, Shape, Squeeze, Transpose},
    types::DType,
};

use super::{
    Cx, Kernel, KernelDef,
    movement::{pick, strides, typed, valued},
    shapes::output_shape,
};
use crate::{error::RunError, tensor::AnyTensor};

pub(super) const KERNELS: &[KernelDef] = &[
    KernelDef::of::<Reshape>(),
    KernelDef::of::<Flatten2d>(),
    KernelDef::of::<Transpose>(),
    KernelDef::of::<ExpandDims>(),
    KernelDef::of::<Squeeze>(),
    KernelDef::of::<Shape>(),
];

impl Kernel for Reshape {
    fn run(&self, cx: &Cx<'_>) -> Result<Vec<AnyTensor>, RunError> {
        let x = cx.get(&self.x)?;
        let shape = valued(&self.shape, &*cx.get(&self.shape)?)?;
        let shape = output_shape(&Reshape { x: typed(&self.x, &x), shape })?;
        Ok(vec![x.into_owned().reshaped(shape)?])
    }
}

impl Kernel for Flatten2d {
    fn run(&self, cx: &Cx<'_>) -> Result<Vec<AnyTensor>, RunError> {
        let x = cx.get(&self.x)?;
        let shape = output_shape(&Flatten2d { x: typed(&self.x, &x), axis: self.axis })?;
        Ok(vec![x.into_owned().reshaped(shape)?])
    }
}

impl Kernel for Transpose {
    fn run(&self, cx: &Cx<'_>) -> Result<Vec<AnyTensor>, RunError> {
        let x = cx.get(&self.x)?;
        let strides = strides(x.shape());
        let places = |p: &usize| (0..x.shape()[*p]).map(|i| Some(i * strides[*p])).collect();
        let offsets: Vec<Vec<Option<usize>>> = self.permutation()?.iter().map(places).collect();
        Ok(vec![pick(&x, &offsets, &[])?])
    }
}

impl Kernel for ExpandDims {
    fn run(&self, cx: &Cx<'_>) -> Result<Vec<AnyTensor>, RunError> {
        let x = cx.get(&self.x)?;
        let shape = output_shape(&ExpandDims { x: typed(&self.x, &x), axes: self.axes.clone() })?;
        Ok(vec![x.into_owned().reshaped(shape)?])
    }
}

impl Kernel for Squeeze {
    fn run(&self, cx: &Cx<'_>) -> Result<Vec<AnyTensor>, RunError> {
        let x = cx.get(&self.x)?;
        // The declared type decides, not the sizes of this run: the rank of a value is fixed.
        let removed = self.removed()?;
        let kept = x.shape().iter().enumerate().filter(|(i, _)| !removed.contains(i));
        let shape: Vec<usize> = kept.map(|(_, size)| *size).collect();
        Ok(vec![x.into_owned().reshaped(shape)?])
    }
}

impl Kernel for Shape {
    fn run(&self, cx: &Cx<'_>) -> Result<Vec<AnyTensor>, RunError> {
        let x = cx.get(&self.x)?;
        let sizes: Vec<i64> = x.shape().iter().map(|d| i64::try_from(*d).unwrap_or(i64::MAX)).collect();
        if let Some(large) = sizes.iter().find(|d| i32::try_from(**d).is_err()) {
            return Err(RunError::new(format!("a size of {large} does not fit `i32`")));
        }
        Ok(vec![AnyTensor::from_i64(DType::I32, [sizes.len()], sizes)?])
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
    fn reshape_by_a_shape_of_this_run() {
        let x = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0];
        close(&run(|g| mb::reshape(g.f32(&[2, 3], &x), [3, 2])), &[3, 2], &x, 0.0);
        let shape = run(|g| mb::reshape(g.f32(&[2, 3], &x), g.i32(&[3], &[1, -1, 2])));
        close(&shape, &[1, 3, 2], &x, 0.0);
        let zero = run(|g| mb::reshape(g.f32(&[2, 3], &x), g.i32(&[3], &[1, -1, 0])));
        close(&zero, &[1, 2, 3], &x, 0.0);
        let bools = AnyTensor::bools([4], &[true, false, true, true]).unwrap();
        let out = run(|g| mb::reshape(g.input(bools), [2, 2]));
        assert_eq!(out[0], AnyTensor::bools([2, 2], &[true, false, true, true]).unwrap());
        fails(|g| mb::reshape(g.f32(&[2, 3], &x), g.i32(&[2], &[4, -1])), "rows of 4");
        fails(|g| mb::reshape(g.f32(&[2, 3], &x), g.i32(&[2], &[i32::MAX, i32::MAX])), "but `x` has 6");
        fails(|g| mb::reshape(g.f32(&[2, 3], &x), g.i32(&[2], &[-3, -2])), "is -3");
    }

    #[test]
    fn transpose_of_three_dimensions() {
        // np.arange(24).reshape(2, 3, 4).transpose(2, 0, 1)
        let x: Vec<f32> = (0..24u8).map(f32::from).collect();
        let expected = [0, 4, 8, 12, 16, 20, 1, 5, 9, 13, 17, 21, 2, 6, 10, 14, 18, 22, 3, 7, 11, 15, 19, 23];
        let out = run(|g| mb::transpose(g.f32(&[2, 3, 4], &x), [-1, 0, 1]));
        close(&out, &[4, 2, 3], &expected.map(|v: u8| f32::from(v)), 0.0);
        let bytes = AnyTensor::new([2, 2], vec![1i8, 2, 3, 4]).unwrap();
        let out = run(|g| mb::transpose(g.input(bytes), [1, 0]));
        assert_eq!(out[0], AnyTensor::new([2, 2], vec![1i8, 3, 2, 4]).unwrap());
    }

    #[test]
    fn dimensions_of_size_one() {
        close(&run(|g| mb::expand_dims(g.f32(&[2], &[1.0, 2.0]), [0, -1])), &[1, 2, 1], &[1.0, 2.0], 0.0);
        close(&run(|g| mb::squeeze(g.f32(&[1, 2, 1], &[1.0, 2.0]))), &[2], &[1.0, 2.0], 0.0);
        close(&run(|g| mb::squeeze(g.f32(&[1, 2, 1], &[1.0, 2.0])).axes([0, 1])), &[2, 1], &[1.0, 2.0], 0.0);
    }

    #[test]
    fn shape_gives_i32() {
        let out = run(|g| mb::shape(g.f32(&[2, 1, 3], &[0.0; 6])));
        assert_eq!(out[0], AnyTensor::new([3], vec![2i32, 1, 3]).unwrap());
    }
    #[test]
    fn flatten2d() {
        let x = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0];
        close(&run(|g| mb::flatten2d(g.f32(&[1, 2, 3], &x)).axis(-1)), &[2, 3], &x, 0.0);
        close(&run(|g| mb::flatten2d(g.f32(&[1, 2, 3], &x)).axis(3)), &[6, 1], &x, 0.0);
    }
}
