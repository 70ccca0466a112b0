//! The error of reading and writing files.

use std::error::Error;
use std::fmt;
use std::path::{Path, PathBuf};

/// A file or directory could not be read or written.
///
/// The message is one line: the path, what was found, and what was expected or what to do.
#[derive(Debug)]
pub struct FileError {
    path: PathBuf,
    message: String,
    source: Option<Box<dyn Error + Send + Sync>>,
}

impl FileError {
    /// An error about `path`; `message` says what was found and expected.
    pub fn new(path: impl Into<PathBuf>, message: impl Into<String>) -> Self {
        Self { path: path.into(), message: message.into(), source: None }
    }

    /// An error about `path` that another error caused; its text is appended to `message`.
    pub fn caused_by(
        path: impl Into<PathBuf>,
        message: impl Into<String>,
        source: impl Into<Box<dyn Error + Send + Sync>>,
    ) -> Self {
        Self { path: path.into(), message: message.into(), source: Some(source.into()) }
    }

    /// The file or directory concerned.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl fmt::Display for FileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}`: {}", self.path.display(), self.message)?;
        match &self.source {
            Some(source) => write!(f, ": {source}"),
            None => Ok(()),
        }
    }
}

impl Error for FileError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.source.as_ref().map(|source| &**source as &(dyn Error + 'static))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_path_problem_and_cause() {
        let cause = std::io::Error::other("no luck");
        let error = FileError::caused_by("a/b.bin", "cannot be opened", cause);
        assert_eq!(error.to_string(), "`a/b.bin`: cannot be opened: no luck");
        assert_eq!(error.source().unwrap().to_string(), "no luck");
        assert_eq!(error.path(), Path::new("a/b.bin"));
        assert_eq!(FileError::new("x", "is empty").to_string(), "`x`: is empty");
    }
}
