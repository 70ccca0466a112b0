//! What a function takes and gives, and the check of what is handed over.

use std::collections::BTreeMap;

use mil_core::{
    ir::{
        Feature, Function,
        feature::{ArrayFlexibility, DefaultValue, FeatureKind, ImageFeature, ImageFlexibility},
    },
    types::{DType, Dim, Symbol, TensorType, Type},
};

use crate::{error::RunError, outputs::Predicted, tensor::AnyTensor};

/// An input of a model.
#[derive(Clone, Debug)]
pub struct InputInfo {
    /// Its name.
    pub name: String,
    /// Dtype and shape. An image is a tensor `[1, channels, height, width]` of its pixels' values.
    pub ty: TensorType,
    /// A sentence for the reader; may be empty.
    pub description: String,
    /// Whether it may be left out.
    pub optional: bool,
    /// The image that it is described as, if it is one.
    pub image: Option<ImageFeature>,
    /// The only shapes allowed, if there is a list of them; else the type says it all.
    pub shapes: Option<Vec<Vec<usize>>>,
    /// Value and shape of an input that is left out.
    default: Option<(f64, Vec<usize>)>,
    /// The shape that a model of flexible sizes declares as its default.
    pub(crate) default_shape: Option<Vec<usize>>,
}

/// An output of a model.
#[derive(Clone, Debug)]
pub struct OutputInfo {
    /// Its name.
    pub name: String,
    /// Dtype and shape of a tensor, whose dimensions that depend on the inputs are expressions of theirs; or the dictionary
    /// that a classifier gives.
    pub ty: Type,
    /// A sentence for the reader; may be empty.
    pub description: String,
    /// The image that it is described as, if it is one.
    pub image: Option<ImageFeature>,
}

/// A state of a model: a tensor that lives between predictions.
#[derive(Clone, Debug)]
pub struct StateInfo {
    /// Its name.
    pub name: String,
    /// Dtype and shape of what it holds.
    pub ty: TensorType,
    /// A sentence for the reader; may be empty.
    pub description: String,
}

/// What a function takes and gives.
#[derive(Clone, Debug)]
pub(crate) struct Interface {
    pub(crate) function: String,
    pub(crate) inputs: Vec<InputInfo>,
    pub(crate) outputs: Vec<OutputInfo>,
    pub(crate) states: Vec<StateInfo>,
    pub(crate) predicted: Option<Predicted>,
}

/// What may be changed to make an input fit.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Fit {
    /// Nothing.
    Exactly,
    /// The dtype, and rank 0 to `[1]` and back.
    Converting,
}

impl Interface {
    pub(crate) fn of(function: &Function) -> Result<Interface, RunError> {
        let name = function.name.clone();
        let (mut inputs, mut states) = (vec![], vec![]);
        for &id in &function.inputs {
            let value = function.value(id);
            let ty = match &value.ty {
                Type::Tensor(t) => t.clone(),
                Type::State(ty) => {
                    let described = find(&function.state_features, &value.name);
                    let description = described.map_or(String::new(), |d| d.description.clone());
                    states.push(StateInfo { name: value.name.clone(), ty: ty.clone(), description });
                    continue;
                }
                other => return Err(RunError::new(format!("input `{}` is {other}, expected a tensor", value.name))),
            };
            inputs.push(InputInfo::new(&value.name, ty, find(&function.input_features, &value.name)));
        }
        let mut outputs: Vec<OutputInfo> = vec![];
        for &id in function.outputs() {
            let value = function.value(id);
            if !matches!(value.ty, Type::Tensor(_) | Type::Dictionary(..)) {
                let what = format!("output `{}` is {}, expected a tensor", value.name, value.ty);
                return Err(RunError::new(what));
            }
            let described = find(&function.output_features, &value.name);
            let description = described.map_or(String::new(), |d| d.description.clone());
            let image = described.and_then(|d| match &d.kind {
                FeatureKind::Image(image) => Some(image.clone()),
                _ => None,
            });
            // A file may give one value twice.
            if outputs.iter().all(|o| o.name != value.name) {
                outputs.push(OutputInfo { name: value.name.clone(), ty: value.ty.clone(), description, image });
            }
        }
        let predicted = (!function.predicted_feature.is_empty()).then(|| Predicted {
            label: function.predicted_feature.clone(),
            probabilities: function.predicted_probabilities.clone(),
        });
        Ok(Interface { function: name, inputs, outputs, states, predicted })
    }

