//! Reading packages, bare models, compiled models and MIL text.

use std::path::{Path, PathBuf};

use prost::Message;

use super::manifest::{Manifest, inside};
use super::{DATA, MANIFEST, PackageError, WEIGHTS_NAME, compiled};
use crate::spec;
use crate::text::{self, Beside};
use crate::weights::{BlobFile, Bytes};

/// How a model is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PackageKind {
    /// A directory `.mlpackage`.
    Mlpackage,
    /// A single file `.mlmodel`.
    Mlmodel,
    /// A compiled model, a directory `.mlmodelc`: MIL text, weights and a description.
    Mlmodelc,
    /// A single file `.mil` with MIL text. Weights are beside it, where it says.
    Mil,
}

/// A model on disk, opened for reading.
///
/// ```no_run
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use mil_core::package::PackageReader;
///
/// let package = PackageReader::open("model.mlpackage")?;
/// let model = package.model()?;
/// let blobs = package.blob_file("@model_path/weights/weight.bin")?;
/// println!("version {}, {} blobs", model.specification_version, blobs.len());
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct PackageReader {
    path: PathBuf,
    kind: PackageKind,
    /// The directory that blob files must be in.
    root: PathBuf,
    model_path: PathBuf,
    model_bytes: Bytes,
    weights_dir: Option<PathBuf>,
}

