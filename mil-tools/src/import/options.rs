//! What the user may say about an import.

use mil_core::{
    ir::feature::ColorSpace,
    types::{Domain, Opset},
};

use super::Imported;

/// How a model is imported.
///
/// Inputs and outputs are called here by their names in the model that is imported.
#[derive(Clone, Debug, Default)]
pub struct ImportOptions {
    /// The oldest system that must read the result; the oldest that can say the model where none is given.
    pub target: Option<Opset>,
    /// Shapes of inputs, where the model's own shall not be.
    pub shapes: Vec<InputShape>,
    /// Inputs that become constants: name and elements in row-major order, one for all if it is one.
    pub constants: Vec<(String, Vec<f64>)>,
    /// Inputs that become images.
    pub images: Vec<ImageInput>,
    /// Inputs whose pixels are normalized in the model.
    pub normalizations: Vec<Normalization>,
    /// Whether a softmax over the classes is put behind the only output.
    pub softmax: bool,
    /// The classes of a classifier, whose probabilities are the only output.
    pub classes: Option<Vec<String>>,
    /// What inputs shall be called.
    pub input_names: Vec<Rename>,
    /// What outputs shall be called; of a classifier, its probabilities.
    pub output_names: Vec<Rename>,
}

impl ImportOptions {
    /// What an import gives for the target that is wanted, or for the oldest with which it succeeds: newer systems read older
    /// programs.
    ///
    /// # Errors
    /// If it succeeds for none: what it says of the last.
    pub(crate) fn first_target(
        &self,
        import: impl Fn(Opset) -> Result<Imported, Vec<String>>,
    ) -> Result<Imported, Vec<String>> {
        let targets = match self.target {
            Some(target) => vec![target],
            None => vec![Opset::iOS15, Opset::iOS16, Opset::iOS17, Opset::iOS18],
        };
        let mut refused = vec![];
        for target in targets {
            match import(target) {
                Ok(imported) => return Ok(imported),
                Err(lines) => refused = lines,
            }
        }
        Err(refused)
    }
}

/// The shape that an input shall have.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct InputShape {
    /// The input's name in the model.
    pub name: String,
    /// Sizes, outermost first, as the model has them: `1..=1` is a fixed size.
    pub sizes: Vec<Domain>,
}

/// An input that becomes an image: the caller hands over a picture, whose pixels the model gets as `[1, channels, height, width]`,
/// from 0 to 255, times `scale`, plus `bias`. A model that wants channels last gets them so, by a transpose.
#[derive(Clone, PartialEq, Debug)]
pub struct ImageInput {
    /// The input; the only one that may be an image if it is not said.
    pub input: Option<String>,
    /// What the channels are.
    pub color: ColorSpace,
    /// What pixels are multiplied by.
    pub scale: f64,
    /// What is added then: one number, or one per channel; none for 0.
    pub bias: Vec<f64>,
}

/// `(x / 255 - mean) / std` of an input's pixels, which arrive as `[n, channels, height, width]`, from 0 to 255.
#[derive(Clone, PartialEq, Debug)]
pub struct Normalization {
    /// The input; the only one that may be an image if it is not said.
    pub input: Option<String>,
    /// One number, or one per channel, of pixels from 0 to 1.
    pub mean: Vec<f64>,
    /// One number, or one per channel.
    pub std: Vec<f64>,
    /// Whether the numbers are of red, green and blue, in this order, whatever the order of the channels.
    pub rgb: bool,
}

impl Normalization {
    /// What ImageNet's classifiers are trained on (source: torchvision's models).
    pub fn imagenet(input: Option<String>) -> Normalization {
        Normalization { input, mean: vec![0.485, 0.456, 0.406], std: vec![0.229, 0.224, 0.225], rgb: true }
    }
}

/// A new name for an input or output.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Rename {
    /// The name in the model; that of the only one if it is not said.
    pub from: Option<String>,
    /// The name in the package.
    pub to: String,
}
