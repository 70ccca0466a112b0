//! Convolutions with constant weights, on the matrix kernel.

use mil_core::{ir::ValueId, op::Op, ops::conv::Conv, types::DType};

use super::{
    super::{
        build::{Builder, Joined, Producer, Want},
        nodes::Node,
        stage::Stage,
        step::{Machine, Work},
        tensor::{Layout, Tensor},
    },
    depthwise,
    epilogue::{Can, Ending},
    matrices::Matrices,
    weight::Weight,
    winograd,
};
use crate::cpu::{
    kernels::{gemm::Gemm, offsets::Offsets, panels::Source},
    reference::window,
};

pub(super) use window::Axis;

/// The axes of a convolution; `None` if it is empty, or its windows are so much larger than what they lie on that margins would be mostly memory.
fn axes(node: &Node, op: &Conv) -> Option<Vec<Axis>> {
    let (x, w, out) = (op.x.ty.shape.fixed()?, op.weight.ty.shape.fixed()?, &node.types[0].1);
    if x.iter().chain(&w).chain(out).any(|d| *d == 0) {
        return None;
    }
    let (places, kernels) = (&out[2..], &w[2..]);
    let axes = Axis::three(&x[2..], places, kernels, &op.strides, &op.dilations, op.pad_type, &op.pad);
    let axes = axes[5 - x.len()..].to_vec();
    let sized = axes.iter().map(|a| (a.size, a.margins()));
    super::are_worth_it(sized, axes.iter().map(|a| a.size.max(a.places)).product()).then_some(axes)
}

/// What a convolution wants around its input.
pub(super) fn wanted_margins(b: &Builder<'_>, node: &Node, value: ValueId) -> Option<Vec<(usize, usize)>> {
    let op = Conv::bind(&node.args).ok()?;
    if op.x.id != Some(value) || !matches!(op.x.dtype(), DType::F32 | DType::F16) {
        return None;
    }
    b.is_constant(&op.weight).then_some(())?;
    let axes = axes(node, &op)?;
    let (channels, inputs) = (op.weight.ty.shape.fixed()?[0], op.weight.ty.shape.fixed()?[1]);
    let fast = winograd::is_fast(b, &axes, channels, inputs, op.groups == 1, node.types[0].0);
    Some(if fast { winograd::margins(&axes) } else { axes.iter().map(Axis::margins).collect() })
}

/// A convolution with constant weights.
pub(super) fn conv(b: &mut Builder<'_>, node: &Node) -> Option<()> {
    let op = Conv::bind(&node.args).ok()?;
    let x = op.x.id?;
    let axes = axes(node, &op)?;
    let weight = Weight::of(b, &op.weight)?;
    let bias = super::numbers(b, &op.bias)?;
    let groups = usize::try_from(op.groups).ok()?;
    let producer = ConvProducer { x, axes, weight, bias, groups };
    b.pend_new(node, Box::new(producer));
    Some(())
}

/// A convolution that has yet to be emitted.
pub(super) struct ConvProducer {
    pub(super) x: ValueId,
    /// The spatial dimensions.
    pub(super) axes: Vec<Axis>,
    pub(super) weight: Weight,
    pub(super) bias: Option<Vec<f32>>,
    pub(super) groups: usize,
}

/// One product per group of channels.
struct Products {
    calls: Vec<Product>,
    runs: Offsets,
    len: usize,
    matrices: Matrices,
    ending: Ending,
}

struct Product {
    rows: Offsets,
    y_rows: Offsets,
}

impl Work for Products {
    fn run(&self, m: Machine<'_>, out: &mut [f32], inputs: &[&[f32]]) {
        let panels = self.matrices.get(m);
        for (group, call) in self.calls.iter().enumerate() {
            let gemm = Gemm {
                x: inputs[0],
                rows: call.rows.rows(),
                runs: &self.runs,
                len: self.len,
                w: &panels[group],
                y_rows: call.y_rows.rows(),
                epilogue: self.ending.epilogue(group, inputs),
            };
            gemm.run(m.isa, m.threads, out);
        }
    }
}

impl ConvProducer {
    /// The weights `[O, I, taps]` in panels, rows by tap and then by channel.
    fn matrices(&self, b: &Builder<'_>) -> Option<Matrices> {
        let (shape, groups) = (self.weight.shape(), self.groups);
        let (outputs, inner) = (shape[0] / groups, shape[1]);
        let taps: usize = shape[2..].iter().product();
        let source = Source { inner, tap: 1, row: taps, column: inner * taps };
        let (k, len) = (inner * taps, outputs * inner * taps);
        Matrices::of(b, &self.weight, format!("conv in {groups}"), move |weight, by| {
            let elements = weight.elements(0)?;
            let one = |g: usize| elements.panels(by, (k, outputs), (g * len, g * outputs), source);
            Some((0..groups).map(one).collect())
        })
    }

