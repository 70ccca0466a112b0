//! The error of the tools.

use std::{error::Error, fmt};

use mil_core::error::FileError;
use mil_runtime::RunError;

/// Why a tool gave up: one line that names the file and says what to do.
#[derive(Debug)]
pub struct ToolError {
    message: String,
    source: Option<Box<dyn Error + Send + Sync>>,
}

impl ToolError {
    /// An error with a message: one line, without full stop.
    pub fn new(message: impl Into<String>) -> ToolError {
        ToolError { message: message.into(), source: None }
    }

    /// The error and its causes on one line; a cause that the line before says already is not repeated.
    pub fn line(&self) -> String {
        let mut line = self.to_string();
        let mut cause = self.source();
        while let Some(error) = cause {
            let text = error.to_string();
            if !line.contains(&text) {
                line = format!("{line}: {text}");
            }
            cause = error.source();
        }
        one_line(&line)
    }
}

/// The text on one line, for those who read errors line by line.
pub(crate) fn one_line(text: &str) -> String {
    text.split('\n').map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>().join("; ")
}

impl fmt::Display for ToolError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl Error for ToolError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.source.as_deref().map(|e| e as _)
    }
}

impl From<FileError> for ToolError {
    fn from(e: FileError) -> ToolError {
        ToolError { message: e.to_string(), source: Some(Box::new(e)) }
    }
}

impl From<RunError> for ToolError {
    fn from(e: RunError) -> ToolError {
        ToolError { message: e.to_string(), source: Some(Box::new(e)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn causes_are_said_once_and_on_one_line() {
        let said = FileError::caused_by("a.bin", "cannot be read", std::io::Error::other("no luck"));
        assert_eq!(ToolError::from(said).line(), "`a.bin`: cannot be read: no luck");
        let cause = std::io::Error::other("first\n  second");
        let e = RunError::with_source("the prediction failed", cause);
        assert_eq!(ToolError::from(e).line(), "the prediction failed: first; second");
    }
}
