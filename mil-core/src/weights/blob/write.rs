//! Writing blob storage as a stream.

use std::io::{self, Read, Seek, SeekFrom, Write};

use super::{ALIGNMENT, BlobDType, SENTINEL, VERSION, packed_size};

/// Writes blob storage, one blob after the other, without keeping any of them.
///
/// The bytes are those that Apple's own writer produces for the same blobs. Until
/// [`finish`](Self::finish) the file's header says that it holds no blob.
///
/// ```
/// use mil_core::weights::{BlobDType, BlobFile, BlobWriter};
///
/// let mut writer = BlobWriter::new(std::io::Cursor::new(Vec::new()))?;
/// let offset = writer.append(BlobDType::UInt8, 3, &[1, 2, 3])?;
/// let file = writer.finish()?.into_inner();
/// let blob = BlobFile::from_bytes(file.into())?.get(offset)?;
/// assert_eq!(&blob.bytes[..], [1, 2, 3]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct BlobWriter<W> {
    inner: W,
    count: u32,
    /// Bytes written.
    position: u64,
    /// A write failed midway, after which offsets would be wrong.
    failed: bool,
}

impl<W: Write + Seek> BlobWriter<W> {
    /// Begins a storage at the start of `inner`, which must be empty.
    ///
    /// # Errors
    /// Those of `inner`.
    pub fn new(mut inner: W) -> io::Result<Self> {
        let mut header = [0; ALIGNMENT as usize];
        header[4..8].copy_from_slice(&VERSION.to_le_bytes());
        inner.write_all(&header)?;
        Ok(Self { inner, count: 0, position: ALIGNMENT, failed: false })
    }

    /// Number of blobs appended.
    pub fn len(&self) -> u32 {
        self.count
    }

    /// Whether no blob was appended.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Appends a blob of `element_count` elements and returns the offset of its metadata record, by which
    /// a program refers to it.
    ///
    /// # Errors
    /// `InvalidInput` if `data` is not as long as the elements are, before anything is written;
    /// otherwise those of `inner`, after which nothing more can be appended.
    pub fn append(&mut self, dtype: BlobDType, element_count: u64, data: &[u8]) -> io::Result<u64> {
        let (size, _) = size_of(dtype, element_count)?;
        if data.len() as u64 != size {
            return Err(wrong_length(dtype, element_count, size, data.len() as u64));
        }
        self.append_chunks(dtype, element_count, [data])
    }

    /// Appends a blob whose data comes in pieces.
    ///
    /// # Errors
    /// `InvalidInput` if the pieces together are not as long as the elements are, and those of `inner`; after
    /// either nothing more can be appended.
    pub fn append_chunks<C: AsRef<[u8]>>(
        &mut self,
        dtype: BlobDType,
        element_count: u64,
        chunks: impl IntoIterator<Item = C>,
    ) -> io::Result<u64> {
        let (size, offset) = self.begin(dtype, element_count)?;
        let mut written = 0;
        for chunk in chunks {
            let chunk = chunk.as_ref();
            written += chunk.len() as u64;
            if written > size {
                break;
            }
            self.inner.write_all(chunk)?;
        }
        self.end(dtype, element_count, size, written)?;
        Ok(offset)
    }

    /// Appends a blob whose data is all that `data` gives.
    ///
    /// # Errors
    /// As for [`append_chunks`](Self::append_chunks), and those of `data`.
    pub fn append_from(&mut self, dtype: BlobDType, element_count: u64, mut data: impl Read) -> io::Result<u64> {
        let (size, offset) = self.begin(dtype, element_count)?;
        let mut written = io::copy(&mut data.by_ref().take(size), &mut self.inner)?;
        if written == size {
            // One byte more is enough to know that the length is wrong.
            written += io::copy(&mut data.take(1), &mut io::sink())?;
        }
        self.end(dtype, element_count, size, written)?;
        Ok(offset)
    }

    /// Completes the header and returns what was written to, flushed.
    ///
    /// # Errors
    /// Those of `inner`, or an earlier failure to append.
    pub fn finish(mut self) -> io::Result<W> {
        self.check_not_failed()?;
        self.inner.seek(SeekFrom::Start(0))?;
        self.inner.write_all(&self.count.to_le_bytes())?;
        self.inner.seek(SeekFrom::Start(self.position))?;
        self.inner.flush()?;
        Ok(self.inner)
    }

    /// Writes the gap and the metadata record; returns the size of the data and the record's offset.
    fn begin(&mut self, dtype: BlobDType, element_count: u64) -> io::Result<(u64, u64)> {
        self.check_not_failed()?;
        let (size, padding) = size_of(dtype, element_count)?;
        let too_large = || io::Error::new(io::ErrorKind::InvalidInput, "the blob file would be larger than 2^64 bytes");
        let offset = self.position.checked_next_multiple_of(ALIGNMENT).ok_or_else(too_large)?;
        let data = offset.checked_add(ALIGNMENT).ok_or_else(too_large)?;
        data.checked_add(size).ok_or_else(too_large)?;
        if self.count == u32::MAX {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "the blob file has 2^32 - 1 blobs, which is the limit",
            ));
        }
        // Cleared by `end` when all went well.
        self.failed = true;
        let mut record = [0; ALIGNMENT as usize];
        record[..4].copy_from_slice(&SENTINEL.to_le_bytes());
        record[4..8].copy_from_slice(&dtype.code().to_le_bytes());
        record[8..16].copy_from_slice(&size.to_le_bytes());
        record[16..24].copy_from_slice(&data.to_le_bytes());
        record[24..32].copy_from_slice(&u64::from(padding).to_le_bytes());
        let gap = [0; ALIGNMENT as usize];
        self.inner.write_all(&gap[..(offset - self.position) as usize])?;
        self.inner.write_all(&record)?;
        self.position = data + size;
        Ok((size, offset))
    }

    fn end(&mut self, dtype: BlobDType, element_count: u64, size: u64, written: u64) -> io::Result<()> {
        if written != size {
            return Err(wrong_length(dtype, element_count, size, written));
        }
        self.count += 1;
        self.failed = false;
        Ok(())
    }

    fn check_not_failed(&self) -> io::Result<()> {
        if self.failed {
            return Err(io::Error::other("an earlier blob could not be written: begin a new file"));
        }
        Ok(())
    }
}

