//! Validation: what must hold of a program before it is written, run or handed to Core ML.
//!
//! The builder and the decoder make programs that hold most of this by construction; passes and readers of other
//! formats may not. Some rules are Core ML's own, which it would tell only on the user's Mac, in words about its insides:
//! they are checked here, where the program is made. All that is wrong is reported, not only the first.
//!
//! # The rules
//!
//! | file | rule | what must hold |
//! |---|---|---|
//! | `scope.rs` | `functions` | there is a function; the default function exists; names are MIL names and agree |
//! | | `value_names` | values have MIL names, none reserved, no two that see each other the same |
//! | | `definitions` | every value is defined once, where it says it is |
//! | | `uses` | what is used is defined before, in this block or one around it |
//! | | `blocks` | an op has as many nested blocks as its definition says |
//! | `types.rs` | `sizes` | no size is negative |
//! | | `constants` | a `const` has a value, of the type it declares |
//! | | `weights` | every weight has its bytes |
//! | | `inference` | the op's own rule accepts its arguments, and declared types agree with what it infers |
//! | | `defaults` | parameters with a default are written out |
//! | | `ranks` | nothing has a rank above 5, except constants that only `constexpr_` ops read |
//! | `opset.rs` | `opsets` | all functions speak the program's opset |
//! | | `constant_dtypes` | constants are of dtypes that the opset has |
//! | | `multifunction` | several functions need iOS18 |
//! | | `states` | states need iOS18, are of f16, and of fixed size |
//! | | `interface_dtypes` | inputs and outputs are of dtypes that the opset allows there |
//! | | `no_inputs` | a function without inputs needs iOS18 |
//! | `outputs.rs` | `at_least_one` | a function has an output |
//! | | `kinds` | outputs are tensors (a classifier's also labels and dictionaries) |
//! | | `distinct` | no value is an output twice |
//! | | `made` | an output is made by an op, so that it is no input |
//! | `features.rs` | `names` | the description names exactly the inputs, outputs and states that there are |
//! | | `arrays` | dtype, default size and flexible sizes agree with the function's types |
//! | | `images` | image inputs and outputs are tensors `[1, channels, height, width]` of the right sizes |
//! | | `enumerated` | several inputs of enumerated sizes need iOS18, and equally many sizes |
//!
//! What an op asks of its arguments (shapes, dtypes, opset, constness) is the op's own rule, in [`crate::ops`], and
//! reported by `inference`. A rule is one function; a new rule is added to its file, the list below, and this table.

mod features;
mod opset;
mod outputs;
mod report;
mod scope;
mod types;

pub use report::{Diagnostic, Diagnostics};

use crate::ir::{Function, Program};
use report::Report;

/// Rules of a program as a whole.
const PROGRAM_RULES: &[fn(&Program, &mut Report<'_>)] = &[scope::functions, opset::opsets, opset::multifunction];

/// Rules of one function.
const FUNCTION_RULES: &[fn(&Function, &mut Report<'_>)] = &[
    scope::value_names,
    scope::definitions,
    scope::uses,
    scope::blocks,
    types::sizes,
    types::constants,
    types::weights,
    types::inference,
    types::defaults,
    types::ranks,
    opset::constant_dtypes,
    opset::states,
    opset::interface_dtypes,
    opset::no_inputs,
    outputs::at_least_one,
    outputs::kinds,
    outputs::distinct,
    outputs::made,
    features::names,
    features::arrays,
    features::images,
    features::enumerated,
];

/// Checks all rules; see the module's list.
///
/// # Errors
/// If one does not hold; all that do not are in the error.
pub fn validate(program: &Program) -> Result<(), Diagnostics> {
    let mut found = vec![];
    for rule in PROGRAM_RULES {
        rule(program, &mut Report::new(&mut found, None));
    }
    for function in program.functions.values() {
        for rule in FUNCTION_RULES {
            rule(function, &mut Report::new(&mut found, Some(function)));
        }
    }
    if found.is_empty() { Ok(()) } else { Err(Diagnostics(found)) }
}

#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
