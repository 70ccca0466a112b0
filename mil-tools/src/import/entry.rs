//! Lists of lowerings.

/// How an op is lowered, by a function `F` of an importer.
pub(crate) struct Entry<F> {
    /// The op's name, as the importer looks it up.
    pub(crate) name: &'static str,
    /// Says it in MIL.
    pub(crate) lower: F,
    /// What is not supported of it, in a sentence without full stop; empty if all is.
    pub(crate) limits: &'static str,
}

impl<F: Copy> Entry<F> {
    pub(crate) const fn new(name: &'static str, lower: F) -> Entry<F> {
        Entry { name, lower, limits: "" }
    }

    /// With what is not supported.
    pub(crate) const fn but(self, limits: &'static str) -> Entry<F> {
        Entry { limits, ..self }
    }
}
