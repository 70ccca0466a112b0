//! Transposed convolutions with constant weights, on the matrix kernel.
//!
//! Outputs whose places have one remainder modulo the strides are reached by the same taps: they are a plain convolution of stride 1 over the
//! input with those taps alone, whose results lie a stride apart. So each remainder is one product, and nothing is added up in memory.

use mil_core::{ir::ValueId, op::Op, ops::conv::ConvTranspose};

use super::{
    super::{
        build::{Builder, Joined, Producer, Want},
        nodes::Node,
        stage::Stage,
        step::{Machine, Work},
        tensor::{Layout, Tensor},
    },
    epilogue::{Can, Ending},
    matrices::Matrices,
    weight::Weight,
};
use crate::cpu::{
    kernels::{gemm::Gemm, offsets::Offsets, panels::Source},
    reference::window::Axis,
};

/// How many products one op may become.
const MOST_PRODUCTS: usize = 1024;

/// One dimension: its places are those of the input, it is as large as the output.
trait Transposed {
    /// The taps that reach outputs of a remainder of `place + pad`, the last one first: then they are read in the order of memory.
    fn taps(&self, remainder: usize) -> Vec<usize>;
    /// The outputs of a remainder: the first, and how many.
    fn outputs(&self, remainder: usize) -> (usize, usize);
    /// Which element of the input a tap takes to the first output of its remainder; each next output takes the next.
    fn source(&self, remainder: usize, tap: usize) -> i64;
    /// What is read beyond the input, before and after.
    fn beyond(&self) -> (usize, usize);
}

impl Transposed for Axis {
    fn taps(&self, remainder: usize) -> Vec<usize> {
        (0..self.kernel).rev().filter(|k| k * self.dilation % self.stride == remainder).collect()
    }

    fn outputs(&self, remainder: usize) -> (usize, usize) {
        let first = (remainder + self.stride - self.pad[0] % self.stride) % self.stride;
        (first, self.size.saturating_sub(first).div_ceil(self.stride))
    }

    fn source(&self, remainder: usize, tap: usize) -> i64 {
        let (first, _) = self.outputs(remainder);
        // A multiple of the stride.
        ((first + self.pad[0]) as i64 - (tap * self.dilation) as i64) / self.stride as i64
    }

    fn beyond(&self) -> (usize, usize) {
        let (mut low, mut high) = (0, 0);
        for remainder in 0..self.stride {
            let (_, count) = self.outputs(remainder);
            for tap in self.taps(remainder).into_iter().filter(|_| count > 0) {
                let first = self.source(remainder, tap);
                low = low.min(first);
                high = high.max(first + count as i64 - self.places as i64);
            }
        }
        (low.unsigned_abs() as usize, high as usize)
    }
}

/// The axes; `None` if the op is empty, if it would become too many products, or if margins would be mostly memory.
fn axes(node: &Node, op: &ConvTranspose) -> Option<Vec<Axis>> {
    let (x, w, out) = (op.x.ty.shape.fixed()?, op.weight.ty.shape.fixed()?, &node.types[0].1);
    if x.iter().chain(&w).chain(out).any(|d| *d == 0) || x.len() != out.len() || x.len() != w.len() {
        return None;
    }
    let axes = Axis::three(&out[2..], &x[2..], &w[2..], &op.strides, &op.dilations, op.pad_type, &op.pad);
    let axes = axes[5 - x.len()..].to_vec();
    // Before anything is counted by places: a stride or a window may be far larger than the output.
    let groups = usize::try_from(op.groups).ok()?;
    let products = axes.iter().try_fold(groups, |n, a| n.checked_mul(a.stride))?;
    if products > MOST_PRODUCTS || axes.iter().any(|a| a.kernel > 1 << 12) {
        return None;
    }
    let sized = axes.iter().map(|a| (a.places, a.beyond()));
    super::are_worth_it(sized, axes.iter().map(|a| a.size.max(a.places)).product()).then_some(axes)
}

/// What a transposed convolution wants around its input.
pub(super) fn wanted_margins(b: &Builder<'_>, node: &Node, value: ValueId) -> Option<Vec<(usize, usize)>> {
    let op = ConvTranspose::bind(&node.args).ok()?;
    if op.x.id != Some(value) || !super::is_float(op.x.dtype()) {
        return None;
    }
    b.is_constant(&op.weight).then_some(())?;
    Some(axes(node, &op)?.iter().map(Axis::beyond).collect())
}

