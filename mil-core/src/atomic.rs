//! Files and directories that appear whole or not at all.
//!
//! Everything is written to a hidden sibling of the destination, on the same file system, and
//! renamed when complete. Dropped before that, the sibling is removed.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use crate::error::FileError;

/// A path next to `dest` that no other writer of this or another process uses.
pub(crate) fn sibling(dest: &Path, purpose: &str) -> Result<PathBuf, FileError> {
    static COUNTER: AtomicU64 = AtomicU64::new(0);
    let name = dest
        .file_name()
        .ok_or_else(|| FileError::new(dest, "is not the name of a file or package: give a path that ends in one"))?;
    let parent = parent(dest);
    if !parent.is_dir() {
        return Err(FileError::new(
            dest,
            format!("its directory `{}` does not exist: create it first", parent.display()),
        ));
    }
    let unique = COUNTER.fetch_add(1, Ordering::Relaxed);
    let mut hidden = std::ffi::OsString::from(".");
    hidden.push(name);
    hidden.push(format!(".{purpose}-{}-{unique}", std::process::id()));
    Ok(parent.join(hidden))
}

fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

/// A file that replaces `dest` on [`commit`](Self::commit).
#[derive(Debug)]
pub(crate) struct AtomicFile {
    dest: PathBuf,
    temporary: PathBuf,
    /// `None` once committed.
    file: Option<BufWriter<File>>,
}

impl AtomicFile {
    pub(crate) fn create(dest: &Path) -> Result<Self, FileError> {
        if dest.is_dir() {
            return Err(FileError::new(dest, "is a directory, expected a file or nothing: choose another name"));
        }
        let temporary = sibling(dest, "tmp")?;
        let file = File::create_new(&temporary)
            .map_err(|error| FileError::caused_by(dest, "its directory cannot be written", error))?;
        Ok(Self { dest: dest.to_owned(), temporary, file: Some(BufWriter::with_capacity(1 << 16, file)) })
    }

    pub(crate) fn commit(mut self) -> Result<(), FileError> {
        let error = |error| FileError::caused_by(&self.dest, "cannot be written", error);
        if let Some(mut file) = self.file.take() {
            file.flush().map_err(error).inspect_err(|_| drop(fs::remove_file(&self.temporary)))?;
        }
        fs::rename(&self.temporary, &self.dest).map_err(error).inspect_err(|_| drop(fs::remove_file(&self.temporary)))
    }
}

impl Write for AtomicFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &mut self.file {
            Some(file) => file.write(bytes),
            None => Err(io::Error::other("the file is complete")),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.as_mut().map_or(Ok(()), Write::flush)
    }
}

impl Drop for AtomicFile {
    fn drop(&mut self) {
        if self.file.take().is_some() {
            // Nobody is left to be told; the hidden sibling is harmless.
            let _ = fs::remove_file(&self.temporary);
        }
    }
}

/// A directory that becomes `dest` on [`commit`](Self::commit).
#[derive(Debug)]
pub(crate) struct AtomicDir {
    dest: PathBuf,
    temporary: PathBuf,
    committed: bool,
}

impl AtomicDir {
    pub(crate) fn create(dest: &Path) -> Result<Self, FileError> {
        let temporary = sibling(dest, "tmp")?;
        fs::create_dir(&temporary)
            .map_err(|error| FileError::caused_by(dest, "its directory cannot be written", error))?;
        Ok(Self { dest: dest.to_owned(), temporary, committed: false })
    }

    /// Where to write.
    pub(crate) fn path(&self) -> &Path {
        &self.temporary
    }