    /// Checks what was given against what is declared, and fills in the defaults of optional inputs.
    pub(crate) fn accept(
        &self,
        given: impl IntoIterator<Item = (String, AnyTensor)>,
        fit: Fit,
    ) -> Result<BTreeMap<String, AnyTensor>, RunError> {
        let mut inputs = BTreeMap::new();
        for (name, tensor) in given {
            let info = self.input(&name)?;
            let tensor = match fit {
                Fit::Exactly => tensor,
                Fit::Converting => info.fitted(tensor)?,
            };
            if inputs.insert(name, tensor).is_some() {
                return Err(RunError::new(format!("input `{}` is given twice", info.name)));
            }
        }
        let mut sizes = BTreeMap::new();
        for info in &self.inputs {
            if !inputs.contains_key(&info.name) {
                inputs.insert(info.name.clone(), info.left_out()?);
            }
            let tensor = &inputs[&info.name];
            info.check_shape(tensor.dtype(), tensor.shape(), &mut sizes)
                .map_err(|e| if info.ty.dtype == tensor.dtype() { e } else { e.with_hint(CONVERT) })?;
        }
        Ok(inputs)
    }

    /// The input of that name.
    pub(crate) fn input(&self, name: &str) -> Result<&InputInfo, RunError> {
        self.inputs.iter().find(|i| i.name == name).ok_or_else(|| self.unknown(name))
    }

    fn unknown(&self, name: &str) -> RunError {
        let names: Vec<_> = self.inputs.iter().map(|i| format!("`{}`", i.name)).collect();
        let have = match &names[..] {
            [] => "it has no inputs".to_string(),
            [one] => format!("its only input is {one}"),
            many => format!("its inputs are {}", many.join(", ")),
        };
        RunError::new(format!("function `{}` has no input `{name}`; {have}", self.function))
    }
}

const CONVERT: &str = "convert it, or predict with `predict_converting`";

fn find<'a>(features: &'a [Feature], name: &str) -> Option<&'a Feature> {
    features.iter().find(|f| f.name == name)
}

fn sizes(shape: &[i64]) -> Option<Vec<usize>> {
    shape.iter().map(|d| usize::try_from(*d).ok()).collect()
}

impl InputInfo {
    fn new(name: &str, ty: TensorType, feature: Option<&Feature>) -> InputInfo {
        let mut info = InputInfo {
            name: name.into(),
            ty,
            description: String::new(),
            optional: false,
            image: None,
            shapes: None,
            default: None,
            default_shape: None,
        };
        let Some(feature) = feature else { return info };
        (info.description, info.optional) = (feature.description.clone(), feature.optional);
        match &feature.kind {
            FeatureKind::Array(array) => {
                if let ArrayFlexibility::Enumerated(shapes) = &array.flexibility {
                    info.shapes = shapes.iter().map(|s| sizes(s)).collect();
                }
                let shape = info.ty.shape.fixed().or_else(|| sizes(&array.shape));
                let value = array.default.map(|v| match v {
                    DefaultValue::Int(v) => f64::from(v),
                    DefaultValue::Float(v) => f64::from(v),
                    DefaultValue::Double(v) => v,
                });
                info.default = value.zip(shape);
                info.default_shape = sizes(&array.shape);
            }
            FeatureKind::Image(image) => {
                if let (ImageFlexibility::Enumerated(all), [n, c, ..]) = (&image.flexibility, &info.ty.shape[..]) {
                    let shape = |&(w, h): &(u64, u64)| {
                        Some(vec![n.fixed()?, c.fixed()?, usize::try_from(h).ok()?, usize::try_from(w).ok()?])
                    };
                    info.shapes = all.iter().map(shape).collect();
                }
                if let [n, c, ..] = &info.ty.shape[..] {
                    let shape = [n.value(), c.value(), Some(image.height), Some(image.width)];
                    info.default_shape = shape.into_iter().collect::<Option<Vec<_>>>().and_then(|s| sizes(&s));
                }
                info.image = Some(image.clone());
            }
            _ => {}
        }
        info
    }

