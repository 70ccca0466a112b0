//! A look at an encoded model before it is decoded: where it is damaged, and how much memory it would take.
//!
//! [`wire`] has how; here are the messages of Core ML. The tables follow `mil-core/proto`; a test compares them.

use std::mem::size_of;

use super::{
    self as spec, mil,
    mil::dictionary_value::KeyValuePair,
    wire::{self, Kind, Message, Wire, boxed, many, map},
};

pub use super::wire::ScanError;

/// How much decoded messages may take per byte of the file. Of 1,556 models (coremltools' own op tests, and three
/// published ones) none takes more than 36, the median 24: small ops, each with a map for inputs and one for attributes.
pub const BYTES_PER_BYTE: u64 = 64;

/// What any file may take.
pub const FLOOR: u64 = 16 << 20;

/// How much the messages of a file of this length may take.
pub fn budget(file_length: usize) -> u64 {
    (file_length as u64).saturating_mul(BYTES_PER_BYTE).saturating_add(FLOOR)
}

/// Checks that these bytes are an encoded model, well-formed and within [`budget`]. Gives an upper bound of what
/// decoding allocates.
///
/// # Errors
/// At the first byte that is wrong.
pub fn scan(bytes: &[u8]) -> Result<u64, ScanError> {
    scan_within(bytes, budget(bytes.len()))
}

fn scan_within(bytes: &[u8], budget: u64) -> Result<u64, ScanError> {
    wire::scan(&MODEL, bytes, budget)
}

macro_rules! messages {
    ($($name:ident($text:literal) { $($tag:literal => $kind:expr),* $(,)? })*) => {
        $(static $name: Message = Message { name: $text, fields: &[$(($tag, $kind)),*] };)*
        #[cfg(test)]
        static ALL: &[&Message] = &[$(&$name),*];
    };
}

use Kind::{Bytes, Double, Float, Map, One, Packed, Text, Texts, Varint};

