//! One op with made-up arguments: inferred, and run on zeros if it can be.

#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../../mil-core/tests/hostile/mod.rs"]
mod hostile;

fuzz_target!(|bytes: &[u8]| {
    if let Some(program) = hostile::ops::program(&mut hostile::Choices(bytes)) {
        program.functions.values().for_each(|f| drop(hostile::run::run_on_zeros(f)));
    }
});
