//! What is wrong with an op.

use std::fmt;

/// An op that cannot be: what was found, what was expected. It names the op and the parameter, never a place; the
/// caller knows the place (the macro a span, the builder a line, the decoder the op's name).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct OpError {
    /// MIL name of the op; empty until the machinery fills it in.
    pub op: String,
    /// The parameter concerned.
    pub param: Option<String>,
    /// For a variadic parameter, which of its arguments.
    pub index: Option<usize>,
    /// One line, without full stop.
    pub message: String,
    /// More to read: types, or the obvious fix.
    pub note: Option<String>,
}

impl OpError {
    /// An error about the op as a whole.
    pub fn new(message: impl Into<String>) -> OpError {
        OpError { op: String::new(), param: None, index: None, message: message.into(), note: None }
    }

    /// An error about one parameter.
    pub fn at(param: &str, message: impl Into<String>) -> OpError {
        OpError { param: Some(param.into()), ..OpError::new(message) }
    }

    /// With the position in a variadic parameter.
    pub fn index(self, index: usize) -> OpError {
        OpError { index: Some(index), ..self }
    }

    /// With a note.
    pub fn note(self, note: impl Into<String>) -> OpError {
        OpError { note: Some(note.into()), ..self }
    }

    pub(crate) fn of(self, op: &str) -> OpError {
        if self.op.is_empty() { OpError { op: op.into(), ..self } } else { self }
    }
}

impl fmt::Display for OpError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.op, self.message)?;
        match &self.note {
            Some(note) => write!(f, "\n{note}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for OpError {}
