//! Is this a model that can be read, and that says what it must?

use std::path::Path;

use mil_core::{
    ir::Program,
    types::Opset,
    validate::{Diagnostic, runs_since, validate, warnings},
};

use crate::ToolError;

/// What is to say of a model, a line each.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Verdict {
    /// What is wrong with it: Core ML would refuse it. Empty if it is right.
    pub errors: Vec<String>,
    /// What some systems may refuse, as far as users have told; see [`warnings`].
    pub warnings: Vec<String>,
}

/// Everything that is wrong with a model, for systems of a release on if one is given.
///
/// A model that cannot be read is one error; one that can be is validated, which finds all there is to find.
pub fn check(path: &Path, target: Option<Opset>) -> Verdict {
    let program = match Program::load(path) {
        Ok(program) => program,
        Err(e) => return Verdict { errors: vec![ToolError::from(e).line()], warnings: vec![] },
    };
    let mut errors = diagnostics(path, &program);
    if let Some(Err(newer)) = target.map(|t| runs_since(&program, t)) {
        errors.extend(newer.iter().map(|d| line(path, d)));
    }
    // Of a program that is wrong in itself, they would say little.
    let warnings = if errors.is_empty() { warnings(&program).iter().map(|d| line(path, d)).collect() } else { vec![] };
    Verdict { errors, warnings }
}

fn line(path: &Path, diagnostic: &Diagnostic) -> String {
    crate::error::one_line(&format!("`{}`: {diagnostic}", path.display()))
}

/// Refuses a program in which something is wrong, with the first of it; `see` says where the others are told.
///
/// # Errors
/// If anything is wrong.
pub(crate) fn valid(path: &Path, program: &Program, see: &str) -> Result<(), ToolError> {
    match &diagnostics(path, program)[..] {
        [] => Ok(()),
        [one] => Err(ToolError::new(one)),
        [first, more @ ..] => Err(ToolError::new(format!("{first}; and {} more{see}", more.len()))),
    }
}

/// Everything that is wrong with a program that was read from `path`, a line each.
fn diagnostics(path: &Path, program: &Program) -> Vec<String> {
    let found = validate(program).err();
    let all = found.iter().flat_map(|d| d.iter());
    all.map(|d| line(path, d)).collect()
}
