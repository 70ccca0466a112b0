//! Is this a model that can be read, and that says what it must?

use std::path::Path;

use mil_core::ir::Program;

/// Everything that is wrong with a model; nothing if it is right.
///
/// A model that cannot be read is one diagnostic; one that can be is validated, which finds all there is to find.
pub fn check(path: &Path) -> Vec<String> {
    match Program::load(path) {
        Ok(_) => vec![],
        Err(e) => vec![crate::ToolError::from(e).line()],
    }
}
