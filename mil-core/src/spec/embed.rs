//! Programs inside programs: the bytes that `#[mil_program]` puts into a binary.
//!
//! They are a Core ML model with two things more: the names and domains of the sizes of inputs (which the format cannot
//! say), and weights by name, to be attached at run time. They are read by the same version that wrote them and are no
//! file format.

use std::collections::BTreeMap;

use super::{self as spec, Message, SpecError, WeightSink, WeightSource, decode, encode};
use crate::{
    ir::{Attribute, Constant, Program, ValueId},
    types::{Dim, Domain, Symbol, TensorType, Type},
};

/// The file that a weight without one is said to be in, before its name.
pub(crate) const WEIGHT: &str = "@weight/";
const SYMBOLS: &str = "mil_symbols";

/// Keeps every constant in the message, and names the weights that are not attached.
pub(crate) struct ByName;

impl WeightSink for ByName {
    fn put(&mut self, constant: &Constant) -> Result<Option<(String, u64)>, SpecError> {
        Ok(constant.weight_name().map(|name| (format!("{WEIGHT}{name}"), 0)))
    }
}

impl WeightSource for ByName {
    fn get(&self, file: &str, _: u64, ty: &TensorType) -> Result<Constant, SpecError> {
        let name = file.strip_prefix(WEIGHT).ok_or_else(|| SpecError::new(format!("`{file}` is no weight")))?;
        let shape = ty.shape.fixed().ok_or_else(|| SpecError::new("a weight has a fixed shape"))?;
        Ok(Constant::weight(name, ty.dtype, shape))
    }
}

/// A program as bytes. Weights need not be attached.
///
/// # Errors
/// If the program cannot be encoded.
pub fn to_bytes(program: &Program) -> Result<Vec<u8>, SpecError> {
    let mut program = program.clone();
    for f in program.functions.values_mut() {
        let names: Vec<String> = f.inputs.iter().flat_map(|v| symbols_of(&f.value(*v).ty)).collect();
        let names = Constant::strings([names.len()], names).map_err(SpecError::new)?;
        f.attributes.insert(SYMBOLS.into(), Attribute::Tensor(names));
    }
    Ok(from_the_inside(encode(&program, &mut ByName)?))
}

/// The bytes of `model.encode_to_vec()`, fields in another order.
///
/// A protobuf writer wants the length of a message before the message, and so measures what is inside once per level around
/// it. Programs nest six levels deep around their ops, and this runs unoptimised inside of a compiler: the ops are written
/// first, and each level around them is put together of bytes.
fn from_the_inside(mut model: spec::Model) -> Vec<u8> {
    use super::{mil, model::Type as Kind};
    let Some(Kind::MlProgram(mut program)) = model.r#type.take() else { return model.encode_to_vec() };
    let functions = std::mem::take(&mut program.functions);
    let mut program_bytes = program.encode_to_vec();
    for (name, mut function) in functions {
        let blocks = std::mem::take(&mut function.block_specializations);
        let mut function_bytes = function.encode_to_vec();
        for (opset, mut block) in blocks {
            let operations: Vec<mil::Operation> = std::mem::take(&mut block.operations);
            let mut block_bytes = block.encode_to_vec();
            operations.iter().for_each(|op| put(&mut block_bytes, 3, &op.encode_to_vec()));
            put(&mut function_bytes, 3, &entry(&opset, &block_bytes));
        }
        put(&mut program_bytes, 2, &entry(&name, &function_bytes));
    }
    let mut bytes = model.encode_to_vec();
    put(&mut bytes, 502, &program_bytes);
    bytes
}

/// An entry of a map from strings to messages.
fn entry(key: &str, value: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(key.len() + value.len() + 16);
    put(&mut bytes, 1, key.as_bytes());
    put(&mut bytes, 2, value);
    bytes
}

/// A field that is a message, a string or bytes.
fn put(out: &mut Vec<u8>, tag: u32, bytes: &[u8]) {
    use prost::encoding::{WireType, encode_key, encode_varint};
    encode_key(tag, WireType::LengthDelimited, out);
    encode_varint(bytes.len() as u64, out);
    out.extend_from_slice(bytes);
}

/// One string per dimension of an input: empty for a number, else `name domain` as [`parse_symbol`] reads it.
fn symbols_of(ty: &Type) -> Vec<String> {
    let (Type::Tensor(t) | Type::State(t)) = ty else { return vec![] };
    let one = |d: &Dim| match d.as_symbol() {
        Some(s) => format!("{} {}", s.name(), s.domain()),
        None => String::new(),
    };
    t.shape.iter().map(one).collect()
}

