//! `mil convert`.

use std::path::{Path, PathBuf};

use clap::Args;
use mil_core::types::Opset;
use mil_tools::{
    ToolError,
    convert::{self, ConvertOptions, Precision, Validation},
    import::{ImageInput, InputShape, Normalization, Rename},
    weights,
};

use super::parse;
use crate::{complain, progress_bar, release};

#[derive(Args)]
pub(crate) struct Convert {
    /// A model: .onnx, or of PyTorch, exported (.pt2) or traced (.pt); or weights of PyTorch (.pt, .pth)
    #[arg(required_unless_present = "list_ops")]
    model: Option<PathBuf>,
    /// Where to write the package, which replaces what is there; of weights, a .safetensors file
    #[arg(short, long, value_name = "OUT.mlpackage", required_unless_present = "list_ops")]
    output: Option<PathBuf>,
    /// The oldest system that must run it: iOS15 to iOS18, or macOS12 to macOS15 [default: the oldest that can say the model]
    #[arg(long, value_parser = release)]
    target: Option<Opset>,
    /// What numbers are computed in: `fp16` (what the Neural Engine has; inputs and outputs stay `f32`), `fp32`, or `mixed`
    ///
    /// In f16 some nets lose digits that matter, a little at each of many ops. `mixed` keeps as few ops in f32 as it takes to have all
    /// outputs within `--tolerance` of the model's: it converts the model some dozens of times, and compares what comes out on
    /// `--samples`, which should be real and more than one. What is in f32 runs on the GPU or CPU.
    #[arg(long, value_name = "fp16|fp32|mixed", default_value = "fp16", value_parser = ["fp16", "fp32", "mixed"])]
    precision: String,
    /// With `--precision mixed`: how far outputs may be from the model's, relative to their largest number [default: 0.01]
    #[arg(long, value_name = "ERROR", value_parser = parse::tolerance)]
    tolerance: Option<f64>,
    /// Which kind of model: `mlprogram`
    #[arg(long, value_name = "KIND", default_value = "mlprogram", value_parser = ["mlprogram", "neuralnetwork"])]
    backend: String,
    /// The shape of an input, as x=1,3,224,224; with ranges: x=1,3,64..=512,64..=512; one of some sizes: x=1,3,[224|384],[224|384]
    #[arg(long = "input", value_name = "NAME=SIZES", value_parser = parse::input)]
    inputs: Vec<InputShape>,
    /// Makes an input a constant, as axes=0,2; one number stands for all elements
    #[arg(long = "constant", value_name = "NAME=NUMBERS", value_parser = parse::constant)]
    constants: Vec<(String, Vec<f64>)>,
    /// Makes an input a picture: rgb, bgr or gray, as x:rgb, or x:rgb,scale=1/127.5,bias=-1/-1/-1; pixels are 0 to 255
    ///
    /// The name may be left out if only one input can be a picture. A model that wants channels last gets them so.
    #[arg(long = "image", value_name = "[NAME:]COLOR[,..]", value_parser = parse::image)]
    images: Vec<ImageInput>,
    /// Puts (pixel / 255 - mean) / std into the model: imagenet, or mean=.485/.456/.406,std=.229/.224/.225
    ///
    /// The input is then [1, channels, height, width] in [0, 255], whether `--image` makes it a picture or not. NAME: before it says
    /// which input, if several could be meant.
    #[arg(long = "normalize", value_name = "[NAME:]HOW", value_parser = parse::normalization)]
    normalizations: Vec<Normalization>,
    /// Puts a softmax over the classes behind the only output
    #[arg(long)]
    softmax: bool,
    /// Makes it a classifier: a file with the label of each class, one a line
    #[arg(long, value_name = "LABELS.txt")]
    classes: Option<PathBuf>,
    /// What an input shall be called: old=new, or new if there is one
    #[arg(long = "rename-input", value_name = "[OLD=]NEW", value_parser = parse::rename)]
    input_names: Vec<Rename>,
    /// What an output shall be called: old=new, or new if there is one
    #[arg(long = "rename-output", value_name = "[OLD=]NEW", value_parser = parse::rename)]
    output_names: Vec<Rename>,
    /// Passes to leave out
    #[arg(long = "skip-passes", value_name = "PASSES", value_delimiter = ',')]
    skip: Vec<String>,
    /// Compare the package with the model even if that takes much memory [default: unless it is large]
    #[arg(long, conflicts_with = "no_validate")]
    validate: bool,
    /// Do not compare the package with the model before it is put in its place
    #[arg(long)]
    no_validate: bool,
    /// Inputs to compare on, by their names in the package [default: made up]
    #[arg(long, value_name = "FILE.safetensors", conflicts_with = "no_validate")]
    samples: Vec<PathBuf>,
    /// Say what each pass did, and how long everything took, on stderr; so does the variable MIL_LOG, if it is not empty, `0` or `off`
    #[arg(short, long)]
    verbose: bool,
    /// Print the page of ONNX ops that are known as Markdown
    #[arg(long, exclusive = true)]
    list_ops: bool,
}

