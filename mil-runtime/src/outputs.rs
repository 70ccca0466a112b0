//! What a prediction gives.

use std::{fmt, ops::Index};

use crate::{error::RunError, tensor::AnyTensor};

/// One output of a prediction.
#[derive(Clone, PartialEq, Debug)]
pub enum Output {
    /// A tensor.
    Tensor(AnyTensor),
    /// A classifier's probabilities.
    Dictionary(Dictionary),
}

/// What a classifier calls a class.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Label {
    /// A number.
    Int(i64),
    /// Text.
    String(String),
}

impl Label {
    /// The label as a tensor of rank 0.
    pub(crate) fn to_tensor(&self) -> AnyTensor {
        match self {
            Label::Int(n) => AnyTensor::scalar(*n),
            Label::String(text) => AnyTensor::string(text.clone()),
        }
    }

    fn of_tensor(tensor: &AnyTensor) -> Option<Label> {
        match (tensor.as_strings(), tensor.as_slice::<i64>()) {
            (Some([text]), _) => Some(Label::String(text.clone())),
            (_, Some([n])) => Some(Label::Int(*n)),
            _ => None,
        }
    }
}

impl fmt::Display for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Label::Int(n) => write!(f, "{n}"),
            Label::String(text) => f.write_str(text),
        }
    }
}

impl From<i64> for Label {
    fn from(n: i64) -> Label {
        Label::Int(n)
    }
}

impl From<&str> for Label {
    fn from(text: &str) -> Label {
        Label::String(text.into())
    }
}

/// Classes with their probabilities, in the order in which the model has them.
#[derive(Clone, PartialEq)]
pub struct Dictionary(Vec<(Label, f64)>);

impl Dictionary {
    pub(crate) fn new(entries: Vec<(Label, f64)>) -> Dictionary {
        Dictionary(entries)
    }

    /// How many classes there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The probability of a class; of equal labels, that of the last.
    pub fn get(&self, label: impl Into<Label>) -> Option<f64> {
        let label = label.into();
        self.0.iter().rev().find(|(l, _)| *l == label).map(|(_, p)| *p)
    }

    /// Classes and probabilities, in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&Label, f64)> {
        self.0.iter().map(|(l, p)| (l, *p))
    }
}

impl fmt::Debug for Dictionary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

/// The outputs of a prediction, in the order in which the model declares them.
///
/// `outputs["y"]` borrows one (and panics if there is none, as maps do), [`Outputs::take`] takes one out. Almost all are
/// tensors. A classifier's are a label ([`Outputs::label`]) and a dictionary ([`Outputs::probabilities`]).
#[derive(Clone, PartialEq)]
pub struct Outputs {
    tensors: Vec<(String, AnyTensor)>,
    dictionaries: Vec<(String, Dictionary)>,
    /// The names of a classifier's outputs.
    predicted: Option<Predicted>,
}

/// The names of a classifier's outputs.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Predicted {
    pub(crate) label: String,
    pub(crate) probabilities: String,
}

impl Outputs {
    pub(crate) fn new(all: Vec<(String, Output)>, predicted: Option<Predicted>) -> Outputs {
        let mut outputs = Outputs { tensors: vec![], dictionaries: vec![], predicted };
        for (name, output) in all {
            match output {
                Output::Tensor(t) => outputs.tensors.push((name, t)),
                Output::Dictionary(d) => outputs.dictionaries.push((name, d)),
            }
        }
        outputs
    }

    /// How many tensors there are.
    pub fn len(&self) -> usize {
        self.tensors.len()
    }

    /// Whether there is no tensor (left).
    pub fn is_empty(&self) -> bool {
        self.tensors.is_empty()
    }

