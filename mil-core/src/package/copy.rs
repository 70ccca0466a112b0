//! Copying packages and bare models as they are, byte for byte, whatever is in them.

use std::{
    fs::{self, File},
    io::{self, Write as _},
    path::Path,
};

use super::{
    PackageError, PackageKind, PackageReader, PackageWriter,
    write::{check_extension, check_replaceable},
};
use crate::atomic::{AtomicDir, AtomicFile};

impl PackageReader {
    /// Writes the same package, or bare model, to another place: whole, or not at all. Nothing is decoded, so that nothing is
    /// lost: fields that this version does not know, weight files, other items of the package. A bare model also goes into
    /// a package.
    ///
    /// # Errors
    /// If it is a compiled model or MIL text, `dest` ends in another extension than its kind of file has (a package is not copied to `.mlmodel`), something else
    /// than a package is there, the package holds something else than files and directories, or a file cannot be read or
    /// written.
    pub fn copy_to(&self, dest: impl AsRef<Path>) -> Result<(), PackageError> {
        let dest = dest.as_ref();
        match (self.kind(), dest.extension().is_some_and(|e| e == "mlmodel")) {
            (PackageKind::Mlmodel, true) => {
                let mut file = AtomicFile::create(dest)?;
                file.write_all(self.model_bytes())
                    .map_err(|error| PackageError::caused_by(dest, "cannot be written", error))?;
                file.commit()
            }
            (PackageKind::Mlmodel, false) => PackageWriter::create(dest)?.finish_bytes(self.model_bytes()),
            (PackageKind::Mlpackage, _) => {
                check_extension(dest, "mlpackage")?;
                check_replaceable(dest)?;
                let dir = AtomicDir::create(dest)?;
                copy_tree(self.path(), dir.path())?;
                check_replaceable(dest)?;
                dir.commit()
            }
            (PackageKind::Mlmodelc | PackageKind::Mil, _) => {
                let message = "is a compiled model or text: load it as a program, and save that";
                Err(PackageError::new(self.path(), message))
            }
        }
    }
}

/// Copies what is in a directory into another that is empty.
fn copy_tree(from: &Path, to: &Path) -> Result<(), PackageError> {
    let mut left = vec![(from.to_path_buf(), to.to_path_buf())];
    while let Some((from, to)) = left.pop() {
        let unreadable = |error| PackageError::caused_by(&from, "cannot be read", error);
        for entry in fs::read_dir(&from).map_err(unreadable)? {
            let entry = entry.map_err(unreadable)?;
            let (path, target) = (entry.path(), to.join(entry.file_name()));
            // Not following links: they may lead out of the package.
            let kind = entry.file_type().map_err(|error| PackageError::caused_by(&path, "cannot be read", error))?;
            let written = |result: io::Result<()>| {
                result.map_err(|error| PackageError::caused_by(&path, "cannot be copied", error))
            };
            if kind.is_dir() {
                written(fs::create_dir(&target))?;
                left.push((path, target));
            } else if kind.is_file() {
                // The content without the permissions, which may forbid to replace the copy.
                let copy = || io::copy(&mut File::open(&path)?, &mut File::create_new(&target)?).map(drop);
                written(copy())?;
            } else {
                return Err(PackageError::new(&path, "is neither a file nor a directory: a package holds no links"));
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    fn testdata(name: &str) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/coremltools").join(name)
    }

    #[test]
    fn bare_models_keep_fields_that_nobody_knows() {
        let dir = tempfile::tempdir().unwrap();
        let (original, copy) = (dir.path().join("a.mlmodel"), dir.path().join("b.mlmodel"));
        let mut bytes = fs::read(testdata("neural_network.mlmodel")).unwrap();
        // Field 99, a varint: of a later version of the format.
        bytes.extend([99 << 3 & 0x7f | 0x80, 99 >> 4, 7]);
        fs::write(&original, &bytes).unwrap();
        PackageReader::open(&original).unwrap().copy_to(&copy).unwrap();
        assert_eq!(fs::read(&copy).unwrap(), bytes);
        let package = dir.path().join("c.mlpackage");
        PackageReader::open(&original).unwrap().copy_to(&package).unwrap();
        assert_eq!(&PackageReader::open(&package).unwrap().model_bytes()[..], &bytes[..]);
        assert!(PackageReader::open(&package).unwrap().copy_to(dir.path().join("d.mlmodel")).is_err());
    }

    #[test]
    fn packages_keep_all_their_files() {
        let dir = tempfile::tempdir().unwrap();
        let (original, copy) = (dir.path().join("a.mlpackage"), dir.path().join("b.mlpackage"));
        fs::create_dir(&original).unwrap();
        copy_tree(&testdata("two_blobs.mlpackage"), &original).unwrap();
        fs::create_dir(original.join("Data/other")).unwrap();
        fs::write(original.join("Data/other/notes.txt"), "kept").unwrap();
        PackageReader::open(&original).unwrap().copy_to(&copy).unwrap();
        for file in [
            "Manifest.json",
            "Data/com.apple.CoreML/model.mlmodel",
            "Data/com.apple.CoreML/weights/weight.bin",
            "Data/other/notes.txt",
        ] {
            assert_eq!(fs::read(original.join(file)).unwrap(), fs::read(copy.join(file)).unwrap(), "{file}");
        }
        #[cfg(unix)]
        {
            std::os::unix::fs::symlink("/etc/hostname", original.join("Data/other/link")).unwrap();
            let e = PackageReader::open(&original).unwrap().copy_to(dir.path().join("c.mlpackage")).unwrap_err();
            assert!(e.to_string().contains("a package holds no links"), "{e}");
            assert!(!dir.path().join("c.mlpackage").exists());
        }
    }
}
