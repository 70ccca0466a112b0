//! Descriptions of inputs, outputs and states <-> messages.

use super::{
    self as spec, SpecError, array_feature_type as array, feature_type::Type as T, image_feature_type as image,
};
use crate::{
    ir::{
        Feature,
        feature::{
            ArrayFeature, ArrayFlexibility, ColorSpace, DefaultValue, FeatureKind, ImageFeature, ImageFlexibility,
        },
    },
    types::{DType, Dim, Domain, TensorType, Type},
};

const ARRAY_DTYPES: [(DType, array::ArrayDataType); 5] = [
    (DType::F32, array::ArrayDataType::Float32),
    (DType::F64, array::ArrayDataType::Double),
    (DType::I32, array::ArrayDataType::Int32),
    (DType::F16, array::ArrayDataType::Float16),
    (DType::I8, array::ArrayDataType::Int8),
];

const COLORS: [(ColorSpace, image::ColorSpace); 5] = [
    (ColorSpace::Unspecified, image::ColorSpace::InvalidColorSpace),
    (ColorSpace::Grayscale, image::ColorSpace::Grayscale),
    (ColorSpace::Rgb, image::ColorSpace::Rgb),
    (ColorSpace::Bgr, image::ColorSpace::Bgr),
    (ColorSpace::GrayscaleF16, image::ColorSpace::GrayscaleFloat16),
];

/// A model has at most 128 enumerated shapes (Core ML's limit); files are read a little more leniently.
const MAX_ENUMERATED: usize = 128;
const MAX_ENUMERATED_READ: usize = 4096;

fn enumerated(count: usize) -> Result<(), SpecError> {
    if count <= MAX_ENUMERATED_READ {
        return Ok(());
    }
    Err(SpecError::new(format!("{count} enumerated sizes are too many; Core ML takes {MAX_ENUMERATED}, use a range")))
}

/// The description of a value by its type alone.
///
/// # Errors
/// If no description can say this type: inputs and outputs of a model are f32, i32, f16 (since iOS16) or i8 (iOS26); outputs
/// also the label and the dictionary of a classifier.
pub fn by_type(name: &str, ty: &Type, output: bool) -> Result<Feature, SpecError> {
    let feature = |kind| Feature { name: name.into(), description: String::new(), optional: false, kind };
    let (t, state) = match ty {
        // A classifier's label, and its probabilities.
        Type::Tensor(t) if output && t.rank() == 0 && t.dtype == DType::String => {
            return Ok(feature(FeatureKind::String));
        }
        Type::Tensor(t) if output && t.rank() == 0 && t.dtype == DType::I64 => return Ok(feature(FeatureKind::Int64)),
        Type::Dictionary(key, _) if output => {
            let int_keys = key.tensor().is_some_and(|k| k.dtype == DType::I64);
            return Ok(feature(FeatureKind::Dictionary { int_keys }));
        }
        Type::Tensor(t) => (t, false),
        Type::State(t) => (t, true),
        other => return Err(SpecError::new(format!("`{name}` is {other}; a model's inputs and outputs are tensors"))),
    };
    if !ARRAY_DTYPES.iter().any(|(d, _)| *d == t.dtype) {
        let message =
            format!("`{name}` is {ty}; a model's inputs and outputs are of f32, f16, i32 or i8: add a `mb::cast`");
        return Err(SpecError::new(message));
    }
    let array = ArrayFeature { dtype: Some(t.dtype), ..if output { output_sizes(t) } else { input_sizes(t) } };
    Ok(feature(if state { FeatureKind::State(array) } else { FeatureKind::Array(array) }))
}

/// Outputs of unknown size, and scalars, have no shape in the description.
fn output_sizes(t: &TensorType) -> ArrayFeature {
    let shape = t.shape.iter().map(Dim::value).collect::<Option<Vec<_>>>().unwrap_or_default();
    ArrayFeature { shape, ..ArrayFeature::default() }
}

