//! `slice_update`.

use mil_core::ops::slice_update::SliceUpdate;

use super::{
    Cx, Kernel, KernelDef,
    movement::{bytes, typed, valued, width},
    shapes::output_shape,
    slice::offsets,
};
use crate::{error::RunError, tensor::AnyTensor};

pub(super) const KERNELS: &[KernelDef] = &[KernelDef::of::<SliceUpdate>()];

impl Kernel for SliceUpdate {
    fn run(&self, cx: &Cx<'_>) -> Result<Vec<AnyTensor>, RunError> {
        let (x, update) = (cx.get(&self.x)?, cx.get(&self.update)?);
        let (begin, end) = (cx.get(&self.begin)?, cx.get(&self.end)?);
        let op = SliceUpdate {
            x: typed(&self.x, &x),
            update: typed(&self.update, &update),
            begin: valued(&self.begin, &begin)?,
            end: valued(&self.end, &end)?,
            ..self.clone()
        };
        let shape = output_shape(&op)?;
        let spans = op.slice().spans(&shape, &begin.to_i64()?, &end.to_i64()?)?;
        let mut places = vec![0];
        for offsets in offsets(&shape, &spans) {
            places = places.iter().flat_map(|at| offsets.iter().map(move |o| at + o)).collect();
        }
        let (width, from) = (width(x.dtype()), bytes(&update)?);
        let mut out = bytes(&x)?.to_vec();
        for (at, element) in places.into_iter().zip(from.chunks_exact(width)) {
            out[at * width..(at + 1) * width].copy_from_slice(element);
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
    fn updates() {
        // x = np.arange(1, 7).reshape(2, 3); x[1:2, ::-2] = ..
        let out = run(|g| {
            let call = mb::slice_update(g.f32(&[2, 3], &X), g.f32(&[1, 2], &[7.0, 8.0]), [1, 0], [2, 0]);
            call.stride([1, -2]).begin_mask([false, true]).end_mask([false, true])
        });
        close(&out, &[2, 3], &[1.0, 2.0, 3.0, 8.0, 5.0, 7.0], 0.0);
        let out = run(|g| {
            let (begin, end) = (g.i32(&[2], &[0, -2]), g.i32(&[2], &[2, -1]));
            let call = mb::slice_update(g.f32(&[2, 3], &X), g.f32(&[2], &[7.0, 8.0]), begin, end);
            call.squeeze_mask([false, true])
        });
        close(&out, &[2, 3], &[1.0, 7.0, 3.0, 4.0, 8.0, 6.0], 0.0);
        let bools = |v: &[bool]| AnyTensor::bools([v.len()], v).unwrap();
        let out = run(|g| mb::slice_update(g.input(bools(&[true; 3])), g.input(bools(&[false])), [1], [2]));
        assert_eq!(out[0], bools(&[true, false, true]));
    }

    #[test]
    fn slices_of_another_size() {
        let call = |end: i32| {
            move |g: &mut crate::cpu::reference::testing::Test| {
                mb::slice_update(g.f32(&[6], &X), g.f32(&[2], &[7.0, 8.0]), [1], g.i32(&[1], &[end]))
            }
        };
        close(&run(call(3)), &[6], &[1.0, 7.0, 8.0, 4.0, 5.0, 6.0], 0.0);
        fails(call(4), "`update` must be Tensor<f32, 3>");
        fails(call(-5), "takes nothing");
    }
}
