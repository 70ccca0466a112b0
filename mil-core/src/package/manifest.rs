//! `Manifest.json`: which item of a package is the model.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::{Component, Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::{AUTHOR, MANIFEST, MODEL_NAME, PackageError, WEIGHTS_NAME};

/// Longest manifest that is read; one that lists two items has 617 bytes.
const MAX_BYTES: u64 = 1 << 20;
/// Version of the package format.
const FORMAT_VERSION: &str = "1.0.0";

/// A package's table of contents. Fields are in the order in which they are written.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Manifest {
    #[serde(rename = "fileFormatVersion")]
    format_version: String,
    #[serde(rename = "itemInfoEntries")]
    items: BTreeMap<String, Item>,
    #[serde(rename = "rootModelIdentifier")]
    root: String,
}

/// A file or directory of a package.
#[derive(Debug, Serialize, Deserialize)]
struct Item {
    author: String,
    description: String,
    name: String,
    path: String,
}

impl Manifest {
    /// The manifest of a model with the given identifiers for its two items.
    pub(super) fn new(model_id: String, weights_id: String) -> Self {
        let item = |name: &str, description: &str| Item {
            author: AUTHOR.into(),
            description: description.into(),
            name: name.into(),
            path: format!("{AUTHOR}/{name}"),
        };
        let items = BTreeMap::from([
            (model_id.clone(), item(MODEL_NAME, "CoreML Model Specification")),
            (weights_id, item(WEIGHTS_NAME, "CoreML Model Weights")),
        ]);
        Self { format_version: FORMAT_VERSION.into(), items, root: model_id }
    }

    /// The text as coremltools lays it out.
    pub(super) fn to_json(&self) -> serde_json::Result<Vec<u8>> {
        let mut json = Vec::new();
        let indented = serde_json::ser::PrettyFormatter::with_indent(b"    ");
        self.serialize(&mut serde_json::Serializer::with_formatter(&mut json, indented))?;
        json.push(b'\n');
        Ok(json)
    }

    /// Reads the manifest of the package at `package`.
    pub(super) fn read(package: &Path) -> Result<Self, PackageError> {
        let path = package.join(MANIFEST);
        let unreadable = |error| PackageError::caused_by(&path, "cannot be read", error);
        // Asked before opening: to open a pipe would wait for somebody to write to it.
        if !std::fs::metadata(&path).map_err(unreadable)?.is_file() {
            return Err(PackageError::new(path, "is not a regular file"));
        }
        let mut json = Vec::new();
        File::open(&path).and_then(|file| file.take(MAX_BYTES + 1).read_to_end(&mut json)).map_err(unreadable)?;
        if json.len() as u64 > MAX_BYTES {
            return Err(PackageError::new(path, format!("is longer than {MAX_BYTES} bytes: not a package's manifest")));
        }
        let manifest: Self = serde_json::from_slice(&json)
            .map_err(|error| PackageError::caused_by(&path, "is not a package's manifest", error))?;
        if !manifest.format_version.starts_with("1.") {
            let message = format!("found fileFormatVersion `{}`, expected `{FORMAT_VERSION}`", manifest.format_version);
            return Err(PackageError::new(path, message));
        }
        if !manifest.items.contains_key(&manifest.root) {
            let message = format!("rootModelIdentifier `{}` is not among the itemInfoEntries", manifest.root);
            return Err(PackageError::new(path, message));
        }
        Ok(manifest)
    }

    /// Path of the model below `Data`.
    pub(super) fn model(&self) -> Option<&str> {
        self.items.get(&self.root).map(|item| item.path.as_str())
    }

    /// Path below `Data` of the directory of blob files, if the manifest lists one.
    pub(super) fn weights(&self) -> Option<&str> {
        let mut items = self.items.iter().filter(|(id, _)| **id != self.root);
        items.find(|(_, item)| item.name == WEIGHTS_NAME && item.author == AUTHOR).map(|(_, item)| item.path.as_str())
    }
}

