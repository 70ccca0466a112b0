//! Reading blob storage without copying it.

use std::error::Error;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{ALIGNMENT, BlobDType, SENTINEL, VERSION};
use crate::error::FileError;
use crate::weights::Bytes;

/// Blob storage, memory-mapped or in memory.
#[derive(Clone, Debug)]
pub struct BlobFile {
    bytes: Bytes,
    count: u32,
    path: Option<Arc<Path>>,
}

/// One blob.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BlobEntry {
    /// Offset of its metadata record, by which a program refers to it.
    pub offset: u64,
    /// Type of its elements.
    pub dtype: BlobDType,
    /// Its data, shared with the file.
    pub bytes: Bytes,
    /// Bits at the end of the data that belong to no element, 0 to 7.
    pub padding_bits: u32,
}

impl BlobEntry {
    /// Number of elements.
    pub fn element_count(&self) -> u64 {
        (self.bytes.len() as u64 * 8 - u64::from(self.padding_bits)) / u64::from(self.dtype.bits())
    }
}

impl BlobFile {
    /// Maps a blob file and checks its header.
    ///
    /// # Errors
    /// The file cannot be read, is shorter than a header, of another version, or too short for the number
    /// of blobs that it states.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, BlobError> {
        let path = path.as_ref();
        let bytes = Bytes::map_file(path).map_err(|error| BlobError { path: None, problem: Problem::File(error) })?;
        Self::new(bytes, Some(path.into()))
    }

    /// Reads blob storage that is in memory and checks its header.
    ///
    /// # Errors
    /// As for [`open`](Self::open).
    pub fn from_bytes(bytes: Bytes) -> Result<Self, BlobError> {
        Self::new(bytes, None)
    }

    fn new(bytes: Bytes, path: Option<Arc<Path>>) -> Result<Self, BlobError> {
        let mut file = Self { bytes, count: 0, path };
        let length = file.bytes.len() as u64;
        if length < ALIGNMENT {
            return Err(file.error(0, "file length", format!("{length} bytes"), "a header of 64 bytes"));
        }
        let version = file.u32_at(4);
        if version != VERSION {
            return Err(file.error(4, "version", version, "2: save the model with a newer tool"));
        }
        file.count = file.u32_at(0);
        // Every blob takes a metadata record at least.
        let room = length / ALIGNMENT - 1;
        if u64::from(file.count) > room {
            let found = format!("{} blobs", file.count);
            return Err(file.error(0, "blob count", found, format!("at most {room} in a file of {length} bytes")));
        }
        Ok(file)
    }

    /// Number of blobs that the header states.
    pub fn len(&self) -> u32 {
        self.count
    }

    /// Whether the header states that there is no blob.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The blob whose metadata record is at `offset`.
    ///
    /// # Errors
    /// There is no metadata record, or it contradicts itself or the length of the file.
    pub fn get(&self, offset: u64) -> Result<BlobEntry, BlobError> {
        let length = self.bytes.len() as u64;
        if offset < ALIGNMENT || !offset.is_multiple_of(ALIGNMENT) {
            return Err(self.error(offset, "metadata offset", offset, "a multiple of 64 behind the header"));
        }
        if offset.checked_add(ALIGNMENT).is_none_or(|end| end > length) {
            let expected = format!("a metadata record of 64 bytes inside the file of {length} bytes");
            return Err(self.error(offset, "metadata offset", offset, expected));
        }
        // Inside the mapped file, so it fits.
        let at = offset as usize;
        let sentinel = self.u32_at(at);
        if sentinel != SENTINEL {
            return Err(self.error(offset, "sentinel", format!("{sentinel:#010x}"), format!("{SENTINEL:#010x}")));
        }
        let code = self.u32_at(at + 4);
        let Some(dtype) = BlobDType::from_code(code) else {
            return Err(self.error(offset + 4, "element type", code, "1 to 17"));
        };
        let size = self.u64_at(at + 8);
        let data = self.u64_at(at + 16);
        // Writers of before there were dtypes of a few bits left there what was in memory.
        let padding = if dtype.bits() < 8 { self.u64_at(at + 24) } else { 0 };
        if data < ALIGNMENT || !data.is_multiple_of(ALIGNMENT) {
            return Err(self.error(offset + 16, "data offset", data, "a multiple of 64 behind the header"));
        }
        let Some(end) = data.checked_add(size).filter(|&end| end <= length) else {
            let found = format!("{size} bytes of data at {data}");
            return Err(self.error(offset + 8, "data size", found, format!("data inside the file of {length} bytes")));
        };
        if padding >= 8 || padding > size * 8 {
            return Err(self.error(
                offset + 24,
                "padding bits",
                padding,
                "fewer than 8, and no more than there is data",
            ));
        }
        // Cannot overflow: `size` is at most the length of a file in memory.
        if !(size * 8 - padding).is_multiple_of(u64::from(dtype.bits())) {
            let found = format!("{size} bytes less {padding} bits of padding");
            return Err(self.error(offset + 8, "data size", found, format!("a whole number of `{dtype}` elements")));
        }
        let bytes = self.bytes.slice(data as usize..end as usize);
        Ok(BlobEntry { offset, dtype, bytes, padding_bits: padding as u32 })
    }

    /// All blobs in the order of the file, found by going from one record to the next; ends after an error.
    pub fn entries(&self) -> BlobEntries<'_> {
        BlobEntries { file: self, left: self.count, offset: ALIGNMENT }
    }

    fn error(
        &self,
        offset: u64,
        field: &'static str,
        found: impl fmt::Display,
        expected: impl fmt::Display,
    ) -> BlobError {
        let (found, expected) = (found.to_string(), expected.to_string());
        BlobError {
            path: self.path.as_deref().map(Path::to_owned),
            problem: Problem::Field { offset, field, found, expected },
        }
    }

    /// The number at `at`, which the caller has found to be inside the file.
    fn u32_at(&self, at: usize) -> u32 {
        let mut number = [0; 4];
        number.copy_from_slice(&self.bytes[at..at + 4]);
        u32::from_le_bytes(number)
    }

    /// The number at `at`, which the caller has found to be inside the file.
    fn u64_at(&self, at: usize) -> u64 {
        let mut number = [0; 8];
        number.copy_from_slice(&self.bytes[at..at + 8]);
        u64::from_le_bytes(number)
    }
}

