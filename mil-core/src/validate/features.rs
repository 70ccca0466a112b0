//! Descriptions of inputs, outputs and states against the function itself.
//!
//! Core ML: "Model input 'x' has a different shape than its corresponding parameter to main". A list of descriptions that
//! is empty is derived from the types when the program is written, and agrees by construction.

use std::collections::HashSet;

use super::report::Report;
use crate::{
    ir::{
        Feature, Function, ValueId,
        feature::{ArrayFeature, ArrayFlexibility, ColorSpace, FeatureKind, ImageFeature, ImageFlexibility},
    },
    types::{Dim, Opset, TensorType, Type},
};

const REMEDY: &str = "correct the description, or clear it to have it derived from the types";

/// One list of descriptions with the values it is of.
struct Side<'a> {
    what: &'static str,
    features: &'a [Feature],
    values: Vec<ValueId>,
}

fn sides(f: &Function) -> [Side<'_>; 3] {
    let is_state = |id: &ValueId| matches!(f.value(*id).ty, Type::State(_));
    let inputs = |states: bool| f.inputs.iter().copied().filter(|id| is_state(id) == states).collect();
    [
        Side { what: "input", features: &f.input_features, values: inputs(false) },
        Side { what: "state", features: &f.state_features, values: inputs(true) },
        Side { what: "output", features: &f.output_features, values: f.outputs().to_vec() },
    ]
}

/// Each description with its value.
fn pairs<'a>(f: &'a Function, side: &'a Side<'a>) -> impl Iterator<Item = (&'a Feature, ValueId)> {
    let find = |feature: &Feature| side.values.iter().copied().find(|id| f.value(*id).name == feature.name);
    side.features.iter().filter_map(move |feature| Some((feature, find(feature)?)))
}

/// Every input, output and state is described, once, and nothing else is.
pub(super) fn names(f: &Function, report: &mut Report<'_>) {
    for side in sides(f).iter().filter(|side| !side.features.is_empty()) {
        let what = side.what;
        let mut described = HashSet::new();
        for feature in side.features {
            let name = feature.name.escape_debug();
            if !side.values.iter().any(|id| f.value(*id).name == feature.name) {
                report.whole(format!("the description has the {what} `{name}`, the function does not"), REMEDY);
            } else if !described.insert(&feature.name[..]) {
                report.whole(format!("the {what} `{name}` is described twice"), REMEDY);
            }
        }
        for id in side.values.iter().filter(|id| !described.contains(&f.value(**id).name[..])) {
            report.whole(format!("the {what} `{}` is not described", f.value(*id).name.escape_debug()), REMEDY);
        }
    }
}

/// Arrays have the dtype, the default size and the flexible sizes that the function's types allow, and the kind of a
/// description is the kind of the value.
pub(super) fn arrays(f: &Function, report: &mut Report<'_>) {
    for side in &sides(f) {
        for (feature, id) in pairs(f, side) {
            let (what, name) = (side.what, feature.name.escape_debug());
            let found = match (&feature.kind, &f.value(id).ty) {
                (FeatureKind::Array(a), Type::Tensor(t)) => array(a, t, what == "output"),
                (FeatureKind::State(a), Type::State(t)) => array(a, t, false),
                (FeatureKind::Image(_), Type::Tensor(_)) => vec![], // see `images`
                (FeatureKind::Int64 | FeatureKind::String | FeatureKind::Double, Type::Tensor(t)) if t.rank() == 0 => {
                    vec![]
                }
                (FeatureKind::Dictionary { .. }, Type::Dictionary(..)) => vec![],
                (FeatureKind::Sequence { .. }, Type::List(..)) => vec![],
                (_, ty) => vec![format!("it is described as another kind of thing than {ty}")],
            };
            for message in found {
                report.whole(format!("the {what} `{name}`: {message}"), REMEDY);
            }
        }
    }
}

