//! Is this a model that can be read, and that says what it must?

use std::path::Path;

use mil_core::{ir::Program, validate::validate};

use crate::ToolError;

/// Everything that is wrong with a model; nothing if it is right.
///
/// A model that cannot be read is one diagnostic; one that can be is validated, which finds all there is to find.
pub fn check(path: &Path) -> Vec<String> {
    match Program::load(path) {
        Ok(program) => diagnostics(path, &program),
        Err(e) => vec![ToolError::from(e).line()],
    }
}

/// Everything that is wrong with a program that was read from `path`, a line each.
pub(crate) fn diagnostics(path: &Path, program: &Program) -> Vec<String> {
    let found = validate(program).err();
    let all = found.iter().flat_map(|d| d.iter());
    all.map(|d| crate::error::one_line(&format!("`{}`: {d}", path.display()))).collect()
}
