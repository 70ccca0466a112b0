//! Models of one node, for tests of what its lowering makes.

use mil_core::ir::Program;
use prost::Message;

use crate::{
    import::ImportOptions,
    onnx::proto::{
        AttributeProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto, TensorProto, TensorShapeProto,
        TypeProto, ValueInfoProto, attribute_proto::AttributeType, tensor_shape_proto::Dimension,
        tensor_shape_proto::dimension, type_proto,
    },
};

/// A model of one node, of opset 18. Its tensors are of `f32` but where they are said to be integers, of `i64`.
pub(super) struct OneNode {
    node: NodeProto,
    graph: GraphProto,
}

impl OneNode {
    pub(super) fn new(op: &str, outputs: &[&str]) -> OneNode {
        let output: Vec<String> = outputs.iter().map(|o| o.to_string()).collect();
        let node = NodeProto { op_type: op.into(), output: output.clone(), ..NodeProto::default() };
        let outputs = output.into_iter().map(|name| ValueInfoProto { name, ..ValueInfoProto::default() });
        OneNode { node, graph: GraphProto { output: outputs.collect(), ..GraphProto::default() } }
    }

    /// An input of the model; a size of -1 is not known.
    pub(super) fn input(self, name: &str, sizes: &[i64]) -> OneNode {
        self.input_of(1, name, sizes)
    }

    /// An input of `i64`.
    pub(super) fn integers(self, name: &str, sizes: &[i64]) -> OneNode {
        self.input_of(7, name, sizes)
    }

    fn input_of(mut self, elem_type: i32, name: &str, sizes: &[i64]) -> OneNode {
        let dim =
            |n: &i64| Dimension { value: (*n >= 0).then_some(dimension::Value::DimValue(*n)), ..Dimension::default() };
        let shape = Some(TensorShapeProto { dim: sizes.iter().map(dim).collect() });
        let tensor = type_proto::Tensor { elem_type, shape };
        let r#type = Some(TypeProto { value: Some(type_proto::Value::TensorType(tensor)), ..TypeProto::default() });
        self.node.input.push(name.into());
        self.graph.input.push(ValueInfoProto { name: name.into(), r#type, ..ValueInfoProto::default() });
        self
    }

    /// A constant of ones.
    pub(super) fn ones(self, name: &str, sizes: &[i64]) -> OneNode {
        let count: i64 = sizes.iter().product();
        self.constant(name, sizes, &vec![1.0; count as usize])
    }

    pub(super) fn constant(mut self, name: &str, sizes: &[i64], values: &[f32]) -> OneNode {
        let tensor = TensorProto {
            name: name.into(),
            dims: sizes.to_vec(),
            data_type: 1,
            float_data: values.to_vec(),
            ..TensorProto::default()
        };
        self.node.input.push(name.into());
        self.graph.initializer.push(tensor);
        self
    }

    /// A constant list of `i64`.
    pub(super) fn constant_integers(mut self, name: &str, values: &[i64]) -> OneNode {
        let tensor = TensorProto {
            name: name.into(),
            dims: vec![values.len() as i64],
            data_type: 7,
            int64_data: values.to_vec(),
            ..TensorProto::default()
        };
        self.node.input.push(name.into());
        self.graph.initializer.push(tensor);
        self
    }

    /// An input that is left out.
    pub(super) fn without(mut self) -> OneNode {
        self.node.input.push(String::new());
        self
    }

    fn attribute(mut self, a: AttributeProto) -> OneNode {
        self.node.attribute.push(a);
        self
    }

    pub(super) fn int(self, name: &str, i: i64) -> OneNode {
        let r#type = AttributeType::Int as i32;
        self.attribute(AttributeProto { name: name.into(), i, r#type, ..AttributeProto::default() })
    }

    pub(super) fn ints(self, name: &str, ints: &[i64]) -> OneNode {
        let r#type = AttributeType::Ints as i32;
        self.attribute(AttributeProto { name: name.into(), ints: ints.to_vec(), r#type, ..AttributeProto::default() })
    }

    pub(super) fn string(self, name: &str, s: &str) -> OneNode {
        let r#type = AttributeType::String as i32;
        let s = s.as_bytes().to_vec();
        self.attribute(AttributeProto { name: name.into(), s, r#type, ..AttributeProto::default() })
    }

    fn import(mut self) -> Result<Program, String> {
        self.graph.node = vec![self.node];
        let opset = OperatorSetIdProto { version: 18, ..OperatorSetIdProto::default() };
        let model =
            ModelProto { ir_version: 8, opset_import: vec![opset], graph: Some(self.graph), ..ModelProto::default() };
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model.onnx");
        std::fs::write(&path, model.encode_to_vec()).unwrap();
        let imported = crate::onnx::import(&path, &ImportOptions::default());
        imported.map(|i| i.program).map_err(|e| e.to_string())
    }

    /// What it becomes: the names of its ops but constants, in their order.
    pub(super) fn ops(self) -> Vec<&'static str> {
        let program = self.import().unwrap();
        let f = program.main().unwrap();
        let all = f.walk().into_iter().map(|op| f.op(op)).filter(|op| !op.def.is_const());
        all.map(|op| op.def.name).collect()
    }

    /// Why it is refused.
    pub(super) fn refusal(self) -> String {
        self.import().unwrap_err()
    }
}
