//! Why something of a model cannot be said in MIL.

use std::fmt;

use mil_core::graph::BuildError;

use crate::ToolError;

/// Why an op, a tensor or an input of a model cannot be imported. The importer adds the place.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Refusal {
    /// What is not supported: one line, without full stop.
    pub message: String,
    /// What to do about it.
    pub remedy: Option<String>,
}

impl Refusal {
    /// A refusal with a message: one line, without full stop.
    pub fn new(message: impl Into<String>) -> Refusal {
        Refusal { message: message.into(), remedy: None }
    }

    /// With what to do about it.
    #[must_use]
    pub fn remedy(self, remedy: impl Into<String>) -> Refusal {
        Refusal { remedy: Some(remedy.into()), ..self }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        match &self.remedy {
            Some(remedy) => write!(f, "; {remedy}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Refusal {}

/// The error of a model that has what MIL cannot say, a line for each thing.
pub(crate) fn unsaid(file: impl fmt::Display, lines: &[String]) -> ToolError {
    ToolError::new(format!("`{file}` cannot be said in MIL: {}", lines.join("\n")))
}

/// What MIL does not take. The line of Rust that pushed it is of no use to the model's owner.
impl From<BuildError> for Refusal {
    fn from(e: BuildError) -> Refusal {
        (*e.error).into()
    }
}

impl From<mil_core::op::OpError> for Refusal {
    fn from(e: mil_core::op::OpError) -> Refusal {
        Refusal { message: format!("MIL's `{}` does not take this: {}", e.op, e.message), remedy: e.note }
    }
}

/// What cannot be a constant.
impl From<String> for Refusal {
    fn from(message: String) -> Refusal {
        Refusal::new(message)
    }
}
