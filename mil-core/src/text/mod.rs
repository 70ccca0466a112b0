//! MIL text: a program as a compiled model's `model.mil` says it.
//!
//! This is the form that people, `mil inspect` and snapshots see, and that a compiled model (`.mlmodelc`) is read from.
//! [`Program`] and [`Function`] print themselves in it ([`Options::default`]); [`to_string`] and [`write()`] take options.
//! [`parse`] reads it; what [`Weights::Full`] prints it reads to the same program, which prints to the same text.
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
//! type       = "tensor<" dtype "," "[" [size ("," size)*] "]" ">" | dtype | "state<" type ">"
//!            | "list<" type "," size ">" | "tuple<" [type ("," type)*] ">" | "dict<" type "," type ">"
//! size       = number | "?"
//! value      = type "(" (literal | blob) ")"
//! blob       = "BLOBFILE(path =" value ", offset =" value ")"
//! literal    = "true" | "false" | integer | float | "inf" | "-inf" | "nan" | string
//!            | "[" [literal ("," literal)*] "]"                      a tensor, row by row; a list
//!            | "(" [literal ("," literal)*] ")"                      a tuple
//!            | "{" ["{" literal "," literal "}" ("," ..)*] "}"       a dictionary
//!            | "WEIGHT(" .. ")"
//! name       = identifier | string
//! ```
//!
//! The compiler writes `program(1.0)` for models before specification version 9, with scalars as `tensor<string, []>`,
//! and `program(1.3)` from then on, with a dtype alone: `string`. So does the printer; the parser takes either anywhere.
//! Arguments and attributes are sorted by name.
//!
//! A parenthesis around bindings marks a variadic parameter (`concat.values`), however many there are. Floats are
//! exact: hexadecimal digits with a binary exponent, as C's `%a` prints them (decimal ones are read too). A finite float
//! that is infinite in its dtype is an error, and so is an integer that does not fit. A tensor without elements is `[]`;
//! its sizes are in its type. A `?` in the type of a constant is the size that is found. Strings escape `"`, `\`, and
//! control characters as JSON does; that the compiler does so too no public text shows.
//!
//! `BLOBFILE(..)` stands for a constant in a weight file. It is read; a program in memory has no file, so that it is not
//! printed. What follows is this project's own. `WEIGHT(name = "conv.weight")` is a weight that is not attached yet.
//! `WEIGHT(fnv1a = 0x.., bytes = n)` stands for a constant too large to read ([`Weights::Elide`]): it tells two
//! constants apart, but is **for reading only**, since the elements are not there. `nan(0x7e01)` is a NaN of other bits
//! than the usual. A name that is no identifier (`[A-Za-z_][A-Za-z0-9_@]*`; Core ML takes no other) is written as a string.
//! No public `model.mil` shows how the compiler writes nested blocks; their place after the attributes is this project's.
//!
//! The text holds what the format's `Program` message holds, and of the model's description the sizes of inputs: the
//! compiler says them at the function, as `FlexibleShapeInformation`, and so does [`Weights::Full`]. The rest of the
//! description (images, classifiers, metadata, which function is the default) and source lines are not in it.

mod error;
mod flexible;
mod lexer;
mod literals;
mod numbers;
mod parser;
mod printer;
mod read;
mod types;
mod values;

use std::fmt;

use crate::ir::{Function, Program};
use printer::Printer;

pub use error::ParseError;
pub(crate) use read::{Beside, model, program};
pub use read::{parse, parse_with};

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

/// How things are spelled.
#[derive(Clone, Copy, Debug)]
struct Style {
    weights: Weights,
    symbols: bool,
    /// Scalars by their dtype alone.
    short: bool,
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
    Printer::new(out, options, program.opset).program(program)
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
        Printer::new(f, &Options::default(), self.opset).function(self)
    }
}

#[cfg(test)]
mod made_up_tests;
#[cfg(test)]
mod parse_tests;
#[cfg(test)]
mod tests;
