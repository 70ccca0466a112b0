//! `scaled_dot_product_attention`: products, a softmax, products.

use mil_core::{
    ir::ValueId,
    op::{Arg, Op},
    ops::attention::ScaledDotProductAttention,
    types::DType,
};

use super::{
    super::{
        build::{Builder, Joined, Producer, Want},
        nodes::Node,
        stage::{Operand, Stage},
        step::{HostWork, Machine, Work},
        tensor::{Layout, Tensor},
    },
    elementwise, is_float,
    matmul::{products, turned},
    select::truths,
};
use crate::{
    cpu::kernels::{binary::Binary, softmax::Softmax, view},
    error::RunError,
    tensor::AnyTensor,
};

/// Plans attention.
pub(super) fn attention(b: &mut Builder<'_>, node: &Node) -> Option<()> {
    let op = ScaledDotProductAttention::bind(&node.args).ok()?;
    let empty = |a: &Arg| a.shape().iter().any(|d| d.is(0));
    if [&op.query, &op.key, &op.value].into_iter().any(|a| empty(a) || !is_float(a.dtype())) {
        return None;
    }
    let [query, key, value] = [op.query.id?, op.key.id?, op.value.id?];
    let mask = match &op.attn_mask {
        Some(mask) if empty(mask) => return None,
        Some(mask) => Some(Mask::new(b, mask)?),
        None => None,
    };
    let (queries, keys) = (op.query.ty.shape.fixed()?, op.key.ty.shape.fixed()?);
    let rank = queries.len();
    let scale = 1.0 / (queries[rank - 1] as f32).sqrt();
    let scores = [&queries[..rank - 1], &[keys[rank - 2]]].concat();
    // What cannot be counted cannot be computed: the reference says so.
    Layout::plain(rank).len(&scores).filter(|n| *n < u32::MAX as usize)?;
    b.pend_new(node, Box::new(AttentionProducer { query, key, value, mask, scale, scores }));
    Some(())
}

/// What is added to the scores.
enum Mask {
    /// Floats.
    Value(ValueId),
    /// Known bools, as floats.
    Constant(Vec<f32>, Vec<usize>),
    /// Bools that are computed, and their shape.
    Computed(ValueId, Vec<usize>),
}

/// What a bool adds: `false` leaves an element out.
fn added(truth: bool) -> f32 {
    if truth { 0.0 } else { f32::NEG_INFINITY }
}

impl Mask {
    fn new(b: &Builder<'_>, mask: &Arg) -> Option<Mask> {
        let shape = mask.ty.shape.fixed()?;
        match b.constant(mask) {
            Some(c) if c.dtype() == DType::Bool => {
                let numbers = truths(&c).ok()?.into_iter().map(added).collect();
                Some(Mask::Constant(numbers, shape))
            }
            Some(c) => Some(Mask::Constant(c.to_f32().ok()?.into_owned(), shape)),
            None if mask.dtype() == DType::Bool => Some(Mask::Computed(mask.id?, shape)),
            None => Some(Mask::Value(mask.id?)),
        }
    }
}

/// Bools as what they add.
struct Added;

impl HostWork for Added {
    fn run(&self, _: Machine<'_>, out: &mut [f32], _: &[&[f32]], values: &[&AnyTensor]) -> Result<(), RunError> {
        out.iter_mut().zip(truths(values[0])?).for_each(|(out, truth)| *out = added(truth));
        Ok(())
    }
}

struct AttentionProducer {
    query: ValueId,
    key: ValueId,
    value: ValueId,
    mask: Option<Mask>,
    scale: f32,
    /// The shape of the scores.
    scores: Vec<usize>,
}

struct Softmaxed(Softmax);

impl Work for Softmaxed {
    fn run(&self, m: Machine<'_>, out: &mut [f32], _: &[&[f32]]) {
        self.0.run_in_place(m.isa, m.threads, out);
    }
}

impl Producer for AttentionProducer {
    fn layout(&self, _: &mut Builder<'_>, shape: &[usize]) -> Layout {
        Layout::plain(shape.len())
    }

    fn innermost(&self, shape: &[usize]) -> Option<usize> {
        shape.len().checked_sub(1)
    }

