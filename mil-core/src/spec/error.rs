//! What is wrong between a program and its messages.

use std::fmt;

use crate::op::OpError;

/// A message that is no program, or a program that no message can say. It names the function and the op.
#[derive(Clone, PartialEq, Debug)]
pub struct SpecError {
    /// Where: "function `main`, op `conv_0`".
    place: Vec<String>,
    message: String,
}

impl SpecError {
    /// An error with a message: one line, without full stop.
    pub fn new(message: impl Into<String>) -> SpecError {
        SpecError { place: vec![], message: message.into() }
    }

    /// Inside this.
    pub fn inside(mut self, place: impl Into<String>) -> SpecError {
        self.place.insert(0, place.into());
        self
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