fn input_sizes(t: &TensorType) -> ArrayFeature {
    if t.rank() == 0 {
        return ArrayFeature { shape: vec![1], ..ArrayFeature::default() };
    }
    let default = |d: &Dim| d.eval(&|s| Some(default_size(s.domain()))).unwrap_or(1);
    let shape: Vec<i64> = t.shape.iter().map(default).collect();
    let symbols: std::collections::BTreeSet<_> = t.shape.iter().flat_map(Dim::symbols).collect();
    if symbols.is_empty() {
        return ArrayFeature { shape, ..ArrayFeature::default() };
    }
    // Enumerated sizes can be said only if every symbol is one of a list; then all combinations are allowed. With a
    // range among them, or too many combinations, the description says ranges, which are wider.
    let mut sizes: Vec<Vec<(&crate::types::Symbol, i64)>> = vec![vec![]];
    let count = |s: &crate::types::Symbol| match s.domain() {
        Domain::OneOf(list) => Some(list.len()),
        Domain::Range { .. } => None,
    };
    let combinations = symbols.iter().try_fold(1usize, |n, s| n.checked_mul(count(s)?));
    let lists = combinations.is_some_and(|n| n <= MAX_ENUMERATED);
    if lists {
        for s in &symbols {
            let Domain::OneOf(list) = s.domain() else { continue };
            sizes = sizes.iter().flat_map(|c| list.iter().map(move |n| [&c[..], &[(s, *n)]].concat())).collect();
        }
        let at = |combination: &Vec<(&crate::types::Symbol, i64)>| -> Vec<i64> {
            let find = |s: &crate::types::Symbol| combination.iter().find(|(t, _)| *t == s).map(|(_, n)| *n);
            t.shape.iter().map(|d| d.eval(&find).unwrap_or(1)).collect()
        };
        let shapes = sizes.iter().map(at).collect();
        return ArrayFeature { shape, flexibility: ArrayFlexibility::Enumerated(shapes), ..ArrayFeature::default() };
    }
    let range = |d: &Dim| {
        let (min, max) = d.bounds();
        (min.unwrap_or(1).max(if d.value().is_some() { 0 } else { 1 }) as u64, max.unwrap_or(-1))
    };
    let ranges = t.shape.iter().map(range).collect();
    ArrayFeature { shape, flexibility: ArrayFlexibility::Range(ranges), ..ArrayFeature::default() }
}

fn default_size(domain: &Domain) -> i64 {
    match domain {
        Domain::Range { min, .. } => (*min).max(1),
        Domain::OneOf(sizes) => sizes.first().copied().unwrap_or(1),
    }
}

/// The domains of a function input's dimensions, by its description; `None` where it says nothing of them.
pub(crate) fn domains(feature: &Feature, rank: usize) -> Vec<Option<Domain>> {
    let span =
        |(min, max): (u64, i64)| Domain::Range { min: min.min(i64::MAX as u64) as i64, max: (max >= 0).then_some(max) };
    let one_of = |sizes: &mut dyn Iterator<Item = i64>| {
        let mut seen = std::collections::HashSet::new();
        Domain::OneOf(sizes.filter(|s| seen.insert(*s)).collect())
    };
    let by_dim: Vec<Domain> = match &feature.kind {
        FeatureKind::Array(a) | FeatureKind::State(a) => match &a.flexibility {
            ArrayFlexibility::Fixed => vec![],
            ArrayFlexibility::Range(ranges) => ranges.iter().copied().map(span).collect(),
            ArrayFlexibility::Enumerated(shapes) => {
                let fitting = || shapes.iter().filter(|s| s.len() == rank);
                (0..rank).map(|i| one_of(&mut fitting().map(|s| s[i]))).collect()
            }
        },
        FeatureKind::Image(i) if rank == 4 => {
            let fixed = Domain::Range { min: 1, max: None };
            let (w, h) = match &i.flexibility {
                ImageFlexibility::Fixed => return vec![None; rank],
                ImageFlexibility::Range { width, height } => (span(*width), span(*height)),
                ImageFlexibility::Enumerated(sizes) => {
                    (one_of(&mut sizes.iter().map(|s| s.0 as i64)), one_of(&mut sizes.iter().map(|s| s.1 as i64)))
                }
            };
            vec![fixed.clone(), fixed, h, w]
        }
        _ => vec![],
    };
    let usable = |d: Domain| match &d {
        Domain::OneOf(sizes) if sizes.is_empty() => None,
        Domain::Range { min, max: Some(max) } if max < min => None,
        _ => Some(d),
    };
    if by_dim.len() == rank { by_dim.into_iter().map(usable).collect() } else { vec![None; rank] }
}

