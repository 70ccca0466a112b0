//! Errors of Core ML.

use objc2_foundation::NSError;

use crate::error::{RunError, SystemError};

/// What was tried, and what Core ML says, with the errors underneath: there the useful text is.
pub(super) fn core_ml_error(what: &str, error: &NSError) -> RunError {
    let error = system_error(error, 0);
    RunError::with_source(format!("{what}: {error}"), error)
}

fn system_error(error: &NSError, depth: usize) -> SystemError {
    // Errors are trees in theory and short chains in practice.
    let below = if depth < 8 { error.underlyingErrors().firstObject() } else { None };
    SystemError {
        domain: error.domain().to_string(),
        code: error.code() as i64,
        message: error.localizedDescription().to_string(),
        cause: below.map(|e| Box::new(system_error(&e, depth + 1))),
    }
}