    /// Checks dtype and shape; sizes of symbols are remembered.
    pub(crate) fn check_shape(
        &self,
        dtype: DType,
        shape: &[usize],
        sizes: &mut BTreeMap<Symbol, i64>,
    ) -> Result<(), RunError> {
        check_shape("input", &self.name, &self.ty.clone().into(), dtype, shape, sizes)?;
        let Some(shapes) = self.shapes.as_ref().filter(|s| s.iter().all(|s| s != shape)) else { return Ok(()) };
        let shapes: Vec<_> = shapes.iter().map(|s| format!("{s:?}")).collect();
        let what = format!("input `{}` is of shape {shape:?}, expected one of {}", self.name, shapes.join(", "));
        Err(RunError::new(what))
    }

    /// The value of an input that was not given.
    fn left_out(&self) -> Result<AnyTensor, RunError> {
        match (&self.default, self.optional) {
            (Some((value, shape)), true) => {
                let dtype = self.ty.dtype;
                let count = crate::tensor::checked_count(dtype, shape)?;
                let one = AnyTensor::scalar(*value).converted(dtype)?;
                AnyTensor::from_bytes(dtype, &shape[..], one.bytes().unwrap_or_default().repeat(count))
            }
            (None, true) => Err(RunError::new(format!(
                "input `{}` is optional, but the model has no default for it; give it a value ({})",
                self.name, self.ty
            ))),
            (_, false) => Err(RunError::new(format!("input `{}` ({}) is missing", self.name, self.ty))),
        }
    }

    /// The tensor as [`Model::predict_converting`](crate::Model::predict_converting) takes it: in the declared dtype; one element of
    /// rank 0 or 1 in the declared rank.
    ///
    /// # Errors
    /// If a number does not fit the declared dtype.
    pub fn fitted(&self, tensor: AnyTensor) -> Result<AnyTensor, RunError> {
        let declared = self.ty.rank();
        let tensor = match (tensor.rank(), tensor.count(), declared) {
            (0, 1, 1) => tensor.reshaped([1])?,
            (1, 1, 0) => tensor.reshaped([])?,
            _ => tensor,
        };
        let fail = |e: RunError| RunError::new(format!("input `{}`: {e}", self.name));
        tensor.converted(self.ty.dtype).map_err(fail)
    }
}

/// Checks dtype and shape, and that a symbol has one size everywhere, which its domain has.
pub(crate) fn check_type(
    what: &str,
    name: &str,
    declared: &Type,
    tensor: &AnyTensor,
    sizes: &mut BTreeMap<Symbol, i64>,
) -> Result<(), RunError> {
    check_shape(what, name, declared, tensor.dtype(), tensor.shape(), sizes)
}

fn check_shape(
    what: &str,
    name: &str,
    declared: &Type,
    dtype: DType,
    shape: &[usize],
    sizes: &mut BTreeMap<Symbol, i64>,
) -> Result<(), RunError> {
    let fail = |why: String| {
        let found = TensorType::new(dtype, shape);
        RunError::new(format!("{what} `{name}` must be {declared}, found {found}{why}"))
    };
    let (Type::Tensor(ty) | Type::State(ty)) = declared else { return Err(fail(String::new())) };
    if ty.dtype != dtype || ty.rank() != shape.len() {
        return Err(fail(String::new()));
    }
    for (dim, &size) in ty.shape.iter().zip(shape) {
        let size = size as i64;
        if let Some(symbol) = dim.as_symbol() {
            if !symbol.domain().contains(size) {
                return Err(fail(format!(" ({symbol:?} must be in {})", symbol.domain())));
            }
            if *sizes.entry(symbol.clone()).or_insert(size) != size {
                return Err(fail(format!(" ({symbol:?} is {} in another dimension)", sizes[symbol])));
            }
        }
        let expected = dim.eval(&|s| sizes.get(s).copied());
        if expected.is_some_and(|e| e != size) {
            return Err(fail(String::new()));
        }
    }
    Ok(())
}