/// A description as a message.
pub(crate) fn write(f: &Feature) -> spec::FeatureDescription {
    let kind = match &f.kind {
        FeatureKind::Int64 => T::Int64Type(spec::Int64FeatureType {}),
        FeatureKind::Double => T::DoubleType(spec::DoubleFeatureType {}),
        FeatureKind::String => T::StringType(spec::StringFeatureType {}),
        FeatureKind::Image(i) => T::ImageType(write_image(i)),
        FeatureKind::Array(a) => T::MultiArrayType(write_array(a)),
        FeatureKind::Dictionary { int_keys } => {
            use spec::dictionary_feature_type::KeyType;
            let key_type = Some(match int_keys {
                true => KeyType::Int64KeyType(spec::Int64FeatureType {}),
                false => KeyType::StringKeyType(spec::StringFeatureType {}),
            });
            T::DictionaryType(spec::DictionaryFeatureType { key_type })
        }
        FeatureKind::Sequence { ints, length } => {
            use spec::sequence_feature_type::Type;
            let r#type = Some(match ints {
                true => Type::Int64Type(spec::Int64FeatureType {}),
                false => Type::StringType(spec::StringFeatureType {}),
            });
            T::SequenceType(spec::SequenceFeatureType { r#type, size_range: length.map(size_range) })
        }
        FeatureKind::State(a) => {
            let r#type = Some(spec::state_feature_type::Type::ArrayType(write_array(a)));
            T::StateType(spec::StateFeatureType { r#type })
        }
    };
    spec::FeatureDescription {
        name: f.name.clone(),
        short_description: f.description.clone(),
        r#type: Some(spec::FeatureType { is_optional: f.optional, r#type: Some(kind) }),
    }
}

fn size_range((lower_bound, upper_bound): (u64, i64)) -> spec::SizeRange {
    spec::SizeRange { lower_bound, upper_bound }
}

fn read_range(r: &spec::SizeRange) -> (u64, i64) {
    (r.lower_bound, r.upper_bound)
}

fn write_array(a: &ArrayFeature) -> spec::ArrayFeatureType {
    use array::{DefaultOptionalValue as D, ShapeFlexibility as F};
    let data_type = ARRAY_DTYPES.iter().find(|(d, _)| Some(*d) == a.dtype).map_or(0, |(_, n)| *n as i32);
    let shape_flexibility = match &a.flexibility {
        ArrayFlexibility::Fixed => None,
        ArrayFlexibility::Enumerated(shapes) => {
            let shapes = shapes.iter().map(|s| array::Shape { shape: s.clone() }).collect();
            Some(F::EnumeratedShapes(array::EnumeratedShapes { shapes }))
        }
        ArrayFlexibility::Range(ranges) => {
            let size_ranges = ranges.iter().copied().map(size_range).collect();
            Some(F::ShapeRange(array::ShapeRange { size_ranges }))
        }
    };
    let default_optional_value = a.default.map(|d| match d {
        DefaultValue::Int(v) => D::IntDefaultValue(v),
        DefaultValue::Float(v) => D::FloatDefaultValue(v),
        DefaultValue::Double(v) => D::DoubleDefaultValue(v),
    });
    spec::ArrayFeatureType { shape: a.shape.clone(), data_type, shape_flexibility, default_optional_value }
}

fn write_image(i: &ImageFeature) -> spec::ImageFeatureType {
    use image::SizeFlexibility as F;
    let color_space = COLORS.iter().find(|(c, _)| *c == i.color).map_or(0, |(_, n)| *n as i32);
    let size_flexibility = match &i.flexibility {
        ImageFlexibility::Fixed => None,
        ImageFlexibility::Enumerated(sizes) => {
            let sizes = sizes.iter().map(|&(width, height)| image::ImageSize { width, height }).collect();
            Some(F::EnumeratedSizes(image::EnumeratedImageSizes { sizes }))
        }
        ImageFlexibility::Range { width, height } => {
            let (width_range, height_range) = (Some(size_range(*width)), Some(size_range(*height)));
            Some(F::ImageSizeRange(image::ImageSizeRange { width_range, height_range }))
        }
    };
    spec::ImageFeatureType { width: i.width, height: i.height, color_space, size_flexibility }
}

/// A description out of a message.
///
/// # Errors
/// If it is incomplete.
pub fn read(f: &spec::FeatureDescription) -> Result<Feature, SpecError> {
    let missing = || SpecError::new("the description is incomplete").inside(format!("feature `{}`", f.name));
    let ty = f.r#type.as_ref().ok_or_else(missing)?;
    let kind = match ty.r#type.as_ref().ok_or_else(missing)? {
        T::Int64Type(_) => FeatureKind::Int64,
        T::DoubleType(_) => FeatureKind::Double,
        T::StringType(_) => FeatureKind::String,
        T::ImageType(i) => FeatureKind::Image(read_image(i)?),
        T::MultiArrayType(a) => FeatureKind::Array(read_array(a)?),
        T::DictionaryType(d) => {
            use spec::dictionary_feature_type::KeyType;
            let int_keys = matches!(d.key_type.as_ref().ok_or_else(missing)?, KeyType::Int64KeyType(_));
            FeatureKind::Dictionary { int_keys }
        }
        T::SequenceType(s) => {
            use spec::sequence_feature_type::Type;
            let ints = matches!(s.r#type.as_ref().ok_or_else(missing)?, Type::Int64Type(_));
            FeatureKind::Sequence { ints, length: s.size_range.as_ref().map(read_range) }
        }
        T::StateType(s) => {
            let spec::state_feature_type::Type::ArrayType(a) = s.r#type.as_ref().ok_or_else(missing)?;
            FeatureKind::State(read_array(a)?)
        }
    };
    Ok(Feature { name: f.name.clone(), description: f.short_description.clone(), optional: ty.is_optional, kind })
}

fn read_array(a: &spec::ArrayFeatureType) -> Result<ArrayFeature, SpecError> {
    use array::{DefaultOptionalValue as D, ShapeFlexibility as F};
    let dtype = match a.data_type {
        0 => None,
        n => {
            let found = ARRAY_DTYPES.iter().find(|(_, code)| *code as i32 == n).map(|(d, _)| *d);
            Some(found.ok_or_else(|| SpecError::new(format!("{n} is no array data type")))?)
        }
    };
    let flexibility = match &a.shape_flexibility {
        None => ArrayFlexibility::Fixed,
        Some(F::EnumeratedShapes(e)) => {
            enumerated(e.shapes.len())?;
            ArrayFlexibility::Enumerated(e.shapes.iter().map(|s| s.shape.clone()).collect())
        }
        Some(F::ShapeRange(r)) => ArrayFlexibility::Range(r.size_ranges.iter().map(read_range).collect()),
    };
    let default = a.default_optional_value.as_ref().map(|d| match d {
        D::IntDefaultValue(v) => DefaultValue::Int(*v),
        D::FloatDefaultValue(v) => DefaultValue::Float(*v),
        D::DoubleDefaultValue(v) => DefaultValue::Double(*v),
    });
    Ok(ArrayFeature { dtype, shape: a.shape.clone(), flexibility, default })
}

fn read_image(i: &spec::ImageFeatureType) -> Result<ImageFeature, SpecError> {
    use image::SizeFlexibility as F;
    let color = COLORS.iter().find(|(_, n)| *n as i32 == i.color_space).map_or(ColorSpace::Unspecified, |(c, _)| *c);
    let range = |r: &Option<spec::SizeRange>| r.as_ref().map_or((0, -1), read_range);
    let flexibility = match &i.size_flexibility {
        None => ImageFlexibility::Fixed,
        Some(F::EnumeratedSizes(e)) => {
            enumerated(e.sizes.len())?;
            ImageFlexibility::Enumerated(e.sizes.iter().map(|s| (s.width, s.height)).collect())
        }
        Some(F::ImageSizeRange(r)) => {
            ImageFlexibility::Range { width: range(&r.width_range), height: range(&r.height_range) }
        }
    };
    Ok(ImageFeature { width: i.width, height: i.height, color, flexibility })
}
