//! The lowerings, a file per concept. Each file lists its ops in `OPS`.

use std::{collections::HashMap, sync::LazyLock};

use super::node::{Lowered, Node};

mod activation;
mod attention;
mod bitwise;
mod cast;
mod col2im;
mod compare;
mod control;
mod conv;
mod determinant;
mod dropout;
mod einsum;
mod elementwise_binary;
mod elementwise_unary;
mod gather;
mod generate;
mod join;
mod loss;
mod matmul;
mod ngrams;
mod non_maximum_suppression;
mod norm;
mod pad;
mod pool;
mod quantize;
mod quantized_product;
mod rearrange;
mod recurrent;
mod recurrent_step;
mod reduce;
mod refused;
mod resize;
mod resize_axis;
mod rounds;
mod sample;
mod scatter;
mod sequence;
mod shape;
mod slice;
mod softmax;
mod sort;
mod spectral;
mod window;

/// How an op of `ai.onnx` is lowered.
pub(super) type Entry = crate::import::Entry<fn(&mut Node<'_, '_>) -> Lowered>;

/// The lists of all files.
const FILES: &[&[Entry]] = &[
    activation::OPS,
    attention::OPS,
    bitwise::OPS,
    cast::OPS,
    col2im::OPS,
    compare::OPS,
    control::OPS,
    conv::OPS,
    determinant::OPS,
    dropout::OPS,
    einsum::OPS,
    elementwise_binary::OPS,
    elementwise_unary::OPS,
    gather::OPS,
    generate::OPS,
    join::OPS,
    loss::OPS,
    matmul::OPS,
    ngrams::OPS,
    non_maximum_suppression::OPS,
    norm::OPS,
    pad::OPS,
    pool::OPS,
    quantize::OPS,
    quantized_product::OPS,
    rearrange::OPS,
    recurrent::OPS,
    reduce::OPS,
    resize::OPS,
    scatter::OPS,
    sequence::OPS,
    sample::OPS,
    shape::OPS,
    slice::OPS,
    softmax::OPS,
    sort::OPS,
    spectral::OPS,
];

/// All ops, in the order of the files.
pub(super) fn all() -> impl Iterator<Item = &'static Entry> {
    FILES.iter().copied().flatten()
}

/// The lowering of an op.
pub(super) fn find(name: &str) -> Option<&'static Entry> {
    static BY_NAME: LazyLock<HashMap<&str, &Entry>> = LazyLock::new(|| all().map(|e| (e.name, e)).collect());
    BY_NAME.get(name).copied()
}

/// What to do about an op of `ai.onnx` that MIL cannot say.
pub(super) fn way_out(name: &str) -> Option<&'static str> {
    refused::OPS.iter().find(|(op, _)| *op == name).map(|(_, way)| *way)
}

/// The ops of `ai.onnx` that MIL cannot say.
pub(super) fn refused() -> &'static [(&'static str, &'static str)] {
    refused::OPS
}
