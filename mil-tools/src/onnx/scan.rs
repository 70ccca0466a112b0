//! A look at an ONNX file before it is decoded: see [`wire`]. The tables follow `mil-tools/proto`; a test compares them.

use mil_core::spec::wire::{
    self,
    Kind::{self, ByteLists, Bytes, Float, One, Packed, Text, Texts, Varint},
    Message, ScanError, Wire, boxed, many,
};

use super::proto::{self, type_proto};

/// How much decoded messages may take per byte of the file. Of 1,918 models (the ONNX project's node suite, and published
/// ones) none takes more than 148, those of more than a megabyte 3: an attribute takes a kilobyte.
const BYTES_PER_BYTE: u64 = 256;

/// What any file may take.
const FLOOR: u64 = 16 << 20;

/// Checks that these bytes are an encoded model, well-formed, and do not take far more memory than they are long.
pub(super) fn scan(bytes: &[u8]) -> Result<u64, ScanError> {
    wire::scan(&MODEL, bytes, (bytes.len() as u64).saturating_mul(BYTES_PER_BYTE).saturating_add(FLOOR))
}

macro_rules! messages {
    ($($name:ident($text:literal) { $($tag:literal => $kind:expr),* $(,)? })*) => {
        $(static $name: Message = Message { name: $text, fields: &[$(($tag, $kind)),*] };)*
    };
}

const LONGS: Kind = Packed(Wire::Varint, 8);
const METADATA: Kind = many::<proto::StringStringEntryProto>(&ENTRY);

