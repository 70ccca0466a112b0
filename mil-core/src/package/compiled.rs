//! Compiled models: the description in `coremldata.bin`.
//!
//! ```text
//! X.mlmodelc/model.mil            the program, as text
//! X.mlmodelc/coremldata.bin       the description
//! X.mlmodelc/weights/weight.bin   its blobs, if there are any
//! X.mlmodelc/metadata.json        the description once more, for people, and not all of it
//! ```
//!
//! `coremldata.bin`, all numbers little-endian (source: files that Core ML's compiler wrote, versions 3500 to 3600):
//!
//! | at | bytes | what |
//! |---|---|---|
//! | 0 | 4 | kind: the number of the model's field in `Model.proto`, 502 for an ML Program |
//! | 4 | 24 | a version, zeros |
//! | 28 | 8 + n | length of a string, and the string: `generic` |
//! | | 4 | specification version |
//! | | 28 | zeros |
//! | | 8 + m | length of a message, and the message: `ModelDescription` |
//! | | .. | the kind once more, zeros |

use std::path::Path;

use prost::Message;

use super::PackageError;
use crate::{
    spec::{self, scan},
    text::Beside,
    weights::Bytes,
};

/// The file's name.
pub(super) const DESCRIPTION: &str = "coremldata.bin";
/// The name of the program's file.
pub(super) const TEXT: &str = "model.mil";

const ML_PROGRAM: u32 = 502;
const STRING: usize = 28;
const AFTER_STRING: usize = 32;

/// Reads the description of the compiled model in a directory.
pub(super) fn read(dir: &Path) -> Result<Beside, PackageError> {
    let path = dir.join(DESCRIPTION);
    let bytes = Bytes::map_file(&path)?;
    parse(&bytes).map_err(|message| PackageError::new(&path, message))
}

fn parse(bytes: &[u8]) -> Result<Beside, String> {
    let cut =
        || "is not the description of a compiled model: it ends early, or has a layout that is not known".to_string();
    let part = |at: usize, length: usize| bytes.get(at..at.checked_add(length)?);
    let u32_at = |at| Some(u32::from_le_bytes(part(at, 4)?.try_into().ok()?));
    let length_at = |at| usize::try_from(u64::from_le_bytes(part(at, 8)?.try_into().ok()?)).ok();
    let kind = u32_at(0).ok_or_else(cut)?;
    if kind != ML_PROGRAM {
        return Err(format!(
            "is of a compiled model of another kind, number {kind} of `Model.proto`; only ML Programs ({ML_PROGRAM}) are read"
        ));
    }
    let version = length_at(STRING).and_then(|n| n.checked_add(STRING + 8)).filter(|at| *at < bytes.len());
    let version = version.ok_or_else(cut)?;
    let specification_version = u32_at(version).and_then(|v| i32::try_from(v).ok()).ok_or_else(cut)?;
    let start = version + AFTER_STRING;
    let message = length_at(start).and_then(|n| part(start + 8, n)).ok_or_else(cut)?;
    // As it stands in a model: the readers' limits are for those.
    let mut model = Vec::with_capacity(message.len() + 16);
    prost::encoding::bytes::encode(2, &message.to_vec(), &mut model);
    let wrong = |e: &dyn std::fmt::Display| format!("holds no description of a model: {e}");
    scan::scan(&model).map_err(|e| wrong(&e))?;
    let description = spec::Model::decode(&model[..]).map_err(|e| wrong(&e))?.description.unwrap_or_default();
    Ok(Beside { specification_version, description })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Vec<u8> {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/testdata/compiled/test_linear.mlmodelc/coremldata.bin");
        std::fs::read(path).unwrap()
    }

    #[test]
    fn the_description_is_found() {
        let Beside { specification_version, description } = parse(&sample()).unwrap();
        assert_eq!(specification_version, 7);
        let names = |all: &[spec::FeatureDescription]| all.iter().map(|f| f.name.clone()).collect::<Vec<_>>();
        assert_eq!(
            (names(&description.input), names(&description.output)),
            (vec!["input".into()], vec!["output".into()])
        );
        let metadata = description.metadata.unwrap();
        assert_eq!(metadata.user_defined["com.github.apple.coremltools.version"], "9.0");
    }

    #[test]
    fn damage_is_an_error() {
        let bytes = sample();
        let end = bytes.len() - 16;
        for length in 0..end {
            assert!(parse(&bytes[..length]).is_err(), "{length}");
        }
        let with = |at: usize, new: &[u8]| {
            let mut bytes = bytes.clone();
            bytes[at..at + new.len()].copy_from_slice(new);
            parse(&bytes).map(drop).unwrap_err()
        };
        assert!(with(0, &[200, 0]).contains("of another kind, number 200 of"));
        assert!(with(28, &[0xff; 8]).contains("ends early"));
        assert!(with(75, &[0xff; 8]).contains("ends early"));
        assert!(with(75, &[3, 0]).contains("holds no description"));
        assert!(with(43, &[0xff; 4]).contains("ends early"));
    }
}
