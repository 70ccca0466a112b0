//! `reverse`, `reverse_sequence`.

use mil_core::ops::reverse::{Reverse, ReverseSequence};

use super::{
    Cx, Kernel, KernelDef,
    movement::{bytes, pick, strides, typed, width},
    shapes::output_shape,
};
use crate::{error::RunError, tensor::AnyTensor};

pub(super) const KERNELS: &[KernelDef] = &[KernelDef::of::<Reverse>(), KernelDef::of::<ReverseSequence>()];

impl Kernel for Reverse {
    fn run(&self, cx: &Cx<'_>) -> Result<Vec<AnyTensor>, RunError> {
        let x = cx.get(&self.x)?;
        let (axes, strides) = (self.dimensions()?, strides(x.shape()));
        let places = |i: usize| -> Vec<Option<usize>> {
            let forward = (0..x.shape()[i]).map(|at| Some(at * strides[i]));
            if axes.contains(&i) { forward.rev().collect() } else { forward.collect() }
        };
        Ok(vec![pick(&x, &(0..x.rank()).map(places).collect::<Vec<_>>(), &[])?])
    }
}

impl Kernel for ReverseSequence {
    fn run(&self, cx: &Cx<'_>) -> Result<Vec<AnyTensor>, RunError> {
        let (x, lengths) = (cx.get(&self.x)?, cx.get(&self.lengths)?);
        let op = ReverseSequence { x: typed(&self.x, &x), lengths: typed(&self.lengths, &lengths), ..self.clone() };
        let (shape, (seq, batch)) = (output_shape(&op)?, op.dimensions()?);
        let found = lengths.to_i64()?.into_iter().map(|n| ReverseSequence::length(n, shape[seq]));
        let lengths: Vec<usize> = found.collect::<Result<_, _>>()?;
        let (strides, width) = (strides(&shape), width(x.dtype()));
        let from = bytes(&x)?;
        let mut out = Vec::with_capacity(from.len());
        for i in 0..x.count() {
            let place = i / strides[seq] % shape[seq];
            let length = lengths[i / strides[batch] % shape[batch]];
            let source = if place < length { length - 1 - place } else { place };
            let at = (i - place * strides[seq] + source * strides[seq]) * width;
            out.extend_from_slice(&from[at..at + width]);
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
    fn reverses() {
        close(&run(|g| mb::reverse(g.f32(&[2, 3], &X))), &[2, 3], &[6.0, 5.0, 4.0, 3.0, 2.0, 1.0], 0.0);
        close(&run(|g| mb::reverse(g.f32(&[2, 3], &X)).axes([0])), &[2, 3], &[4.0, 5.0, 6.0, 1.0, 2.0, 3.0], 0.0);
        let bytes = AnyTensor::new([3], vec![1u8, 2, 3]).unwrap();
        assert_eq!(run(|g| mb::reverse(g.input(bytes)))[0], AnyTensor::new([3], vec![3u8, 2, 1]).unwrap());
        close(&run(|g| mb::reverse(g.f32(&[], &[2.0]))), &[], &[2.0], 0.0);
    }

    #[test]
    fn reverses_beginnings() {
        let out = run(|g| mb::reverse_sequence(g.f32(&[2, 3], &X), g.i32(&[2], &[2, 3])).seq_axis(1));
        close(&out, &[2, 3], &[2.0, 1.0, 3.0, 6.0, 5.0, 4.0], 0.0);
        let lengths = AnyTensor::new([3], vec![0i8, 1, 2]).unwrap();
        let out = run(|g| mb::reverse_sequence(g.f32(&[2, 3], &X), g.input(lengths)).batch_axis(-1));
        close(&out, &[2, 3], &[1.0, 2.0, 6.0, 4.0, 5.0, 3.0], 0.0);
        fails(|g| mb::reverse_sequence(g.f32(&[2, 3], &X), g.i32(&[2], &[4, 0])).seq_axis(1), "length 4 is out");
        fails(|g| mb::reverse_sequence(g.f32(&[2, 3], &X), g.i32(&[2], &[0, -1])).seq_axis(1), "length -1 is out");
    }
}
