//! placeholder
use super::{
    simd::Isa,
    threads::Threads,
    unary::{self, Unary},
};
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) enum Binary {
    Add,
    Sub,
    Mul,
    Div,
    Max,
    Min,
    Pow,
    FloorDiv,
    Mod,
    Prelu,
}
#[derive(Clone, PartialEq, Debug)]
pub(crate) enum Stage {
    Unary(Unary),
    Binary { op: Binary, operand: usize, swapped: bool },
    Half,
}
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct View {
    pub(crate) offset: usize,
    pub(crate) strides: Vec<usize>,
}
pub(crate) struct Chain {
    shape: Vec<usize>,
    out: View,
    input: View,
    operands: Vec<View>,
    stages: Vec<Stage>,
}
pub(crate) fn places(shape: &[usize], v: &View) -> Vec<usize> {
    let mut at = vec![v.offset];
    for (n, s) in shape.iter().zip(&v.strides) {
        at = at.into_iter().flat_map(|o| (0..*n).map(move |i| o + i * s)).collect();
    }
    at
}
impl Chain {
    pub(crate) fn new(shape: &[usize], out: View, input: View, operands: Vec<View>, stages: Vec<Stage>) -> Chain {
        Chain { shape: shape.to_vec(), out, input, operands, stages }
    }
    pub(crate) fn run(&self, isa: Isa, _: &Threads, out: &mut [f32], input: Option<&[f32]>, operands: &[&[f32]]) {
        let (o, i) = (places(&self.shape, &self.out), places(&self.shape, &self.input));
        let mut v: Vec<f32> = i.iter().map(|i| input.unwrap_or(out)[*i]).collect();
        for s in &self.stages {
            match s {
                Stage::Unary(u) => unary::apply(isa, u, &mut v),
                Stage::Half => v.iter_mut().for_each(|v| *v = half::f16::from_f32(*v).to_f32()),
                Stage::Binary { op, operand, swapped } => {
                    let at = places(&self.shape, &self.operands[*operand]);
                    for (v, at) in v.iter_mut().zip(at) {
                        let (a, b) = if *swapped { (operands[*operand][at], *v) } else { (*v, operands[*operand][at]) };
                        *v = match op {
                            Binary::Add => a + b,
                            Binary::Sub => a - b,
                            Binary::Mul => a * b,
                            Binary::Div => a / b,
                            Binary::Max => a.max(b),
                            Binary::Min => a.min(b),
                            Binary::Pow => a.powf(b),
                            Binary::FloorDiv => (a / b).floor(),
                            Binary::Mod => a - b * (a / b).floor(),
                            Binary::Prelu => {
                                if a < 0.0 {
                                    a * b
                                } else {
                                    a
                                }
                            }
                        };
                    }
                }
            }
        }
        for (o, v) in o.into_iter().zip(v) {
            out[o] = v;
        }
    }
}
