//! `split`.

use mil_core::{
    op::{self, Infer},
    ops::{slice::Span, split::Split},
    types::Opset,
};

use super::{Cx, Kernel, KernelDef, movement::typed, slice::take};
use crate::{error::RunError, tensor::AnyTensor};

pub(super) const KERNELS: &[KernelDef] = &[KernelDef::of::<Split>()];

impl Kernel for Split {
    fn run(&self, cx: &Cx<'_>) -> Result<Vec<AnyTensor>, RunError> {
        let x = cx.get(&self.x)?;
        let op = Split { x: typed(&self.x, &x), ..self.clone() };
        let parts = op.infer(&mut op::Cx::new(Opset::iOS18, "", &[]))?;
        let axis = self.dimension()?;
        let mut start = 0;
        let mut outputs = Vec::with_capacity(parts.len());
        for part in parts {
            let shape = part.ty.tensor().and_then(|t| t.shape.fixed());
            let shape = shape.ok_or_else(|| RunError::new("the sizes of the output are not known"))?;
            let span = |(i, n): (usize, &usize)| Span {
                start: if i == axis { start } else { 0 },
                count: *n,
                step: 1,
                squeeze: false,
            };
            let spans: Vec<Span> = shape.iter().enumerate().map(span).collect();
            start += shape[axis];
            outputs.push(take(&x, &spans, shape)?);
        }
        Ok(outputs)
    }
}

#[cfg(test)]
mod tests {
    use crate::cpu::reference::testing::{close, run};
    use mil_core::mb;

    const X: [f32; 12] = [0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0, 10.0, 11.0];

    #[test]
    fn splits() {
        let out = run(|g| mb::split(g.f32(&[3, 4], &X), 1).split_sizes([1, 3]));
        close(&out, &[3, 1], &[0.0, 4.0, 8.0], 0.0);
        close(&out[1..], &[3, 3], &[1.0, 2.0, 3.0, 5.0, 6.0, 7.0, 9.0, 10.0, 11.0], 0.0);
        let out = run(|g| mb::split(g.f32(&[3, 4], &X), 0).num_splits(3));
        close(&out[2..], &[1, 4], &X[8..], 0.0);
    }
}