messages! {
    MODEL("Model") {
        1 => Varint, 2 => One(&MODEL_DESCRIPTION), 10 => Varint,
        200 => One(&PIPELINE_OWNER), 201 => One(&PIPELINE_OWNER), 202 => One(&PIPELINE),
        300 => Bytes, 301 => Bytes, 302 => Bytes, 303 => Bytes, 304 => Bytes,
        400 => Bytes, 401 => Bytes, 402 => Bytes, 403 => Bytes, 404 => Bytes,
        500 => Bytes, 501 => Bytes, 502 => One(&PROGRAM), 555 => Bytes, 556 => Bytes, 560 => Bytes,
        600 => Bytes, 601 => Bytes, 602 => Bytes, 603 => Bytes, 604 => Bytes, 606 => Bytes, 607 => Bytes,
        609 => Bytes, 610 => Bytes, 900 => Bytes,
        2000 => Bytes, 2001 => Bytes, 2002 => Bytes, 2003 => Bytes, 2004 => Bytes, 2005 => Bytes, 2006 => Bytes,
        3000 => One(&SERIALIZED_MODEL),
    }
    PIPELINE_OWNER("PipelineClassifier") { 1 => One(&PIPELINE) }
    PIPELINE("Pipeline") { 1 => many::<spec::Model>(&MODEL), 2 => Texts }
    SERIALIZED_MODEL("SerializedModel") { 1 => Text, 2 => Bytes }
    MODEL_DESCRIPTION("ModelDescription") {
        1 => many::<spec::FeatureDescription>(&FEATURE), 10 => many::<spec::FeatureDescription>(&FEATURE),
        11 => Text, 12 => Text, 13 => many::<spec::FeatureDescription>(&FEATURE),
        20 => many::<spec::FunctionDescription>(&FUNCTION_DESCRIPTION), 21 => Text,
        50 => many::<spec::FeatureDescription>(&FEATURE), 100 => One(&METADATA),
    }
    FUNCTION_DESCRIPTION("FunctionDescription") {
        1 => Text, 2 => many::<spec::FeatureDescription>(&FEATURE), 3 => many::<spec::FeatureDescription>(&FEATURE),
        4 => Text, 5 => Text, 6 => many::<spec::FeatureDescription>(&FEATURE),
    }
    METADATA("Metadata") {
        1 => Text, 2 => Text, 3 => Text, 4 => Text, 100 => Map(None, 2 * size_of::<String>()),
    }
    FEATURE("FeatureDescription") { 1 => Text, 2 => Text, 3 => One(&FEATURE_TYPE) }
    FEATURE_TYPE("FeatureType") {
        1 => One(&EMPTY), 2 => One(&EMPTY), 3 => One(&EMPTY), 4 => One(&IMAGE), 5 => One(&ARRAY),
        6 => One(&FEATURE_DICTIONARY), 7 => One(&SEQUENCE), 8 => One(&FEATURE_STATE), 1000 => Varint,
    }
    EMPTY("Int64FeatureType") {}
    IMAGE("ImageFeatureType") {
        1 => Varint, 2 => Varint, 3 => Varint, 21 => One(&IMAGE_SIZES), 31 => One(&IMAGE_RANGE),
    }
    IMAGE_SIZES("EnumeratedImageSizes") { 1 => many::<spec::image_feature_type::ImageSize>(&IMAGE_SIZE) }
    IMAGE_SIZE("ImageSize") { 1 => Varint, 2 => Varint }
    IMAGE_RANGE("ImageSizeRange") { 1 => One(&SIZE_RANGE), 2 => One(&SIZE_RANGE) }
    SIZE_RANGE("SizeRange") { 1 => Varint, 2 => Varint }
    ARRAY("ArrayFeatureType") {
        1 => Packed(Wire::Varint, 8), 2 => Varint, 21 => One(&ARRAY_SHAPES), 31 => One(&ARRAY_RANGE),
        41 => Varint, 51 => Float, 61 => Double,
    }
    ARRAY_SHAPES("EnumeratedShapes") { 1 => many::<spec::array_feature_type::Shape>(&ARRAY_SHAPE) }
    ARRAY_SHAPE("Shape") { 1 => Packed(Wire::Varint, 8) }
    ARRAY_RANGE("ShapeRange") { 1 => many::<spec::SizeRange>(&SIZE_RANGE) }
    FEATURE_DICTIONARY("DictionaryFeatureType") { 1 => One(&EMPTY), 2 => One(&EMPTY) }
    SEQUENCE("SequenceFeatureType") { 1 => One(&EMPTY), 3 => One(&EMPTY), 101 => One(&SIZE_RANGE) }
    FEATURE_STATE("StateFeatureType") { 1 => One(&ARRAY) }
    PROGRAM("Program") { 1 => Varint, 2 => map::<mil::Function>(&FUNCTION), 3 => Text, 4 => map::<mil::Value>(&VALUE) }
    FUNCTION("Function") {
        1 => many::<mil::NamedValueType>(&NAMED_VALUE_TYPE), 2 => Text, 3 => map::<mil::Block>(&BLOCK),
        4 => map::<mil::Value>(&VALUE),
    }
    BLOCK("Block") {
        1 => many::<mil::NamedValueType>(&NAMED_VALUE_TYPE), 2 => Texts, 3 => many::<mil::Operation>(&OPERATION),
        4 => map::<mil::Value>(&VALUE),
    }
    OPERATION("Operation") {
        1 => Text, 2 => map::<mil::Argument>(&ARGUMENT), 3 => many::<mil::NamedValueType>(&NAMED_VALUE_TYPE),
        4 => many::<mil::Block>(&BLOCK), 5 => map::<mil::Value>(&VALUE),
    }
    ARGUMENT("Argument") { 1 => many::<mil::argument::Binding>(&BINDING) }
    BINDING("Binding") { 1 => Text, 2 => One(&VALUE) }
    NAMED_VALUE_TYPE("NamedValueType") { 1 => Text, 2 => One(&VALUE_TYPE) }
    VALUE_TYPE("ValueType") {
        1 => One(&TENSOR_TYPE), 2 => boxed::<mil::ListType>(&LIST_TYPE), 3 => One(&TUPLE_TYPE),
        4 => boxed::<mil::DictionaryType>(&DICTIONARY_TYPE), 5 => boxed::<mil::StateType>(&STATE_TYPE),
    }
    TENSOR_TYPE("TensorType") {
        1 => Varint, 2 => Varint, 3 => many::<mil::Dimension>(&DIMENSION), 4 => map::<mil::Value>(&VALUE),
    }
    TUPLE_TYPE("TupleType") { 1 => many::<mil::ValueType>(&VALUE_TYPE) }
    LIST_TYPE("ListType") { 1 => boxed::<mil::ValueType>(&VALUE_TYPE), 2 => One(&DIMENSION) }
    DICTIONARY_TYPE("DictionaryType") { 1 => boxed::<mil::ValueType>(&VALUE_TYPE), 2 => boxed::<mil::ValueType>(&VALUE_TYPE) }
    STATE_TYPE("StateType") { 1 => boxed::<mil::ValueType>(&VALUE_TYPE) }
    DIMENSION("Dimension") { 1 => One(&ONE_NUMBER), 2 => One(&ONE_NUMBER) }
    ONE_NUMBER("ConstantDimension") { 1 => Varint }
    VALUE("Value") { 1 => Text, 2 => One(&VALUE_TYPE), 3 => One(&IMMEDIATE_VALUE), 5 => One(&BLOB_FILE_VALUE) }
    IMMEDIATE_VALUE("ImmediateValue") {
        1 => One(&TENSOR_VALUE), 2 => One(&VALUES), 3 => One(&VALUES), 4 => One(&DICTIONARY_VALUE),
    }
    BLOB_FILE_VALUE("BlobFileValue") { 1 => Text, 2 => Varint }
    TENSOR_VALUE("TensorValue") {
        1 => One(&REPEATED_FLOATS), 2 => One(&REPEATED_INTS), 3 => One(&REPEATED_BOOLS), 4 => One(&REPEATED_STRINGS),
        5 => One(&REPEATED_LONG_INTS), 6 => One(&REPEATED_DOUBLES), 7 => One(&REPEATED_BYTES),
    }
    REPEATED_FLOATS("RepeatedFloats") { 1 => Packed(Wire::Four, 4) }
    REPEATED_INTS("RepeatedInts") { 1 => Packed(Wire::Varint, 4) }
    REPEATED_BOOLS("RepeatedBools") { 1 => Packed(Wire::Varint, 1) }
    REPEATED_STRINGS("RepeatedStrings") { 1 => Texts }
    REPEATED_LONG_INTS("RepeatedLongInts") { 1 => Packed(Wire::Varint, 8) }
    REPEATED_DOUBLES("RepeatedDoubles") { 1 => Packed(Wire::Eight, 8) }
    REPEATED_BYTES("RepeatedBytes") { 1 => Bytes }
    VALUES("TupleValue") { 1 => many::<mil::Value>(&VALUE) }
    DICTIONARY_VALUE("DictionaryValue") { 1 => many::<KeyValuePair>(&KEY_VALUE_PAIR) }
    KEY_VALUE_PAIR("KeyValuePair") { 1 => One(&VALUE), 2 => One(&VALUE) }
}

#[cfg(test)]
#[path = "scan_tests.rs"]
mod tests;
