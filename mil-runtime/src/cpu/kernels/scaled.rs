//! Sizes where code is interpreted: miri checks every access, and takes some ten thousand times as long. Blocks, shapes and numbers of cases
//! are small there, so that tests walk all of the unsafe code still.

/// The usual size, or this one where the code is interpreted.
pub(crate) const fn scaled(usual: usize, interpreted: usize) -> usize {
    if cfg!(miri) { interpreted } else { usual }
}

#[cfg(test)]
pub(crate) mod testing {
    use std::ops::Range;

    use proptest::prelude::*;

    use super::scaled;

    /// So many cases of a property, or this few where the code is interpreted. Nothing is written where one fails.
    pub(crate) fn cases(usual: usize, interpreted: usize) -> ProptestConfig {
        let cases = u32::try_from(scaled(usual, interpreted)).unwrap();
        ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() }
    }

    /// How many threads: one, or two. Always two where races are looked for.
    pub(crate) fn threads() -> Range<usize> {
        scaled(1, 2)..3
    }
}
