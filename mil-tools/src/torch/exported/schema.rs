//! The JSON of an exported program (source: torch/_export/serde/schema.py, of versions 5 to 8): what is needed of it.

use std::collections::BTreeMap;

use serde::{
    Deserialize,
    de::{Deserializer, Error as _, IgnoredAny},
};

#[derive(Debug, Deserialize)]
pub(super) struct ExportedProgram {
    pub(super) graph_module: GraphModule,
    #[serde(default)]
    pub(super) range_constraints: BTreeMap<String, Range>,
    pub(super) schema_version: Version,
}

#[derive(Clone, Copy, Debug, Deserialize)]
pub(super) struct Version {
    pub(super) major: i64,
}

/// Infinite ends are null, text, or numbers near those of `i64`.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Range {
    #[serde(default)]
    pub(super) min_val: serde_json::Value,
    #[serde(default)]
    pub(super) max_val: serde_json::Value,
}

#[derive(Debug, Deserialize)]
pub(super) struct GraphModule {
    pub(super) graph: Graph,
    pub(super) signature: Signature,
    #[serde(default)]
    pub(super) module_call_graph: Vec<ModuleCall>,
}

#[derive(Debug, Deserialize)]
pub(super) struct ModuleCall {
    pub(super) fqn: String,
    pub(super) signature: Option<CallSignature>,
}

#[derive(Debug, Deserialize)]
pub(super) struct CallSignature {
    pub(super) out_spec: String,
}

