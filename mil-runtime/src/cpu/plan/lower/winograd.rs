//! Convolutions by 3x3 kernels with fewer multiplications, where that is allowed and worth it.

use std::cell::RefCell;

use mil_core::types::DType;

use super::{
    super::{
        build::{Builder, Joined},
        stage::Stage,
        step::{Machine, Work},
        tensor::Tensor,
    },
    conv::{Axis, ConvProducer},
    epilogue::{Can, Ending},
    matrices::Matrices,
};
use crate::cpu::{
    kernels::{
        aligned::Aligned,
        epilogue::Epilogue,
        gemm::Gemm,
        offsets::Offsets,
        panels::{Panels, Source},
        threads::Threads,
        winograd::{PLANES, Winograd, weights},
    },
    options::Numerics,
};

/// With fewer tiles, reading the weights, of which there are 16/9 times as many, takes longer than multiplying by them.
const LEAST_TILES: usize = 32;

/// In f16 transformed weights take 3.6 times the memory that they have in the model: too much where there are many.
const MOST_WEIGHTS_OF_F16: usize = 256 * 256;

/// Whether a convolution is computed so: two spatial dimensions, 3x3, stride 1, and channels enough that the products outweigh the
/// transforms.
pub(super) fn is_fast(
    b: &Builder<'_>,
    axes: &[Axis],
    outputs: usize,
    inputs: usize,
    whole: bool,
    dtype: DType,
) -> bool {
    let plain = |a: &Axis| a.kernel == 3 && a.stride == 1 && a.dilation == 1 && a.places >= 2;
    b.planner.numerics == Numerics::Fast
        && (dtype == DType::F32 || inputs * outputs <= MOST_WEIGHTS_OF_F16)
        && whole
        && axes.len() == 2
        && axes.iter().all(plain)
        && inputs >= 32
        && outputs >= 32
        && axes.iter().map(|a| a.places.div_ceil(2)).product::<usize>() >= LEAST_TILES
}

/// The same of a convolution that is emitted.
pub(super) fn fits(conv: &ConvProducer, b: &Builder<'_>, joined: &Joined, to: &Tensor) -> bool {
    is_fast(b, &conv.axes, to.shape[1], conv.weight.shape()[1], conv.groups == 1, joined.dtype)
}

/// What is read beyond the input: tiles may hang over.
pub(super) fn margins(axes: &[Axis]) -> Vec<(usize, usize)> {
    let margin = |a: &Axis| (a.pad[0], (Winograd::reach(a.places)).saturating_sub(a.pad[0] + a.size));
    axes.iter().map(margin).collect()
}

struct Tiles {
    winograd: Winograd,
    /// Where the first window and the first output pixel begin.
    first: [usize; 2],
    matrices: Matrices,
    /// Rows of the planes, as many as a block may have.
    rows: [Offsets; 2],
    runs: Offsets,
    ending: Ending,
}

thread_local! {
    /// The planes of a block, kept from run to run.
    static PLANES_OF_A_BLOCK: RefCell<Aligned> = RefCell::default();
}

impl Work for Tiles {
    fn run(&self, m: Machine<'_>, out: &mut [f32], inputs: &[&[f32]]) {
        let (x, out) = (&inputs[0][self.first[0]..], &mut out[self.first[1]..]);
        let (alone, panels) = (Threads::new(1), self.matrices.get(m));
        let product = |plane: usize, x: &[f32], y: &mut [f32], rows: usize| {
            let gemm = Gemm {
                x,
                rows: self.rows[0].first(rows),
                runs: &self.runs,
                len: self.winograd.inputs,
                w: &panels[plane],
                y_rows: self.rows[1].first(rows),
                epilogue: Epilogue::default(),
            };
            gemm.run(m.isa, &alone, y);
        };
        PLANES_OF_A_BLOCK.with_borrow_mut(|scratch| {
            let scratch = scratch.grow(self.winograd.scratch(m.threads.count()));
            let epilogue = self.ending.epilogue(0, inputs);
            self.winograd.run(m.isa, m.threads, x, &epilogue, out, scratch, &product);
        });
    }
}

/// Emits the convolution.
pub(super) fn emit(
    conv: &ConvProducer,
    b: &mut Builder<'_>,
    x: &Tensor,
    to: &Tensor,
    joined: &Joined,
) -> Option<Vec<Stage>> {
    let (inputs, outputs) = (conv.weight.shape()[1], to.shape[1]);
    let matrices = Matrices::of(b, &conv.weight, "winograd", move |weight, by| {
        let dense = weight.dense()?;
        let numbers = dense.to_f32().ok()?;
        let planes = weights(&numbers, outputs, inputs);
        let source = Source { inner: inputs, tap: 0, row: 1, column: inputs };
        let panel = |w: &[f32]| Panels::f32(by, inputs, outputs, w, source);
        Some(planes.chunks_exact(planes.len() / PLANES).map(panel).collect())
    })?;
    let (ending, rest) = Ending::of(b, joined, to, 1, conv.bias.as_deref(), Can { groups: 1, add: true, then: false });
    let three = |stride: bool, t: &Tensor| [0, 2, 3].map(|d| if stride { t.strides[d] } else { t.shape[d] });
    let winograd = Winograd { inputs, outputs, size: three(false, to), input: three(true, x), output: three(true, to) };
    let tiles = to.shape[0] * to.shape[2].div_ceil(2) * to.shape[3].div_ceil(2);
    let rows = |n: usize| Offsets::new((0..tiles).map(|i| i * n));
    let mut reads = vec![x.buffer];
    reads.extend(ending.reads());
    let work = Tiles {
        winograd,
        first: [conv.first_window(x), to.offset],
        matrices,
        rows: [rows(inputs)?, rows(outputs)?],
        runs: Offsets::new([0])?,
        ending,
    };
    b.kernel(joined, "conv 3x3 winograd", to, reads, work);
    Some(rest)
}
