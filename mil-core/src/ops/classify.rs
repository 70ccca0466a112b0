//! `classify`.

use crate::{
    ir::{Constant, Known},
    op::{AnyArg, Arg, Cx, Infer, Inferred, Op, OpDef, OpError, Param, ParamKind},
    types::{DType, Dim, TensorType, Type},
};
use mil_derive::Op;

pub(crate) const OPS: &[&OpDef] = &[Classify::DEF];

/// The labels of a classifier: strings or 64-bit integers, in a list that is written in place.
#[derive(Clone, PartialEq, Debug)]
pub struct Classes(pub Constant);

impl Param for Classes {
    const KIND: ParamKind = ParamKind::List;
    fn from_args(name: &'static str, args: &[AnyArg]) -> Result<Classes, OpError> {
        let [arg] = args else { return Err(OpError::at(name, format!("`{name}` is one list"))) };
        let misfit = || {
            let message = format!("`{name}` must be {}, found {}", ParamKind::List.describe(), arg.ty);
            OpError::at(name, message)
        };
        // The builder has the labels as a tensor until it writes them as a list.
        let is_list = matches!(arg.ty, Type::List(..)) || arg.id.is_none();
        let known = arg.known.as_ref().and_then(Known::constant).filter(|c| is_list && c.shape().len() == 1);
        known.cloned().map(Classes).ok_or_else(misfit)
    }
}

/// Gives the label of the greatest probability, and all labels with their probabilities.
///
/// A function that ends so is a classifier: the two values are its outputs. Of equal probabilities the first counts.
///
/// # Constraints
/// - C1 `classes` are strings or 64-bit integers.
/// - C2 there is at least one class.
/// - C3 there are as many `classes` as `probabilities` has elements.
#[derive(Op, Clone, Debug)]
#[op(name = "classify", since = iOS15, outputs = 2)]
pub struct Classify {
    /// Probabilities, of any shape.
    #[dtype(F32)]
    pub probabilities: Arg,
    /// The labels, in the order of the probabilities.
    #[dtype(String | I64)]
    pub classes: Classes,
}

impl Infer for Classify {
    fn infer(&self, _: &mut Cx<'_>) -> Result<Vec<Inferred>, OpError> {
        let labels = &self.classes.0;
        if !matches!(labels.dtype(), DType::String | DType::I64) {
            let message = format!("`classes` must be strings or 64-bit integers, found {}", labels.dtype());
            return Err(OpError::at("classes", message)); // C1
        }
        if labels.count() == 0 {
            let error = OpError::at("classes", "`classes` must not be empty"); // C2
            return Err(error.note("give a label for each probability"));
        }
        let (count, volume) = (labels.count(), self.probabilities.shape().volume());
        if !volume.may_equal(&Dim::from(count)) {
            let message = format!("there are {count} `classes` for {volume} probabilities");
            return Err(OpError::at("classes", message).note(format!("probabilities: {}", self.probabilities.ty))); // C3
        }
        let label = Type::from(TensorType::scalar(labels.dtype()));
        let probability = TensorType::scalar(DType::F64).into();
        Ok(vec![label.clone().into(), Type::Dictionary(Box::new(label), Box::new(probability)).into()])
    }
}

#[cfg(test)]
mod tests {
    use crate::{
        ir::{Attribute, Binding, Constant},
        mb,
        ops::testing::{fails, infer_in, infers},
        types::Opset,
    };

    #[test]
    fn labels_and_probabilities() {
        let text = "Tensor<string>; Dictionary<Tensor<string>, Tensor<f64>>";
        infers(|t| mb::classify(t.t("Tensor<f32, 1, 2>"), ["cat", "dog"]), text);
        infers(|t| mb::classify(t.t("Tensor<f32, 1, N>"), ["cat", "dog"]), text);
        let numbers = "Tensor<i64>; Dictionary<Tensor<i64>, Tensor<f64>>";
        infers(|t| mb::classify(t.t("Tensor<f32, 3>"), [7, 8, 9]), numbers);
    }

    #[test]
    fn classes_are_written_in_place() {
        let mut g = crate::graph::Graph::new("main", Opset::iOS15);
        let x = g.input("x", "Tensor<f32, 2>".parse::<crate::types::TensorType>().unwrap());
        g.push(mb::classify(&x, [3, 4])).unwrap();
        let f = g.function();
        let op = f.op(f.walk()[0]);
        let [Binding::Inline(Attribute::List(ty, items))] = op.bindings("classes") else { panic!("{op:?}") };
        assert_eq!((ty.to_string(), items.len()), ("Tensor<i64>".to_string(), 2));
        assert_eq!(items[1], Attribute::Tensor(Constant::scalar(4i64)));
        assert_eq!(f.args(op).get(1).unwrap()[0].ty.to_string(), "List<Tensor<i64>, 2>");
    }

    #[test]
    fn constraints() {
        fails(|t| mb::classify(t.t("Tensor<f16, 2>"), ["a", "b"]), "probabilities", "must be of f32");
        fails(|t| mb::classify(t.t("Tensor<f32, 2>"), [1.5, 2.0]), "classes", "must be of string or i64"); // C1
        let named =
            |t: &mut crate::ops::testing::Test| t.c(Constant::strings([2], vec!["a".into(), "b".into()]).unwrap());
        fails(|t| mb::classify(t.t("Tensor<f32, 2>"), named(t)), "classes", "must be a constant list");
        fails(|t| mb::classify(t.t("Tensor<f32, 3>"), ["a", "b"]), "classes", "2 `classes` for 3 probabilities"); // C3
        let none = Constant::strings([0], vec![]).unwrap();
        fails(|t| mb::classify(t.t("Tensor<f32, N>"), none), "classes", "must not be empty"); // C2
        assert!(infer_in(Opset::iOS15, |t| mb::classify(t.t("Tensor<f32, 1>"), ["a"])).is_ok());
    }
}
