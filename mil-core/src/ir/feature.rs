//! Features: what a model's user sees of an input, an output or a state.
//!
//! A function's values have types; a feature says how the outside hands them over: as an array or an image, with which
//! default size, with which other sizes allowed (proto: `FeatureDescription`, `FeatureType`).

use crate::types::DType;

/// One input, output or state in the model's description.
#[derive(Clone, PartialEq, Debug)]
pub struct Feature {
    /// The name; for inputs and states the name of the function's input.
    pub name: String,
    /// A sentence for the reader.
    pub description: String,
    /// Whether it may be left out when predicting.
    pub optional: bool,
    /// What it is.
    pub kind: FeatureKind,
}

/// What a feature is.
#[derive(Clone, PartialEq, Debug)]
pub enum FeatureKind {
    /// A 64-bit integer, as a classifier's label may be.
    Int64,
    /// A double.
    Double,
    /// Text, as a classifier's label may be.
    String,
    /// An image.
    Image(ImageFeature),
    /// A multi-dimensional array.
    Array(ArrayFeature),
    /// A dictionary from integers (`true`) or strings (`false`) to doubles.
    Dictionary {
        /// Keys are 64-bit integers.
        int_keys: bool,
    },
    /// A sequence of integers (`true`) or strings (`false`) with a range of lengths.
    Sequence {
        /// Elements are 64-bit integers.
        ints: bool,
        /// Least and greatest length; -1 for no upper bound.
        length: Option<(u64, i64)>,
    },
    /// An array that lives between predictions.
    State(ArrayFeature),
}

/// A multi-dimensional array.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct ArrayFeature {
    /// Element type: f16, f32, f64, i32 or i8; `None` if the file says none.
    pub dtype: Option<DType>,
    /// The default size; empty where the size is not known (outputs of flexible size).
    pub shape: Vec<i64>,
    /// The other sizes that are allowed.
    pub flexibility: ArrayFlexibility,
    /// The value of every element of an optional input that is left out.
    pub default: Option<DefaultValue>,
}

/// The fill value of an optional input.
#[derive(Clone, Copy, PartialEq, Debug)]
#[allow(missing_docs)] // named after the fields of `ArrayFeatureType.defaultOptionalValue`
pub enum DefaultValue {
    Int(i32),
    Float(f32),
    Double(f64),
}

/// Sizes of an array other than its default.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub enum ArrayFlexibility {
    /// None.
    #[default]
    Fixed,
    /// One of these shapes.
    Enumerated(Vec<Vec<i64>>),
    /// Per dimension, the least and the greatest size; -1 for no upper bound.
    Range(Vec<(u64, i64)>),
}

/// How pixels are laid out (proto: `ImageFeatureType.ColorSpace`).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum ColorSpace {
    /// The file does not say.
    #[default]
    Unspecified,
    /// 8-bit gray.
    Grayscale,
    /// 8-bit red, green, blue.
    Rgb,
    /// 8-bit blue, green, red.
    Bgr,
    /// 16-bit float gray.
    GrayscaleF16,
}

/// An image; sizes are in pixels.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct ImageFeature {
    /// Default width.
    pub width: i64,
    /// Default height.
    pub height: i64,
    /// Color layout.
    pub color: ColorSpace,
    /// The other sizes that are allowed.
    pub flexibility: ImageFlexibility,
}

/// Sizes of an image other than its default.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub enum ImageFlexibility {
    /// None.
    #[default]
    Fixed,
    /// One of these (width, height).
    Enumerated(Vec<(u64, u64)>),
    /// Least and greatest width and height; -1 for no upper bound.
    Range {
        /// Widths.
        width: (u64, i64),
        /// Heights.
        height: (u64, i64),
    },
}
