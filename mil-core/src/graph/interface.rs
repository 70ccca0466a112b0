//! What a function's user sees of its inputs and outputs beyond their types: images, defaults, descriptions.

use std::collections::BTreeMap;

use crate::{
    ir::{
        Feature, ValueId,
        feature::{ArrayFeature, ColorSpace, DefaultValue, FeatureKind, ImageFeature, ImageFlexibility},
    },
    op::OpError,
    spec::feature_of_type,
    types::{DType, Dim, Domain, Opset, TensorType, Type},
};

use super::{Graph, Value};

/// What was said of an input or output.
#[derive(Clone, Debug, Default)]
pub(super) struct Described {
    color: Option<ColorSpace>,
    default: Option<DefaultValue>,
    description: String,
}

impl Graph {
    /// Makes an input or output an image: the caller hands over, or gets, a picture. The value is a tensor
    /// `[1, channels, height, width]` of the pixels' values from 0 to 255 (16-bit gray: any), of f32 or f16; 8-bit gray may be of
    /// u8 since iOS17. coremltools scales pixels with ops after the input: `mb::mul`, then `mb::add`.
    ///
    /// # Errors
    /// If its type is not one of those, or the opset does not know the layout.
    pub fn set_image(&mut self, value: &Value, color: ColorSpace) -> Result<(), OpError> {
        let fail = |message: String| Err(OpError::new(message).of("image"));
        let opset = self.opset();
        let (channels, float) = match color {
            ColorSpace::Rgb | ColorSpace::Bgr => (3, "f32"),
            ColorSpace::Grayscale => (1, "f32"),
            ColorSpace::GrayscaleF16 => (1, "f16"),
            ColorSpace::Unspecified => return fail("an image has a color layout".into()),
        };
        if color == ColorSpace::GrayscaleF16 && opset < Opset::iOS16 {
            let message = format!("an image of 16-bit gray needs opset iOS16, but the program's is {opset}");
            return Err(OpError::new(message).note("set `opset = iOS16`").of("image"));
        }
        let fits = |t: &TensorType| t.rank() == 4 && t.shape[0].is(1) && t.shape[1].is(channels);
        let Some(ty) = value.tensor_type().filter(|t| fits(t)) else {
            let expected = format!("Tensor<{float}, 1, {channels}, height, width>");
            return fail(format!("such an image is a {expected}, found {}", value.ty()));
        };
        let bytes = ty.dtype == DType::U8 && color == ColorSpace::Grayscale && opset >= Opset::iOS17;
        if !matches!(ty.dtype, DType::F16 | DType::F32) && !bytes {
            return fail(format!("the pixels of an image arrive as `f16` or `f32`, found {ty}"));
        }
        self.described.entry(value.id()).or_default().color = Some(color);
        Ok(())
    }

    /// Lets an input be left out: all its elements are then this number, and its size is the default one.
    ///
    /// # Errors
    /// If it is no input of the function, or no tensor of numbers.
    pub fn set_default(&mut self, value: &Value, number: f64) -> Result<(), OpError> {
        let dtype = value.tensor_type().filter(|_| self.function.inputs.contains(&value.id())).map(|t| t.dtype);
        let default = match dtype {
            Some(DType::F64) => DefaultValue::Double(number),
            Some(d) if d.is_float() => DefaultValue::Float(number as f32),
            Some(d) if d.is_int() && number.fract() == 0.0 && f64::from(number as i32) == number => {
                DefaultValue::Int(number as i32)
            }
            Some(d) if d.is_int() => {
                return Err(OpError::new(format!("the default {number} does not fit {d}")).of("default"));
            }
            _ => {
                let message = format!("only an input of numbers has a default, found {}", value.ty());
                return Err(OpError::new(message).of("default"));
            }
        };
        self.described.entry(value.id()).or_default().default = Some(default);
        Ok(())
    }

    /// Says in a sentence what an input, output or state is.
    pub fn set_description(&mut self, value: &Value, text: impl Into<String>) {
        self.described.entry(value.id()).or_default().description = text.into();
    }

    /// Describes the function's inputs, states and outputs; a list of which nothing was said stays empty, and follows from the
    /// types. `outputs` are the values that were given, with those that they became.
    pub(super) fn describe(&mut self, outputs: &[(ValueId, ValueId)]) -> Result<(), OpError> {
        let mut said = std::mem::take(&mut self.described);
        for (given, became) in outputs {
            // An input that is given as an output is described as an input only.
            let input = self.function.inputs.contains(given);
            if let Some(one) = said.get(given).filter(|_| given != became && !input).cloned() {
                said.insert(*became, one);
            }
        }
        let f = &self.function;
        let is_state = |id: &ValueId| matches!(f.value(*id).ty, Type::State(_));
        let (states, inputs): (Vec<_>, Vec<_>) = f.inputs.iter().copied().partition(is_state);
        let all = [(inputs, false), (states, false), (f.outputs().to_vec(), true)];
        let [inputs, states, outputs] = all.map(|(ids, output)| self.features(&said, &ids, output));
        let (inputs, states, outputs) = (inputs?, states?, outputs?);
        let f = &mut self.function;
        (f.input_features, f.state_features, f.output_features) = (inputs, states, outputs);
        Ok(())
    }

