//! Writing packages and bare models.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{BufWriter, Read, Write as _};
use std::path::{Path, PathBuf};

use prost::Message;

use super::manifest::Manifest;
use super::{AUTHOR, DATA, MANIFEST, MODEL_NAME, PackageError, WEIGHT_FILE, WEIGHTS_NAME};
use crate::atomic::{AtomicDir, AtomicFile};
use crate::spec::{self, model};
use crate::weights::BlobWriter;

/// Writes an `.mlpackage` whole or not at all.
///
/// Until [`finish`](Self::finish) succeeds the destination is as it was; dropped before, the writer leaves
/// nothing behind.
///
/// ```no_run
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let model = mil_core::spec::Model::default();
/// use mil_core::package::PackageWriter;
/// use mil_core::weights::BlobDType;
///
/// let mut package = PackageWriter::create("model.mlpackage")?;
/// let offset = package.weights()?.append(BlobDType::Float32, 1, &1f32.to_le_bytes())?;
/// // ... build a model that refers to `@model_path/weights/weight.bin` at `offset` ...
/// package.finish(&model)?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct PackageWriter {
    dest: PathBuf,
    // Before `dir`, so that a dropped writer closes the file before its directory is removed.
    weights: Option<BlobWriter<BufWriter<File>>>,
    dir: AtomicDir,
}

impl PackageWriter {
    /// Prepares to write a package at `dest`, which must end in `.mlpackage`.
    ///
    /// # Errors
    /// `dest` has another extension, its directory is missing or cannot be written, or something other
    /// than a package is there.
    pub fn create(dest: impl AsRef<Path>) -> Result<Self, PackageError> {
        let dest = dest.as_ref();
        check_extension(dest, "mlpackage")?;
        check_replaceable(dest)?;
        let dir = AtomicDir::create(dest)?;
        fs::create_dir_all(weights_dir(dir.path())).map_err(|error| unwritable(dest, error))?;
        Ok(Self { dest: dest.to_owned(), weights: None, dir })
    }

    /// The package's blob file, to which a program refers as `@model_path/weights/weight.bin`; created by the
    /// first call.
    ///
    /// # Errors
    /// The file cannot be created.
    pub fn weights(&mut self) -> Result<&mut BlobWriter<BufWriter<File>>, PackageError> {
        let writer = match self.weights.take() {
            Some(writer) => writer,
            None => File::create_new(weights_dir(self.dir.path()).join(WEIGHT_FILE))
                .and_then(|file| BlobWriter::new(BufWriter::with_capacity(1 << 16, file)))
                .map_err(|error| unwritable(&self.dest, error))?,
        };
        Ok(self.weights.insert(writer))
    }

    /// Completes the package and moves it to its destination; a package that is there is replaced.
    ///
    /// # Errors
    /// Something cannot be written; the destination is then as it was.
    pub fn finish(self, model: &spec::Model) -> Result<(), PackageError> {
        self.finish_bytes(&model.encode_to_vec())
    }

    /// As [`finish`](Self::finish), but what `check` says of the complete package counts: it gets the path of a directory that
    /// [`PackageReader::open`](super::PackageReader::open) reads, and only if it is content does the package go to its destination.
    ///
    /// # Errors
    /// As [`finish`](Self::finish), and what `check` gives.
    pub fn finish_checked<E: From<PackageError>>(
        mut self,
        model: &spec::Model,
        check: impl FnOnce(&Path) -> Result<(), E>,
    ) -> Result<(), E> {
        self.complete(&model.encode_to_vec())?;
        check(self.dir.path())?;
        Ok(self.commit()?)
    }

    /// The same with a model that is encoded already.
    pub(super) fn finish_bytes(mut self, bytes: &[u8]) -> Result<(), PackageError> {
        self.complete(bytes)?;
        self.commit()
    }

    /// Writes what is not written yet.
    fn complete(&mut self, bytes: &[u8]) -> Result<(), PackageError> {
        let failed = |error| unwritable(&self.dest, error);
        let mut weights_hash = ContentHash::new(WEIGHTS_NAME);
        if let Some(weights) = self.weights.take() {
            // The writer flushes; closing the file is left to the drop.
            drop(weights.finish().map_err(failed)?);
            let file = File::open(weights_dir(self.dir.path()).join(WEIGHT_FILE)).map_err(failed)?;
            weights_hash.update(file).map_err(failed)?;
        }
        let mut model_hash = ContentHash::new(MODEL_NAME);
        model_hash.update(bytes).map_err(failed)?;
        let manifest = Manifest::new(model_hash.uuid(), weights_hash.uuid());
        let manifest = manifest.to_json().map_err(|error| failed(error.into()))?;
        fs::write(self.dir.path().join(DATA).join(AUTHOR).join(MODEL_NAME), bytes).map_err(failed)?;
        fs::write(self.dir.path().join(MANIFEST), manifest).map_err(failed)
    }

    fn commit(self) -> Result<(), PackageError> {
        // Something else may have come there in the meantime.
        check_replaceable(&self.dest)?;
        self.dir.commit()
    }
}

