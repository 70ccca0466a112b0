//! Convolutions of each channel by itself.

use std::sync::Arc;

use super::{
    super::{
        build::{Builder, Joined},
        stage::Stage,
        step::{Machine, Work},
        tensor::Tensor,
    },
    Packed,
    conv::ConvProducer,
    epilogue::{Can, Ending},
};
use crate::cpu::kernels::depthwise::{Depthwise, pack};

struct Channels {
    conv: Depthwise,
    /// Where the first window and the first output pixel begin.
    first: [usize; 2],
    weights: Arc<[f32]>,
    ending: Ending,
}

impl Work for Channels {
    fn run(&self, m: Machine<'_>, out: &mut [f32], inputs: &[&[f32]]) {
        let (x, out) = (&inputs[0][self.first[0]..], &mut out[self.first[1]..]);
        self.conv.run(m.isa, m.threads, x, &self.weights, &self.ending.epilogue(0, inputs), out);
    }
}

/// Whether each group has one input channel.
pub(super) fn fits(conv: &ConvProducer) -> bool {
    conv.groups > 1 && conv.weight.shape()[1] == 1
}

/// Emits the convolution.
pub(super) fn emit(
    conv: &ConvProducer,
    b: &mut Builder<'_>,
    x: &Tensor,
    to: &Tensor,
    joined: &Joined,
) -> Option<Vec<Stage>> {
    let channels = to.shape[1];
    let make = || Some(Packed::Depthwise(pack(&conv.weight.dense()?.to_f32().ok()?, channels).into()));
    let packed = b.planner.packed(conv.weight.id, "depthwise", make)?;
    let Packed::Depthwise(weights) = packed else { unreachable!("packed under another name") };
    let (ending, rest) = Ending::of(b, joined, to, 1, conv.bias.as_deref(), Can { groups: 1, add: true, then: false });
    let rank = x.rank();
    // Batch, depth, height, width.
    let four = |t: &Tensor, stride: bool| {
        let of = |d: usize| if stride { t.strides[d] } else { t.shape[d] };
        let mut four = [1; 4];
        four[0] = of(0);
        (2..rank).for_each(|d| four[d + 4 - rank] = of(d));
        four
    };
    let three = |f: fn(&super::conv::Axis) -> usize| {
        let mut three = [1; 3];
        conv.axes.iter().enumerate().for_each(|(i, a)| three[i + 5 - rank] = f(a));
        three
    };
    let depthwise = Depthwise {
        channels,
        multiplier: channels / conv.groups,
        kernel: three(|a| a.kernel),
        dilation: three(|a| a.dilation),
        stride: three(|a| a.stride),
        size: four(to, false),
        input: four(x, true),
        output: four(to, true),
    };
    let kernel: Vec<String> = conv.axes.iter().map(|a| a.kernel.to_string()).collect();
    let mut reads = vec![x.buffer];
    reads.extend(ending.reads());
    let work = Channels { conv: depthwise, first: [conv.first_window(x), to.offset], weights, ending };
    b.kernel(joined, format!("depthwise {}", kernel.join("x")), to, reads, work);
    Some(rest)
}
