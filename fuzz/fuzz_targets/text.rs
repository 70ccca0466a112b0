//! MIL text: read, printed, and read again.

#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../../mil-core/tests/hostile/text.rs"]
mod through;

fuzz_target!(|bytes: &[u8]| {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    match mil_core::text::parse(text) {
        Ok(program) => drop(through::round_trip(&program)),
        Err(e) => assert!(e.line().is_none_or(|line| line <= 1 + text.matches('\n').count()), "{e}"),
    }
});
