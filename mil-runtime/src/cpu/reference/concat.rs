//! `concat`, `stack`, `tile`.

use std::borrow::Cow;

use mil_core::{
    op::Arg,
    ops::concat::{Concat, Stack, Tile},
};

use super::{
    Cx, Kernel, KernelDef,
    movement::{join, pick, strides, typed, valued},
    shapes::output_shape,
};
use crate::{error::RunError, tensor::AnyTensor};

pub(super) const KERNELS: &[KernelDef] =
    &[KernelDef::of::<Concat>(), KernelDef::of::<Stack>(), KernelDef::of::<Tile>()];

/// The tensors, and the arguments with the types they have now.
type Now<'a> = (Vec<Cow<'a, AnyTensor>>, Vec<Arg>);

fn now<'a>(args: &[Arg], cx: &'a Cx<'_>) -> Result<Now<'a>, RunError> {
    let tensors = args.iter().map(|a| cx.get(a)).collect::<Result<Vec<_>, _>>()?;
    let args = args.iter().zip(&tensors).map(|(a, t)| typed(a, t)).collect();
    Ok((tensors, args))
}

impl Kernel for Concat {
    fn run(&self, cx: &Cx<'_>) -> Result<Vec<AnyTensor>, RunError> {
        let (tensors, values) = now(&self.values, cx)?;
        let shape = output_shape(&Concat { values, ..self.clone() })?;
        let tensors: Vec<&AnyTensor> = tensors.iter().map(|t| &**t).collect();
        let axis = self.dimension()?;
        let mut rounds: usize = shape[..axis].iter().product();
        if self.interleave {
            rounds *= tensors[0].shape().get(axis).copied().unwrap_or(1);
        }
        Ok(vec![join(&tensors, tensors[0].dtype(), shape, rounds)?])
    }
}

impl Kernel for Stack {
    fn run(&self, cx: &Cx<'_>) -> Result<Vec<AnyTensor>, RunError> {
        let (tensors, values) = now(&self.values, cx)?;
        let shape = output_shape(&Stack { values, ..self.clone() })?;
        let tensors: Vec<&AnyTensor> = tensors.iter().map(|t| &**t).collect();
        let rounds = shape[..self.dimension()?].iter().product();
        Ok(vec![join(&tensors, tensors[0].dtype(), shape, rounds)?])
    }
}

impl Kernel for Tile {
    fn run(&self, cx: &Cx<'_>) -> Result<Vec<AnyTensor>, RunError> {
        let x = cx.get(&self.x)?;
        let shape = output_shape(&Tile { x: typed(&self.x, &x), reps: valued(&self.reps, &*cx.get(&self.reps)?)? })?;
        let places =
            |((n, size), stride): ((&usize, &usize), &usize)| (0..*n).map(|i| Some(i % size * stride)).collect();
        let strides = strides(x.shape());
        let offsets: Vec<Vec<_>> = shape.iter().zip(x.shape()).zip(&strides).map(places).collect();
        Ok(vec![pick(&x, &offsets, &[])?])
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
    fn concat_along_any_axis() {
        let (a, b) = ([1.0, 2.0, 3.0, 4.0], [5.0, 6.0]);
        let out = run(|g| mb::concat([g.f32(&[2, 2], &a), g.f32(&[1, 2], &b)], 0));
        close(&out, &[3, 2], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0], 0.0);
        let out = run(|g| mb::concat([g.f32(&[2, 2], &a), g.f32(&[2, 1], &b)], -1));
        close(&out, &[2, 3], &[1.0, 2.0, 5.0, 3.0, 4.0, 6.0], 0.0);
        let out = run(|g| mb::concat([g.f32(&[], &[1.0]), g.f32(&[], &[2.0])], 0));
        close(&out, &[2], &[1.0, 2.0], 0.0);
        let byte = |v: u8| AnyTensor::new([1], vec![v]).unwrap();
        let out = run(|g| mb::concat([g.input(byte(7)), g.input(byte(9))], 0));
        assert_eq!(out[0], AnyTensor::new([2], vec![7u8, 9]).unwrap());
    }

    #[test]
    fn concat_in_turn() {
        // The example of coremltools' documentation.
        let (a, b) = ([1.0, 2.0, 3.0, 4.0, 5.0, 6.0], [7.0, 8.0, 9.0, 10.0, 11.0, 12.0]);
        let out = run(|g| mb::concat([g.f32(&[3, 2], &a), g.f32(&[3, 2], &b)], 0).interleave(true));
        close(&out, &[6, 2], &[1.0, 2.0, 7.0, 8.0, 3.0, 4.0, 9.0, 10.0, 5.0, 6.0, 11.0, 12.0], 0.0);
        let out = run(|g| mb::concat([g.f32(&[3, 2], &a), g.f32(&[3, 2], &b)], 1).interleave(true));
        close(&out, &[3, 4], &[1.0, 7.0, 2.0, 8.0, 3.0, 9.0, 4.0, 10.0, 5.0, 11.0, 6.0, 12.0], 0.0);
    }

    #[test]
    fn stack_makes_a_dimension() {
        let (a, b) = ([1.0, 2.0], [3.0, 4.0]);
        let stack = |axis: i32| run(|g| mb::stack([g.f32(&[2], &a), g.f32(&[2], &b)], axis));
        close(&stack(0), &[2, 2], &[1.0, 2.0, 3.0, 4.0], 0.0);
        close(&stack(-1), &[2, 2], &[1.0, 3.0, 2.0, 4.0], 0.0);
    }

    #[test]
    fn tile_repeats() {
        let x = [1.0, 2.0, 3.0, 4.0];
        let out = run(|g| mb::tile(g.f32(&[2, 2], &x), g.i32(&[2], &[1, 2])));
        close(&out, &[2, 4], &[1.0, 2.0, 1.0, 2.0, 3.0, 4.0, 3.0, 4.0], 0.0);
        let out = run(|g| mb::tile(g.f32(&[2, 1], &x[..2]), [2, 1]));
        close(&out, &[4, 1], &[1.0, 2.0, 1.0, 2.0], 0.0);
        fails(|g| mb::tile(g.f32(&[2, 2], &x), g.i32(&[2], &[1, 0])), "1 or more, found 0");
        fails(|g| mb::tile(g.f32(&[2, 2], &x), g.i32(&[2], &[i32::MAX, i32::MAX])), "too large");
    }
}