    fn features(
        &self,
        said: &BTreeMap<ValueId, Described>,
        ids: &[ValueId],
        output: bool,
    ) -> Result<Vec<Feature>, OpError> {
        if ids.iter().all(|id| !said.contains_key(id)) {
            return Ok(vec![]);
        }
        ids.iter()
            .map(|id| {
                let (data, said) = (self.function.value(*id), said.get(id));
                let mut feature = match (said.and_then(|s| s.color), &data.ty) {
                    (Some(color), Type::Tensor(t)) => Feature {
                        name: data.name.clone(),
                        description: String::new(),
                        optional: false,
                        kind: FeatureKind::Image(image(t, color)),
                    },
                    _ => feature_of_type(&data.name, &data.ty, output).map_err(|e| OpError::new(e.to_string()))?,
                };
                if let Some(said) = said {
                    feature.description = said.description.clone();
                    feature.optional = said.default.is_some();
                    if let FeatureKind::Array(ArrayFeature { default, .. }) = &mut feature.kind {
                        *default = said.default;
                    }
                }
                Ok(feature)
            })
            .collect()
    }
}

/// The sizes of an image, by its type.
fn image(ty: &TensorType, color: ColorSpace) -> ImageFeature {
    let sizes = |dim: &Dim| match dim.as_symbol().map(|s| s.domain().clone()) {
        Some(Domain::OneOf(sizes)) => sizes,
        Some(Domain::Range { min, .. }) => vec![min],
        None => dim.value().into_iter().collect(),
    };
    let range = |dim: &Dim| {
        let (min, max) = dim.bounds();
        (min.unwrap_or(1).max(1) as u64, max.unwrap_or(-1))
    };
    let (height, width) = (&ty.shape[2], &ty.shape[3]);
    let (heights, widths) = (sizes(height), sizes(width));
    let listed = |dim: &Dim| match dim.as_symbol() {
        Some(symbol) => matches!(symbol.domain(), Domain::OneOf(_)),
        None => dim.value().is_some(),
    };
    let flexibility = if height.value().is_some() && width.value().is_some() {
        ImageFlexibility::Fixed
    } else if !listed(height) || !listed(width) {
        ImageFlexibility::Range { width: range(width), height: range(height) }
    } else if height == width {
        ImageFlexibility::Enumerated(heights.iter().map(|&n| (n as u64, n as u64)).collect())
    } else {
        let pairs = heights.iter().flat_map(|&h| widths.iter().map(move |&w| (w as u64, h as u64)));
        ImageFlexibility::Enumerated(pairs.collect())
    };
    let first = |sizes: &[i64]| sizes.first().copied().unwrap_or(1);
    ImageFeature { width: first(&widths), height: first(&heights), color, flexibility }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{mb, validate::validate};

    fn input(g: &mut Graph, ty: &str) -> Value {
        g.input("x", ty.parse::<TensorType>().unwrap())
    }

    #[test]
    fn images_defaults_and_descriptions() {
        let mut g = Graph::new("main", Opset::iOS17);
        let x = input(&mut g, "Tensor<f32, 1, 3, 4, 8>");
        let k = g.input("k", TensorType::new(DType::I32, [2]));
        g.set_image(&x, ColorSpace::Rgb).unwrap();
        g.set_default(&k, 7.0).unwrap();
        g.set_description(&k, "twice");
        let y = g.push(mb::mul(&x, 0.5)).unwrap();
        g.set_image(&y, ColorSpace::Bgr).unwrap();
        let p = g.finish([("y", y), ("k2", k)]).unwrap();
        validate(&p).unwrap();
        let f = p.main().unwrap();
        let FeatureKind::Image(image) = &f.input_features[0].kind else { panic!() };
        assert_eq!((image.width, image.height, image.color), (8, 4, ColorSpace::Rgb));
        let FeatureKind::Array(array) = &f.input_features[1].kind else { panic!() };
        assert_eq!((array.default, f.input_features[1].optional), (Some(DefaultValue::Int(7)), true));
        assert_eq!(f.input_features[1].description, "twice");
        assert!(matches!(&f.output_features[0].kind, FeatureKind::Image(i) if i.color == ColorSpace::Bgr));
        assert!(matches!(&f.output_features[1].kind, FeatureKind::Array(_)));
    }

    #[test]
    fn what_is_no_image_and_has_no_default_is_refused() {
        let mut g = Graph::new("main", Opset::iOS15);
        let x = input(&mut g, "Tensor<f32, 1, 1, 4, 8>");
        let e = g.set_image(&x, ColorSpace::Rgb).unwrap_err().to_string();
        assert!(
            e.contains("such an image is a Tensor<f32, 1, 3, height, width>, found Tensor<f32, 1, 1, 4, 8>"),
            "{e}"
        );
        assert!(g.set_image(&x, ColorSpace::GrayscaleF16).unwrap_err().to_string().contains("needs opset iOS16"));
        assert!(g.set_image(&x, ColorSpace::Grayscale).is_ok());
        let n = input(&mut g, "Tensor<i32, 1, 1, 4, 8>");
        assert!(g.set_image(&n, ColorSpace::Grayscale).unwrap_err().to_string().contains("arrive as `f16` or `f32`"));
        assert!(g.set_default(&n, 0.5).unwrap_err().to_string().contains("does not fit i32"));
        let y = g.push(mb::add(&x, 1.0)).unwrap();
        assert!(g.set_default(&y, 1.0).unwrap_err().to_string().contains("only an input"));
    }
}
