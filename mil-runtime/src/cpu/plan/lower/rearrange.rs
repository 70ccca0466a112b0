//! Ops that move elements from one dimension of an image to others: one copy between views of more dimensions.

use mil_core::{
    op::{Arg, Op},
    ops::rearrange::{DepthToSpace, PixelShuffle, PixelUnshuffle, SpaceToDepth},
};

use super::{
    super::{
        build::{Builder, Want},
        nodes::Node,
        tensor::Tensor,
    },
    like,
    pick::split,
};

/// Plans it.
pub(super) fn lower(b: &mut Builder<'_>, node: &Node) -> Option<()> {
    let args = &node.args;
    match args.def.name {
        // Channels `[block row, block column, channel]` become rows and columns.
        "depth_to_space" => {
            let op = DepthToSpace::bind(args).ok()?;
            let (block, channels) = (factor(op.block_size)?, node.types[0].1[1]);
            let parts = |x: Tensor| split(&split(&x, 1, channels), 1, block).transposed(&[0, 3, 4, 1, 5, 2]);
            rearranged(b, node, &op.x, parts, |y| split(&split(&y, 3, block), 2, block))
        }
        "space_to_depth" => {
            let op = SpaceToDepth::bind(args).ok()?;
            let (block, channels) = (factor(op.block_size)?, op.x.dim(1).fixed()?);
            let parts = |x: Tensor| split(&split(&x, 3, block), 2, block);
            rearranged(b, node, &op.x, parts, |y| {
                split(&split(&y, 1, channels), 1, block).transposed(&[0, 3, 4, 1, 5, 2])
            })
        }
        // Channels `[channel, block row, block column]`.
        "pixel_shuffle" => {
            let op = PixelShuffle::bind(args).ok()?;
            let f = factor(op.upscale_factor)?;
            let parts = |x: Tensor| split(&split(&x, 1, f), 1, f).transposed(&[0, 1, 4, 2, 5, 3]);
            rearranged(b, node, &op.x, parts, |y| split(&split(&y, 3, f), 2, f))
        }
        "pixel_unshuffle" => {
            let op = PixelUnshuffle::bind(args).ok()?;
            let f = factor(op.downscale_factor)?;
            let parts = |x: Tensor| split(&split(&x, 3, f), 2, f);
            rearranged(b, node, &op.x, parts, |y| split(&split(&y, 1, f), 1, f).transposed(&[0, 1, 4, 2, 5, 3]))
        }
        _ => None,
    }
}

fn factor(f: i64) -> Option<usize> {
    usize::try_from(f).ok().filter(|f| *f > 0)
}

/// Copies between views of six dimensions: batch, channels, rows, rows of a block, columns, columns of a block.
fn rearranged(
    b: &mut Builder<'_>,
    node: &Node,
    x: &Arg,
    from: impl Fn(Tensor) -> Tensor,
    to: impl Fn(Tensor) -> Tensor,
) -> Option<()> {
    let shape = &node.types[0].1;
    if shape.len() != 4 || x.rank() != 4 || shape.contains(&0) {
        return None;
    }
    let x = super::input(b, x, &Want::Any)?;
    let y = like(b, node, &x);
    let (from, to) = (from(x), to(y.clone()));
    super::moved(b, node, &from, &to, y)
}

#[cfg(test)]
mod tests {
    use mil_core::{mb, types::DType};
    use proptest::prelude::*;

    use super::super::super::testing::Case;

    proptest! {
        #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn blocks(
            n in 1usize..3, c in 1usize..20, h in 1usize..5, w in 1usize..5, f in 1usize..4, turned in any::<bool>(), half in any::<bool>(),
            seed in any::<u64>(),
        ) {
            let dtype = if half { DType::F16 } else { DType::F32 };
            let mut case = Case::new(seed);
            let input = |case: &mut Case, shape: [usize; 4]| {
                if !turned {
                    return case.input(dtype, &shape);
                }
                // Channels-last in memory.
                let x = case.input(dtype, &[shape[0], shape[2], shape[3], shape[1]]);
                case.graph.push(mb::transpose(&x, [0, 3, 1, 2])).unwrap()
            };
            let (deep, wide) = ([n, c * f * f, h, w], [n, c, h * f, w * f]);
            let x = input(&mut case, deep);
            let mut outputs = vec![case.graph.push(mb::pixel_shuffle(&x, f as i64)).unwrap()];
            let x = input(&mut case, wide);
            outputs.push(case.graph.push(mb::pixel_unshuffle(&x, f as i64)).unwrap());
            if f > 1 {
                outputs.push(case.graph.push(mb::space_to_depth(&x, f as i64)).unwrap());
                let x = input(&mut case, deep);
                outputs.push(case.graph.push(mb::depth_to_space(&x, f as i64)).unwrap());
            }
            case.agrees(outputs, 0.0, &[]).unwrap();
        }
    }
}