impl PackageReader {
    /// Opens an `.mlpackage`, `.mlmodel`, `.mlmodelc` or `.mil`, and maps the file of the model.
    ///
    /// # Errors
    /// There is nothing at `path`, it is not a package, its manifest is not valid, or the model is missing or outside of
    /// the package.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, PackageError> {
        let path = path.as_ref();
        let metadata =
            std::fs::metadata(path).map_err(|error| PackageError::caused_by(path, "cannot be read", error))?;
        if metadata.is_dir() { Self::open_package(path) } else { Self::open_file(path) }
    }

    fn open_package(path: &Path) -> Result<Self, PackageError> {
        if path.extension().is_some_and(|e| e == "mlmodelc") || path.join(compiled::DESCRIPTION).exists() {
            return Self::open_compiled(path);
        }
        if !path.join(MANIFEST).exists() {
            let message = format!("is not a package: found a directory without `{MANIFEST}`, expected an .mlpackage");
            return Err(PackageError::new(path, message));
        }
        let manifest = Manifest::read(path)?;
        let root = path.join(DATA);
        let item = manifest.model().unwrap_or_default();
        let model_path = inside(&root, item)?.ok_or_else(|| {
            PackageError::new(path, format!("its model `{DATA}/{item}` is missing: the package is incomplete"))
        })?;
        let weights_dir = match manifest.weights() {
            // A directory without a blob file gets lost in archives and version control.
            Some(item) => inside(&root, item)?.filter(|path| path.is_dir()),
            None => None,
        };
        let model_bytes = Bytes::map_file(&model_path)?;
        Ok(Self { path: path.into(), kind: PackageKind::Mlpackage, root, model_path, model_bytes, weights_dir })
    }

    fn open_compiled(path: &Path) -> Result<Self, PackageError> {
        let missing = |what: &str| {
            let message = format!("is a compiled model without `{what}`: it is incomplete, or no ML Program");
            PackageError::new(path, message)
        };
        inside(path, compiled::DESCRIPTION)?.ok_or_else(|| missing(compiled::DESCRIPTION))?;
        let model_path = inside(path, compiled::TEXT)?.ok_or_else(|| missing(compiled::TEXT))?;
        let weights_dir = inside(path, WEIGHTS_NAME)?.filter(|path| path.is_dir());
        let model_bytes = Bytes::map_file(&model_path)?;
        let kind = PackageKind::Mlmodelc;
        Ok(Self { path: path.into(), kind, root: path.into(), model_path, model_bytes, weights_dir })
    }

    fn open_file(path: &Path) -> Result<Self, PackageError> {
        let model_bytes = Bytes::map_file(path)?;
        let root = match path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent.into(),
            _ => PathBuf::from("."),
        };
        let kind = if path.extension().is_some_and(|e| e == "mil") { PackageKind::Mil } else { PackageKind::Mlmodel };
        let (path, model_path) = (path.into(), path.into());
        Ok(Self { path, kind, root, model_path, model_bytes, weights_dir: None })
    }

    /// What was opened.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// How the model is stored.
    pub fn kind(&self) -> PackageKind {
        self.kind
    }

    /// The file of the model.
    pub fn model_path(&self) -> &Path {
        &self.model_path
    }

    /// The file of the model, memory-mapped: encoded, or MIL text.
    pub fn model_bytes(&self) -> &Bytes {
        &self.model_bytes
    }

    /// The directory of blob files, if the package has one.
    pub fn weights_dir(&self) -> Option<&Path> {
        self.weights_dir.as_deref()
    }

    /// The MIL text of a compiled model or text file, and what is said beside it.
    pub(super) fn text(&self) -> Result<Option<(&str, Option<Beside>)>, PackageError> {
        let beside = match self.kind {
            PackageKind::Mlpackage | PackageKind::Mlmodel => return Ok(None),
            PackageKind::Mlmodelc => Some(compiled::read(&self.root)?),
            PackageKind::Mil => None,
        };
        let text = std::str::from_utf8(&self.model_bytes)
            .map_err(|error| PackageError::caused_by(&self.model_path, "is not text", error))?;
        Ok(Some((text, beside)))
    }

    /// Decodes the model, or reads it from its text.
    ///
    /// # Errors
    /// The file is not MIL text, or not an encoded model, is nested too deeply, would take far more memory than its length (see
    /// [`spec::scan`]), states no specification version, or holds a kind of model
    /// that is unknown.
    pub fn model(&self) -> Result<spec::Model, PackageError> {
        let path = &self.model_path;
        refuse_pointer(path, &self.model_bytes)?;
        if let Some((text, beside)) = self.text()? {
            return text::model(text, beside).map_err(|error| PackageError::new(path, error.one_line()));
        }
        spec::scan::scan(&self.model_bytes)
            .map_err(|error| PackageError::caused_by(path, "is not a Core ML model", error))?;
        let model = spec::Model::decode(&self.model_bytes[..])
            .map_err(|error| PackageError::caused_by(path, "is not a Core ML model", error))?;
        if model.specification_version < 1 {
            let message = format!(
                "is not a Core ML model: found specification version {}, expected 1 or more",
                model.specification_version
            );
            return Err(PackageError::new(path, message));
        }
        if model.r#type.is_none() {
            let message = "holds no model, or a kind of model that this version does not know: update mil, or save the model again";
            return Err(PackageError::new(path, message));
        }
        Ok(model)
    }

    /// The file that a program means by `file_name`, such as `@model_path/weights/weight.bin`.
    ///
    /// # Errors
    /// The name does not start with `@model_path/`, leads out of the package, or the file is missing.
    pub fn blob_path(&self, file_name: &str) -> Result<PathBuf, PackageError> {
        let Some(relative) = file_name.strip_prefix("@model_path/") else {
            let message =
                format!("found the blob file name `{file_name}`, expected one that starts with `@model_path/`");
            return Err(PackageError::new(&self.model_path, message));
        };
        // The model file is inside of `root`, so it has a parent.
        let base = self.model_path.parent().unwrap_or(&self.root);
        let base = if base.as_os_str().is_empty() { Path::new(".") } else { base };
        inside(base, relative)?.ok_or_else(|| {
            PackageError::new(
                base.join(relative),
                match self.kind {
                    PackageKind::Mlpackage | PackageKind::Mlmodelc | PackageKind::Mil => {
                        format!("is missing, but the model of `{}` refers to it", self.path.display())
                    }
                    PackageKind::Mlmodel => format!(
                        "is missing, but `{}` refers to it: an ML Program with weights is an .mlpackage, give that",
                        self.path.display()
                    ),
                },
            )
        })
    }

    /// Maps the blob file that a program means by `file_name`.
    ///
    /// # Errors
    /// Those of [`blob_path`](Self::blob_path) and [`BlobFile::open`].
    pub fn blob_file(&self, file_name: &str) -> Result<BlobFile, PackageError> {
        let path = self.blob_path(file_name)?;
        let failed = |error| PackageError::caused_by(&path, "is not a valid blob file", error);
        let opened = BlobFile::open(&path);
        if let (Err(_), Ok(bytes)) = (&opened, Bytes::map_file(&path)) {
            refuse_pointer(&path, &bytes)?;
        }
        opened.map_err(failed)
    }
}

