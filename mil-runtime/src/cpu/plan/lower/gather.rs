//! `gather`: pieces by their indices, which are values of the function.

use mil_core::{
    op::Op,
    ops::gather::{Gather, no_place, place},
};

use super::{
    super::{
        build::{Builder, Joined, Want},
        nodes::Node,
        step::{HostWork, Machine, Work},
        tensor::Layout,
    },
    is_float,
    pick::{Picked, Stored},
};
use crate::{
    cpu::kernels::pick::{Pick, Places},
    error::RunError,
    tensor::AnyTensor,
};

/// What is gathered, but for the places.
struct Lookup {
    /// The dimensions of the output; that of the indices is one, whose places are to be filled in.
    dims: Vec<Places>,
    indexed: usize,
    first: [usize; 2],
    /// The dimension of the input, its size, and from one element of it to the next.
    axis: usize,
    size: usize,
    stride: usize,
    validate: bool,
}

impl Lookup {
    fn pick(&self, indices: &[i64]) -> Result<Pick, RunError> {
        let offset = |i: &i64| match place(*i, self.size, self.validate) {
            Some(at) => Ok(at * self.stride),
            None => Err(RunError::from(no_place(*i, self.axis, self.size, self.validate))),
        };
        let mut dims = self.dims.clone();
        dims[self.indexed].from = indices.iter().map(offset).collect::<Result<_, _>>()?;
        Ok(Pick::new(dims, self.first, 0.0))
    }
}

/// Indices that are computed.
struct Computed {
    lookup: Lookup,
    /// A constant that is looked up; else the first input is.
    stored: Option<Stored>,
}

impl HostWork for Computed {
    fn run(&self, m: Machine<'_>, out: &mut [f32], inputs: &[&[f32]], values: &[&AnyTensor]) -> Result<(), RunError> {
        let pick = self.lookup.pick(&values[0].to_i64()?)?;
        match &self.stored {
            Some(stored) => stored.pick(m, &pick, out),
            None => pick.run(m.threads, out, inputs[0]),
        }
        Ok(())
    }
}

/// Constant indices into a constant.
struct Constant(Pick, Stored);

impl Work for Constant {
    fn run(&self, m: Machine<'_>, out: &mut [f32], _: &[&[f32]]) {
        self.1.pick(m, &self.0, out);
    }
}

/// Plans a `gather` without batches.
pub(super) fn gather(b: &mut Builder<'_>, node: &Node) -> Option<()> {
    let op = Gather::bind(&node.args).ok()?;
    let (dtype, shape) = &node.types[0];
    let (axis, batch) = op.dimensions().ok()?;
    let (sizes, picked) = (op.x.ty.shape.fixed()?, op.indices.ty.shape.fixed()?);
    if !is_float(*dtype) || batch != 0 || shape.contains(&0) || sizes.contains(&0) {
        return None;
    }
    let known = match b.constant(&op.indices) {
        Some(indices) => Some(indices.to_i64().ok()?),
        None => None,
    };
    // The dimensions of the indices become one, so they must follow each other in memory.
    let count: usize = picked.iter().product();
    let flat: Vec<usize> = [&sizes[..axis], &[count], &sizes[axis + 1..]].concat();
    let stored = match b.constant(&op.x) {
        Some(constant) => Some(Stored::new(constant)?),
        None => None,
    };
    let (reads, offset, strides) = if stored.is_some() {
        (vec![], 0, crate::cpu::kernels::view::View::contiguous(&sizes).strides)
    } else {
        let x = b.tensor(op.x.id?, &Want::Any)?;
        (vec![x.buffer], x.offset, x.strides)
    };
    if known.is_none() {
        op.indices.id?;
    }
    let plain = Layout::plain(shape.len());
    let layout = if picked.len() == 1 { b.layout_for(node.outputs[0], plain.clone()) } else { plain };
    let to = b.new_tensor(shape, &layout);
    let view = to.reshaped(&flat)?;
    let places = |d: usize| Places {
        stride: view.strides[d],
        from: if d == axis { vec![] } else { (0..flat[d]).map(|i| i * strides[d]).collect() },
    };
    let dims = (0..flat.len()).map(places).collect();
    let (first, size, stride) = ([to.offset, offset], sizes[axis], strides[axis]);
    let lookup = Lookup { dims, indexed: axis, first, axis, size, stride, validate: op.validate_indices };
    let joined = Joined { dtype: *dtype, stages: vec![], ops: vec![node.op] };
    // Known indices are places: inference has seen to that; if not, the reference says so.
    match (known, stored) {
        (Some(indices), Some(stored)) => {
            let work = Constant(lookup.pick(&indices).ok()?, stored);
            b.kernel(&joined, "gather", &to, reads, work);
        }
        (Some(indices), None) => {
            let work = Picked(lookup.pick(&indices).ok()?);
            b.kernel(&joined, "gather", &to, reads, work);
        }
        (None, stored) => {
            let indices = op.indices.id?;
            b.host_kernel(&joined, "gather", &to, reads, &[indices], Computed { lookup, stored });
        }
    }
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
        fn pieces(
            shape in prop::collection::vec(1usize..6, 1..4), picked in prop::collection::vec(1usize..4, 0..3), axis in any::<prop::sample::Index>(),
            picks in prop::collection::vec(any::<prop::sample::Index>(), 16), constants in 0usize..8, half in any::<bool>(), back in any::<bool>(),
            seed in any::<u64>(),
        ) {
            let dtype = if half { DType::F16 } else { DType::F32 };
            let (axis, count) = (axis.index(shape.len()), picked.iter().product::<usize>());
            let size = shape[axis] as i32;
            let indices = picks[..count].iter().map(|p| p.index(shape[axis]) as i32 - if back { size } else { 0 }).collect();
            let indices = AnyTensor::new(&picked[..], indices).unwrap();
            let mut c = Case::new(seed);
            let x = if constants & 1 == 1 { c.constant(dtype, &shape) } else { c.input(dtype, &shape) };
            let x = if constants & 4 == 4 && shape.len() > 1 {
                // As computed, and lying otherwise.
                let perm: Vec<i32> = (1..shape.len() as i32).chain([0]).collect();
                let back: Vec<i32> = [shape.len() as i32 - 1].into_iter().chain(0..shape.len() as i32 - 1).collect();
                let x = c.graph.push(mb::transpose(&x, perm)).unwrap();
                let x = c.graph.push(mb::abs(&x)).unwrap();
                c.graph.push(mb::transpose(&x, back)).unwrap()
            } else { x };
            let i = if constants & 2 == 2 { c.fixed(&indices) } else { c.given(indices) };
            let y = c.graph.push(mb::gather(&x, &i).axis(axis as i64)).unwrap();
            let z = c.graph.push(mb::relu(&y)).unwrap();
            c.agrees(vec![y, z], 0.0, &["transpose", "abs"]).unwrap();
        }
    }

    #[test]
    fn indices_that_are_no_places() {
        for (index, validate) in [(3, false), (-4, false), (-1, true), (i32::MIN, true)] {
            let mut c = Case::new(1);
            let x = c.input(DType::F32, &[3, 2]);
            let i = c.given(AnyTensor::new([2], vec![0, index]).unwrap());
            let y = c.graph.push(mb::gather(&x, &i).validate_indices(validate)).unwrap();
            let error = c.agrees(vec![y], 0.0, &[]).unwrap_err();
            assert!(error.contains("is out of range for dimension 0 of size 3"), "{error}");
        }
    }
}
