//! States: `cache: &mut State<f16, 1, 8>`, read by `*cache`, written by `*cache = ..`.

use mil_core::{
    graph::Value,
    op::Operand,
    types::{DType, Dim, Opset, TensorType, Type},
};

use super::{Input, Lower};
use crate::{
    diag::Place,
    sig::{complete, describe},
    value::Val,
};

impl Lower<'_> {
    pub(super) fn state_param(
        &mut self,
        name: &str,
        dtype: DType,
        dims: &[Option<Dim>],
        by_mut: bool,
        at: Place,
    ) -> Val {
        let opset = self.graph.opset();
        let ty = complete(dtype, dims);
        let written = || describe("State", dtype, dims);
        if !by_mut {
            self.error_at(at, format!("a state changes while the model runs: write `{name}: &mut {}`", written()));
        } else if opset < Opset::iOS18 {
            self.error_at(at, format!("a state needs opset iOS18, but the program's is {opset}\nset `opset = iOS18`"));
        } else if dtype != DType::F16 {
            self.error_at(at, format!("a state is of `f16`, found {}", written()));
        } else if ty.as_ref().and_then(|t| t.shape.fixed()).is_none() {
            self.error_at(at, "the dimensions of a state are numbers");
        }
        let ty = ty.unwrap_or_else(|| TensorType::scalar(dtype));
        self.inputs.push(Input { name: name.to_string(), ty: Some(ty.clone()), state: true });
        Val::State(self.graph.input(name, Type::State(ty)))
    }

    /// What `*state` is now.
    pub(super) fn read_state(&mut self, state: Value, hint: Option<&str>, at: Place) -> Val {
        if self.graph.opset() < Opset::iOS18 {
            return Val::Poison; // has been said at the parameter
        }
        let Some(def) = self.find_op("read_state", at) else { return Val::Poison };
        match self.graph.push_op(def, vec![("input", Operand::Value(state))], hint, None) {
            Ok(values) => Val::outputs(values),
            Err(e) => self.error_at(at, e),
        }
    }

    /// `*state = val`.
    pub(super) fn write_state(&mut self, state: Value, val: Val, at: Place) {
        let Type::State(held) = state.ty().clone() else { return };
        if self.graph.opset() < Opset::iOS18 {
            return;
        }
        let data = match &val {
            Val::Value(v) => v.clone(),
            Val::Weight(w) => self.weight_value(w),
            Val::Const(_) | Val::List(_) => match self.constant_value(&val, Some(held.dtype), at) {
                Some(v) => v,
                None => return,
            },
            Val::Poison => return,
            other => {
                self.error_at(at, format!("the state holds {held}, found {}", other.describe()));
                return;
            }
        };
        let Some(def) = self.find_op("write_state", at) else { return };
        let operands = vec![("input", Operand::Value(state)), ("data", Operand::Value(data))];
        if let Err(e) = self.graph.push_op(def, operands, None, None) {
            self.error_at(at, e);
        }
    }
}
