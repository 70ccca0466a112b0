//! Programs through their text.

#![allow(dead_code, unreachable_pub)] // each user takes a part, some from outside this crate

use mil_core::{
    ir::Program,
    spec::{self, NoWeights, SpecError},
    text::{Options, Weights, parse, to_string},
    validate::validate,
};

/// All of the text.
pub fn full(program: &Program) -> String {
    to_string(program, &Options { weights: Weights::Full, symbols: false })
}

/// The program as messages: what a file holds, whatever the arenas are like.
pub fn message(program: &Program) -> Result<spec::mil::Program, SpecError> {
    spec::encode(program, &mut NoWeights).map(program_of)
}

fn program_of(model: spec::Model) -> spec::mil::Program {
    match model.r#type {
        Some(spec::model::Type::MlProgram(program)) => program,
        _ => unreachable!("a program is encoded as one"),
    }
}

/// Through text and back: the same text, the same message. `None` for what is not valid or cannot be encoded, or could not be read from
/// a file either: neither file nor text holds all that is known of the symbols of sizes.
#[track_caller]
pub fn round_trip(program: &Program) -> Option<Program> {
    // A description that contradicts the types has no place in the text.
    validate(program).ok()?;
    // The text names the functions' opsets, not the model's.
    if program.functions.values().any(|f| f.opset != program.opset) {
        return None;
    }
    let model = spec::encode(program, &mut NoWeights).ok()?;
    spec::decode(&model, &NoWeights).ok()?;
    let expected = program_of(model);
    let text = full(program);
    let again = match parse(&text) {
        Ok(again) => again,
        Err(e) => panic!("{e}\n{text}"),
    };
    assert_eq!(full(&again), text);
    // The description is not in the text; without it, one is derived, which not all types have.
    let mut described = again.clone();
    for (name, f) in &mut described.functions {
        let from = &program.functions[name];
        f.input_features.clone_from(&from.input_features);
        f.output_features.clone_from(&from.output_features);
        f.state_features.clone_from(&from.state_features);
    }
    // As text: a NaN is not equal to itself.
    assert!(format!("{:?}", message(&described).unwrap()) == format!("{expected:?}"), "another message from\n{text}");
    Some(again)
}
