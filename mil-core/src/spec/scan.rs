//! A look at an encoded model before it is decoded: where it is damaged, and how much memory it would take.
//!
//! Decoding a message allocates for every submessage, so that a file of empty submessages of two bytes each takes a
//! thousand times its size (one entry of a map takes a B-tree node). The scan walks the wire format without
//! allocating, adds up what [`prost`] will allocate, and refuses files beyond [`budget`]. It also knows where in the
//! file an error is, which the decoder does not.
//!
//! The tables below follow `mil-core/proto`; a test compares them.

use std::{fmt, mem::size_of};

use super::{self as spec, mil, mil::dictionary_value::KeyValuePair};

/// Nesting beyond this is refused, as prost does.
const MAX_DEPTH: usize = 100;

/// How much decoded messages may take per byte of the file. Of 1,556 models (coremltools' own op tests, and three
/// published ones) none takes more than 36, the median 24: small ops, each with a map for inputs and one for attributes.
pub const BYTES_PER_BYTE: u64 = 64;

/// What any file may take.
pub const FLOOR: u64 = 16 << 20;

/// How much the messages of a file of this length may take.
pub fn budget(file_length: usize) -> u64 {
    (file_length as u64).saturating_mul(BYTES_PER_BYTE).saturating_add(FLOOR)
}

/// Where an encoded model is wrong.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ScanError {
    /// Byte of the file.
    pub offset: usize,
    /// The message type there.
    pub message: &'static str,
    /// What is wrong.
    pub what: String,
}

impl fmt::Display for ScanError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "byte {} (in {}): {}", self.offset, self.message, self.what)
    }
}

impl std::error::Error for ScanError {}

/// Checks that these bytes are an encoded model, well-formed and within [`budget`]. Gives an upper bound of what
/// decoding allocates.
///
/// # Errors
/// At the first byte that is wrong.
pub fn scan(bytes: &[u8]) -> Result<u64, ScanError> {
    scan_within(bytes, budget(bytes.len()))
}

fn scan_within(bytes: &[u8], budget: u64) -> Result<u64, ScanError> {
    let mut scan = Scan { bytes, at: 0, cost: 0, budget };
    scan.message(&MODEL, bytes.len(), 0)?;
    Ok(scan.cost)
}

/// A message type: its name and fields by number.
struct Message {
    name: &'static str,
    fields: &'static [(u32, Kind)],
}