/// Writes a bare `.mlmodel` whole or not at all; a file that is there is replaced.
///
/// # Errors
/// `dest` has another extension, the model has an ML Program, which Core ML reads from packages only, or the file
/// cannot be written. The destination is then as it was.
pub fn write_mlmodel(dest: impl AsRef<Path>, model: &spec::Model) -> Result<(), PackageError> {
    let dest = dest.as_ref();
    check_extension(dest, "mlmodel")?;
    if has_program(model) {
        return Err(PackageError::new(dest, "cannot hold an ML Program: write it to a name that ends in .mlpackage"));
    }
    let mut file = AtomicFile::create(dest)?;
    file.write_all(&model.encode_to_vec()).map_err(|error| unwritable(dest, error))?;
    file.commit()
}

fn has_program(model: &spec::Model) -> bool {
    let pipeline = match &model.r#type {
        Some(model::Type::MlProgram(_)) => return true,
        Some(model::Type::Pipeline(pipeline)) => Some(pipeline),
        Some(model::Type::PipelineClassifier(classifier)) => classifier.pipeline.as_ref(),
        Some(model::Type::PipelineRegressor(regressor)) => regressor.pipeline.as_ref(),
        _ => None,
    };
    pipeline.is_some_and(|pipeline| pipeline.models.iter().any(has_program))
}

fn weights_dir(package: &Path) -> PathBuf {
    package.join(DATA).join(AUTHOR).join(WEIGHTS_NAME)
}

fn unwritable(dest: &Path, error: std::io::Error) -> PackageError {
    PackageError::caused_by(dest, "cannot be written", error)
}

pub(super) fn check_extension(dest: &Path, expected: &str) -> Result<(), PackageError> {
    if dest.extension().is_some_and(|extension| extension == expected) {
        return Ok(());
    }
    Err(PackageError::new(dest, format!("cannot be written: expected a name that ends in .{expected}")))
}

/// There is nothing at `dest`, or a package that may be replaced.
pub(super) fn check_replaceable(dest: &Path) -> Result<(), PackageError> {
    // Not `metadata`: a link is not replaced, wherever it leads.
    let Ok(metadata) = fs::symlink_metadata(dest) else {
        return Ok(());
    };
    if metadata.is_dir() && Manifest::read(dest).is_ok() {
        return Ok(());
    }
    Err(PackageError::new(dest, "exists and is not a Core ML package: move it away or choose another name"))
}

/// A 128-bit hash that identifies an item by its name and content.
///
/// Not cryptographic: it only has to give the items of a package different identifiers, and equal ones to
/// equal packages.
struct ContentHash {
    lanes: [u64; 2],
}

impl ContentHash {
    fn new(name: &str) -> Self {
        // Any odd constants do; these are the fractional bits of the golden ratio and of the root of 2.
        let mut hash = Self { lanes: [0x9e37_79b9_7f4a_7c15, 0x6a09_e667_f3bc_c909] };
        for byte in name.bytes() {
            hash.mix(u64::from(byte));
        }
        hash
    }

    fn mix(&mut self, word: u64) {
        let [a, b] = self.lanes;
        let mixed = (a ^ word).wrapping_mul(0xff51_afd7_ed55_8ccd);
        let other = (b.rotate_left(23) ^ word).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
        self.lanes = [mixed ^ (mixed >> 29), other ^ (other >> 32)];
    }

    /// Takes in all that `content` gives, then its length. Read in pieces: weights may not fit into memory.
    fn update(&mut self, mut content: impl Read) -> std::io::Result<()> {
        let mut piece = Vec::with_capacity(1 << 16);
        let mut length = 0;
        loop {
            piece.clear();
            content.by_ref().take(1 << 16).read_to_end(&mut piece)?;
            if piece.is_empty() {
                break;
            }
            length += piece.len() as u64;
            let mut words = piece.chunks_exact(8);
            for word in &mut words {
                let mut bytes = [0; 8];
                bytes.copy_from_slice(word);
                self.mix(u64::from_le_bytes(bytes));
            }
            // Only the last piece has a remainder.
            for &byte in words.remainder() {
                self.mix(u64::from(byte));
            }
        }
        self.mix(length);
        Ok(())
    }

    /// The hash in the form of a random (version 4) UUID, which is what packages have.
    fn uuid(mut self) -> String {
        for _ in 0..4 {
            let [a, b] = self.lanes;
            self.mix(a ^ b.rotate_left(32));
        }
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&self.lanes[0].to_be_bytes());
        bytes[8..].copy_from_slice(&self.lanes[1].to_be_bytes());
        bytes[6] = bytes[6] & 0x0f | 0x40;
        bytes[8] = bytes[8] & 0x3f | 0x80;
        let mut text = String::with_capacity(36);
        for (index, byte) in bytes.iter().enumerate() {
            if matches!(index, 4 | 6 | 8 | 10) {
                text.push('-');
            }
            let _ = write!(text, "{byte:02x}");
        }
        text
    }
}

#[cfg(test)]
#[path = "write_tests.rs"]
mod tests;
