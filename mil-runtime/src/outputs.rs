//! What a prediction gives.

use std::{fmt, ops::Index};

use crate::{error::RunError, tensor::AnyTensor};

/// The outputs of a prediction, in the order in which the model declares them.
///
/// `outputs["y"]` borrows one (and panics if there is none, as maps do), [`Outputs::take`] takes one out.
#[derive(Clone, PartialEq)]
pub struct Outputs(Vec<(String, AnyTensor)>);

impl Outputs {
    pub(crate) fn new(outputs: Vec<(String, AnyTensor)>) -> Outputs {
        Outputs(outputs)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none (left).
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Names and tensors, in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, &AnyTensor)> {
        self.0.iter().map(|(name, tensor)| (&name[..], tensor))
    }

    /// The output of that name.
    pub fn get(&self, name: &str) -> Option<&AnyTensor> {
        self.0.iter().find(|(n, _)| n == name).map(|(_, tensor)| tensor)
    }

    /// Takes the output of that name out.
    ///
    /// # Errors
    /// If there is none of that name; the error lists those there are.
    pub fn take(&mut self, name: &str) -> Result<AnyTensor, RunError> {
        match self.0.iter().position(|(n, _)| n == name) {
            Some(at) => Ok(self.0.remove(at).1),
            None => Err(RunError::new(self.missing(name))),
        }
    }

    /// The only output.
    ///
    /// # Errors
    /// If there are more, or none.
    pub fn single(self) -> Result<AnyTensor, RunError> {
        let names = self.names();
        match <[_; 1]>::try_from(self.0) {
            Ok([(_, tensor)]) => Ok(tensor),
            Err(_) => Err(RunError::new(format!("expected a single output, found [{names}]"))),
        }
    }

    fn names(&self) -> String {
        self.0.iter().map(|(name, _)| format!("`{name}`")).collect::<Vec<_>>().join(", ")
    }

    fn missing(&self, name: &str) -> String {
        format!("there is no output `{name}`; the outputs are [{}]", self.names())
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
        self.0.into_iter()
    }
}

impl fmt::Debug for Outputs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn two() -> Outputs {
        Outputs::new(vec![("z".into(), AnyTensor::scalar(1i32)), ("a".into(), AnyTensor::scalar(2i32))])
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
    #[should_panic(expected = "there is no output `b`; the outputs are [`z`, `a`]")]
    fn indexing_an_unknown_name_panics() {
        let _ = &two()["b"];
    }
}
