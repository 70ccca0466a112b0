//! `#[image(RGB, scale = 1.0 / 255.0, bias = [..])]`: an input that the caller hands over as a picture.

use mil_core::{
    graph::Value,
    ir::{Literal, feature::ColorSpace},
    op::{OpError, Operand},
    types::{DType, TensorType},
};
use syn::{Expr, Ident, Token, parse::ParseStream};

use super::Lower;
use crate::{diag::Place, suggest, value::Val};

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
    fn color(&mut self, name: &Ident) -> Option<ColorSpace> {
        let all = [
            ("RGB", ColorSpace::Rgb),
            ("BGR", ColorSpace::Bgr),
            ("Grayscale", ColorSpace::Grayscale),
            ("GrayscaleF16", ColorSpace::GrayscaleF16),
        ];
        let found = all.iter().find(|(word, _)| name == word).map(|(_, color)| *color);
        if found.is_none() {
            let words = all.map(|(word, _)| format!("`{word}`")).join(", ");
            self.error(name, format!("there is no color layout `{name}`; it is one of {words}"));
        }
        found
    }

    /// Describes the input as an image and scales its pixels; gives the value that the program sees.
    pub(super) fn image(&mut self, name: &str, value: &Value, attr: &'a ImageAttr, ty_at: Place) -> Option<Value> {
        let color = self.color(&attr.color)?;
        let ty = value.tensor_type()?.clone();
        let channels = if matches!(color, ColorSpace::Rgb | ColorSpace::Bgr) { 3 } else { 1 };
        if let Err(e) = self.graph.set_image(value, color) {
            self.error_at(ty_at, misfit(&attr.color, &e));
            return None;
        }
        let scaled = self.pixel_op("mul", name, "scaled", value.clone(), attr.scale.as_ref(), &ty, channels);
        self.pixel_op("add", name, "biased", scaled?, attr.bias.as_ref(), &ty, channels)
    }

    /// `#[image(RGB)] let y = ..;`: the output is given as a picture.
    pub(super) fn output_image(&mut self, attr: &ImageAttr, val: &Val, at: Place) {
        if let Some(e) = attr.scale.as_ref().or(attr.bias.as_ref()) {
            self.error(e, "an output's pixels are what the program gives: scale them there");
        }
        let Val::Value(value) = val else {
            if !val.is_poison() {
                self.error_at(at, format!("an image is a tensor, found {}", val.describe()));
            }
            return;
        };
        if let Some(color) = self.color(&attr.color)
            && let Err(e) = self.graph.set_image(value, color)
        {
            self.error_at(at, misfit(&attr.color, &e));
        }
    }

    /// `#[default(0.5)]`: the input may be left out.
    pub(super) fn default(&mut self, value: &Value, e: &'a Expr) {
        let found = self.expr(e, None).val;
        let number = found.typed_literal().map(|(l, _)| l).and_then(|l| match l {
            Literal::Int(n) => Some(n as f64),
            Literal::Float(v) => Some(v),
            _ => None,
        });
        match number.map(|n| self.graph.set_default(value, n)) {
            Some(Ok(())) => {}
            Some(Err(error)) => {
                self.error(e, error.message);
            }
            None if found.is_poison() => {}
            None => {
                self.error(e, format!("a default is one number, found {}", found.describe()));
            }
        }
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

/// Why this is no such image.
fn misfit(color: &Ident, e: &OpError) -> String {
    let note = e.note.as_ref().map_or(String::new(), |note| format!("\n{note}"));
    format!("`{color}`: {}{note}", e.message)
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