/// A transposed convolution with constant weights.
pub(super) fn conv_transpose(b: &mut Builder<'_>, node: &Node) -> Option<()> {
    let op = ConvTranspose::bind(&node.args).ok()?;
    let x = op.x.id?;
    let axes = axes(node, &op)?;
    let weight = Weight::of(b, &op.weight)?;
    let bias = super::numbers(b, &op.bias)?;
    let groups = usize::try_from(op.groups).ok()?;
    let producer = TransposeProducer { x, axes, weight, bias, groups };
    b.pend_new(node, Box::new(producer));
    Some(())
}

struct TransposeProducer {
    x: ValueId,
    /// The spatial dimensions.
    axes: Vec<Axis>,
    weight: Weight,
    bias: Option<Vec<f32>>,
    groups: usize,
}

/// What reaches the outputs of one remainder.
struct Phase {
    /// Where the taps begin in a row, from the first on.
    runs: Offsets,
    len: usize,
    /// Per group.
    calls: Vec<(Offsets, Offsets)>,
}

struct Products {
    phases: Vec<Phase>,
    /// By phase, then by group.
    matrices: Matrices,
    ending: Ending,
}

impl Work for Products {
    fn run(&self, m: Machine<'_>, out: &mut [f32], inputs: &[&[f32]]) {
        let matrices = self.matrices.get(m);
        let mut panels = matrices.iter();
        for phase in &self.phases {
            for (group, (rows, y_rows)) in phase.calls.iter().enumerate() {
                let Some(w) = panels.next() else { return };
                let epilogue = self.ending.epilogue(group, inputs);
                let (rows, y_rows) = (rows.rows(), y_rows.rows());
                Gemm { x: inputs[0], rows, runs: &phase.runs, len: phase.len, w, y_rows, epilogue }
                    .run(m.isa, m.threads, out);
            }
        }
    }
}

/// All ways to take one of each.
fn each<T: Copy>(lists: &[Vec<T>]) -> Vec<Vec<T>> {
    lists.iter().fold(vec![vec![]], |all, list| {
        all.into_iter().flat_map(|start| list.iter().map(move |v| [&start[..], &[*v]].concat())).collect()
    })
}

impl TransposeProducer {
    /// The remainders, one per dimension each.
    fn remainders(&self) -> Vec<Vec<usize>> {
        each(&self.axes.iter().map(|a| (0..a.stride).collect()).collect::<Vec<_>>())
    }

    /// The taps of a remainder, one per dimension each.
    fn taps(&self, remainder: &[usize]) -> Vec<Vec<usize>> {
        each(&self.axes.iter().zip(remainder).map(|(a, r)| a.taps(*r)).collect::<Vec<_>>())
    }

    /// The weights `[I, O, taps]` in panels, those of each remainder and group for themselves; rows by tap and then by channel.
    fn matrices(&self, b: &Builder<'_>) -> Option<Matrices> {
        let (shape, groups) = (self.weight.shape(), self.groups);
        let (inner, outputs) = (shape[0] / groups, shape[1]);
        let all: usize = shape[2..].iter().product();
        let source = Source { inner, tap: inner * outputs, row: outputs, column: 1 };
        let place = |taps: &Vec<usize>| taps.iter().zip(&shape[2..]).fold(0, |at, (k, size)| at * size + k);
        let places = |remainder: &Vec<usize>| self.taps(remainder).iter().map(place).collect();
        let taps: Vec<Vec<usize>> = self.remainders().iter().map(places).collect();
        let steps: Vec<_> = self.axes.iter().map(|a| (a.stride, a.dilation)).collect();
        Matrices::of(b, &self.weight, format!("conv_transpose in {groups} by {steps:?}"), move |weight, by| {
            let elements = weight.elements(1)?;
            let mut panels = vec![];
            for taps in &taps {
                for g in 0..groups {
                    // By tap, then by input channel, then by output channel.
                    let pairs = g * inner * outputs..(g + 1) * inner * outputs;
                    let places = taps.iter().flat_map(|tap| pairs.clone().map(move |pair| pair * all + tap));
                    panels.push(elements.gathered(places).panels(by, (taps.len() * inner, outputs), (0, 0), source));
                }
            }
            Some(panels)
        })
    }

