//! The bytes of a model: scanned, decoded, read as a program, written, and read again.

#![no_main]

use libfuzzer_sys::fuzz_target;
use mil_core::spec::{self, Message, decode::NoWeights, scan};

fuzz_target!(|bytes: &[u8]| {
    if scan::scan(bytes).is_err() {
        return;
    }
    let Ok(model) = spec::Model::decode(bytes) else { return };
    let Ok(program) = spec::decode(&model, &NoWeights) else { return };
    let mut inline = Inline;
    let Ok(model) = spec::encode(&program, &mut inline) else { return };
    let program = spec::decode(&model, &NoWeights).expect("what was written is read");
    let again = spec::encode(&program, &mut inline).expect("what was read is written");
    assert_eq!(model, again);
});

/// Keeps all constants in the message.
struct Inline;

impl spec::WeightSink for Inline {
    fn put(&mut self, _: &mil_core::ir::Constant) -> Result<Option<(String, u64)>, spec::SpecError> {
        Ok(None)
    }
}