/// Iterator over all blobs of a file; see [`BlobFile::entries`].
#[derive(Clone, Debug)]
pub struct BlobEntries<'a> {
    file: &'a BlobFile,
    left: u32,
    offset: u64,
}

impl Iterator for BlobEntries<'_> {
    type Item = Result<BlobEntry, BlobError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.left = self.left.checked_sub(1)?;
        let entry = self.file.get(self.offset);
        match &entry {
            Ok(blob) => {
                // Behind record and data, wherever a foreign writer put the data; always further on. Cannot
                // overflow: both are inside a file that fits into memory.
                let at = self.file.u64_at(self.offset as usize + 16);
                let end = (at + blob.bytes.len() as u64).max(self.offset + ALIGNMENT);
                self.offset = end.next_multiple_of(ALIGNMENT);
            }
            Err(_) => self.left = 0,
        }
        Some(entry)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (0, usize::try_from(self.left).ok())
    }
}

/// A blob file, or one of its records, is not valid.
#[derive(Debug)]
pub struct BlobError {
    path: Option<PathBuf>,
    problem: Problem,
}

#[derive(Debug)]
enum Problem {
    File(FileError),
    Field { offset: u64, field: &'static str, found: String, expected: String },
}

impl BlobError {
    /// The byte of the file that is wrong, if its content is.
    pub fn offset(&self) -> Option<u64> {
        match self.problem {
            Problem::File(_) => None,
            Problem::Field { offset, .. } => Some(offset),
        }
    }
}

impl fmt::Display for BlobError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.problem {
            Problem::File(error) => write!(f, "{error}"),
            Problem::Field { offset, field, found, expected } => {
                match &self.path {
                    Some(path) => write!(f, "`{}`: ", path.display())?,
                    None => write!(f, "blob file: ")?,
                }
                write!(f, "{field} at byte {offset}: found {found}, expected {expected}")
            }
        }
    }
}

impl Error for BlobError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match &self.problem {
            Problem::File(error) => error.source(),
            Problem::Field { .. } => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;
    use crate::weights::BlobWriter;

