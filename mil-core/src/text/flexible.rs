//! `FlexibleShapeInformation`: what the compiler writes at a function of the sizes that its inputs may have.
//!
//! ```text
//! tuple<tuple<string, dict<string, tensor<int32, [?]>>>, tuple<string, dict<string, list<tensor<int32, [2]>, ?>>>>
//!     ((("DefaultShapes", {{"x", [1, 4]}}), ("RangeDims", {{"x", [[1, 8], [4, 4]]}})))
//! tuple<tuple<string, dict<string, tensor<int32, [?]>>>, tuple<string, dict<string, dict<string, tensor<int32, [?]>>>>>
//!     ((("DefaultShapes", {{"x", [4]}}), ("EnumeratedShapes", {{"543d0f94", {{"x", [1]}}}, {"9e38c1a4", {{"x", [4]}}}})))
//! ```
//!
//! In a package the description says this, and so it does here once the text is read. The compiler names enumerated
//! shapes by a hash; here they are numbered.

use std::collections::BTreeMap;

use crate::{
    ir::{
        Attribute, Constant, Feature, Function, ValueData,
        feature::{ArrayFeature, ArrayFlexibility, FeatureKind},
    },
    spec::{
        self, feature_of_type,
        features::write,
        mil,
        types::{Unknowns, read_type},
    },
    types::{DType, Dim, TensorType, Type},
};

pub(super) const ATTRIBUTE: &str = "FlexibleShapeInformation";
const DEFAULTS: &str = "DefaultShapes";
const RANGES: &str = "RangeDims";
const ENUMERATED: &str = "EnumeratedShapes";

/// Sizes by the names of inputs.
#[derive(Clone, PartialEq, Debug, Default)]
pub(super) struct Flexible {
    defaults: BTreeMap<String, Vec<i64>>,
    sizes: BTreeMap<String, ArrayFlexibility>,
}

/// What the attribute says; `None` if it is not what the compiler writes.
pub(super) fn read(attribute: &Attribute) -> Option<Flexible> {
    let Attribute::Tuple(items) = attribute else { return None };
    let mut found = Flexible::default();
    for item in items {
        let Attribute::Tuple(pair) = item else { return None };
        let [Attribute::Tensor(key), Attribute::Dictionary { entries, .. }] = &pair[..] else { return None };
        match text(key)? {
            DEFAULTS => {
                for (name, shape) in entries {
                    found.defaults.insert(text(tensor(name)?)?.to_string(), tensor(shape)?.ints()?);
                }
            }
            RANGES => {
                for (name, ranges) in entries {
                    let Attribute::List(_, ranges) = ranges else { return None };
                    let range = |a: &Attribute| match tensor(a)?.ints()?[..] {
                        [min, max] => Some((u64::try_from(min).ok()?, max.max(-1))),
                        _ => None,
                    };
                    let ranges = ArrayFlexibility::Range(ranges.iter().map(range).collect::<Option<_>>()?);
                    found.sizes.insert(text(tensor(name)?)?.to_string(), ranges);
                }
            }
            ENUMERATED => {
                let mut shapes: BTreeMap<String, Vec<Vec<i64>>> = BTreeMap::new();
                for (_, combination) in entries {
                    let Attribute::Dictionary { entries, .. } = combination else { return None };
                    for (name, shape) in entries {
                        let name = text(tensor(name)?)?.to_string();
                        shapes.entry(name).or_default().push(tensor(shape)?.ints()?);
                    }
                }
                found.sizes.extend(shapes.into_iter().map(|(name, all)| (name, ArrayFlexibility::Enumerated(all))));
            }
            _ => return None,
        }
    }
    Some(found)
}

fn tensor(a: &Attribute) -> Option<&Constant> {
    match a {
        Attribute::Tensor(c) => Some(c),
        _ => None,
    }
}

fn text(c: &Constant) -> Option<&str> {
    match c.as_strings()? {
        [one] => Some(one),
        _ => None,
    }
}

