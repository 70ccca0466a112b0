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

    /// The same error with what to do about it.
    pub(crate) fn with_hint(self, hint: &str) -> RunError {
        RunError { message: format!("{}; {hint}", self.message), ..self }
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

/// An error that the operating system reports (an `NSError` of Core ML).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SystemError {
    /// Who says it: `com.apple.CoreML`.
    pub domain: String,
    /// The number that the domain gives it.
    pub code: i64,
    /// The text, as the system gives it.
    pub message: String,
    /// The error underneath.
    pub cause: Option<Box<SystemError>>,
}

/// On one line, with all causes: `message (domain code): cause`.
impl fmt::Display for SystemError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let message = self.message.split_whitespace().collect::<Vec<_>>().join(" ");
        write!(f, "{} ({} {})", message.trim_end_matches('.'), self.domain, self.code)?;
        match &self.cause {
            Some(cause) => write!(f, ": {cause}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for SystemError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.cause.as_deref().map(|e| e as _)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn system_errors_are_one_line() {
        let cause = SystemError { domain: "NSPOSIX".into(), code: 2, message: "No file.".into(), cause: None };
        let domain = "com.apple.CoreML".to_string();
        let e = SystemError { domain, code: 0, message: "Unable to\nload.".into(), cause: Some(Box::new(cause)) };
        assert_eq!(e.to_string(), "Unable to load (com.apple.CoreML 0): No file (NSPOSIX 2)");
        let source = std::error::Error::source(&e).unwrap();
        assert_eq!(source.to_string(), "No file (NSPOSIX 2)");
    }
}