    /// The products of one remainder.
    fn phase(&self, x: &Tensor, to: &Tensor, remainder: &[usize]) -> Option<Phase> {
        let (inner, outputs) = (self.weight.shape()[0] / self.groups, self.weight.shape()[1]);
        let taps = self.taps(remainder);
        let source = |taps: &[usize]| -> i64 {
            let along = |(d, tap): (usize, &usize)| self.axes[d].source(remainder[d], *tap) * x.strides[d + 2] as i64;
            taps.iter().enumerate().map(along).sum()
        };
        let places: Vec<i64> = taps.iter().map(|t| source(t)).collect();
        let first = places.iter().min().copied().unwrap_or(0);
        // The margins are there, so that nothing begins before the buffer.
        let empty = self.axes.iter().zip(remainder).any(|(a, r)| a.outputs(*r).1 == 0);
        let start = if empty { 0 } else { usize::try_from(x.offset as i64 + first).ok()? };
        let mut runs: Vec<usize> = places.iter().map(|p| (p - first) as usize).collect();
        let mut len = inner;
        // Taps that all lie beside each other in memory are one run.
        let beside = |w: &[usize]| w[1] == w[0] + inner;
        if runs.len() > 1 && runs[0] == 0 && self.groups == 1 && runs.windows(2).all(beside) {
            len = inner * runs.len();
            runs = vec![0];
        }
        // Without taps there is nothing but the bias.
        let start = if runs.is_empty() { 0 } else { start };
        let (mut rows, mut y_rows) = (vec![start], vec![to.offset]);
        let spans = [(x.shape[0], x.strides[0], to.strides[0], 0)].into_iter();
        let spans = spans.chain(self.axes.iter().enumerate().map(|(d, a)| {
            let (first, count) = a.outputs(remainder[d]);
            (count, x.strides[d + 2], a.stride * to.strides[d + 2], first * to.strides[d + 2])
        }));
        for (count, from, step, offset) in spans {
            let from = if runs.is_empty() { 0 } else { from };
            rows = rows.into_iter().flat_map(|o| (0..count).map(move |i| o + i * from)).collect();
            y_rows = y_rows.into_iter().flat_map(|o| (0..count).map(move |i| o + offset + i * step)).collect();
        }
        let offsets = |at: &[usize], more: usize| Offsets::new(at.iter().map(|o| o + more));
        let channels = if runs.is_empty() { 0 } else { inner };
        let call = |g: usize| Some((offsets(&rows, g * channels)?, offsets(&y_rows, g * outputs)?));
        let calls = (0..self.groups).map(call).collect::<Option<_>>()?;
        Some(Phase { runs: Offsets::new(runs)?, len, calls })
    }
}

impl Producer for TransposeProducer {
    fn layout(&self, _: &mut Builder<'_>, shape: &[usize]) -> Layout {
        Layout::channels_last(shape.len())
    }

    fn innermost(&self, _: &[usize]) -> Option<usize> {
        Some(1)
    }

    fn emit(self: Box<Self>, b: &mut Builder<'_>, to: &Tensor, joined: &Joined) -> Option<Vec<Stage>> {
        let margins: Vec<(usize, usize)> = self.axes.iter().map(Axis::beyond).collect();
        let x = b.tensor(self.x, &Want::ChannelsLast(margins))?;
        let matrices = self.matrices(b)?;
        // What is added lies in another order: that is left to a chain.
        let can = Can { groups: self.groups, add: false, then: true };
        let (ending, rest) = Ending::of(b, joined, to, 1, self.bias.as_deref(), can);
        let phases = self.remainders().iter().map(|r| self.phase(&x, to, r)).collect::<Option<_>>()?;
        let kernel: Vec<String> = self.axes.iter().map(|a| a.kernel.to_string()).collect();
        let mut reads = vec![x.buffer];
        reads.extend(ending.reads());
        let work = Products { phases, matrices, ending };
        b.kernel(joined, format!("conv transpose {}", kernel.join("x")), to, reads, work);
        Some(rest)
    }
}

