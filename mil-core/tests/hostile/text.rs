//! Programs through their text.

#![allow(dead_code, unreachable_pub)] // each user takes a part, some from outside this crate

use mil_core::{
    ir::{Constant, Program},
    spec::{self, SpecError, WeightSink},
    text::{Options, Weights, parse, to_string},
};

/// All of the text.
pub fn full(program: &Program) -> String {
    to_string(program, &Options { weights: Weights::Full, symbols: false })
}

/// The program as messages: what a file holds, whatever the arenas are like.
pub fn message(program: &Program) -> Result<spec::mil::Program, SpecError> {
    struct InPlace;
    impl WeightSink for InPlace {
        fn put(&mut self, _: &Constant) -> Result<Option<(String, u64)>, SpecError> {
            Ok(None)
        }
    }
    match spec::encode(program, &mut InPlace)?.r#type {
        Some(spec::model::Type::MlProgram(program)) => Ok(program),
        _ => unreachable!("a program is encoded as one"),
    }
}

/// Through text and back: the same text, the same message. `None` for what cannot be encoded at all.
#[track_caller]
pub fn round_trip(program: &Program) -> Option<Program> {
    let expected = message(program).ok()?;
    let text = full(program);
    let again = match parse(&text) {
        Ok(again) => again,
        Err(e) => panic!("{e}\n{text}"),
    };
    assert_eq!(full(&again), text);
    assert_eq!(message(&again).unwrap(), expected, "{text}");
    Some(again)
}
