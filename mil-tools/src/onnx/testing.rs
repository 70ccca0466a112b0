//! Small models for tests of lowerings.

use mil_core::{
    ir::Constant,
    ir::Program,
    types::{DType, Opset},
};
use prost::Message;

use super::proto::{
    AttributeProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto, TensorProto, TensorShapeProto, TypeProto,
    ValueInfoProto, attribute_proto::AttributeType, tensor_proto::DataType, tensor_shape_proto, type_proto,
};
use crate::import::ImportOptions;

/// A model under construction.
pub(super) struct Net {
    opset: i64,
    graph: GraphProto,
    target: Option<Opset>,
}

impl Net {
    /// A model of a version of the op set.
    pub(super) fn new(opset: i64) -> Net {
        Net { opset, graph: GraphProto::default(), target: None }
    }

    /// For this target, not the oldest that can say it.
    pub(super) fn target(self, opset: Opset) -> Net {
        Net { target: Some(opset), ..self }
    }

    /// An input; sizes of -1 are open.
    pub(super) fn input(mut self, name: &str, dtype: DType, sizes: &[i64]) -> Net {
        let dim = |size: &i64| tensor_shape_proto::Dimension {
            value: (*size >= 0).then_some(tensor_shape_proto::dimension::Value::DimValue(*size)),
            ..Default::default()
        };
        let shape = Some(TensorShapeProto { dim: sizes.iter().map(dim).collect() });
        let tensor = type_proto::Tensor { elem_type: element(dtype) as i32, shape };
        let ty = TypeProto { value: Some(type_proto::Value::TensorType(tensor)), ..Default::default() };
        self.graph.input.push(ValueInfoProto { name: name.into(), r#type: Some(ty), ..Default::default() });
        self
    }

    /// A constant of the model.
    pub(super) fn constant(mut self, name: &str, constant: Constant) -> Net {
        self.graph.initializer.push(tensor(name, &constant));
        self
    }

    /// A constant of ones.
    pub(super) fn ones(self, name: &str, sizes: &[usize]) -> Net {
        let ones = vec![1f32; sizes.iter().product()];
        self.constant(name, Constant::new(sizes, &ones).unwrap())
    }

    /// A node; inputs and outputs are names between spaces, `_` is one that is left out.
    pub(super) fn node(mut self, op: &str, inputs: &str, outputs: &str, attributes: &[AttributeProto]) -> Net {
        let names = |text: &str| text.split_whitespace().map(|n| if n == "_" { "".into() } else { n.into() }).collect();
        self.graph.node.push(NodeProto {
            op_type: op.into(),
            input: names(inputs),
            output: names(outputs),
            attribute: attributes.to_vec(),
            ..Default::default()
        });
        self
    }

    /// The program with these outputs, or what is said of the model.
    pub(super) fn import(mut self, outputs: &str) -> Result<Program, String> {
        let info = |name: &str| ValueInfoProto { name: name.into(), ..Default::default() };
        self.graph.output = outputs.split_whitespace().map(info).collect();
        let model = ModelProto {
            ir_version: 8,
            opset_import: vec![OperatorSetIdProto { domain: String::new(), version: self.opset }],
            graph: Some(self.graph),
            ..Default::default()
        };
        let folder = tempfile::tempdir().map_err(|e| e.to_string())?;
        let path = folder.path().join("model.onnx");
        std::fs::write(&path, model.encode_to_vec()).map_err(|e| e.to_string())?;
        let options = ImportOptions { target: self.target, ..ImportOptions::default() };
        super::import(&path, &options).map(|i| i.program).map_err(|e| e.to_string())
    }

    /// The ops of the program with these outputs, in their order, but constants.
    #[track_caller]
    pub(super) fn ops(self, outputs: &str) -> Vec<&'static str> {
        let program = self.import(outputs).unwrap_or_else(|e| panic!("{e}"));
        let f = program.main().unwrap();
        let all = f.walk().into_iter().map(|op| f.op(op).def).filter(|def| !def.is_const());
        all.map(|def| def.name).collect()
    }

    /// Why a model with these outputs is refused.
    #[track_caller]
    pub(super) fn refusal(self, outputs: &str) -> String {
        self.import(outputs).expect_err("the model is not refused")
    }

    /// The numbers of an output of a model that has constants alone.
    #[track_caller]
    pub(super) fn numbers(self, output: &str) -> Vec<f64> {
        let program = self.import(output).unwrap_or_else(|e| panic!("{e}"));
        let f = program.main().unwrap();
        let known = f.arg(f.outputs()[0]).known;
        let constant = known.as_ref().and_then(|k| k.constant()).expect("the output is not known");
        constant.floats().unwrap_or_else(|| constant.ints().unwrap().into_iter().map(|v| v as f64).collect())
    }
}

fn element(dtype: DType) -> DataType {
    match dtype {
        DType::F32 => DataType::Float,
        DType::F16 => DataType::Float16,
        DType::F64 => DataType::Double,
        DType::I8 => DataType::Int8,
        DType::I16 => DataType::Int16,
        DType::I32 => DataType::Int32,
        DType::I64 => DataType::Int64,
        DType::U8 => DataType::Uint8,
        DType::U16 => DataType::Uint16,
        DType::U32 => DataType::Uint32,
        DType::U64 => DataType::Uint64,
        DType::I4 => DataType::Int4,
        DType::U4 => DataType::Uint4,
        DType::Bool => DataType::Bool,
        other => panic!("no test has {other}"),
    }
}

fn tensor(name: &str, constant: &Constant) -> TensorProto {
    TensorProto {
        name: name.into(),
        dims: constant.shape().iter().map(|n| *n as i64).collect(),
        data_type: element(constant.dtype()) as i32,
        raw_data: constant.bytes().unwrap().to_vec().into(),
        ..Default::default()
    }
}

pub(super) fn int(name: &str, i: i64) -> AttributeProto {
    AttributeProto { name: name.into(), r#type: AttributeType::Int as i32, i, ..Default::default() }
}

pub(super) fn float(name: &str, f: f32) -> AttributeProto {
    AttributeProto { name: name.into(), r#type: AttributeType::Float as i32, f, ..Default::default() }
}

pub(super) fn ints(name: &str, ints: &[i64]) -> AttributeProto {
    let r#type = AttributeType::Ints as i32;
    AttributeProto { name: name.into(), r#type, ints: ints.to_vec(), ..Default::default() }
}

pub(super) fn string(name: &str, s: &str) -> AttributeProto {
    AttributeProto { name: name.into(), r#type: AttributeType::String as i32, s: s.into(), ..Default::default() }
}