    fn emit(self: Box<Self>, b: &mut Builder<'_>, to: &Tensor, joined: &Joined) -> Option<Vec<Stage>> {
        let query = b.tensor(self.query, &Want::Rows)?;
        let key = turned(&b.tensor(self.key, &Want::Any)?);
        let value = b.tensor(self.value, &Want::Any)?;
        let scores = b.new_tensor(&self.scores, &Layout::plain(self.scores.len()));
        let within = |stages| Joined { dtype: DType::F32, stages, ops: joined.ops[..1].to_vec() };
        let mut stages = vec![];
        // With a mask, the scale goes before it; else the softmax knows it.
        let mut scale = self.scale;
        let mul = Stage::Binary { op: Binary::Mul, operand: Operand::Constant([scale].into(), vec![]), swapped: false };
        let add = |operand| Stage::Binary { op: Binary::Add, operand, swapped: false };
        match self.mask {
            None => {}
            Some(Mask::Value(id)) => {
                stages = vec![mul, add(Operand::Value(id))];
                scale = 1.0;
            }
            Some(Mask::Constant(numbers, shape)) => {
                stages = vec![mul, add(Operand::Constant(numbers.into(), shape))];
                scale = 1.0;
            }
            Some(Mask::Computed(id, shape)) => {
                let mask = b.new_tensor(&shape, &Layout::plain(shape.len()));
                b.host_kernel(&within(vec![]), "mask", &mask, vec![], &[id], Added);
                stages = vec![mul, add(Operand::Tensor(mask))];
                scale = 1.0;
            }
        }
        let rest = products(b, &query, &key, &scores, &within(stages))?;
        if !rest.is_empty() {
            elementwise::in_place(b, &within(rest), &scores)?;
        }
        let view = view::Layout { offset: scores.offset, strides: &scores.strides };
        let softmax = Softmax::new(&scores.shape, scores.rank() - 1, view, view, scale, false);
        b.kernel(&within(vec![]), "softmax", &scores, vec![], Softmaxed(softmax));
        products(b, &scores, &value, to, joined)
    }
}

#[cfg(test)]
mod tests {
    use mil_core::{mb, types::DType};
    use proptest::prelude::*;

    use super::super::super::testing::{Case, rounding};
    use crate::tensor::AnyTensor;

    proptest! {
        #![proptest_config(ProptestConfig { cases: 32, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn heads_and_masks(
            batch in prop::collection::vec(1usize..4, 1..3), length in 1usize..7, keys in 1usize..20, depth in 1usize..9, width in 1usize..20,
            mask in 0usize..5, repeated in prop::collection::vec(any::<bool>(), 3), turned in any::<bool>(), half in any::<bool>(), seed in any::<u64>(),
        ) {
            let dtype = if half { DType::F16 } else { DType::F32 };
            let mut c = Case::new(seed);
            let shape = |a, b| [&batch[..], &[a, b]].concat();
            let q = c.input(dtype, &shape(length, depth));
            let k = if turned {
                let k = c.input(dtype, &shape(depth, keys));
                let n = batch.len() as i32;
                let perm: Vec<i32> = (0..n).chain([n + 1, n]).collect();
                c.graph.push(mb::transpose(&k, perm)).unwrap()
            } else { c.input(dtype, &shape(keys, depth)) };
            let v = c.input(dtype, &shape(keys, width));
            let mut sizes: Vec<usize> = shape(length, keys);
            let last = sizes.len() - 1;
            sizes[..last].iter_mut().zip(&repeated).for_each(|(s, one)| if *one { *s = 1 });
            let mut call = mb::scaled_dot_product_attention(&q, &k, &v);
            // Each row keeps its first element.
            let numbers = c.numbers(sizes.iter().product());
            let truths: Vec<bool> = numbers.iter().enumerate().map(|(i, n)| *n > 0.0 || i % keys == 0).collect();
            let bools = AnyTensor::bools(&sizes[..], &truths).unwrap();
            match mask {
                1 => { let m = c.input(dtype, &sizes); let m = c.graph.push(mb::abs(&m)).unwrap(); call = call.attn_mask(&m) }
                2 => { let m = c.constant(dtype, &sizes); call = call.attn_mask(&m) }
                3 => { let m = c.given(bools); call = call.attn_mask(&m) }
                4 => { let m = c.fixed(&bools); call = call.attn_mask(&m) }
                _ => {}
            }
            let y = c.graph.push(call).unwrap();
            let z = c.graph.push(mb::relu(&y)).unwrap();
            c.agrees(vec![y, z], 2.0 * rounding(dtype), &[]).unwrap();
        }
    }

    /// Where a mask leaves nothing, there is no number.
    #[test]
    fn nothing_left() {
        let mut c = Case::new(5);
        let (q, k, v) =
            (c.input(DType::F32, &[1, 3, 4]), c.input(DType::F32, &[1, 20, 4]), c.input(DType::F32, &[1, 20, 2]));
        let m = c.given(AnyTensor::bools([3, 1], &[true, false, true]).unwrap());
        let m = c.graph.push(mb::tile(&m, [1, 20])).unwrap();
        let y = c.graph.push(mb::scaled_dot_product_attention(&q, &k, &v).attn_mask(&m)).unwrap();
        let out = c.agrees(vec![y], 1e-5, &["tile"]).unwrap();
        assert!(out[0].to_f32().unwrap()[2].is_nan());
    }
}