#[cfg(test)]
mod tests {
    use mil_core::{mb, types::DType};
    use proptest::prelude::*;

    use super::super::super::testing::{Case, rounding};

    #[derive(Clone, Debug)]
    struct Spatial {
        size: usize,
        kernel: usize,
        stride: i64,
        dilation: i64,
        pad: (i64, i64),
        more: i64,
    }

    fn spatial() -> impl Strategy<Value = Spatial> {
        (1usize..6, 1usize..5, 1i64..4, 1i64..4, (0i64..4, 0i64..4), 0i64..3).prop_map(
            |(size, kernel, stride, dilation, pad, more)| Spatial { size, kernel, stride, dilation, pad, more },
        )
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn every_way(
            dims in prop::collection::vec(spatial(), 1..4), batch in 1usize..3, channels in (1usize..4, 1usize..4, 1usize..4), pads in 0usize..4,
            bias in any::<bool>(), after in 0usize..4, half in any::<bool>(), seed in any::<u64>(),
        ) {
            let dtype = if half { DType::F16 } else { DType::F32 };
            let (groups, inputs, outputs) = channels;
            let mut dims = dims;
            for d in &mut dims {
                let full = (d.size as i64 - 1) * d.stride + (d.kernel as i64 - 1) * d.dilation + 1;
                if d.pad.0 + d.pad.1 >= full {
                    d.pad = (0, 0);
                }
            }
            let mut c = Case::new(seed);
            let shape: Vec<usize> = [batch, groups * inputs].into_iter().chain(dims.iter().map(|d| d.size)).collect();
            let weights: Vec<usize> = [groups * inputs, outputs].into_iter().chain(dims.iter().map(|d| d.kernel)).collect();
            let (x, w) = (c.input(dtype, &shape), c.constant(dtype, &weights));
            let x = c.graph.push(mb::relu(&x)).unwrap();
            let mut call = mb::conv_transpose(&x, &w).groups(groups as i64);
            call = call.strides(dims.iter().map(|d| d.stride as i32).collect::<Vec<_>>());
            call = call.dilations(dims.iter().map(|d| d.dilation as i32).collect::<Vec<_>>());
            if bias {
                let bias = c.constant(dtype, &[groups * outputs]);
                call = call.bias(&bias);
            }
            call = match pads {
                0 => call.pad_type("same"),
                1 => call.pad_type("valid"),
                _ => call.pad_type("custom").pad(dims.iter().flat_map(|d| [d.pad.0 as i32, d.pad.1 as i32]).collect::<Vec<_>>()),
            };
            if pads == 3 {
                let full = |d: &Spatial| {
                    (d.size as i64 - 1) * d.stride + (d.kernel as i64 - 1) * d.dilation + 1 - d.pad.0 - d.pad.1 + d.more.min(d.stride - 1)
                };
                let all: Vec<i32> = [batch as i32, (groups * outputs) as i32].into_iter().chain(dims.iter().map(|d| full(d) as i32)).collect();
                call = call.output_shape(all);
            }
            let mut y = c.graph.push(call).unwrap();
            match after {
                1 => y = c.graph.push(mb::relu(&y)).unwrap(),
                2 => {
                    let scale = c.constant(dtype, &[1]);
                    y = c.graph.push(mb::mul(&y, &scale)).unwrap();
                    y = c.graph.push(mb::add(&y, 0.5)).unwrap();
                }
                3 => {
                    let first = y;
                    let other = c.graph.push(mb::abs(&first)).unwrap();
                    y = c.graph.push(mb::add(&first, &other)).unwrap();
                }
                _ => {}
            }
            c.agrees(vec![y], 4.0 * rounding(dtype), &[]).unwrap();
        }
    }

    /// Of one weight with other strides another form is packed.
    #[test]
    fn one_weight_twice() {
        let mut c = Case::new(7);
        let x = c.input(DType::F32, &[1, 17, 4, 4]);
        let w = c.constant(DType::F32, &[17, 18, 2, 2]);
        let y = c.graph.push(mb::conv_transpose(&x, &w)).unwrap();
        let z = c.graph.push(mb::conv_transpose(&x, &w).strides([2, 2])).unwrap();
        c.agrees(vec![y, z], 1e-5, &[]).unwrap();
    }
}