/// The description of a function's inputs by their types and what was said of their sizes. What no description can say
/// is left out.
pub(super) fn describe(f: &mil::Function, said: &Flexible) -> Vec<spec::FeatureDescription> {
    let one = |input: &mil::NamedValueType| {
        let ty = read_type(input.r#type.as_ref()?, &mut Unknowns::of(&input.name)).ok()?;
        let mut feature = feature_of_type(&input.name, &ty, false).ok()?;
        if let (FeatureKind::Array(array), Some(sizes)) = (&mut feature.kind, said.sizes.get(&input.name)) {
            array.flexibility = sizes.clone();
            array.shape = said.defaults.get(&input.name).unwrap_or(&array.shape).clone();
        }
        // States have a description of their own.
        (!matches!(ty, Type::State(_))).then(|| write(&feature))
    };
    f.inputs.iter().filter_map(one).collect()
}

/// The sizes of an input: as it is described, or else by its type.
fn sizes_of(f: &Function, input: &ValueData) -> Option<ArrayFeature> {
    let flexible = |feature: &Feature| match &feature.kind {
        FeatureKind::Array(a) => match &a.flexibility {
            ArrayFlexibility::Fixed => None,
            ArrayFlexibility::Enumerated(shapes) if shapes.is_empty() => None,
            _ => Some(a.clone()),
        },
        _ => None,
    };
    let described = f.input_features.iter().find(|d| d.name == input.name).and_then(flexible);
    let by_type = || match &input.ty {
        Type::Tensor(_) => flexible(&feature_of_type(&input.name, &input.ty, false).ok()?),
        _ => None,
    };
    described.or_else(by_type)
}

/// The attribute that says which sizes a function's inputs may have; `None` if no input is flexible. Its integers are of
/// 32 bits: a size beyond is the largest of them, and a bound beyond is none.
pub(super) fn attribute(f: &Function) -> Option<Attribute> {
    let inputs = f.inputs.iter().map(|v| f.value(*v));
    let arrays: BTreeMap<&str, ArrayFeature> = inputs.filter_map(|v| Some((&v.name[..], sizes_of(f, v)?))).collect();
    if arrays.is_empty() {
        return None;
    }
    let (mut defaults, mut ranges, mut shapes) = (vec![], vec![], Vec::<Vec<(Attribute, Attribute)>>::new());
    for (name, array) in &arrays {
        defaults.push((string(name), numbers(&array.shape)));
        match &array.flexibility {
            ArrayFlexibility::Fixed => {}
            ArrayFlexibility::Range(all) => {
                let max = |max: i64| if (0..=i64::from(i32::MAX)).contains(&max) { max } else { -1 };
                let range = |r: &(u64, i64)| numbers(&[i64::try_from(r.0).unwrap_or(i64::MAX), max(r.1)]);
                ranges.push((string(name), Attribute::List(pair_type(), all.iter().map(range).collect())));
            }
            ArrayFlexibility::Enumerated(all) => {
                shapes.resize(shapes.len().max(all.len()), vec![]);
                for (combination, shape) in shapes.iter_mut().zip(all) {
                    combination.push((string(name), numbers(shape)));
                }
            }
        }
    }
    let dictionary = |value: Type, entries| Attribute::Dictionary { key: string_type(), value, entries };
    let shape_of_name = Type::Dictionary(Box::new(string_type()), Box::new(shape_type()));
    let mut items = vec![];
    let mut item = |key: &str, value: Attribute| items.push(Attribute::Tuple(vec![string(key), value]));
    item(DEFAULTS, dictionary(shape_type(), defaults));
    if !shapes.is_empty() {
        let number = |(i, all)| (string(&format!("{i:08x}")), dictionary(shape_type(), all));
        item(ENUMERATED, dictionary(shape_of_name, shapes.into_iter().enumerate().map(number).collect()));
    }
    if !ranges.is_empty() {
        item(RANGES, dictionary(Type::List(Box::new(pair_type()), Dim::unknown("length")), ranges));
    }
    Some(Attribute::Tuple(items))
}

fn string(text: &str) -> Attribute {
    Attribute::Tensor(Constant::string(text))
}

fn numbers(all: &[i64]) -> Attribute {
    let narrow = |n: &i64| (*n).clamp(i32::MIN.into(), i32::MAX.into()) as i32;
    Attribute::Tensor(Constant::vector(&all.iter().map(narrow).collect::<Vec<_>>()))
}

fn string_type() -> Type {
    TensorType::scalar(DType::String).into()
}

fn shape_type() -> Type {
    TensorType::new(DType::I32, [Dim::unknown("rank")]).into()
}

fn pair_type() -> Type {
    TensorType::new(DType::I32, [2]).into()
}
