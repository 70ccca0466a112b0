//! Places in a user's source.

use std::{fmt, panic::Location};

/// Where an op was written.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Loc {
    /// File, as the compiler names it.
    pub file: String,
    /// Line, from 1.
    pub line: u32,
    /// Column, from 1.
    pub column: u32,
}

impl Loc {
    /// The place of the caller (of a `#[track_caller]` function).
    #[track_caller]
    pub fn caller() -> Loc {
        let at = Location::caller();
        Loc { file: at.file().into(), line: at.line(), column: at.column() }
    }
}

impl fmt::Display for Loc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.file, self.line, self.column)
    }
}
