//! A look at a protobuf message before it is decoded, by a table of its fields: what [`prost`] would allocate, and where it is damaged.
//!
//! Decoding allocates for every submessage, so that a file of empty submessages of two bytes each takes a thousand times
//! its size (one entry of a map takes a B-tree node). The scan walks the wire format without allocating, adds up what
//! would be allocated, and stops at a budget.

use std::{fmt, mem::size_of};

/// Nesting beyond this is refused, as prost does.
const MAX_DEPTH: usize = 100;

/// Where an encoded message is wrong.
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

/// Checks that these bytes are an encoded message of this type, well-formed, and that decoding them takes no more than
/// `budget` bytes of memory. Gives an upper bound of what it takes.
///
/// # Errors
/// At the first byte that is wrong.
pub fn scan(message: &'static Message, bytes: &[u8], budget: u64) -> Result<u64, ScanError> {
    let mut scan = Scan { bytes, at: 0, cost: 0, budget };
    scan.message(message, bytes.len(), 0)?;
    Ok(scan.cost)
}

/// A message type: its name and fields by number.
#[derive(Debug)]
pub struct Message {
    /// Its name, for errors.
    pub name: &'static str,
    /// Numbers of the fields, and what they hold: at most 64.
    pub fields: &'static [(u32, Kind)],
}

/// What a field holds, and with it what decoding allocates.
#[derive(Clone, Copy, Debug)]
pub enum Kind {
    /// A message inside of its parent.
    One(&'static Message),
    /// A message of this size, allocated by itself.
    Boxed(&'static Message, usize),
    /// Messages of this size in a `Vec`.
    Many(&'static Message, usize),
    /// Entries of this size in a `BTreeMap` by strings; `None`: of strings.
    Map(Option<&'static Message>, usize),
    /// Text, which is UTF-8.
    Text,
    /// Many of them.
    Texts,
    /// Any bytes.
    Bytes,
    /// Many of them.
    ByteLists,
    /// A number of any length.
    Varint,
    /// Four bytes.
    Float,
    /// Eight bytes.
    Double,
    /// Many of one of these three, each taking this many bytes in memory.
    Packed(Wire, usize),
}

/// How a field is encoded.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Wire {
    /// Seven bits a byte.
    Varint = 0,
    /// Eight bytes.
    Eight = 1,
    /// A length, and as many bytes.
    Length = 2,
    /// Four bytes.
    Four = 5,
}

/// Messages in a `Vec` of this type.
pub const fn many<T>(message: &'static Message) -> Kind {
    Kind::Many(message, size_of::<T>())
}

/// A message that is allocated by itself.
pub const fn boxed<T>(message: &'static Message) -> Kind {
    Kind::Boxed(message, size_of::<T>())
}

/// Entries of a map by strings, to this type.
pub const fn map<T>(message: &'static Message) -> Kind {
    Kind::Map(Some(message), size_of::<String>() + size_of::<T>())
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
            Kind::ByteLists => {
                let list = in_vec(size_of::<Vec<u8>>(), first);
                self.pay(list + 2 * length as u64 + ALLOCATION, start, message)?;
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

/// In one word, as tests compare it with a schema.
impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Kind::Map(..) => "map",
            Kind::Many(..) => "many",
            Kind::One(_) | Kind::Boxed(..) => "message",
            Kind::Texts => "texts",
            Kind::Text => "text",
            Kind::Bytes => "bytes",
            Kind::ByteLists => "byte lists",
            Kind::Float => "float",
            Kind::Double => "double",
            Kind::Varint => "varint",
            Kind::Packed(wire, size) => return write!(f, "packed {wire:?} {size}"),
        })
    }
}
