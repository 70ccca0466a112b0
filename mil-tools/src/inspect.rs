//! What a model takes and gives, and what is in it.

use std::{collections::BTreeMap, fmt, path::Path};

use mil_core::{
    ir::{
        Feature, Function, Program,
        feature::{ArrayFeature, ArrayFlexibility, ColorSpace, FeatureKind, ImageFeature, ImageFlexibility},
    },
    package::PackageReader,
    spec::{self, mil, model::Type},
    types::Opset,
};
use serde::Serialize;

use crate::ToolError;

/// A model in short. Its [`Display`](fmt::Display) is for people, its serialization for machines.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Summary {
    /// `ML Program`, `NeuralNetwork`, ..
    pub kind: String,
    /// Version of the format.
    pub specification_version: i32,
    /// The opset of an ML Program: `iOS17`.
    pub opset: Option<String>,
    /// What the author says of it; empty if nothing.
    pub description: String,
    /// The author; empty if not said.
    pub author: String,
    /// Version of the model; empty if not said.
    pub version: String,
    /// The models of a pipeline, in order.
    pub stages: Vec<StageSummary>,
    /// Functions; a model that is no ML Program has one.
    pub functions: Vec<FunctionSummary>,
    /// Bytes of the weight files.
    pub weight_bytes: u64,
    /// Why types are missing: the program cannot be read entirely.
    pub unreadable: Option<String>,
}

/// A model of a pipeline.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct StageSummary {
    /// Its name; empty if the pipeline gives none.
    pub name: String,
    /// Its kind, as a model's.
    pub kind: String,
    /// The models in it, if it is a pipeline itself.
    pub stages: Vec<StageSummary>,
}

/// A function in short.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct FunctionSummary {
    /// Its name.
    pub name: String,
    /// Whether it runs when none is named.
    pub default: bool,
    /// What it takes.
    pub inputs: Vec<FeatureSummary>,
    /// What it gives.
    pub outputs: Vec<FeatureSummary>,
    /// What lives between predictions.
    pub states: Vec<FeatureSummary>,
    /// How many there are of each op, nested blocks included.
    pub ops: BTreeMap<String, usize>,
}

/// An input, output or state.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct FeatureSummary {
    /// Its name.
    pub name: String,
    /// Its type: `Tensor<f32, 1, 3, H, W>`.
    #[serde(rename = "type")]
    pub ty: String,
    /// `array`, `image`, `state`, `int64`, `double`, `string`, `dictionary` or `sequence`.
    pub kind: &'static str,
    /// The default shape of an array, `[height, width]` of an image; empty if not fixed.
    pub shape: Vec<i64>,
    /// Per dimension the least and the greatest size (`null`: no bound), if sizes may be of a range.
    pub ranges: Option<Vec<(u64, Option<u64>)>>,
    /// All shapes, if there is a list of them.
    pub shapes: Option<Vec<Vec<i64>>>,
    /// Whether it may be left out.
    pub optional: bool,
    /// What the author says of it.
    pub description: String,
}

