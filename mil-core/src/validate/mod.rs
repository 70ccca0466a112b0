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
//! | | `constexprs` | `constexpr_` ops read constants in place, or (iOS18) each other |
//! | | `ranks` | nothing has a rank above 5, except constants that only `constexpr_` ops read |
//! | `opset.rs` | `opsets` | no function speaks a newer opset than the program |
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
//! | | `empty_inputs` | no input is of size 0 |
//! | | `enumerated` | several inputs of enumerated sizes need iOS18 and as many sizes each |
//! | | `optional_states` | no state is optional |
//! | `warnings.rs` | | *not errors; told by [`warnings`]:* |
//! | | `large_weights` | all weights together are below 2 GiB |
//! | | `f16_overflow` | no constant of f16 is infinite |
//! | | `integer_matmul` | no `matmul` of integers |
//! | | `vector_matmul` | no `matmul` of a vector |
//! | | `computed_weight` | a convolution whose weight is computed has no bias |
//! | | `unbounded_reduction` | nothing is reduced over a dimension that may be of any size |
//! | | `several_enumerated` | at most one input has enumerated sizes |
//! | | `many_states` | at most two states |
//!
//! What an op asks of its arguments (shapes, dtypes, opset, constness) is the op's own rule, in [`crate::ops`], and
//! reported by `inference`. A rule is one function; a new rule is added to its file, the list below, and this table.

mod features;
mod opset;
mod outputs;
mod report;
mod scope;
mod types;
mod warnings;

pub(crate) use opset::interface_dtype;
pub use report::{Diagnostic, Diagnostics};

use crate::{
    ir::{Function, Program},
    types::Opset,
};
use report::Report;

/// Rules of a program as a whole.
const PROGRAM_RULES: &[ProgramRule] = &[scope::functions, opset::opsets, opset::multifunction];

/// Rules of one function.
const FUNCTION_RULES: &[FunctionRule] = &[
    scope::value_names,
    scope::definitions,
    scope::uses,
    scope::blocks,
    types::sizes,
    types::constants,
    types::weights,
    types::inference,
    types::defaults,
    types::constexprs,
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
    features::empty_inputs,
    features::enumerated,
    features::optional_states,
];

/// Rules whose breach is a warning.
const PROGRAM_WARNINGS: &[ProgramRule] = &[warnings::large_weights];

/// Rules of one function whose breach is a warning.
const FUNCTION_WARNINGS: &[FunctionRule] = &[
    warnings::f16_overflow,
    warnings::integer_matmul,
    warnings::vector_matmul,
    warnings::computed_weight,
    warnings::unbounded_reduction,
    warnings::several_enumerated,
    warnings::many_states,
];

/// Checks all rules; see the module's list.
///
/// # Errors
/// If one does not hold; all that do not are in the error.
pub fn validate(program: &Program) -> Result<(), Diagnostics> {
    let found = apply(program, PROGRAM_RULES, FUNCTION_RULES);
    if found.is_empty() { Ok(()) } else { Err(Diagnostics(found)) }
}

/// What some Apple systems may refuse of a program that [`validate`] accepts, or get wrong; see the module's list.
pub fn warnings(program: &Program) -> Vec<Diagnostic> {
    apply(program, PROGRAM_WARNINGS, FUNCTION_WARNINGS)
}

/// Whether systems of a release can read the program: iOS16, say, reads opsets up to `CoreML6` and specification versions up to 7.
///
/// Core ML: "Unknown opset 'CoreML7'"; "the model supplied is of version 8, intended for a newer version of Xcode".
///
/// # Errors
/// If the program speaks a newer opset; the error tells the ops that are not in the older one.
pub fn runs_since(program: &Program, target: Opset) -> Result<(), Diagnostics> {
    let mut found = vec![];
    if program.opset > target {
        let mut newer: Vec<&str> = program
            .functions
            .values()
            .flat_map(|f| f.walk().into_iter().map(|id| f.op(id).def))
            .filter(|def| def.since > target)
            .map(|def| def.name)
            .collect();
        newer.sort_unstable();
        newer.dedup();
        let (version, known) = (program.opset.spec_version(), target.spec_version());
        let message = format!(
            "it speaks opset {} (specification version {version}), {target} reads up to version {known}",
            program.opset
        );
        let remedy = match &newer[..] {
            [] => format!("build it with `opset = {target}`: all its ops exist there"),
            ops => format!("build it with `opset = {target}`, without the ops {}", ops.join(", ")),
        };
        Report::new(&mut found, None).whole(message, &remedy);
    }
    if found.is_empty() { Ok(()) } else { Err(Diagnostics(found)) }
}

type ProgramRule = fn(&Program, &mut Report<'_>);
type FunctionRule = fn(&Function, &mut Report<'_>);

fn apply(program: &Program, whole: &[ProgramRule], each: &[FunctionRule]) -> Vec<Diagnostic> {
    let mut found = vec![];
    for rule in whole {
        rule(program, &mut Report::new(&mut found, None));
    }
    for function in program.functions.values() {
        for rule in each {
            rule(function, &mut Report::new(&mut found, Some(function)));
        }
    }
    found
}

#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
