//! Reads a model and writes it again.

use std::path::{Path, PathBuf};

use mil_core::{
    ir::Program,
    package::{PackageKind, PackageReader, write_mlmodel},
    spec::{self, NoWeights, encode},
};

use crate::{ToolError, check};

/// Reads a model, checks it, and writes it: whole, or not at all. Weights go from the mapped file to the new one, never
/// through memory as a whole. Models of other kinds than ML Programs are copied byte for byte, with all files of the
/// package.
///
/// # Errors
/// If the model cannot be read or written, the two paths are the same or one is inside the other, or the ending of `to`
/// is of another kind of file than `from` is.
pub fn copy(from: &Path, to: &Path) -> Result<(), ToolError> {
    let package = PackageReader::open(from)?;
    let kind = destination(&package, to)?;
    separate(from, to)?;
    let model = package.model()?;
    if !matches!(model.r#type, Some(spec::model::Type::MlProgram(_))) {
        return Ok(package.copy_to(to)?);
    }
    // The decoded message is not needed any more; programs are read from the package, weights and all.
    drop(model);
    let program = Program::from_package(&package)?;
    check::valid(from, &program, ", see `mil check`")?;
    write_program(&program, kind, to)
}

/// Writes a program, as a package or a bare model.
pub(crate) fn write_program(program: &Program, kind: Destination, to: &Path) -> Result<(), ToolError> {
    match kind {
        Destination::Package => program.save(to)?,
        Destination::Bare => {
            // A bare model has no weight file.
            let model = encode(program, &mut NoWeights);
            let model = model.map_err(|e| ToolError::new(format!("`{}`: {e}", to.display())))?;
            write_mlmodel(to, &model)?;
        }
    }
    Ok(())
}

/// What is written.
#[derive(Clone, Copy)]
pub(crate) enum Destination {
    Package,
    Bare,
}

/// What `to` shall be, by its ending.
pub(crate) fn destination(package: &PackageReader, to: &Path) -> Result<Destination, ToolError> {
    let wrong = |what: &str| Err(ToolError::new(format!("`{}`: {what}", to.display())));
    match (to.extension().and_then(|e| e.to_str()), package.kind()) {
        (Some("mlpackage"), _) => Ok(Destination::Package),
        (Some("mlmodel"), PackageKind::Mlmodel) => Ok(Destination::Bare),
        (Some("mlmodel"), _) => wrong(
            "a bare model, which has no place for weights, is copied from another alone; end the name in `.mlpackage`",
        ),
        _ => wrong("end the name in `.mlpackage`, or in `.mlmodel` for a bare model"),
    }
}

/// What a program is written as: a package, since weights want a file.
pub(crate) fn destination_of_program(to: &Path) -> Result<Destination, ToolError> {
    match to.extension().and_then(|e| e.to_str()) {
        Some("mlpackage") => Ok(Destination::Package),
        _ => Err(ToolError::new(format!("`{}`: end the name in `.mlpackage`", to.display()))),
    }
}

/// A package is not written over itself, into itself, or over a directory that holds it.
pub(crate) fn separate(from: &Path, to: &Path) -> Result<(), ToolError> {
    let (a, b) = (real(from), real(to));
    let (from, to) = (from.display(), to.display());
    if a == b {
        return Err(ToolError::new(format!("`{to}` is the model itself; give the copy another name")));
    }
    if b.starts_with(&a) {
        return Err(ToolError::new(format!("`{to}` is inside `{from}`; give the copy another place")));
    }
    if a.starts_with(&b) {
        return Err(ToolError::new(format!(
            "`{from}` is inside `{to}`, which would be replaced; give the copy another place"
        )));
    }
    Ok(())
}

/// The path without links, as far as it exists.
fn real(path: &Path) -> PathBuf {
    if let Ok(real) = path.canonicalize() {
        return real;
    }
    let parent = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    match (parent.canonicalize(), path.file_name()) {
        (Ok(parent), Some(name)) => parent.join(name),
        _ => path.to_path_buf(),
    }
}