    fn testdata(package: &str) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("testdata/coremltools")
            .join(package)
            .join("Data/com.apple.CoreML/weights/weight.bin")
    }

    /// A file of one f32 blob of two elements, with `patch` written over it.
    fn patched(at: usize, patch: &[u8]) -> Result<BlobEntry, BlobError> {
        let mut writer = BlobWriter::new(Cursor::new(Vec::new())).unwrap();
        writer.append(BlobDType::Float32, 2, &[0; 8]).unwrap();
        let mut bytes = writer.finish().unwrap().into_inner();
        bytes[at..at + patch.len()].copy_from_slice(patch);
        BlobFile::from_bytes(bytes.into())?.get(64)
    }

    #[track_caller]
    fn assert_refused(at: usize, patch: &[u8], message: &str) {
        let error = patched(at, patch).unwrap_err();
        assert_eq!(error.to_string(), format!("blob file: {message}"));
        assert!(error.offset().is_some());
    }

    #[test]
    fn rewriting_what_coremltools_wrote_gives_the_same_bytes() {
        for (package, count) in [("two_blobs.mlpackage", 2), ("sub_byte.mlpackage", 3)] {
            let file = BlobFile::open(testdata(package)).unwrap();
            let mut writer = BlobWriter::new(Cursor::new(Vec::new())).unwrap();
            for blob in file.entries() {
                let blob = blob.unwrap();
                let offset = writer.append(blob.dtype, blob.element_count(), &blob.bytes).unwrap();
                assert_eq!((offset, file.get(offset).unwrap()), (blob.offset, blob));
            }
            assert_eq!((writer.len(), file.len()), (count, count));
            let again = writer.finish().unwrap().into_inner();
            assert!(again == std::fs::read(testdata(package)).unwrap(), "{package}");
        }
    }

    #[test]
    fn entries_tell_types_and_counts() {
        let file = BlobFile::open(testdata("sub_byte.mlpackage")).unwrap();
        let found: Vec<_> =
            file.entries().map(Result::unwrap).map(|b| (b.dtype, b.element_count(), b.padding_bits)).collect();
        assert_eq!(found, [(BlobDType::UInt4, 64, 0), (BlobDType::UInt1, 4096, 0), (BlobDType::UInt4, 35, 4)]);
    }

    #[test]
    fn data_is_not_copied() {
        let bytes = Bytes::from(std::fs::read(testdata("two_blobs.mlpackage")).unwrap());
        let blob = BlobFile::from_bytes(bytes.clone()).unwrap().get(64).unwrap();
        assert_eq!(blob.bytes.as_ptr(), bytes[128..].as_ptr());
    }

    #[test]
    fn an_unchanged_record_is_accepted() {
        assert_eq!(patched(0, &[1]).unwrap().element_count(), 2);
    }

    #[test]
    fn each_broken_field_is_refused() {
        assert_refused(4, &[1], "version at byte 4: found 1, expected 2: save the model with a newer tool");
        assert_refused(0, &[9], "blob count at byte 0: found 9 blobs, expected at most 1 in a file of 136 bytes");
        assert_refused(64, &[0], "sentinel at byte 64: found 0xdeadbe00, expected 0xdeadbeef");
        assert_refused(68, &[18], "element type at byte 68: found 18, expected 1 to 17");
        assert_refused(
            72,
            &[9],
            "data size at byte 72: found 9 bytes of data at 128, expected data inside the file of 136 bytes",
        );
        assert_refused(
            72,
            &[7],
            "data size at byte 72: found 7 bytes less 0 bits of padding, expected a whole number of `f32` elements",
        );
        assert_refused(
            72,
            &[255; 8],
            &format!(
                "data size at byte 72: found {} bytes of data at 128, expected data inside the file of 136 bytes",
                u64::MAX
            ),
        );
        assert_refused(80, &[120], "data offset at byte 80: found 120, expected a multiple of 64 behind the header");
        assert_refused(80, &[0], "data offset at byte 80: found 0, expected a multiple of 64 behind the header");
        // As a blob of 3-bit integers: type, 8 bytes at 128, and this many bits of padding.
        let sub_byte = |padding: u64| {
            let code = BlobDType::UInt3.code();
            [&code.to_le_bytes()[..], &8u64.to_le_bytes(), &128u64.to_le_bytes(), &padding.to_le_bytes()].concat()
        };
        assert_eq!(patched(68, &sub_byte(1)).unwrap().element_count(), 21);
        assert_refused(
            68,
            &sub_byte(8),
            "padding bits at byte 88: found 8, expected fewer than 8, and no more than there is data",
        );
        assert_refused(
            68,
            &sub_byte(2),
            "data size at byte 72: found 8 bytes less 2 bits of padding, expected a whole number of `u3` elements",
        );
    }

    /// Published models have random numbers there.
    #[test]
    fn padding_of_whole_bytes_is_nothing() {
        let blob = patched(88, &11_751_492_080u64.to_le_bytes()).unwrap();
        assert_eq!((blob.element_count(), blob.padding_bits), (2, 0));
    }

    #[test]
    fn offsets_that_are_no_record_are_refused() {
        let file = BlobFile::open(testdata("two_blobs.mlpackage")).unwrap();
        for offset in [0, 63, 65, 448, 512, u64::MAX, u64::MAX - 63] {
            let error = file.get(offset).unwrap_err().to_string();
            assert!(error.contains(&format!("metadata offset at byte {offset}: found {offset}")), "{error}");
            assert!(error.contains("weight.bin`"), "{error}");
        }
    }

    #[test]
    fn short_and_missing_files_are_refused() {
        let error = BlobFile::from_bytes(vec![0; 63].into()).unwrap_err().to_string();
        assert_eq!(error, "blob file: file length at byte 0: found 63 bytes, expected a header of 64 bytes");
        let error = BlobFile::open("missing.bin").unwrap_err();
        assert!(error.to_string().starts_with("`missing.bin`: cannot be read"), "{error}");
        assert_eq!(error.offset(), None);
    }

    #[test]
    fn walking_ends_after_an_error() {
        let mut bytes = std::fs::read(testdata("two_blobs.mlpackage")).unwrap();
        bytes[64] = 0;
        let file = BlobFile::from_bytes(bytes.into()).unwrap();
        assert_eq!(file.entries().map(|entry| entry.is_ok()).collect::<Vec<_>>(), [false]);
    }
}