impl Convert {
    pub(crate) fn run(self) -> Result<String, ToolError> {
        let (Some(model), Some(output)) = (&self.model, &self.output) else {
            return Ok(mil_tools::onnx::markdown());
        };
        if weights::is_weights(output) {
            let written = weights::convert(model, output)?;
            written.warnings.iter().for_each(|w| complain("warning", w));
            return Ok(written.to_string());
        }
        if self.backend == "neuralnetwork" {
            let message = "`--backend neuralnetwork`: the older format is not written yet; leave it out for an ML Program, which needs iOS 15 or macOS 12";
            return Err(ToolError::new(message));
        }
        let mut options = ConvertOptions::default();
        options.import.target = self.target;
        options.import.shapes = self.inputs;
        options.import.constants = self.constants;
        options.import.images = self.images;
        options.import.normalizations = self.normalizations;
        options.import.softmax = self.softmax;
        options.import.classes = self.classes.as_deref().map(classes).transpose()?;
        options.import.input_names = self.input_names;
        options.import.output_names = self.output_names;
        options.precision = match (&self.precision[..], self.tolerance) {
            ("mixed", _) if self.no_validate => {
                return Err(ToolError::new(
                    "`--precision mixed` compares the package with the model: leave `--no-validate` out",
                ));
            }
            ("mixed", tolerance) => Precision::Mixed { tolerance: tolerance.unwrap_or(0.01) },
            (_, Some(_)) => return Err(ToolError::new("`--tolerance` is for `--precision mixed`")),
            ("fp32", None) => Precision::F32,
            _ => Precision::F16,
        };
        options.skip = self.skip;
        options.samples = self.samples;
        options.validation = match (self.validate, self.no_validate) {
            (true, _) => Validation::Always,
            (_, true) => Validation::Never,
            _ => Validation::Auto,
        };
        let (bar, tell) = progress_bar();
        let converted = convert::convert(model, output, &options, &mut |what, part| tell(&bar, what, part));
        bar.finish_and_clear();
        let converted = converted?;
        if self.verbose || logs() {
            eprint_all(&converted.full());
        }
        converted.warnings.iter().for_each(|w| complain("warning", w));
        Ok(converted.to_string())
    }
}

/// Whether the environment asks for what `-v` does.
fn logs() -> bool {
    std::env::var("MIL_LOG").is_ok_and(|v| !matches!(v.trim(), "" | "0" | "off"))
}

fn eprint_all(text: &str) {
    use std::io::Write;
    // There is nobody left to tell if this fails.
    let _ = std::io::stderr().lock().write_all(text.as_bytes());
}

/// The lines of a file; empty ones at its end do not count.
fn classes(path: &Path) -> Result<Vec<String>, ToolError> {
    let wrong = |what: String| ToolError::new(format!("`{}`: {what}", path.display()));
    let text = std::fs::read_to_string(path).map_err(|e| wrong(format!("cannot be read: {e}")))?;
    let labels: Vec<String> = text.trim_end().lines().map(|l| l.trim().to_string()).collect();
    match labels.iter().position(String::is_empty) {
        Some(at) => Err(wrong(format!("the line {} is empty: there must be a label on each", at + 1))),
        None if labels.is_empty() => Err(wrong("has no labels".into())),
        None => Ok(labels),
    }
}
