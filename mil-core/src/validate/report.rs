//! What validation finds.

use std::fmt;

use crate::{
    ir::{Function, Loc, OpId},
    op::OpError,
};

/// One rule that does not hold, and where.
#[derive(Clone, PartialEq, Debug)]
pub struct Diagnostic {
    /// What was found and expected, and in the note what to do. `error.op` is the MIL name of the op, if it is about one.
    pub error: OpError,
    /// Name of the op concerned (its attribute `name`), if it is about one.
    pub op: Option<String>,
    /// The function, unless it is about the program.
    pub function: Option<String>,
    /// The line of Rust that made the op, if it is known.
    pub loc: Option<Loc>,
}

/// One line: ``src/net.rs:3:9: function `main`, op `add_0` (add): cannot broadcast [2] with [3]; ..``.
impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(loc) = &self.loc {
            write!(f, "{loc}: ")?;
        }
        if let Some(function) = &self.function {
            write!(f, "function `{}`", function.escape_debug())?;
        }
        if let Some(op) = &self.op {
            write!(f, ", op `{}` ({})", op.escape_debug(), self.error.op)?;
        }
        f.write_str(if self.function.is_some() { ": " } else { "program: " })?;
        f.write_str(&self.error.message.replace('\n', "; "))?;
        match &self.error.note {
            Some(note) => write!(f, "; {}", note.replace('\n', "; ")),
            None => Ok(()),
        }
    }
}

/// All that is wrong with a program; at least one.
#[derive(Clone, PartialEq, Debug)]
pub struct Diagnostics(pub(super) Vec<Diagnostic>);

impl Diagnostics {
    /// The diagnostics, by function and then by rule.
    pub fn iter(&self) -> std::slice::Iter<'_, Diagnostic> {
        self.0.iter()
    }
}

impl<'a> IntoIterator for &'a Diagnostics {
    type Item = &'a Diagnostic;
    type IntoIter = std::slice::Iter<'a, Diagnostic>;
    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl IntoIterator for Diagnostics {
    type Item = Diagnostic;
    type IntoIter = std::vec::IntoIter<Diagnostic>;
    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

/// One line each.
impl fmt::Display for Diagnostics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, diagnostic) in self.iter().enumerate() {
            write!(f, "{}{diagnostic}", if i == 0 { "" } else { "\n" })?;
        }
        Ok(())
    }
}

impl std::error::Error for Diagnostics {}

/// Where rules put what they find.
pub(super) struct Report<'a> {
    found: &'a mut Vec<Diagnostic>,
    function: Option<&'a Function>,
}

impl<'a> Report<'a> {
    pub(super) fn new(found: &'a mut Vec<Diagnostic>, function: Option<&'a Function>) -> Report<'a> {
        Report { found, function }
    }

    /// About the program or the function as a whole.
    pub(super) fn whole(&mut self, message: impl Into<String>, remedy: &str) {
        let error = OpError::new(message).note(remedy);
        let function = self.function.map(|f| f.name.clone());
        self.found.push(Diagnostic { error, op: None, function, loc: None });
    }

    /// About an op of the function.
    pub(super) fn op(&mut self, id: OpId, error: OpError) {
        let Some(f) = self.function else { return };
        let op = f.op(id);
        // A file may leave the name out; then the first output says which op it is.
        let output = || op.outputs.first().map(|v| f.value(*v).name.clone());
        let name = if op.name.is_empty() { output().unwrap_or_default() } else { op.name.clone() };
        self.found.push(Diagnostic {
            error: error.of(op.def.name),
            op: Some(name),
            function: Some(f.name.clone()),
            loc: f.loc(id).cloned(),
        });
    }

    /// About a value: at the op that defines it, else at the function.
    pub(super) fn value(&mut self, id: crate::ir::ValueId, message: impl Into<String>, remedy: &str) {
        match self.function.map(|f| f.value(id).def) {
            Some(crate::ir::Def::Op(op, _)) => self.op(op, OpError::new(message).note(remedy)),
            _ => self.whole(message, remedy),
        }
    }
}
