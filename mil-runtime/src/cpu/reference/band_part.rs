//! `band_part`.

use mil_core::ops::band_part::BandPart;

use super::{
    Cx, Kernel, KernelDef,
    movement::{bytes, typed, width},
    shapes::output_shape,
};
use crate::{error::RunError, tensor::AnyTensor};

pub(super) const KERNELS: &[KernelDef] = &[KernelDef::of::<BandPart>()];

impl Kernel for BandPart {
    fn run(&self, cx: &Cx<'_>) -> Result<Vec<AnyTensor>, RunError> {
        let x = cx.get(&self.x)?;
        let shape = output_shape(&BandPart { x: typed(&self.x, &x), ..self.clone() })?;
        let (rows, columns) = (shape[shape.len() - 2], shape[shape.len() - 1]);
        let mut out = bytes(&x)?.to_vec();
        for (i, element) in out.chunks_exact_mut(width(x.dtype())).enumerate() {
            if !self.keeps(i / columns % rows, i % columns) {
                element.fill(0);
            }
        }
        Ok(vec![AnyTensor::from_bytes(x.dtype(), shape, out)?])
    }
}

#[cfg(test)]
mod tests {
    use crate::{
        cpu::reference::testing::{close, run},
        tensor::AnyTensor,
    };
    use mil_core::mb;

    #[test]
    fn bands() {
        let x = [1.0, 2.0, f32::NAN, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0];
        let out = run(|g| mb::band_part(g.f32(&[3, 3], &x)).lower(1).upper(0));
        close(&out, &[3, 3], &[1.0, 0.0, 0.0, 4.0, 5.0, 0.0, 0.0, 8.0, 9.0], 0.0);
        let out = run(|g| mb::band_part(g.i32(&[2, 2, 2], &[1, 2, 3, 4, 5, 6, 7, 8])).lower(0));
        assert_eq!(out[0], AnyTensor::new([2, 2, 2], vec![1, 2, 0, 4, 5, 6, 0, 8]).unwrap());
        let out = run(|g| mb::band_part(g.input(AnyTensor::bools([1, 3], &[true; 3]).unwrap())).upper(1));
        assert_eq!(out[0], AnyTensor::bools([1, 3], &[true, true, false]).unwrap());
        close(&run(|g| mb::band_part(g.f32(&[2, 0], &[])).lower(0)), &[2, 0], &[], 0.0);
    }
}
