//! Resizing and upsampling.

use mil_core::{
    op::{Arg, Op},
    ops::{
        resize::{InterpolationMode, Resize, ResizeBilinear, ResizeNearestNeighbor, SamplingMode},
        upsample::{UpsampleBilinear, UpsampleNearestNeighbor},
    },
    types::DType,
};

use super::{
    super::{
        build::{Builder, Joined, Want},
        nodes::Node,
        step::{Machine, Work},
        tensor::{Layout, Tensor},
    },
    pick::pick,
};
use crate::cpu::{
    kernels::{
        interpolate::{Interpolate, Point},
        view,
    },
    reference::resize::{moving, nearest_place, samples},
};

/// Plans a resize.
pub(super) fn lower(b: &mut Builder<'_>, node: &Node) -> Option<()> {
    let args = &node.args;
    match args.def.name {
        "upsample_nearest_neighbor" => {
            let op = UpsampleNearestNeighbor::bind(args).ok()?;
            nearest(b, node, &op.x, |i, size, new| i * size / new)
        }
        "resize_nearest_neighbor" => {
            nearest_point(b, node, &ResizeNearestNeighbor::bind(args).ok()?.x, SamplingMode::UnalignCorners)
        }
        "upsample_bilinear" => {
            let op = UpsampleBilinear::bind(args).ok()?;
            linear(b, node, &op.x, op.sampling_mode())
        }
        "resize_bilinear" => {
            let op = ResizeBilinear::bind(args).ok()?;
            linear(b, node, &op.x, op.sampling_mode)
        }
        "resize" => {
            let op = Resize::bind(args).ok()?;
            match (op.interpolation_mode, op.sampling_mode) {
                (InterpolationMode::Linear, mode) => linear(b, node, &op.x, mode),
                (InterpolationMode::NearestNeighbor, SamplingMode::Default) => {
                    nearest_point(b, node, &op.x, SamplingMode::UnalignCorners)
                }
                (InterpolationMode::NearestNeighbor, mode) => nearest_point(b, node, &op.x, mode),
            }
        }
        _ => None,
    }
}

fn nearest_point(b: &mut Builder<'_>, node: &Node, x: &Arg, mode: SamplingMode) -> Option<()> {
    nearest(b, node, x, |i, size, new| nearest_place(mode, i, size, new))
}

fn nearest(b: &mut Builder<'_>, node: &Node, x: &Arg, place: impl Fn(usize, usize, usize) -> usize) -> Option<()> {
    let (old, new) = (x.ty.shape.fixed()?, &node.types[0].1);
    pick(b, node, x, 0.0, |d, i| Some(if old[d] == new[d] { i } else { place(i, old[d], new[d]) }))
}

struct Interpolated(Interpolate);

impl Work for Interpolated {
    fn run(&self, m: Machine<'_>, out: &mut [f32], inputs: &[&[f32]]) {
        self.0.run(m.isa, m.threads, inputs[0], out);
    }
}

fn linear(b: &mut Builder<'_>, node: &Node, x: &Arg, mode: SamplingMode) -> Option<()> {
    let (dtype, shape) = &node.types[0];
    let mut x = super::input(b, x, &Want::Any)?;
    if shape.contains(&0) {
        return None;
    }
    let axes = moving(&x.shape, shape, mode);
    let natural = Layout { order: x.order(), margins: vec![(0, 0); x.rank()] };
    let joined = Joined { dtype: *dtype, stages: vec![], ops: vec![node.op] };
    for (i, axis) in axes.iter().enumerate() {
        let last = i + 1 == axes.len();
        let points = samples(x.shape[*axis], shape[*axis], mode);
        let points = points.iter().map(|s| Point { low: s.low, high: s.high, part: s.part }).collect();
        let mut sizes = x.shape.clone();
        sizes[*axis] = shape[*axis];
        let layout = if last { b.layout_for(node.outputs[0], natural.clone()) } else { natural.clone() };
        // Too large to count is too large to compute.
        layout.len(&sizes)?;
        let to = b.new_tensor(&sizes, &layout);
        fn of(t: &Tensor) -> view::Layout<'_> {
            view::Layout { offset: t.offset, strides: &t.strides }
        }
        let half = last && *dtype == DType::F16;
        let work = Interpolate::new(&x.shape, *axis, points, of(&x), of(&to), half);
        b.kernel(&joined, "interpolate", &to, vec![x.buffer], Interpolated(work));
        x = to;
    }
    b.set(node, 0, x);
    Some(())
}

#[cfg(test)]
mod tests {
    use mil_core::{mb, types::DType};
    use proptest::prelude::*;

    use super::super::super::testing::{Case, rounding};

    const MODES: [&str; 5] = ["DEFAULT", "ALIGN_CORNERS", "STRICT_ALIGN_CORNERS", "UNALIGN_CORNERS", "OFFSET_CORNERS"];

    proptest! {
        #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn images(
            shape in (1usize..3, 1usize..20, 1usize..7, 1usize..7), to in (1i64..9, 1i64..9), mode in 0usize..5, after_conv in any::<bool>(),
            half in any::<bool>(), seed in any::<u64>(),
        ) {
            let dtype = if half { DType::F16 } else { DType::F32 };
            let mut c = Case::new(seed);
            let mut x = c.input(dtype, &[shape.0, shape.1, shape.2, shape.3]);
            if after_conv {
                // Then it lies channels-last.
                let w = c.constant(dtype, &[shape.1, shape.1, 1, 1]);
                x = c.graph.push(mb::conv(&x, &w)).unwrap();
            }
            let call = mb::resize_bilinear(&x).target_size_height(to.0).target_size_width(to.1).sampling_mode(MODES[mode]);
            let a = c.graph.push(call).unwrap();
            let b = c.graph.push(mb::resize_nearest_neighbor(&x, to.0, to.1)).unwrap();
            let u = mb::upsample_nearest_neighbor(&x).scale_factor_height(2).scale_factor_width(3);
            let u = c.graph.push(u).unwrap();
            let v = mb::upsample_bilinear(&x).scale_factor_height(2).scale_factor_width(1).align_corners(false);
            let v = c.graph.push(v).unwrap();
            c.agrees(vec![a, b, u, v], rounding(dtype), &[]).unwrap();
        }

        #[test]
        fn any_dimensions(
            shape in prop::collection::vec(1usize..6, 1..4), to in prop::collection::vec(1i32..8, 4), some in 1usize..4, mode in 0usize..5,
            nearest in any::<bool>(), half in any::<bool>(), seed in any::<u64>(),
        ) {
            let dtype = if half { DType::F16 } else { DType::F32 };
            let some = some.min(shape.len());
            let mut c = Case::new(seed);
            let x = c.input(dtype, &shape);
            let call = mb::resize(&x, to[..some].to_vec(), some as i64).sampling_mode(MODES[mode]);
            let call = call.interpolation_mode(if nearest { "NEAREST_NEIGHBOR" } else { "LINEAR" });
            let y = c.graph.push(call).unwrap();
            c.agrees(vec![y], rounding(dtype), &[]).unwrap();
        }
    }
}