/// Where `relative` leads from `base`, which must be inside `base` after all links are followed.
///
/// `None` if there is nothing; an error, about `base`, for a path that leads out.
pub(super) fn inside(base: &Path, relative: &str) -> Result<Option<PathBuf>, PackageError> {
    let leads_out = || PackageError::new(base, format!("the path `{relative}` leads out of it"));
    let plain = Path::new(relative).components().all(|part| matches!(part, Component::Normal(_) | Component::CurDir));
    if !plain || relative.is_empty() {
        return Err(leads_out());
    }
    let path = base.join(relative);
    if std::fs::symlink_metadata(&path).is_err() {
        return Ok(None);
    }
    let resolve =
        |path: &Path| path.canonicalize().map_err(|error| PackageError::caused_by(path, "cannot be followed", error));
    if !resolve(&path)?.starts_with(resolve(base)?) {
        return Err(leads_out());
    }
    Ok(Some(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn assert_refused(json: &str, message: &str) {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join(MANIFEST), json).unwrap();
        let error = Manifest::read(dir.path()).unwrap_err().to_string();
        assert!(error.contains("Manifest.json`: ") && error.contains(message), "{error}");
    }

    /// The layout is coremltools' own, whatever the identifiers are.
    #[test]
    fn manifests_of_coremltools_are_reproduced() {
        for package in ["no_weights", "two_blobs", "sub_byte"] {
            let path = format!("{}/testdata/coremltools/{package}.mlpackage", env!("CARGO_MANIFEST_DIR"));
            let manifest = Manifest::read(Path::new(&path)).unwrap();
            let weights = manifest.items.keys().find(|id| **id != manifest.root).unwrap();
            let again = Manifest::new(manifest.root.clone(), weights.clone()).to_json().unwrap();
            assert_eq!(again, std::fs::read(format!("{path}/{MANIFEST}")).unwrap());
        }
    }

    #[test]
    fn the_root_is_what_the_manifest_says() {
        let json = r#"{"fileFormatVersion":"1.0.0","rootModelIdentifier":"b","itemInfoEntries":{
            "a":{"author":"com.apple.CoreML","description":"","name":"model.mlmodel","path":"x/model.mlmodel"},
            "b":{"author":"com.apple.CoreML","description":"","name":"weights","path":"y/other"}}}"#;
        let manifest: Manifest = serde_json::from_str(json).unwrap();
        assert_eq!((manifest.model(), manifest.weights()), (Some("y/other"), None));
    }

    #[test]
    fn broken_manifests_are_refused() {
        assert_refused("", "is not a package's manifest: EOF");
        assert_refused("[]", "is not a package's manifest");
        assert_refused(r#"{"fileFormatVersion":"1.0.0","itemInfoEntries":{}}"#, "missing field `rootModelIdentifier`");
        assert_refused(
            r#"{"fileFormatVersion":"2.0.0","itemInfoEntries":{},"rootModelIdentifier":"a"}"#,
            "found fileFormatVersion `2.0.0`, expected `1.0.0`",
        );
        assert_refused(
            r#"{"fileFormatVersion":"1.0.0","itemInfoEntries":{},"rootModelIdentifier":"a"}"#,
            "rootModelIdentifier `a` is not among the itemInfoEntries",
        );
        assert_refused(
            r#"{"fileFormatVersion":"1.0.0","itemInfoEntries":{"a":{"author":"","name":"","path":""}},"rootModelIdentifier":"a"}"#,
            "missing field `description`",
        );
        assert_refused(&" ".repeat(MAX_BYTES as usize + 1), "is longer than");
    }

    #[test]
    fn paths_stay_inside() {
        let dir = tempfile::tempdir().unwrap();
        let base = dir.path().join("base");
        std::fs::create_dir_all(base.join("a/b")).unwrap();
        assert_eq!(inside(&base, "a/./b").unwrap(), Some(base.join("a/b")));
        assert_eq!(inside(&base, "a/missing").unwrap(), None);
        for path in ["..", "a/../../base/a", "/etc/passwd", ""] {
            let error = inside(&base, path).unwrap_err().to_string();
            assert!(error.contains(&format!("the path `{path}` leads out of it")), "{error}");
        }
    }

    #[cfg(unix)]
    #[test]
    fn links_stay_inside() {
        use std::os::unix::fs::symlink;
        let dir = tempfile::tempdir().unwrap();
        let base = dir.path().join("base");
        std::fs::create_dir_all(base.join("a")).unwrap();
        std::fs::write(dir.path().join("secret"), "").unwrap();
        symlink(base.join("a"), base.join("good")).unwrap();
        symlink(dir.path().join("secret"), base.join("bad")).unwrap();
        symlink(base.join("missing"), base.join("dangling")).unwrap();
        assert_eq!(inside(&base, "good").unwrap(), Some(base.join("good")));
        assert!(inside(&base, "bad").unwrap_err().to_string().contains("leads out of it"));
        assert!(inside(&base, "dangling").unwrap_err().to_string().contains("cannot be followed"));
    }
}
