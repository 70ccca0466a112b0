//! The zip files that PyTorch writes.
//!
//! Tensors are stored as they are, so that they are slices of the mapped file. Source text is deflated; what is deflated is
//! read with a bound. Names are relative to the folder in which PyTorch puts everything (it is named after the file).

use std::{
    collections::BTreeMap,
    io::{Cursor, Read},
    ops::Range,
};

use flate2::{Crc, read::DeflateDecoder};
use mil_core::weights::Bytes;
use zip::{CompressionMethod, ZipArchive};

use crate::import::Refusal;

/// How many times its size in the file an entry may be when it is inflated. Source text, which repeats itself, comes to 30.
const RATIO: usize = 200;
/// What any entry may take.
const SMALL: usize = 1 << 16;
/// What no entry may take, if it is deflated.
const LARGE: usize = 1 << 30;
/// First bytes of a zip file.
const MAGIC: &[u8] = b"PK\x03\x04";

/// A zip file.
#[derive(Debug)]
pub(super) struct Archive {
    file: Bytes,
    entries: BTreeMap<String, Entry>,
}

/// Where an entry is.
#[derive(Debug)]
struct Entry {
    data: Range<usize>,
    size: usize,
    deflated: bool,
    crc: u32,
}

/// Whether this is a zip file by its first bytes.
pub(super) fn is_archive(file: &[u8]) -> bool {
    file.starts_with(MAGIC)
}

impl Archive {
    /// Reads the directory.
    pub(super) fn new(file: Bytes) -> Result<Archive, Refusal> {
        let broken = |what: &dyn std::fmt::Display| {
            Refusal::new(format!("is no zip file that can be read: {what}")).remedy("copy or save it again")
        };
        let mut zip = ZipArchive::new(Cursor::new(file.clone())).map_err(|e| broken(&e))?;
        if zip.has_duplicate_names() {
            return Err(broken(&"two entries have one name"));
        }
        if zip.has_overlapping_entries().map_err(|e| broken(&e))? {
            return Err(broken(&"two entries lie in one place"));
        }
        let mut entries = BTreeMap::new();
        for i in 0..zip.len() {
            let found = zip.by_index_raw(i).map_err(|e| broken(&e))?;
            let name = std::str::from_utf8(found.name_raw()).map_err(|_| broken(&"a name is not UTF-8"))?.to_string();
            if name.ends_with('/') {
                continue;
            }
            if !name.split('/').all(|part| !matches!(part, "" | "." | "..")) || name.contains(['\\', '\0']) {
                return Err(broken(&format_args!("an entry is named `{}`", name.escape_debug())));
            }
            let entry = entry(&file, found.data_start(), &found);
            entries.insert(name.clone(), entry.map_err(|e| broken(&format_args!("the entry `{name}` {e}")))?);
        }
        Ok(Archive { file, entries: without_root(entries) })
    }

    /// The bytes of an entry, `None` if there is none. Those of a stored one are the file's own.
    pub(super) fn get(&self, name: &str) -> Result<Option<Bytes>, Refusal> {
        let Some(entry) = self.entries.get(name) else { return Ok(None) };
        // `entry` found that the range lies in the file.
        let data = self.file.slice(entry.data.clone());
        if !entry.deflated {
            return Ok(Some(data));
        }
        let broken =
            |what: &str| Refusal::new(format!("its entry `{name}` {what}")).remedy("copy or save the file again");
        if entry.size > LARGE.min(data.len().saturating_mul(RATIO).saturating_add(SMALL)) {
            let (from, to) = (data.len(), entry.size);
            return Err(Refusal::new(format!("its entry `{name}` would be inflated from {from} to {to} bytes"))
                .remedy("PyTorch saves tensors as they are: save the file again"));
        }
        let mut out = Vec::with_capacity(entry.size);
        // One more than there should be shows that there is more.
        let read = DeflateDecoder::new(&data[..]).take(entry.size as u64 + 1).read_to_end(&mut out);
        let mut crc = Crc::new();
        crc.update(&out);
        if read.is_err() || out.len() != entry.size || crc.sum() != entry.crc {
            return Err(broken("is damaged"));
        }
        Ok(Some(out.into()))
    }

    /// The bytes of an entry that must be there.
    pub(super) fn read(&self, name: &str) -> Result<Bytes, Refusal> {
        self.get(name)?.ok_or_else(|| Refusal::new(format!("has no entry `{name}`")))
    }

    /// The text of an entry that must be there.
    pub(super) fn text(&self, name: &str) -> Result<String, Refusal> {
        let bytes = self.read(name)?;
        let text = std::str::from_utf8(&bytes);
        Ok(text.map_err(|_| Refusal::new(format!("its entry `{name}` is not UTF-8")))?.to_string())
    }

    /// Whether there is such an entry.
    pub(super) fn has(&self, name: &str) -> bool {
        self.entries.contains_key(name)
    }

    /// Names of all entries, sorted.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.entries.keys().map(String::as_str)
    }

    /// The size of the file.
    pub(super) fn len(&self) -> usize {
        self.file.len()
    }
}

fn entry(file: &Bytes, start: Option<u64>, found: &zip::read::ZipFile<'_, Cursor<Bytes>>) -> Result<Entry, String> {
    let deflated = match found.compression() {
        CompressionMethod::Stored => false,
        CompressionMethod::DEFLATE => true,
        other => return Err(format!("is compressed by {other}")),
    };
    if found.encrypted() {
        return Err("is encrypted".into());
    }
    let outside = || "lies outside of the file".to_string();
    let start = start.and_then(|s| usize::try_from(s).ok()).ok_or_else(outside)?;
    let length = usize::try_from(found.compressed_size()).map_err(|_| outside())?;
    let end = start.checked_add(length).filter(|end| *end <= file.len()).ok_or_else(outside)?;
    let size = usize::try_from(found.size()).map_err(|_| outside())?;
    if !deflated && size != length {
        return Err(format!("has {length} bytes where it says {size}"));
    }
    Ok(Entry { data: start..end, size, deflated, crc: found.crc32() })
}

/// The entries without the folder that all of them are in, if there is one.
fn without_root(entries: BTreeMap<String, Entry>) -> BTreeMap<String, Entry> {
    let root = entries.keys().next().and_then(|first| Some(first.split_once('/')?.0.to_string()));
    let Some(prefix) = root.map(|r| r + "/").filter(|r| entries.keys().all(|name| name.starts_with(r))) else {
        return entries;
    };
    entries.into_iter().map(|(name, entry)| (name[prefix.len()..].to_string(), entry)).collect()
}
