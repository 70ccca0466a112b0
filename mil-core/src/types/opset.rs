//! Opsets: which version of the op set a program speaks.

use std::fmt;

use super::dtype::DType;

/// A version of the op set, named after the iOS release that brought it.
///
/// The format's own name is `CoreML5` (iOS15) to `CoreML9` (iOS26); the model's `specificationVersion` is one more than
/// that number (source: `Function.opset` and `Model.specificationVersion` in what coremltools writes).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
#[allow(non_camel_case_types)] // Apple's spelling
pub enum Opset {
    /// `CoreML5`, specification version 6: the first that ML Programs have.
    #[default]
    iOS15,
    /// `CoreML6`, specification version 7: fp16 inputs and outputs.
    iOS16,
    /// `CoreML7`, specification version 8: 8- and 16-bit integers, mixed parameter dtypes.
    iOS17,
    /// `CoreML8`, specification version 9: states, several functions, sub-byte weights.
    iOS18,
    /// `CoreML9`, specification version 10: no op of its own, int8 inputs and outputs.
    iOS26,
}

impl Opset {
    /// All opsets, oldest first.
    pub const ALL: [Opset; 5] = [Opset::iOS15, Opset::iOS16, Opset::iOS17, Opset::iOS18, Opset::iOS26];

    /// `iOS15` .. `iOS26`.
    pub const fn name(self) -> &'static str {
        match self {
            Opset::iOS15 => "iOS15",
            Opset::iOS16 => "iOS16",
            Opset::iOS17 => "iOS17",
            Opset::iOS18 => "iOS18",
            Opset::iOS26 => "iOS26",
        }
    }

    /// `CoreML5` .. `CoreML9`, as `Function.opset` says it.
    pub const fn spec_name(self) -> &'static str {
        match self {
            Opset::iOS15 => "CoreML5",
            Opset::iOS16 => "CoreML6",
            Opset::iOS17 => "CoreML7",
            Opset::iOS18 => "CoreML8",
            Opset::iOS26 => "CoreML9",
        }
    }

    /// `Model.specificationVersion` of the first model that can use it: 6 .. 10.
    pub const fn spec_version(self) -> i32 {
        self as i32 + 6
    }

    /// The element types that a model's inputs and outputs may have (source: what coremltools lets a
    /// model have at each deployment target).
    pub const fn io_dtypes(self) -> &'static [DType] {
        match self {
            Opset::iOS15 => &[DType::F32, DType::I32],
            Opset::iOS16 | Opset::iOS17 | Opset::iOS18 => &[DType::F32, DType::I32, DType::F16],
            Opset::iOS26 => &[DType::F32, DType::I32, DType::F16, DType::I8],
        }
    }

    /// From either name: `iOS17` or `CoreML7`; the platform names of the same release (`macOS14`) work too.
    pub fn parse(name: &str) -> Option<Opset> {
        let same = |o: &Opset| o.name() == name || o.spec_name() == name;
        Opset::ALL.into_iter().find(same).or(match name {
            "macOS12" => Some(Opset::iOS15),
            "macOS13" => Some(Opset::iOS16),
            "macOS14" => Some(Opset::iOS17),
            "macOS15" => Some(Opset::iOS18),
            "macOS26" => Some(Opset::iOS26),
            _ => None,
        })
    }

    /// From a specification version, 6 .. 10.
    pub fn from_spec_version(version: i32) -> Option<Opset> {
        Opset::ALL.into_iter().find(|o| o.spec_version() == version)
    }
}

impl fmt::Display for Opset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_versions_agree() {
        for o in Opset::ALL {
            assert_eq!(Opset::parse(o.name()), Some(o));
            assert_eq!(Opset::parse(o.spec_name()), Some(o));
            assert_eq!(Opset::from_spec_version(o.spec_version()), Some(o));
        }
        assert_eq!(Opset::iOS18.spec_version(), 9);
        assert_eq!(Opset::parse("iOS14"), None);
    }
}
