//! What the user may say about an import.

use mil_core::types::{Domain, Opset};

/// How a model is imported.
#[derive(Clone, Debug, Default)]
pub struct ImportOptions {
    /// The oldest system that must read the result; the oldest that can say the model where none is given.
    pub target: Option<Opset>,
    /// Shapes of inputs, where the model's own shall not be.
    pub shapes: Vec<InputShape>,
    /// Inputs that become constants: name and elements in row-major order, one for all if it is one.
    pub constants: Vec<(String, Vec<f64>)>,
}

impl ImportOptions {
    /// The opsets with which an import is tried, the oldest first: newer systems read older programs.
    pub(crate) fn targets(&self) -> Vec<Opset> {
        self.target.map_or_else(|| vec![Opset::iOS15, Opset::iOS16, Opset::iOS17, Opset::iOS18], |t| vec![t])
    }
}

/// The shape that an input shall have.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct InputShape {
    /// The input's name in the model.
    pub name: String,
    /// Sizes, outermost first: `1..=1` is a fixed size.
    pub sizes: Vec<Domain>,
}
