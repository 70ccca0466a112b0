//! `pad`, `crop`.

use mil_core::{
    op::Op,
    ops::pad::{Crop, Pad},
    types::Dim,
};

use half::f16;
use mil_core::types::DType;

use super::{
    super::{build::Builder, nodes::Node},
    pick::pick,
};
use crate::cpu::reference::pad::Source;

/// Plans a `pad`.
pub(super) fn pad(b: &mut Builder<'_>, node: &Node) -> Option<()> {
    let op = Pad::bind(&node.args).ok()?;
    let (sizes, amounts) = (op.x.ty.shape.fixed()?, op.pad.known_ints()?);
    let amounts: Vec<Dim> = amounts.into_iter().map(Dim::from).collect();
    let amounts = op.amounts(op.x.shape(), &amounts).ok()?;
    let before: Vec<i64> = amounts.iter().map(|(before, _)| before.value()).collect::<Option<_>>()?;
    let half = node.types[0].0 == DType::F16;
    let fill = if half { f16::from_f32(op.constant_val).to_f32() } else { op.constant_val };
    pick(b, node, &op.x, fill, |d, i| {
        let at = op.mode.source(i as i64 - before[d], sizes[d] as i64)?;
        usize::try_from(at).ok().filter(|at| *at < sizes[d])
    })
}

/// Plans a `crop`: a view.
pub(super) fn crop(b: &mut Builder<'_>, node: &Node) -> Option<()> {
    let op = Crop::bind(&node.args).ok()?;
    let shape = &node.types[0].1;
    let mut t = super::input(b, &op.x, &super::super::build::Want::Any)?;
    for (i, cut) in [&op.crop_height, &op.crop_width].into_iter().enumerate() {
        let axis = shape.len().checked_sub(2)? + i;
        t = t.sliced(axis, usize::try_from(*cut.first()?).ok()?, 1, shape[axis]);
    }
    (t.count() > 0).then(|| b.set(node, 0, t))
}

#[cfg(test)]
mod tests {
    use mil_core::{mb, types::DType};
    use proptest::prelude::*;

    use super::super::super::testing::Case;

    proptest! {
        #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn pads(
            shape in prop::collection::vec(1usize..6, 1..5), amounts in prop::collection::vec(0i32..5, 8), some in 1usize..5,
            mode in 0usize..3, half in any::<bool>(), seed in any::<u64>(),
        ) {
            let dtype = if half { DType::F16 } else { DType::F32 };
            let some = some.min(shape.len());
            let sizes = &shape[shape.len() - some..];
            let most = |i: usize| match mode { 0 => 9, 1 => sizes[i / 2] as i32 - 1, _ => sizes[i / 2] as i32 };
            let amounts: Vec<i32> = (0..2 * some).map(|i| amounts[i].min(most(i))).collect();
            let mut c = Case::new(seed);
            let x = c.input(dtype, &shape);
            let y = c.graph.push(mb::pad(&x, amounts).mode(["constant", "reflect", "replicate"][mode]).constant_val(0.1)).unwrap();
            let z = c.graph.push(mb::relu(&y)).unwrap();
            c.agrees(vec![y, z], 0.0, &[]).unwrap();
        }
    }

    #[test]
    fn crops() {
        let mut c = Case::new(1);
        let x = c.input(DType::F16, &[2, 3, 5, 6]);
        let y = c.graph.push(mb::crop(&x, [1, 2], [0, 3])).unwrap();
        let y = c.graph.push(mb::sqrt(&y)).unwrap();
        c.agrees(vec![y], 1e-3, &[]).unwrap();
    }
}
