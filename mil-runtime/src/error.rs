//! What can go wrong when a model is loaded or run.

use std::fmt;

use mil_core::op::OpError;

/// An error of loading or running a model. It names what it is about: the file, the input, or the op.
#[derive(Debug)]
pub struct RunError {
    message: String,
    /// The op that failed, as `name (type)`.
    op: Option<String>,
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl RunError {
    /// An error with a message: one line, without full stop.
    pub fn new(message: impl Into<String>) -> RunError {
        RunError { message: message.into(), op: None, source: None }
    }

    /// An error with its cause.
    pub fn with_source(message: impl Into<String>, source: impl std::error::Error + Send + Sync + 'static) -> RunError {
        RunError { source: Some(Box::new(source)), ..RunError::new(message) }
    }

    /// The op it happened in.
    pub(crate) fn in_op(self, name: &str, kind: &str) -> RunError {
        let op = self.op.or_else(|| Some(format!("{name} ({kind})")));
        RunError { op, ..self }
    }
}

impl fmt::Display for RunError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.op {
            Some(op) => write!(f, "op {op}: {}", self.message),
            None => f.write_str(&self.message),
        }
    }
}

impl std::error::Error for RunError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source.as_deref().map(|e| e as _)
    }
}

impl From<OpError> for RunError {
    fn from(e: OpError) -> RunError {
        RunError::with_source(e.message.clone(), e)
    }
}
