//! MIL text: a program as a compiled model's `model.mil` says it.
//!
//! This is the form that people, `mil inspect` and snapshots see. [`Program`] and [`Function`] print themselves in it
//! ([`Options::default`]); [`to_string`] and [`write()`] take options.
//!
//! # Grammar
//!
//! ```text
//! program    = "program(" version ")" [attributes] "{" function* "}"
//! function   = "func" name "<" opset ">" inputs [attributes] body ";"
//! inputs     = "(" [type name ("," type name)*] ")"
//! body       = "{" op* "}" "->" "(" [name ("," name)*] ")" [attributes]
//! op         = [type name ("," type name)* "="] opname "(" [argument ("," argument)*] ")" [attributes] [blocks] ";"
//! blocks     = [inputs] body ("," [inputs] body)*
//! argument   = param "=" (binding | "(" [binding ("," binding)*] ")")
//! binding    = name | value
//! attributes = "[" name "=" value ("," name "=" value)* "]"
//! type       = "tensor<" dtype "," "[" [size ("," size)*] "]" ">" | "state<" type ">" | "list<" type "," size ">"
//!            | "tuple<" [type ("," type)*] ">" | "dict<" type "," type ">"
//! size       = number | "?"
//! value      = type "(" literal ")"
//! literal    = "true" | "false" | integer | hexfloat | "inf" | "-inf" | "nan" | string
//!            | "[" [literal ("," literal)*] "]"                      a tensor, row by row; a list
//!            | "(" [literal ("," literal)*] ")"                      a tuple
//!            | "{" ["{" literal "," literal "}" ("," ..)*] "}"       a dictionary
//!            | "WEIGHT(" .. ")"
//! ```
//!
//! A parenthesis around bindings marks a variadic parameter (`concat.values`), however many there are. Floats are
//! exact: hexadecimal digits with a binary exponent, as C's `%a` prints them. Strings escape `"`, `\`, and control
//! characters as JSON does. A tensor without elements is `[]`; its sizes are in its type. Parameters stand in the order
//! of the op's definition (Core ML's compiler sorts them by name, which says the same).
//!
//! `WEIGHT(..)` is this project's own, and stands where a compiled model has `BLOBFILE(path = .., offset = ..)`:
//! a program in memory has no file. `WEIGHT(name = "conv.weight")` is a weight that is not attached yet.
//! `WEIGHT(fnv1a = 0x.., bytes = n)` stands for a constant too large to read ([`Weights::Elide`]): it tells two
//! constants apart, but is **for reading only**, since the elements are not there.
//! No public `model.mil` shows how the compiler writes nested blocks; their place after the attributes is this project's.
//!
//! The text holds what the format's `Program` message holds. The model's description (features, metadata, which function
//! is the default) and source lines are not in it.

mod printer;
mod types;
mod values;

use std::fmt;

use crate::ir::{Function, Program};
use printer::Printer;

/// How constants are printed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Weights {
    /// Constants of more than [`MAX_SHOWN`] elements as their hash and size: for people and snapshots.
    #[default]
    Elide,
    /// Every element: the form that says all of the program.
    Full,
}

/// The most elements that [`Weights::Elide`] prints.
pub const MAX_SHOWN: usize = 16;

/// What is printed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Options {
    /// How constants are printed.
    pub weights: Weights,
    /// Sizes that are known only when the program runs: as expressions over symbols (`H / 2`, for reading only) instead
    /// of MIL's `?`.
    pub symbols: bool,
}

/// The text of a program.
pub fn to_string(program: &Program, options: &Options) -> String {
    let mut text = String::new();
    // A `String` takes everything.
    let _ = write(&mut text, program, options);
    text
}

/// Writes the text of a program: nothing as large as a constant is held in memory.
///
/// # Errors
/// If `out` fails.
pub fn write(out: &mut dyn fmt::Write, program: &Program, options: &Options) -> fmt::Result {
    Printer { out, options }.program(program)
}

impl Program {
    /// The program as MIL text, large constants elided: what `Display` writes. See [`mod@crate::text`].
    pub fn to_text(&self) -> String {
        to_string(self, &Options::default())
    }
}

/// As MIL text, large constants elided; see [`mod@crate::text`].
impl fmt::Display for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write(f, self, &Options::default())
    }
}

/// As MIL text, large constants elided; see [`mod@crate::text`].
impl fmt::Display for Function {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Printer { out: f, options: &Options::default() }.function(self)
    }
}

#[cfg(test)]
mod tests;