    /// Where the first window begins in the buffer. Margins are there, so that it does not begin before the buffer.
    pub(super) fn first_window(&self, x: &Tensor) -> usize {
        x.offset - self.axes.iter().enumerate().map(|(i, a)| a.pad[0] * x.strides[i + 2]).sum::<usize>()
    }

    /// Where the windows begin in the buffer, image by image.
    fn windows(&self, x: &Tensor) -> Vec<usize> {
        let mut at = vec![self.first_window(x)];
        let along = self.axes.iter().enumerate().map(|(i, a)| (a.places, a.stride * x.strides[i + 2]));
        for (places, stride) in [(x.shape[0], x.strides[0])].into_iter().chain(along) {
            at = at.into_iter().flat_map(|o| (0..places).map(move |p| o + p * stride)).collect();
        }
        at
    }
}

impl Producer for ConvProducer {
    fn layout(&self, _: &mut Builder<'_>, shape: &[usize]) -> Layout {
        Layout::channels_last(shape.len())
    }

    fn innermost(&self, _: &[usize]) -> Option<usize> {
        Some(1)
    }

    fn emit(self: Box<Self>, b: &mut Builder<'_>, to: &Tensor, joined: &Joined) -> Option<Vec<Stage>> {
        let mut margins: Vec<(usize, usize)> = self.axes.iter().map(Axis::margins).collect();
        if winograd::fits(&self, b, joined, to) {
            margins = winograd::margins(&self.axes);
        }
        let x = b.tensor(self.x, &Want::ChannelsLast(margins))?;
        if depthwise::fits(&self) {
            return depthwise::emit(&self, b, &x, to, joined);
        }
        if winograd::fits(&self, b, joined, to) {
            return winograd::emit(&self, b, &x, to, joined);
        }
        let matrices = self.matrices(b)?;
        let (inner, outputs, rank) = (self.weight.shape()[1], to.shape[1], x.rank());
        let (ending, rest) =
            Ending::of(b, joined, to, 1, self.bias.as_deref(), Can { groups: self.groups, add: true, then: true });
        let windows = self.windows(&x);
        // Taps beside each other in memory are one run.
        let last = self.axes[rank - 3];
        let beside = last.kernel == 1 || (last.dilation == 1 && x.strides[rank - 1] == inner);
        let joins = self.groups == 1 && beside;
        let (mut runs, len) = (vec![0], if joins { last.kernel * inner } else { inner });
        for (i, axis) in self.axes.iter().enumerate() {
            let taps = if joins && i == rank - 3 { 1 } else { axis.kernel };
            let stride = axis.dilation * x.strides[i + 2];
            runs = runs.into_iter().flat_map(|o| (0..taps).map(move |k| o + k * stride)).collect();
        }
        let y_rows = to.offsets(&[1]);
        let offsets = |at: &[usize], more: usize| Offsets::new(at.iter().map(|o| o + more));
        let call = |g: usize| {
            let (rows, y_rows) = (offsets(&windows, g * inner)?, offsets(&y_rows, g * outputs / self.groups)?);
            Some(Product { rows, y_rows })
        };
        let calls = (0..self.groups).map(call).collect::<Option<Vec<_>>>()?;
        let kernel: Vec<String> = self.axes.iter().map(|a| a.kernel.to_string()).collect();
        let mut reads = vec![x.buffer];
        reads.extend(ending.reads());
        let work = Products { calls, runs: Offsets::new(runs)?, len, matrices, ending };
        b.kernel(joined, format!("conv {}", kernel.join("x")), to, reads, work);
        Some(rest)
    }
}

#[cfg(test)]
mod tests {
    use mil_core::{mb, types::DType};

    use super::super::super::testing::Case;

    /// Of one weight another form is packed for other groups.
    #[test]
    fn one_weight_in_other_groups() {
        let mut c = Case::new(3);
        let w = c.constant(DType::F32, &[6, 2, 3, 3]);
        let (x, y) = (c.input(DType::F32, &[1, 2, 4, 4]), c.input(DType::F32, &[1, 4, 4, 4]));
        let x = c.graph.push(mb::conv(&x, &w)).unwrap();
        let y = c.graph.push(mb::conv(&y, &w).groups(2)).unwrap();
        c.agrees(vec![x, y], 1e-5, &[]).unwrap();
    }
}
