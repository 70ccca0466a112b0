//! Text -> programs.

use std::collections::BTreeMap;

use super::{
    error::ParseError,
    flexible,
    parser::{self, Parsed},
};
use crate::{
    ir::{Constant, Program},
    spec::{
        self, SpecError, WeightSource,
        decode::{NoWeights, decode},
        embed::{ByName, WEIGHT},
        mil,
    },
    types::TensorType,
};

/// What a compiled model says beside its text.
#[derive(Clone, Debug)]
pub(crate) struct Beside {
    pub(crate) specification_version: i32,
    pub(crate) description: spec::ModelDescription,
}

/// Reads a program. It has no weight files: constants in such (`BLOBFILE(..)`) are an error, see [`parse_with`].
///
/// The text is read into the messages that a package holds, and these are read as those of a package are: every op is
/// inferred again, and must give what the text declares.
///
/// The model's description is not in the text. Inputs, outputs and states are described by their types, and inputs of
/// flexible size by the function's `FlexibleShapeInformation`; the default function is `main`, or else the first by name.
/// The specification version is that of the newest opset of a function, and at least 9 for a text that says
/// `program(1.3)`.
///
/// ```
/// let program = mil_core::text::parse(r#"
///     program(1.0)
///     {
///         func main<ios16>(tensor<fp16, [1, 4]> x) {
///             tensor<fp16, []> two = const()[val = tensor<fp16, []>(0x1p+1)];
///             tensor<fp16, [1, 4]> y = mul(x = x, y = two);
///         } -> (y);
///     }"#)?;
/// assert_eq!(program.main().unwrap().outputs().len(), 1);
///
/// let error = mil_core::text::parse("program(1.0) {\n    fun main").unwrap_err();
/// assert_eq!(error.one_line(), "line 2, column 5: expected `func` or `}`, found `fun`");
/// # Ok::<(), mil_core::text::ParseError>(())
/// ```
///
/// # Errors
/// If it is no program, or a program that is not consistent; the error has the place.
pub fn parse(text: &str) -> Result<Program, ParseError> {
    parse_with(text, &NoWeights)
}

/// As [`parse`], with the weight files that the text names.
///
/// # Errors
/// As [`parse`], and if a constant is not in its file.
pub fn parse_with(text: &str, weights: &dyn WeightSource) -> Result<Program, ParseError> {
    program(text, None, weights)
}

impl std::str::FromStr for Program {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Program, ParseError> {
        parse(text)
    }
}

/// The text as the model that a package would hold.
pub(crate) fn model(text: &str, beside: Option<Beside>) -> Result<spec::Model, ParseError> {
    Ok(into_model(parser::parse(text)?, beside).0)
}

/// The program of a text, with what a compiled model says beside it.
pub(crate) fn program(text: &str, beside: Option<Beside>, weights: &dyn WeightSource) -> Result<Program, ParseError> {
    let (model, places) = into_model(parser::parse(text)?, beside);
    decode(&model, &Attached(weights)).map_err(|e| match places.find(&e) {
        Some(at) => ParseError::at(text, at, e.to_string()),
        None => ParseError::new(e.to_string()),
    })
}

/// Where ops start.
struct Places(BTreeMap<String, Vec<usize>>);

impl Places {
    fn find(&self, e: &SpecError) -> Option<usize> {
        let (function, op) = e.op()?;
        self.0.get(function)?.get(op).copied()
    }
}

fn into_model(parsed: Parsed, beside: Option<Beside>) -> (spec::Model, Places) {
    let Beside { specification_version, description } = beside.unwrap_or_else(|| Beside {
        specification_version: parsed.opset.spec_version(),
        description: description(&parsed),
    });
    let model = spec::Model {
        specification_version,
        description: Some(description),
        is_updatable: false,
        r#type: Some(spec::model::Type::MlProgram(parsed.program)),
    };
    (model, Places(parsed.ops))
}

fn description(parsed: &Parsed) -> spec::ModelDescription {
    let inputs = |name: &String, f: &mil::Function| {
        parsed.flexible.get(name).map(|said| flexible::describe(f, said)).unwrap_or_default()
    };
    let functions = &parsed.program.functions;
    if let [(name, f)] = &functions.iter().collect::<Vec<_>>()[..] {
        return spec::ModelDescription { input: inputs(name, f), ..Default::default() };
    }
    let described = functions.iter().map(|(name, f)| spec::FunctionDescription {
        name: name.clone(),
        input: inputs(name, f),
        ..Default::default()
    });
    let main = if functions.contains_key("main") { Some("main") } else { functions.keys().next().map(String::as_str) };
    spec::ModelDescription {
        functions: described.collect(),
        default_function_name: main.unwrap_or_default().to_string(),
        ..Default::default()
    }
}

/// The weight files, and the weights that are to be attached.
struct Attached<'a>(&'a dyn WeightSource);

impl WeightSource for Attached<'_> {
    fn get(&self, file: &str, offset: u64, ty: &TensorType) -> Result<Constant, SpecError> {
        if file.starts_with(WEIGHT) { ByName.get(file, offset, ty) } else { self.0.get(file, offset, ty) }
    }
}