fn parse_symbol(text: &str) -> Option<Symbol> {
    let (name, domain) = text.split_once(' ')?;
    let domain = match domain.strip_prefix('[').and_then(|d| d.strip_suffix(']')) {
        Some(list) => Domain::OneOf(list.split(", ").map(|n| n.parse().ok()).collect::<Option<_>>()?),
        None => {
            let (min, max) = domain.split_once("..")?;
            let max = match max.strip_prefix('=') {
                Some(max) => Some(max.parse().ok()?),
                None => None,
            };
            Domain::Range { min: min.parse().ok()?, max }
        }
    };
    Some(Symbol::new(name, domain))
}

/// The program in bytes that [`to_bytes`] made.
///
/// # Errors
/// If they are anything else.
pub fn from_bytes(bytes: &[u8]) -> Result<Program, SpecError> {
    let model = spec::Model::decode(bytes).map_err(|e| SpecError::new(format!("not an embedded program: {e}")))?;
    let mut symbols: BTreeMap<String, Vec<Option<Symbol>>> = BTreeMap::new();
    if let Some(spec::model::Type::MlProgram(p)) = &model.r#type {
        for (name, f) in &p.functions {
            let Some(v) = f.attributes.get(SYMBOLS) else { continue };
            let Attribute::Tensor(c) = super::values::read_attribute(v, &ByName)? else { continue };
            let all = c.as_strings().unwrap_or_default();
            symbols.insert(name.clone(), all.iter().map(|s| parse_symbol(s)).collect());
        }
    }
    let mut program = decode::decode_with(&model, &ByName, &|function, position| {
        symbols.get(function).and_then(|s| s.get(position)).cloned().flatten()
    })?;
    for f in program.functions.values_mut() {
        f.attributes.remove(SYMBOLS);
        // Descriptions derive from the types, which say more than they do, unless one is an image.
        let derived = |f: &crate::ir::Function, ids: &[ValueId], output: bool| -> Option<Vec<_>> {
            ids.iter().map(|v| super::features::by_type(&f.value(*v).name, &f.value(*v).ty, output).ok()).collect()
        };
        if derived(f, &f.inputs, false).as_ref() == Some(&f.input_features) {
            f.input_features.clear();
        }
        if derived(f, f.outputs(), true).as_ref() == Some(&f.output_features) {
            f.output_features.clear();
        }
    }
    Ok(program)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        graph::Graph,
        mb,
        types::{DType, Opset},
    };

    #[test]
    fn written_from_the_inside_it_is_the_same_message() {
        let mut g = Graph::new("main", Opset::iOS17);
        let x = g.input("x", TensorType::new(DType::F32, [2]));
        let y = g.push(mb::add(&x, 1.0)).unwrap();
        let program = g.finish([("y", y)]).unwrap();
        let model = encode(&program, &mut ByName).unwrap();
        assert_eq!(spec::Model::decode(&from_the_inside(model.clone())[..]).unwrap(), model);
    }

    #[test]
    fn sizes_keep_their_names_and_weights_theirs() {
        let mut g = Graph::new("main", Opset::iOS17);
        let h = Symbol::new("H", Domain::Range { min: 8, max: Some(64) });
        let w = Symbol::new("W", Domain::OneOf(vec![32, 16]));
        let dims = [Dim::from(1), Dim::from(3), Dim::from(h.clone()), Dim::from(w)];
        let x = g.input("x", TensorType::new(DType::F32, dims));
        let b = g.input("b", TensorType::new(DType::F32, [Dim::from(h), Dim::from(1)]));
        let c = g.push(mb::conv(&x, Constant::weight("conv.weight", DType::F32, [4, 3, 1, 1]))).unwrap();
        let y = g.push(mb::add(&c, &b)).unwrap();
        let p = g.finish([("y", y)]).unwrap();
        let q = from_bytes(&to_bytes(&p).unwrap()).unwrap();
        let types = |p: &Program| -> Vec<String> {
            let f = p.main().unwrap();
            f.inputs.iter().chain(f.outputs()).map(|v| f.value(*v).ty.to_string()).collect()
        };
        assert_eq!(types(&q), ["Tensor<f32, 1, 3, H, W>", "Tensor<f32, H, 1>", "Tensor<f32, 1, 4, H, W>"]);
        assert_eq!(types(&p), types(&q));
        let f = q.main().unwrap();
        assert!(f.walk().iter().any(|o| f.op(*o).constant().and_then(|c| c.weight_name()) == Some("conv.weight")));
        assert_eq!(f.value(f.inputs[0]).ty, p.main().unwrap().value(p.main().unwrap().inputs[0]).ty);
    }

    #[test]
    fn other_bytes_are_refused() {
        assert!(from_bytes(b"\xff\xff\xff").is_err());
        assert!(from_bytes(b"").is_err());
    }
}
