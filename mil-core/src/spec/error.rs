//! What is wrong between a program and its messages.

use std::fmt;

use crate::op::OpError;

/// A message that is no program, or a program that no message can say. It names the function and the op.
#[derive(Clone, PartialEq, Debug)]
pub struct SpecError {
    /// Where: "function `main`, op `conv_0`".
    place: Vec<String>,
    message: String,
    function: Option<String>,
    /// Which of the function's ops, in the order of the file, nested ones after those around them.
    op: Option<usize>,
}

impl SpecError {
    /// An error with a message: one line, without full stop.
    pub fn new(message: impl Into<String>) -> SpecError {
        SpecError { place: vec![], message: message.into(), function: None, op: None }
    }

    /// Inside this.
    pub fn inside(mut self, place: impl Into<String>) -> SpecError {
        self.place.insert(0, place.into());
        self
    }

    /// In a function.
    pub(crate) fn in_function(mut self, name: &str) -> SpecError {
        self.function = Some(name.to_string());
        self.inside(format!("function `{name}`"))
    }

    /// In an op of the function; what is said first, by the innermost, holds.
    pub(crate) fn in_op(mut self, index: usize, place: impl Into<String>) -> SpecError {
        self.op = self.op.or(Some(index));
        self.inside(place)
    }

    /// The function and which of its ops, where it is about one.
    pub(crate) fn op(&self) -> Option<(&str, usize)> {
        Some((self.function.as_deref()?, self.op?))
    }
}

impl fmt::Display for SpecError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for place in &self.place {
            write!(f, "{place}: ")?;
        }
        f.write_str(&self.message)
    }
}

impl std::error::Error for SpecError {}

impl From<OpError> for SpecError {
    fn from(e: OpError) -> SpecError {
        SpecError::new(e.to_string().replace('\n', "; "))
    }
}