fn size_of(dtype: BlobDType, element_count: u64) -> io::Result<(u64, u32)> {
    packed_size(dtype, element_count).ok_or_else(|| {
        let message = format!("{element_count} elements of `{dtype}` are more than 2^64 bytes");
        io::Error::new(io::ErrorKind::InvalidInput, message)
    })
}

fn wrong_length(dtype: BlobDType, element_count: u64, size: u64, found: u64) -> io::Error {
    let more = if found > size { "at least " } else { "" };
    let message = format!("{element_count} elements of `{dtype}` take {size} bytes, found {more}{found}");
    io::Error::new(io::ErrorKind::InvalidInput, message)
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;

    fn writer() -> BlobWriter<Cursor<Vec<u8>>> {
        BlobWriter::new(Cursor::new(Vec::new())).unwrap()
    }

    #[test]
    fn the_layout_is_the_documented_one() {
        let mut writer = writer();
        assert!(writer.is_empty());
        assert_eq!(writer.append(BlobDType::UInt3, 9, &[0xd1, 0x58, 0x1f, 0x01]).unwrap(), 64);
        assert_eq!(writer.append(BlobDType::Float32, 1, &1f32.to_le_bytes()).unwrap(), 192);
        assert_eq!(writer.len(), 2);
        let bytes = writer.finish().unwrap().into_inner();
        let mut expected = vec![0; 192 + 64 + 4];
        expected[0] = 2;
        expected[4] = 2;
        expected[64..72].copy_from_slice(&[0xef, 0xbe, 0xad, 0xde, 12, 0, 0, 0]);
        (expected[72], expected[80], expected[88]) = (4, 128, 5);
        expected[128..132].copy_from_slice(&[0xd1, 0x58, 0x1f, 0x01]);
        expected[192..200].copy_from_slice(&[0xef, 0xbe, 0xad, 0xde, 2, 0, 0, 0]);
        expected[200] = 4;
        expected[209] = 1;
        expected[258..260].copy_from_slice(&[0x80, 0x3f]);
        assert_eq!(bytes, expected);
    }

    #[test]
    fn slices_chunks_and_readers_give_the_same_file() {
        let data: Vec<u8> = (0..200).collect();
        let mut files = [writer(), writer(), writer()];
        for _ in 0..2 {
            files[0].append(BlobDType::Int16, 100, &data).unwrap();
            files[1].append_chunks(BlobDType::Int16, 100, data.chunks(7)).unwrap();
            files[2].append_from(BlobDType::Int16, 100, &data[..]).unwrap();
        }
        let files = files.map(|file| file.finish().unwrap().into_inner());
        assert!(files[0] == files[1] && files[0] == files[2]);
    }

    #[test]
    fn a_wrong_length_is_refused_before_writing() {
        let mut writer = writer();
        let error = writer.append(BlobDType::Int4, 3, &[0]).unwrap_err();
        assert_eq!(error.to_string(), "3 elements of `i4` take 2 bytes, found 1");
        assert_eq!(writer.append(BlobDType::Int4, 3, &[0, 0]).unwrap(), 64);
    }

    #[test]
    fn a_wrong_length_of_a_stream_ends_the_file() {
        for data in [&[1u8, 2, 3][..], &[1; 5]] {
            let mut by_chunks = writer();
            by_chunks.append_chunks(BlobDType::UInt8, 4, data.chunks(2)).unwrap_err();
            let mut by_reader = writer();
            let error = by_reader.append_from(BlobDType::UInt8, 4, data).unwrap_err();
            assert!(error.to_string().starts_with("4 elements of `u8` take 4 bytes, found"), "{error}");
            for mut writer in [by_chunks, by_reader] {
                let error = writer.append(BlobDType::UInt8, 1, &[1]).unwrap_err();
                assert!(error.to_string().contains("earlier blob"), "{error}");
                assert!(writer.finish().is_err());
            }
        }
    }

    #[test]
    fn sizes_that_overflow_are_refused() {
        let mut writer = writer();
        let error = writer.append_from(BlobDType::Float32, u64::MAX, io::empty()).unwrap_err();
        assert!(error.to_string().contains("more than 2^64 bytes"), "{error}");
        let error = writer.append_from(BlobDType::UInt8, u64::MAX - 64, io::empty()).unwrap_err();
        assert!(error.to_string().contains("larger than 2^64 bytes"), "{error}");
        assert!(writer.append(BlobDType::UInt8, 1, &[1]).is_ok());
    }
}
