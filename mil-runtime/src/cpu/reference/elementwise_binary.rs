//! Elementwise ops of two operands.

use mil_core::ops::elementwise_binary::Add;

use super::{Cx, Kernel, KernelDef, floats};
use crate::{error::RunError, tensor::AnyTensor};

pub(super) const KERNELS: &[KernelDef] = &[KernelDef::of::<Add>()];

impl Kernel for Add {
    fn run(&self, cx: &Cx<'_>) -> Result<Vec<AnyTensor>, RunError> {
        let (x, y) = (cx.get(&self.x)?, cx.get(&self.y)?);
        let (a, b) = (x.to_f32()?, y.to_f32()?);
        floats(x.dtype(), x.shape(), a.iter().zip(b.iter().cycle()).map(|(a, b)| a + b).collect())
    }
}

#[cfg(test)]
mod tests {
    use crate::cpu::reference::testing::{close, run};
    use mil_core::mb;

    #[test]
    fn adds() {
        let out = run(|g| mb::add(g.f32(&[2, 2], &[1.0, 2.0, 3.0, 4.0]), g.f32(&[2], &[10.0, 20.0])));
        close(&out, &[2, 2], &[11.0, 22.0, 13.0, 24.0], 0.0);
    }
}