    /// Moves the directory to its place; what is there is moved aside first and put back on failure.
    pub(crate) fn commit(mut self) -> Result<(), FileError> {
        let failed = |error| FileError::caused_by(&self.dest, "cannot be written", error);
        if fs::symlink_metadata(&self.dest).is_err() {
            fs::rename(&self.temporary, &self.dest).map_err(failed)?;
            self.committed = true;
            return Ok(());
        }
        let aside = sibling(&self.dest, "old")?;
        fs::rename(&self.dest, &aside).map_err(failed)?;
        if let Err(error) = fs::rename(&self.temporary, &self.dest) {
            return Err(match fs::rename(&aside, &self.dest) {
                Ok(()) => failed(error),
                Err(_) => FileError::caused_by(
                    &self.dest,
                    format!("cannot be written, and what was there is now at `{}`", aside.display()),
                    error,
                ),
            });
        }
        self.committed = true;
        fs::remove_dir_all(&aside).map_err(|error| {
            FileError::caused_by(
                aside,
                format!(
                    "`{}` is written, but what it replaced could not be removed: remove it by hand",
                    self.dest.display()
                ),
                error,
            )
        })
    }
}

impl Drop for AtomicDir {
    fn drop(&mut self) {
        if !self.committed {
            // Nobody is left to be told; the hidden sibling is harmless.
            let _ = fs::remove_dir_all(&self.temporary);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(dir: &Path) -> Vec<String> {
        let mut names: Vec<_> =
            fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn a_file_appears_on_commit_only() {
        let dir = tempfile::tempdir().unwrap();
        let dest = dir.path().join("out");
        fs::write(&dest, "old").unwrap();
        let mut file = AtomicFile::create(&dest).unwrap();
        file.write_all(b"half").unwrap();
        drop(file);
        assert_eq!((names(dir.path()), fs::read(&dest).unwrap()), (vec!["out".into()], b"old".to_vec()));
        let mut file = AtomicFile::create(&dest).unwrap();
        file.write_all(b"whole").unwrap();
        file.commit().unwrap();
        assert_eq!((names(dir.path()), fs::read(&dest).unwrap()), (vec!["out".into()], b"whole".to_vec()));
    }

    #[test]
    fn a_file_does_not_replace_a_directory() {
        let dir = tempfile::tempdir().unwrap();
        let error = AtomicFile::create(dir.path()).unwrap_err();
        assert!(error.to_string().contains("is a directory"), "{error}");
    }

    /// The destination turns into a non-empty directory while the file is written.
    #[test]
    fn a_failed_commit_removes_the_temporary() {
        let dir = tempfile::tempdir().unwrap();
        let dest = dir.path().join("out");
        let mut file = AtomicFile::create(&dest).unwrap();
        file.write_all(b"new").unwrap();
        fs::create_dir_all(dest.join("inside")).unwrap();
        assert!(file.commit().is_err());
        assert_eq!((names(dir.path()), names(&dest)), (vec!["out".into()], vec!["inside".into()]));
    }

    #[test]
    fn a_directory_replaces_another_whole() {
        let dir = tempfile::tempdir().unwrap();
        let dest = dir.path().join("out");
        for content in ["one", "two"] {
            let new = AtomicDir::create(&dest).unwrap();
            fs::write(new.path().join(content), content).unwrap();
            new.commit().unwrap();
            assert_eq!((names(dir.path()), names(&dest)), (vec!["out".into()], vec![content.into()]));
        }
        let dropped = AtomicDir::create(&dest).unwrap();
        fs::write(dropped.path().join("three"), "").unwrap();
        drop(dropped);
        assert_eq!((names(dir.path()), names(&dest)), (vec!["out".into()], vec!["two".into()]));
    }

    /// The new directory vanishes before it can be moved in: what was there comes back.
    #[test]
    fn a_failed_replacement_puts_the_old_directory_back() {
        let dir = tempfile::tempdir().unwrap();
        let dest = dir.path().join("out");
        fs::create_dir_all(dest.join("old")).unwrap();
        let new = AtomicDir::create(&dest).unwrap();
        fs::remove_dir(new.path()).unwrap();
        let error = new.commit().unwrap_err();
        assert!(error.to_string().contains("cannot be written"), "{error}");
        assert_eq!((names(dir.path()), names(&dest)), (vec!["out".into()], vec!["old".into()]));
    }

    #[test]
    fn a_missing_directory_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let error = AtomicFile::create(&dir.path().join("missing/out")).unwrap_err().to_string();
        assert!(error.contains("missing` does not exist: create it first"), "{error}");
        assert!(AtomicDir::create(Path::new("/")).unwrap_err().to_string().contains("is not the name of"));
    }
}
