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

const WEIGHT: &str = "@weight/";
const SYMBOLS: &str = "mil_symbols";

/// Keeps every constant in the message, and names the weights that are not attached.
struct ByName;

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
    Ok(encode(&program, &mut ByName)?.encode_to_vec())
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
