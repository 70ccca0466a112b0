//! `select`: the condition is a value of the function.

use mil_core::{op::Op, ops::select::Select as SelectOp};

use super::{
    super::{
        build::{Builder, Joined, Want},
        nodes::Node,
        step::{HostWork, Machine},
        tensor::{BufferId, Layout, Tensor},
    },
    is_float,
};
use crate::{
    cpu::kernels::{select::Select, view::View},
    error::RunError,
    tensor::AnyTensor,
};

struct Selected(Select);

impl HostWork for Selected {
    fn run(&self, m: Machine<'_>, out: &mut [f32], inputs: &[&[f32]], values: &[&AnyTensor]) -> Result<(), RunError> {
        self.0.run(m.threads, &truths(values[0])?, [inputs[0], inputs[1]], out);
        Ok(())
    }
}

/// The elements of a tensor of bools.
pub(super) fn truths(t: &AnyTensor) -> Result<Vec<bool>, RunError> {
    Ok(t.to_i64()?.into_iter().map(|v| v != 0).collect())
}

/// Plans a `select` between floats.
pub(super) fn select(b: &mut Builder<'_>, node: &Node) -> Option<()> {
    let op = SelectOp::bind(&node.args).ok()?;
    let (dtype, shape) = &node.types[0];
    if !is_float(*dtype) || shape.contains(&0) {
        return None;
    }
    let (condition, sizes) = (op.cond.id?, op.cond.ty.shape.fixed()?);
    let condition_view = Layout::plain(sizes.len()).tensor(BufferId(0), &sizes);
    let (x, y) = (b.tensor(op.a.id?, &Want::Any)?, b.tensor(op.b.id?, &Want::Any)?);
    let whole = if x.count() >= y.count() { &x } else { &y };
    let order = if whole.shape == *shape { whole.order() } else { (0..shape.len()).collect() };
    let layout = b.layout_for(node.outputs[0], Layout { order, margins: vec![(0, 0); shape.len()] });
    let to = b.new_tensor(shape, &layout);
    let view = |t: &Tensor| Some(View { offset: t.offset, strides: t.broadcast_strides(shape)? });
    let work = Select::new(shape, [&to.view(), &view(&condition_view)?, &view(&x)?, &view(&y)?]);
    let joined = Joined { dtype: *dtype, stages: vec![], ops: vec![node.op] };
    b.host_kernel(&joined, "select", &to, vec![x.buffer, y.buffer], &[condition], Selected(work));
    b.set(node, 0, to);
    Some(())
}

#[cfg(test)]
mod tests {
    use mil_core::{mb, types::DType};
    use proptest::prelude::*;

    use super::super::super::testing::Case;
    use crate::tensor::AnyTensor;

    proptest! {
        #![proptest_config(ProptestConfig { cases: 32, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn three_shapes(
            shape in prop::collection::vec(1usize..6, 1..4), repeated in prop::collection::vec(0u8..8, 4), less in prop::collection::vec(0usize..3, 3),
            constants in 0u8..8, half in any::<bool>(), seed in any::<u64>(),
        ) {
            let dtype = if half { DType::F16 } else { DType::F32 };
            let mut c = Case::new(seed);
            let sizes = |which: usize| -> Vec<usize> {
                let size = |(d, s): (usize, &usize)| if repeated[d] >> which & 1 == 1 { 1 } else { *s };
                shape.iter().enumerate().map(size).skip(less[which].min(shape.len() - 1)).collect()
            };
            let truths: Vec<bool> = c.numbers(sizes(0).iter().product()).iter().map(|v| *v > 0.0).collect();
            let condition = AnyTensor::bools(sizes(0), &truths).unwrap();
            let condition = if constants & 1 == 1 { c.fixed(&condition) } else { c.given(condition) };
            let x = if constants & 2 == 2 { c.constant(dtype, &sizes(1)) } else { c.input(dtype, &sizes(1)) };
            let y = if constants & 4 == 4 { c.constant(dtype, &sizes(2)) } else { c.input(dtype, &sizes(2)) };
            let z = c.graph.push(mb::select(&condition, &x, &y)).unwrap();
            let w = c.graph.push(mb::abs(&z)).unwrap();
            c.agrees(vec![z, w], 0.0, &[]).unwrap();
        }
    }

    #[test]
    fn computed_conditions() {
        let mut c = Case::new(3);
        let x = c.input(DType::F16, &[2, 17]);
        let y = c.input(DType::F16, &[17]);
        let more = c.graph.push(mb::greater(&x, &y)).unwrap();
        let z = c.graph.push(mb::select(&more, &x, &y)).unwrap();
        let z = c.graph.push(mb::add(&z, &y)).unwrap();
        c.agrees(vec![z], 1e-3, &["greater"]).unwrap();
    }
}
