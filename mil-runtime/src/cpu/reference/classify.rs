//! Kernel of `classify`.

use std::sync::Arc;

use mil_core::ops::classify::Classify;

use super::{Cx, KernelDef, ValueKernel, value::Value};
use crate::{
    error::RunError,
    outputs::{Dictionary, Label},
    tensor::AnyTensor,
};

pub(crate) const KERNELS: &[KernelDef] = &[KernelDef::of_values::<Classify>()];

impl ValueKernel for Classify {
    fn run(&self, cx: &Cx<'_>) -> Result<Vec<Value>, RunError> {
        let probabilities = cx.get(&self.probabilities)?;
        let probabilities = probabilities.to_f32()?;
        let classes = AnyTensor::from_constant(&self.classes.0)?;
        let labels: Vec<Label> = match (classes.as_strings(), classes.as_slice::<i64>()) {
            (Some(strings), _) => strings.iter().cloned().map(Label::String).collect(),
            (None, Some(ints)) => ints.iter().copied().map(Label::Int).collect(),
            (None, None) => return Err(RunError::new(format!("labels are strings or i64, found {}", classes.ty()))),
        };
        if labels.len() != probabilities.len() {
            let what = format!("there are {} labels for {} probabilities", labels.len(), probabilities.len());
            return Err(RunError::new(what));
        }
        // The first of the greatest; NaN is never greater.
        let mut best = 0;
        for (i, p) in probabilities.iter().enumerate() {
            if *p > probabilities[best] || (probabilities[best].is_nan() && !p.is_nan()) {
                best = i;
            }
        }
        let label = labels.get(best).cloned().ok_or_else(|| RunError::new("there are no labels"))?;
        let entries = labels.into_iter().zip(probabilities.iter().map(|p| f64::from(*p))).collect();
        Ok(vec![label.to_tensor().into(), Value::Dictionary(Arc::new(Dictionary::new(entries)))])
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use mil_core::{graph::Graph, mb, op::Operand, types::Opset};

    use super::*;
    use crate::{cpu::Executor, outputs::Output};

    fn classify(probabilities: &[f32], classes: impl Into<Operand>) -> (AnyTensor, Dictionary) {
        let x = AnyTensor::new([1, probabilities.len()], probabilities.to_vec()).unwrap();
        let mut g = Graph::new("main", Opset::iOS15);
        let input = g.input("x", x.ty());
        let (label, all) = g.push(mb::classify(&input, classes)).unwrap();
        let p = g.finish([("label", label), ("all", all)]).unwrap();
        let e = Executor::new(p.main().unwrap().clone()).unwrap();
        let mut outputs = e.run_with(BTreeMap::from([("x".to_string(), x)]), &mut BTreeMap::new()).unwrap();
        match (outputs.remove("label"), outputs.remove("all")) {
            (Some(Output::Tensor(label)), Some(Output::Dictionary(all))) => (label, all),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_greatest_and_all() {
        let (label, all) = classify(&[0.25, 0.5, 0.5], ["a", "b", "c"]);
        assert_eq!(label.as_strings(), Some(&["b".to_string()][..]));
        assert_eq!((all.get("a"), all.get("c"), all.get("d")), (Some(0.25), Some(0.5), None));
        let (label, all) = classify(&[f32::NAN, 0.5], [7, 9]);
        assert_eq!((label, all.get(9)), (AnyTensor::scalar(9i64), Some(0.5)));
    }
}