fn array(a: &ArrayFeature, t: &TensorType, output: bool) -> Vec<String> {
    let mut found = vec![];
    if a.dtype != Some(t.dtype) {
        let described = a.dtype.map_or("of no dtype".into(), |d| format!("of {d}"));
        found.push(format!("it is described as {described}, the function has {}", t.dtype));
    }
    // A scalar is handed over as an array of one element; an output may leave its size open.
    if t.rank() == 0 {
        if !matches!(a.shape[..], [] | [1]) {
            found.push(format!("it is described with size {:?}, the function has a scalar", a.shape));
        }
        return found;
    }
    if output && a.shape.is_empty() {
        return found;
    }
    let fits = |shape: &[i64]| {
        shape.len() == t.rank() && shape.iter().zip(t.shape.iter()).all(|(n, d)| d.may_equal(&Dim::from(*n)))
    };
    if !fits(&a.shape) {
        found.push(format!("it is described with size {:?}, the function has {}", a.shape, t.shape));
        return found;
    }
    if !output && a.shape.iter().any(|n| *n <= 0) {
        found.push(format!("its default size {:?} is not positive", a.shape));
    }
    match &a.flexibility {
        ArrayFlexibility::Fixed => {
            if !output && t.shape.fixed().is_none() {
                found.push(format!("it is described with the fixed size {:?}, the function has {}", a.shape, t.shape));
            }
        }
        ArrayFlexibility::Enumerated(shapes) => {
            if !shapes.contains(&a.shape) {
                found.push(format!("its default size {:?} is not among its enumerated sizes", a.shape));
            }
            for shape in shapes.iter().filter(|s| !fits(s)) {
                found.push(format!("the enumerated size {shape:?} does not fit {}", t.shape));
            }
        }
        ArrayFlexibility::Range(ranges) => found.extend(range(ranges, &a.shape, t)),
    }
    found
}

fn range(ranges: &[(u64, i64)], default: &[i64], t: &TensorType) -> Vec<String> {
    if ranges.len() != t.rank() {
        return vec![format!("it has {} ranges for {} dimensions", ranges.len(), t.rank())];
    }
    let mut found = vec![];
    for (i, ((&(min, max), dim), default)) in ranges.iter().zip(t.shape.iter()).zip(default).enumerate() {
        let min = i64::try_from(min).unwrap_or(i64::MAX);
        let max = (max >= 0).then_some(max); // -1: no bound
        let (least, most) = dim.bounds();
        let written = format!("the range {min}..{}", max.map_or(String::new(), |max| format!("={max}")));
        if max.is_some_and(|max| max < min) {
            found.push(format!("{written} of dimension {i} is empty"));
        } else if *default < min || max.is_some_and(|max| *default > max) {
            found.push(format!("its default size {default} of dimension {i} is not in {written}"));
        } else if least.is_some_and(|least| min < least) || most.is_some_and(|most| max.is_none_or(|max| max > most)) {
            found.push(format!("{written} of dimension {i} is wider than the function's {dim}"));
        }
    }
    found
}

/// No input or state is of size 0: Core ML wants positive sizes, whatever the description says.
pub(super) fn empty_inputs(f: &Function, report: &mut Report<'_>) {
    for id in &f.inputs {
        let value = f.value(*id);
        let (Type::Tensor(t) | Type::State(t)) = &value.ty else { continue };
        if t.shape.iter().any(|d| d.is(0)) {
            let message = format!("the input `{}` has no elements: {}", value.name.escape_debug(), value.ty);
            report.whole(message, "give every dimension a size of 1 or more");
        }
    }
}

/// A state is not optional: it is always there.
///
/// Source: coremltools' `InterfaceValidators.cpp`.
pub(super) fn optional_states(f: &Function, report: &mut Report<'_>) {
    for state in f.state_features.iter().filter(|s| s.optional) {
        let message = format!("the state `{}` is described as optional", state.name.escape_debug());
        report.whole(message, "a state is always there; do not mark it as optional");
    }
}

