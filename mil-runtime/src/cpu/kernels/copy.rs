//! placeholder
use super::{
    view::View,
    simd::Isa,
    threads::Threads,
};
use half::f16;
pub(crate) struct Copy {
    shape: Vec<usize>,
    to: View,
    from: View,
}
impl Copy {
    pub(crate) fn new(shape: &[usize], to: View, from: View) -> Copy {
        Copy { shape: shape.to_vec(), to, from }
    }
    pub(crate) fn run(&self, _: Isa, _: &Threads, out: &mut [f32], x: &[f32]) {
        for (t, f) in places(&self.shape, &self.to).into_iter().zip(places(&self.shape, &self.from)) {
            out[t] = x[f];
        }
    }
}
pub(crate) fn import(_: Isa, _: &Threads, shape: &[usize], to: &View, out: &mut [f32], x: &[f32]) {
    for (t, x) in places(shape, to).into_iter().zip(x) {
        out[t] = *x;
    }
}
pub(crate) fn import_f16(_: Isa, _: &Threads, shape: &[usize], to: &View, out: &mut [f32], x: &[f16]) {
    for (t, x) in places(shape, to).into_iter().zip(x) {
        out[t] = x.to_f32();
    }
}
pub(crate) fn export(_: Isa, _: &Threads, shape: &[usize], from: &View, out: &mut [f32], x: &[f32]) {
    for (f, o) in places(shape, from).into_iter().zip(out) {
        *o = x[f];
    }
}
pub(crate) fn export_f16(_: Isa, _: &Threads, shape: &[usize], from: &View, out: &mut [f16], x: &[f32]) {
    for (f, o) in places(shape, from).into_iter().zip(out) {
        *o = f16::from_f32(x[f]);
    }
}

pub(crate) fn places(shape: &[usize], v: &View) -> Vec<usize> {
    let mut at = vec![v.offset];
    for (n, s) in shape.iter().zip(&v.strides) { at = at.into_iter().flat_map(|o| (0..*n).map(move |i| o + i * s)).collect(); }
    at
}
