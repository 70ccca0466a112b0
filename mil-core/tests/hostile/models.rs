//! Changes to a model that decodes: types, bindings, constants, blocks, names, versions, descriptions.

use mil_core::{
    ops,
    spec::{
        self, Model, array_feature_type as array, feature_type,
        mil::{self, argument::binding::Binding, tensor_value::Value as Elements, value, value_type},
    },
};

use super::{Choices, NUMBERS, SIZES};

/// Changes a model in one to four places.
pub fn mutate(model: &mut Model, c: &mut Choices<'_>) {
    for _ in 0..1 + c.below(4) {
        match c.below(8) {
            0 => describe(model, c),
            1 => drop(interface(model, c)),
            _ => drop(program(model, c)),
        }
    }
}

/// Makes all sizes unknown, so that changed inputs do not contradict what the file declares of all that follows.
pub fn loosen(model: &mut Model) {
    let Some(program) = program_of(model) else { return };
    let mut blocks: Vec<&mut mil::Block> =
        program.functions.values_mut().flat_map(|f| f.block_specializations.values_mut()).collect();
    while let Some(block) = blocks.pop() {
        for op in &mut block.operations {
            if op.r#type != "const" {
                op.outputs.iter_mut().filter_map(tensor_of).for_each(|t| {
                    t.dimensions.fill(dimension(None));
                });
            }
            blocks.extend(&mut op.blocks);
        }
    }
}

fn program_of(model: &mut Model) -> Option<&mut mil::Program> {
    match model.r#type.as_mut() {
        Some(spec::model::Type::MlProgram(p)) => Some(p),
        _ => None,
    }
}

fn function<'a>(model: &'a mut Model, c: &mut Choices<'_>) -> Option<&'a mut mil::Function> {
    let functions = &mut program_of(model)?.functions;
    let at = c.below(functions.len().max(1));
    functions.values_mut().nth(at)
}

fn dimension(size: Option<u64>) -> mil::Dimension {
    use mil::dimension::{ConstantDimension, Dimension, UnknownDimension};
    let dimension = match size {
        Some(size) => Dimension::Constant(ConstantDimension { size }),
        None => Dimension::Unknown(UnknownDimension { variadic: false }),
    };
    mil::Dimension { dimension: Some(dimension) }
}

fn tensor_of(v: &mut mil::NamedValueType) -> Option<&mut mil::TensorType> {
    match v.r#type.as_mut()?.r#type.as_mut()? {
        value_type::Type::TensorType(t) => Some(t),
        _ => None,
    }
}

fn change_type(v: &mut mil::NamedValueType, c: &mut Choices<'_>) -> Option<()> {
    let t = tensor_of(v)?;
    let size = |c: &mut Choices<'_>| match c.below(4) {
        0 => dimension(None),
        1 => dimension(Some(c.pick(&SIZES) as u64)),
        2 => dimension(Some(u64::MAX)),
        _ => dimension(Some(c.below(5) as u64)),
    };
    match c.below(6) {
        0 => t.data_type = c.pick(&[11, 10, 23, 1, 2, 21, 31, 25, 39, 24, 12, 13, 99, -1]),
        1 => t.rank = c.pick(&[-1, 0, i64::MIN, i64::MAX, 6]),
        2 => {
            t.dimensions.push(size(c));
            t.rank = t.rank.wrapping_add(1);
        }
        3 => {
            t.dimensions.pop();
            t.rank = t.rank.wrapping_sub(1);
        }
        _ if t.dimensions.is_empty() => {}
        _ => {
            let at = c.below(t.dimensions.len());
            t.dimensions[at] = size(c);
        }
    }
    Some(())
}

/// Inputs of a function, its opset, its name.
fn interface(model: &mut Model, c: &mut Choices<'_>) -> Option<()> {
    match c.below(8) {
        0 => model.specification_version = c.pick(&[6, 7, 8, 9, 10, 5, 11, i32::MAX, 0, -1]),
        1 => {
            let f = function(model, c)?;
            f.opset = c.pick(&["CoreML5", "CoreML7", "", "CoreML99"]).into();
        }
        2 => {
            let program = program_of(model)?;
            let (name, f) = program.functions.pop_first()?;
            program.functions.insert(if c.one_in(2) { format!("{name}_") } else { String::new() }, f.clone());
            if c.one_in(2) {
                program.functions.insert(name, f);
            }
        }
        3 => {
            let f = function(model, c)?;
            let twin = f.inputs.first()?.clone();
            f.inputs.push(twin);
        }
        4 => drop(function(model, c)?.inputs.pop()),
        _ => {
            let f = function(model, c)?;
            let at = c.below(f.inputs.len().max(1));
            change_type(f.inputs.get_mut(at)?, c)?;
        }
    }
    Some(())
}

