//! What a lowering sees of a node: its inputs, attributes, and the builder.

use std::{
    borrow::Cow,
    ops::{Deref, DerefMut},
};

use mil_core::{graph::Value, ir::Constant, types::DType};

use super::{
    importer::Importer,
    proto::{AttributeProto, GraphProto, NodeProto, attribute_proto::AttributeType as A},
};
use crate::import::{Lowering, Refusal, Tensor};

/// What a lowering gives: the node's outputs, as many as it can; those that the node has beyond are refused.
pub(super) type Lowered = Result<Vec<Tensor>, Refusal>;

/// A node that is being lowered. It is also the builder.
pub(super) struct Node<'n, 'm> {
    pub(super) importer: &'n mut Importer<'m>,
    pub(super) proto: &'m NodeProto,
    /// Attributes of the function that is being inlined, which those of the node may refer to.
    pub(super) outer: &'n [AttributeProto],
    /// The version of the op set.
    pub(super) opset: i64,
}

impl Deref for Node<'_, '_> {
    type Target = Lowering;
    fn deref(&self) -> &Lowering {
        &self.importer.l
    }
}

impl DerefMut for Node<'_, '_> {
    fn deref_mut(&mut self) -> &mut Lowering {
        &mut self.importer.l
    }
}

impl<'m> Node<'_, 'm> {
    /// The op's name.
    pub(super) fn op(&self) -> &'m str {
        &self.proto.op_type
    }

    /// How many inputs are named; the last ones may be left out.
    pub(super) fn inputs(&self) -> usize {
        self.proto.input.len()
    }

    /// How many outputs the node has.
    pub(super) fn outputs(&self) -> usize {
        self.proto.output.len()
    }

    /// Whether somebody may read this output.
    pub(super) fn has_output(&self, i: usize) -> bool {
        self.proto.output.get(i).is_some_and(|name| !name.is_empty())
    }

    /// Whether an input is there.
    pub(super) fn has_input(&self, i: usize) -> bool {
        self.proto.input.get(i).is_some_and(|name| !name.is_empty())
    }

    /// An input that must be there.
    pub(super) fn input(&mut self, i: usize) -> Result<Tensor, Refusal> {
        self.optional(i)?.ok_or_else(|| Refusal::new(format!("its input {i} is missing")))
    }

    /// All inputs, none of which may be missing.
    pub(super) fn all_inputs(&mut self) -> Result<Vec<Tensor>, Refusal> {
        (0..self.inputs()).map(|i| self.input(i)).collect()
    }

    /// An input that may be left out.
    pub(super) fn optional(&mut self, i: usize) -> Result<Option<Tensor>, Refusal> {
        match self.proto.input.get(i).filter(|name| !name.is_empty()) {
            Some(name) => self.importer.tensor(name).map(Some),
            None => Ok(None),
        }
    }

    /// The bytes of an input that is a constant of the model, in the dtype that it has there; `None` if it is computed.
    pub(super) fn stored(&self, i: usize) -> Option<Constant> {
        self.importer.stored(self.proto.input.get(i)?)
    }

    /// The remedy for an input that must be known when the model is converted.
    pub(super) fn must_be_known(&self, i: usize, what: &str) -> Refusal {
        let name = self.proto.input.get(i).map_or("", |n| n);
        let op = self.op();
        Refusal::new(format!("MIL wants to know the {what} of `{op}` beforehand, but `{name}` is computed or an input"))
            .remedy(format!("if it is an input of the model, fix it: `--constant {name}=..`"))
    }

    /// An input of integers that must be known; `None` if it is left out.
    pub(super) fn known_ints(&mut self, i: usize, what: &str) -> Result<Option<Vec<i64>>, Refusal> {
        let Some(t) = self.optional(i)? else { return Ok(None) };
        t.ints().map(Some).ok_or_else(|| self.must_be_known(i, what))
    }

    /// An input of numbers that must be known; `None` if it is left out.
    pub(super) fn known_numbers(&mut self, i: usize, what: &str) -> Result<Option<Vec<f64>>, Refusal> {
        let Some(t) = self.optional(i)? else { return Ok(None) };
        t.numbers().map(Some).ok_or_else(|| self.must_be_known(i, what))
    }

    fn attribute(&self, name: &str, ty: A) -> Result<Option<Cow<'_, AttributeProto>>, Refusal> {
        let Some(found) = self.proto.attribute.iter().find(|a| a.name == name) else { return Ok(None) };
        let found = if found.ref_attr_name.is_empty() {
            found
        } else {
            // A function's parameter that its caller leaves out is left out here.
            match self.outer.iter().find(|a| a.name == found.ref_attr_name) {
                Some(outer) => outer,
                None => return Ok(None),
            }
        };
        // Files of the first versions do not say the type.
        if found.r#type != ty as i32 && found.r#type != A::Undefined as i32 {
            let is = A::try_from(found.r#type).map_or("of an unknown type", |t| t.as_str_name());
            return Err(Refusal::new(format!("its attribute `{name}` is {is} instead of {}", ty.as_str_name())));
        }
        Ok(Some(Cow::Borrowed(found)))
    }

    /// Whether the attribute is there.
    pub(super) fn has(&self, name: &str) -> bool {
        let refers = |a: &AttributeProto| self.outer.iter().any(|o| o.name == a.ref_attr_name);
        self.proto.attribute.iter().any(|a| a.name == name && (a.ref_attr_name.is_empty() || refers(a)))
    }

    pub(super) fn int(&self, name: &str) -> Result<Option<i64>, Refusal> {
        Ok(self.attribute(name, A::Int)?.map(|a| a.i))
    }

    pub(super) fn int_or(&self, name: &str, default: i64) -> Result<i64, Refusal> {
        Ok(self.int(name)?.unwrap_or(default))
    }

    pub(super) fn float(&self, name: &str) -> Result<Option<f32>, Refusal> {
        Ok(self.attribute(name, A::Float)?.map(|a| a.f))
    }

    pub(super) fn float_or(&self, name: &str, default: f32) -> Result<f32, Refusal> {
        Ok(self.float(name)?.unwrap_or(default))
    }

    pub(super) fn ints_attr(&self, name: &str) -> Result<Option<Vec<i64>>, Refusal> {
        Ok(self.attribute(name, A::Ints)?.map(|a| a.ints.clone()))
    }

    pub(super) fn floats_attr(&self, name: &str) -> Result<Option<Vec<f32>>, Refusal> {
        Ok(self.attribute(name, A::Floats)?.map(|a| a.floats.clone()))
    }

    pub(super) fn string(&self, name: &str) -> Result<Option<String>, Refusal> {
        let text = |bytes: &[u8]| {
            let text = String::from_utf8(bytes.to_vec());
            text.map_err(|_| Refusal::new(format!("its attribute `{name}` is not UTF-8")))
        };
        self.attribute(name, A::String)?.map(|a| text(&a.s)).transpose()
    }

    pub(super) fn string_or(&self, name: &str, default: &str) -> Result<String, Refusal> {
        Ok(self.string(name)?.unwrap_or_else(|| default.to_string()))
    }

    pub(super) fn strings_attr(&self, name: &str) -> Result<Option<Vec<String>>, Refusal> {
        let Some(a) = self.attribute(name, A::Strings)? else { return Ok(None) };
        let all = a.strings.iter().map(|s| String::from_utf8(s.clone())).collect::<Result<_, _>>();
        all.map(Some).map_err(|_| Refusal::new(format!("its attribute `{name}` is not UTF-8")))
    }

    /// An attribute that is a tensor, in the dtype that it has in the model.
    pub(super) fn tensor_attr(&self, name: &str) -> Result<Option<Constant>, Refusal> {
        let Some(a) = self.attribute(name, A::Tensor)? else { return Ok(None) };
        let Some(t) = &a.t else { return Err(Refusal::new(format!("its attribute `{name}` has no tensor"))) };
        let named = |r: Refusal| Refusal { message: format!("its attribute `{name}` {}", r.message), ..r };
        self.importer.model.constant(t).map(Some).map_err(named)
    }

    /// An attribute that is a graph: a body. Attributes of graphs are no parameters of functions.
    pub(super) fn graph_attr(&self, name: &str) -> Result<&'m GraphProto, Refusal> {
        let graph = self.proto.attribute.iter().find(|a| a.name == name).and_then(|a| a.g.as_ref());
        graph.ok_or_else(|| Refusal::new(format!("its attribute `{name}` has no graph")))
    }

    /// A constant of the model's dtype as a tensor here.
    pub(super) fn tensor(&mut self, constant: &Constant) -> Result<Tensor, Refusal> {
        self.importer.materialize(constant)
    }

    /// One output, of this dtype in the model.
    pub(super) fn one(&self, value: Value, dtype: DType) -> Lowered {
        Ok(vec![Tensor::new(value, dtype)])
    }

    /// An attribute that names an element type.
    pub(super) fn dtype_attr(&self, name: &str) -> Result<Option<DType>, Refusal> {
        let named = |r: Refusal| Refusal { message: format!("its attribute `{name}` {}", r.message), ..r };
        let number = self.int(name)?.map(|d| i32::try_from(d).unwrap_or(-1));
        number.map(super::model::dtype).transpose().map_err(named)
    }
}
