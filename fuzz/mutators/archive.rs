//! Zip archives, whose entries are changed one by one.

use std::io::{Cursor, Read, Write};

use super::{Random, tokens};

type Entries = Vec<(String, Vec<u8>)>;

/// An archive with changes in a few of its entries; `None` if these are no bytes of an archive.
pub fn mutate(bytes: &[u8], seed: u32, ops: &[String]) -> Option<Vec<u8>> {
    let mut entries = unpack(bytes)?;
    let random = &mut Random::new(seed);
    for _ in 0..1 + random.below(3) {
        // Most of what an importer does follows from the graph.
        let weight = |name: &str| match name.rsplit_once('.').map(|(_, end)| end) {
            Some("py") => 12,
            Some("json") if name.ends_with("_config.json") => 1,
            Some("json") => 16,
            Some("pkl" | "pt") => 2,
            _ => 0,
        };
        let all: usize = entries.iter().map(|(name, _)| weight(name)).sum();
        let mut at = random.below(all);
        let chosen = entries.iter_mut().find(|(name, _)| {
            let found = at < weight(name);
            at = at.wrapping_sub(weight(name));
            found
        });
        let Some((name, data)) = chosen else { break };
        if name.ends_with(".pt") {
            // A zip file in the zip file.
            if let Some(inner) = mutate(data, seed.rotate_left(7), ops) {
                *data = inner;
            }
        } else if name.ends_with(".pkl") {
            scatter(data, random);
        } else if let Ok(text) = String::from_utf8(data.clone()) {
            *data = tokens::mutate(&text, random, ops).into_bytes();
        }
    }
    pack(&entries)
}

/// Sets single bytes.
fn scatter(data: &mut [u8], random: &mut Random) {
    for _ in 0..1 + random.below(3) {
        let (at, value) = (random.below(data.len()), random.below(256) as u8);
        if let Some(byte) = data.get_mut(at) {
            *byte = value;
        }
    }
}

fn unpack(bytes: &[u8]) -> Option<Entries> {
    let mut zip = zip::ZipArchive::new(Cursor::new(bytes)).ok()?;
    let mut entries = vec![];
    for i in 0..zip.len() {
        let mut data = vec![];
        let entry = zip.by_index(i).ok()?;
        let name = entry.name().ok()?.to_string();
        entry.take(1 << 20).read_to_end(&mut data).ok()?;
        // What no reader reads would only make the input longer.
        let unread = [".debug_pkl", "serialization_id", "sample_inputs/model.pt", "serialized_example_inputs.pt"];
        if !unread.iter().any(|end| name.ends_with(end)) {
            entries.push((name, data));
        }
    }
    Some(entries)
}

fn pack(entries: &Entries) -> Option<Vec<u8>> {
    let mut zip = zip::ZipWriter::new(Cursor::new(vec![]));
    for (name, data) in entries {
        let options = zip::write::SimpleFileOptions::default().compression_method(zip::CompressionMethod::Stored);
        zip.start_file(&name[..], options).ok()?;
        zip.write_all(data).ok()?;
    }
    Some(zip.finish().ok()?.into_inner())
}
