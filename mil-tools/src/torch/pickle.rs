//! Pickles, of protocols 2 to 5, read as data: nothing that they name is executed.
//!
//! A pickle is a program for a small machine with a stack. This one builds numbers, text, lists and dicts, knows the few functions by
//! which PyTorch writes tensors, and refuses every other by its name before anything is done with it. Values lie in one list and refer
//! to each other by index, so that neither cycles nor nesting of any depth cost more than their bytes in the file.

use std::{collections::HashMap, rc::Rc};

use super::dtype;
use crate::import::Refusal;

/// Most values that a pickle may have. A state dict has about twenty per tensor.
const MAX_VALUES: usize = 1 << 21;
/// Most dimensions of a tensor, and most bytes of a storage's name: what a few bytes of a pickle may make again and again.
const MAX_RANK: usize = 16;
const MAX_KEY: usize = 256;

/// The place of a value in a [`Pickle`].
pub(super) type Id = u32;

/// A pickle that was read.
#[derive(Debug)]
pub(super) struct Pickle {
    values: Vec<Value>,
    root: Id,
    /// Bytes of it, up to and with its end.
    pub(super) length: usize,
}

/// A value.
#[derive(Clone, PartialEq, Debug)]
pub(super) enum Value {
    None,
    Bool(bool),
    Int(i64),
    Float(f64),
    Str(String),
    Bytes(Vec<u8>),
    Tuple(Vec<Id>),
    /// A list or a set.
    List(Vec<Id>),
    /// In the file's order; of two equal keys the later one counts.
    Dict(Vec<(Id, Id)>),
    Tensor(Box<TensorRef>),
    Storage(Rc<StorageRef>),
    /// A dtype by its name in Python.
    DType(String),
    /// An instance of a class of a TorchScript file, with its attributes once they are known.
    Object(Rc<str>, Option<Id>),
    /// A function or a class, to be called.
    Global(Global),
    /// An integer of more than 64 bits.
    Large,
}

/// Where a tensor's elements are.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct TensorRef {
    pub(super) storage: Rc<StorageRef>,
    /// The dtype's name in Python.
    pub(super) dtype: String,
    /// In elements.
    pub(super) offset: i64,
    pub(super) sizes: Vec<i64>,
    /// In elements.
    pub(super) strides: Vec<i64>,
}

/// A storage: bytes outside of the pickle.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct StorageRef {
    /// The name of its bytes.
    pub(super) key: String,
    /// The dtype's name in Python; empty if only tensors say it.
    pub(super) dtype: String,
    /// Its number of elements.
    pub(super) count: i64,
}

/// What a pickle may name.
#[derive(Clone, PartialEq, Debug)]
pub(super) enum Global {
    /// `_rebuild_tensor` and its second version.
    Tensor,
    /// `_rebuild_tensor_v3`, which has a dtype.
    TensorOfDType,
    Parameter,
    /// `_rebuild_from_type_v2`: a function, a type, arguments, a state.
    FromType,
    OrderedDict,
    /// What has one list, and is a list here.
    Sequence,
    Device,
    /// `restore_type_tag`: a value and the name of its type.
    Tagged,
    Storage(&'static str),
    /// `torch.Tensor`, where it is an argument.
    TensorClass,
    /// A class of a TorchScript file.
    Class(Rc<str>),
}

/// Which classes a pickle may have instances of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Classes {
    /// None.
    None,
    /// Those that a TorchScript file brings itself, which are data.
    Script,
}

impl Pickle {
    /// Reads the pickle at the start of `bytes`.
    pub(super) fn read(bytes: &[u8], classes: Classes) -> Result<Pickle, Refusal> {
        Machine { bytes, at: 0, classes, values: vec![], stack: vec![], marks: vec![], memo: HashMap::new() }.run()
    }

    pub(super) fn root(&self) -> &Value {
        self.get(self.root)
    }

    pub(super) fn get(&self, id: Id) -> &Value {
        // The machine gives no others.
        &self.values[id as usize]
    }

    /// All values, in no order that means anything.
    pub(super) fn values(&self) -> impl Iterator<Item = &Value> {
        self.values.iter()
    }