#[derive(Debug, Deserialize)]
pub(super) struct Graph {
    pub(super) nodes: Vec<Node>,
    pub(super) tensor_values: BTreeMap<String, TensorMeta>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Node {
    pub(super) target: String,
    pub(super) inputs: Vec<NamedArgument>,
    pub(super) outputs: Vec<Argument>,
    #[serde(default)]
    pub(super) metadata: Metadata,
}

#[derive(Debug, Default, Deserialize)]
pub(super) struct Metadata {
    #[serde(default)]
    pub(super) nn_module_stack: String,
}

#[derive(Debug, Deserialize)]
pub(super) struct NamedArgument {
    pub(super) name: String,
    pub(super) arg: Argument,
    /// 1: by position, 2: by name.
    #[serde(default)]
    pub(super) kind: Option<i64>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Named {
    pub(super) name: String,
}

#[derive(Debug, Deserialize)]
pub(super) struct Device {
    #[serde(rename = "type")]
    pub(super) kind: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Argument {
    AsNone(IgnoredAny),
    AsTensor(Named),
    AsTensors(Vec<Named>),
    AsInt(i64),
    AsInts(Vec<i64>),
    AsFloat(Float),
    AsFloats(Vec<Float>),
    AsString(String),
    AsStrings(Vec<String>),
    AsSymInt(Symbolic),
    AsSymInts(Vec<Symbolic>),
    AsSymFloat(Symbolic),
    AsSymFloats(Vec<Symbolic>),
    AsSymBool(Symbolic),
    AsSymBools(Vec<Symbolic>),
    AsScalarType(i64),
    AsMemoryFormat(i64),
    AsLayout(i64),
    AsDevice(Device),
    AsBool(bool),
    AsBools(Vec<bool>),
    AsOptionalTensor(OptionalTensor),
    AsOptionalTensors(Vec<OptionalTensor>),
    AsNestedTensors(Vec<Vec<Named>>),
    AsIntLists(Vec<Vec<i64>>),
    AsFloatLists(Vec<Vec<Float>>),
    AsGraph(Named),
    AsCustomObj(Named),
    AsOperator(String),
    AsComplex(IgnoredAny),
    AsStringToArgument(IgnoredAny),
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum OptionalTensor {
    AsTensor(Named),
    AsNone(IgnoredAny),
}

/// A number, or the name of one that is computed.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Symbolic {
    AsName(String),
    AsInt(i64),
    AsFloat(Float),
    AsBool(bool),
}

/// A float; JSON has no infinities, so that they are text.
#[derive(Clone, Copy, Debug)]
pub(super) struct Float(pub(super) f64);

impl<'de> Deserialize<'de> for Float {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Float, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Either {
            Number(f64),
            Text(String),
        }
        match Either::deserialize(deserializer)? {
            Either::Number(v) => Ok(Float(v)),
            Either::Text(text) => match &text[..] {
                "Infinity" => Ok(Float(f64::INFINITY)),
                "-Infinity" => Ok(Float(f64::NEG_INFINITY)),
                "NaN" => Ok(Float(f64::NAN)),
                _ => Err(D::Error::custom("expected a number, `Infinity`, `-Infinity` or `NaN`")),
            },
        }
    }
}

#[derive(Debug, Deserialize)]
pub(super) struct TensorMeta {
    pub(super) dtype: i64,
    pub(super) sizes: Vec<Size>,
    pub(super) strides: Vec<Size>,
    pub(super) storage_offset: Size,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Size {
    AsInt(i64),
    AsExpr(Expression),
}

#[derive(Debug, Deserialize)]
pub(super) struct Expression {
    pub(super) expr_str: String,
}

#[derive(Debug, Deserialize)]
pub(super) struct Signature {
    pub(super) input_specs: Vec<InputSpec>,
    pub(super) output_specs: Vec<OutputSpec>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum InputSpec {
    UserInput {
        arg: Argument,
    },
    Parameter {
        arg: Named,
        parameter_name: String,
    },
    Buffer {
        arg: Named,
        buffer_name: String,
        /// Those that are not are with the constants.
        #[serde(default)]
        persistent: Option<bool>,
    },
    TensorConstant {
        arg: Named,
        tensor_constant_name: String,
    },
    CustomObj {
        arg: Named,
    },
    Token {
        arg: Named,
    },
    ConstantInput {
        name: String,
    },
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum OutputSpec {
    UserOutput { arg: Argument },
    LossOutput { arg: Named },
    BufferMutation { arg: Named, buffer_name: String },
    ParameterMutation { arg: Named, parameter_name: String },
    UserInputMutation { arg: Named, user_input_name: String },
    GradientToParameter(IgnoredAny),
    GradientToUserInput(IgnoredAny),
    Token(IgnoredAny),
}

/// Where the tensors of a program are, by their names in the module.
#[derive(Debug, Deserialize)]
pub(super) struct PayloadConfig {
    pub(super) config: BTreeMap<String, Payload>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Payload {
    pub(super) path_name: String,
    #[serde(default)]
    pub(super) use_pickle: bool,
    pub(super) tensor_meta: Option<TensorMeta>,
}

/// Reads JSON as Python writes it: with infinities that are no text, in files of older versions.
pub(super) fn parse<'a, T: Deserialize<'a>>(json: &'a str, quoted: &'a mut String) -> Result<T, String> {
    let error = match serde_json::from_str(json) {
        Ok(value) => return Ok(value),
        Err(error) => error.to_string(),
    };
    *quoted = quote_infinities(json).ok_or(error)?;
    serde_json::from_str(quoted).map_err(|e| e.to_string())
}

/// The text with infinities and NaN as text; `None` if it has none.
fn quote_infinities(json: &str) -> Option<String> {
    let (mut out, mut rest, mut found) = (String::with_capacity(json.len() + 64), json, false);
    while let Some(at) = rest.find(['"', 'I', 'N', '-']) {
        out.push_str(&rest[..at]);
        rest = &rest[at..];
        let taken = if rest.starts_with('"') {
            text_length(rest)?
        } else if let Some(word) = ["Infinity", "-Infinity", "NaN"].into_iter().find(|w| rest.starts_with(w)) {
            found = true;
            out.push('"');
            out.push_str(word);
            out.push('"');
            rest = &rest[word.len()..];
            continue;
        } else {
            1
        };
        out.push_str(&rest[..taken]);
        rest = &rest[taken..];
    }
    out.push_str(rest);
    found.then_some(out)
}

/// Bytes of the text in quotes at the start.
fn text_length(json: &str) -> Option<usize> {
    let mut escaped = false;
    let end = json.bytes().enumerate().skip(1).find(|(_, b)| {
        let ends = *b == b'"' && !escaped;
        escaped = *b == b'\\' && !escaped;
        ends
    })?;
    Some(end.0 + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn infinities_are_read_with_quotes_or_without() {
        let read = |json: &str| {
            let mut quoted = String::new();
            parse::<Vec<Argument>>(json, &mut quoted).map(|v| format!("{v:?}"))
        };
        let expected = r#"[AsFloat(Float(-inf)), AsString("Infinity\" NaN"), AsFloat(Float(1.0))]"#;
        let plain = r#"[{"as_float": -Infinity}, {"as_string": "Infinity\" NaN"}, {"as_float": 1}]"#;
        assert_eq!(read(plain).unwrap(), expected);
        assert_eq!(read(&plain.replace("-Infinity", "\"-Infinity\"")).unwrap(), expected);
        assert!(read(r#"[{"as_float": "one"}]"#).unwrap_err().contains("expected"));
        assert!(read(r#"[{"as_float": NaN"#).unwrap_err().contains("EOF"));
        assert!(read("[\"NaN").unwrap_err().contains("EOF"));
    }
}
