//! Immutable bytes that are shared instead of copied.

use std::fmt;
use std::fs::File;
use std::ops::{Bound, Deref, RangeBounds};
use std::path::Path;
use std::sync::Arc;

use crate::error::FileError;

/// What bytes live in.
trait Owner: Send + Sync {
    fn bytes(&self) -> &[u8];

    /// Whether they are a file's.
    fn is_mapped(&self) -> bool {
        false
    }

    /// Nobody will read this part for some time.
    fn release(&self, _start: usize, _len: usize) {}
}

struct Foreign<T>(T);

impl<T: AsRef<[u8]> + Send + Sync> Owner for Foreign<T> {
    fn bytes(&self) -> &[u8] {
        self.0.as_ref()
    }
}

struct Mapped(memmap2::Mmap);

impl Owner for Mapped {
    fn bytes(&self) -> &[u8] {
        &self.0
    }

    fn is_mapped(&self) -> bool {
        true
    }

    #[cfg(unix)]
    fn release(&self, start: usize, len: usize) {
        // SAFETY: the map is of a file, shared and read only: a page that was dropped is read from the file again when it is next touched,
        // and has the same bytes. The system is asked for whole pages; what it drops of the neighbours comes back in the same way.
        let done = unsafe { self.0.unchecked_advise_range(memmap2::UncheckedAdvice::DontNeed, start, len) };
        // An advice that is not taken costs memory and nothing else.
        drop(done);
    }
}

/// An immutable slice of bytes, cheap to clone and to slice.
///
/// The bytes live in memory or in a memory-mapped file, and are kept alive by every slice of them.
/// Equality is by content.
///
/// ```
/// use mil_core::weights::Bytes;
///
/// let all = Bytes::from(vec![1, 2, 3, 4]);
/// let middle = all.slice(1..3);
/// assert_eq!(&middle[..], [2, 3]);
/// ```
#[derive(Clone)]
pub struct Bytes {
    owner: Arc<dyn Owner>,
    /// `start..start + len` is inside of what `owner` gives.
    start: usize,
    len: usize,
}

impl Bytes {
    /// Shares bytes that something else owns, such as a buffer of another library.
    ///
    /// `owner` must give the same slice at every call.
    pub fn from_owner(owner: impl AsRef<[u8]> + Send + Sync + 'static) -> Self {
        let len = owner.as_ref().len();
        Self { owner: Arc::new(Foreign(owner)), start: 0, len }
    }

    /// Maps a file into memory, read only: pages are loaded when they are first touched.
    ///
    /// The file must not be truncated while it is mapped; reading the missing part would end the
    /// process, as with every memory map. Replacing it by renaming another file over it is fine.
    ///
    /// # Errors
    /// The path does not name a regular file, or it cannot be opened or mapped.
    pub fn map_file(path: impl AsRef<Path>) -> Result<Self, FileError> {
        let path = path.as_ref();
        let unreadable = |error| FileError::caused_by(path, "cannot be read", error);
        // Asked before opening: to open a pipe would wait for somebody to write to it.
        let metadata = std::fs::metadata(path).map_err(unreadable)?;
        if !metadata.is_file() {
            return Err(FileError::new(path, "is not a regular file"));
        }
        let file = File::open(path).map_err(unreadable)?;
        if file.metadata().map_err(unreadable)?.len() == 0 {
            // An empty file cannot be mapped.
            return Ok(Self::default());
        }
        // SAFETY: the map is read only and private to this object. The one hazard, another process
        // that truncates the file, is documented above and is not a hazard for files replaced by renaming,
        // which is how this crate writes.
        let map = unsafe { memmap2::Mmap::map(&file) }
            .map_err(|error| FileError::caused_by(path, "cannot be mapped into memory", error))?;
        let len = map.len();
        Ok(Self { owner: Arc::new(Mapped(map)), start: 0, len })
    }

    /// Whether they are part of a mapped file: then the system may take their memory at any time, and reads them again.
    pub fn is_mapped(&self) -> bool {
        self.owner.is_mapped()
    }

    /// Says that these bytes will not be read for some time: if they are a part of a mapped file, the system may take the memory that
    /// they have been read into. They stay readable; reading them reads the file again. Of bytes in memory, and where the system
    /// has no such advice, nothing happens.
    ///
    /// For weights of which an engine has made its own form.
    pub fn release(&self) {
        if self.len > 0 {
            self.owner.release(self.start, self.len);
        }
    }