/// Reads a model's description, the types of its functions, and the sizes of its weight files, but no weights.
///
/// # Errors
/// If it cannot be read as a Core ML model. Programs with ops that are unknown here are described all the same.
pub fn inspect(path: &Path) -> Result<Summary, ToolError> {
    let package = PackageReader::open(path)?;
    let model = package.model()?;
    let of_file = |e: spec::SpecError| ToolError::new(format!("`{}`: {e}", path.display()));
    let (program, unreadable) = match &model.r#type {
        Some(Type::MlProgram(_)) => match Program::from_package(&package) {
            Ok(program) => (Some(program), None),
            Err(e) => (None, Some(e.to_string())),
        },
        _ => (None, None),
    };
    let description = model.description.clone().unwrap_or_default();
    let mut functions = vec![];
    match (&model.r#type, &description.functions[..]) {
        (Some(Type::MlProgram(p)), many @ [_, ..]) => {
            for d in many {
                let default = description.default_function_name == d.name;
                let typed = program.as_ref().and_then(|p| p.functions.get(&d.name));
                let features = [&d.input[..], &d.output, &d.state];
                functions
                    .push(summarize(&d.name, default, features, typed, p.functions.get(&d.name)).map_err(of_file)?);
            }
        }
        (ty, _) => {
            let name = match ty {
                Some(Type::MlProgram(p)) => p.functions.keys().next().cloned().unwrap_or_default(),
                _ => "main".to_string(),
            };
            let typed = program.as_ref().and_then(|p| p.functions.get(&name));
            let encoded = match ty {
                Some(Type::MlProgram(p)) => p.functions.get(&name),
                _ => None,
            };
            let features = [&description.input[..], &description.output, &description.state];
            functions.push(summarize(&name, true, features, typed, encoded).map_err(of_file)?);
        }
    }
    let metadata = description.metadata.unwrap_or_default();
    let is_program = matches!(model.r#type, Some(Type::MlProgram(_)));
    let opset = Opset::from_spec_version(model.specification_version).filter(|_| is_program);
    Ok(Summary {
        kind: kind(model.r#type.as_ref()),
        specification_version: model.specification_version,
        opset: opset.map(|o| o.name().to_string()),
        description: metadata.short_description,
        author: metadata.author,
        version: metadata.version_string,
        stages: stages(model.r#type.as_ref()),
        functions,
        weight_bytes: weight_bytes(&package),
        unreadable,
    })
}

/// The models of a pipeline; none of another model. (The decoder bounds how deep pipelines nest.)
fn stages(ty: Option<&Type>) -> Vec<StageSummary> {
    let pipeline = match ty {
        Some(Type::Pipeline(p)) => Some(p),
        Some(Type::PipelineClassifier(c)) => c.pipeline.as_ref(),
        Some(Type::PipelineRegressor(r)) => r.pipeline.as_ref(),
        _ => None,
    };
    let Some(pipeline) = pipeline else { return vec![] };
    let stage = |(i, model): (usize, &spec::Model)| StageSummary {
        name: pipeline.names.get(i).cloned().unwrap_or_default(),
        kind: kind(model.r#type.as_ref()),
        stages: stages(model.r#type.as_ref()),
    };
    pipeline.models.iter().enumerate().map(stage).collect()
}

/// The kind of a model: the name of its field in `Model.proto`.
fn kind(ty: Option<&Type>) -> String {
    macro_rules! names {
        ($($variant:ident),* $(,)?) => {
            match ty {
                None => "no model",
                Some(Type::MlProgram(_)) => "ML Program",
                $(Some(Type::$variant(_)) => stringify!($variant),)*
            }
        };
    }
    let name = names![
        PipelineClassifier,
        PipelineRegressor,
        Pipeline,
        GlmRegressor,
        SupportVectorRegressor,
        TreeEnsembleRegressor,
        NeuralNetworkRegressor,
        BayesianProbitRegressor,
        GlmClassifier,
        SupportVectorClassifier,
        TreeEnsembleClassifier,
        NeuralNetworkClassifier,
        KNearestNeighborsClassifier,
        NeuralNetwork,
        ItemSimilarityRecommender,
        CustomModel,
        LinkedModel,
        ClassConfidenceThresholding,
        OneHotEncoder,
        Imputer,
        FeatureVectorizer,
        DictVectorizer,
        Scaler,
        CategoricalMapping,
        Normalizer,
        ArrayFeatureExtractor,
        NonMaximumSuppression,
        Identity,
        TextClassifier,
        WordTagger,
        VisionFeaturePrint,
        SoundAnalysisPreprocessing,
        Gazetteer,
        WordEmbedding,
        AudioFeaturePrint,
        SerializedModel
    ];
    name.to_string()
}

fn weight_bytes(package: &PackageReader) -> u64 {
    let entries = package.weights_dir().and_then(|dir| std::fs::read_dir(dir).ok());
    let files = entries.into_iter().flatten().filter_map(|e| e.ok()?.metadata().ok());
    files.filter(|m| m.is_file()).map(|m| m.len()).sum()
}

fn summarize(
    name: &str,
    default: bool,
    [inputs, outputs, states]: [&[spec::FeatureDescription]; 3],
    typed: Option<&Function>,
    encoded: Option<&mil::Function>,
) -> Result<FunctionSummary, spec::SpecError> {
    let all = |features: &[spec::FeatureDescription], output: bool| {
        let one = |d: &spec::FeatureDescription| Ok(feature(&spec::read_feature(d)?, typed, output));
        features.iter().map(one).collect::<Result<Vec<_>, spec::SpecError>>()
    };
    let mut ops: BTreeMap<String, usize> = BTreeMap::new();
    let mut blocks: Vec<&mil::Block> = encoded.iter().flat_map(|f| f.block_specializations.get(&f.opset)).collect();
    while let Some(block) = blocks.pop() {
        for op in &block.operations {
            *ops.entry(op.r#type.clone()).or_default() += 1;
            blocks.extend(&op.blocks);
        }
    }
    let (inputs, outputs, states) = (all(inputs, false)?, all(outputs, true)?, all(states, false)?);
    Ok(FunctionSummary { name: name.into(), default, inputs, outputs, states, ops })
}

fn feature(f: &Feature, typed: Option<&Function>, output: bool) -> FeatureSummary {
    let value = typed.and_then(|function| {
        let ids = if output { function.outputs() } else { &function.inputs[..] };
        ids.iter().map(|id| function.value(*id)).find(|v| v.name == f.name)
    });
    let mut summary = FeatureSummary {
        name: f.name.clone(),
        ty: String::new(),
        kind: "array",
        shape: vec![],
        ranges: None,
        shapes: None,
        optional: f.optional,
        description: f.description.clone(),
    };
    let bound = |&(min, max): &(u64, i64)| (min, u64::try_from(max).ok());
    let array = |summary: &mut FeatureSummary, a: &ArrayFeature, word: &str| {
        summary.shape = a.shape.clone();
        match &a.flexibility {
            ArrayFlexibility::Fixed => {}
            ArrayFlexibility::Enumerated(shapes) => summary.shapes = Some(shapes.clone()),
            ArrayFlexibility::Range(ranges) => summary.ranges = Some(ranges.iter().map(bound).collect()),
        }
        let dtype = a.dtype.map_or("?".to_string(), |d| d.to_string());
        let sizes: String = a.shape.iter().map(|d| format!(", {d}")).collect();
        format!("{word}<{dtype}{sizes}>")
    };
    let described = match &f.kind {
        FeatureKind::Array(a) => array(&mut summary, a, "Tensor"),
        FeatureKind::State(a) => {
            summary.kind = "state";
            array(&mut summary, a, "State")
        }
        FeatureKind::Image(i) => {
            summary.kind = "image";
            summary.shape = vec![i.height, i.width];
            match &i.flexibility {
                ImageFlexibility::Fixed => {}
                ImageFlexibility::Enumerated(sizes) => {
                    summary.shapes = Some(sizes.iter().map(|&(w, h)| vec![h as i64, w as i64]).collect());
                }
                ImageFlexibility::Range { width, height } => {
                    summary.ranges = Some(vec![bound(height), bound(width)]);
                }
            }
            image(i)
        }
        FeatureKind::Int64 => name(&mut summary, "int64", "i64"),
        FeatureKind::Double => name(&mut summary, "double", "f64"),
        FeatureKind::String => name(&mut summary, "string", "string"),
        FeatureKind::Dictionary { int_keys: true } => name(&mut summary, "dictionary", "Dictionary<i64, f64>"),
        FeatureKind::Dictionary { int_keys: false } => name(&mut summary, "dictionary", "Dictionary<string, f64>"),
        FeatureKind::Sequence { ints: true, .. } => name(&mut summary, "sequence", "List<i64>"),
        FeatureKind::Sequence { ints: false, .. } => name(&mut summary, "sequence", "List<string>"),
    };
    // The function's own type says more: symbols, and the shapes of outputs.
    summary.ty = match (value, &f.kind) {
        (Some(value), FeatureKind::Array(_) | FeatureKind::State(_)) => value.ty.to_string(),
        _ => described,
    };
    summary
}

fn name(summary: &mut FeatureSummary, kind: &'static str, ty: &str) -> String {
    summary.kind = kind;
    ty.to_string()
}

fn image(i: &ImageFeature) -> String {
    let color = match i.color {
        ColorSpace::Unspecified => "?",
        ColorSpace::Grayscale => "gray",
        ColorSpace::Rgb => "rgb",
        ColorSpace::Bgr => "bgr",
        ColorSpace::GrayscaleF16 => "gray f16",
    };
    format!("Image<{color}, {} x {}>", i.width, i.height)
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, specification version {}", self.kind, self.specification_version)?;
        match &self.opset {
            Some(opset) => writeln!(f, " ({opset})")?,
            None => writeln!(f)?,
        }
        for (label, text) in [("description", &self.description), ("author", &self.author), ("version", &self.version)]
        {
            if !text.is_empty() {
                writeln!(f, "{label}: {text}")?;
            }
        }
        if self.weight_bytes > 0 {
            writeln!(f, "weights: {} bytes ({:.1} MB)", self.weight_bytes, self.weight_bytes as f64 / 1e6)?;
        }
        if let Some(why) = &self.unreadable {
            writeln!(f, "note: {why}")?;
        }
        write_stages(&self.stages, 0, f)?;
        self.functions.iter().try_for_each(|function| function.fmt(f))
    }
}

fn write_stages(stages: &[StageSummary], depth: usize, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    for (i, stage) in stages.iter().enumerate() {
        let name = if stage.name.is_empty() { String::new() } else { format!(" {}", stage.name) };
        writeln!(f, "{}stage {}{name}: {}", "  ".repeat(depth), i + 1, stage.kind)?;
        write_stages(&stage.stages, depth + 1, f)?;
    }
    Ok(())
}

impl fmt::Display for FunctionSummary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "function {}{}", self.name, if self.default { " (default)" } else { "" })?;
        for (label, features) in [("inputs", &self.inputs), ("states", &self.states), ("outputs", &self.outputs)] {
            if !features.is_empty() {
                writeln!(f, "  {label}")?;
            }
            features.iter().try_for_each(|feature| writeln!(f, "    {feature}"))?;
        }
        let constants = self.ops.get("const").copied().unwrap_or(0);
        let mut ops: Vec<_> = self.ops.iter().filter(|(op, _)| *op != "const").collect();
        if ops.is_empty() && constants == 0 {
            return Ok(());
        }
        ops.sort_by(|a, b| (b.1, a.0).cmp(&(a.1, b.0)));
        writeln!(f, "  {} ops, {constants} constants", ops.iter().map(|(_, n)| **n).sum::<usize>())?;
        ops.iter().try_for_each(|(op, n)| writeln!(f, "    {n:6} {op}"))
    }
}

impl fmt::Display for FeatureSummary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.name, self.ty)?;
        let list = |shape: &[i64]| format!("{shape:?}");
        if let Some(ranges) = &self.ranges {
            let size = |(min, max): &(u64, Option<u64>)| match max {
                Some(max) if max == min => format!("{min}"),
                Some(max) => format!("{min}..={max}"),
                None => format!("{min}.."),
            };
            let sizes: Vec<_> = ranges.iter().map(size).collect();
            write!(f, ", sizes [{}], default {}", sizes.join(", "), list(&self.shape))?;
        }
        if let Some(shapes) = &self.shapes {
            let shapes: Vec<_> = shapes.iter().map(|s| list(s)).collect();
            write!(f, ", one of {}, default {}", shapes.join(" "), list(&self.shape))?;
        }
        if self.optional {
            f.write_str(", optional")?;
        }
        if !self.description.is_empty() {
            write!(f, " - {}", self.description)?;
        }
        Ok(())
    }
}
