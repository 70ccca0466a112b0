//! `slice_by_index`, `slice_by_size`.

use mil_core::ops::slice::{SliceByIndex, SliceBySize, Span};

use super::{
    Cx, Kernel, KernelDef,
    movement::{pick, strides, typed, valued},
    shapes::output_shape,
};
use crate::{error::RunError, tensor::AnyTensor};

pub(super) const KERNELS: &[KernelDef] = &[KernelDef::of::<SliceByIndex>(), KernelDef::of::<SliceBySize>()];

/// For each dimension, how far into a tensor of these sizes its places in the slice go, in elements.
pub(super) fn offsets(sizes: &[usize], spans: &[Span]) -> Vec<Vec<usize>> {
    let place = |s: &Span, i: usize, stride: usize| (s.start as i64 + s.step * i as i64) as usize * stride;
    let strides = strides(sizes);
    spans.iter().zip(&strides).map(|(s, n)| (0..s.count).map(|i| place(s, i, *n)).collect()).collect()
}

/// The elements of these spans, in a shape that may lack dimensions of size 1.
pub(super) fn take(x: &AnyTensor, spans: &[Span], shape: Vec<usize>) -> Result<AnyTensor, RunError> {
    let some = |places: Vec<usize>| places.into_iter().map(Some).collect();
    let offsets: Vec<Vec<Option<usize>>> = offsets(x.shape(), spans).into_iter().map(some).collect();
    pick(x, &offsets, &[])?.reshaped(shape)
}

impl Kernel for SliceByIndex {
    fn run(&self, cx: &Cx<'_>) -> Result<Vec<AnyTensor>, RunError> {
        let (x, begin, end) = (cx.get(&self.x)?, cx.get(&self.begin)?, cx.get(&self.end)?);
        let op = SliceByIndex {
            x: typed(&self.x, &x),
            begin: valued(&self.begin, &begin)?,
            end: valued(&self.end, &end)?,
            ..self.clone()
        };
        let shape = output_shape(&op)?;
        let spans = op.spans(x.shape(), &begin.to_i64()?, &end.to_i64()?)?;
        Ok(vec![take(&x, &spans, shape)?])
    }
}

impl Kernel for SliceBySize {
    fn run(&self, cx: &Cx<'_>) -> Result<Vec<AnyTensor>, RunError> {
        let (x, begin, size) = (cx.get(&self.x)?, cx.get(&self.begin)?, cx.get(&self.size)?);
        let op = SliceBySize {
            x: typed(&self.x, &x),
            begin: valued(&self.begin, &begin)?,
            size: valued(&self.size, &size)?,
        };
        let shape = output_shape(&op)?;
        let spans = op.spans(x.shape(), &begin.to_i64()?, &size.to_i64()?)?;
        Ok(vec![take(&x, &spans, shape)?])
    }
}

#[cfg(test)]
mod tests {
    use crate::{
        cpu::reference::testing::{close, fails, run},
        tensor::AnyTensor,
    };
    use mil_core::{mb, ops::slice::SliceByIndex};

    const X: [f32; 12] = [0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0, 10.0, 11.0];

    #[test]
    fn slices_by_index() {
        // np.arange(12).reshape(3, 4)[0:3:2, 3:0:-1]
        let out = run(|g| mb::slice_by_index(g.f32(&[3, 4], &X), [0, 3], [3, 0]).stride([2, -1]));
        close(&out, &[2, 3], &[3.0, 2.0, 1.0, 11.0, 10.0, 9.0], 0.0);
        // [..][-1, ::-2]
        let out = run(|g| {
            let call = mb::slice_by_index(g.f32(&[3, 4], &X), [-1, 0], [0, 0]).stride([1, -2]);
            call.squeeze_mask([true, false]).begin_mask([false, true]).end_mask([false, true])
        });
        close(&out, &[2], &[11.0, 9.0], 0.0);
        // Bounds that only the run knows.
        let out = run(|g| {
            let (begin, end) = (g.i32(&[2], &[1, -2]), g.i32(&[2], &[2, 100]));
            mb::slice_by_index(g.f32(&[3, 4], &X), begin, end)
        });
        close(&out, &[1, 2], &[6.0, 7.0], 0.0);
        let bools = AnyTensor::bools([3], &[true, false, true]).unwrap();
        let out = run(|g| mb::slice_by_index(g.input(bools), [1], [3]));
        assert_eq!(out[0], AnyTensor::bools([2], &[false, true]).unwrap());
    }

    #[test]
    fn slices_by_index_outside() {
        let call = |begin: i32, end: i32, squeeze: bool| {
            move |g: &mut crate::cpu::reference::testing::Test| -> mil_core::op::Call<SliceByIndex> {
                let (begin, end) = (g.i32(&[1], &[begin]), g.i32(&[1], &[end]));
                mb::slice_by_index(g.f32(&[3], &X[..3]), begin, end).squeeze_mask([squeeze])
            }
        };
        fails(call(3, 5, false), "3:5:1 of dimension 0 of size 3 takes nothing");
        fails(call(2, 1, false), "before `begin`");
        fails(call(i32::MIN, 0, true), "outside dimension 0");
        fails(call(3, 0, true), "outside dimension 0");
    }

    #[test]
    fn slices_by_size() {
        let out = run(|g| mb::slice_by_size(g.f32(&[3, 4], &X), [1, -3], [-1, 2]));
        close(&out, &[2, 2], &[5.0, 6.0, 9.0, 10.0], 0.0);
        let out = run(|g| mb::slice_by_size(g.f32(&[3, 4], &X), g.i32(&[2], &[2, 1]), g.i32(&[2], &[1, -1])));
        close(&out, &[1, 3], &[9.0, 10.0, 11.0], 0.0);
        fails(|g| mb::slice_by_size(g.f32(&[3, 4], &X), g.i32(&[2], &[2, 1]), [2, 1]), "1 elements from 2 on");
        fails(|g| mb::slice_by_size(g.f32(&[3, 4], &X), g.i32(&[2], &[3, 1]), [1, 1]), "outside dimension 0");
    }
}