    /// Entries of a dict whose keys are text.
    pub(super) fn entries<'a>(&'a self, dict: &'a Value) -> impl DoubleEndedIterator<Item = (&'a str, &'a Value)> {
        let pairs = if let Value::Dict(pairs) = dict { &pairs[..] } else { &[] };
        pairs.iter().filter_map(|(k, v)| match self.get(*k) {
            Value::Str(key) => Some((&key[..], self.get(*v))),
            _ => None,
        })
    }

    /// The entry of a dict with this key.
    pub(super) fn entry<'a>(&'a self, dict: &'a Value, key: &str) -> Option<&'a Value> {
        self.entries(dict).rev().find(|(k, _)| *k == key).map(|(_, v)| v)
    }

    /// Attributes of an object.
    pub(super) fn attributes<'a>(&'a self, object: &'a Value) -> impl DoubleEndedIterator<Item = (&'a str, &'a Value)> {
        let state = if let Value::Object(_, Some(state)) = object { self.get(*state) } else { &Value::None };
        self.entries(state)
    }
}

struct Machine<'a> {
    bytes: &'a [u8],
    at: usize,
    classes: Classes,
    values: Vec<Value>,
    stack: Vec<Id>,
    marks: Vec<usize>,
    memo: HashMap<u64, Id>,
}

type Step<T> = Result<T, Refusal>;