    /// Names and tensors, in order. A classifier's label is a tensor of rank 0; dictionaries are not among them.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, &AnyTensor)> {
        self.tensors.iter().map(|(name, tensor)| (&name[..], tensor))
    }

    /// Names and dictionaries, in order.
    pub fn dictionaries(&self) -> impl ExactSizeIterator<Item = (&str, &Dictionary)> {
        self.dictionaries.iter().map(|(name, d)| (&name[..], d))
    }

    /// The tensor of that name.
    pub fn get(&self, name: &str) -> Option<&AnyTensor> {
        self.tensors.iter().find(|(n, _)| n == name).map(|(_, tensor)| tensor)
    }

    /// The class that a classifier predicts; `None` if the model is none.
    pub fn label(&self) -> Option<Label> {
        self.get(&self.predicted.as_ref()?.label).and_then(Label::of_tensor)
    }

    /// The probabilities of a classifier's classes; `None` if the model gives none.
    pub fn probabilities(&self) -> Option<&Dictionary> {
        let name = &self.predicted.as_ref()?.probabilities;
        self.dictionaries.iter().find(|(n, _)| n == name).map(|(_, d)| d)
    }

    /// Takes the tensor of that name out.
    ///
    /// # Errors
    /// If there is none of that name; the error lists those there are.
    pub fn take(&mut self, name: &str) -> Result<AnyTensor, RunError> {
        match self.tensors.iter().position(|(n, _)| n == name) {
            Some(at) => Ok(self.tensors.remove(at).1),
            None => Err(RunError::new(self.missing(name))),
        }
    }

    /// The only output, a tensor.
    ///
    /// # Errors
    /// If there are more, or none.
    pub fn single(self) -> Result<AnyTensor, RunError> {
        let names = self.names();
        match (<[_; 1]>::try_from(self.tensors), &self.dictionaries[..]) {
            (Ok([(_, tensor)]), []) => Ok(tensor),
            _ => Err(RunError::new(format!("expected a single output, found [{names}]"))),
        }
    }

    fn names(&self) -> String {
        let tensors = self.tensors.iter().map(|(name, _)| name);
        let names = tensors.chain(self.dictionaries.iter().map(|(name, _)| name));
        names.map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
    }

    fn missing(&self, name: &str) -> String {
        match self.dictionaries.iter().any(|(n, _)| n == name) {
            true => format!("the output `{name}` is a dictionary; `probabilities` and `dictionaries` give those"),
            false => format!("there is no output `{name}`; the outputs are [{}]", self.names()),
        }
    }
}

impl Index<&str> for Outputs {
    type Output = AnyTensor;

    /// # Panics
    /// If there is no output of that name.
    #[track_caller]
    fn index(&self, name: &str) -> &AnyTensor {
        match self.get(name) {
            Some(tensor) => tensor,
            None => panic!("{}", self.missing(name)),
        }
    }
}

impl IntoIterator for Outputs {
    type Item = (String, AnyTensor);
    type IntoIter = std::vec::IntoIter<(String, AnyTensor)>;

    fn into_iter(self) -> Self::IntoIter {
        self.tensors.into_iter()
    }
}

impl fmt::Debug for Outputs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).entries(self.dictionaries()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn two() -> Outputs {
        let one = |n: i32| Output::Tensor(AnyTensor::scalar(n));
        Outputs::new(vec![("z".into(), one(1)), ("a".into(), one(2))], None)
    }

    #[test]
    fn by_name_and_in_order() {
        let mut outputs = two();
        assert_eq!(outputs.iter().map(|(n, _)| n).collect::<Vec<_>>(), ["z", "a"]);
        assert_eq!((&outputs["a"], outputs.get("b")), (&AnyTensor::scalar(2i32), None));
        assert_eq!(outputs.take("b").unwrap_err().to_string(), "there is no output `b`; the outputs are [`z`, `a`]");
        assert_eq!(outputs.clone().single().unwrap_err().to_string(), "expected a single output, found [`z`, `a`]");
        assert_eq!(outputs.take("z").unwrap(), AnyTensor::scalar(1i32));
        assert_eq!(outputs.single().unwrap(), AnyTensor::scalar(2i32));
    }

    #[test]
    fn a_classifier_gives_a_label_and_probabilities() {
        let entries = vec![("cat".into(), 0.25), ("dog".into(), 0.75)];
        let all = vec![
            ("label".into(), Output::Tensor(AnyTensor::string("dog".into()))),
            ("all".into(), Output::Dictionary(Dictionary::new(entries))),
        ];
        let predicted = Predicted { label: "label".into(), probabilities: "all".into() };
        let outputs = Outputs::new(all.clone(), Some(predicted));
        assert_eq!(outputs.label(), Some(Label::from("dog")));
        assert_eq!(outputs.probabilities().and_then(|p| p.get("cat")), Some(0.25));
        assert_eq!(
            outputs.clone().take("all").unwrap_err().to_string().split(';').next(),
            Some("the output `all` is a dictionary")
        );
        assert_eq!(outputs.single().unwrap_err().to_string(), "expected a single output, found [`label`, `all`]");
        assert_eq!(Outputs::new(all, None).label(), None);
    }

    #[test]
    #[should_panic(expected = "there is no output `b`; the outputs are [`z`, `a`]")]
    fn indexing_an_unknown_name_panics() {
        let _ = &two()["b"];
    }
}