/// Images are tensors `[1, channels, height, width]` with as many channels as the color layout has, of the described
/// sizes; 16-bit gray needs iOS16.
pub(super) fn images(f: &Function, report: &mut Report<'_>) {
    for side in &sides(f) {
        for (feature, id) in pairs(f, side) {
            let (FeatureKind::Image(image), Type::Tensor(t)) = (&feature.kind, &f.value(id).ty) else { continue };
            let place = format!("the image {} `{}`", side.what, feature.name.escape_debug());
            if let Some(message) = image_misfit(image, t) {
                report.whole(format!("{place}: {message}"), REMEDY);
            }
            if image.color == ColorSpace::GrayscaleF16 && f.opset < Opset::iOS16 {
                report
                    .whole(format!("{place}: 16-bit gray needs opset iOS16, found {}", f.opset), "set `opset = iOS16`");
            }
        }
    }
}

fn image_misfit(image: &ImageFeature, t: &TensorType) -> Option<String> {
    let channels = match image.color {
        ColorSpace::Unspecified => return Some("its color layout is not described".into()),
        ColorSpace::Grayscale | ColorSpace::GrayscaleF16 => 1,
        ColorSpace::Rgb | ColorSpace::Bgr => 3,
    };
    let expected = [1, channels, image.height, image.width];
    let fits = |shape: &[i64; 4]| t.shape.iter().zip(shape).all(|(d, n)| d.may_equal(&Dim::from(*n)));
    if t.rank() != 4 || !fits(&expected) {
        return Some(format!("it is described with size {expected:?}, the function has {}", t.shape));
    }
    let size = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
    match &image.flexibility {
        ImageFlexibility::Fixed => {
            let message = || format!("it is described with the fixed size {expected:?}, the function has {}", t.shape);
            t.shape[2..].iter().any(|d| d.value().is_none()).then(message)
        }
        ImageFlexibility::Enumerated(sizes) => {
            let bad = sizes.iter().find(|(w, h)| !fits(&[1, channels, size(*h), size(*w)]));
            bad.map(|(w, h)| format!("the enumerated size {w} x {h} does not fit {}", t.shape))
        }
        ImageFlexibility::Range { width, height } => {
            let whole = [(1, 1), (channels as u64, channels), *height, *width];
            range(&whole, &expected, t).into_iter().next()
        }
    }
}

/// Several inputs of enumerated sizes need iOS18, and equally many sizes each: the first of one goes with the first of the
/// other.
///
/// Source: coremltools' check before conversion.
pub(super) fn enumerated(f: &Function, report: &mut Report<'_>) {
    let count = |id: &ValueId| {
        let value = f.value(*id);
        let derived = || crate::spec::feature_of_type(&value.name, &value.ty, false).ok();
        let described = f.input_features.iter().find(|d| d.name == value.name).cloned();
        match described.or_else(derived)?.kind {
            FeatureKind::Array(ArrayFeature { flexibility: ArrayFlexibility::Enumerated(all), .. }) => Some(all.len()),
            FeatureKind::Image(ImageFeature { flexibility: ImageFlexibility::Enumerated(all), .. }) => Some(all.len()),
            _ => None,
        }
    };
    let tensors = f.inputs.iter().filter(|id| f.value(**id).ty.tensor().is_some());
    let found: Vec<(ValueId, usize)> = tensors.filter_map(|id| Some((*id, count(id)?))).collect();
    let [(first, sizes), .., (last, _)] = found[..] else { return };
    let name = |id: ValueId| f.value(id).name.escape_debug();
    if f.opset < Opset::iOS18 {
        let message = format!(
            "the inputs `{}` and `{}` are of enumerated sizes, which several can be since iOS18",
            name(first),
            name(last)
        );
        report.whole(message, "set `opset = iOS18`, or use ranges");
    }
    if let Some((other, n)) = found.iter().find(|(_, n)| *n != sizes) {
        let message =
            format!("the input `{}` has {sizes} enumerated sizes but `{}` has {n}", name(first), name(*other));
        report.whole(message, "give both equally many, or use ranges");
    }
}