impl Machine<'_> {
    fn run(mut self) -> Step<Pickle> {
        loop {
            let op = self.byte()?;
            if op == b'.' {
                let root = self.pop()?;
                return Ok(Pickle { values: self.values, root, length: self.at });
            }
            self.step(op)?;
        }
    }

    fn step(&mut self, op: u8) -> Step<()> {
        match op {
            0x80 => {
                let version = self.byte()?;
                if !(2..=5).contains(&version) {
                    return Err(self.broken(format!("is of protocol {version}, expected 2 to 5")));
                }
                Ok(())
            }
            // FRAME: its length says nothing that is needed.
            0x95 => self.take(8).map(|_| ()),
            b'(' => {
                self.marks.push(self.stack.len());
                Ok(())
            }
            b'0' => self.pop().map(|_| ()),
            b'1' => self.since_mark().map(|_| ()),
            b'2' => {
                let top = self.pop()?;
                self.stack.extend([top, top]);
                Ok(())
            }
            b'N' => self.push(Value::None),
            0x88 => self.push(Value::Bool(true)),
            0x89 => self.push(Value::Bool(false)),
            b'J' => {
                let v = self.number(4)? as u32 as i32;
                self.push(Value::Int(v.into()))
            }
            b'K' => self.int(1),
            b'M' => self.int(2),
            0x8a => self.long(1),
            0x8b => self.long(4),
            b'G' => {
                let bits = self.take(8)?.try_into().map(f64::from_be_bytes).unwrap_or_default();
                self.push(Value::Float(bits))
            }
            0x8c => self.text(1),
            b'X' => self.text(4),
            0x8d => self.text(8),
            b'U' | b'C' => self.raw(1),
            b'T' | b'B' => self.raw(4),
            0x8e | 0x96 => self.raw(8),
            b')' => self.push(Value::Tuple(vec![])),
            0x85 => self.tuple(1),
            0x86 => self.tuple(2),
            0x87 => self.tuple(3),
            b't' => {
                let items = self.since_mark()?;
                self.push(Value::Tuple(items))
            }
            b']' | 0x8f => self.push(Value::List(vec![])),
            b'l' | 0x91 => {
                let items = self.since_mark()?;
                self.push(Value::List(items))
            }
            b'a' => {
                let item = self.pop()?;
                self.extend(vec![item])
            }
            b'e' | 0x90 => {
                let items = self.since_mark()?;
                self.extend(items)
            }
            b'}' => self.push(Value::Dict(vec![])),
            b'd' => {
                let pairs = self.since_mark()?;
                self.push(Value::Dict(vec![]))?;
                self.set(&pairs)
            }
            b's' => {
                let value = self.pop()?;
                let key = self.pop()?;
                self.set(&[key, value])
            }
            b'u' => {
                let pairs = self.since_mark()?;
                self.set(&pairs)
            }
            b'h' => self.recall(1),
            b'j' => self.recall(4),
            b'q' => self.remember(1),
            b'r' => self.remember(4),
            0x94 => {
                let (key, top) = (self.memo.len() as u64, self.top()?);
                self.memo.insert(key, top);
                Ok(())
            }
            b'c' => {
                let (module, name) = (self.line()?, self.line()?);
                self.global(&module, &name)
            }
            0x93 => {
                let (name, module) = (self.pop()?, self.pop()?);
                match (self.value(module), self.value(name)) {
                    (Value::Str(module), Value::Str(name)) => {
                        let (module, name) = (module.clone(), name.clone());
                        self.global(&module, &name)
                    }
                    _ => Err(self.broken("names a function by what is no text")),
                }
            }
            b'R' => {
                let (args, function) = (self.pop()?, self.pop()?);
                self.call(function, args)
            }
            0x81 => {
                let (_, class) = (self.pop()?, self.pop()?);
                self.instance(class)
            }
            0x92 => {
                let (_, _, class) = (self.pop()?, self.pop()?, self.pop()?);
                self.instance(class)
            }
            b'b' => {
                let state = self.pop()?;
                let object = self.top()? as usize;
                match &mut self.values[object] {
                    Value::Object(_, attributes) => *attributes = Some(state),
                    // Attributes of an ordered dict (`_metadata`), or of a parameter.
                    Value::Dict(_) | Value::Tensor(_) => {}
                    _ => return Err(self.broken("gives attributes to what has none")),
                }
                Ok(())
            }
            b'Q' => {
                let id = self.pop()?;
                let storage = self.storage(id)?;
                self.push(Value::Storage(Rc::new(storage)))
            }
            other => Err(self.broken(format!("has the instruction {other:#04x}, which PyTorch does not write"))),
        }
    }

    fn broken(&self, what: impl std::fmt::Display) -> Refusal {
        Refusal::new(format!("its pickle {what}, at byte {}", self.at)).remedy("save the file again")
    }

    fn take(&mut self, n: usize) -> Step<&[u8]> {
        let end = self.at.checked_add(n).filter(|end| *end <= self.bytes.len());
        let Some(end) = end else { return Err(self.broken("ends too early")) };
        let taken = &self.bytes[self.at..end];
        self.at = end;
        Ok(taken)
    }

    fn byte(&mut self) -> Step<u8> {
        Ok(self.take(1)?[0])
    }

    /// A little-endian number of up to 8 bytes.
    fn number(&mut self, n: usize) -> Step<u64> {
        let mut wide = [0; 8];
        wide[..n].copy_from_slice(self.take(n)?);
        Ok(u64::from_le_bytes(wide))
    }

    /// As many bytes as a number of `n` bytes says.
    fn counted(&mut self, n: usize) -> Step<&[u8]> {
        let length = self.number(n)?;
        // More than fits is more than there is.
        self.take(usize::try_from(length).unwrap_or(usize::MAX))
    }

    fn line(&mut self) -> Step<String> {
        let rest = &self.bytes[self.at..];
        let Some(length) = rest.iter().position(|b| *b == b'\n') else { return Err(self.broken("ends too early")) };
        let line = String::from_utf8_lossy(&rest[..length]).into_owned();
        self.at += length + 1;
        Ok(line)
    }

    fn push(&mut self, value: Value) -> Step<()> {
        if self.values.len() >= MAX_VALUES || self.stack.len() >= MAX_VALUES {
            return Err(self.broken(format!("has more than {MAX_VALUES} values")));
        }
        self.stack.push(self.values.len() as Id);
        self.values.push(value);
        Ok(())
    }

    fn pop(&mut self) -> Step<Id> {
        let floor = self.marks.last().copied().unwrap_or(0);
        if self.stack.len() <= floor {
            return Err(self.broken("takes a value where there is none"));
        }
        self.stack.pop().ok_or_else(|| self.broken("takes a value where there is none"))
    }

    fn top(&mut self) -> Step<Id> {
        let top = self.pop()?;
        self.stack.push(top);
        Ok(top)
    }

    fn value(&self, id: Id) -> &Value {
        &self.values[id as usize]
    }

    fn since_mark(&mut self) -> Step<Vec<Id>> {
        match self.marks.pop() {
            // A mark is never above the stack: `pop` stops at it.
            Some(mark) => Ok(self.stack.split_off(mark)),
            None => Err(self.broken("goes back to a mark where there is none")),
        }
    }

    fn int(&mut self, n: usize) -> Step<()> {
        let v = self.number(n)?;
        self.push(Value::Int(v as i64))
    }

    fn long(&mut self, n: usize) -> Step<()> {
        let bytes = self.counted(n)?;
        let value = if bytes.len() > 8 {
            Value::Large
        } else {
            let sign = if bytes.last().is_some_and(|b| b & 0x80 != 0) { 0xff } else { 0 };
            let mut wide = [sign; 8];
            wide[..bytes.len()].copy_from_slice(bytes);
            Value::Int(i64::from_le_bytes(wide))
        };
        self.push(value)
    }

    fn text(&mut self, n: usize) -> Step<()> {
        // Python writes lone surrogates, which UTF-8 does not have.
        let text = String::from_utf8_lossy(self.counted(n)?).into_owned();
        self.push(Value::Str(text))
    }

    fn raw(&mut self, n: usize) -> Step<()> {
        let bytes = self.counted(n)?.to_vec();
        self.push(Value::Bytes(bytes))
    }

    fn tuple(&mut self, n: usize) -> Step<()> {
        let mut items = (0..n).map(|_| self.pop()).collect::<Step<Vec<Id>>>()?;
        items.reverse();
        self.push(Value::Tuple(items))
    }

    fn extend(&mut self, items: Vec<Id>) -> Step<()> {
        let list = self.top()? as usize;
        match &mut self.values[list] {
            Value::List(all) => all.extend(items),
            _ => return Err(self.broken("appends to what is no list")),
        }
        Ok(())
    }

    fn set(&mut self, items: &[Id]) -> Step<()> {
        let dict = self.top()? as usize;
        match &mut self.values[dict] {
            Value::Dict(pairs) if items.len().is_multiple_of(2) => {
                pairs.extend(items.chunks_exact(2).map(|pair| (pair[0], pair[1])));
            }
            _ => return Err(self.broken("sets an item of what is no dict")),
        }
        Ok(())
    }

    fn recall(&mut self, n: usize) -> Step<()> {
        let key = self.number(n)?;
        let Some(id) = self.memo.get(&key).copied() else {
            return Err(self.broken("refers to a value that it does not have"));
        };
        if self.stack.len() >= MAX_VALUES {
            return Err(self.broken(format!("has more than {MAX_VALUES} values")));
        }
        self.stack.push(id);
        Ok(())
    }

    fn remember(&mut self, n: usize) -> Step<()> {
        let (key, top) = (self.number(n)?, self.top()?);
        self.memo.insert(key, top);
        Ok(())
    }

    fn global(&mut self, module: &str, name: &str) -> Step<()> {
        let value = match (module, name) {
            ("torch._utils", "_rebuild_tensor" | "_rebuild_tensor_v2") => Value::Global(Global::Tensor),
            ("torch._utils", "_rebuild_tensor_v3") => Value::Global(Global::TensorOfDType),
            ("torch._utils", "_rebuild_parameter" | "_rebuild_parameter_with_state") => {
                Value::Global(Global::Parameter)
            }
            ("torch._tensor", "_rebuild_from_type_v2") => Value::Global(Global::FromType),
            ("torch", "Tensor") | ("torch.nn.parameter", "Parameter" | "Buffer") => Value::Global(Global::TensorClass),
            ("collections", "OrderedDict") => Value::Global(Global::OrderedDict),
            ("torch", "Size") | ("__builtin__" | "builtins", "set" | "frozenset" | "list" | "tuple") => {
                Value::Global(Global::Sequence)
            }
            ("torch.jit._pickle", "build_intlist" | "build_doublelist" | "build_boollist" | "build_tensorlist") => {
                Value::Global(Global::Sequence)
            }
            ("torch.jit._pickle", "restore_type_tag") => Value::Global(Global::Tagged),
            ("torch", "device") => Value::Global(Global::Device),
            ("torch", dtype) if dtype::is_name(dtype) => Value::DType(dtype.to_string()),
            ("torch" | "torch.storage", class) if dtype::of_storage(class).is_some() => {
                Value::Global(Global::Storage(dtype::of_storage(class).unwrap_or_default()))
            }
            _ if self.classes == Classes::Script && (module == "__torch__" || module.starts_with("__torch__.")) => {
                Value::Global(Global::Class(format!("{module}.{name}").into()))
            }
            _ => {
                let shown: String = format!("{module}.{name}").escape_debug().take(100).collect();
                let message = format!("its pickle wants to call `{shown}`, and nothing in a file is executed");
                let remedy = "save tensors alone: `torch.save(model.state_dict(), ..)`, or a model by `torch.export.save` or `torch.jit.trace`";
                return Err(Refusal::new(message).remedy(remedy));
            }
        };
        self.push(value)
    }

    /// Pushes what a function gives. What it gives again is not copied.
    fn call(&mut self, function: Id, args: Id) -> Step<()> {
        let Value::Global(global) = self.value(function).clone() else {
            return Err(self.broken("calls what is no function"));
        };
        let Value::Tuple(all) = self.value(args) else {
            return Err(self.broken("calls a function with what is no tuple"));
        };
        // No function here has more.
        let args: Vec<Id> = all.iter().take(8).copied().collect();
        let at = |i: usize| args.get(i).map_or(&Value::None, |id| self.value(*id));
        match (global, at(0)) {
            (Global::Tensor, _) => {
                let tensor = self.tensor(&args, None)?;
                self.push(tensor)
            }
            (Global::TensorOfDType, _) => match at(6) {
                Value::DType(name) => {
                    let tensor = self.tensor(&args, Some(name.clone()))?;
                    self.push(tensor)
                }
                _ => Err(self.broken("has a tensor without dtype")),
            },
            (Global::FromType, Value::Global(Global::Tensor | Global::TensorOfDType))
                if matches!(at(1), Value::Global(Global::TensorClass)) && args.len() > 2 =>
            {
                self.call(args[0], args[2])
            }
            (Global::OrderedDict, _) if args.is_empty() => self.push(Value::Dict(vec![])),
            (Global::Sequence, _) if args.is_empty() => self.push(Value::List(vec![])),
            (Global::Sequence, Value::List(_) | Value::Tuple(_))
            | (Global::Parameter, Value::Tensor(_))
            | (Global::Device, Value::Str(_))
            | (Global::Tagged, _)
                if !args.is_empty() =>
            {
                self.stack.push(args[0]);
                Ok(())
            }
            (other, _) => Err(self.broken(format!("calls {other:?} with what it does not take"))),
        }
    }

    fn instance(&mut self, class: Id) -> Step<()> {
        match self.value(class) {
            Value::Global(Global::Class(name)) => {
                let object = Value::Object(name.clone(), None);
                self.push(object)
            }
            Value::Global(Global::OrderedDict) => self.push(Value::Dict(vec![])),
            _ => Err(self.broken("makes an instance of what is no class")),
        }
    }

    /// ('storage', class, key, place, number of elements, ..).
    fn storage(&self, id: Id) -> Step<StorageRef> {
        let Value::Tuple(parts) = self.value(id) else {
            return Err(self.broken("has a storage that is not said where"));
        };
        let parts: Vec<&Value> = parts.iter().take(6).map(|id| self.value(*id)).collect();
        // The sixth, of the first format, is for storages that are parts of others; PyTorch has not written it since 0.4.
        match parts[..] {
            [Value::Str(kind), Value::Global(Global::Storage(dtype)), Value::Str(key), _, Value::Int(count)]
            | [
                Value::Str(kind),
                Value::Global(Global::Storage(dtype)),
                Value::Str(key),
                _,
                Value::Int(count),
                Value::None,
            ] if kind == "storage" => {
                if key.len() > MAX_KEY {
                    return Err(self.broken("has a storage with a very long name"));
                }
                Ok(StorageRef { key: key.clone(), dtype: dtype.to_string(), count: *count })
            }
            _ => Err(self.broken("has a storage that is not said where")),
        }
    }

    /// Of (storage, offset, sizes, strides, ..).
    fn tensor(&self, args: &[Id], dtype: Option<String>) -> Step<Value> {
        let parts: Vec<&Value> = args.iter().take(4).map(|id| self.value(*id)).collect();
        let &[Value::Storage(storage), Value::Int(offset), sizes, strides] = &parts[..] else {
            return Err(self.broken("has a tensor without storage"));
        };
        let numbers = |v: &Value| match v {
            Value::Tuple(items) | Value::List(items) if items.len() <= MAX_RANK => items
                .iter()
                .map(|id| if let Value::Int(n) = self.value(*id) { Some(*n) } else { None })
                .collect::<Option<Vec<i64>>>(),
            _ => None,
        };
        let (Some(sizes), Some(strides)) = (numbers(sizes), numbers(strides)) else {
            return Err(self.broken(format!("has a tensor without sizes, or of more than {MAX_RANK}")));
        };
        let dtype = dtype.unwrap_or_else(|| storage.dtype.clone());
        Ok(Value::Tensor(Box::new(TensorRef { storage: Rc::clone(storage), dtype, offset: *offset, sizes, strides })))
    }
}
