use std::collections::BTreeMap;

use prost::{
    Message as _,
    encoding::{WireType, encode_key, encode_varint},
};
use protox::prost_reflect::{Cardinality, DescriptorPool, FieldDescriptor, Kind as K, MessageDescriptor};

use super::*;
use crate::spec::Model;

fn proto() -> DescriptorPool {
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/proto");
    DescriptorPool::from_file_descriptor_set(protox::compile(["Model.proto"], [root]).unwrap()).unwrap()
}

/// What a table must say of a field; messages by the name of the table.
fn expected(field: &FieldDescriptor) -> &'static str {
    let list = field.cardinality() == Cardinality::Repeated;
    match field.kind() {
        _ if field.is_map() => "map",
        K::Message(_) if list => "many",
        K::Message(_) => "message",
        K::String if list => "texts",
        K::String => "text",
        K::Bytes => "bytes",
        K::Float if list => "packed Four 4",
        K::Double if list => "packed Eight 8",
        K::Int32 if list => "packed Varint 4",
        K::Int64 if list => "packed Varint 8",
        K::Bool if list => "packed Varint 1",
        K::Float => "float",
        K::Double => "double",
        K::Int32 | K::Int64 | K::Uint64 | K::Bool | K::Enum(_) => "varint",
        other => panic!("{other:?}: teach the scan of it"),
    }
}

fn compare(message: &MessageDescriptor, table: &'static Message, done: &mut BTreeMap<String, &'static str>) {
    if done.insert(message.full_name().to_string(), table.name).is_some() {
        return;
    }
    let name = message.full_name();
    let fields: Vec<_> = message.fields().collect();
    assert!(table.fields.len() <= 64, "{name}: `seen` has 64 bits");
    assert_eq!(fields.len(), table.fields.len(), "{name} against {}", table.name);
    for field in fields {
        let kind = table.fields.iter().find(|(tag, _)| *tag == field.number());
        let (_, kind) = kind.unwrap_or_else(|| panic!("{name} has a field {}", field.number()));
        assert_eq!(expected(&field), kind.to_string(), "{name}.{}", field.name());
        let inner = match kind {
            Kind::One(inner) | Kind::Boxed(inner, _) | Kind::Many(inner, _) | Kind::Map(Some(inner), _) => inner,
            _ => continue,
        };
        let K::Message(of) = field.kind() else { continue };
        let value = field.is_map().then(|| of.map_entry_value_field().kind());
        match value {
            Some(K::Message(value)) => compare(&value, inner, done),
            _ => compare(&of, inner, done),
        }
    }
}

#[test]
fn the_tables_are_those_of_the_proto_files() {
    let pool = proto();
    let mut done = BTreeMap::new();
    compare(&pool.get_message_by_name("CoreML.Specification.Model").unwrap(), &MODEL, &mut done);
    for message in pool.all_messages().filter(|m| !m.is_map_entry()) {
        assert!(done.contains_key(message.full_name()), "{} is not reached", message.full_name());
    }
    let tables: std::collections::BTreeSet<_> = done.values().collect();
    assert!(ALL.iter().all(|m| tables.contains(&m.name)));
}

fn field(tag: u32, content: &[u8]) -> Vec<u8> {
    let mut bytes = vec![];
    encode_key(tag, WireType::LengthDelimited, &mut bytes);
    encode_varint(content.len() as u64, &mut bytes);
    bytes.extend(content);
    bytes
}

fn nest(path: &[u32], content: &[u8]) -> Vec<u8> {
    path.iter().rev().fold(content.to_vec(), |inner, tag| field(*tag, &inner))
}

#[track_caller]
fn refused(bytes: &[u8], offset: usize, message: &str, what: &str) {
    let e = scan(bytes).unwrap_err();
    assert_eq!((e.offset, e.message), (offset, message), "{e}");
    assert!(e.what.contains(what), "{e}");
    // What is damaged is refused by the decoder as well: the scan is not stricter.
    assert!(Model::decode(bytes).is_err() || what.contains("MiB"), "{e}");
}

#[test]
fn errors_name_the_byte_and_the_message() {
    refused(&[0x08], 1, "Model", "a number is cut off");
    refused(&[0x08, 0x80], 1, "Model", "a number is cut off");
    refused(&[&[0x08][..], &[0xff; 10]].concat(), 1, "Model", "more than 64 bits");
    refused(&[0x12, 5, 0x0a], 1, "Model", "a field of 5 bytes does not fit into the 1 that are left");
    refused(&[0x0a, 0], 0, "Model", "wire type 2, expected 0");
    refused(&[0x00, 0], 0, "Model", "no key of a field");
    refused(&[0x0f, 0], 0, "Model", "expected 0");
    refused(&nest(&[2, 11], b"ab\xff"), 6, "ModelDescription", "a text is not UTF-8");
    // Groups of fields that nobody knows: field 15.
    refused(&[0x7b, 0x84, 0x01], 1, "Model", "a group ends that did not begin");
    refused(&[0x7b, 0x08], 2, "Model", "a number is cut off");
    let ends = [0x7b, 0x08, 0x01, 0x7c];
    assert!(scan(&ends).is_ok() && Model::decode(&ends[..]).is_ok());
}

#[test]
fn nesting_is_refused_before_the_stack_is_full() {
    let path: Vec<u32> = (0..400).map(|i| if i % 2 == 0 { 202 } else { 1 }).collect();
    let e = scan(&nest(&path, b"")).unwrap_err();
    assert!(e.what.contains("nested too deeply"), "{e}");
    let groups = [0x7b; 100_000];
    assert!(scan(&groups).unwrap_err().what.contains("nested too deeply"));
}

#[test]
fn files_of_empty_messages_are_refused() {
    // A program, its function `m`, and in it: blocks, inputs, attributes ..
    let function = |inner: &[u8]| {
        let entry = [field(1, b"m"), field(2, inner)].concat();
        nest(&[502, 2], &entry)
    };
    let inputs = field(1, b"").repeat(200_000);
    assert!(scan(&function(&inputs)).unwrap_err().what.contains("MiB of memory"));
    let ops = field(3, &field(5, b"")).repeat(100_000);
    let e = scan(&function(&nest(&[3], &[field(1, b"CoreML7"), field(2, &ops)].concat()))).unwrap_err();
    assert!(e.what.contains("MiB of memory") && e.what.contains("made to do harm"), "{e}");
    assert_eq!(e.message, "Operation");
}

#[test]
fn models_of_coremltools_pass() {
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/testdata/coremltools");
    let mut count = 0;
    let mut dirs = vec![std::path::PathBuf::from(root)];
    while let Some(dir) = dirs.pop() {
        for entry in std::fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                dirs.push(path);
            } else if path.extension().is_some_and(|e| e == "mlmodel") {
                let bytes = std::fs::read(&path).unwrap();
                let cost = scan(&bytes).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
                assert!(cost <= BYTES_PER_BYTE * bytes.len() as u64, "{}: {cost} for {}", path.display(), bytes.len());
                count += 1;
            }
        }
    }
    assert!(count >= 4);
}
