//! `reshape_like`.

use mil_core::ops::reshape_like::ReshapeLike;

use super::{Cx, Kernel, KernelDef, movement::typed, shapes::output_shape};
use crate::{error::RunError, tensor::AnyTensor};

pub(super) const KERNELS: &[KernelDef] = &[KernelDef::of::<ReshapeLike>()];

impl Kernel for ReshapeLike {
    fn run(&self, cx: &Cx<'_>) -> Result<Vec<AnyTensor>, RunError> {
        let x = cx.get(&self.x)?;
        let tensors = self.ref_tensors.iter().map(|t| Ok(typed(t, &*cx.get(t)?)));
        let ref_tensors = tensors.collect::<Result<_, RunError>>()?;
        let shape = output_shape(&ReshapeLike { x: typed(&self.x, &x), ref_tensors, ..self.clone() })?;
        Ok(vec![x.into_owned().reshaped(shape)?])
    }
}

#[cfg(test)]
mod tests {
    use crate::cpu::reference::testing::{close, run};
    use mil_core::mb;

    #[test]
    fn takes_sizes() {
        let x = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0];
        let out = run(|g| {
            let refs = vec![g.f32(&[2, 1], &[0.0; 2]), g.i32(&[4, 3], &[0; 12])];
            mb::reshape_like(g.f32(&[6], &x), refs, [0, -1], [1, 0], [false, true])
        });
        close(&out, &[2, 3], &x, 0.0);
    }
}