/// What a field holds, and with it what decoding allocates.
#[derive(Clone, Copy)]
enum Kind {
    /// A message inside of its parent.
    One(&'static Message),
    /// A message of this size, allocated by itself.
    Boxed(&'static Message, usize),
    /// Messages of this size in a `Vec`.
    Many(&'static Message, usize),
    /// Entries of this size in a `BTreeMap` by strings; `None`: of strings.
    Map(Option<&'static Message>, usize),
    Text,
    Texts,
    Bytes,
    Varint,
    /// Four bytes.
    Float,
    /// Eight bytes.
    Double,
    /// Many of one of these three, each taking this many bytes in memory.
    Packed(Wire, usize),
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Wire {
    Varint = 0,
    Eight = 1,
    Length = 2,
    Four = 5,
}

macro_rules! messages {
    ($($name:ident($text:literal) { $($tag:literal => $kind:expr),* $(,)? })*) => {
        $(static $name: Message = Message { name: $text, fields: &[$(($tag, $kind)),*] };)*
        #[cfg(test)]
        static ALL: &[&Message] = &[$(&$name),*];
    };
}

const fn many<T>(message: &'static Message) -> Kind {
    Kind::Many(message, size_of::<T>())
}

const fn boxed<T>(message: &'static Message) -> Kind {
    Kind::Boxed(message, size_of::<T>())
}

const fn map<T>(message: &'static Message) -> Kind {
    Kind::Map(Some(message), size_of::<String>() + size_of::<T>())
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

/// What an allocation takes beyond its size.
const ALLOCATION: u64 = 16;

/// A `Vec` starts with room for four (eight, if they are bytes), and doubles; while it moves, both rooms are there.
fn in_vec(size: usize, first: bool) -> u64 {
    let (size, first_room) = (size as u64, if size == 1 { 8 } else { 4 });
    if first { size * first_room + ALLOCATION } else { 3 * size }
}

/// A `BTreeMap` node has room for eleven entries, and at least five of them once there are several nodes; there is an
/// inner node for every six of these.
fn in_map(size: usize, first: bool) -> u64 {
    let node = 11 * size as u64 + 16 + ALLOCATION;
    if first { node + 12 * 8 } else { node / 4 + 8 }
}

struct Scan<'a> {
    bytes: &'a [u8],
    at: usize,
    cost: u64,
    budget: u64,
}

impl Scan<'_> {
    fn fail<T>(&self, offset: usize, message: &Message, what: impl Into<String>) -> Result<T, ScanError> {
        Err(ScanError { offset, message: message.name, what: what.into() })
    }

    fn pay(&mut self, cost: u64, offset: usize, message: &Message) -> Result<(), ScanError> {
        self.cost = self.cost.saturating_add(cost);
        if self.cost <= self.budget {
            return Ok(());
        }
        let what = format!(
            "decoding would take more than {} MiB of memory for a file of {} bytes; it is damaged, or made to do harm",
            self.budget >> 20,
            self.bytes.len()
        );
        self.fail(offset, message, what)
    }

    fn varint(&mut self, end: usize, message: &Message) -> Result<u64, ScanError> {
        let start = self.at;
        let mut value = 0u64;
        for i in 0..10 {
            if self.at >= end {
                return self.fail(start, message, "a number is cut off");
            }
            let byte = self.bytes[self.at];
            self.at += 1;
            value |= u64::from(byte & 0x7f) << (7 * i);
            if byte < 0x80 {
                return if i == 9 && byte > 1 {
                    self.fail(start, message, "a number has more than 64 bits")
                } else {
                    Ok(value)
                };
            }
        }
        self.fail(start, message, "a number has more than 64 bits")
    }

    /// The number of bytes of a field, which are all there.
    fn length(&mut self, end: usize, message: &Message) -> Result<usize, ScanError> {
        let start = self.at;
        let length = self.varint(end, message)?;
        match usize::try_from(length) {
            Ok(length) if length <= end - self.at => Ok(length),
            _ => {
                let left = end - self.at;
                self.fail(
                    start,
                    message,
                    format!("a field of {length} bytes does not fit into the {left} that are left"),
                )
            }
        }
    }

    fn skip(&mut self, count: usize, end: usize, message: &Message) -> Result<(), ScanError> {
        if count > end - self.at {
            return self.fail(self.at, message, "a number is cut off");
        }
        self.at += count;
        Ok(())
    }

    /// Field number and wire type.
    fn key(&mut self, end: usize, message: &Message) -> Result<(u32, u64), ScanError> {
        let start = self.at;
        let key = self.varint(end, message)?;
        match u32::try_from(key) {
            Ok(key) if key >> 3 > 0 => Ok((key >> 3, u64::from(key & 7))),
            _ => self.fail(start, message, format!("{key} is no key of a field")),
        }
    }

    fn message(&mut self, message: &'static Message, end: usize, depth: usize) -> Result<(), ScanError> {
        if depth > MAX_DEPTH {
            return self.fail(self.at, message, "messages are nested too deeply");
        }
        // Fields that allocate more the first time they come, by their place in the table.
        let mut seen = 0u64;
        while self.at < end {
            let start = self.at;
            let (tag, wire) = self.key(end, message)?;
            let Some(index) = message.fields.iter().position(|(t, _)| *t == tag) else {
                self.unknown(tag, wire, end, depth, message)?;
                continue;
            };
            let first = seen & (1 << index) == 0;
            seen |= 1 << index;
            self.field(message.fields[index].1, wire, first, start, end, depth, message)?;
        }
        Ok(())
    }

    #[allow(clippy::too_many_arguments)] // the state of one walk
    fn field(
        &mut self,
        kind: Kind,
        wire: u64,
        first: bool,
        start: usize,
        end: usize,
        depth: usize,
        message: &'static Message,
    ) -> Result<(), ScanError> {
        let expected = match kind {
            Kind::Varint => Wire::Varint,
            Kind::Float => Wire::Four,
            Kind::Double => Wire::Eight,
            Kind::Packed(one, _) if wire != Wire::Length as u64 => one,
            _ => Wire::Length,
        };
        if wire != expected as u64 {
            return self.fail(start, message, format!("a field has wire type {wire}, expected {}", expected as u64));
        }
        if expected != Wire::Length {
            if let Kind::Packed(_, size) = kind {
                self.pay(in_vec(size, first), start, message)?;
            }
            return match expected {
                Wire::Four => self.skip(4, end, message),
                Wire::Eight => self.skip(8, end, message),
                _ => self.varint(end, message).map(drop),
            };
        }
        let length = self.length(end, message)?;
        let (content, stop) = (self.at, self.at + length);
        match kind {
            Kind::One(inner) => self.message(inner, stop, depth + 1)?,
            Kind::Boxed(inner, size) => {
                self.pay(size as u64 + ALLOCATION, start, message)?;
                self.message(inner, stop, depth + 1)?;
            }
            Kind::Many(inner, size) => {
                self.pay(in_vec(size, first), start, message)?;
                self.message(inner, stop, depth + 1)?;
            }
            Kind::Map(inner, size) => {
                self.pay(in_map(size, first), start, message)?;
                self.entry(inner, stop, depth + 1, message)?;
            }
            Kind::Text | Kind::Texts => {
                let list = if matches!(kind, Kind::Texts) { in_vec(size_of::<String>(), first) } else { 0 };
                self.pay(list, start, message)?;
                self.text(stop, message)?;
            }
            // Fields of one byte sequence reuse their room, which grows by doubling.
            Kind::Bytes => self.pay(2 * length as u64 + ALLOCATION, start, message)?,
            Kind::Packed(wire, size) => {
                let count = match wire {
                    Wire::Four => length / 4,
                    Wire::Eight => length / 8,
                    _ => self.bytes[content..stop].iter().filter(|b| **b < 0x80).count(),
                } as u64;
                self.pay(in_vec(size, first) + count.saturating_mul(in_vec(size, false)), start, message)?;
            }
            Kind::Varint | Kind::Float | Kind::Double => {}
        }
        self.at = stop;
        Ok(())
    }

    fn text(&mut self, end: usize, message: &Message) -> Result<(), ScanError> {
        let bytes = &self.bytes[self.at..end];
        if let Err(e) = std::str::from_utf8(bytes) {
            return self.fail(self.at + e.valid_up_to(), message, "a text is not UTF-8");
        }
        self.pay(2 * bytes.len() as u64 + ALLOCATION, self.at, message)?;
        self.at = end;
        Ok(())
    }

    /// An entry of a map: key 1, a string, and value 2.
    fn entry(
        &mut self,
        value: Option<&'static Message>,
        end: usize,
        depth: usize,
        message: &'static Message,
    ) -> Result<(), ScanError> {
        while self.at < end {
            let start = self.at;
            let (tag, wire) = self.key(end, message)?;
            let kind = match (tag, value) {
                (1, _) | (2, None) => Kind::Text,
                (2, Some(value)) => Kind::One(value),
                _ => {
                    self.unknown(tag, wire, end, depth, message)?;
                    continue;
                }
            };
            self.field(kind, wire, false, start, end, depth, message)?;
        }
        Ok(())
    }

    /// A field of a later version of the format: decoding drops it.
    fn unknown(&mut self, tag: u32, wire: u64, end: usize, depth: usize, message: &Message) -> Result<(), ScanError> {
        if depth > MAX_DEPTH {
            return self.fail(self.at, message, "messages are nested too deeply");
        }
        match wire {
            0 => self.varint(end, message).map(drop),
            1 => self.skip(8, end, message),
            2 => {
                let length = self.length(end, message)?;
                self.skip(length, end, message)
            }
            3 => loop {
                let start = self.at;
                let (inner, wire) = self.key(end, message)?;
                match wire {
                    4 if inner == tag => return Ok(()),
                    4 => return self.fail(start, message, "a group ends that did not begin"),
                    _ => self.unknown(inner, wire, end, depth + 1, message)?,
                }
            },
            5 => self.skip(4, end, message),
            _ => self.fail(self.at, message, format!("{wire} is no wire type")),
        }
    }
}

#[cfg(test)]
#[path = "scan_tests.rs"]
mod tests;
