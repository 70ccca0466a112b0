//! `mil convert`.

use std::path::PathBuf;

use clap::Args;
use mil_core::types::{Domain, Opset};
use mil_tools::{
    ToolError,
    convert::{self, ConvertOptions},
    import::InputShape,
    weights,
};

use crate::{complain, release};

#[derive(Args)]
pub(crate) struct Convert {
    /// An .onnx model, or weights of PyTorch (.pt, .pth)
    model: PathBuf,
    /// Where to write the package, which replaces what is there; of weights, a .safetensors file
    #[arg(short, long, value_name = "OUT.mlpackage")]
    output: PathBuf,
    /// The oldest system that must run it: iOS15 to iOS18, or macOS12 to macOS15 [default: the oldest that can say the model]
    #[arg(long, value_parser = release)]
    target: Option<Opset>,
    /// What numbers are computed in: `fp16` (what the Neural Engine has; inputs and outputs stay `f32`) or `fp32`
    #[arg(long, value_name = "fp16|fp32", default_value = "fp16", value_parser = ["fp16", "fp32"])]
    precision: String,
    /// The shape of an input, as x=1,3,224,224, or with ranges: x=1,3,64..=512,64..=512
    #[arg(long = "input", value_name = "NAME=SIZES", value_parser = input)]
    inputs: Vec<InputShape>,
    /// Makes an input a constant, as axes=0,2; one number stands for all elements
    #[arg(long = "constant", value_name = "NAME=NUMBERS", value_parser = constant)]
    constants: Vec<(String, Vec<f64>)>,
    /// Passes to leave out
    #[arg(long = "skip-passes", value_name = "PASSES", value_delimiter = ',')]
    skip: Vec<String>,
}

impl Convert {
    pub(crate) fn run(self) -> Result<String, ToolError> {
        if weights::is_weights(&self.output) {
            let written = weights::convert(&self.model, &self.output)?;
            written.warnings.iter().for_each(|w| complain("warning", w));
            return Ok(written.to_string());
        }
        let mut options = ConvertOptions::default();
        options.import.target = self.target;
        options.import.shapes = self.inputs;
        options.import.constants = self.constants;
        options.precision = self.precision;
        options.skip = self.skip;
        let converted = convert::convert(&self.model, &self.output, &options)?;
        converted.warnings.iter().for_each(|w| complain("warning", w));
        Ok(converted.to_string())
    }
}

/// `x=1,3,64..=512`; nothing after `=` for a scalar.
fn input(text: &str) -> Result<InputShape, String> {
    let expected = || "expected the name of an input and its sizes: x=1,3,224,224 or x=1,3,64..=512".to_string();
    let (name, sizes) = text.split_once('=').filter(|(n, _)| !n.is_empty()).ok_or_else(expected)?;
    let size = |s: &str| {
        let (min, max) = match s.trim().split_once("..=") {
            Some((min, max)) => (min.parse().ok()?, max.parse().ok()?),
            None => s.trim().parse().map(|n: i64| (n, n)).ok()?,
        };
        (1 <= min && min <= max).then_some(Domain::Range { min, max: Some(max) })
    };
    let sizes = sizes.split(',').filter(|_| !sizes.is_empty()).map(size).collect::<Option<_>>();
    Ok(InputShape { name: name.to_string(), sizes: sizes.ok_or_else(expected)? })
}

/// `axes=0,2`.
fn constant(text: &str) -> Result<(String, Vec<f64>), String> {
    let expected = || "expected the name of an input and numbers: axes=0,2".to_string();
    let (name, numbers) = text.rsplit_once('=').filter(|(n, _)| !n.is_empty()).ok_or_else(expected)?;
    let numbers = numbers.split(',').filter(|_| !numbers.is_empty()).map(|s| s.trim().parse());
    Ok((name.to_string(), numbers.collect::<Result<_, _>>().map_err(|_| expected())?))
}