messages! {
    MODEL("ModelProto") {
        1 => Varint, 2 => Text, 3 => Text, 4 => Text, 5 => Varint, 6 => Text, 7 => One(&GRAPH),
        8 => many::<proto::OperatorSetIdProto>(&OPERATOR_SET), 14 => METADATA,
        25 => many::<proto::FunctionProto>(&FUNCTION),
    }
    OPERATOR_SET("OperatorSetIdProto") { 1 => Text, 2 => Varint }
    ENTRY("StringStringEntryProto") { 1 => Text, 2 => Text }
    FUNCTION("FunctionProto") {
        1 => Text, 4 => Texts, 5 => Texts, 6 => Texts, 7 => many::<proto::NodeProto>(&NODE), 8 => Text,
        9 => many::<proto::OperatorSetIdProto>(&OPERATOR_SET), 10 => Text,
        11 => many::<proto::AttributeProto>(&ATTRIBUTE), 12 => many::<proto::ValueInfoProto>(&VALUE_INFO), 13 => Text,
        14 => METADATA,
    }
    GRAPH("GraphProto") {
        1 => many::<proto::NodeProto>(&NODE), 2 => Text, 5 => many::<proto::TensorProto>(&TENSOR), 10 => Text,
        11 => many::<proto::ValueInfoProto>(&VALUE_INFO), 12 => many::<proto::ValueInfoProto>(&VALUE_INFO),
        13 => many::<proto::ValueInfoProto>(&VALUE_INFO), 14 => many::<proto::TensorAnnotation>(&ANNOTATION),
        15 => many::<proto::SparseTensorProto>(&SPARSE_TENSOR), 16 => METADATA,
    }
    ANNOTATION("TensorAnnotation") { 1 => Text, 2 => METADATA }
    NODE("NodeProto") {
        1 => Texts, 2 => Texts, 3 => Text, 4 => Text, 5 => many::<proto::AttributeProto>(&ATTRIBUTE), 6 => Text,
        7 => Text, 8 => Text, 9 => METADATA,
    }
    ATTRIBUTE("AttributeProto") {
        1 => Text, 2 => Float, 3 => Varint, 4 => Bytes, 5 => One(&TENSOR), 6 => One(&GRAPH),
        7 => Packed(Wire::Four, 4), 8 => LONGS, 9 => ByteLists, 10 => many::<proto::TensorProto>(&TENSOR),
        11 => many::<proto::GraphProto>(&GRAPH), 13 => Text, 14 => One(&TYPE), 15 => many::<proto::TypeProto>(&TYPE),
        20 => Varint, 21 => Text, 22 => One(&SPARSE_TENSOR),
        23 => many::<proto::SparseTensorProto>(&SPARSE_TENSOR),
    }
    VALUE_INFO("ValueInfoProto") { 1 => Text, 2 => One(&TYPE), 3 => Text, 4 => METADATA }
    TENSOR("TensorProto") {
        1 => LONGS, 2 => Varint, 3 => One(&SEGMENT), 4 => Packed(Wire::Four, 4), 5 => Packed(Wire::Varint, 4),
        6 => ByteLists, 7 => LONGS, 8 => Text, 9 => Bytes, 10 => Packed(Wire::Eight, 8), 11 => LONGS, 12 => Text,
        13 => METADATA, 14 => Varint, 16 => METADATA,
    }
    SEGMENT("Segment") { 1 => Varint, 2 => Varint }
    SPARSE_TENSOR("SparseTensorProto") { 1 => One(&TENSOR), 2 => One(&TENSOR), 3 => LONGS }
    TYPE("TypeProto") {
        1 => One(&TENSOR_TYPE), 4 => boxed::<type_proto::Sequence>(&ELEMENT_TYPE),
        5 => boxed::<type_proto::Map>(&MAP_TYPE), 6 => Text, 7 => One(&OPAQUE_TYPE), 8 => One(&TENSOR_TYPE),
        9 => boxed::<type_proto::Optional>(&ELEMENT_TYPE),
    }
    TENSOR_TYPE("Tensor") { 1 => Varint, 2 => One(&SHAPE) }
    ELEMENT_TYPE("Sequence") { 1 => boxed::<proto::TypeProto>(&TYPE) }
    MAP_TYPE("Map") { 1 => Varint, 2 => boxed::<proto::TypeProto>(&TYPE) }
    OPAQUE_TYPE("Opaque") { 1 => Text, 2 => Text }
    SHAPE("TensorShapeProto") { 1 => many::<proto::tensor_shape_proto::Dimension>(&DIMENSION) }
    DIMENSION("Dimension") { 1 => Varint, 2 => Text, 3 => Text }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use prost::{
        Message as _,
        encoding::{WireType, encode_key, encode_varint},
    };
    use protox::prost_reflect::{Cardinality, DescriptorPool, FieldDescriptor, Kind as K, MessageDescriptor};

    use super::*;

    fn expected(field: &FieldDescriptor) -> &'static str {
        let list = field.cardinality() == Cardinality::Repeated;
        match field.kind() {
            K::Message(_) if list => "many",
            K::Message(_) => "message",
            K::String if list => "texts",
            K::String => "text",
            K::Bytes if list => "byte lists",
            K::Bytes => "bytes",
            K::Float if list => "packed Four 4",
            K::Double if list => "packed Eight 8",
            K::Int32 if list => "packed Varint 4",
            K::Int64 | K::Uint64 if list => "packed Varint 8",
            K::Float => "float",
            K::Int32 | K::Int64 | K::Enum(_) => "varint",
            other => panic!("{other:?}: teach the scan of it"),
        }
    }

    fn compare(message: &MessageDescriptor, table: &'static Message, done: &mut BTreeSet<String>) {
        let name = message.full_name().to_string();
        if !done.insert(name.clone()) {
            return;
        }
        assert_eq!(message.fields().len(), table.fields.len(), "{name}");
        for field in message.fields() {
            let kind = table.fields.iter().find(|(tag, _)| *tag == field.number());
            let (_, kind) = kind.unwrap_or_else(|| panic!("{name} has a field {}", field.number()));
            assert_eq!(expected(&field), kind.to_string(), "{name}.{}", field.name());
            let inner = match kind {
                Kind::One(inner) | Kind::Boxed(inner, _) | Kind::Many(inner, _) => inner,
                _ => continue,
            };
            if let K::Message(of) = field.kind() {
                compare(&of, inner, done);
            }
        }
    }

    #[test]
    fn the_tables_are_those_of_the_proto_file() {
        let root = concat!(env!("CARGO_MANIFEST_DIR"), "/proto");
        let files = protox::compile(["onnx.proto"], [root]).unwrap();
        let pool = DescriptorPool::from_file_descriptor_set(files).unwrap();
        let model = pool.all_messages().find(|m| m.name() == "ModelProto").unwrap();
        let mut done = BTreeSet::new();
        compare(&model, &MODEL, &mut done);
        for message in pool.all_messages() {
            assert!(done.contains(message.full_name()), "{} is not reached", message.full_name());
        }
    }

    #[test]
    fn files_of_tiny_messages_are_refused_before_they_take_memory() {
        // A node whose attributes are nothing, two bytes each.
        let mut model = [5 << 3 | 2, 0].repeat(200_000);
        for tag in [1, 7] {
            let mut outer = vec![];
            encode_key(tag, WireType::LengthDelimited, &mut outer);
            encode_varint(model.len() as u64, &mut outer);
            outer.extend(model);
            model = outer;
        }
        let e = scan(&model).unwrap_err();
        assert!(e.what.contains("MiB") && e.message == "NodeProto", "{e}");
        let model = proto::ModelProto { graph: Some(proto::GraphProto::default()), ..Default::default() };
        let model = [model.encode_to_vec(), vec![7 << 3 | 2, 9]].concat();
        assert!(scan(&model).unwrap_err().what.contains("does not fit"));
    }

    #[test]
    fn what_the_scan_takes_is_decoded() {
        let tensor = proto::TensorProto { dims: vec![2], raw_data: vec![0; 8].into(), ..Default::default() };
        let graph = proto::GraphProto { initializer: vec![tensor; 3], ..Default::default() };
        let model = proto::ModelProto { graph: Some(graph), ..Default::default() };
        let bytes = model.encode_to_vec();
        assert!(scan(&bytes).is_ok());
        assert_eq!(proto::ModelProto::decode(&bytes[..]).unwrap(), model);
    }
}