/// A block, nested ones included, and the names of all values.
fn program(model: &mut Model, c: &mut Choices<'_>) -> Option<()> {
    let f = function(model, c)?;
    let mut names: Vec<String> = f.inputs.iter().map(|i| i.name.clone()).collect();
    let mut block = f.block_specializations.values_mut().next()?;
    collect(block, &mut names);
    names.push("nobody".into());
    loop {
        let nested = block.operations.iter().position(|o| !o.blocks.is_empty());
        match nested {
            Some(at) if c.one_in(2) => {
                let blocks = &mut block.operations[at].blocks;
                let which = c.below(blocks.len());
                block = &mut blocks[which];
            }
            _ => break,
        }
    }
    let count = block.operations.len().max(1);
    match c.below(12) {
        0 => {
            let (from, to) = (c.below(count), c.below(count));
            if from < block.operations.len() {
                let op = block.operations.remove(from);
                block.operations.insert(to.min(block.operations.len()), op);
            }
        }
        1 => {
            let at = c.below(count);
            let op = block.operations.get(at)?.clone();
            block.operations.insert(at, op);
        }
        2 if !block.operations.is_empty() => drop(block.operations.remove(c.below(count))),
        3 => match c.below(3) {
            0 => drop(block.outputs.pop()),
            1 => block.outputs.push(c.pick(&names)),
            _ => *block.outputs.first_mut()? = c.pick(&names),
        },
        4 => {
            let input = block.inputs.first_mut();
            match input {
                Some(input) => change_type(input, c)?,
                None => block.inputs.push(mil::NamedValueType { name: c.pick(&names), ..Default::default() }),
            }
        }
        _ => {
            let at = c.below(count);
            operation(block.operations.get_mut(at)?, &names, c)?;
        }
    }
    Some(())
}

fn collect(block: &mil::Block, names: &mut Vec<String>) {
    for op in &block.operations {
        names.extend(op.outputs.iter().map(|o| o.name.clone()));
        op.blocks.iter().for_each(|b| collect(b, names));
    }
}

fn operation(op: &mut mil::Operation, names: &[String], c: &mut Choices<'_>) -> Option<()> {
    if op.r#type == "const" && !c.one_in(4) {
        return constant(op, c);
    }
    match c.below(9) {
        0 => {
            let all: Vec<&str> = ops::all().map(|d| d.name).collect();
            op.r#type = c.pick(&all).into();
        }
        1 => {
            let at = c.below(op.inputs.len().max(1));
            let key = op.inputs.keys().nth(at)?.clone();
            op.inputs.remove(&key);
        }
        2 => {
            let def = ops::find(&op.r#type)?;
            let params: Vec<&str> = def.params.iter().map(|p| p.name).collect();
            if params.is_empty() {
                return None;
            }
            let binding = mil::argument::Binding { binding: Some(Binding::Name(c.pick(names))) };
            op.inputs.insert(c.pick(&params).into(), mil::Argument { arguments: vec![binding] });
        }
        3 | 4 => {
            let at = c.below(op.inputs.len().max(1));
            let argument = op.inputs.values_mut().nth(at)?;
            let binding = argument.arguments.first_mut()?;
            match c.below(4) {
                0 => binding.binding = None,
                1 => {
                    let twin = binding.clone();
                    argument.arguments.push(twin);
                }
                _ => binding.binding = Some(Binding::Name(c.pick(names))),
            }
        }
        5 => {
            let output = op.outputs.first_mut()?;
            change_type(output, c)?;
        }
        6 => op.outputs.first_mut()?.name = c.pick(names),
        7 if c.one_in(2) => drop(op.outputs.pop()),
        7 => op.outputs.push(op.outputs.first()?.clone()),
        _ if c.one_in(2) => drop(op.blocks.pop()),
        _ => op.blocks.reverse(),
    }
    Some(())
}