/// Why Core ML cannot take or give this type at a model's boundary, if it cannot (proto: `ArrayFeatureType`).
pub(crate) fn boundary_obstacle(name: &str, ty: &TensorType) -> Option<String> {
    let arrays = [DType::F16, DType::F32, DType::F64, DType::I32, DType::I8];
    if !arrays.contains(&ty.dtype) {
        return Some(format!("`{name}` is {ty}, and Core ML's arrays are of f16, f32, f64, i32 or i8"));
    }
    let empty = ty.shape.iter().any(|d: &Dim| d.is(0));
    empty.then(|| format!("`{name}` is {ty}, and Core ML has no arrays without elements"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use mil_core::{
        graph::Graph,
        ir::feature::{ArrayFeature, ColorSpace},
        mb,
        types::Opset,
    };

    fn function(ty: &str, kind: Option<FeatureKind>, optional: bool) -> Function {
        let mut g = Graph::new("main", Opset::iOS17);
        let x = g.input("x", ty.parse::<TensorType>().unwrap());
        let y = g.push(mb::add(&x, 1)).unwrap();
        let mut f = g.finish([("y", y)]).unwrap().main().unwrap().clone();
        let feature = |kind| Feature { name: "x".into(), description: "the input".into(), optional, kind };
        f.input_features = kind.map(feature).into_iter().collect();
        f
    }

    fn accept(f: &Function, x: Option<AnyTensor>, fit: Fit) -> Result<AnyTensor, String> {
        let given = x.map(|x| ("x".to_string(), x));
        let mut all = Interface::of(f).unwrap().accept(given, fit).map_err(|e| e.to_string())?;
        Ok(all.remove("x").unwrap())
    }

    fn zeros(shape: &[usize]) -> AnyTensor {
        AnyTensor::new(shape, vec![0f32; shape.iter().product()]).unwrap()
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let f = function("Tensor<f32, 2, 3>", None, false);
        assert_eq!(accept(&f, None, Fit::Exactly).unwrap_err(), "input `x` (Tensor<f32, 2, 3>) is missing");
        let e = accept(&f, Some(AnyTensor::new([2, 3], vec![0i32; 6]).unwrap()), Fit::Exactly).unwrap_err();
        assert_eq!(
            e,
            "input `x` must be Tensor<f32, 2, 3>, found Tensor<i32, 2, 3>; convert it, or predict with `predict_converting`"
        );
        let e = accept(&f, Some(zeros(&[3, 2])), Fit::Converting).unwrap_err();
        assert_eq!(e, "input `x` must be Tensor<f32, 2, 3>, found Tensor<f32, 3, 2>");
        let i = Interface::of(&f).unwrap();
        let e = i.accept([("X".to_string(), zeros(&[2, 3]))], Fit::Exactly).unwrap_err();
        assert_eq!(e.to_string(), "function `main` has no input `X`; its only input is `x`");
        let twice = [("x".to_string(), zeros(&[2, 3])), ("x".to_string(), zeros(&[2, 3]))];
        assert_eq!(i.accept(twice, Fit::Exactly).unwrap_err().to_string(), "input `x` is given twice");
    }

    #[test]
    fn conversion_changes_dtype_and_rank_0_only_if_asked() {
        let f = function("Tensor<i32>", None, false);
        let one = AnyTensor::new([1], vec![7f32]).unwrap();
        assert!(accept(&f, Some(one.clone()), Fit::Exactly).is_err());
        assert_eq!(accept(&f, Some(one), Fit::Converting).unwrap(), AnyTensor::scalar(7i32));
        let f = function("Tensor<f16, 1>", None, false);
        let got = accept(&f, Some(AnyTensor::scalar(0.5f64)), Fit::Converting).unwrap();
        assert_eq!(got, AnyTensor::new([1], vec![half::f16::from_f32(0.5)]).unwrap());
        let e = accept(&function("Tensor<i32>", None, false), Some(AnyTensor::scalar(1e10f32)), Fit::Converting);
        assert_eq!(e.unwrap_err(), "input `x`: 10000000000 does not fit i32");
    }

    #[test]
    fn ranges_and_lists_of_shapes() {
        let f = function("Tensor<f32, 1, N>", None, false);
        assert!(accept(&f, Some(zeros(&[1, 5])), Fit::Exactly).is_ok());
        assert!(accept(&f, Some(zeros(&[1, 0])), Fit::Exactly).unwrap_err().ends_with("(N must be in 1..)"));
        let flexibility = ArrayFlexibility::Enumerated(vec![vec![1, 2], vec![1, 4]]);
        let array = ArrayFeature { flexibility, ..ArrayFeature::default() };
        let f = function("Tensor<f32, 1, N>", Some(FeatureKind::Array(array)), false);
        assert!(accept(&f, Some(zeros(&[1, 4])), Fit::Exactly).is_ok());
        let e = accept(&f, Some(zeros(&[1, 3])), Fit::Exactly).unwrap_err();
        assert_eq!(e, "input `x` is of shape [1, 3], expected one of [1, 2], [1, 4]");
    }

    #[test]
    fn images_are_tensors_of_their_size() {
        let flexibility = ImageFlexibility::Enumerated(vec![(4, 2), (8, 4)]);
        let image = ImageFeature { width: 4, height: 2, color: ColorSpace::Rgb, flexibility };
        let f = function("Tensor<f32, 1, 3, H, W>", Some(FeatureKind::Image(image.clone())), false);
        assert!(accept(&f, Some(zeros(&[1, 3, 4, 8])), Fit::Exactly).is_ok());
        let e = accept(&f, Some(zeros(&[1, 3, 2, 8])), Fit::Exactly).unwrap_err();
        assert_eq!(e, "input `x` is of shape [1, 3, 2, 8], expected one of [1, 3, 2, 4], [1, 3, 4, 8]");
        let info = &Interface::of(&f).unwrap().inputs[0];
        assert_eq!((info.image.as_ref(), &info.description[..]), (Some(&image), "the input"));
    }

    #[test]
    fn optional_inputs_take_their_default() {
        let array =
            |default| FeatureKind::Array(ArrayFeature { shape: vec![1, 2], default, ..ArrayFeature::default() });
        let f = function("Tensor<f16, 1, N>", Some(array(Some(DefaultValue::Float(0.5)))), true);
        let half = half::f16::from_f32(0.5);
        assert_eq!(accept(&f, None, Fit::Exactly).unwrap(), AnyTensor::new([1, 2], vec![half; 2]).unwrap());
        let f = function("Tensor<f16, 1, 2>", Some(array(None)), true);
        let e = accept(&f, None, Fit::Exactly).unwrap_err();
        assert!(e.starts_with("input `x` is optional, but the model has no default for it"), "{e}");
        let f = function("Tensor<f16, 1, 2>", Some(array(Some(DefaultValue::Int(1)))), false);
        assert!(accept(&f, None, Fit::Exactly).unwrap_err().ends_with("is missing"));
    }

    #[test]
    fn states_are_no_inputs() {
        let mut g = Graph::new("main", Opset::iOS18);
        let x = g.input("x", TensorType::new(DType::F16, [2]));
        g.input("s", Type::State(TensorType::new(DType::F16, [2])));
        let y = g.push(mb::add(&x, 1)).unwrap();
        let p = g.finish([("y", y)]).unwrap();
        let i = Interface::of(p.main().unwrap()).unwrap();
        assert_eq!((i.inputs.len(), i.states.len(), &i.states[0].name[..]), (1, 1, "s"));
    }

    #[test]
    fn core_ml_has_arrays_of_some_types_only() {
        assert!(
            boundary_obstacle("x", &"Tensor<bool, 2>".parse().unwrap()).unwrap().contains("`x` is Tensor<bool, 2>")
        );
        assert!(boundary_obstacle("x", &"Tensor<f32, 0>".parse().unwrap()).unwrap().contains("without elements"));
        assert_eq!(boundary_obstacle("x", &"Tensor<f16, N>".parse().unwrap()), None);
    }
}
