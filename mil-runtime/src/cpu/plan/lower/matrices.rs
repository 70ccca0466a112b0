//! Weights in panels: packed once for all plans, or whenever a step runs.

use std::{borrow::Cow, sync::Arc};

use super::{Packed, weight::Weight};
use crate::cpu::{
    kernels::panels::{Packer, Panels},
    options::Packing,
    plan::{build::Builder, step::Machine},
};

/// The matrices of a weight: one per group of a convolution, or per element of a transformed kernel.
pub(super) enum Matrices {
    Kept(Arc<[Panels]>),
    AtUse(Weight, Make),
}

type Make = Box<dyn Fn(&Weight, Packer<'_>) -> Option<Vec<Panels>> + Send + Sync>;

impl Matrices {
    /// As they will be packed. `kind` says all on which that depends besides the weight. `make` packs any weight that is not compressed;
    /// `None` if it cannot pack this one.
    pub(super) fn of(
        b: &Builder<'_>,
        weight: &Weight,
        kind: impl Into<Cow<'static, str>>,
        make: impl Fn(&Weight, Packer<'_>) -> Option<Vec<Panels>> + Send + Sync + 'static,
    ) -> Option<Matrices> {
        if b.packing == Packing::AtUse && weight.plain().is_some() {
            return Some(Matrices::AtUse(weight.clone(), Box::new(make)));
        }
        let kept = || Some(Packed::Panels(make(weight, b.planner.packer())?.into()));
        match b.planner.packed(weight.id, kind, kept)? {
            Packed::Panels(panels) => Some(Matrices::Kept(panels)),
            Packed::Depthwise(_) => unreachable!("packed under another name"),
        }
    }

    /// The matrices, in order.
    pub(super) fn get(&self, m: Machine<'_>) -> Arc<[Panels]> {
        match self {
            Matrices::Kept(panels) => Arc::clone(panels),
            Matrices::AtUse(weight, make) => {
                let by = Packer { isa: m.isa, threads: m.threads, pages: None };
                let panels = make(weight, by).expect("what is not compressed can be packed");
                // Its pages need not stay in memory, if they are of a file.
                if let Some(plain) = weight.plain() {
                    plain.release();
                }
                panels.into()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use mil_core::{
        graph::{Graph, Value},
        ir::{Constant, Function},
        mb,
        types::{DType, Opset, TensorType},
    };

    use super::*;
    use crate::{
        cpu::{CpuOptions, Executor},
        tensor::AnyTensor,
    };

    /// A convolution by Winograd's algorithm, a strided one, a transposed one, and products with a matrix.
    fn net() -> Function {
        let mut g = Graph::new("main", Opset::iOS17);
        let weight = |g: &mut Graph, shape: &[usize]| -> Value {
            let count: usize = shape.iter().product();
            let numbers: Vec<f32> = (0..count).map(|i| (i * 7 % 11) as f32 / 64.0 - 0.07).collect();
            g.constant("w", Constant::new(shape, &numbers).unwrap())
        };
        let x = g.input("x", TensorType::new(DType::F32, [1, 32, 16, 16]));
        let w = weight(&mut g, &[32, 32, 3, 3]);
        let y = g.push(mb::conv(&x, &w).pad_type("same")).unwrap();
        let w = weight(&mut g, &[32, 16, 3, 3]);
        let y = g.push(mb::conv(&y, &w).groups(2).strides([2, 2])).unwrap();
        let w = weight(&mut g, &[32, 8, 2, 2]);
        let y = g.push(mb::conv_transpose(&y, &w).strides([2, 2])).unwrap();
        let w = weight(&mut g, &[20, 14]);
        let y = g.push(mb::linear(&y, &w)).unwrap();
        g.finish([("y", y)]).unwrap().main().unwrap().clone()
    }

    #[test]
    fn what_is_packed_at_use_is_not_kept_and_is_the_same() {
        let x: Vec<f32> = (0..32 * 256).map(|i| (i % 13) as f32 / 8.0 - 0.7).collect();
        let run = |packing| {
            let executor = Executor::with_options(net(), &CpuOptions { packing, ..CpuOptions::default() }).unwrap();
            let mut y = vec![];
            for _ in 0..2 {
                let x = AnyTensor::new([1, 32, 16, 16], x.clone()).unwrap();
                y.push(executor.run(BTreeMap::from([("x".to_string(), x)])).unwrap().remove("y").unwrap());
            }
            (y, executor.planner().unwrap().packed_bytes())
        };
        let ((kept, size), (at_use, nothing)) = (run(Packing::Kept), run(Packing::AtUse));
        assert_eq!(kept, at_use);
        assert!(size > 16 * 32 * 32 * 4, "{size}: all are packed");
        assert_eq!(nothing, 0);
    }
}
