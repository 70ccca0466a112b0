//! `#[image(RGB, scale = 1.0 / 255.0, bias = [..])]`: an input that the caller hands over as a picture.

use mil_core::{
    graph::Value,
    ir::{
        Feature, Literal,
        feature::{ColorSpace, FeatureKind, ImageFeature, ImageFlexibility},
    },
    op::Operand,
    types::{DType, Dim, Domain, Opset, TensorType},
};
use syn::{Expr, Ident, Token, parse::ParseStream};

use super::Lower;
use crate::{diag::Place, suggest};

/// The attribute as written.
pub(crate) struct ImageAttr {
    pub(crate) color: Ident,
    scale: Option<Expr>,
    bias: Option<Expr>,
}

impl ImageAttr {
    pub(crate) fn parse(attr: &syn::Attribute) -> syn::Result<ImageAttr> {
        attr.parse_args_with(|input: ParseStream<'_>| {
            let color: Ident = input.parse()?;
            let (mut scale, mut bias) = (None, None);
            while input.parse::<Option<Token![,]>>()?.is_some() && !input.is_empty() {
                let key: Ident = input.parse()?;
                input.parse::<Token![=]>()?;
                let value: Expr = input.parse()?;
                match &key.to_string()[..] {
                    "scale" => scale = Some(value),
                    "bias" => bias = Some(value),
                    other => {
                        let hint = suggest::hint(other, ["scale", "bias"]);
                        let message = format!("an image has `scale` and `bias`, and no `{other}`{hint}");
                        return Err(syn::Error::new(key.span(), message));
                    }
                }
            }
            Ok(ImageAttr { color, scale, bias })
        })
    }
}

impl<'a> Lower<'a> {
    /// Describes the input as an image and scales its pixels; gives the value that the program sees.
    pub(super) fn image(&mut self, name: &str, value: &Value, attr: &'a ImageAttr, ty_at: Place) -> Option<Value> {
        let color = match &attr.color.to_string()[..] {
            "RGB" => ColorSpace::Rgb,
            "BGR" => ColorSpace::Bgr,
            "Grayscale" => ColorSpace::Grayscale,
            "GrayscaleF16" => ColorSpace::GrayscaleF16,
            other => {
                let all = ["RGB", "BGR", "Grayscale", "GrayscaleF16"];
                let message = format!(
                    "there is no color layout `{other}`; it is one of {}",
                    all.map(|c| format!("`{c}`")).join(", ")
                );
                self.error(&attr.color, message);
                return None;
            }
        };
        if color == ColorSpace::GrayscaleF16 && self.graph.opset() < Opset::iOS16 {
            let message = format!(
                "`GrayscaleF16` needs opset iOS16, but the program's is {}\nset `opset = iOS16`",
                self.graph.opset()
            );
            self.error(&attr.color, message);
            return None;
        }
        let ty = value.tensor_type()?.clone();
        let channels = if matches!(color, ColorSpace::Rgb | ColorSpace::Bgr) { 3 } else { 1 };
        if ty.rank() != 4 || !ty.shape[0].is(1) || !ty.shape[1].is(channels) {
            let float = if color == ColorSpace::GrayscaleF16 { "f16" } else { "f32" };
            let expected = format!("Tensor<{float}, 1, {channels}, height, width>");
            self.error_at(ty_at, format!("an image of `{}` is a {expected}, found {ty}", attr.color));
            return None;
        }
        if !ty.dtype.is_float() {
            self.error_at(ty_at, format!("the pixels of an image arrive as `f16` or `f32`, found {ty}"));
            return None;
        }
        let feature = Feature {
            name: name.to_string(),
            description: String::new(),
            optional: false,
            kind: FeatureKind::Image(self.image_feature(&ty, color)),
        };
        self.features.push(feature);
        let scaled = self.pixel_op("mul", name, "scaled", value.clone(), attr.scale.as_ref(), &ty, channels);
        self.pixel_op("add", name, "biased", scaled?, attr.bias.as_ref(), &ty, channels)
    }

    fn image_feature(&self, ty: &TensorType, color: ColorSpace) -> ImageFeature {
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
        let ranged = |dim: &Dim| dim.as_symbol().is_some_and(|s| matches!(s.domain(), Domain::Range { .. }));
        let flexibility = if height.value().is_some() && width.value().is_some() {
            ImageFlexibility::Fixed
        } else if ranged(height) || ranged(width) {
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

    /// `mul` by the scale or `add` of the bias, in the input's dtype, named as coremltools names them.
    #[allow(clippy::too_many_arguments)]
    fn pixel_op(
        &mut self,
        op: &str,
        name: &str,
        suffix: &str,
        value: Value,
        written: Option<&'a Expr>,
        ty: &TensorType,
        channels: i64,
    ) -> Option<Value> {
        let Some(e) = written else { return Some(value) };
        let found = self.expr(e, None).val;
        let numbers = found.typed_literal().map(|(l, _)| l).and_then(|l| numbers(&l));
        let list = numbers.filter(|n| n.len() == 1 || (op == "add" && n.len() as i64 == channels));
        let Some(list) = list else {
            if !found.is_poison() {
                let expected = if op == "mul" { "one number".into() } else { format!("one number or {channels}") };
                self.error(e, format!("expected {expected}, found {}", found.describe()));
            }
            return None;
        };
        let neutral = if op == "mul" { 1.0 } else { 0.0 };
        if list.iter().all(|v| *v == neutral) {
            return Some(value);
        }
        let literals = |values: Vec<f64>| values.into_iter().map(Literal::Float);
        let literal = match (op, channels) {
            ("mul", _) | (_, 1) => Literal::Float(list[0]),
            _ => {
                let all = if list.len() == 1 { vec![list[0]; 3] } else { list };
                let planes = literals(all).map(|l| Literal::List(vec![Literal::List(vec![l])])).collect();
                Literal::List(vec![Literal::List(planes)])
            }
        };
        let dtype: DType = ty.dtype;
        let constant = match literal.constant(dtype) {
            Ok(c) => c,
            Err(message) => {
                self.error(e, message);
                return None;
            }
        };
        let def = self.find_op(op, Place::of(e))?;
        let operands = vec![("x", Operand::Value(value)), ("y", Operand::Constant(constant))];
        match self.graph.push_op(def, operands, Some(&format!("{name}__{suffix}__")), None) {
            Ok(values) => values.into_iter().next(),
            Err(error) => {
                self.error(e, error);
                None
            }
        }
    }
}

fn numbers(literal: &Literal) -> Option<Vec<f64>> {
    match literal {
        Literal::Int(n) => Some(vec![*n as f64]),
        Literal::Float(v) => Some(vec![*v]),
        Literal::List(items) => {
            let each: Option<Vec<_>> = items.iter().map(numbers).collect();
            Some(each?.concat())
        }
        _ => None,
    }
}
