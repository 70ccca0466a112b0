//! Program -> messages, exactly as coremltools writes them.

use std::collections::BTreeMap;

use super::{self as spec, SpecError, WeightSink, features, mil, types::value_type, values};
use crate::{
    ir::{Argument, Attribute, Binding, BlockId, Constant, Feature, Function, Op, Program, ValueId},
    op::Form,
    types::Type,
};

/// The name of the attribute that holds an op's name.
pub(crate) const NAME: &str = "name";

/// A program as a model.
///
/// Constants go to `sink`, which decides which of them belong into the weight file.
///
/// # Errors
/// If a weight is not attached, a description cannot say an input's type, or the sink fails.
pub fn encode(program: &Program, sink: &mut dyn WeightSink) -> Result<spec::Model, SpecError> {
    let mut functions = BTreeMap::new();
    for (name, function) in &program.functions {
        let inside = |e: SpecError| e.inside(format!("function `{name}`"));
        functions.insert(name.clone(), encode_function(function, sink).map_err(inside)?);
    }
    let attributes = encode_attributes(&program.attributes, sink)?;
    let ml_program = mil::Program { version: program.version, functions, doc_string: String::new(), attributes };
    Ok(spec::Model {
        specification_version: program.opset.spec_version(),
        description: Some(describe(program)?),
        is_updatable: false,
        r#type: Some(spec::model::Type::MlProgram(ml_program)),
    })
}

fn encode_attributes(
    attributes: &BTreeMap<String, Attribute>,
    sink: &mut dyn WeightSink,
) -> Result<BTreeMap<String, mil::Value>, SpecError> {
    attributes.iter().map(|(k, v)| Ok((k.clone(), values::attribute(v, sink)?))).collect()
}

fn encode_function(f: &Function, sink: &mut dyn WeightSink) -> Result<mil::Function, SpecError> {
    let block = encode_block(f, f.body, sink)?;
    let opset = f.opset.spec_name().to_string();
    Ok(mil::Function {
        inputs: f.inputs.iter().map(|v| named(f, *v)).collect(),
        opset: opset.clone(),
        block_specializations: BTreeMap::from([(opset, block)]),
        attributes: encode_attributes(&f.attributes, sink)?,
    })
}

fn named(f: &Function, id: ValueId) -> mil::NamedValueType {
    let value = f.value(id);
    mil::NamedValueType { name: value.name.clone(), r#type: Some(value_type(&value.ty)) }
}

fn encode_block(f: &Function, id: BlockId, sink: &mut dyn WeightSink) -> Result<mil::Block, SpecError> {
    let block = f.block(id);
    let mut operations = Vec::with_capacity(block.ops.len());
    for op in &block.ops {
        let op = f.op(*op);
        let inside = |e: SpecError| e.inside(format!("op `{}` ({})", op.name, op.def.name));
        operations.push(encode_op(f, op, sink).map_err(inside)?);
    }
    Ok(mil::Block {
        inputs: block.inputs.iter().map(|v| named(f, *v)).collect(),
        outputs: block.outputs.iter().map(|v| f.value(*v).name.clone()).collect(),
        operations,
        attributes: encode_attributes(&block.attributes, sink)?,
    })
}

fn encode_op(f: &Function, op: &Op, sink: &mut dyn WeightSink) -> Result<mil::Operation, SpecError> {
    let mut inputs = BTreeMap::new();
    if op.def.form(f.opset) == Form::Attributes && op.uses().next().is_some() {
        let message = format!("its parameters are attributes in opset {}; write its constants in place", f.opset);
        return Err(SpecError::new(message));
    }
    for Argument { param, bindings } in op.file_inputs(f.opset) {
        let mut arguments = Vec::with_capacity(bindings.len());
        for binding in bindings {
            let binding = match binding {
                Binding::Value(v) => mil::argument::binding::Binding::Name(f.value(*v).name.clone()),
                Binding::Inline(a) => mil::argument::binding::Binding::Value(values::attribute(a, sink)?),
            };
            arguments.push(mil::argument::Binding { binding: Some(binding) });
        }
        inputs.insert(op.def.params[*param].name.to_string(), mil::Argument { arguments });
    }
    let mut attributes = encode_attributes(&op.file_attributes(f.opset), sink)?;
    if !op.name.is_empty() {
        let name = Attribute::Tensor(Constant::string(&op.name));
        attributes.insert(NAME.to_string(), values::attribute(&name, sink)?);
    }
    Ok(mil::Operation {
        r#type: op.def.name.to_string(),
        inputs,
        outputs: op.outputs.iter().map(|v| named(f, *v)).collect(),
        blocks: op.blocks.iter().map(|b| encode_block(f, *b, sink)).collect::<Result<_, _>>()?,
        attributes,
    })
}

/// The features of one function.
struct Described {
    input: Vec<spec::FeatureDescription>,
    output: Vec<spec::FeatureDescription>,
    state: Vec<spec::FeatureDescription>,
}

fn describe_function(f: &Function) -> Result<Described, SpecError> {
    let inside = |e: SpecError| e.inside(format!("function `{}`", f.name));
    let derive = |ids: &[ValueId], output: bool, state: bool| -> Result<Vec<Feature>, SpecError> {
        let of_kind = ids.iter().filter(|v| matches!(f.value(**v).ty, Type::State(_)) == state);
        of_kind.map(|v| features::by_type(&f.value(*v).name, &f.value(*v).ty, output).map_err(inside)).collect()
    };
    let or = |given: &[Feature], ids: &[ValueId], output: bool, state: bool| -> Result<Vec<_>, SpecError> {
        let all = if given.is_empty() { derive(ids, output, state)? } else { given.to_vec() };
        Ok(all.iter().map(features::write).collect())
    };
    Ok(Described {
        input: or(&f.input_features, &f.inputs, false, false)?,
        output: or(&f.output_features, f.outputs(), true, false)?,
        state: or(&f.state_features, &f.inputs, false, true)?,
    })
}

fn describe(program: &Program) -> Result<spec::ModelDescription, SpecError> {
    let m = &program.metadata;
    let metadata = spec::Metadata {
        short_description: m.description.clone(),
        version_string: m.version.clone(),
        author: m.author.clone(),
        license: m.license.clone(),
        user_defined: m.user_defined.clone(),
    };
    let metadata = (*m != Default::default()).then_some(metadata);
    if program.multifunction {
        let mut functions = vec![];
        for (name, f) in &program.functions {
            let Described { input, output, state } = describe_function(f)?;
            functions.push(spec::FunctionDescription {
                name: name.clone(),
                input,
                output,
                state,
                predicted_feature_name: f.predicted_feature.clone(),
                predicted_probabilities_name: f.predicted_probabilities.clone(),
            });
        }
        let default_function_name = program.default_function.clone();
        return Ok(spec::ModelDescription { functions, default_function_name, metadata, ..Default::default() });
    }
    let main = program.main().ok_or_else(|| SpecError::new("the program has no function"))?;
    let Described { input, output, state } = describe_function(main)?;
    Ok(spec::ModelDescription {
        input,
        output,
        state,
        metadata,
        predicted_feature_name: main.predicted_feature.clone(),
        predicted_probabilities_name: main.predicted_probabilities.clone(),
        ..Default::default()
    })
}