/// A file that version control left out, with a note where to get it. Core ML: "Unable to deserialize object".
fn refuse_pointer(path: &Path, bytes: &[u8]) -> Result<(), PackageError> {
    if bytes.starts_with(b"version https://git-lfs") {
        let message = "is a Git LFS pointer and not the file itself: fetch it with `git lfs pull`";
        return Err(PackageError::new(path, message));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn testdata(name: &str) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/coremltools").join(name)
    }

    #[track_caller]
    fn refusal(path: &Path) -> String {
        PackageReader::open(path).and_then(|package| package.model()).unwrap_err().to_string()
    }

    fn manifest_with_path(path: &str) -> String {
        format!(
            r#"{{"fileFormatVersion":"1.0.0","rootModelIdentifier":"a","itemInfoEntries":{{
            "a":{{"author":"com.apple.CoreML","description":"","name":"model.mlmodel","path":"{path}"}}}}}}"#
        )
    }

    #[test]
    fn packages_of_coremltools_are_read() {
        let package = PackageReader::open(testdata("two_blobs.mlpackage")).unwrap();
        assert_eq!(package.kind(), PackageKind::Mlpackage);
        assert_eq!(package.model().unwrap().specification_version, 7);
        assert!(package.weights_dir().unwrap().ends_with("Data/com.apple.CoreML/weights"));
        assert_eq!(package.blob_file("@model_path/weights/weight.bin").unwrap().len(), 2);

        let package = PackageReader::open(testdata("no_weights.mlpackage")).unwrap();
        assert!(package.model().is_ok());
        assert_eq!(package.weights_dir(), None);
        let error = package.blob_path("@model_path/weights/weight.bin").unwrap_err().to_string();
        assert!(error.contains("weight.bin`: is missing, but the model of"), "{error}");
    }

    #[test]
    fn bare_models_are_read() {
        let package = PackageReader::open(testdata("neural_network.mlmodel")).unwrap();
        assert_eq!(package.kind(), PackageKind::Mlmodel);
        assert!(matches!(package.model().unwrap().r#type, Some(spec::model::Type::NeuralNetwork(_))));
        assert_eq!(package.model_path(), package.path());
    }

    #[test]
    fn blob_files_outside_are_refused() {
        let package = PackageReader::open(testdata("two_blobs.mlpackage")).unwrap();
        for (name, message) in [
            ("weights/weight.bin", "expected one that starts with `@model_path/`"),
            ("@model_path/../../Manifest.json", "leads out of it"),
            ("@model_path//etc/passwd", "leads out of it"),
            ("@model_path/model.mlmodel", "is not a valid blob file"),
            ("@model_path/weights", "is not a valid blob file"),
        ] {
            let error = package.blob_file(name).unwrap_err().to_string();
            assert!(error.contains(message), "{error}");
        }
    }

    #[test]
    fn what_is_no_package_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        assert!(refusal(dir.path()).contains("found a directory without `Manifest.json`"));
        assert!(refusal(&dir.path().join("missing.mlpackage")).contains("missing.mlpackage`: cannot be read"));
        let compiled = dir.path().join("x.mlmodelc");
        fs::create_dir(&compiled).unwrap();
        assert!(refusal(&compiled).contains("is a compiled model without `coremldata.bin`: it is incomplete"));
        let renamed = dir.path().join("x.mlpackage");
        fs::create_dir(&renamed).unwrap();
        fs::write(renamed.join("coremldata.bin"), "").unwrap();
        assert!(refusal(&renamed).contains("is a compiled model without `model.mil`"));
        fs::write(renamed.join("model.mil"), "program(1.0) {}").unwrap();
        assert!(refusal(&renamed).contains("coremldata.bin`: is not the description of a compiled model"));
        let text = dir.path().join("x.mil");
        fs::write(&text, b"\xff").unwrap();
        assert!(refusal(&text).contains("x.mil`: is not text"));
        fs::write(&text, b"program").unwrap();
        assert!(refusal(&text).contains("x.mil`: line 1, column 8: expected `(`, found the end of the text"));
    }

    #[test]
    fn models_outside_and_missing_models_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("Data")).unwrap();
        fs::write(dir.path().join("outside"), "").unwrap();
        for (path, message) in [
            ("../outside", "the path `../outside` leads out of it"),
            ("/outside", "leads out of it"),
            ("model.mlmodel", "its model `Data/model.mlmodel` is missing"),
            (".", "is not a regular file"),
        ] {
            fs::write(dir.path().join(MANIFEST), manifest_with_path(path)).unwrap();
            let error = refusal(dir.path());
            assert!(error.contains(message), "{error}");
        }
    }

    #[test]
    fn files_that_are_no_model_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("x.mlmodel");
        for (content, message) in [
            (&b"no protobuf"[..], "x.mlmodel`: is not a Core ML model: "),
            (b"", "found specification version 0, expected 1 or more"),
            (&[8, 6], "holds no model, or a kind of model that this version does not know"),
        ] {
            fs::write(&file, content).unwrap();
            let error = refusal(&file);
            assert!(error.contains(message), "{error}");
        }
    }
}