/// The value of a `const`.
fn constant(op: &mut mil::Operation, c: &mut Choices<'_>) -> Option<()> {
    let declared = op.outputs.first_mut()?;
    let value = op.attributes.get_mut("val")?;
    match value.value.as_mut()? {
        value::Value::BlobFileValue(blob) => match c.below(3) {
            0 => blob.offset = c.pick(&[0, 64, 1, 63, 128, u64::MAX, u64::MAX - 63, 1 << 40]),
            1 => blob.file_name = c.pick(&["@model_path/../x", "", "@model_path/weights", "/etc/passwd"]).into(),
            _ => {
                let t = tensor_of(declared)?;
                let at = c.below(t.dimensions.len().max(1));
                *t.dimensions.get_mut(at)? = dimension(Some(c.pick(&SIZES) as u64));
                value.r#type = declared.r#type.clone();
            }
        },
        value::Value::ImmediateValue(i) => {
            use value::immediate_value::Value as Immediate;
            let Some(Immediate::Tensor(t)) = i.value.as_mut() else { return None };
            if c.one_in(4) {
                // No elements at all, of a shape which says so in many ways.
                let ty = tensor_of(declared)?;
                let sizes: Vec<u64> = (0..1 + c.below(4)).map(|_| c.pick(&SIZES) as u64).collect();
                ty.dimensions = sizes.iter().chain(&[0]).map(|s| dimension(Some(*s))).collect();
                if c.one_in(2) {
                    ty.dimensions.reverse();
                }
                ty.rank = ty.dimensions.len() as i64;
                t.value = None;
                value.r#type = declared.r#type.clone();
                return Some(());
            }
            match t.value.as_mut()? {
                Elements::Ints(v) => {
                    let at = c.below(v.values.len().max(1));
                    *v.values.get_mut(at)? = c.pick(&NUMBERS) as i32;
                }
                Elements::LongInts(v) => {
                    let at = c.below(v.values.len().max(1));
                    *v.values.get_mut(at)? = c.pick(&[i64::MIN, i64::MAX, 0, -1]);
                }
                Elements::Floats(v) => {
                    let at = c.below(v.values.len().max(1));
                    *v.values.get_mut(at)? = c.pick(&[f32::NAN, f32::INFINITY, -1.0, 0.0, 1e30, f32::MIN_POSITIVE]);
                }
                Elements::Bools(v) => v.values.iter_mut().for_each(|b| *b = !*b),
                Elements::Strings(v) => {
                    *v.values.first_mut()? = c.pick(&["", "valid", "custom", "int32", "bool", "fp16"]).into()
                }
                Elements::Bytes(v) => {
                    let at = c.below(v.values.len().max(1));
                    *v.values.get_mut(at)? = c.byte();
                }
                Elements::Doubles(v) => v.values.clear(),
            }
        }
    }
    Some(())
}

/// The description of inputs and outputs.
fn describe(model: &mut Model, c: &mut Choices<'_>) {
    let Some(d) = model.description.as_mut() else { return };
    match c.below(8) {
        0 => model.description = None,
        1 => d.default_function_name = "nobody".into(),
        2 => d.functions.push(spec::FunctionDescription { name: "main".into(), ..Default::default() }),
        3 => d.predicted_feature_name = "nobody".into(),
        4 => drop(d.input.pop()),
        _ => {
            let list = if c.one_in(4) { &mut d.output } else { &mut d.input };
            let Some(feature) = list.first_mut() else { return };
            let Some(Some(ty)) = feature.r#type.as_mut().map(|t| t.r#type.as_mut()) else {
                feature.r#type = None;
                return;
            };
            let feature_type::Type::MultiArrayType(a) = ty else { return };
            let rank = a.shape.len() + c.below(2);
            let range = |c: &mut Choices<'_>| spec::SizeRange {
                lower_bound: c.pick(&[1, 0, u64::MAX, 5, 1 << 63]),
                upper_bound: c.pick(&[8, -1, 0, 1, i64::MIN, i64::MAX]),
            };
            match c.below(4) {
                0 => a.shape.iter_mut().for_each(|s| *s = c.pick(&SIZES).wrapping_neg()),
                1 => a.data_type = c.pick(&[0, 65568, 131104, 65552, 7]),
                2 => {
                    let size_ranges = (0..rank).map(|_| range(c)).collect();
                    a.shape_flexibility = Some(array::ShapeFlexibility::ShapeRange(array::ShapeRange { size_ranges }));
                }
                _ => {
                    let shape = |c: &mut Choices<'_>| (0..rank).map(|_| c.pick(&[1, 2, 4, -1, 0, i64::MAX])).collect();
                    let shapes = (0..c.below(4)).map(|_| array::Shape { shape: shape(c) }).collect();
                    let shapes = array::EnumeratedShapes { shapes };
                    a.shape_flexibility = Some(array::ShapeFlexibility::EnumeratedShapes(shapes));
                }
            }
        }
    }
}