    /// The bytes in `range`, sharing memory, or `None` if it is not inside.
    pub fn get(&self, range: impl RangeBounds<usize>) -> Option<Self> {
        let start = match range.start_bound() {
            Bound::Included(&start) => start,
            Bound::Excluded(&start) => start.checked_add(1)?,
            Bound::Unbounded => 0,
        };
        let end = match range.end_bound() {
            Bound::Included(&end) => end.checked_add(1)?,
            Bound::Excluded(&end) => end,
            Bound::Unbounded => self.len,
        };
        (start <= end && end <= self.len).then(|| Self {
            owner: Arc::clone(&self.owner),
            // Cannot overflow: at most the end of the owner's slice.
            start: self.start + start,
            len: end - start,
        })
    }

    /// The bytes in `range`, sharing memory.
    ///
    /// # Panics
    /// If `range` is not inside, as slices do; [`get`](Self::get) asks first.
    #[track_caller]
    pub fn slice(&self, range: impl RangeBounds<usize>) -> Self {
        match self.get(range) {
            Some(slice) => slice,
            None => panic!("range out of bounds of {} bytes", self.len),
        }
    }
}

impl Default for Bytes {
    fn default() -> Self {
        Self::from(Vec::new())
    }
}

impl From<Vec<u8>> for Bytes {
    fn from(bytes: Vec<u8>) -> Self {
        Self::from_owner(bytes)
    }
}

impl Deref for Bytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.owner.bytes()[self.start..self.start + self.len]
    }
}

impl AsRef<[u8]> for Bytes {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl PartialEq for Bytes {
    fn eq(&self, other: &Self) -> bool {
        // Weights are large, and mostly compared with themselves.
        std::ptr::eq::<[u8]>(&**self, &**other) || **self == **other
    }
}

impl Eq for Bytes {}

impl fmt::Debug for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Weights have millions of bytes; nobody wants to read them.
        write!(f, "Bytes({} bytes)", self.len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slices_share_memory() {
        let all = Bytes::from(vec![1, 2, 3, 4, 5]);
        let part = all.slice(1..=3);
        assert_eq!(&part[..], [2, 3, 4]);
        assert_eq!(part.as_ptr(), all[1..].as_ptr());
        assert_eq!(&part.slice(1..)[..], [3, 4]);
        assert_eq!(part.slice(3..).len(), 0);
        assert_eq!(part, Bytes::from(vec![2, 3, 4]));
        assert_ne!(part, all);
        assert_eq!(format!("{part:?}"), "Bytes(3 bytes)");
    }

    #[test]
    #[allow(clippy::reversed_empty_ranges)]
    fn ranges_outside_are_none() {
        let part = Bytes::from(vec![0; 9]).slice(2..5);
        assert!(part.get(0..4).is_none());
        assert!(part.get(4..).is_none());
        assert!(part.get(2..1).is_none());
        assert!(part.get(0..=usize::MAX).is_none());
        assert!(part.get((Bound::Excluded(usize::MAX), Bound::Unbounded)).is_none());
    }

    #[test]
    #[should_panic(expected = "range out of bounds of 3 bytes")]
    fn slicing_outside_panics() {
        Bytes::from(vec![0; 3]).slice(..4);
    }

    #[test]
    fn files_are_mapped() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        std::fs::write(&path, "content").unwrap();
        let bytes = Bytes::map_file(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        assert_eq!(&bytes[..], b"content");
        assert!(bytes.slice(2..3).is_mapped() && !Bytes::from(bytes.to_vec()).is_mapped());
        std::fs::write(&path, "").unwrap();
        assert!(Bytes::map_file(&path).unwrap().is_empty());
    }

    #[test]
    fn released_bytes_stay_readable() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        let content: Vec<u8> = (0..100_000).map(|i| (i % 251) as u8).collect();
        std::fs::write(&path, &content).unwrap();
        let bytes = Bytes::map_file(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        assert_eq!(bytes[..], content[..]);
        for part in [bytes.slice(5000..70_001), bytes.slice(3..3), bytes.clone(), Bytes::from(vec![1, 2])] {
            let before = part.to_vec();
            part.release();
            assert_eq!(part[..], before[..]);
        }
        assert_eq!(bytes[..], content[..]);
    }

    #[test]
    fn errors_name_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let error = Bytes::map_file(dir.path()).unwrap_err().to_string();
        assert!(error.ends_with("is not a regular file"), "{error}");
        let error = Bytes::map_file(dir.path().join("missing.bin")).unwrap_err().to_string();
        assert!(error.contains("missing.bin`: cannot be read"), "{error}");
    }
}
