//! States: `read_state`, `write_state`.
//!
//! A state is an input of a function that lives between predictions. What coremltools calls `coreml_update_state` is a
//! `write_state` and a `read_state`: [`Graph::coreml_update_state`](crate::graph::Graph::coreml_update_state).

use crate::{
    op::{AnyArg, Arg, Cx, Infer, Inferred, Op, OpDef, OpError},
    types::{TensorType, Type},
};
use mil_derive::Op;

pub(crate) const OPS: &[&OpDef] = &[ReadState::DEF, WriteState::DEF];

fn held<'a>(name: &'static str, state: &'a AnyArg) -> Result<&'a TensorType, OpError> {
    match &state.ty {
        Type::State(t) => Ok(t),
        other => Err(OpError::at(name, format!("`{name}` must be a state, found {other}"))),
    }
}

/// What a state holds now.
///
/// # Constraints
/// - C1 `input` is a state.
#[derive(Op, Clone, Debug)]
#[op(name = "read_state", since = iOS18)]
pub struct ReadState {
    /// The state.
    pub input: AnyArg,
}

impl Infer for ReadState {
    fn infer(&self, _: &mut Cx<'_>) -> Result<Vec<Inferred>, OpError> {
        Ok(vec![held("input", &self.input)?.clone().into()]) // C1
    }
}

/// Makes a state hold a tensor. It gives nothing: it runs for what it does.
///
/// # Constraints
/// - C1 `input` is a state.
/// - C2 `data` has the dtype and shape that the state holds.
#[derive(Op, Clone, Debug)]
#[op(name = "write_state", since = iOS18, outputs = 0)]
pub struct WriteState {
    /// The state.
    pub input: AnyArg,
    /// What it holds from now on.
    pub data: Arg,
}

impl Infer for WriteState {
    fn infer(&self, _: &mut Cx<'_>) -> Result<Vec<Inferred>, OpError> {
        let held = held("input", &self.input)?; // C1
        let data = &self.data.ty;
        if held.dtype != data.dtype || !held.shape.compatible(&data.shape) {
            let message = format!("the state holds {held}, but {data} is written");
            return Err(OpError::at("data", message)
                .note("convert it with `mb::cast`, or write a part of it with `mb::slice_update`")); // C2
        }
        Ok(vec![])
    }
}

#[cfg(test)]
mod tests {
    use crate::{
        graph::{Graph, Value},
        mb,
        ops::testing::{Test, fails, fails_in, infers},
        types::{DType, Opset, TensorType, Type},
    };

    fn state(t: &mut Test) -> Value {
        t.0.input("s", Type::State(TensorType::new(DType::F16, [1, 8])))
    }

    #[test]
    fn reads_and_writes() {
        infers(|t| mb::read_state(state(t)), "Tensor<f16, 1, 8>");
        infers(|t| mb::write_state(state(t), t.t("Tensor<f16, 1, N>")), "");
        fails_in(Opset::iOS17, |t| mb::read_state(state(t)), "", "needs opset iOS18");
    }

    #[test]
    fn c1_state() {
        fails(|t| mb::read_state(t.t("Tensor<f16, 2>")), "input", "must be a state, found Tensor<f16, 2>");
        fails(|t| mb::write_state(t.t("Tensor<f16, 2>"), 0.5), "input", "must be a state");
    }

    #[test]
    fn c2_data() {
        fails(|t| mb::write_state(state(t), t.t("Tensor<f32, 1, 8>")), "data", "but Tensor<f32, 1, 8> is written");
        fails(|t| mb::write_state(state(t), t.t("Tensor<f16, 8>")), "data", "holds Tensor<f16, 1, 8>");
    }

    #[test]
    fn an_update_writes_and_reads() {
        let mut g = Graph::new("main", Opset::iOS18);
        let s = g.input("s", Type::State(TensorType::new(DType::F16, [2])));
        let x = g.input("x", TensorType::new(DType::F16, [2]));
        let new = g.coreml_update_state(&s, &x).unwrap();
        let p = g.finish([("y", new)]).unwrap();
        let f = p.main().unwrap();
        let ops: Vec<_> = f.walk().into_iter().map(|o| (f.op(o).def.name, &f.op(o).name[..])).collect();
        assert_eq!(ops, [("write_state", "coreml_update_state_0_write_state"), ("read_state", "y")]);
        crate::validate::validate(&p).unwrap();
    }
}
